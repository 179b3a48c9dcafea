"""The leak radar: which of the judged examples the model had been trained on, exactly or nearly.

At each `fit` the keys of the training examples are kept (eight bytes an example) and, for pictures
and tables, what near-copies are found by. When the script has ended, the judged examples are
compared with those of the fits that made the judged model. What was also trained on is left out:
the number, the count, the baseline and the mistakes become those of the clean rest before the saved
model is measured again, so that the verdict is about examples nothing was trained on.
"""

import os
import time
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import (
    columns,
    example_hashes,
    example_rows,
    neighbours,
    preparation,
    repeats,
)
from mlops_lib.runner.metrics.evaluations import Evaluations, reference
from mlops_lib.runner.metrics.pairs import shown
from mlops_lib.runner.state import atomic

FEWEST = 30
"""A clean rest of fewer examples says nothing."""
KEPT_BYTES = 1 << 28
"""Memory for what near-copies are found by, of all fits together."""
TRAININGS = 32
PIPELINES = 2
"""The last pipelines that models were trained on are read again."""
JUDGED_SETS = 6
"""The last different sets of examples that evaluations were made on are looked at."""
PAIRS_SHOWN = 12
SHARE_OF_TIME = 0.02
FREE_S = 2.0
"""The radar may take this share of the run's time, or so many seconds, before it looks for exact
copies only.
"""


class Training:
    """What is kept of the examples that one fit was given."""

    def __init__(self, model: Any, x: Any, y: Any, rows: example_rows.Rows) -> None:
        self.model: Callable[[], Any] = reference(model)
        self.x: Callable[[], Any] = reference(x)
        self.kind, self.keys, self.loose = rows.kind, rows.keys, rows.loose
        self.labels = _label_keys(y, len(rows))
        self.frame = columns.Frame.of(x)
        self.described: Optional[neighbours.Described] = None
        self.target_columns: List[str] = []
        self.twins = repeats.twin_share(rows.keys)
        self.loose_twins = repeats.twin_share(rows.loose) if rows.loose is not None else self.twins
        self.coarse = repeats.Coarse(rows)

    @property
    def nbytes(self) -> int:
        """Memory for finding near-copies."""
        return 0 if self.described is None else self.described.nbytes


class Copies(NamedTuple):
    """Judged examples that are copies of training examples."""

    kind: str
    index: Any
    match: Any
    """The training example of each, by its place in `training`."""
    training: Training


