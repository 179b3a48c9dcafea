"""Compilation of old sources: the same lines in present-day terms.

The pushed file itself is never changed.
"""

import ast
import functools
import importlib.machinery
import os
from typing import AbstractSet, Any, Callable, Dict, List, Optional, Set, Tuple

from mlops_lib.runner.compat import python2, source_idioms, symbolic_keras
from mlops_lib.runner.compat.notes import Notes
from mlops_lib.runner.metrics import handwritten
from mlops_lib.runner.state import clock

GRAPH = {
    "placeholder",
    "InteractiveSession",
    "Session",
    "global_variables_initializer",
    "initialize_all_variables",
    "app",
    "layers",
    "get_variable",
    "contrib",
    "placeholder_with_default",
    "reset_default_graph",
    "initialize_variables",
    "enable_eager_execution",
}
"""Names of `tensorflow` that only a script of TensorFlow 1 uses."""
SURELY_GRAPH = GRAPH - {
    "Session",
    "contrib",
    "get_variable",
    "reset_default_graph",
    "global_variables_initializer",
}
"""Those that a Keras script does not use merely to set up its session."""
FILES_LIMIT = 200


class Dialect:
    """How to compile the project's sources, decided once from the entry and its imports."""

    def __init__(
        self, work: str, notes: Notes, *, lost_names: AbstractSet[str] = frozenset()
    ) -> None:
        self.work = os.path.realpath(work)
        self.notes = notes
        self.lost = lost_names
        self.graph = False
        """Whether the script is written for TensorFlow 1's graphs and sessions."""
        self.keras = False
        self.aged = False
        """Whether the script imports vanished names: it may be older than Python 3's division."""
        self.marker: Optional[Callable[[ast.Module, str], Tuple[ast.Module, bool]]] = None
        """Function that marks the loops of a source that may train; returns whether there are any.
        """
        self.symbolic: Optional[Tuple[str, int]] = None
        """The construct that needs a Keras of graphs, and its line."""

    def decide(self, text: str, path: str) -> None:
        """Examine the entry and the project's modules that it imports."""
        used_names: Set[str] = set()
        pending = [(text, os.path.realpath(path))]
        visited: Set[str] = set()
        while pending and len(visited) < FILES_LIMIT:
            content, name = pending.pop()
            visited.add(name)
            tree = parse(content)
            if tree is None:
                continue
            uses = _Uses()
            uses.visit(tree)
            used_names |= uses.names
            self.symbolic = self.symbolic or (symbolic_keras.use(tree) if uses.keras else None)
            self.keras = self.keras or uses.keras
            self.aged = self.aged or not uses.imports.isdisjoint(self.lost)
            pending += [
                (result, place)
                for result, place in self._local(uses.imports, name)
                if place not in visited
            ]
        graph = used_names & (SURELY_GRAPH if self.keras else GRAPH)
        if self.symbolic and not graph:
            self.notes.say(
                f"{self.symbolic[0]}: Keras 2 (tf_keras) as a graph runs it, without resuming within the run",
                line=(self._shown(path), self.symbolic[1]),
            )
        self.graph = bool(graph or self.symbolic)
        self.keras = self.keras or bool(self.symbolic)

    def _local(self, imports: Set[str], path: str) -> "list[tuple[str, str]]":
        result = []
        for module in imports:
            for base in (os.path.dirname(path), self.work):
                place = os.path.realpath(os.path.join(base, *module.split(".")) + ".py")
                if place.startswith(self.work + os.sep) and os.path.isfile(place):
                    with open(place, encoding="utf-8", errors="replace") as stream:
                        result.append((stream.read(), place))
                    break
        return result

    def compile(self, text: str, path: str, flags: int = 0) -> Any:
        """The code object of a source of the project.

        Args:
            text: the source.
            path: its file's name.
            flags: further flags of Python's `compile`.

        Raises:
            SyntaxError: it is neither Python 3 nor Python 2; the error is the one for the source as
                it was pushed.
        """
        injected: Dict[str, Any] = {}
        pushed, text = text, asynchronous(text)
        if text != pushed:
            self.notes.say(
                "async= is non_blocking= since Python 3.7",
                line=(self._shown(path), _first_change(pushed, text)),
            )
        try:
            plain = ast.parse(text, path)
            tree: Optional[ast.Module] = plain
            line = python2.sure(plain)
        except SyntaxError as error:
            tree = None
            line = error.lineno or 1
        if line:
            translated = python2.translate(text)
            if translated is None and tree is None:
                ast.parse(text, path)
            if translated is not None:
                self.notes.say("this is Python 2: it is translated", line=(self._shown(path), line))
                tree = ast.parse(translated, path)
                if not python2.divides_anew(tree):
                    tree = python2.Division().visit(tree)
                    injected[python2.Division.NAME] = python2.divide
        assert tree is not None
        if not injected and (self.aged or self.graph) and not python2.divides_anew(tree):
            tree = python2.Division().visit(tree)
            injected[python2.Division.NAME] = functools.partial(
                python2.quotient, say=self._say_whole
            )
        for name, value in python2.missing_builtins(tree).items():
            self.notes.say(f"{name} is Python 2's", line=(self._shown(path), _line_of(tree, name)))
            injected[name] = value
        written = source_idioms.Idioms(tree)
        tree = written.visit(tree)
        injected.update({name: self._idiom(name) for name in written.used})
        times = clock.TimeCallWrapper()
        tree = times.visit(tree)
        if times.changed:
            injected[clock.NAME] = clock.replay
        measures = handwritten.MetricTransformer()
        tree = measures.visit(tree)
        injected.update({name: handwritten.OPERATORS[name] for name in measures.used})
        private = _PrivateKeras()
        tree = private.visit(tree)
        if private.line:
            self.notes.say(
                f"{private.name} is tensorflow.keras", line=(self._shown(path), private.line)
            )
        marked = False
        if self.marker is not None:
            tree, marked = self.marker(tree, path)
        changed = bool(injected or private.line or marked)
        if self.graph:
            imports = _Imports()
            tree = imports.visit(tree)
            changed = changed or imports.changed
            if imports.changed:
                self.notes.say(
                    "TensorFlow 1: tensorflow is tensorflow.compat.v1",
                    line=(self._shown(path), imports.line),
                )
        if not changed:
            return compile(text, path, "exec", flags, dont_inherit=True)
        if injected:
            _lend_names(tree, injected)
        return compile(ast.fix_missing_locations(tree), path, "exec", flags, dont_inherit=True)

    def _say_whole(self) -> None:
        self.notes.say("a quotient is taken as a whole number, as Python 2 gave it: write //")

    def _idiom(self, name: str) -> Any:
        def say(message: str) -> Any:
            return functools.partial(self.notes.say, message)

        if name == source_idioms.FIRST:
            return functools.partial(
                source_idioms.first, say=say("loss.data[0] is loss.item() since PyTorch 0.5")
            )
        if name == source_idioms.MODE:
            changed = "scipy.stats.mode(x)[0][0] is mode(x)[0] since scipy 1.11"
            return functools.partial(source_idioms.kept_mode, aged=self.aged, say=say(changed))
        if name == source_idioms.BYTES:
            return functools.partial(
                source_idioms.as_bytes, say=say("array.tostring() is tobytes() since numpy 2.3")
            )
        does = source_idioms.number if name == source_idioms.NUMBER else source_idioms.shown
        return functools.partial(
            does,
            say=say("an array that holds one number is no number since numpy 2.4: write x.item()"),
        )

    def _shown(self, path: str) -> str:
        return os.path.relpath(os.path.realpath(path), self.work)

    def install(self) -> None:
        """Read the modules that the entry imports from the project in the same way."""
        plain = importlib.machinery.SourceFileLoader.source_to_code
        dialect = self

        def source_to_code(self: Any, data: Any, path: Any, **kwargs: Any) -> Any:
            if isinstance(data, bytes) and os.path.realpath(os.fsdecode(path)).startswith(
                dialect.work + os.sep
            ):
                try:
                    return dialect.compile(importlib.util.decode_source(data), os.fsdecode(path))
                except UnicodeDecodeError:
                    pass  # Python says itself what is wrong with it
            return plain(self, data, path, **kwargs)

        importlib.machinery.SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign]


