"""Leak detection: judged examples that the model was trained on.

Each `fit` stores the keys of its training examples (eight bytes per example) and, for pictures and
tables, an index of near-copies. When the script has ended, the judged examples are compared with
those of the fits that produced the judged model. Copies, exact or near, are left out: the number,
the count, the baseline and the reported errors become those of the clean rest before the saved
model is measured again. The verdict is then about examples that nothing was trained on.
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
from mlops_lib.runner.metrics.evaluations import Evaluations
from mlops_lib.runner.metrics.pairs import pair_records
from mlops_lib.runner.metrics.trainings import reference
from mlops_lib.runner.state import atomic

MIN_REST = 30
"""A clean rest of fewer examples is not meaningful."""
INDEX_BYTES = 1 << 28
"""Memory for the near-copy indexes of all fits together."""
MAX_TRAININGS = 32
MAX_PIPELINES = 2
"""Number of the last pipelines that models were trained on which are read again."""
MAX_JUDGED_SETS = 6
"""Number of the last different sets of judged examples that are examined."""
MAX_PAIRS = 12
SHARE_OF_TIME = 0.02
FREE_S = 2.0
"""Detection may take this time, or `SHARE_OF_TIME` of the run's; then it finds exact copies only.
"""


class Training:
    """The stored facts about the examples of one fit."""

    def __init__(self, model: Any, x: Any, y: Any, rows: example_rows.Rows) -> None:
        self.model: Callable[[], Any] = reference(model)
        self.x: Callable[[], Any] = reference(x)
        self.kind, self.keys, self.loose = rows.kind, rows.keys, rows.loose
        self.labels = _label_keys(y, len(rows))
        self.frame = columns.Frame.of(x)
        self.described: Optional[neighbours.NearCopyIndex] = None
        self.target_columns: List[str] = []
        self.twins = repeats.twin_share(rows.keys)
        self.loose_twins = repeats.twin_share(rows.loose) if rows.loose is not None else self.twins
        self.coarse = repeats.CoarseRows(rows)

    @property
    def nbytes(self) -> int:
        """Memory of the near-copy index."""
        return 0 if self.described is None else self.described.nbytes


class Copies(NamedTuple):
    """Judged examples that are copies of training examples."""

    kind: str
    index: Any
    match: Any
    """The training example of each, by its index in `training`."""
    training: Training


class Findings:
    """Findings about one set of judged examples."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.copies: List[Copies] = []
        self.repeated: Any = None
        """Mask of judged examples that repeat training examples by nature, or None."""
        self.targets: List[str] = []
        self.groups: List[columns.Group] = []
        self.prepared: List[Dict[str, Any]] = []
        self.is_training_set = False
        """Set if these are exactly a fit's training examples; their number is known to mean little.
        """

    @property
    def repeated_only(self) -> Any:
        """Mask of judged examples that repeat training examples by nature only.

        They do not leak otherwise.
        """
        import numpy

        mask: Any = numpy.zeros(self.count, dtype=bool) if self.repeated is None else self.repeated
        return mask & ~self.leaking

    @property
    def leaking(self) -> Any:
        """Mask of the judged examples that were trained on."""
        import numpy

        mask: Any = numpy.zeros(self.count, dtype=bool)
        for copies in self.copies:
            mask[copies.index] = True
        for group in self.groups:
            mask |= group.rows
        return mask


