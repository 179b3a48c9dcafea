"""The script's measurements: their examples, and the saved model's own numbers.

Each evaluation is repeated on the reloaded model, on examples that no training and no search used.
"""

import contextlib
import os
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    FrozenSet,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal, plain
from mlops_lib.runner.metrics import reported_numbers
from mlops_lib.runner.metrics.example_hashes import HASH, Examples
from mlops_lib.runner.metrics.trainings import Trainings
from mlops_lib.runner.script.conditions import Conditions, Surroundings, surroundings
from mlops_lib.runner.state import atomic

MAX_RECORDS = 500
"""Number of the latest measurements that are kept of a script that measures in a loop."""
MAX_MODELS = 8
"""Number of the latest models that are kept: models that the script drops must not fill the memory.
"""
MAX_REPEATS = 32

_NOT_REPEATABLE = "the examples or the model behind this number are not known"

MAX_LISTED_HASHES = 2_000_000
"""Largest number of examples that are listed by hash; larger sets have a digest only."""
NONE: FrozenSet[bytes] = frozenset()

Baseline = Union[Dict[str, Any], Callable[[], Optional[Dict[str, Any]]], None]


class Measured(NamedTuple):
    """A repeated measurement, and the examples that it used."""

    value: float
    names: Optional[List[bytes]] = None
    """Hash of each example, in the order of measurement; None if they cannot be hashed."""
    everything: Optional[Dict[str, float]] = None
    """All numbers of the same call."""
    baseline: Optional[Dict[str, Any]] = None
    """The number of a constant model on the same targets."""
    xy: Optional[Tuple[Any, Any]] = None
    """The examples and their targets."""
    weight: Any = None
    """Their sample weights."""
    is_same_again: bool = True
    """True if another reading of the data yields the same examples, so that the hashes identify
    them.
    """


Repeat = Callable[[Any, FrozenSet[bytes]], Measured]
"""Measure a model again, without some examples."""


