"""The training examples of models, by content and by position in a data set.

They are hashed during the first training pass over the data, within a share of the time. If the
pass takes longer, or batches are random and come from no DataLoader, the rest stays unknown. If
training inputs are changed at random, their content does not identify them; then the data set of
the DataLoader, and the indices of a `Subset`, decide whether an evaluation is on training examples.
"""

import time
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.pytorch import artifact, tensors
from mlops_lib.runner.pytorch.sessions import Call, Session, examples_of, picks_part
from mlops_lib.runner.pytorch.watch import Watch

FREE_S = 2.0
SHARE_OF_TIME = 0.02
KEPT_NAMES = 1 << 17
"""The most hashes of training examples that a checkpoint holds."""
CARRIED_BYTES = 2 << 20
"""The most bytes of training inputs in a checkpoint.

Without them a resumed process does not look for near-copies.
"""
NAME_BYTES = 12
KEPT_BYTES = 1 << 27
"""The most bytes of training inputs that are kept to find near-copies among the judged examples."""
MANY = 0.5
"""The share of training data above which an evaluation is one of training examples."""
DEPTH = 8


class Seen:
    """The training examples of one model."""

    def __init__(self) -> None:
        self.names: List[bytes] = []
        self.inputs: List[Any] = []
        self.targets: List[Any] = []
        self.bytes = 0
        self.first_pass: Optional[int] = None
        self.is_whole = True
        """Whether all training examples have been hashed."""
        self.is_done = False
        self.places: List[int] = []
        """Keys of tensors that were hashed already: full batches are repeated."""
        self.data: Dict[Tuple[int, int], Tuple[Any, Any]] = {}
        """Data sets that were read and their samplers, by id."""


