"""The estimators that a search tries, in order.

The developer's estimator comes first: as written, on scaled inputs if it wants them, and with
settings that are often good. Other estimators follow, then the best few with further settings, and
votes of the best, while there is time. The sequence is a function of the seed and of the scores so
far: a search that was killed continues with the same candidates.
"""

import itertools
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from mlops_lib.runner.search import estimator_portfolio
from mlops_lib.runner.search.cross_validation import seeded
from mlops_lib.runner.search.estimator_portfolio import Inputs
from mlops_lib.runner.search.estimator_spaces import (
    FIRST,
    FIRST_OF_STEPS,
    SCALERS,
    SPACES,
    STEPS,
    WANTS_SCALED,
    Space,
)
from mlops_lib.runner.search.local_search import LocalSearch
from mlops_lib.runner.search.past_searches import preferred_first

OWN_TRIALS = 2
"""The number of trials of the developer's own estimator before others are tried."""
MOST_REMEMBERED = 2
"""The most estimators that come first because they helped similar searches."""
TURNS = (0, 1, 0, 2)
"""Places in the ranking of families whose settings are varied in turn."""
BETWEEN_VOTES = 8
"""Number of further settings after which votes are counted again."""
RARE_COUNTS = ("balanced_accuracy", "f1", "recall", "precision")
"""Metrics in which a rare class counts as much as a frequent one."""
INNER = ("regressor", "estimator")
"""Parameters by which a target's transformation and a threshold hold the estimator."""


class Candidate:
    """An estimator to try, and its difference from the developer's in words."""

    def __init__(
        self,
        family: str,
        estimator: Any,
        parameters: Dict[str, Any],
        words: str,
        *,
        derived: Optional[Callable[[], Tuple[Any, Any]]] = None,
    ) -> None:
        self.family = family
        self.estimator = estimator
        self.parameters = parameters
        self.words = words
        self.derived = derived
        """Computes labels and probabilities from those of other candidates, without a fit."""


class Scored:
    """A finished trial: its candidate and its signed score."""

    def __init__(self, number: int, candidate: Candidate, score: float) -> None:
        self.number = number
        self.candidate = candidate
        self.score = score


