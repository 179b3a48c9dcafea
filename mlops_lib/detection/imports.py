"""Collect the imports of a file: plain, guarded, relative, by name."""

from __future__ import annotations

import ast
import re

from mlops_lib.detection.facts import Facts, Import
from mlops_lib.detection.syntax import catches_import, ends_program
from mlops_lib.lazy_regex import lazy_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlops_lib.detection.facts import Call
    from mlops_lib.detection.name_resolution import NameResolver

_PACKAGE = lazy_regex(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.")


class ImportCollector:
    """Imports of one file, added to its facts."""

    def __init__(self, facts: Facts, resolver: NameResolver) -> None:
        self.facts = facts
        self.resolver = resolver
        self.guard = 0
        """Number of enclosing guards under which an import may fail."""
        self.composed: set[str] = set()
        """Beginnings of composed texts: `f"models.{name}"`."""
        self.unknown_line = 0
        """The line of an import whose name is made elsewhere."""

    def plain(self, node: ast.Import) -> None:
        """Note `import module`."""
        for alias in node.names:
            self._add(alias.name, node, ())
            top = alias.name.partition(".")[0]
            self.resolver.names[alias.asname or top] = alias.name if alias.asname else top

    def members(self, node: ast.ImportFrom) -> None:
        """Note `from module import names`."""
        module = node.module or ""
        names = tuple(alias.name for alias in node.names)
        if node.level:
            self.facts.relative.append((node.level, module, names, node.lineno))
        elif module == "__future__":
            return
        else:
            self._add(module, node, names)
        origin = "." * node.level + module
        for alias in node.names:
            if alias.name == "*":
                self.resolver.import_star(origin)
            else:
                dotted = f"{origin}.{alias.name}" if module else f"{origin}{alias.name}"
                self.resolver.import_name(dotted, alias.asname or alias.name)

    def by_name(self, call: Call, node: ast.Call) -> None:
        """Note an import by a literal name: `importlib.import_module("zoo.net")`."""
        beginning = self.resolver.beginning(node.args[0]) if node.args and not call.first else ""
        if _PACKAGE.fullmatch(beginning):  # f"models.{name}"
            self.facts.dynamic.append((beginning + "*", "", node.lineno))
            return
        if not call.first:
            self.unknown_line = node.lineno
        level = len(call.first) - len(call.first.lstrip("."))
        module = call.first.lstrip(".")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
            return
        if level:
            self.facts.relative.append((level, module, ("*",), node.lineno))
        else:
            nested = node.col_offset > 0
            optional = self.guard > 0
            imported = Import(module, node.lineno, (), optional=optional, nested=nested)
            self.facts.imports.append(imported)
        self.facts.dynamic.append(("." * level + module, "", node.lineno))

    def _add(self, module: str, node: ast.stmt, names: tuple[str, ...]) -> None:
        nested = node.col_offset > 0
        self.facts.imports.append(
            Import(module, node.lineno, names, optional=self.guard > 0, nested=nested)
        )

    def pair(self, tried: list[Import], otherwise: list[Import]) -> None:
        """Mark imports in both branches as required, and note alternative pairs."""
        tops = {imported.top for imported in tried}, {imported.top for imported in otherwise}
        for imported in [*tried, *otherwise]:
            if imported.top in tops[0] & tops[1]:
                imported.optional = self.guard > 0
        if tried and otherwise and not tops[0] & tops[1]:
            self.facts.alternatives.append((tried[0], otherwise[0]))

    def finish(self) -> None:
        """Note packages from which a computed name may import a module."""
        if self.unknown_line:
            self.facts.dynamic += [
                (f"{beginning}*", "", self.unknown_line)
                for beginning in sorted(self.composed)
                if _PACKAGE.fullmatch(beginning)
            ]


def may_fail(node: ast.Try) -> bool:
    """Return whether a statement guards imports whose failure it survives."""
    guarded = [handler for handler in node.handlers if catches_import(handler)]
    # An import whose failure ends the program is required, however politely it says so.
    return bool(guarded) and not any(ends_program(handler) for handler in guarded)
