"""The data of a training loop: training, evaluated and held-back examples.

Trials select on examples of the training data. In the process of a trial the held-back examples
replace the judged ones, and other training examples replace the held-back ones: every length stays
the same, and the script's own evaluation measures the trial on examples that it was not trained on.
The judged examples cannot be read there.
"""

from __future__ import annotations

import copy
import random
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from mlops_lib.runner.pytorch import tensors

SHARE = 0.1
"""The share of the training examples that is held back, as for Keras."""
FEWEST = 200
LARGEST_SHARE = 0.25
FEWEST_ROWS = 8
COMPARED_ROWS = 16
"""Rows of a batch by which its tensor is recognised."""
CANDIDATES = 200
"""Tensors that a batch is looked for in."""


class Source(NamedTuple):
    """Examples: a data set that a DataLoader reads, or tensors with one example a row."""

    dataset: Any = None
    x: Any = None
    y: Any = None

    def __len__(self) -> int:
        return len(self.dataset if self.dataset is not None else self.x)

    def address(self) -> Dict[str, int]:
        """Return the addresses of its objects, for a process with the same memory."""
        return {
            name: 0 if value is None else id(value)
            for name, value in zip(("dataset", "x", "y"), self)
        }


def source_at(address: Dict[str, int]) -> Optional[Source]:
    """Return the source whose objects are at an address, or None if one is missing."""
    import gc

    addresses = {item_id for item_id in address.values() if item_id}
    objects = {id(item): item for item in gc.get_objects() if id(item) in addresses}
    if len(objects) < len(addresses) or not addresses:
        return None
    return Source(*(objects.get(address[name]) for name in ("dataset", "x", "y")))


class Held(NamedTuple):
    """The training examples that are held back, and those that replace them."""

    rows: List[int]
    places: List[int]
    """For each place of the training data the row that is read there."""


def hold_back(count: int, *, seed: int) -> Held:
    """Choose the examples to hold back."""
    draw = random.Random(seed)
    # Of few examples a larger share, or scores would differ by chance only.
    share = min(max(SHARE, FEWEST / count), LARGEST_SHARE)
    rows = sorted(draw.sample(range(count), max(1, round(count * share))))
    held_rows = set(rows)
    rest = [row for row in range(count) if row not in held_rows]
    places = list(range(count))
    for row in rows:
        # Another example in its place, so that neither lengths nor the number of steps change.
        places[row] = draw.choice(rest)
    return Held(rows, places)


class Remapped:
    """A data set read in another order; all other attributes are the original's."""

    def __init__(self, dataset: Any, places: Sequence[int]) -> None:
        self._mlops_dataset = dataset
        self._mlops_places = places

    def __getitem__(self, index: Any) -> Any:
        return self._mlops_dataset[self._mlops_places[int(index)]]

    def __len__(self) -> int:
        return len(self._mlops_places)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_mlops", "__")):  # `__getitems__` would read the original's own order
            raise AttributeError(name)
        return getattr(self._mlops_dataset, name)


def like_evaluated(training: Any, evaluated: Any) -> Any:
    """Return a data set of training examples with the evaluated data's transforms.

    Random changes of training inputs are no part of an evaluation.
    """
    if type(training).__name__ == "Subset" and hasattr(training, "dataset"):
        inner = evaluated.dataset if type(evaluated).__name__ == "Subset" else evaluated
        changed = copy.copy(training)
        changed.dataset = like_evaluated(training.dataset, inner)
        return changed
    if type(evaluated).__name__ == "Subset" and hasattr(evaluated, "dataset"):
        return like_evaluated(training, evaluated.dataset)
    # Only data sets of one class are sure to take each other's transforms.
    if type(training) is not type(evaluated) or not hasattr(training, "transform"):
        return training
    changed = copy.copy(training)
    for name in ("transform", "transforms"):
        if hasattr(evaluated, name):
            setattr(changed, name, getattr(evaluated, name))
    return changed


