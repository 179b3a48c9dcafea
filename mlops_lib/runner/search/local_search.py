"""Proposals of settings around the best so far.

The search starts from the settings in use, tries some that are often good, and then moves from the
best so far by steps that grow with success and shrink with failure, as a randomised direct search
does (Wu, Wang and Huang 2021, "Frugal Optimization for Cost-related Hyperparameters"). With ten or
twenty trials it is ahead of methods that begin with a random sample of the whole space.
"""

import math
import random
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

FIRST_STEP = 0.25
"""Standard deviation of a step, as a share of a parameter's range."""
LEAST_STEP = 0.06
SHRINK = 0.85
GROW = 1.3
ATTEMPTS = 60
"""Number of draws after which a space without new settings counts as used up."""
DIGITS = 3
"""Significant digits of a proposed number; few enough that a patch writes exactly the tried value.
"""

Settings = Dict[str, Any]


class LocalSearch:
    """One sequence of proposals in one space.

    Args:
        space: parameter to its range, as in `estimator_spaces`.
        start: the settings in use; they are not proposed again.
        score: their score.
        first: settings to propose before any step.
        seed: determines the proposals, together with the scores reported so far.
    """

    def __init__(
        self,
        space: Mapping[str, Tuple[Any, ...]],
        start: Mapping[str, Any],
        score: float,
        *,
        first: Sequence[Settings] = (),
        seed: str = "",
    ) -> None:
        self.space = {name: _with_value(spec, start.get(name)) for name, spec in space.items()}
        self._random = random.Random(seed)
        self._best = {name: start[name] for name in self.space if name in start}
        self._best_score = score
        self._step = FIRST_STEP
        self._known = {_key(self._best)}
        self._first: List[Settings] = [dict(settings) for settings in first]
        self._last_proposal: Optional[Settings] = None

    def ask(self) -> Optional[Settings]:
        """Return new settings; None if the space seems to have no others."""
        while self._first:
            applicable = {n: v for n, v in self._first.pop(0).items() if n in self.space}
            settings = {**self._best, **applicable}
            if _key(settings) not in self._known:
                return self._propose(settings)
        for _ in range(ATTEMPTS):
            settings = self._step_from_best()
            if _key(settings) not in self._known:
                return self._propose(settings)
        return None

    def _propose(self, settings: Settings) -> Settings:
        self._known.add(_key(settings))
        self._last_proposal = settings
        return settings

    def tell(self, score: Optional[float]) -> None:
        """Report the score of the last proposal; None if it failed or was given up."""
        if score is not None and self._last_proposal is not None and score > self._best_score:
            self._best_score = score
            self._best = self._last_proposal
            self._step = min(0.5, self._step * GROW)
        else:
            self._step = max(LEAST_STEP, self._step * SHRINK)

    def _step_from_best(self) -> Settings:
        names = list(self.space)
        moving = [name for name in names if self._random.random() < 0.5]
        # At least one: an unchanged proposal would be drawn again and again.
        moving = moving or [self._random.choice(names)]
        return {
            name: self._near(name) if name in moving else self._best.get(name, self._draw(name))
            for name in names
        }

    def _near(self, name: str) -> Any:
        kind = self.space[name][0]
        options = self.space[name][1:]
        if kind == "choice":
            return self._random.choice(options)
        value = self._best.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self._draw(name)
        place = _place(kind, options, float(value)) + self._random.gauss(0.0, self._step)
        return _value(kind, options, _reflected(place))

    def _draw(self, name: str) -> Any:
        kind = self.space[name][0]
        options = self.space[name][1:]
        if kind == "choice":
            return self._random.choice(options)
        return _value(kind, options, self._random.random())


def _with_value(spec: Tuple[Any, ...], value: Any) -> Tuple[Any, ...]:
    """Return the range with the value in use among its choices."""
    if spec[0] != "choice" or len(spec) == 2 or value is None or value in spec[1:]:
        return spec
    return (*spec, value)


def _place(kind: str, bounds: Sequence[Any], value: float) -> float:
    low = float(bounds[0])
    high = float(bounds[1])
    value = min(max(value, low), high)
    # In the unit interval, where one step size serves all parameters.
    if kind == "log":
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _value(kind: str, bounds: Sequence[Any], place: float) -> Any:
    low = float(bounds[0])
    high = float(bounds[1])
    value = low * (high / low) ** place if kind == "log" else low + (high - low) * place
    return round(value) if kind == "int" else float(f"{value:.{DIGITS}g}")


def _reflected(place: float) -> float:
    # Reflected at both ends, so that the bounds are not drawn more often than other values.
    place = abs(place) % 2.0
    return 2.0 - place if place > 1.0 else place


def _key(settings: Settings) -> str:
    return repr(sorted((name, repr(value)) for name, value in settings.items()))