class LeakDetector:
    """Store the training examples of models, and compare judged examples with them.

    Args:
        journal: receives warnings about examples that could not be examined.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._trainings: List[Training] = []
        self._unread: List[Tuple[Callable[[], Any], Any]] = []
        """Pipelines that models were trained on; they are read when the script has ended."""
        self._known: Dict[int, Tuple[Any, bytes, Training]] = {}
        self._spent_s = 0.0
        self.preparations = preparation.Preparations()

    def replace_training(self, model: Any, x: Any, y: Any) -> None:
        """Record that a search has trained this model anew, on these examples only."""
        self._trainings[:] = [
            training for training in self._trainings if training.model() is not model
        ]
        self.record_training(model, x, y)

    def record_training(self, model: Any, x: Any, y: Any, *, source: Any = None) -> None:
        """Record that a model was trained on these examples.

        Args:
            model: the model.
            x: the input.
            y: the targets.
            source: the input whose beginning `x` is, if `x` is a temporary part of it.
        """
        began = time.monotonic()
        with self.journal.guard("examples of a fit"):
            self._note(model, x, y, source)
        self._spent_s += time.monotonic() - began

    def _note(self, model: Any, x: Any, y: Any, source: Any) -> None:
        training = self._stored(model, x, y) or self._new(model, x, y)
        if training is not None:
            # The report shows examples of the object that the script holds; a temporary part is
            # gone by then.
            if source is not None:
                training.x = reference(source)
            self._trainings.append(training)
            del self._trainings[:-MAX_TRAININGS]
            self._enforce_limit()
        elif example_rows.is_pipeline(x):
            self._unread.append((reference(model), x))
            del self._unread[:-MAX_PIPELINES]

    def _stored(self, model: Any, x: Any, y: Any) -> Optional[Training]:
        """Return the stored training of the same arrays, for scripts that fit in a loop."""
        stored = self._known.get(id(x))
        # Scripts fit the same arrays again and again (seeds, folds, epochs by hand). Hashing them
        # each time would cost more than the training of a small model.
        if stored is None or stored[0]() is not x or stored[1] != _sample(x):
            return None
        first = stored[2]
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
            training.described = neighbours.build_index(rows)
        elif rows.kind in ("pictures", "numbers"):
            self.journal.warn(
                "near-copies of the examples of later fits are not searched: it would take too long"
            )
        # An id alone is not an identity: arrays are freed and change in place.
        sample = _sample(x)
        if sample is not None:
            self._known[id(x)] = (reference(x), sample, training)
        return training

    def _has_time(self) -> bool:
        return self._spent_s <= max(FREE_S, SHARE_OF_TIME * time.process_time())

    def _enforce_limit(self) -> None:
        """Drop the near-copy indexes of the oldest fits beyond the memory limit."""
        used = 0
        for training in reversed(self._trainings):
            used += training.nbytes
            if used > INDEX_BYTES and training.described is not None:
                training.described = None
                self.journal.warn(
                    "near-copies of the examples of earlier fits are not searched: they need too"
                    " much memory"
                )
        alive = {id(training.described) for training in self._trainings}
        self._known = {
            key: entry for key, entry in self._known.items() if id(entry[2].described) in alive
        }

    def examine(self, model: Any, x: Any, y: Any) -> Optional[Findings]:
        """Return the leaks from a model's training into these judged examples.

        Returns:
            None if the examples cannot be read or no training is known.
        """
        self._read_pipelines(model)
        # A model that was loaded, cloned or wrapped has no training of its own. Then it is compared
        # with all of the script.
        own = [t for t in self._trainings if t.model() is model] or self._trainings
        rows = example_rows.read(x)
        if rows is None or not own or not len(rows):
            return None
        findings = Findings(len(rows))
        compared: List[Training] = []
        for training in own:
            if any(training.keys is previous.keys for previous in compared):
                continue
            compared.append(training)
            findings.is_training_set |= _is_same_set(rows.keys, training.keys)
            self._compare(training, rows, _label_keys(y, len(rows)), findings)
            findings.targets += [
                name for name in training.target_columns if name not in findings.targets
            ]
            findings.groups += _groups(training, x, rows)
        findings.prepared = self.preparations.find_fitted_on(x, rows, ~findings.leaking)
        return findings

    def _read_pipelines(self, model: Any) -> None:
        """Read the pipelines of this model's training once: their files, or one epoch."""
        # Not earlier: to read a pipeline takes as long as an epoch, and most are never judged.
        pending = [entry for entry in self._unread if entry[0]() is model]
        self._unread = [entry for entry in self._unread if entry not in pending]
        for _, x in pending:
            rows = example_rows.of_files(x)
            targets = None
            if rows is None:
                arrays = example_rows.in_memory(x)
                if arrays is None:
                    continue
                rows = example_rows.read(arrays[0])
                targets = arrays[1]
            if rows is not None and len(rows):
                training = Training(model, None, targets, rows)
                training.described = neighbours.build_index(rows)
                self._trainings.append(training)

    def _compare(
        self, training: Training, rows: example_rows.Rows, labels: Any, findings: Findings
    ) -> None:
        import numpy

        kinds = [("exact", training.keys, rows.keys, training.twins)]
        if (
            training.loose is not None
            and rows.loose is not None
            and rows.kind == training.kind == "texts"
        ):
            kinds.append(("white space or case", training.loose, rows.loose, training.loose_twins))
        matched: Any = numpy.zeros(len(rows), dtype=bool)
        # The strictest kind comes first; each judged example counts once.
        for kind, trained_keys, judged_keys, twins in kinds:
            index, match = _equal(judged_keys, trained_keys, ~matched)
            if not len(index):
                continue
            if self._is_natural(
                training, rows, int(matched.sum()) + len(index), twins, labels, index, match
            ):
                mask: Any = (
                    numpy.zeros(len(rows), dtype=bool)
                    if findings.repeated is None
                    else findings.repeated
                )
                mask[index] = True
                findings.repeated = mask
            else:
                findings.copies.append(Copies(kind, index, match, training))
            matched[index] = True
        if (
            training.described is None
            or matched.all()
            or training.described.kind != _near_kind(rows)
        ):
            return
        if findings.repeated is not None and rows.kind == "numbers":
            return  # in a coarse table every row is near another one
        rest = numpy.flatnonzero(~matched)
        source = rows.numbers if rows.kind != "pictures" else rows.source
        some = source[rest] if len(rest) < len(rows) else source
        if training.described.kind == "numbers" and some.shape[1] != len(training.described.centre):
            return
        for copies in training.described.find(some):
            same = slice(None)
            if rows.kind == "mixed":
                same = rows.loose[rest[copies.index]] == training.loose[copies.match]
            findings.copies.append(
                Copies(copies.kind, rest[copies.index[same]], copies.match[same], training)
            )

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
        """Return whether so many equal examples are natural for such data."""
        count = len(rows)
        if self.preparations.is_resampled(rows.keys) or not repeats.is_expected(
            repeated, count, twins, len(training.keys)
        ):
            return False
        # A copy has its original's target: many differing targets exclude copies.
        has_labels = labels is not None and training.labels is not None and len(index) >= MIN_REST
        if (
            has_labels
            and (labels[index] != training.labels[match]).mean() >= repeats.MIN_DISAGREEMENT
        ):
            return True
        return training.coarse.explains(match, repeated / count)


