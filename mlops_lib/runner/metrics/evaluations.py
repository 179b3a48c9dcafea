"""What the script measured, on which examples, and whether the saved model gives the number again."""

import contextlib
import os
import re
import weakref
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
from mlops_lib.runner.metrics.example_hashes import HASH, Examples
from mlops_lib.runner.script.conditions import Conditions, Surroundings, surroundings
from mlops_lib.runner.state import atomic

RECORDS_KEPT = 500
"""A script that measures in a loop is remembered by its last measurements."""
MODELS_KEPT = 8
"""… and by its last models: what the script itself lets go of must not fill the memory."""
TRAININGS_KEPT = REPEATS_KEPT = 32

NAMED_MOST = 2_000_000
"""So many examples are named one by one; of more there is only the digest."""
NONE: FrozenSet[bytes] = frozenset()

Baseline = Union[Dict[str, Any], Callable[[], Optional[Dict[str, Any]]], None]


class Measured(NamedTuple):
    """A number measured again, and the examples that it was measured on."""

    value: float
    names: Optional[List[bytes]] = None
    """The hash of each of them, in the order in which they were measured; None if they cannot be
    named.
    """
    everything: Optional[Dict[str, float]] = None
    """All numbers of the same call."""
    baseline: Optional[Dict[str, Any]] = None
    """What a constant model gives on their targets."""
    xy: Optional[Tuple[Any, Any]] = None
    """The examples with their targets."""
    weight: Any = None
    """Their sample weights."""
    is_same_again: bool = True
    """Whether reading the data another time gives the same examples, so that their names tell which
    they are.
    """


Repeat = Callable[[Any, FrozenSet[bytes]], Measured]
"""Measures a model again, without some examples."""


class Training(NamedTuple):
    """What a model was trained on; neither the model nor its input is kept alive by this."""

    model: Callable[[], Any]
    x: Callable[[], Any]
    examples: Optional[Examples]
    read: Callable[[], Optional[Examples]]
    """Names the examples of a pipeline by reading it once more, when the script is over."""


def reference(item: Any) -> Callable[[], Any]:
    """A way to an object that does not keep it alive."""
    try:
        return weakref.ref(item)
    except TypeError:  # lists, tuples, None
        return lambda: None


ACCURACY_FILE = re.compile(r"(?:^|[^a-z])acc(?:uracy|uracies)?(?:[^a-z]|$)|accuracy", re.IGNORECASE)
RESULT_FILE = re.compile(r"score|result|output|metric|report|performance|data", re.IGNORECASE)
TEXT_SUFFIXES = ("", ".txt", ".log", ".json", ".csv", ".dat", ".out", ".text")
FILE_LIMIT = 1 << 16
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LABELLED = re.compile(
    rf"acc(?:uracy)?[\w %()]*[\"']?\s*[:=]?\s*[\[(]?\s*({_NUMBER})\s*(%?)", re.IGNORECASE
)
_ALONE = re.compile(rf"\s*[\[(]*\s*(?:{_NUMBER}\s*,\s*)*({_NUMBER})\s*(%?)\s*[\])]*\s*")


def _named_for_accuracy(path: str) -> int:
    stem, suffix = os.path.splitext(os.path.basename(path))
    if suffix.lower() not in TEXT_SUFFIXES:
        return 0
    return 2 if ACCURACY_FILE.search(stem) else 1 if RESULT_FILE.search(stem) else 0


def written_accuracy(path: str) -> Optional[float]:
    """The accuracy in a file: a number alone, the last of a list, or one after the word; None where
    that is not clear.
    """
    try:
        if os.path.getsize(path) > FILE_LIMIT:
            return None
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return None
    alone = _ALONE.fullmatch(text)
    if alone is not None and _named_for_accuracy(path) < 2 and "." not in alone[1]:
        return None  # a count, or anything
    found = [alone] if alone is not None else list(_LABELLED.finditer(text))
    if not found:
        return None
    number, percent = found[-1].group(1, 2)
    value = float(number)
    if number.lstrip("+") == "1" and not percent:
        return None  # one, or one per cent
    if percent or 1 < value <= 100:
        value /= 100
    return value if 0 <= value <= 1 else None


