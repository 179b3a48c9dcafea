"""Hand-written metrics: `(y == (p > 0.5)).mean()`, `np.mean((y - p) ** 2)`.

They call no library function that could be wrapped. So the project's own sources are compiled with
a call in place of the comparison, or the difference, that is averaged. The call returns the
operator's result, and reports the number if one side came from a prediction of the script.
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
"""Last names of functions that reduce many numbers to one."""
SQUARES = frozenset(["square", "pow"])
ABSOLUTES = frozenset(["abs", "absolute", "fabs"])
MAX_UNTRACED = 200
"""Number of comparisons without a prediction, after which the script's comparisons are ignored."""


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
_untraced = 0


def install(note: Note) -> None:
    """Set the function that receives the metrics.

    Args:
        note: called with the metric's function, targets and predictions, in the order of the
            script.
    """
    global _note, _untraced
    _note = note
    _untraced = 0


def _operator(
    plain: Callable[[Any, Any], Any], measure: Callable[..., float]
) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        result = plain(left, right)
        _report_if_predicted(measure, left, right)
        return result

    return apply


def _report_if_predicted(measure: Callable[..., float], left: Any, right: Any) -> None:
    global _untraced
    if _note is None or _untraced > MAX_UNTRACED or not _are_columns(left, right):
        return
    # Tracing hashes both sides, which a script with many unrelated comparisons would pay for.
    if predictions.trace(left) is None and predictions.trace(right) is None:
        _untraced += 1
        return
    _note(measure, left, right)


def _are_columns(left: Any, right: Any) -> bool:
    """Return whether both are equally many single values.

    A comparison of (n,) with (n, 1) yields an array of n by n.
    """
    shapes = [getattr(side, "shape", None) for side in (left, right)]
    # A torch.Size is not a plain tuple: comparisons of tensors are seen by the PyTorch adapter.
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
"""Name in compiled sources to its function."""


class MetricTransformer(ast.NodeTransformer):
    """Replace the operators whose results are averaged."""

    def __init__(self) -> None:
        self.used: Set[str] = set()

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Transform calls like `np.mean(y == p)`, `(y == p).mean()` and `sum(y != p)`."""
        self.generic_visit(node)
        if _last_name(node.func) in AVERAGES:
            inner = _OperandTransformer(self.used)
            node.args = [inner.visit(argument) for argument in node.args]
            if isinstance(node.func, ast.Attribute):
                node.func.value = inner.visit(node.func.value)
        return node


class _OperandTransformer(ast.NodeTransformer):
    def __init__(self, used: Set[str]) -> None:
        self._used = used

    # A lambda runs later and elsewhere, so its comparisons are not the averaged ones.
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
