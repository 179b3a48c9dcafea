"""How the output of a model is read: which tensor of it is compared with targets, and what it
stands for.

A reading is learned from what the script does with an output: the loss function that it is given
to, and the comparison with targets (`prediction == y`). It is traced by memory, or by values: what
was compared is the same as one of a few functions of the output. What is none of them has no
reading.
"""

from typing import Any, Callable, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.pytorch import tensors
from mlops_lib.runner.pytorch.tensors import Path

CLASSES = "classes"
BINARY = "binary"
VALUES = "values"
"""What an output stands for: scores of classes, one score (or several independent ones) of yes or
no, numbers.
"""

KIND_OF_LOSS = {
    "cross_entropy": CLASSES,
    "nll_loss": CLASSES,
    "multi_margin_loss": CLASSES,
    "binary_cross_entropy": BINARY,
    "binary_cross_entropy_with_logits": BINARY,
    "multilabel_soft_margin_loss": BINARY,
    "mse_loss": VALUES,
    "l1_loss": VALUES,
    "smooth_l1_loss": VALUES,
    "huber_loss": VALUES,
}
"""Functions of torch.nn.functional that compare an output with targets."""
EDGE_OF_LOSS = {
    "binary_cross_entropy": 0.5,
    "binary_cross_entropy_with_logits": 0.0,
    "multilabel_soft_margin_loss": 0.0,
}
"""Above it an answer is yes."""


def _log_softmax(value: Any) -> Any:
    return value.log_softmax(1 if value.dim() > 1 else 0)


def _softmax(value: Any) -> Any:
    return value.softmax(1 if value.dim() > 1 else 0)


SHAPES: Dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "log_softmax": _log_softmax,
    "log_softmax of the last": lambda value: value.log_softmax(-1),
    "softmax": _softmax,
    "softmax of the last": lambda value: value.softmax(-1),
    "sigmoid": lambda value: value.sigmoid(),
    "second": lambda value: value[:, 1],
    "exp": lambda value: value.exp(),
}
"""What scripts make of an output before they give it to a loss."""


class View(NamedTuple):
    """How a tensor lies in the memory of another one."""

    shape: Tuple[int, ...]
    stride: Tuple[int, ...]
    offset: int


class Scores(NamedTuple):
    """How scores are made of a model's output."""

    path: Path
    shape: str = "itself"
    view: Optional[View] = None

    def of(self, output: Any, like: Any) -> Any:
        """Return the scores in an output.

        Args:
            output: what the model gave.
            like: the shape that they are to have.
        """
        value = tensors.at(output, self.path)
        if self.view is not None:
            return value.contiguous().as_strided(
                self.view.shape, self.view.stride, self.view.offset
            )
        value = SHAPES[self.shape](value)
        return value.reshape(like) if value.numel() == _size(like) else value


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= int(length)
    return size


def find_scores(output: Any, wanted: Any) -> Optional[Scores]:
    """Return how a tensor was made of a model's output, None if it was not, or in a way that is not
    known.
    """
    found = tensors.leaves(output)
    for path, leaf in found:
        if wanted is leaf:
            return Scores(path)
    for path, leaf in found:
        if tensors.shares(leaf, wanted):
            return _by_memory(path, leaf, wanted)
    if not wanted.is_floating_point():
        return None
    for path, leaf in found:
        if leaf.is_floating_point() and leaf.numel() in (wanted.numel(), 2 * wanted.numel()):
            for name in SHAPES:
                if _makes(name, leaf, wanted):
                    return Scores(path, name)
    return None


def _by_memory(path: Path, leaf: Any, wanted: Any) -> Optional[Scores]:
    whole = leaf.is_contiguous() and leaf.storage_offset() == 0
    if wanted.numel() == leaf.numel() and tensors.same_values(leaf, wanted):
        return Scores(path)
    if not whole or leaf.dtype != wanted.dtype:
        return None
    return Scores(
        path, view=View(tuple(wanted.shape), tuple(wanted.stride()), wanted.storage_offset())
    )


def _makes(name: str, leaf: Any, wanted: Any) -> bool:
    try:
        made = SHAPES[name](leaf)
    except (RuntimeError, IndexError):
        return False
    return made.numel() == wanted.numel() and tensors.same_values(made, wanted)


# --- Answers


def _argmax(dim: int) -> Callable[[Any], Any]:
    return lambda value: value.argmax(dim)


ANSWERS: Dict[str, Callable[[Any], Any]] = {
    "the highest": _argmax(1),
    "the highest of the last": _argmax(-1),
    "above 0": lambda value: value > 0,
    "above 1/2": lambda value: value > 0.5,
    "0 or above": lambda value: value >= 0,
    "1/2 or above": lambda value: value >= 0.5,
    "sigmoid above 1/2": lambda value: value.sigmoid() > 0.5,
    "sigmoid, rounded": lambda value: value.sigmoid().round(),
    "rounded": lambda value: value.round(),
    "sign": lambda value: value.sign(),
    "itself": lambda value: value,
}
"""What scripts make of an output before they compare it with targets.

Where several give the same, the first counts.
"""


def find_answers(
    output: Any, wanted: Any, among: Iterable[str] = ()
) -> Tuple[Path, FrozenSet[str]]:
    """Return the tensor of an output that a prediction was made of, and the functions that make it;
    none if none does.

    Args:
        output: what the model gave.
        wanted: the prediction.
        among: the functions that come into question; all if it is empty.
    """
    for path, leaf in tensors.leaves(output):
        names = [name for name in among or ANSWERS if _answers(name, leaf, wanted)]
        if names:
            return path, frozenset(names)
    return (), frozenset()


def _answers(name: str, leaf: Any, wanted: Any) -> bool:
    size = leaf.numel()
    if name.startswith("the highest"):
        dim = 1 if name == "the highest" else -1
        if (
            leaf.dim() < 2
            or size // max(1, leaf.shape[dim]) != wanted.numel()
            or leaf.shape[dim] < 2
        ):
            return False
    elif size != wanted.numel() or (
        name == "itself" and leaf.is_floating_point() and wanted.is_floating_point()
    ):
        return False
    try:
        return tensors.same_values(ANSWERS[name](leaf), wanted)
    except (RuntimeError, IndexError):
        return False


def all_answers(leaf: Any, count: int) -> Dict[str, List[Any]]:
    """Return what each function gives that makes one answer an example of an output."""
    found: Dict[str, List[Any]] = {}
    for name, make in ANSWERS.items():
        if name.startswith("the highest") and leaf.dim() < 2:
            continue
        try:
            made = make(leaf)
        except (RuntimeError, IndexError):
            continue
        if made.numel() == count:
            found[name] = made.reshape(-1).tolist()
    return found


def first_of(names: FrozenSet[str]) -> str:
    """Return the name that counts if several functions gave the same answers."""
    return next((name for name in ANSWERS if name in names), "")


def class_dim(scores: Any, target: Any) -> Optional[int]:
    """Return the dimension of the classes: of what is left without it the targets have the shape;
    None if there is none.
    """
    shape = tuple(scores.shape)
    for dim in (1, len(shape) - 1, 0) if len(shape) > 1 else (0,):
        if dim < len(shape) and shape[:dim] + shape[dim + 1 :] == tuple(target.shape):
            return dim
    return None


def edges(names: List[str]) -> Optional[float]:
    """Return the bound above which an answer is yes, None if these loss functions name none."""
    found = {EDGE_OF_LOSS[name] for name in names if name in EDGE_OF_LOSS}
    return found.pop() if len(found) == 1 else None
