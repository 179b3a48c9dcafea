"""Count the command line arguments that a script requires at its beginning."""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENDING = frozenset(("exit", "quit", "_exit", "abort", "error"))
"""Last names of calls that end a program."""
USAGE = frozenset(("usage", "print_usage", "print_help", "show_usage", "help"))
"""Last names of functions of a script's own that say how to call it, and end it."""
MIRRORED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


def insisted_on(tree: ast.Module) -> int:
    """Return how many arguments the script needs to go on, 0 if it insists on none.

    Example:
        >>> insisted_on(ast.parse("import sys; assert len(sys.argv) == 3"))
        2
    """
    names = _names(tree)
    result = [0]
    for node in ast.walk(tree):
        if isinstance(node, ast.If):
            if _ends(node.body):
                result.append(_too_few(node.test, names))
            elif node.orelse and _ends(node.orelse):
                result.append(_enough(node.test, names))
        elif isinstance(node, ast.Assert):
            result.append(_enough(node.test, names))
    return max(result)


def _names(tree: ast.Module) -> dict[str, int]:
    """Return the names that hold the arguments, each with its offset in `sys.argv`."""
    result = {"sys.argv": 0}
    functions = {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "sys":
            result.update(
                {alias.asname or alias.name: 0 for alias in node.names if alias.name == "argv"}
            )
        elif (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
        ):
            left_out = _left_out(node.value, result)
            if left_out is not None:
                result[node.targets[0].id] = left_out
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in functions
        ):
            parameters = functions[node.func.id].args.args
            for parameter, value in zip(parameters, node.args, strict=False):
                left_out = _left_out(value, result)
                if left_out is not None:
                    result[parameter.arg] = left_out
    return result


def _left_out(value: ast.expr, names: Mapping[str, int]) -> int | None:
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice):
        begin = value.slice.lower
        inner = _left_out(value.value, names)
        if inner is None or value.slice.upper is not None or value.slice.step is not None:
            return None
        if begin is None:
            return inner
        return (
            inner + begin.value
            if isinstance(begin, ast.Constant) and isinstance(begin.value, int)
            else None
        )
    return names.get(_dotted(value))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _counted(node: ast.expr, names: Mapping[str, int]) -> int | None:
    """Return the offset by which `len(…)` of the arguments differs from their number, None if it is
    no such call.
    """
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "len"
        and node.args
    ):
        left_out = _left_out(node.args[0], names)
        return None if left_out is None else 1 - left_out
    return None


def _comparison(
    test: ast.expr, names: Mapping[str, int]
) -> tuple[type[ast.cmpop], list[int]] | None:
    """Return the comparison of the number of arguments, and the compared numbers."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    left = test.left
    right = test.comparators[0]
    kind = type(test.ops[0])
    offset = _counted(left, names)
    if offset is None:
        offset, right, kind = _counted(right, names), left, MIRRORED.get(kind, kind)
    listed = right.elts if isinstance(right, (ast.Tuple, ast.List, ast.Set)) else [right]
    numbers = [
        one.value for one in listed if isinstance(one, ast.Constant) and isinstance(one.value, int)
    ]
    if offset is None or not numbers or len(numbers) < len(listed):
        return None
    return kind, [number - offset for number in numbers]


def _too_few(test: ast.expr, names: Mapping[str, int]) -> int:
    """Return the fewest arguments for which the test is false."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return 1 if _left_out(test.operand, names) == 1 else _enough(test.operand, names)
    if isinstance(test, ast.BoolOp):
        parts = [_too_few(one, names) for one in test.values]
        return max(parts) if isinstance(test.op, ast.Or) else min(parts)
    compared = _comparison(test, names)
    if compared is None:
        return 0
    kind, numbers = compared
    if kind in (ast.NotEq, ast.NotIn, ast.Lt):
        return max(0, min(numbers))
    if kind is ast.LtE:
        return max(0, numbers[0] + 1)
    if kind in (ast.Eq, ast.In):  # `if len(sys.argv) == 1: usage()`
        return next(number for number in range(len(numbers) + 1) if number not in numbers)
    return 0


