"""Resolve the names of a file through imports, aliases, attributes and return values."""

from __future__ import annotations

import ast
import os

from mlops_lib.detection.facts import Call
from mlops_lib.detection.symbols import LAYER, MODEL, of
from mlops_lib.detection.syntax import bound_name
from mlops_lib.detection.tables import PREPARES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    FunctionNames = tuple[dict[str, str], dict[str, str], list[str]]
    """Names, texts and returned values around a function, which hold again after it."""
    ClassNames = tuple[dict[str, str], str]
    """Attributes and owner around a class, which hold again after it."""

CHAIN_LIMIT = 60
"""Links of a name that are followed; generated code can have thousands."""
TEXT_DEPTH = 8
"""Operations that are followed to a literal text."""
DYNAMIC_IMPORTS = ("import_module", "__import__")
STAR_IMPORTED = (
    "pylab",
    "pycaret",
    "fastcore",
    "gensim",
    "numpy",
    "torch",
    "fastai",
    "tensorflow",
    "keras",
)
"""Libraries whose lower-case names are used after `from library import *`."""
_PATH_CALLS = ("os.path.join", "pathlib.Path", "Path", "os.path.expanduser", "os.path.abspath")
_BUILTINS = frozenset(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)


class NameResolver:
    """The meaning of a file's names at the current place of the walk."""

    def __init__(self, local_names: Mapping[str, str], seed: dict[str, str]) -> None:
        self.local_names = local_names
        self.names: dict[str, str] = dict(seed)
        self.texts: dict[str, str] = {}
        self.stars: list[str] = []
        self.attributes: dict[str, str] = {}
        self.returns: list[str] = []
        """Return value of the enclosing function."""
        self.unresolved: set[str] = set()
        self.defined: set[str] = set()
        self.owner = ""
        """Base of the enclosing class, or its own name."""

    def name(self, node: ast.AST) -> str:
        """Return the dotted name that an expression resolves to, or ""."""
        parts: list[str] = []
        for _ in range(CHAIN_LIMIT):
            if isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Call):
                parts.append("()")
                node = node.func
            elif isinstance(node, (ast.Await, ast.Starred)):
                node = node.value
            else:
                break
        if isinstance(node, ast.Name):
            root = node.id
        elif isinstance(node, ast.Subscript) and parts and not isinstance(node.value, ast.Constant):
            root = "?"
        else:
            return (
                "?." + ".".join(reversed(parts)).replace(".()", "()")
                if parts and parts != ["()"]
                else ""
            )
        return self._resolve(root, parts[::-1])

    def _resolve(self, root: str, parts: list[str]) -> str:
        """Join the links, looking up the longest known beginning at every step."""
        if root == "self" and parts:
            dotted = "self." + parts[0]
            parts = parts[1:]
            if parts and parts[0] == "()" and dotted + "()" in self.attributes:
                dotted, parts = self.attributes[dotted + "()"], parts[1:]
            elif dotted in self.attributes:
                dotted = self.attributes[dotted]
            elif self.owner and "." in self.owner:
                dotted = self.owner + "()." + dotted[5:]
        elif parts and parts[0] == "()" and root + "()" in self.names:
            dotted, parts = self.names[root + "()"], parts[1:]
        elif root in self.names:
            dotted = self.names[root]
        else:
            if root != "?":
                self.unresolved.add(root)
                if parts and parts[0] == "()":
                    self.unresolved.add(root + "()")
            dotted = self._starred(root)
        for part in parts:
            dotted = dotted + "()" if part == "()" else f"{dotted}.{part}"
            dotted = self.local_names.get(dotted, dotted)
        return dotted

    def _starred(self, root: str) -> str:
        """Resolve a name that may come from `from module import *`."""
        if not self.stars or root in _BUILTINS:
            return root
        if of(Call(f"keras.layers.{root}", 0)).part == LAYER:
            layers = next((module for module in self.stars if module.endswith("keras.layers")), "")
            if layers:
                return f"{layers}.{root}"
        for module in reversed(self.stars):
            if root[:1].isupper() or module.partition(".")[0] in STAR_IMPORTED:
                return f"{module}.{root}"
        return root

    def text(self, node: ast.AST, depth: int = 0) -> str:
        """Return the literal text of an expression, "" if it has none."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.Name):
            return self.texts.get(node.id, "")
        if depth > TEXT_DEPTH:
            return ""
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Div)):
            left = self.text(node.left, depth + 1)
            right = self.text(node.right, depth + 1)
            return (
                ""
                if not left or not right
                else left + ("/" if isinstance(node.op, ast.Div) else "") + right
            )
        if isinstance(node, ast.Call):
            called = self.name(node.func)
            if called in _PATH_CALLS and node.args:
                parts = [self.text(argument, depth + 1) for argument in node.args]
                return os.path.join(*parts) if all(parts) else ""
        return ""

    def beginning(self, node: ast.expr) -> str:
        """Return the literal text that a composed one begins with."""
        if isinstance(node, ast.JoinedStr):
            beginning = ""
            for value in node.values:
                part = value.value if isinstance(value, ast.FormattedValue) else value
                if not self.text(part):
                    break
                beginning += self.text(part)
            return beginning
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self.text(node.left) or self.beginning(node.left)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return self.text(node.left).partition("%")[0]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_format = node.func.attr == "format"
            return self.text(node.func.value).partition("{")[0] if is_format else ""
        return ""

    def _imported_module(self, node: ast.expr) -> str:
        """Return the module that `importlib.import_module("zoo.net")` returns, "" for anything
        else.
        """
        if not isinstance(node, ast.Call) or not node.args:
            return ""
        is_import = self.name(node.func).rpartition(".")[2] in DYNAMIC_IMPORTS
        return self.text(node.args[0]) if is_import else ""

    def annotated(self, annotation: ast.expr | None) -> str:
        """Return the value of a variable annotated with a model class (`trainer: Trainer`)."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            name = self.names.get(annotation.value, "")
        else:
            name = self.name(annotation) if annotation is not None else ""
        if "." not in name or "()" in name or name.endswith((".Module", ".Sequential")):
            return ""
        return name + "()" if of(Call(name, 0)).part == MODEL else ""

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
                for one, its in zip(target.elts, value.elts, strict=True):
                    self.bind(one, its)
            return
        name = bound_name(target)
        if not name:
            return
        self.defined.add(name)
        origin = self._imported_module(value) or self.name(value)
        table = self.attributes if name.startswith("self.") else self.names
        if origin and origin != name:
            table[name] = origin
        elif (
            table is self.names
            and not isinstance(value, ast.Constant)
            and not table.get(name, ")").endswith(")")
        ):
            table.pop(name)  # a name that now holds something else no longer means what it meant
        text = self.text(value)
        if text:
            self.texts[name] = text

    def annotate(self, target: ast.expr, annotation: ast.expr) -> None:
        """Note a variable's annotation, unless its value is more specific."""
        origin = self.annotated(annotation)
        name = bound_name(target)
        table = self.attributes if name.startswith("self.") else self.names
        if name and origin and not of(Call(f"{table.get(name, '')}.fit", 0)).framework:
            table[name] = origin

    def import_star(self, module: str) -> None:
        """Note `from module import *`, whose names are known if the module is local."""
        self.stars.append(module)
        prefix = module + "."
        self.names.update(
            {k[len(prefix) :]: v for k, v in self.local_names.items() if k.startswith(prefix)}
        )

    def import_name(self, dotted: str, name: str) -> None:
        """Note `from module import …` of a name that stands for `dotted`."""
        self.names[name] = self.local_names.get(dotted, dotted)
        returned = self.local_names.get(dotted + "()")
        if returned:
            self.names[name + "()"] = returned

    def derive(self, name: str, base: str) -> None:
        """Note the definition of a class and the first class that it derives from, if any."""
        self.defined.add(name)
        if base and base != "object":
            self.names[name] = base

    def enter_class(self, owner: str) -> ClassNames:
        """Begin a class; return what `leave_class` takes."""
        outer = self.attributes, self.owner
        self.attributes = dict(self.attributes) if self.owner else {}
        self.owner = owner
        return outer

    def leave_class(self, outer: ClassNames) -> None:
        """End a class."""
        self.attributes, self.owner = outer

    def enter_function(self, arguments: Iterable[ast.arg]) -> FunctionNames:
        """Begin a function, whose arguments hide names; return the state to restore."""
        outer = self.names, self.texts, self.returns
        self.names = dict(self.names)
        self.texts = dict(self.texts)
        self.returns = []
        for argument in arguments:
            origin = self.annotated(argument.annotation)
            unknown = f"?.{argument.arg}" if PREPARES.search(argument.arg) else "?"
            self.names[argument.arg] = origin or unknown
            self.texts.pop(argument.arg, None)
        return outer

    def leave_function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, outer: FunctionNames, *, nested: bool
    ) -> None:
        """End a function; keep its globals and its return value."""
        origin = next((returned for returned in self.returns if returned), "")
        declared = {
            name
            for statement in node.body
            if isinstance(statement, ast.Global)
            for name in statement.names
        }
        exported = {name: self.names[name] for name in declared & set(self.names)}
        self.names, self.texts, self.returns = outer
        self.names.update(exported)
        if self.owner and not nested:
            if origin:
                self.attributes[f"self.{node.name}()"] = origin
        elif origin:
            self.names[node.name + "()"] = origin