LENT: Dict[str, Any] = {}
"""Values that translated sources import from here."""


def _lend_names(tree: ast.Module, injected: Dict[str, Any]) -> None:
    """Insert an import of missing names after docstring and `__future__` imports."""
    LENT.update(injected)
    index = 0
    for statement in tree.body:
        docstring = (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and index == 0
        )
        if not docstring and not (
            isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        ):
            break
        index += 1
    line = tree.body[index].lineno if index < len(tree.body) else 1
    code = "from mlops_lib.runner.compat.injected_names import " + ", ".join(sorted(injected))
    added = ast.parse(code).body[0]
    for node in ast.walk(added):
        if isinstance(node, (ast.stmt, ast.expr, ast.alias)):
            node.lineno = node.end_lineno = line
    tree.body.insert(index, added)


def asynchronous(text: str) -> str:
    """Rename `async=` to `non_blocking=` if that keeps Python from parsing the source."""
    changed = source_idioms.asynchronous(text)
    return text if changed == text or _is_python(text) else changed


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _first_change(before: str, after: str) -> int:
    lines = zip(before.splitlines(), after.splitlines())
    return next((number for number, (old, new) in enumerate(lines, 1) if old != new), 1)


def parse(text: str) -> Optional[ast.Module]:
    """Return the tree of Python 3 source, or of translated Python 2 source; None if neither parses."""
    text = asynchronous(text)
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        translated = python2.translate(text)
        return None if translated is None else ast.parse(translated)