class Candidates:
    """The sequence of candidates of one search.

    Args:
        base: the developer's fitted estimator that is varied.
        x: the training examples.
        finished: returns the finished trials so far, in order.
        metric: the judged metric.
        seed: the seed of the sequence.
        run_seed: the random state of estimators that are tried.
        own_only: whether only the developer's own estimator is varied.
        needs_probabilities: whether the rest of the script may call `predict_proba`.
        derived: returns candidates that need no fit: votes and thresholds.
        preferred: families that helped similar searches, the most reliable first. They come before
            variations of the developer's own estimator, unless those helped more.
        before_refining: called once every kind of estimator has been tried.
        notes: receives a note for everything that could not be tried.
    """

    def __init__(
        self,
        base: Any,
        x: Any,
        finished: Callable[[], List[Scored]],
        *,
        metric: str,
        seed: int,
        run_seed: int,
        own_only: bool,
        needs_probabilities: bool,
        derived: Callable[[], Iterator[Candidate]],
        preferred: Sequence[str] = (),
        before_refining: Callable[[], None],
        notes: List[str],
    ) -> None:
        from sklearn.base import is_classifier

        self.base = base
        self.x = x
        self.metric = metric
        self.seed = seed
        self.run_seed = run_seed
        self.own_only = own_only
        self.needs_probabilities = needs_probabilities
        self.prefix, self.last = last_step(base)
        self.is_classifier = is_classifier(base)
        self.notes = notes
        self._finished = finished
        self._derived = derived
        self._preferred = list(preferred)
        self._before_refining = before_refining
        self._searches: Dict[str, Optional[LocalSearch]] = {}
        self._known_inputs: List[Optional[Inputs]] = []

    def __iter__(self) -> Iterator[Candidate]:
        own_name = type(self.last).__name__
        inputs = self._inputs()
        is_even = inputs is None or inputs.is_even
        if not is_even:
            yield from self._own_scaled()
        if own_name not in SPACES:
            self.notes.append(f"{own_name} has no space of its own: other estimators are tried")
        remembered = [] if self.own_only else self._remembered()
        yield from remembered
        # Else the developer's own estimator first: a change of settings is the smallest patch.
        for _ in range(OWN_TRIALS):
            yield from self._varied("own")
        if self.own_only:
            more = list(self._varied("own"))
            while more:
                yield from more
                more = list(self._varied("own"))
            return
        # A threshold for the own estimator may do already.
        yield from self._derived()
        if is_even:
            yield from self._own_scaled()
        already = [candidate.words for candidate in remembered]
        yield from (other for other in self._others() if other.words not in already)
        yield from self._derived()
        self._before_refining()
        yield from self._refined()

    def _remembered(self) -> List[Candidate]:
        """Return the estimators that helped similar searches more than the developer's own did."""
        families = list(itertools.takewhile(lambda family: family != "own", self._preferred))
        others = [other for other in self._others() if other.family in families]
        return preferred_first(others, lambda other: [other.family], families)[:MOST_REMEMBERED]

    def tell(self, candidate: Candidate, score: Optional[float]) -> None:
        """Report the signed score of a candidate; None if it failed or was given up."""
        search = self._searches.get(candidate.family)
        if search is not None and candidate.parameters:
            search.tell(score)

    def leave(self, family: str) -> None:
        """Vary a family no further, because there is no time for it."""
        self._searches[family] = None

    def _own_scaled(self) -> Iterator[Candidate]:
        """Yield the developer's estimator on scaled inputs, if it wants them."""
        from sklearn.base import clone

        name = type(self.last).__name__
        inputs = None if self.own_only or name not in WANTS_SCALED else self._inputs()
        if inputs is None or inputs.is_unit:
            return
        own = estimator_portfolio.Family("", name, scaled=True, missing=True)
        scaled = inputs.prepared(own, seeded(clone(self.last), self.run_seed), self.run_seed)
        yield Candidate("own", with_last_step(self.base, scaled), {}, f"{name} on scaled inputs")

    def _varied(self, family: str) -> Iterator[Candidate]:
        """Yield the best of a family with other settings, if there are any left."""
        from sklearn.base import clone

        best = max(
            (trial for trial in self._finished() if trial.candidate.family == family),
            key=lambda trial: trial.score,
            default=None,
        )
        if best is None:
            return
        estimator = best.candidate.estimator
        prefix, last = last_step(estimator)
        if family not in self._searches:
            self._searches[family] = self._search_around(family, best)
        search = self._searches[family]
        settings = None if search is None else search.ask()
        if settings is None:
            self._searches[family] = None
            return
        values = {
            name: value
            for name, value in settings.items()
            if not _same_value(estimator.get_params().get(name), value)
        }
        # Only the settings that differ: a scaler that is set again would lose its own parameters.
        varied = clone(estimator).set_params(
            **{name: as_parameter(value) for name, value in values.items()}
        )
        words = ", ".join(
            f"{name[len(prefix) :] if name.startswith(prefix) else name}={in_words(value)}"
            for name, value in settings.items()
        )
        yield Candidate(
            family,
            seeded(varied, self.run_seed),
            settings,
            f"{type(last).__name__} with {words}",
        )

    def _search_around(self, family: str, best: Scored) -> Optional[LocalSearch]:
        estimator = best.candidate.estimator
        prefix, last = last_step(estimator)
        name = type(last).__name__
        if name not in SPACES:
            return None
        parameters = estimator.get_params()
        space: Space = {
            prefix + parameter: spec
            for parameter, spec in SPACES[name].items()
            if prefix + parameter in parameters or name.startswith("CatBoost")
        }
        if self.metric in RARE_COUNTS and f"{prefix}class_weight" in parameters:
            space[f"{prefix}class_weight"] = ("choice", "balanced", None)
        space.update(step_spaces(estimator))
        first = [
            {prefix + parameter: value for parameter, value in settings.items()}
            for settings in FIRST.get(name, ())
        ]
        if self.metric in RARE_COUNTS and f"{prefix}class_weight" in space:
            first = [{f"{prefix}class_weight": "balanced"}, *first]
        # A step before the last may be what keeps the estimator back.
        steps = first_of_steps(estimator)
        if family == "own" and steps:
            first = [steps, *first]
        return LocalSearch(
            space,
            {parameter: as_setting(parameters.get(parameter)) for parameter in space},
            best.score,
            first=first,
            # Another table has other scores, and other proposals.
            seed=f"{self.seed} {family} {best.score!r}",
        )

    def _others(self) -> Iterator[Candidate]:
        """Yield other estimators, each with inputs that it can take."""
        inputs = self._inputs()
        if inputs is None:
            return
        own_name = type(self.last).__name__
        classes = getattr(self.base, "classes_", ()) if self.is_classifier else None
        families = estimator_portfolio.families(inputs, classes)
        for family in families:
            if family.name == own_name:
                continue
            estimator = estimator_portfolio.estimator_of(
                family,
                inputs,
                seed=self.run_seed,
                balanced=self.metric in RARE_COUNTS,
                is_classifier=self.is_classifier,
            )
            # A script that calls predict_proba later must not fail on the winner.
            if estimator is None or not self._answers(estimator):
                continue
            settings = ", ".join(f"{n}={in_words(v)}" for n, v in family.settings.items())
            with_settings = f" ({settings})" if "Boosting" in family.name and settings else ""
            words = f"{family.name}{with_settings} instead of {own_name}"
            yield Candidate(family.name, with_last_step(self.base, estimator), {}, words)

    def _inputs(self) -> Optional[Inputs]:
        """Return the properties of the last step's inputs, or None if they are unreadable."""
        if not self._known_inputs:
            self._known_inputs.append(self._read_inputs())
        return self._known_inputs[0]

    def _read_inputs(self) -> Optional[Inputs]:
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                steps = self.base[:-1] if hasattr(self.base, "steps") else None
                inputs = Inputs(self.x, steps)
        except Exception as error:  # noqa: BLE001 - the steps before the last are the user's
            self.notes.append(
                f"other estimators are not tried: the inputs cannot be read"
                f" ({type(error).__name__}: {error})"[:300]
            )
            return None
        if not inputs.is_numeric:
            self.notes.append(
                "other estimators are not tried: the inputs are no numbers; a pipeline that"
                " encodes them (ColumnTransformer, OneHotEncoder) would make that possible"
            )
            return None
        return inputs

    def _answers(self, estimator: Any) -> bool:
        """Return whether an estimator has the methods that the script may still call."""
        if not self.needs_probabilities or not hasattr(self.last, "predict_proba"):
            return True
        return hasattr(estimator, "predict_proba")

    def _refined(self) -> Iterator[Candidate]:
        """Yield further settings of the best few families, the leader's more often."""
        turn = 0
        while True:
            families = [family for family in self._ranking() if self._has_more(family)]
            if not families:
                return
            place = TURNS[turn % len(TURNS)]
            turn += 1
            yield from self._varied(families[min(place, len(families) - 1)])
            if turn % BETWEEN_VOTES == 0:
                yield from self._derived()

    def _has_more(self, family: str) -> bool:
        return family not in self._searches or self._searches[family] is not None

    def _ranking(self) -> List[str]:
        """Return the families that can be varied, the best first."""
        best: Dict[str, float] = {}
        for trial in self._finished():
            if trial.candidate.derived is None:
                family = trial.candidate.family
                best[family] = max(trial.score, best.get(family, trial.score))
        return sorted(best, key=lambda family: -best[family])