class TrainingExamples:
    """Follows the training data of models."""

    def __init__(self, run: Context, watch: Watch) -> None:
        self.run = run
        self.seen: Dict[int, Tuple[Any, Seen]] = {}
        """The id of a model to the model and its training examples."""
        self.inherited: Dict[int, Seen] = {}
        """The number of a fit to its training examples in an earlier process."""
        self._spent_s = 0.0
        self._began = time.monotonic()
        watch.on_trained.append(self.trained)
        watch.wants_inputs.append(self.wants_inputs)

    def wants_inputs(self, model: Any) -> bool:
        """Return whether training inputs of a model are still to be hashed."""
        entry = self.seen.get(id(artifact.plain(model)))
        return entry is None or not entry[1].is_done

    def trained(self, call: Call) -> None:
        """Note the examples of a call whose output went backward."""
        model = artifact.plain(call.model)
        history = self._seen(model)
        if call.loader is not None:
            sampler = getattr(call.loader, "sampler", None)
            key = (id(call.loader.dataset), id(sampler) if picks_part(sampler) else 0)
            if key not in history.data:
                history.data[key] = (call.loader.dataset, sampler)
        if history.is_done:
            return
        # A second pass has begun: with an epoch of data all examples were met once.
        if call.iterator is not None and history.first_pass not in (None, call.iterator):
            history.is_done = True
            return
        history.first_pass = call.iterator
        began = time.monotonic()
        self._name(history, call)
        self._spent_s += time.monotonic() - began
        # Hashing is bounded by a share of the time, so that no training gets noticeably slower.
        if self._spent_s > FREE_S + SHARE_OF_TIME * (began - self._began):
            history.is_done, history.is_whole = True, False

    def _seen(self, model: Any) -> Seen:
        entry = self.seen.get(id(model))
        if entry is None:
            # Fits are numbered in the order of their training, which repeats in each process.
            inherited = self.inherited.pop(min(self.inherited)) if self.inherited else None
            entry = self.seen[id(model)] = (model, inherited or Seen())
        return entry[1]

    def state(self, models: Mapping[int, Any]) -> Dict[int, Dict[str, Any]]:
        """Return the facts that a resumed process must know, by the number of the fit.

        Args:
            models: the number of each fit, and its model.
        """
        facts: Dict[int, Dict[str, Any]] = {}
        for number, model in models.items():
            entry = self.seen.get(id(model))
            if entry is None:
                continue
            history = entry[1]
            is_kept = len(history.names) <= KEPT_NAMES
            is_small = history.bytes <= CARRIED_BYTES
            facts[number] = {
                "names": b"".join(history.names) if is_kept else b"",
                "is_whole": history.is_whole and is_kept,
                "is_done": history.is_done or not is_kept,
                "bytes": history.bytes if is_small else KEPT_BYTES + 1,
                "inputs": list(history.inputs) if is_small else [],
                "targets": list(history.targets) if is_small else [],
            }
        return facts

    def restore(self, state: Dict[int, Dict[str, Any]]) -> None:
        """Restore what `state` returned; an interrupted pass continues."""
        for number, facts in state.items():
            history = self.inherited[number] = Seen()
            names = facts["names"]
            history.names = [names[i : i + NAME_BYTES] for i in range(0, len(names), NAME_BYTES)]
            history.is_whole, history.is_done = bool(facts["is_whole"]), bool(facts["is_done"])
            history.bytes = facts["bytes"]
            history.inputs, history.targets = list(facts["inputs"]), list(facts["targets"])

    def _name(self, history: Seen, call: Call) -> None:
        targets = [array.target for array in call.losses]
        size, paths = examples_of(call, targets)
        inputs = [tensors.at((call.args, call.kwargs), path) for path in paths]
        # Without a DataLoader the same batch may be used at each step.
        if call.iterator is None and inputs:
            key = hash(
                (tensors.place(inputs[0]), inputs[0].storage_offset(), tuple(inputs[0].shape))
            )
            if key in history.places:
                return
            history.places.append(key)
            del history.places[:-64]
        rows = tensors.rows(inputs, size)
        names = None if rows is None else example_hashes.hashes(rows)
        if names is None or isinstance(rows, type(None)):
            history.is_whole = False
            return
        history.names += names
        arrays = rows if isinstance(rows, tuple) else (rows,)
        history.bytes += sum(int(array.nbytes) for array in arrays)
        # Near-copies are looked for among models of one input only.
        if history.bytes <= KEPT_BYTES and not isinstance(rows, tuple):
            history.inputs.append(rows.copy())
            target = (
                targets[-1] if targets and targets[-1].dim() and len(targets[-1]) == size else None
            )
            history.targets.append(None if target is None else tensors.array(target).copy())

    def _known(self, model: Any) -> Optional[Tuple[Any, Seen]]:
        """Return a model and its training examples.

        Those of an earlier process belong to the one model that has none.
        """
        model = artifact.plain(model)
        if id(model) not in self.seen and len(self.inherited) == 1:
            self._seen(model)
        return self.seen.get(id(model))

    def of(self, model: Any) -> Optional[example_hashes.Examples]:
        """Return the training examples of a model, None unless all are known."""
        entry = self._known(model)
        if entry is None or not entry[1].is_whole or not entry[1].names:
            return None
        return example_hashes.Examples(entry[1].names)

    def share_of(self, session: Session) -> Optional[float]:
        """Return the share of training data in an evaluation's data set, None if unknown."""
        entry = self._known(session.model)
        if entry is None or session.loader is None:
            return None
        judged = _source(session.loader.dataset, getattr(session.loader, "sampler", None))
        shares = [_overlap(judged, _source(*data)) for data in entry[1].data.values()]
        known_shares = [share for share in shares if share is not None]
        return max(known_shares) if known_shares else None

    def finish(self) -> None:
        """Report the training examples of each model to the evaluations and leak checks."""
        for model, history in self.seen.values():
            facade = artifact.of(model)
            self.run.evaluations.trainings.add(facade, None, self.of(model))
            x = tensors.joined(history.inputs)
            if x is None or history.bytes > KEPT_BYTES:
                continue
            y = (
                tensors.joined(history.targets)
                if all(target is not None for target in history.targets)
                else None
            )
            self.run.leaks.record_training(facade, x, y)


def _source(data: Any, sampler: Any = None) -> Tuple[Any, Optional[FrozenSet[int]]]:
    """Return the data set behind a `Subset`, and its indices; None for all of them.

    Args:
        data: the data set.
        sampler: chooses its examples; some choose a part of them.
    """
    indices = [int(index) for index in sampler.indices] if picks_part(sampler) else None
    for _ in range(DEPTH):
        inner = getattr(data, "dataset", None)
        own = getattr(data, "indices", None)
        if inner is None or own is None or type(data).__name__ != "Subset":
            break
        indices_of_subset = [int(index) for index in own]
        indices = (
            indices_of_subset
            if indices is None
            else [indices_of_subset[index] for index in indices]
        )
        # Subsets of subsets: the indices of the outer one are positions in the inner one.
        data = inner
    return data, None if indices is None else frozenset(indices)


def _overlap(judged: Any, trained: Any) -> Optional[float]:
    """Return the share of the judged data that is training data; None for other sets."""
    if judged[0] is not trained[0]:
        return None
    if trained[1] is None:
        return 1.0
    if judged[1] is None:
        return len(trained[1]) / max(1, len(judged[0]))
    return len(judged[1] & trained[1]) / max(1, len(judged[1]))
