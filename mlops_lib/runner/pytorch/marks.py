"""Mark the loops that may train: `loops` sees every entry, iteration and end.

The source is rewritten in memory and keeps its lines. Marked are the loops whose bodies can reach a
training call, by name:

    for x in loader: …      try:
                                for x in LOOPS.enter("train.py:3:4", loader): …
                                LOOPS.finish()
                            finally:
                                LOOPS.leave()

A `while` calls `LOOPS.turn()` before its own condition. Generator functions count the values that
they have yielded.
"""

import ast
import builtins
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

NAME = "__mlops_loops__"
"""The builtin name by which marked code reaches the running `Loops`."""
TRAINING_CALLS = {
    *("step", "backward", "manual_backward", "training_step", "minimize", "optimize", "update"),
    *("fit", "train", "learn", "fit_one_cycle", "fine_tune", "run"),
}
"""Names of methods that train."""
LIBRARIES: Dict[str, Sequence[str]] = {
    "lightning": ("lightning.pytorch.loops",),
    "pytorch_lightning": ("pytorch_lightning.loops",),
    "transformers": ("transformers.trainer", "accelerate.data_loader"),
    "trl": ("transformers.trainer", "accelerate.data_loader"),
    "accelerate": ("accelerate.data_loader",),
    "ignite": ("ignite.engine.engine",),
    "fastai": ("fastai.learner",),
    "skorch": ("skorch.net",),
}
"""Library to its modules, packages included, whose loops are marked like those of the project."""
FRAMEWORKS = {"torch", "torchvision", "torchaudio", "torch_geometric", *LIBRARIES}
FILES_LIMIT = 200