def _line_of(tree: ast.Module, name: str) -> int:
    lines: List[int] = [
        n.lineno for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name
    ]
    return min(lines, default=1)


class _Uses(ast.NodeVisitor):
    """Collector of a source's imports and of its uses of TensorFlow."""

    def __init__(self) -> None:
        self.names: Set[str] = set()
        self.imports: Set[str] = set()
        self.aliases: Set[str] = set()
        self.keras = False

    def visit_Import(self, node: ast.Import) -> None:
        """`import tensorflow as tf`."""
        for alias in node.names:
            self.imports.add(alias.name)
            self.keras = self.keras or "keras" in alias.name.split(".")
            if alias.name == "tensorflow":
                self.aliases.add(alias.asname or alias.name)
            elif alias.name.startswith("tensorflow.contrib"):
                self.names.add("contrib")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from tensorflow import Session`."""
        module = node.module or ""
        self.imports |= {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)}
        self.keras = (
            self.keras or "keras" in module.split(".") or any(a.name == "keras" for a in node.names)
        )
        if module == "tensorflow":
            self.names |= {alias.name for alias in node.names}
        elif module.startswith("tensorflow.contrib") or module.startswith(
            "tensorflow.examples.tutorials"
        ):
            self.names.add("contrib")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`tf.Session`."""
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id in self.aliases:
            self.names.add(node.attr)
            self.keras = self.keras or node.attr == "keras"


PRIVATE_KERAS = (
    "tensorflow.contrib.keras.python.keras",
    "tensorflow.contrib.keras.api.keras",
    "tensorflow.python.keras",
)


class _PrivateKeras(ast.NodeTransformer):
    """Rewriter of TensorFlow's private places of Keras, which hold an older copy or nothing."""

    def __init__(self) -> None:
        self.line = 0
        self.name = ""

    def _public(self, module: str, node: ast.stmt) -> str:
        for private in PRIVATE_KERAS:
            if module == private or module.startswith(private + "."):
                self.line, self.name = self.line or node.lineno, self.name or private
                return "tensorflow.keras" + module[len(private) :]
        return module

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """`import tensorflow.python.keras as keras`."""
        for alias in node.names:
            if alias.asname:
                alias.name = self._public(alias.name, node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Rewrite `from tensorflow.python.keras… import …` and its like."""
        module = node.module or ""
        if (
            any(alias.name == "keras" for alias in node.names)
            and f"{module}.keras" in PRIVATE_KERAS
        ):
            self._public(f"{module}.keras", node)
            node.module = "tensorflow"
        elif not node.level:
            node.module = self._public(module, node) or None
        return node


class _Imports(ast.NodeTransformer):
    """TensorFlow 2's module replaced by the one that behaves as TensorFlow 1 did."""

    def __init__(self) -> None:
        self.changed = False
        self.line = 1

    def _note(self, node: ast.AST) -> None:
        self.line = getattr(node, "lineno", 1) if not self.changed else self.line
        self.changed = True

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """`import tensorflow as tf`."""
        for alias in node.names:
            if alias.name == "tensorflow":
                self._note(node)
                alias.name, alias.asname = "tensorflow.compat.v1", alias.asname or "tensorflow"
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """`from tensorflow import Session`."""
        module = node.module or ""
        if module == "tensorflow" and not any(
            alias.name in ("keras", "compat") for alias in node.names
        ):
            self._note(node)
            node.module = "tensorflow.compat.v1"
        return node