def _enough(test: ast.expr, names: Mapping[str, int]) -> int:
    """Return the fewest arguments for which the test is true."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _too_few(test.operand, names)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return max(_enough(one, names) for one in test.values)
    compared = _comparison(test, names)
    if compared is None:
        return 1 if _left_out(test, names) == 1 else 0
    kind, numbers = compared
    if kind in (ast.Eq, ast.In, ast.GtE):
        return max(0, min(numbers))
    if kind is ast.Gt:
        return max(0, numbers[0] + 1)
    return 0


def _ends(body: Iterable[ast.stmt]) -> bool:
    """Return whether a block ends the program with a complaint."""
    for statement in body:
        if isinstance(statement, ast.Raise):
            return True
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call):
            name = _dotted(call.func).rpartition(".")[2]
            if name in ENDING or name in USAGE:
                return True
    return False


class TextComparison:
    """A comparison that is never true: an argument, which is text, with a number.

    Attributes:
        line: where it is compared.
        text: the comparison, as it is written.
        source: the expression that reads the argument, or the call that declares it.
    """

    __slots__ = ("line", "source", "text")

    def __init__(self, line: int, text: str, source: ast.Subscript | ast.Call) -> None:
        self.line = line
        self.text = text
        self.source = source

    @property
    def remedy(self) -> str:
        """Replacement for `source` that makes the argument a number."""
        return (
            f"{ast.unparse(self.source)[:-1]}, type=int)"
            if self._declares
            else f"int({ast.unparse(self.source)})"
        )

    @property
    def _declares(self) -> bool:
        return isinstance(self.source, ast.Call)

    def mended(self, source: str) -> str:
        """Return the source with the argument made a number."""
        lines = source.encode().splitlines(keepends=True)
        number = (self.source.end_lineno or self.source.lineno) - 1
        end = self.source.end_col_offset or 0
        line = lines[number]
        if self._declares:
            lines[number] = line[: end - 1] + b", type=int" + line[end - 1 :]
        else:
            begin = self.source.col_offset
            lines[number] = line[:begin] + b"int(" + line[begin:end] + b")" + line[end:]
        return b"".join(lines).decode()


def compared_as_text(tree: ast.Module) -> list[TextComparison]:
    """Return comparisons of arguments that nobody made numbers, in the order of the source.

    Example:
        >>> found = compared_as_text(ast.parse("import sys; i = sys.argv[1]; print(i == 1)"))
        >>> found[0].text, found[0].remedy
        ('i == 1', 'int(sys.argv[1])')
    """
    texts = _texts(tree)
    result = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Compare)
            and len(node.ops) == 1
            and isinstance(node.ops[0], (ast.Eq, ast.NotEq))
        ):
            sides = [node.left, node.comparators[0]]
            source = next((texts[key] for key in map(_key, sides) if key in texts), None)
            if source is not None and any(_is_number(one) for one in sides):
                result.append(TextComparison(node.lineno, ast.unparse(node), source))
    return sorted(result, key=lambda one: one.line)


def _key(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return ast.unparse(node) if _argument_number(node) else ""
    return _dotted(node)


def _argument_number(node: ast.expr) -> int:
    """Return n of `sys.argv[n]`, 0 for anything else."""
    if not isinstance(node, ast.Subscript) or _dotted(node.value) not in ("sys.argv", "argv"):
        return 0
    number = node.slice.value if isinstance(node.slice, ast.Constant) else None
    return number if isinstance(number, int) else 0


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _texts(tree: ast.Module) -> dict[str, ast.Subscript | ast.Call]:
    """Return names that hold an argument as text, with where it comes from; a name that is bound
    twice is left out.
    """
    result: dict[str, ast.Subscript | ast.Call] = {}
    bound: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.append(node.id)
        if isinstance(node, ast.Assign):
            if isinstance(node.value, ast.Subscript) and _argument_number(node.value):
                result.update({_dotted(target): node.value for target in node.targets})
            elif isinstance(node.value, ast.Call) and _dotted(node.value.func).endswith(
                ".parse_args"
            ):
                parsed = _dotted(node.targets[0])
                result.update({f"{parsed}.{name}": call for name, call in _declared(tree).items()})
        elif isinstance(node, ast.Subscript) and _argument_number(node):
            result.setdefault(ast.unparse(node), node)
    return {name: source for name, source in result.items() if name and bound.count(name) <= 1}


def _declared(tree: ast.Module) -> dict[str, ast.Call]:
    """Return the options of an argument parser that stay text, by their names."""
    result = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _dotted(node.func).endswith(".add_argument"):
            source = {keyword.arg for keyword in node.keywords}
            names = [
                one.value
                for one in node.args
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            if names and not source & {"type", "action", "nargs", "dest", "choices", None}:
                name = next((one for one in names if one.startswith("--")), names[0])
                result[name.lstrip("-").replace("-", "_")] = node
    return result