class Project:
    """The sources that an entry imports from its project, as far as they are files.

    Args:
        work: the working directory.
        entry: the path of the entry.
        text: its source.

    Attributes:
        imports: the top-level names of the packages that they import.
        trees: the parsed sources.
    """

    def __init__(self, work: str, entry: str, text: str) -> None:
        self._work = work
        self.imports: Set[str] = set()
        self.trees: List[ast.Module] = []
        pending = [(text, os.path.realpath(entry))]
        visited: Set[str] = set()
        # The limit keeps the start of a run short in a project of thousands of files.
        while pending and len(visited) < FILES_LIMIT:
            content, path = pending.pop()
            visited.add(path)
            try:
                tree = ast.parse(content)
            # The script's own import will report the error, or never import the file.
            except (SyntaxError, ValueError, RecursionError):
                continue
            self.trees.append(tree)
            for place in self._local(tree, path):
                if place not in visited:
                    with open(place, encoding="utf-8", errors="replace") as stream:
                        pending.append((stream.read(), place))

    @property
    def trains_with_torch(self) -> bool:
        """Return whether PyTorch, or a library built on it, is imported."""
        return not self.imports.isdisjoint(FRAMEWORKS)

    def _local(self, tree: ast.Module, path: str) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [(0, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [(node.level, module)]
                # `from package import name` may import a submodule.
                names += [(node.level, f"{module}.{a.name}".strip(".")) for a in node.names]
            else:
                continue
            for level, name in names:
                if not level:
                    self.imports.add(name.split(".")[0])
                yield from self._files(level, name, path)

    def _files(self, level: int, name: str, path: str) -> Iterator[str]:
        base = os.path.dirname(path)
        for _ in range(level - 1):
            base = os.path.dirname(base)
        parts = [part for part in name.split(".") if part]
        for root in (base,) if level else (base, self._work, os.path.join(self._work, "src")):
            for place in (
                os.path.join(root, *parts) + ".py",
                os.path.join(root, *parts, "__init__.py"),
            ):
                real = os.path.realpath(place)
                if real.startswith(os.path.realpath(self._work) + os.sep) and os.path.isfile(real):
                    yield real


class Reach:
    """The functions that can lead to a training call, by name alone.

    Names are not resolved: any function of a training name counts. A loop too many costs a little
    time; a loop too few could not be resumed.
    """

    def __init__(self, trees: Sequence[ast.Module]) -> None:
        mentions: Dict[str, Set[str]] = {}
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    mentions.setdefault(node.name, set()).update(_mentioned(node))
        self._training = set(TRAINING_CALLS)
        # A fixed point: a function that mentions a training function trains, and so on.
        grown = True
        while grown:
            grown = False
            for name, mentioned in mentions.items():
                if name not in self._training and not mentioned.isdisjoint(self._training):
                    self._training.add(name)
                    grown = True

    def trains(self, loop: ast.AST) -> bool:
        """Return whether a loop's body can reach a training call."""
        return not set(_mentioned(loop)).isdisjoint(self._training)


def _mentioned(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        # Strings name methods too: `getattr(trainer, "fit")`.
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


class Marker(ast.NodeTransformer):
    """Rewrites one source.

    Args:
        file: the file's name in the sites.
        reach: the functions that train; None to mark every loop.

    Attributes:
        changed: whether anything was marked.
    """

    def __init__(self, file: str, reach: Optional[Reach]) -> None:
        self._file = file
        self._reach = reach
        self._enclosing: List[str] = [""]
        self.changed = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Mark a function's loops; a generator function counts its values instead."""
        generator = _yields(node)
        self._enclosing.append("generator" if generator else "function")
        self.generic_visit(node)
        self._enclosing.pop()
        # The generator of a context manager is not read like data, and must not be called again.
        if generator and not any(
            _is_context_manager(decorator) for decorator in node.decorator_list
        ):
            self._note_reading(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Leave a coroutine's loops alone: they cannot be re-entered."""
        self._enclosing.append("generator")
        self.generic_visit(node)
        self._enclosing.pop()
        return node

    def visit_For(self, node: ast.For) -> Any:
        """Let a `for` take its items from `Loops.enter`."""
        trains = self._marks(node)
        self.generic_visit(node)
        if not trains:
            return node
        enter = _call("enter", node.iter, ast.Constant(self._site(node)), node.iter)
        finish = not node.orelse  # else what follows its end has run already
        node.iter = enter
        return self._guarded(node, finish=finish)

    def visit_While(self, node: ast.While) -> Any:
        """Let a `while` call `Loops.turn` before its condition."""
        trains = self._marks(node)
        self.generic_visit(node)
        if not trains:
            return node
        turn = _call("turn", node.test, ast.Constant(self._site(node)))
        finish = not node.orelse  # else what follows its end has run already
        # At the restored end of a loop `turn` returns False, and the condition is not evaluated: it
        # may have side effects.
        node.test = ast.copy_location(ast.BoolOp(ast.And(), [turn, node.test]), node.test)
        return self._guarded(node, finish=finish)

    def _marks(self, node: ast.AST) -> bool:
        if self._enclosing[-1] == "generator":
            return False
        return self._reach is None or self._reach.trains(node)

    def _site(self, node: ast.stmt) -> str:
        return f"{self._file}:{node.lineno}:{node.col_offset}"

    def _guarded(self, loop: ast.stmt, *, finish: bool) -> ast.stmt:
        self.changed = True
        body = [loop]
        if finish:
            body.append(ast.copy_location(ast.Expr(_call("finish", loop)), loop))
        leave = ast.copy_location(ast.Expr(_call("leave", loop)), loop)
        return ast.copy_location(ast.Try(body, [], [], [leave]), loop)

    def _note_reading(self, node: ast.FunctionDef) -> None:
        """Let a generator's body report its beginning, each yielded value, and its end."""
        self.changed = True
        node.body = [_Passing().visit(statement) for statement in node.body]
        head: List[ast.stmt] = []
        if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            head = [node.body.pop(0)]  # the docstring
        where = node.body[0] if node.body else node
        begin = ast.copy_location(ast.Expr(_call("begin_reading", where)), where)
        end = ast.copy_location(ast.Expr(_call("end_reading", where)), where)
        body = node.body or [ast.copy_location(ast.Pass(), where)]
        node.body = [*head, begin, ast.copy_location(ast.Try(body, [], [], [end]), where)]
        # The innermost decorator sees the plain function, so that its code can be looked up later.
        node.decorator_list.append(_name("generator", node))


class _Passing(ast.NodeTransformer):
    """Reports the values that a generator's own body yields."""

    def visit_Yield(self, node: ast.Yield) -> ast.AST:
        """Replace `yield x` by `yield LOOPS.passing(x)`."""
        self.generic_visit(node)
        value = node.value or ast.copy_location(ast.Constant(None), node)
        node.value = _call("passing", node, value)
        return node

    def _skip(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = _skip  # noqa: N815 - what ast calls
    visit_AsyncFunctionDef = _skip  # noqa: N815
    visit_Lambda = _skip  # noqa: N815
    visit_ClassDef = _skip  # noqa: N815


def _name(method: str, at: ast.AST) -> ast.expr:
    owner = ast.copy_location(ast.Name(NAME, ast.Load()), at)
    return ast.copy_location(ast.Attribute(owner, method, ast.Load()), at)


def _call(method: str, at: ast.AST, *arguments: ast.expr) -> ast.expr:
    for argument in arguments:
        if not hasattr(argument, "lineno"):
            ast.copy_location(argument, at)
    return ast.copy_location(ast.Call(_name(method, at), list(arguments), []), at)


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a body, without those of functions defined in it."""
    pending = list(ast.iter_child_nodes(node))
    while pending:
        child = pending.pop()
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(child)


def _yields(function: ast.FunctionDef) -> bool:
    return any(isinstance(child, (ast.Yield, ast.YieldFrom)) for child in _within(function))


def _is_context_manager(decorator: ast.expr) -> bool:
    return any("contextmanager" in name or "fixture" in name for name in _mentioned(decorator))


class LibraryFinder:
    """Finds the library modules to mark, and compiles them without a cache."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = tuple(modules)
        self.files: Set[str] = set()
        self._busy: Set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec with a marking loader for the listed modules, None for others."""
        if name in self._busy or not any(
            name == m or name.startswith(m + ".") for m in self._modules
        ):
            return None
        # `PathFinder` may import parent packages, which ask all finders again.
        self._busy.add(name)
        try:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
        finally:
            self._busy.discard(name)
        if spec is None or not (spec.origin or "").endswith(".py"):
            return None
        # Another loader may give other code than the file holds.
        if type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        assert spec.origin is not None
        self.files.add(spec.origin)
        spec.loader = _LibraryLoader(spec.loader.name, spec.origin)
        return spec


class _LibraryLoader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        text = importlib.util.decode_source(self.get_data(path))
        tree = ast.parse(text, path)
        # Not from `__pycache__`: that holds the unmarked code, and must not get the marked one.
        return compile(mark(tree, fullname, None)[0], path, "exec", dont_inherit=True)


def mark(tree: ast.Module, file: str, reach: Optional[Reach]) -> Tuple[ast.Module, bool]:
    """Mark the loops of a source; return its tree, and whether anything was marked.

    Args:
        tree: the source.
        file: the file's name in the sites.
        reach: the functions that train; None to mark every loop.
    """
    marker = Marker(file, reach)
    result = marker.visit(tree)
    return (ast.fix_missing_locations(result) if marker.changed else tree), marker.changed


def install(loops: Any, finder: LibraryFinder) -> None:
    """Publish `loops` to marked code, and mark library modules at their import."""
    # A builtin is visible in every module, and no import appears in the script's namespace.
    setattr(builtins, NAME, loops)
    sys.meta_path.insert(0, finder)