class Findings:
    """What was found about one set of judged examples."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.copies: List[Copies] = []
        self.repeated: Any = None
        """Judged examples that repeat training examples as such data does; a mask, or None."""
        self.targets: List[str] = []
        self.groups: List[columns.Group] = []
        self.prepared: List[Dict[str, Any]] = []
        self.is_training_set = False
        """Whether these are just the examples of a fit, whose number is known to say little."""

    @property
    def repeated_only(self) -> Any:
        """The judged examples that only repeat training examples as such data does, as a mask."""
        import numpy

        mask: Any = numpy.zeros(self.count, dtype=bool) if self.repeated is None else self.repeated
        return mask & ~self.leaking

    @property
    def leaking(self) -> Any:
        """The judged examples that were trained on, as a mask."""
        import numpy

        mask: Any = numpy.zeros(self.count, dtype=bool)
        for one in self.copies:
            mask[one.index] = True
        for group in self.groups:
            mask |= group.rows
        return mask


class LeakDetector:
    """Keeps what models were trained on, and compares the judged examples with it.

    Args:
        journal: where it is said what could not be looked at.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._trainings: List[Training] = []
        self._unread: List[Tuple[Callable[[], Any], Any]] = []
        """Pipelines that models were trained on; they are read when the script is over."""
        self._known: Dict[int, Tuple[Any, bytes, Training]] = {}
        self._spent_s = 0.0
        self.preparations = preparation.Preparations()

    def replace_training(self, model: Any, x: Any, y: Any) -> None:
        """Note that a search has trained this model anew, and on nothing but these examples."""
        self._trainings[:] = [one for one in self._trainings if one.model() is not model]
        self.record_training(model, x, y)

    def record_training(self, model: Any, x: Any, y: Any, *, source: Any = None) -> None:
        """Note that a model was trained on these examples.

        Args:
            model: the model.
            x: the input.
            y: the targets.
            source: what `x` is the beginning of, if it is a part of it that nobody keeps.
        """
        began = time.monotonic()
        with self.journal.guard("examples of a fit"):
            self._note(model, x, y, source)
        self._spent_s += time.monotonic() - began

    def _note(self, model: Any, x: Any, y: Any, source: Any) -> None:
        training = self._again(model, x, y) or self._new(model, x, y)
        if training is not None:
            if source is not None:
                training.x = reference(source)
            self._trainings.append(training)
            del self._trainings[:-TRAININGS]
            self._bound()
        elif example_rows.is_pipeline(x):
            self._unread.append((reference(model), x))
            del self._unread[:-PIPELINES]

    def _again(self, model: Any, x: Any, y: Any) -> Optional[Training]:
        """Return what is known already: a script that fits in a loop gives the same arrays again
        and again.
        """
        known = self._known.get(id(x))
        if known is None or known[0]() is not x or known[1] != _sample(x):
            return None
        first = known[2]
        training = Training.__new__(Training)
        training.__dict__.update(
            first.__dict__, model=reference(model), labels=_label_keys(y, len(first.keys))
        )
        return training

    def _new(self, model: Any, x: Any, y: Any) -> Optional[Training]:
        rows = example_rows.read(x)
        if rows is None or not len(rows):
            return None
        if y is None and hasattr(x, "get_label"):
            y = x.get_label()
        training = Training(model, x, y, rows)
        training.target_columns = columns.target_columns(x, y)
        if self._has_time():
            training.described = neighbours.describe(rows)
        elif rows.kind in ("pictures", "numbers"):
            self.journal.warn(
                "near-copies are not looked for among the examples of later fits: it takes too long"
            )
        sample = _sample(x)
        if sample is not None:
            self._known[id(x)] = (reference(x), sample, training)
        return training

    def _has_time(self) -> bool:
        return self._spent_s <= max(FREE_S, SHARE_OF_TIME * time.process_time())

    def _bound(self) -> None:
        """Let go of what the oldest fits' near-copies are found by, within the bound of memory."""
        taken = 0
        for training in reversed(self._trainings):
            taken += training.nbytes
            if taken > KEPT_BYTES and training.described is not None:
                training.described = None
                self.journal.warn(
                    "near-copies are not looked for among the examples of earlier fits: too much memory"
                )
        alive = {id(one.described) for one in self._trainings}
        self._known = {
            key: one for key, one in self._known.items() if id(one[2].described) in alive
        }

    def look(self, model: Any, x: Any, y: Any) -> Optional[Findings]:
        """Return what leaks into these judged examples from what the model was fitted on; None if
        nothing can be told.
        """
        self._read_pipelines(model)
        own = [one for one in self._trainings if one.model() is model] or self._trainings
        rows = example_rows.read(x)
        if rows is None or not own or not len(rows):
            return None
        found = Findings(len(rows))
        seen: List[Training] = []
        for training in own:
            if any(training.keys is one.keys for one in seen):
                continue
            seen.append(training)
            found.is_training_set |= _is_same_set(rows.keys, training.keys)
            self._compare(training, rows, _label_keys(y, len(rows)), found)
            found.targets += [name for name in training.target_columns if name not in found.targets]
            found.groups += _groups(training, x, rows)
        found.prepared = self.preparations.find_fitted_on(x, rows, ~found.leaking)
        return found

    def _read_pipelines(self, model: Any) -> None:
        """Read once what this model was trained on, if that gives batches: its files, or one epoch."""
        mine = [one for one in self._unread if one[0]() is model]
        self._unread = [one for one in self._unread if one not in mine]
        for _, x in mine:
            rows = example_rows.of_files(x)
            targets = None
            if rows is None:
                read = example_rows.in_memory(x)
                if read is None:
                    continue
                rows = example_rows.read(read[0])
                targets = read[1]
            if rows is not None and len(rows):
                training = Training(model, None, targets, rows)
                training.described = neighbours.describe(rows)
                self._trainings.append(training)

    def _compare(
        self, training: Training, rows: example_rows.Rows, labels: Any, found: Findings
    ) -> None:
        import numpy

        kinds = [("exact", training.keys, rows.keys, training.twins)]
        if (
            training.loose is not None
            and rows.loose is not None
            and rows.kind == training.kind == "texts"
        ):
            kinds.append(("white space or case", training.loose, rows.loose, training.loose_twins))
        taken: Any = numpy.zeros(len(rows), dtype=bool)
        for kind, fitted, judged, twins in kinds:
            index, match = _equal(judged, fitted, ~taken)
            if not len(index):
                continue
            if self._is_natural(
                training, rows, int(taken.sum()) + len(index), twins, labels, index, match
            ):
                mask: Any = (
                    numpy.zeros(len(rows), dtype=bool) if found.repeated is None else found.repeated
                )
                mask[index] = True
                found.repeated = mask
            else:
                found.copies.append(Copies(kind, index, match, training))
            taken[index] = True
        if training.described is None or taken.all() or training.described.kind != _near_kind(rows):
            return
        if found.repeated is not None and rows.kind == "numbers":
            return  # in a coarse table every row is near another
        left = numpy.flatnonzero(~taken)
        source = rows.numbers if rows.kind != "pictures" else rows.source
        some = source[left] if len(left) < len(rows) else source
        if training.described.kind == "numbers" and some.shape[1] != len(training.described.centre):
            return
        for one in training.described.find(some):
            same = slice(None)
            if rows.kind == "mixed":
                same = rows.loose[left[one.index]] == training.loose[one.match]
            found.copies.append(Copies(one.kind, left[one.index[same]], one.match[same], training))

    def _is_natural(
        self,
        training: Training,
        rows: example_rows.Rows,
        repeated: int,
        twins: float,
        labels: Any,
        index: Any,
        match: Any,
    ) -> bool:
        """Return whether so many equal examples are what such data is like."""
        judged = len(rows)
        if self.preparations.is_resampled(rows.keys) or not repeats.is_expected(
            repeated, judged, twins, len(training.keys)
        ):
            return False
        has_labels = labels is not None and training.labels is not None and len(index) >= FEWEST
        if has_labels and (labels[index] != training.labels[match]).mean() >= repeats.DISAGREEING:
            return True
        return training.coarse.makes_plausible(match, repeated / judged)


