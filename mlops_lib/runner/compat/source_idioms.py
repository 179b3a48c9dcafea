"""Idioms of old code visible only in its source, executed with their old meaning."""

import ast
import io
import re
import tokenize
from typing import Any, Callable, Set

FIRST, MODE, NUMBER, SHOWN, BYTES = (
    f"__mlops_{name}__" for name in ("first", "mode", "number", "shown", "bytes")
)
"""Names that no script has, for what a source calls instead."""
_ASYNC = re.compile(r"\basync\s*=")


def asynchronous(text: str) -> str:
    """`x.cuda(async=True)`: the keyword became a word of Python's, and `non_blocking`."""
    if not _ASYNC.search(text):
        return text
    lines = text.splitlines(keepends=True)
    try:
        words = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return text
    for word, after in reversed(list(zip(words, words[1:]))):
        if word.string == "async" and after.string == "=":
            row, column = word.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + "non_blocking" + line[column + len("async") :]
    return "".join(lines)


def first(values: Any, *, say: Callable[[], None]) -> Any:
    """`loss.data[0]`: the number that a tensor without dimensions holds."""
    if getattr(values, "ndim", 1) == 0 and hasattr(values, "item"):
        say()
        return values.item()
    return values[0]


def kept_mode(result: Any, *, aged: bool, say: Callable[[], None]) -> Any:
    """Return SciPy's mode so that `mode(x)[0][0]` works, whose dimension 1.11 dropped.

    Args:
        result: the result of `scipy.stats.mode`.
        aged: whether the script is so old that `[0][0]` of a table's columns gave all their modes.
        say: called if the meaning differs.
    """
    modes = result[0]
    dimensions = getattr(modes, "ndim", 0)
    if dimensions == 0 or (
        aged and dimensions == 1 and getattr(result[1], "ndim", 0) == 1 and len(modes) != 1
    ):
        say()
        return modes
    return modes[0]


def number(kind: Callable[..., Any], value: Any, *, say: Callable[[], None]) -> Any:
    """Return the number in a one-element array for `float(x)` and `int(x)`.

    NumPy 2.4 accepts only arrays without dimensions.
    """
    try:
        return kind(value)
    except TypeError:
        if not _is_one(value):
            raise
        say()
        return kind(value.item())


def shown(text: Any, values: Any, *, say: Callable[[], None]) -> Any:
    """`"%.2f" % x` of such an array."""
    try:
        return text % values
    except TypeError:
        item = values if isinstance(values, tuple) else (values,)
        if not any(map(_is_one, item)):
            raise
        say()
        return text % tuple(value.item() if _is_one(value) else value for value in item)


def as_bytes(value: Any, *, say: Callable[[], None]) -> Any:
    """`array.tostring()`, which numpy has no more since 2.3."""
    if hasattr(value, "tostring") or not hasattr(value, "tobytes"):
        return value.tostring()
    say()
    return value.tobytes()


def _is_one(value: Any) -> bool:
    return (
        getattr(value, "ndim", 0) > 0 and getattr(value, "size", 0) == 1 and hasattr(value, "item")
    )


class Idioms(ast.NodeTransformer):
    """Rewriter of `tensor.data[0]`, `mode(x)[0][0]`, `float(x)` and `"%f" % x`.

    It acts only on sources that use PyTorch or SciPy's `mode`.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.used: Set[str] = set()
        self._torch = False
        self._modes: Set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._torch = self._torch or any(
                    alias.name.split(".")[0] == "torch" for alias in node.names
                )
                self._modes |= {
                    f"{alias.asname or alias.name}.mode"
                    for alias in node.names
                    if alias.name == "scipy.stats"
                }
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self._torch = self._torch or (node.module or "").split(".")[0] == "torch"
                for alias in node.names:
                    name = alias.asname or alias.name
                    if (node.module, alias.name) == ("scipy", "stats"):
                        self._modes.add(f"{name}.mode")
                    elif (node.module, alias.name) == ("scipy.stats", "mode"):
                        self._modes.add(name)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """`x[0]`."""
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) or not _is_zero(node.slice):
            return node
        inner = node.value
        if self._torch and isinstance(inner, ast.Attribute) and inner.attr == "data":
            return self._call(FIRST, node, inner)
        modes = (isinstance(inner, ast.Subscript) and _is_zero(inner.slice)) or (
            isinstance(inner, ast.Attribute) and inner.attr == "mode"
        )
        call = getattr(inner, "value", None)
        if modes and isinstance(call, ast.Call) and _dotted(call.func) in self._modes:
            return self._call(MODE, node, call)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Leave a lambda as it is: a Lambda layer is saved with its code and loaded without shims."""
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`float(x)`, `x.tostring()`."""
        self.generic_visit(node)
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "tostring"
            and not (node.args or node.keywords)
        ):
            return self._call(BYTES, node, node.func.value)
        plain = isinstance(node.func, ast.Name) and node.func.id in ("float", "int")
        if (
            not plain
            or len(node.args) != 1
            or node.keywords
            or isinstance(node.args[0], (ast.Constant, ast.Starred))
        ):
            return node
        return self._call(NUMBER, node, node.func, node.args[0])

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """`"%f" % x`."""
        self.generic_visit(node)
        text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        return (
            self._call(SHOWN, node, node.left, node.right)
            if text and isinstance(node.op, ast.Mod)
            else node
        )

    def _call(self, name: str, node: ast.expr, *values: ast.expr) -> ast.Call:
        self.used.add(name)
        called = ast.copy_location(ast.Name(id=name, ctx=ast.Load()), node)
        return ast.copy_location(ast.Call(func=called, args=list(values), keywords=[]), node)


def _is_zero(index: Any) -> bool:
    index = index.value if type(index).__name__ == "Index" else index  # up to Python 3.8
    return isinstance(index, ast.Constant) and type(index.value) is int and index.value == 0


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