def last_step(estimator: Any) -> Tuple[str, Any]:
    """Return the estimator whose parameters are searched, after their prefix."""
    steps = getattr(estimator, "steps", None)
    if steps:
        name, last = steps[-1]
    elif type(estimator).__name__ in ("TransformedTargetRegressor", "FixedThresholdClassifier"):
        name = next(name for name in INNER if hasattr(estimator, name))
        last = getattr(estimator, name)
        if last is None:
            return "", estimator
    else:
        return "", estimator
    prefix, inner = last_step(last)
    return f"{name}__{prefix}", inner


def with_last_step(base: Any, last: Any) -> Any:
    """Return the developer's pipeline with another last step.

    Without steps, this is `last` alone.
    """
    from sklearn.base import clone

    prefix, _ = last_step(base)
    return clone(base).set_params(**{prefix[:-2]: last}) if prefix else last


def last_of(base: Any, estimator: Any) -> Any:
    """Return the estimator that `with_last_step` has put into a pipeline."""
    prefix, _ = last_step(base)
    return estimator.get_params()[prefix[:-2]] if prefix else estimator


def step_spaces(estimator: Any) -> Space:
    """Return the space of the steps before the estimator in a pipeline.

    It holds their settings, and the choice of the scaler.
    """
    space: Space = {}
    for name, step in getattr(estimator, "steps", [])[:-1]:
        kind = type(step).__name__
        if kind in SCALERS:
            space[name] = ("choice", *[_SCALER + scaler for scaler in SCALERS])
        parameters = step.get_params() if hasattr(step, "get_params") else {}
        for parameter, spec in STEPS.get(kind, {}).items():
            if parameter in parameters:
                space[f"{name}__{parameter}"] = spec
    return space


def first_of_steps(estimator: Any) -> Dict[str, Any]:
    """Return settings of a pipeline's earlier steps that are often good."""
    return {
        f"{name}__{parameter}": value
        for name, step in getattr(estimator, "steps", [])[:-1]
        for parameter, value in FIRST_OF_STEPS.get(type(step).__name__, {}).items()
    }


_SCALER = "scaler:"


def as_parameter(value: Any) -> Any:
    """Return a proposed value as a parameter of the estimator.

    A scaler is represented by its name in the space, so that values stay plain data.
    """
    if isinstance(value, str) and value.startswith(_SCALER):
        from sklearn import preprocessing

        return getattr(preprocessing, value[len(_SCALER) :])()
    return value


def as_setting(value: Any) -> Any:
    """Return a parameter as it stands in the space."""
    return _SCALER + type(value).__name__ if type(value).__name__ in SCALERS else value


def _same_value(current: Any, value: Any) -> bool:
    setting = as_setting(current)
    return type(setting) is type(value) and bool(setting == value)


def in_words(value: Any) -> str:
    """Return a setting as text; a number is written exactly."""
    return str(value).replace(_SCALER, "")
