"""Translation of Python 2 source to Python 3, line by line.

lib2to3 translates if this Python has it (up to 3.12); otherwise only single-line constructs are
rewritten: prints, exceptions, backticks. The division of whole numbers, which lib2to3 leaves alone
and which gives other numbers, is rewritten on the syntax tree.
"""

import ast
import builtins
import functools
import io
import re
import warnings
from typing import Any, Callable, Dict, Optional, Tuple

from mlops_lib.runner.compat.names import Names, listed
from mlops_lib.runner.compat.notes import Notes

HERE = "mlops_lib.runner.compat.python2"
MODULES = {
    "cPickle": "pickle",
    "urllib2": "urllib.request",
    "StringIO": "io",
    "cStringIO": "io",
    "ConfigParser": "configparser",
    "Queue": "queue",
    "cookielib": "http.cookiejar",
    "HTMLParser": "html.parser",
    "httplib": "http.client",
    "urlparse": "urllib.parse",
    "__builtin__": "builtins",
    "commands": "subprocess",
    "Tkinter": "tkinter",
    "copy_reg": "copyreg",
    "SocketServer": "socketserver",
    "thread": "_thread",
    "md5": "hashlib",
    "sets": "builtins",
}
"""Modules of Python 2, answered for only if the script's own code imports them."""
URLLIB: Names = {
    **listed(
        "urlretrieve urlopen URLopener FancyURLopener pathname2url url2pathname", "urllib.request"
    ),
    **listed("urlencode quote unquote quote_plus unquote_plus", "urllib.parse"),
}
"""Functions of Python 2's `urllib` to their present place."""

_SKIPPED_FIXES = {"buffer", "idioms", "set_literal", "ws_comma", "asserts", "future", "import"}
_PRINT = re.compile(
    r"^(\s*(?:(?:if|for|while|elif|else|try|with)\b[^\"'#]*:\s*)?)print(?:\s+(?!=)|(?=[\"']))(.+)$"
)
_BARE_PRINT = re.compile(r"^(\s*)print\s*(#.*)?$")
_EXCEPT = re.compile(r"^(\s*except\s+[^:,]+?)\s*,\s*(\w+)\s*:")
_RAISE = re.compile(r"^(\s*)raise\s+([\w.]+)\s*,\s*(.+)$")


def translate(text: str) -> Optional[str]:
    """Return Python 2 source as Python 3 source with the same lines, None if that fails."""
    for attempt in (_lib2to3, _by_line):
        result = attempt(text if text.endswith("\n") else text + "\n")
        if result is not None and _parses(result):
            return result
    return None


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


@functools.lru_cache(maxsize=None)
def _tool() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lib2to3 import refactor

        names = refactor.get_fixers_from_package("lib2to3.fixes")
        return refactor, [
            name for name in names if name.rsplit("fix_", 1)[-1] not in _SKIPPED_FIXES
        ]


def _lib2to3(text: str) -> Optional[str]:
    try:
        refactor, fixes = _tool()
    except ImportError:
        return None
    for options in ({}, {"print_function": True}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return str(
                    refactor.RefactoringTool(fixes, options).refactor_string(
                        text.expandtabs(8), "script"
                    )
                )
        except Exception:  # noqa: BLE001 - its parser raises errors of many kinds for what it cannot read
            continue
    return None


def _by_line(text: str) -> str:
    lines = []
    for line in text.expandtabs(8).splitlines():
        line = _BARE_PRINT.sub(r"\1print()", line)
        line = _PRINT.sub(_printed, line)
        line = _EXCEPT.sub(r"\1 as \2:", line)
        line = _RAISE.sub(r"\1raise \2(\3)", line)
        lines.append(line.replace("<>", "!="))
    return "\n".join(lines) + "\n"


def _printed(match: "re.Match[str]") -> str:
    text = match[2].strip()
    if text.startswith(">>"):
        stream, _, rest = text[2:].partition(",")
        return f"{match[1]}print({rest.strip()}, file={stream.strip()})"
    if text.endswith(","):
        return f"{match[1]}print({text[:-1]}, end=' ')"
    return f"{match[1]}print({text})"


def divide(left: Any, right: Any) -> Any:
    """Python 2's `/`: whole numbers, and arrays of them, give whole numbers."""
    if _is_whole(left) and _is_whole(right):
        return left // right
    return left / right


def _is_whole(value: Any) -> bool:
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return isinstance(value, int) if kind is None else kind in "iub"


class Quotient(float):
    """Quotient of two whole numbers.

    If Python requires a whole number and would raise, it is Python 2's quotient.
    """

    whole: int
    say: Callable[[], None]

    def __index__(self) -> int:
        self.say()
        return self.whole

    def __reduce__(self) -> Tuple[Any, ...]:
        return float, (float(self),)  # readable where we are not installed


def quotient(left: Any, right: Any, *, say: Callable[[], None]) -> Any:
    """Return Python 3's `/`, usable as an index, a size or a count.

    Args:
        left: the dividend.
        right: the divisor.
        say: called if the result is used as a whole number.
    """
    if type(left) is not int or type(right) is not int:
        return left / right
    result = Quotient(left / right)
    result.whole, result.say = left // right, say
    return result


class Division(ast.NodeTransformer):
    """Replaces `/` by a call of `divide` or `quotient`, under a name no script has."""

    NAME = "__mlops_divide__"

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """`a / b`."""
        self.generic_visit(node)
        return self._call(node, node.left, node.right) if isinstance(node.op, ast.Div) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """`a /= b`, for names; elsewhere its parts would be evaluated twice."""
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div) or not isinstance(node.target, ast.Name):
            return node
        read = ast.copy_location(ast.Name(id=node.target.id, ctx=ast.Load()), node.target)
        return ast.copy_location(
            ast.Assign(targets=[node.target], value=self._call(node, read, node.value)), node
        )

    def _call(self, node: ast.AST, left: ast.expr, right: ast.expr) -> ast.Call:
        called = ast.copy_location(ast.Name(id=self.NAME, ctx=ast.Load()), node)
        return ast.copy_location(ast.Call(func=called, args=[left, right], keywords=[]), node)


