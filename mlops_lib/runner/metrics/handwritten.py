"""Measures that a script computes by hand: `(y == (p > 0.5)).mean()`, `np.mean((y - p) ** 2)`.

No function of a library is called that could be wrapped, so the project's own sources are compiled
with a call in place of the comparison, or the difference, that is averaged. It gives what the
operator gives, and notes the number if one side came from a prediction of the script.
"""

import ast
import operator
from typing import Any, Callable, Dict, Optional, Set

from mlops_lib.runner.metrics import predictions

EQUAL = "__mlops_equal__"
UNEQUAL = "__mlops_unequal__"
SQUARED = "__mlops_squared_difference__"
ABSOLUTE = "__mlops_absolute_difference__"
AVERAGES = frozenset(
    ["mean", "sum", "average", "count_nonzero", "reduce_mean", "reduce_sum", "nanmean"]
)
"""Last names of functions that make one number of many."""
SQUARES = frozenset(["square", "pow"])
ABSOLUTES = frozenset(["abs", "absolute", "fabs"])
FRUITLESS = 200
"""After so many comparisons of no prediction none is looked at any more: the script compares
something else.
"""


def accuracy_score(y: Any, predicted: Any) -> float:
    """Return the share of equal values."""
    import numpy

    return float((numpy.asarray(y).ravel() == numpy.asarray(predicted).ravel()).mean())


def mean_squared_error(y: Any, predicted: Any) -> float:
    """Return the mean of the squared differences."""
    import numpy

    return float(((numpy.asarray(y).ravel() - numpy.asarray(predicted).ravel()) ** 2).mean())


def mean_absolute_error(y: Any, predicted: Any) -> float:
    """Return the mean of the absolute differences."""
    import numpy

    return float(abs(numpy.asarray(y).ravel() - numpy.asarray(predicted).ravel()).mean())


Note = Callable[[Callable[..., float], Any, Any], None]
_note: Optional[Note] = None
_fruitless = 0


def install(note: Note) -> None:
    """Tell what to do with a measure: it gets its function, and the two sides.

    Args:
        note: called with the function, targets and predictions; whichever side is which.
    """
    global _note, _fruitless
    _note = note
    _fruitless = 0


def _operator(
    plain: Callable[[Any, Any], Any], measure: Callable[..., float]
) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        result = plain(left, right)
        _look(measure, left, right)
        return result

    return apply


def _look(measure: Callable[..., float], left: Any, right: Any) -> None:
    global _fruitless
    if _note is None or _fruitless > FRUITLESS or not _are_columns(left, right):
        return
    if predictions.trace(left) is None and predictions.trace(right) is None:
        _fruitless += 1
        return
    _note(measure, left, right)


def _are_columns(left: Any, right: Any) -> bool:
    """Return whether these are as many single values: a comparison of (n,) with (n, 1) makes n by
    n.
    """
    shapes = [getattr(one, "shape", None) for one in (left, right)]
    # A torch.Size is no plain tuple: comparisons of tensors are seen by the PyTorch adapter.
    if any(type(shape) is not tuple for shape in shapes) or shapes[0] != shapes[1]:
        return False
    shape = shapes[0]
    return (
        bool(shape)
        and shape is not None
        and shape[0] > 1
        and all(length == 1 for length in shape[1:])
    )


OPERATORS: Dict[str, Callable[[Any, Any], Any]] = {
    EQUAL: _operator(operator.eq, accuracy_score),
    UNEQUAL: _operator(operator.ne, accuracy_score),
    SQUARED: _operator(operator.sub, mean_squared_error),
    ABSOLUTE: _operator(operator.sub, mean_absolute_error),
}
"""Name in compiled sources to what it does."""


class Measures(ast.NodeTransformer):
    """Puts these operators in place of the ones whose results are averaged."""

    def __init__(self) -> None:
        self.used: Set[str] = set()

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`np.mean(y == p)`, `(y == p).mean()`, `sum(y != p)`."""
        self.generic_visit(node)
        if _last_name(node.func) in AVERAGES:
            inner = _Inner(self.used)
            node.args = [inner.visit(argument) for argument in node.args]
            if isinstance(node.func, ast.Attribute):
                node.func.value = inner.visit(node.func.value)
        return node


class _Inner(ast.NodeTransformer):
    def __init__(self, used: Set[str]) -> None:
        self._used = used

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if (
            len(node.ops) != 1
            or isinstance(node.comparators[0], ast.Constant)
            or isinstance(node.left, ast.Constant)
        ):
            return node
        name = {ast.Eq: EQUAL, ast.NotEq: UNEQUAL}.get(type(node.ops[0]))
        return node if name is None else self._call(name, node, node.left, node.comparators[0])

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        is_square = (
            isinstance(node.op, ast.Pow)
            and isinstance(node.right, ast.Constant)
            and node.right.value == 2
        )
        if is_square:
            node.left = self._difference(SQUARED, node.left)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        kind = (
            SQUARED
            if _last_name(node.func) in SQUARES
            else ABSOLUTE
            if _last_name(node.func) in ABSOLUTES
            else ""
        )
        if kind and node.args:
            node.args[0] = self._difference(kind, node.args[0])
        return node

    def _difference(self, name: str, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            return self._call(name, node, node.left, node.right)
        return node

    def _call(self, name: str, node: ast.expr, left: ast.expr, right: ast.expr) -> ast.expr:
        self._used.add(name)
        called = ast.copy_location(ast.Name(name, ast.Load()), node)
        return ast.copy_location(ast.Call(called, [left, right], []), node)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