def _near_kind(rows: example_rows.Rows) -> str:
    return "numbers" if rows.kind == "mixed" else rows.kind


def _sample(x: Any) -> Optional[bytes]:
    """Return the bytes of some rows of an array, which detect a change of its content.

    None is returned for other inputs.
    """
    if type(x).__name__ != "ndarray" or not len(x) or x.dtype.kind not in "biuf":
        return None
    return bytes(x[:: max(1, len(x) // 64)].tobytes())


def _label_keys(y: Any, count: int) -> Any:
    rows = example_rows.read(y) if y is not None else None
    return rows.keys if rows is not None and len(rows) == count else None


def _equal(judged_keys: Any, trained_keys: Any, which: Any) -> Tuple[Any, Any]:
    """Return the indexes of judged examples whose key is among the fitted keys.

    The second array holds the index of the first equal fitted example of each.
    """
    import numpy

    unique, first = numpy.unique(trained_keys, return_index=True)
    place = numpy.searchsorted(unique, judged_keys).clip(max=len(unique) - 1)
    index = numpy.flatnonzero((unique[place] == judged_keys) & which)
    return index, first[place[index]]


def _is_same_set(judged_keys: Any, trained_keys: Any) -> bool:
    import numpy

    return len(judged_keys) == len(trained_keys) and bool(
        (numpy.sort(judged_keys) == numpy.sort(trained_keys)).all()
    )


def _groups(training: Training, x: Any, rows: example_rows.Rows) -> List[columns.Group]:
    judged_frame = columns.Frame.of(x)
    trained_frame = training.frame
    trained_keys = training.keys
    judged_keys = rows.keys
    width = _width(rows)
    if judged_frame is None or trained_frame is None:
        split = columns.split_of(len(training.keys), len(rows))
        if split is not None:  # the parts before they were scaled, say
            trained_frame = columns.Frame.of(split[0])
            judged_frame = columns.Frame.of(split[1])
            parts = [example_rows.read(part) for part in split]
            if parts[0] is not None and parts[1] is not None:
                trained_keys = parts[0].keys
                judged_keys = parts[1].keys
                width = _width(parts[1])
    if trained_frame is not None and judged_frame is not None:
        return columns.groups_on_both_sides(trained_frame, judged_frame)
    return columns.groups_by_content(trained_keys, judged_keys, width) if width else []


def _width(rows: example_rows.Rows) -> int:
    return 0 if rows.kind != "numbers" or rows.numbers is None else int(rows.numbers.shape[1])


def report_leaks(detector: LeakDetector, evaluations: Evaluations, inside: str) -> None:
    """Add the leaks to each evaluation, before the saved model is measured again.

    Args:
        detector: the trainings.
        evaluations: the script's measurements; leaking examples are left out when they are
            repeated.
        inside: the folder for `leaks.json`.
    """
    _LeakReport(detector, evaluations).run(inside)


class _LeakReport:
    def __init__(self, detector: LeakDetector, evaluations: Evaluations) -> None:
        self._detector = detector
        self._evaluations = evaluations
        self._sets: Dict[Tuple[int, int], Optional[_JudgedSet]] = {}

    def run(self, inside: str) -> None:
        sets: Dict[int, _JudgedSet] = {}
        # The latest evaluations first: the number of examined sets is limited.
        for record in reversed(self._evaluations.records):
            if record["source"] == "fit.training":
                continue
            findings = self._examine_once(record)
            if findings is not None:
                sets[record["id"]] = findings
                self._note(record, findings)
        subject = self._evaluations.judged_record()
        pairs = sets[subject["id"]].pairs() if subject is not None and "leaks" in subject else []
        path = os.path.join(inside, protocol.LEAKS)
        if pairs:
            atomic.write_json(path, {"schema": 1, "pairs": pairs})
        elif os.path.exists(path):
            os.remove(path)

    def _examine_once(self, record: Dict[str, Any]) -> "Optional[_JudgedSet]":
        xy = self._evaluations.xy.get(record["id"])
        model = self._evaluations.models.get(record["id"])
        if xy is None:
            return None
        key = (id(xy[0]), id(model))
        if key not in self._sets:
            self._sets[key] = None
            if len(self._sets) <= MAX_JUDGED_SETS:
                with self._detector.journal.guard("leaks"):
                    self._sets[key] = self._examine(model, *xy)
        return self._sets[key]

    def _examine(self, model: Any, x: Any, y: Any) -> "Optional[_JudgedSet]":
        if y is None and not hasattr(x, "get_label"):
            x, y = example_rows.in_memory(x) or (None, None)
        findings = self._detector.examine(model, x, y) if x is not None else None
        return None if findings is None else _JudgedSet(x, findings)

    def _note(self, record: Dict[str, Any], examined: "_JudgedSet") -> None:
        findings = examined.findings
        if record["held_out"] is False and examined.findings.is_training_set:
            return  # knowingly measured on the training examples
        if record["held_out"] is False and not self._is_needed(record):
            return
        if not (
            examined.leaking.any()
            or examined.repeated.any()
            or findings.targets
            or findings.prepared
        ):
            return
        record["leaks"] = {**examined.described(), "value_of_all": record["value"]}
        if examined.leaking.any():
            if examined.rest < MIN_REST:
                record["leaks"]["fate"] = "too few left"
                return
            record["leaks"]["fate"] = "not measured"  # until the repetition succeeds
            self._evaluations.leaking[record["id"]] = examined.names(examined.leaking)
        elif examined.repeated.any() and int((~examined.repeated).sum()) >= MIN_REST:
            self._evaluations.repeated[record["id"]] = examined.names(examined.repeated)
        if record["held_out"] is False:
            # The clean rest of these examples is held out, and it is all that counts from here on.
            record["held_out"] = True

    def _is_needed(self, record: Dict[str, Any]) -> bool:
        """Return whether no other number was measured on held-out examples.

        Then the part of these examples that was not trained on has to serve.
        """
        own = [r for r in self._evaluations.records if not str(r["source"]).startswith("fit.")]
        return not any(
            r["held_out"] is not False and r is not record and "leaks" not in r for r in own
        )


class _JudgedSet:
    """A set of judged examples with its findings."""

    def __init__(self, x: Any, findings: Findings) -> None:
        self.x = x
        self.findings = findings
        self.leaking = findings.leaking
        self.repeated = findings.repeated_only
        self.rest = int((~self.leaking).sum())

    def names(self, which: Any) -> FrozenSet[bytes]:
        """Return the hashes (`example_hashes.hashes`) of some of the examples."""
        hashes = example_hashes.hashes(self.x) or []
        return frozenset(name for name, is_one in zip(hashes, which.tolist()) if is_one)

    def pairs(self) -> List[Dict[str, Any]]:
        """Return some pairs for the report."""
        return pair_records(self.findings.copies, self.x, limit=MAX_PAIRS)

    def described(self) -> Dict[str, Any]:
        """Return the findings as metrics.json stores them."""
        import numpy

        findings = self.findings
        kinds: Dict[str, int] = {}
        is_counted: Any = numpy.zeros(findings.count, dtype=bool)
        for copies in findings.copies:
            new = copies.index[~is_counted[copies.index]]
            is_counted[new] = True
            if len(new):
                kinds[copies.kind] = kinds.get(copies.kind, 0) + len(new)
        return {
            "examples": findings.count,
            "left_out": int(self.leaking.sum()),
            "kinds": kinds,
            "fate": "",
            "repeated": int(self.repeated.sum()),
            "groups": [
                {"column": g.column, "examples": int(g.rows.sum())} for g in findings.groups
            ],
            "targets": findings.targets[:20],
            "prepared": findings.prepared[:20],
        }