def divides_anew(tree: ast.Module) -> bool:
    """Return whether the source imports Python 3's division."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(a.name == "division" for a in node.names)
        for node in tree.body
    )


def _reduce(*args: Any) -> Any:
    return functools.reduce(*args)


def _compare(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


BUILTINS: Dict[str, Any] = {
    "xrange": range,
    "raw_input": lambda *prompt: builtins.input(*prompt),
    "unicode": str,
    "unichr": chr,
    "long": int,
    "basestring": str,
    "reduce": _reduce,
    "cmp": _compare,
    "file": open,
    "reload": lambda module: module,
}


SURE = {"xrange", "raw_input", "unicode", "unichr", "long", "basestring", "cmp"}
"""Built-in names that fail in Python 3."""
METHODS = {"itervalues", "iterkeys", "has_key"}
"""Methods of dictionaries that only Python 2 has; `iteritems` pandas had too."""
BOTH = {"six", "future", "past", "builtins"}
"""Modules of code that is written for both."""


def sure(tree: ast.Module) -> int:
    """Return the line that fails in Python 3 although it parses there; 0 if there is none.

    Code that checks Python's version, or imports Python 3's behaviour, is written for both.
    """
    missing = SURE & set(missing_builtins(tree))
    result = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (
            node.module == "__future__" or (node.module or "").split(".")[0] in BOTH
        ):
            return 0
        if isinstance(node, ast.Import) and any(
            alias.name.split(".")[0] in BOTH for alias in node.names
        ):
            return 0
        if isinstance(node, ast.Attribute) and node.attr in ("version_info", "version"):
            return 0
        if isinstance(node, ast.ExceptHandler) and _names(node.type) & {
            "NameError",
            "ImportError",
            "AttributeError",
        }:
            return 0
        name = (
            node.id
            if isinstance(node, ast.Name)
            else node.attr
            if isinstance(node, ast.Attribute)
            else ""
        )
        if name in (missing if isinstance(node, ast.Name) else METHODS):
            result.append(getattr(node, "lineno", 1))
    return min(result, default=0)


def _names(node: Optional[ast.expr]) -> "set[str]":
    return (
        set()
        if node is None
        else {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    )


def missing_builtins(tree: ast.Module) -> Dict[str, Any]:
    """Python 2's built-in names that the source reads and never binds."""
    read: "set[str]" = set()
    bound_arguments: "set[str]" = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound_arguments).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound_arguments.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound_arguments |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return {name: value for name, value in BUILTINS.items() if name in read - bound_arguments}


def pickles(module: Any, notes: Notes) -> None:
    """Let `pickle.load(open(path))` read pickles of Python 2, whose strings are bytes."""
    load = module.load
    dump = module.dump

    @functools.wraps(load)
    def load_(file: Any, **kwargs: Any) -> Any:
        source = file.buffer if isinstance(file, io.TextIOWrapper) else file
        if source is not file:
            notes.say("pickle.load takes a file of bytes: open(…, 'rb')")
        begin = source.tell() if hasattr(source, "seekable") and source.seekable() else None
        try:
            return load(source, **kwargs)
        except UnicodeDecodeError:
            if begin is None or "encoding" in kwargs:
                raise
            source.seek(begin)
            notes.say("pickle.load of what Python 2 wrote: encoding='latin1'")
            return load(source, encoding="latin1", **kwargs)

    @functools.wraps(dump)
    def dump_(obj: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        target = file.buffer if isinstance(file, io.TextIOWrapper) else file
        if target is not file:
            notes.say("pickle.dump takes a file of bytes: open(…, 'wb')")
        dump(obj, target, *args, **kwargs)

    module.load, module.dump = load_, dump_


class StringIO:
    """Python 2's `StringIO`, for text or bytes: the first write decides.

    Args:
        content: the initial content.
    """

    def __init__(self, content: Any = "") -> None:
        self._stream: Any = (
            io.BytesIO(content) if isinstance(content, bytes) else io.StringIO(content)
        )

    def write(self, content: Any) -> int:
        """Write text or bytes."""
        if isinstance(content, bytes) and isinstance(self._stream, io.StringIO):
            self._stream = io.BytesIO(self._stream.getvalue().encode())
            self._stream.seek(0, io.SEEK_END)
        elif isinstance(content, str) and isinstance(self._stream, io.BytesIO):
            content = content.encode()
        return int(self._stream.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __enter__(self) -> "StringIO":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stream.close()


def modules() -> Dict[str, Any]:
    """Return Python 2's modules for the finder of vanished modules."""
    names: Dict[str, Names] = {
        "urllib2": {
            "HTTPError": "urllib.error:HTTPError",
            "URLError": "urllib.error:URLError",
            "quote": "urllib.parse:quote",
        },
        "StringIO": {"StringIO": f"{HERE}:StringIO"},
        "cStringIO": {"StringIO": f"{HERE}:StringIO"},
        "ConfigParser": {"SafeConfigParser": "configparser:ConfigParser"},
        "md5": {"new": "hashlib:md5"},
        "sets": {"Set": "builtins:set"},
    }
    return {old: ((new,), names.get(old, {})) for old, new in MODULES.items()}
