"""Readings: which tensor of an output is compared with targets, and as what.

A reading is learned from the script's use of an output: the loss function that takes it, and the
comparison with targets (`prediction == y`). It is traced by memory, or by values: the compared
tensor equals one of a few functions of the output. A tensor that equals none of them has no
reading.
"""

from typing import Any, Callable, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.pytorch import tensors
from mlops_lib.runner.pytorch.tensors import Path

CLASSES = "classes"
BINARY = "binary"
VALUES = "values"
"""The kinds of output: scores of classes, one or several independent yes-or-no scores, numbers."""

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
"""The score above which an answer is yes."""


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
"""Functions that scripts apply to an output before the loss function."""


class View(NamedTuple):
    """The layout of a tensor in the memory of another one."""

    shape: Tuple[int, ...]
    stride: Tuple[int, ...]
    offset: int


class Scores(NamedTuple):
    """The derivation of scores from a model's output."""

    path: Path
    shape: str = "itself"
    view: Optional[View] = None

    def of(self, output: Any, like: Any) -> Any:
        """Return the scores in an output.

        Args:
            output: the model's output.
            like: the shape of the scores.
        """
        value = tensors.at(output, self.path)
        if self.view is not None:
            # The script's view, applied to another output of the same shape.
            return value.contiguous().as_strided(
                self.view.shape, self.view.stride, self.view.offset
            )
        value = SHAPES[self.shape](value)
        # Scripts squeeze or flatten before the loss; the order of the elements stays.
        return value.reshape(like) if value.numel() == _size(like) else value


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= int(length)
    return size


def find_scores(output: Any, scores: Any) -> Optional[Scores]:
    """Return the derivation of a tensor from a model's output, None if there is none."""
    leaves = tensors.leaves(output)
    for path, leaf in leaves:
        # The cheapest checks first: identity, then memory, then values.
        if scores is leaf:
            return Scores(path)
    for path, leaf in leaves:
        if tensors.shares(leaf, scores):
            return _by_memory(path, leaf, scores)
    if not scores.is_floating_point():
        return None
    for path, leaf in leaves:
        # Twice as many: the second of two columns.
        if leaf.is_floating_point() and leaf.numel() in (scores.numel(), 2 * scores.numel()):
            # The order matters: the identity first, as a softmax of probabilities can look like
            # one.
            for name in SHAPES:
                if _makes(name, leaf, scores):
                    return Scores(path, name)
    return None


def _by_memory(path: Path, leaf: Any, scores: Any) -> Optional[Scores]:
    is_whole = leaf.is_contiguous() and leaf.storage_offset() == 0
    if scores.numel() == leaf.numel() and tensors.same_values(leaf, scores):
        return Scores(path)
    # Offset and strides mean the same only within a contiguous tensor.
    if not is_whole or leaf.dtype != scores.dtype:
        return None
    return Scores(
        path, view=View(tuple(scores.shape), tuple(scores.stride()), scores.storage_offset())
    )


def _makes(name: str, leaf: Any, scores: Any) -> bool:
    try:
        result = SHAPES[name](leaf)
    except (RuntimeError, IndexError):
        return False
    return result.numel() == scores.numel() and tensors.same_values(result, scores)


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
"""Functions that scripts apply to an output before they compare it with targets.

If several give the same values, the first counts.
"""


def find_answers(
    output: Any, prediction: Any, among: Iterable[str] = ()
) -> Tuple[Path, FrozenSet[str]]:
    """Return the tensor of an output and the functions that give a prediction.

    Args:
        output: the model's output.
        prediction: the tensor that the script compared.
        among: the candidate functions; all of them if it is empty.

    Returns:
        The path of the tensor and the functions' names; () and no name if none matches.
    """
    for path, leaf in tensors.leaves(output):
        names = [name for name in among or ANSWERS if _answers(name, leaf, prediction)]
        if names:
            return path, frozenset(names)
    return (), frozenset()


def _answers(name: str, leaf: Any, prediction: Any) -> bool:
    size = leaf.numel()
    if name.startswith("the highest"):
        dim = 1 if name == "the highest" else -1
        if (
            leaf.dim() < 2
            or size // max(1, leaf.shape[dim]) != prediction.numel()
            or leaf.shape[dim] < 2
        ):
            return False
    # Floating-point outputs that equal a floating-point prediction are no answers but scores.
    elif size != prediction.numel() or (
        name == "itself" and leaf.is_floating_point() and prediction.is_floating_point()
    ):
        return False
    try:
        return tensors.same_values(ANSWERS[name](leaf), prediction)
    except (RuntimeError, IndexError):
        return False


def all_answers(leaf: Any, count: int) -> Dict[str, List[Any]]:
    """Return the values of each function that gives one answer an example."""
    answers: Dict[str, List[Any]] = {}
    for name, make in ANSWERS.items():
        if name.startswith("the highest") and leaf.dim() < 2:
            continue
        try:
            values = make(leaf)
        except (RuntimeError, IndexError):
            continue
        if values.numel() == count:
            answers[name] = values.reshape(-1).tolist()
    return answers


def first_of(names: FrozenSet[str]) -> str:
    """Return the name that counts if several functions gave the same answers."""
    return next((name for name in ANSWERS if name in names), "")


def class_dim(scores: Any, target: Any) -> Optional[int]:
    """Return the dimension of the classes: without it, scores have the targets' shape.

    None if there is no such dimension.
    """
    shape = tuple(scores.shape)
    for dim in (1, len(shape) - 1, 0) if len(shape) > 1 else (0,):
        if dim < len(shape) and shape[:dim] + shape[dim + 1 :] == tuple(target.shape):
            return dim
    return None


def edges(names: List[str]) -> Optional[float]:
    """Return the score above which an answer is yes, None if the losses define none."""
    bounds = {EDGE_OF_LOSS[name] for name in names if name in EDGE_OF_LOSS}
    return bounds.pop() if len(bounds) == 1 else None