def replace(training: Source, evaluated: Source, held: Held) -> Any:
    """Replace the evaluated examples by the held-back ones, in this process only.

    Returns:
        The source that evaluations of the held-back examples read: a data set, or a tensor.

    Raises:
        ValueError: the examples do not fit there.
    """
    count = len(evaluated)
    # Repeated in order if there are fewer of them than evaluated examples.
    rows = [held.rows[i % len(held.rows)] for i in range(count)]
    if evaluated.dataset is not None:
        if training.dataset is None:
            raise ValueError("the training data is no data set, and what is evaluated is one")
        substitute = Remapped(like_evaluated(training.dataset, evaluated.dataset), rows)
        put_in_loaders(
            {
                id(evaluated.dataset): substitute,
                id(training.dataset): Remapped(training.dataset, held.places),
            }
        )
        return substitute
    x, y = _rows(training, rows)
    # In place: the script's loop and its closures hold these very tensors.
    evaluated.x.data.copy_(x.reshape(evaluated.x.shape))
    if evaluated.y is not None:
        evaluated.y.data.copy_(y.reshape(evaluated.y.shape))
    if training.dataset is not None:
        put_in_loaders({id(training.dataset): Remapped(training.dataset, held.places)})
    else:
        for tensor in (training.x, training.y):
            if tensor is not None:
                tensor.data.copy_(tensor.data[held.places].clone())
    return evaluated.x


def _rows(source: Source, rows: List[int]) -> Any:
    if source.dataset is None:
        return source.x.data[rows].clone(), None if source.y is None else source.y.data[
            rows
        ].clone()
    collate = sys.modules["torch.utils.data"].default_collate
    batch = collate([source.dataset[row] for row in rows])
    if not isinstance(batch, (list, tuple)) or len(batch) != 2:
        raise ValueError("an example of the training data is no pair of input and target")
    return batch


def put_in_loaders(substitutes: Dict[int, Any]) -> None:
    """Let every DataLoader, later ones included, read substitutes of its data set.

    Args:
        substitutes: by the identity of the data set that is replaced.
    """
    loader_class = sys.modules["torch.utils.data.dataloader"].DataLoader
    plain = loader_class.__iter__

    def __iter__(self: Any) -> Any:  # noqa: N807 - what Python calls
        substitute = substitutes.get(id(self.dataset))
        if substitute is not None:
            self.__dict__["dataset"] = substitute  # `__setattr__` refuses
        return plain(self)

    loader_class.__iter__ = __iter__


class Tensors:
    """The tensors at the entry of the loop, among which a batch's origin is found."""

    def __init__(self, candidates: List[Any]) -> None:
        rows = [
            tensor
            for tensor in candidates
            if not tensor.requires_grad
            and tensor.dim()
            and len(tensor) >= FEWEST_ROWS
            and not tensor.is_sparse
        ]
        # The largest: a data set has more numbers than a batch of it or a parameter.
        self._all = sorted(rows, key=lambda tensor: tensor.numel())[-CANDIDATES:]

    def source(self, x: Any, y: Any) -> Optional[Source]:
        """Return the tensors that inputs and targets are rows of, None if there are none."""
        if y is None or y.numel() % len(x):
            return None
        y = y.reshape(len(x), -1)[:COMPARED_ROWS]
        x = x[:COMPARED_ROWS]
        for inputs in self._holding(x):
            places = self._places(inputs, x)
            if places is None:
                continue
            for targets in self._all:
                if targets is inputs or len(targets) != len(inputs):
                    continue
                rows = targets[places]
                if rows.numel() == y.numel() and bool((rows.reshape(y.shape) == y).all()):
                    return Source(None, inputs, targets)
        return None

    def _holding(self, x: Any) -> List[Any]:
        """Return the tensors that may hold `x`, those that share its memory first."""
        fitting = [
            tensor
            for tensor in self._all
            if len(tensor) >= len(x)
            and tensor[0].numel() == x[0].numel()
            and tensor.dtype == x.dtype
        ]
        return sorted(fitting, key=lambda tensor: (not tensors.shares(tensor, x), tensor.numel()))

    def _places(self, inputs: Any, x: Any) -> Any:
        """Return the places of the rows of `x`; None if they are not rows of `inputs`."""
        flat = inputs.reshape(len(inputs), -1)
        places: List[int] = []
        for row in x.reshape(len(x), -1):
            matches = (flat == row.reshape(1, -1)).all(1).nonzero().flatten().tolist()
            if not matches:
                return None
            # Of equal rows the next one is meant, as in a batch of neighbours.
            next_place = places[-1] + 1 if places else matches[0]
            places.append(next_place if next_place in matches else matches[0])
        return places
