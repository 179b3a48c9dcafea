"""What one file says: its imports, its calls by full name, the data it reads."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field

from mlops_lib.detection.knowledge import READERS


@dataclass(frozen=True)
class Call:
    """One call: the dotted name of what is called, where it is known, and its line."""

    name: str
    line: int

    @property
    def leaf(self) -> str:
        """The last part of the name."""
        return self.name.rsplit(".", 1)[-1]


@dataclass
class Facts:
    """What was seen in one file."""

    imports: dict[str, int] = field(default_factory=dict)
    """Dotted module to line."""
    optional: dict[str, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    bases: list[Call] = field(default_factory=list)
    """Classes derived from."""
    argument_indices: set[int] = field(default_factory=set)
    counts_arguments: bool = False
    """Whether it looks how many arguments there are: then it manages without."""
    required_options: int = 0
    data: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    has_main: bool = False
    relative: list[tuple[int, str, int]] = field(default_factory=list)
    """Relative imports: level, module, line."""


def gather(tree: ast.Module) -> Facts:
    """Walk a tree once."""
    visitor = _Visitor()
    visitor.visit(tree)
    return visitor.facts


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.facts = Facts()
        self.names: dict[str, str] = {}
        self.trying = 0

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.name, node.lineno)
            self.names[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.facts.relative.append((node.level, node.module or "", node.lineno))
            return
        module = node.module or ""
        if module == "__future__":
            return
        self._import(module, node.lineno)
        for alias in node.names:
            if alias.name == "*":
                self.names.setdefault("*", module)
            else:
                self.names[alias.asname or alias.name] = f"{module}.{alias.name}"

    def _import(self, module: str, line: int) -> None:
        (self.facts.optional if self.trying else self.facts.imports).setdefault(module, line)

    def visit_Try(self, node: ast.Try) -> None:
        guarded = any(self._catches_import(handler) for handler in node.handlers)
        self.trying += guarded
        for child in node.body:
            self.visit(child)
        # The import that stands in when the first one fails is not required either.
        for handler in node.handlers:
            self.visit(handler)
        self.trying -= guarded
        for child in [*node.orelse, *node.finalbody]:
            self.visit(child)

    @staticmethod
    def _catches_import(handler: ast.ExceptHandler) -> bool:
        if handler.type is None:
            return True
        caught = {
            ast.unparse(t) for t in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])
        }
        return bool(caught & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})

    def visit_If(self, node: ast.If) -> None:
        test = ast.unparse(node.test)
        if "TYPE_CHECKING" in test:
            self.trying += 1
            for child in node.body:
                self.visit(child)
            self.trying -= 1
            for child in node.orelse:
                self.visit(child)
            return
        if "__name__" in test and "__main__" in test:
            self.facts.has_main = True
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if isinstance(node.value, (ast.Name, ast.Attribute)):
                name = self._name(node.value)
                if name:
                    self.names[target] = name
            elif isinstance(node.value, ast.Call):
                made = self._name(node.value.func)
                if made:
                    self.names[target] = made + "()"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            name = self._name(base)
            if name:
                self.facts.bases.append(Call(name, node.lineno))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._name(node.func)
        if name == "len" and node.args and self._name(node.args[0]) == "sys.argv":
            self.facts.counts_arguments = True
        if name:
            self.facts.calls.append(Call(name, node.lineno))
            self._data(name.rsplit(".", 1)[-1], node)
            if name.endswith("add_argument"):
                self._option(node)
        elif isinstance(node.func, ast.Attribute):
            self.facts.calls.append(Call("?." + node.func.attr, node.lineno))
        self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._name(node.value) == "sys.argv":
            index = node.slice
            if isinstance(index, ast.Constant) and isinstance(index.value, int) and index.value > 0:
                self.facts.argument_indices.add(index.value)
        self.generic_visit(node)

    def _option(self, node: ast.Call) -> None:
        names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        keywords = {k.arg: k.value for k in node.keywords}
        needed = keywords.get("required")
        if isinstance(needed, ast.Constant) and needed.value is True:
            self.facts.required_options += 2
        elif names and not names[0].startswith("-") and not {"nargs", "default"} & set(keywords):
            self.facts.required_options += 1

    def _data(self, leaf: str, node: ast.Call) -> None:
        if leaf not in READERS or not node.args:
            return
        first = node.args[0]
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            return
        modes = [
            a.value
            for a in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
            if isinstance(a, ast.Constant)
        ]
        if leaf == "open" and any(isinstance(m, str) and set(m) & set("wax") for m in modes):
            self.facts.written.add(first.value)
        elif "://" not in first.value and first.value.strip():
            self.facts.data.append(first.value)

    def _name(self, node: ast.AST) -> str:
        """The dotted name of an expression, its first part resolved through imports and assignments."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Call):
            made = self._name(node.func)
            return ".".join([made + "()", *reversed(parts)]) if made else ""
        if not isinstance(node, ast.Name):
            return ""
        root = self.names.get(node.id)
        if root is None:
            star = self.names.get("*")
            known = node.id[:1].isupper() and star is not None
            root = f"{star}.{node.id}" if known else node.id
        return ".".join([root, *reversed(parts)])


def is_standard(module: str) -> bool:
    """Whether the top-level name belongs to Python itself."""
    return module in sys.stdlib_module_names or module in {
        "distutils",
        "imp",
        "asyncore",
        "smtpd",
        "urllib2",
        "cPickle",
        "__main__",
    }