class Evaluations:
    """The evaluations in the order in which they happened, with the means to repeat each on the
    saved model.
    """

    def __init__(
        self, journal: Journal, *, metric: str = "", conditions: Optional[Conditions] = None
    ) -> None:
        """Start with none.

        Args:
            journal: where they are noted.
            metric: the one that the bar is about, "" for an accuracy.
            conditions: those of the script, under which they are repeated.
        """
        self._journal = journal
        self._metric = metric
        self._conditions = conditions
        self.records: List[Dict[str, Any]] = []
        self._count = 0
        self._repeat: Dict[int, Repeat] = {}
        self._known: Dict[int, Examples] = {}
        """Evaluation id to its examples, where the call itself could name them."""
        self._names: Dict[int, List[bytes]] = {}
        """… and to those that it was measured on at the end, in their order."""
        self._surroundings: Dict[int, Surroundings] = {}
        self.selected: FrozenSet[bytes] = NONE
        """The examples that a search has selected the model on: no number is judged on them."""
        self.models: Dict[int, Any] = {}
        """Evaluation id to the live model or estimator."""
        self.xy: Dict[int, Tuple[Any, Any]] = {}
        self.recipes: Dict[int, Tuple[Any, Any]] = {}
        """Evaluation id to its metrics.recipes.Recipe and Examples: how the number is made, also by
        another process.
        """
        self.live: Any = None
        self.reloaded: Any = None
        """The model that was saved, and what was loaded from its file."""
        self.champion: Optional[Dict[str, Any]] = None
        """The claim about the registered champion on the same examples."""
        self.leaking: Dict[int, FrozenSet[bytes]] = {}
        """Evaluation id to the examples (by digest.hashes) that were also trained on: they are left
        out.
        """
        self.repeated: Dict[int, FrozenSet[bytes]] = {}
        """… and to those that repeat training examples as such data does: measured, and once more
        without them.
        """
        self.trainings: List[Training] = []
        self.saved: Callable[[], Any] = lambda: None
        """The model that the script itself saved last."""
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
        """Record one evaluation; returns its id.

        Args:
            metric: its name, lower case.
            value: the number the script saw.
            source: which function gave it.
            fit: the fit whose model was evaluated.
            examples: the digests of the examples, where they could be taken.
            x: the input they were given by.
            count: number of examples where they could not.
            held_out: whether the model had not been trained on them; decided from `examples` when
                None.
            task: classification, regression or unknown.
            baseline: what a model that looks at no input reaches; a function where that takes a
                look at all targets, which is asked for it if the number is the one that counts.
            confusion: rows true, columns predicted.
            labels: the classes of `confusion`.
            everything: all numbers that the same call gave.
            model: the live model, so that it can be saved.
            repeat: gives the number again from the reloaded model.
            xy: the examples and their targets, to look at the mistakes at the end.
            recipe: how the number is made and on what (metrics.recipes), if that can be written
                down.
            data: what the examples are, in words.
            left_out: how many of them were not measured, because a search had selected on them.
        """
        number = self._count = self._count + 1
        if held_out is None:
            held_out = self.is_held_out(model, x, examples)
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
            "recompute_note": ""
            if repeat is not None
            else "the examples or the model behind this number are not known",
            "baseline": None if callable(baseline) else baseline,
            "confusion": confusion,
            "labels": labels,
            "examples_digest": examples.digest if examples is not None else None,
            "measured_on": {"data": data, "left_out": left_out},
            "all": everything or {metric: value},
        }
        _name(record, examples)
        self.records.append(record)
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
        self._journal.write("metric", **record)
        self._forget()
        return number

    def withdraw(self, fit: int) -> None:
        """Forget what a fit measured by itself: its model was replaced."""
        self.records[:] = [
            r for r in self.records if r["fit"] != fit or not str(r["source"]).startswith("fit.")
        ]

    def _tables(self) -> List[Dict[int, Any]]:
        """What is kept of single evaluations, the models first."""
        return [
            self.models,
            self._repeat,
            self._baselines,
            self.xy,
            self.recipes,
            self._known,
            self._surroundings,
        ]

    def _forget(self) -> None:
        """Keep what can still matter; models and inputs that the script lets go of must not fill
        the memory.
        """
        del self.records[:-RECORDS_KEPT]
        distinct: "set[int]" = set()
        for number in sorted(self.models, reverse=True):
            model = self.models[number]
            distinct.add(id(model))
            if len(distinct) > MODELS_KEPT and model is not self.saved():
                for table in self._tables():
                    table.pop(number, None)
        for repeats in self._tables()[1:]:
            for number in sorted(repeats)[:-REPEATS_KEPT]:
                del repeats[number]

    def record_training(
        self,
        model: Any,
        x: Any,
        examples: Optional[Examples],
        read: Callable[[], Optional[Examples]] = lambda: None,
    ) -> None:
        """Note that a model was trained on this input.

        Args:
            model: the model.
            x: the input.
            examples: its examples, if they have names by now.
            read: gives them when the script is over, if they have none.
        """
        self.trainings.append(Training(reference(model), reference(x), examples, read))
        del self.trainings[:-TRAININGS_KEPT]

    def is_held_out(self, model: Any, x: Any, examples: Optional[Examples]) -> Optional[bool]:
        """Whether a model (None: any) has not been trained on these examples; None where that
        cannot be told.
        """
        own = [t for t in self.trainings if model is None or t.model() is model] or self.trainings
        if x is not None and any(t.x() is x for t in own):
            return False
        if examples is None:
            return None
        return not any(t.examples is not None and examples.overlap(t.examples) > 0.5 for t in own)

    def replace_training(self, model: Any, x: Any, examples: Optional[Examples]) -> None:
        """Note that a search has trained this model anew, and on nothing else."""
        self.trainings[:] = [one for one in self.trainings if one.model() is not model]
        self.record_training(model, x, examples)

    def _settle_held_out(self, record: Dict[str, Any], known: Examples) -> None:
        """Compare the examples of a pipeline, whose names were not known before, with those of the
        trainings.
        """
        model = self.models.get(record["id"])
        own = [t for t in self.trainings if t.model() is model] or self.trainings
        for i, training in enumerate(self.trainings):
            if training in own and training.examples is None:
                self.trainings[i] = training._replace(examples=training.read(), read=lambda: None)
        own = [t for t in self.trainings if t.model() is model] or self.trainings
        if own and all(t.examples is not None for t in own):
            record["held_out"] = self.is_held_out(model, None, known)

    def remeasure(self, model: Any, live: Any) -> None:
        """Fill in `recomputed` from the reloaded `model` for the evaluations of the object it was
        saved from.
        """
        self.live = live
        self.reloaded = model
        done = set()
        for record in reversed(self.records):
            repeat = self._repeat.get(record["id"])
            if repeat is None:
                continue
            if self.models.get(record["id"]) is not live:
                record["recompute_note"] = "measured on another model than the one saved"
                continue
            same = (
                record["source"],
                record["metric"],
                record["examples_digest"],
                record["examples"],
            )
            if same in done:
                record["recompute_note"] = "measured again later"
                continue
            done.add(same)
            try:
                with self.original_conditions(record["id"]):
                    self._measure(record, repeat, model)
            except Exception as error:  # noqa: BLE001 - a user's own metric may raise anything on a reloaded model
                record["recompute_note"] = (
                    f"the saved model could not be evaluated: {type(error).__name__}: {error}"
                )
                continue
            self._journal.write("measured", **{name: record.get(name) for name in _OF_MEASURED})

    def measure_without(self, number: int, model: Any, names: FrozenSet[bytes]) -> Measured:
        """Measure a model on the examples of an evaluation, as it is judged, without those of these
        names.

        Raises:
            Exception: they cannot be left out, or whatever the model raises.
        """
        return self._repeat[number](model, names | self.selected | self.leaking.get(number, NONE))

    def names_of(self, number: int) -> FrozenSet[bytes]:
        """Return the names of the examples that an evaluation's number is about, as far as they are
        known.
        """
        return frozenset(self._names.get(number) or ())

    def original_conditions(self, number: int) -> ContextManager[None]:
        """Give an evaluation the conditions that it was made under."""
        if self._conditions is None:
            return contextlib.nullcontext()
        return self._conditions.restored(self._surroundings.get(number))

    def _measure(self, record: Dict[str, Any], repeat: Repeat, model: Any) -> None:
        """Measure the saved model as the script did, and then without examples that were selected
        or trained on.
        """
        number = record["id"]
        found = repeat(model, NONE)
        known = self._known.get(number) or (None if found.names is None else Examples(found.names))
        steered = NONE if known is None else known.hashes & self.selected
        record["measured_on"]["same_again"] = None if known is None else found.is_same_again
        leaking = NONE if known is None else known.hashes & self.leaking.get(number, NONE)
        rest = self._measure_rest(record, repeat, model, known, steered, leaking)
        if known is not None and rest is not None:
            everything = known.count
            record["on_all"] = {
                "metric": record["metric"],
                "value": record["value"],
                "recomputed": found.value,
                "examples": everything,
            }
            trained_on = sum(name in leaking for name in found.names or ())
            found = rest
            known = Examples(found.names or ())
            record.update(value=found.value, baseline=found.baseline, confusion=None, labels=None)
            record["measured_on"]["left_out"] = everything - known.count - trained_on
            record["all"] = found.everything or {record["metric"]: found.value}
            steered = NONE
        if number in self.repeated:
            self._measure_without_repeats(record, repeat, model, self.selected | leaking)
        record["recomputed"] = found.value
        record["all_recomputed"] = found.everything or {record["metric"]: found.value}
        record["measured_on"]["selected_on"] = (
            None if known is None and self.selected else len(steered)
        )
        if record["baseline"] is None:
            record["baseline"] = found.baseline
        if found.xy is not None:
            self.xy[number] = found.xy
        if number in self.recipes and (found.xy is not None or "on_all" in record):
            self.recipes[number] = (self.recipes[number][0], _examples(found))
            if self.recipes[number][1] is None:
                del self.recipes[number]
        if found.names is not None:
            self._names[number] = found.names
        _name(record, known)
        if record["held_out"] is None and known is not None:
            self._settle_held_out(record, known)

    def _measure_rest(
        self,
        record: Dict[str, Any],
        repeat: Repeat,
        model: Any,
        known: Optional[Examples],
        steered: FrozenSet[bytes],
        leaking: FrozenSet[bytes],
    ) -> Optional[Measured]:
        """Measure without examples that a search selected on, or that were trained on; None if it
        cannot be done.
        """
        apart = steered | leaking
        if known is None or not 0 < len(apart) < known.unique:
            return None
        try:
            found = repeat(model, apart)
        except Exception as error:  # a call that cannot be made on fewer examples
            if steered:
                raise
            record["leaks"]["note"] = f"{type(error).__name__}: {error}"[:300]
            return None
        if leaking:
            record["leaks"]["fate"] = "left out"
        return found

    def _measure_without_repeats(
        self, record: Dict[str, Any], repeat: Repeat, model: Any, apart: FrozenSet[bytes]
    ) -> None:
        """Measure once more without examples that repeat training examples, only to show what they
        make.
        """
        with contextlib.suppress(Exception):  # a call that cannot be made on fewer examples
            record["leaks"]["value_of_rest"] = repeat(
                model, apart | self.repeated[record["id"]]
            ).value

    def judged_record(self) -> Optional[Dict[str, Any]]:
        """Return the evaluation that the gate will look at, or would if its metric were named; None
        if there is none.
        """
        subject = protocol.choose_judged(self.records, self._metric).subject
        return (
            None
            if subject is None
            else next(one for one in self.records if one["id"] == subject["id"])
        )

    def settle(self) -> None:
        """At the script's end: whose model did it save, and what does the number that counts have
        to beat?
        """
        saved = self.saved()
        for record in self.records:
            record["saved"] = saved is not None and self.models.get(record["id"]) is saved
        judged = self.judged_record()
        baseline = self._baselines.get(judged["id"]) if judged is not None else None
        if judged is not None and baseline is not None:
            with self._journal.guard("baseline"):
                judged["baseline"] = baseline()

    def add_reported(self, work: str, pattern: str, output: str, metrics_file: str) -> None:
        """Add what the script printed or wrote, where the settings say which.

        Args:
            work: the working directory.
            pattern: a regular expression whose group is the number.
            output: the script's output.
            metrics_file: a file with a number, or JSON with numbers by name.
        """
        if pattern:
            found = re.findall(pattern, output)
            if found:
                last = found[-1] if isinstance(found[-1], str) else found[-1][0]
                self._add_number(
                    "accuracy" if "acc" in pattern.lower() else "metric", last, "printed"
                )
        for name in [metrics_file] if metrics_file else ["metrics.json"]:
            with contextlib.suppress(OSError, ValueError):
                path = os.path.join(work, name)
                if os.path.getsize(path) < 1 << 20:
                    content = atomic.read_json(path)
                    if isinstance(content, dict):
                        for metric, value in content.items():
                            self._add_number(str(metric), value, "file")
                    else:
                        with open(path) as stream:
                            match = re.search(
                                r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?\s*%?", stream.read()
                            )
                        if match:
                            self._add_number("accuracy", match.group(), "file")

    def add_from_files(self, work: str, paths: Iterable[str]) -> None:
        """Take a number for the accuracy that the script wrote to a file named for it, where
        nothing else was measured.

        Args:
            work: the working directory.
            paths: what the script wrote, relative to it.
        """
        if self.records:
            return
        for path in sorted(paths, key=lambda path: (-_named_for_accuracy(path), path)):
            if _named_for_accuracy(path):
                value = written_accuracy(os.path.join(work, path))
                if value is not None:
                    self.add(metric="accuracy", value=value, source="file", fit=None)
                    self._journal.warn(
                        f"{path}: its number is taken for the accuracy; nothing else was measured"
                    )
                    return

    def _add_number(self, metric: str, text: Any, source: str) -> None:
        with contextlib.suppress(TypeError, ValueError):
            percent = isinstance(text, str) and text.strip().endswith("%")
            value = float(text.strip().rstrip("%")) if isinstance(text, str) else float(text)
            if isinstance(text, bool):
                return
            if metric.startswith("acc") and (percent or 1 < value <= 100):
                value /= 100
            self.add(metric=metric, value=value, source=source, fit=None)

    def save(self, inside: str) -> None:
        """Write metrics.json, and the names of the judged examples beside it."""
        judged = self.judged_record()
        names = self._names.get(judged["id"]) if judged is not None else None
        if judged is not None and names is not None and len(names) <= NAMED_MOST:
            content = {
                "schema": 1,
                "evaluation": judged["id"],
                "metric": judged["metric"],
                "value": plain(judged["recomputed"]),
                "digest": judged["examples_digest"],
                "hash": HASH,
                "same_again": judged["measured_on"].get("same_again"),
                "examples": [one.hex() for one in names],
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


_OF_MEASURED = (
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


def _examples(found: Measured) -> Any:
    """The examples of a number as those of a recipe; None if they are not at hand as arrays."""
    from mlops_lib.runner.metrics.recipes import Examples as Arrays

    x, y = found.xy or (None, None)
    return None if y is None else Arrays(x, y, found.weight)


def _name(record: Dict[str, Any], examples: Optional[Examples]) -> None:
    """Say in a record which examples its number was measured on."""
    if examples is not None:
        record.update(
            examples=examples.count, unique=examples.unique, examples_digest=examples.digest
        )
    names = ("examples", "unique", "examples_digest")
    record["measured_on"].update({name.replace("examples_", ""): record[name] for name in names})