def _near_kind(rows: example_rows.Rows) -> str:
    return "numbers" if rows.kind == "mixed" else rows.kind


def _sample(x: Any) -> Optional[bytes]:
    """Return the content of a few examples of an array, by which it is known again; None for other
    inputs.
    """
    if type(x).__name__ != "ndarray" or not len(x) or x.dtype.kind not in "biuf":
        return None
    return bytes(x[:: max(1, len(x) // 64)].tobytes())


def _label_keys(y: Any, count: int) -> Any:
    rows = example_rows.read(y) if y is not None else None
    return rows.keys if rows is not None and len(rows) == count else None


def _equal(judged: Any, fitted: Any, which: Any) -> Tuple[Any, Any]:
    """Return the judged examples whose key is among the fitted ones, and the place of the first
    equal one.
    """
    import numpy

    unique, first = numpy.unique(fitted, return_index=True)
    place = numpy.searchsorted(unique, judged).clip(max=len(unique) - 1)
    index = numpy.flatnonzero((unique[place] == judged) & which)
    return index, first[place[index]]


def _is_same_set(judged: Any, fitted: Any) -> bool:
    import numpy

    return len(judged) == len(fitted) and bool((numpy.sort(judged) == numpy.sort(fitted)).all())


def _groups(training: Training, x: Any, rows: example_rows.Rows) -> List[columns.Group]:
    judged = columns.Frame.of(x)
    fitted = training.frame
    trained_keys = training.keys
    judged_keys = rows.keys
    width = _width(rows)
    if judged is None or fitted is None:
        split = columns.split_of(len(training.keys), len(rows))
        if split is not None:  # the parts before they were scaled, say
            fitted = columns.Frame.of(split[0])
            judged = columns.Frame.of(split[1])
            parts = [example_rows.read(part) for part in split]
            if parts[0] is not None and parts[1] is not None:
                trained_keys = parts[0].keys
                judged_keys = parts[1].keys
                width = _width(parts[1])
    if fitted is not None and judged is not None:
        return columns.groups_on_both_sides(fitted, judged)
    return columns.groups_by_content(trained_keys, judged_keys, width) if width else []


def _width(rows: example_rows.Rows) -> int:
    return 0 if rows.kind != "numbers" or rows.numbers is None else int(rows.numbers.shape[1])


def settle(radar: LeakDetector, evaluations: Evaluations, inside: str) -> None:
    """Say of each evaluation what leaks into it, at the script's end and before its model is
    measured again.

    Args:
        radar: what is known of the fits.
        evaluations: what the script measured; what leaks into them is left out when they are
            measured again.
        inside: the folder for `leaks.json`.
    """
    _Settlement(radar, evaluations).run(inside)


class _Settlement:
    def __init__(self, radar: LeakDetector, evaluations: Evaluations) -> None:
        self._radar = radar
        self._evaluations = evaluations
        self._sets: Dict[Tuple[int, int], Optional[_Judged]] = {}

    def run(self, inside: str) -> None:
        found: Dict[int, _Judged] = {}
        for record in reversed(self._evaluations.records):
            if record["source"] == "fit.training":
                continue
            judged = self._judged(record)
            if judged is not None:
                found[record["id"]] = judged
                self._note(record, judged)
        last = self._evaluations.judged_record()
        pairs = found[last["id"]].pairs() if last is not None and "leaks" in last else []
        path = os.path.join(inside, protocol.LEAKS)
        if pairs:
            atomic.write_json(path, {"schema": 1, "pairs": pairs})
        elif os.path.exists(path):
            os.remove(path)

    def _judged(self, record: Dict[str, Any]) -> "Optional[_Judged]":
        asked = self._evaluations.xy.get(record["id"])
        model = self._evaluations.models.get(record["id"])
        if asked is None:
            return None
        key = (id(asked[0]), id(model))
        if key not in self._sets:
            self._sets[key] = None
            if len(self._sets) <= JUDGED_SETS:
                with self._radar.journal.guard("leaks"):
                    self._sets[key] = self._look(model, *asked)
        return self._sets[key]

    def _look(self, model: Any, x: Any, y: Any) -> "Optional[_Judged]":
        if y is None and not hasattr(x, "get_label"):
            x, y = example_rows.in_memory(x) or (None, None)
        found = self._radar.look(model, x, y) if x is not None else None
        return None if found is None else _Judged(x, found)

    def _note(self, record: Dict[str, Any], judged: "_Judged") -> None:
        found = judged.findings
        if record["held_out"] is False and judged.findings.is_training_set:
            return  # measured on the training examples, and known to be
        if record["held_out"] is False and not self._is_needed(record):
            return
        if not (judged.leaking.any() or judged.repeated.any() or found.targets or found.prepared):
            return
        record["leaks"] = {**judged.described(), "value_of_all": record["value"]}
        if judged.leaking.any():
            if judged.rest < FEWEST:
                record["leaks"]["fate"] = "too few left"
                return
            record["leaks"]["fate"] = "not measured"  # until it has been
            self._evaluations.leaking[record["id"]] = judged.names(judged.leaking)
        elif judged.repeated.any() and int((~judged.repeated).sum()) >= FEWEST:
            self._evaluations.repeated[record["id"]] = judged.names(judged.repeated)
        if record["held_out"] is False:
            record["held_out"] = True

    def _is_needed(self, record: Dict[str, Any]) -> bool:
        """Return whether nothing was measured on examples that are apart: the part of these that is
        has to do then.
        """
        own = [r for r in self._evaluations.records if not str(r["source"]).startswith("fit.")]
        return not any(
            r["held_out"] is not False and r is not record and "leaks" not in r for r in own
        )


class _Judged:
    """A set of judged examples with what was found about it."""

    def __init__(self, x: Any, findings: Findings) -> None:
        self.x = x
        self.findings = findings
        self.leaking = findings.leaking
        self.repeated = findings.repeated_only
        self.rest = int((~self.leaking).sum())

    def names(self, which: Any) -> FrozenSet[bytes]:
        """Return the names (digest.hashes) of some of the examples."""
        listed = example_hashes.hashes(self.x) or []
        return frozenset(name for name, is_one in zip(listed, which.tolist()) if is_one)

    def pairs(self) -> List[Dict[str, Any]]:
        """Return some pairs to look at."""
        return shown(self.findings.copies, self.x, limit=PAIRS_SHOWN)

    def described(self) -> Dict[str, Any]:
        """Return the findings as they stand in metrics.json."""
        import numpy

        found = self.findings
        kinds: Dict[str, int] = {}
        counted: Any = numpy.zeros(found.count, dtype=bool)
        for one in found.copies:
            new = one.index[~counted[one.index]]
            counted[new] = True
            if len(new):
                kinds[one.kind] = kinds.get(one.kind, 0) + len(new)
        return {
            "examples": found.count,
            "left_out": int(self.leaking.sum()),
            "kinds": kinds,
            "fate": "",
            "repeated": int(self.repeated.sum()),
            "groups": [{"column": g.column, "examples": int(g.rows.sum())} for g in found.groups],
            "targets": found.targets[:20],
            "prepared": found.prepared[:20],
        }