class Evaluations:
    """The evaluations in chronological order.

    Each can be repeated on the saved model.
    """

    def __init__(
        self, journal: Journal, *, metric: str = "", conditions: Optional[Conditions] = None
    ) -> None:
        """Start without evaluations.

        Args:
            journal: receives an event per evaluation.
            metric: name of the bar's metric, "" for an accuracy.
            conditions: the script's conditions, under which evaluations are repeated.
        """
        self._journal = journal
        self._metric = metric
        self._conditions = conditions
        self.records: List[Dict[str, Any]] = []
        self._count = 0
        self._repeat: Dict[int, Repeat] = {}
        self._known: Dict[int, Examples] = {}
        """Evaluation id to its examples, if the call itself could hash them."""
        self._names: Dict[int, List[bytes]] = {}
        """Evaluation id to the hashes of the examples in its final measurement, in order."""
        self._surroundings: Dict[int, Surroundings] = {}
        self.selected: FrozenSet[bytes] = NONE
        """The examples on which a search selected the model: no number is judged on them."""
        self.models: Dict[int, Any] = {}
        """Evaluation id to the live model or estimator."""
        self.xy: Dict[int, Tuple[Any, Any]] = {}
        self.recipes: Dict[int, Tuple[Any, Any]] = {}
        """Evaluation id to its recipe and examples (metrics.recipes), which another process can use
        too.
        """
        self.live: Any = None
        self.reloaded: Any = None
        """The model that was loaded from the saved file."""
        self.champion: Optional[Dict[str, Any]] = None
        """The claim about the registered champion on the same examples."""
        self.leaking: Dict[int, FrozenSet[bytes]] = {}
        """Evaluation id to the hashes of examples that were also trained on; they are left out."""
        self.repeated: Dict[int, FrozenSet[bytes]] = {}
        """Evaluation id to the hashes of examples that repeat training examples by nature.

        The number is measured with them, and once more without them for information.
        """
        self.trainings = Trainings()
        self.saved: Callable[[], Any] = lambda: None
        """Return the model that the script itself saved last."""
        # A callable, because a weak reference must not keep the model alive.
        self._baselines: Dict[int, Callable[[], Optional[Dict[str, Any]]]] = {}
        self.model: Optional[Dict[str, Any]] = None
        self.printed: List[Dict[str, Any]] = []

    def add(
        self,
        *,
        metric: str,
        value: float,
        source: str,
        fit: Optional[int],
        examples: Optional[Examples] = None,
        x: Any = None,
        count: Optional[int] = None,
        held_out: Optional[bool] = None,
        task: str = "unknown",
        baseline: Baseline = None,
        confusion: Optional[List[List[int]]] = None,
        labels: Optional[List[Any]] = None,
        everything: Optional[Dict[str, Any]] = None,
        model: Any = None,
        repeat: Optional[Repeat] = None,
        xy: Optional[Tuple[Any, Any]] = None,
        recipe: Optional[Tuple[Any, Any]] = None,
        data: str = "",
        left_out: int = 0,
    ) -> int:
        """Record one evaluation; return its id.

        Args:
            metric: its name, lower case.
            value: the number that the script saw.
            source: the function that returned it.
            fit: the fit whose model was evaluated.
            examples: the examples' hashes, if they could be computed.
            x: the input that contains them.
            count: number of examples, if `examples` is None.
            held_out: whether the model was not trained on them; derived from `examples` if None.
            task: classification, regression or unknown.
            baseline: the number of a model that ignores its input. A function is called only for
                the judged evaluation, because it reads all targets.
            confusion: rows true, columns predicted.
            labels: the classes of `confusion`.
            everything: all numbers of the same call.
            model: the live model, for saving it.
            repeat: measures the number again on the reloaded model.
            xy: the examples and their targets, for the report of errors.
            recipe: the number's recipe and examples (metrics.recipes), if it can be serialized.
            data: description of the examples.
            left_out: number of examples that were not measured, because a search had selected on
                them.
        """
        number = self._count = self._count + 1
        if held_out is None:
            held_out = self.trainings.is_held_out(model, x, examples)
        can_repeat = repeat is not None
        record = {
            "id": number,
            "metric": metric,
            "value": value,
            "task": task,
            "source": source,
            "fit": fit,
            "examples": examples.count if examples is not None else count,
            "unique": examples.unique if examples is not None else None,
            "held_out": held_out,
            "higher_is_better": protocol.higher_is_better(metric),
            "recomputed": None,
            "recompute_note": "" if can_repeat else _NOT_REPEATABLE,
            "baseline": None if callable(baseline) else baseline,
            "confusion": confusion,
            "labels": labels,
            "examples_digest": examples.digest if examples is not None else None,
            "measured_on": {"data": data, "left_out": left_out},
            "all": everything or {metric: value},
        }
        _set_examples(record, examples)
        self.records.append(record)
        self._remember(
            number,
            repeat=repeat,
            examples=examples,
            baseline=baseline,
            model=model,
            xy=xy,
            recipe=recipe,
        )
        self._journal.write(protocol.EVENT_METRIC, **record)
        self._drop_old()
        return number

    def _remember(
        self,
        number: int,
        *,
        repeat: Optional[Repeat],
        examples: Optional[Examples],
        baseline: Baseline,
        model: Any,
        xy: Optional[Tuple[Any, Any]],
        recipe: Optional[Tuple[Any, Any]],
    ) -> None:
        """Keep the objects with which an evaluation can be made again."""
        if repeat is not None:
            self._repeat[number] = repeat
            self._surroundings[number] = surroundings()
        if examples is not None:
            self._known[number] = examples
        if callable(baseline):
            self._baselines[number] = baseline
        if model is not None:
            self.models[number] = model
        if xy is not None:
            self.xy[number] = xy
        if recipe is not None and recipe[0] is not None:
            self.recipes[number] = recipe

    def withdraw(self, fit: int) -> None:
        """Remove a fit's own measurements, because its model was replaced."""
        self.records[:] = [
            r for r in self.records if r["fit"] != fit or not str(r["source"]).startswith("fit.")
        ]

    def _tables(self) -> List[Dict[int, Any]]:
        """Return the data per evaluation, the models first."""
        return [
            self.models,
            self._repeat,
            self._baselines,
            self.xy,
            self.recipes,
            self._known,
            self._surroundings,
        ]

    def _drop_old(self) -> None:
        """Drop old records, models and inputs, which must not fill the memory."""
        # A script may evaluate after every batch; the number that counts is among the last ones.
        del self.records[:-MAX_RECORDS]
        distinct: "set[int]" = set()
        for number in sorted(self.models, reverse=True):
            model = self.models[number]
            distinct.add(id(model))
            if len(distinct) > MAX_MODELS and model is not self.saved():
                for table in self._tables():
                    table.pop(number, None)
        for repeats in self._tables()[1:]:
            for number in sorted(repeats)[:-MAX_REPEATS]:
                del repeats[number]

    def _settle_held_out(self, record: Dict[str, Any], examples: Examples) -> None:
        """Compare the examples of a pipeline, hashed late, with those of the trainings."""
        model = self.models.get(record["id"])
        if self.trainings.hash_late(model):
            record["held_out"] = self.trainings.is_held_out(model, None, examples)

    def remeasure(self, model: Any, live: Any) -> None:
        """Measure the reloaded model, and set `recomputed` of its evaluations.

        Args:
            model: the reloaded model.
            live: the model object that was saved.
        """
        self.live = live
        self.reloaded = model
        measured_again = set()
        for record in reversed(self.records):
            repeat = self._repeat.get(record["id"])
            if repeat is None:
                continue
            if self.models.get(record["id"]) is not live:
                record["recompute_note"] = "measured on another model than the one saved"
                continue
            # Scripts evaluate the same examples repeatedly; only the last evaluation is measured
            # again.
            same = (
                record["source"],
                record["metric"],
                record["examples_digest"],
                record["examples"],
            )
            if same in measured_again:
                record["recompute_note"] = "measured again later"
                continue
            measured_again.add(same)
            try:
                with self.original_conditions(record["id"]):
                    self._measure(record, repeat, model)
            except Exception as error:  # noqa: BLE001 - the user's own metric may raise anything
                record["recompute_note"] = (
                    f"the saved model could not be evaluated: {type(error).__name__}: {error}"
                )
                continue
            self._journal.write(
                protocol.EVENT_MEASURED, **{name: record.get(name) for name in _MEASURED_KEYS}
            )

    def measure_without(self, number: int, model: Any, names: FrozenSet[bytes]) -> Measured:
        """Measure a model on an evaluation's examples without those of these hashes.

        Examples that leak or were selected on are left out as well.

        Raises:
            Exception: they cannot be left out, or the model raised it.
        """
        return self._repeat[number](model, names | self.selected | self.leaking.get(number, NONE))

    def hashes_of(self, number: int) -> FrozenSet[bytes]:
        """Return the hashes of the examples behind an evaluation's final number, if known."""
        return frozenset(self._names.get(number) or ())

    def original_conditions(self, number: int) -> ContextManager[None]:
        """Restore the conditions under which an evaluation was made."""
        if self._conditions is None:
            return contextlib.nullcontext()
        return self._conditions.restored(self._surroundings.get(number))

    def _measure(self, record: Dict[str, Any], repeat: Repeat, model: Any) -> None:
        """Measure the saved model as the script did, then on clean examples only.

        Examples that were selected or trained on are not clean.
        """
        number = record["id"]
        measurement = repeat(model, NONE)
        examples = self._known.get(number) or (
            None if measurement.names is None else Examples(measurement.names)
        )
        # Examples that a search selected on are held out from training, and yet steered it: both
        # kinds are left out.
        steered = NONE if examples is None else examples.hashes & self.selected
        # A pipeline that shuffles or augments gives other examples when it is read again.
        record["measured_on"]["same_again"] = (
            None if examples is None else measurement.is_same_again
        )
        leaking = NONE if examples is None else examples.hashes & self.leaking.get(number, NONE)
        rest = self._measure_rest(record, repeat, model, examples, steered, leaking)
        if examples is not None and rest is not None:
            trained_on = sum(name in leaking for name in measurement.names or ())
            _replace_by_rest(record, measurement, rest, count=examples.count, trained_on=trained_on)
            measurement = rest
            examples = Examples(rest.names or ())
            steered = NONE
        if number in self.repeated:
            self._measure_without_repeats(record, repeat, model, self.selected | leaking)
        record["recomputed"] = measurement.value
        record["all_recomputed"] = measurement.everything or {record["metric"]: measurement.value}
        record["measured_on"]["selected_on"] = (
            None if examples is None and self.selected else len(steered)
        )
        if record["baseline"] is None:
            record["baseline"] = measurement.baseline
        if measurement.xy is not None:
            self.xy[number] = measurement.xy
        # Stored examples must be those of the final number, without the ones left out.
        if number in self.recipes and (measurement.xy is not None or "on_all" in record):
            self.recipes[number] = (self.recipes[number][0], _examples(measurement))
            if self.recipes[number][1] is None:
                del self.recipes[number]
        if measurement.names is not None:
            self._names[number] = measurement.names
        _set_examples(record, examples)
        # Now that the script has ended, its pipelines can be read once more.
        if record["held_out"] is None and examples is not None:
            self._settle_held_out(record, examples)

    def _measure_rest(
        self,
        record: Dict[str, Any],
        repeat: Repeat,
        model: Any,
        examples: Optional[Examples],
        steered: FrozenSet[bytes],
        leaking: FrozenSet[bytes],
    ) -> Optional[Measured]:
        """Measure without examples that were selected or trained on.

        Returns:
            None if there are no such examples or it is not possible.
        """
        apart = steered | leaking
        if examples is None or not 0 < len(apart) < examples.unique:
            return None
        try:
            measurement = repeat(model, apart)
        except Exception as error:  # a call that cannot be made on fewer examples
            # A number on examples that steered the search must not be judged, so there is none.
            if steered:
                raise
            record["leaks"]["note"] = f"{type(error).__name__}: {error}"[:300]
            return None
        if leaking:
            record["leaks"]["fate"] = "left out"
        return measurement

    def _measure_without_repeats(
        self, record: Dict[str, Any], repeat: Repeat, model: Any, apart: FrozenSet[bytes]
    ) -> None:
        """Measure without examples that repeat training examples, for information."""
        with contextlib.suppress(Exception):  # a call that cannot be made on fewer examples
            record["leaks"]["value_of_rest"] = repeat(
                model, apart | self.repeated[record["id"]]
            ).value

    def judged_record(self) -> Optional[Dict[str, Any]]:
        """Return the evaluation that the gate will judge; None if there is none.

        If the bar's metric was not measured, it is the one that would be judged if its metric were
        requested.
        """
        subject = protocol.choose_judged(self.records, self._metric).subject
        return (
            None
            if subject is None
            else next(record for record in self.records if record["id"] == subject["id"])
        )

    def settle(self) -> None:
        """Mark the evaluations of the saved model, and compute the judged one's baseline."""
        saved = self.saved()
        for record in self.records:
            record["saved"] = saved is not None and self.models.get(record["id"]) is saved
        subject = self.judged_record()
        baseline = self._baselines.get(subject["id"]) if subject is not None else None
        if subject is not None and baseline is not None:
            with self._journal.guard("baseline"):
                subject["baseline"] = baseline()

    def add_reported(self, work: str, pattern: str, output: str, metrics_file: str) -> None:
        """Add numbers that the script printed or wrote, as the settings specify.

        Args:
            work: the working directory.
            pattern: a regular expression whose group is the number.
            output: the script's output.
            metrics_file: a file with a number, or JSON with numbers by name.
        """
        reported = list(reported_numbers.in_output(pattern, output)) if pattern else []
        path = os.path.join(work, metrics_file or "metrics.json")
        for number in [*reported, *reported_numbers.in_metrics_file(path)]:
            self._add_reported(number)

    def add_from_files(self, work: str, paths: Iterable[str]) -> None:
        """Add the accuracy in a file that is named for it, if nothing else was measured.

        Args:
            work: the working directory.
            paths: the files that the script wrote, relative to it.
        """
        accuracy = None if self.records else reported_numbers.accuracy_in_files(work, paths)
        if accuracy is None:
            return
        path, value = accuracy
        self._add_reported(reported_numbers.Reported("accuracy", value, "file"))
        self._journal.warn(
            f"{path}: using its number as the accuracy, because nothing else was measured"
        )

    def _add_reported(self, number: reported_numbers.Reported) -> None:
        self.add(metric=number.metric, value=number.value, source=number.source, fit=None)

    def save(self, inside: str) -> None:
        """Write metrics.json, and the hashes of the judged examples beside it."""
        record = self.judged_record()
        names = self._names.get(record["id"]) if record is not None else None
        # The next search must not select on these examples.
        if record is not None and names is not None and len(names) <= MAX_LISTED_HASHES:
            content = {
                "schema": 1,
                "evaluation": record["id"],
                "metric": record["metric"],
                "value": plain(record["recomputed"]),
                "digest": record["examples_digest"],
                "hash": HASH,
                "same_again": record["measured_on"].get("same_again"),
                "examples": [name.hex() for name in names],
            }
            atomic.write_json(os.path.join(inside, protocol.JUDGED), content)
        atomic.write_json(
            os.path.join(inside, protocol.METRICS),
            {
                "schema": 1,
                "evaluations": plain(self.records),
                "model": plain(self.model),
                "printed": self.printed,
                "champion": plain(self.champion),
            },
        )


_MEASURED_KEYS = (
    "id",
    "metric",
    "recomputed",
    "source",
    "fit",
    "examples",
    "unique",
    "examples_digest",
    "measured_on",
)


def _examples(measurement: Measured) -> Any:
    """Return the examples of a measurement for a recipe; None if they are not arrays."""
    from mlops_lib.runner.metrics.recipes import Examples as Arrays

    x, y = measurement.xy or (None, None)
    return None if y is None else Arrays(x, y, measurement.weight)


def _replace_by_rest(
    record: Dict[str, Any], whole: Measured, rest: Measured, *, count: int, trained_on: int
) -> None:
    """Let the measurement on the clean examples be the record's number.

    The number on all examples is kept beside it.

    Args:
        record: the evaluation.
        whole: the measurement on all examples.
        rest: the measurement on the clean ones.
        count: the number of all examples.
        trained_on: how many of them were trained on; the others were left out for the search.
    """
    record["on_all"] = {
        "metric": record["metric"],
        "value": record["value"],
        "recomputed": whole.value,
        "examples": count,
    }
    record.update(value=rest.value, baseline=rest.baseline, confusion=None, labels=None)
    record["measured_on"]["left_out"] = count - len(rest.names or ()) - trained_on
    record["all"] = rest.everything or {record["metric"]: rest.value}


def _set_examples(record: Dict[str, Any], examples: Optional[Examples]) -> None:
    """Write into a record which examples its number was measured on."""
    if examples is not None:
        record.update(
            examples=examples.count, unique=examples.unique, examples_digest=examples.digest
        )
    names = ("examples", "unique", "examples_digest")
    record["measured_on"].update({name.replace("examples_", ""): record[name] for name in names})
