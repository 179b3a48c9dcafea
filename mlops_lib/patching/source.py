"""Changes to Python source that keep everything else as written, by LibCST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mlops_lib.errors import RefusedFileError
from mlops_lib.patching.winner_record import Site, UnpatchableError
from mlops_lib.project import files

LARGEST = 1 << 20
BOM = "\ufeff"
"""The mark with which some editors begin a file; LibCST drops it."""


def read_source(project: Path, name: str) -> str:
    """Return a source file of the project, with its line ends unchanged.

    Raises:
        UnpatchableError: it is missing, lies outside the project, or is no Python text.
    """
    if not name.endswith((".py", ".ipynb")):
        raise UnpatchableError(f"{name} is no source file of the project that can be patched")
    try:
        return files.read(name, root=project, limit=LARGEST).decode("utf-8")
    except RefusedFileError as refused:
        raise UnpatchableError(f"{name} cannot be patched: {refused.what}") from refused
    except UnicodeDecodeError as error:
        raise UnpatchableError(f"{name} is not UTF-8") from error


class Source:
    """One file, with the changes to be made to it.

    Args:
        text: the source.

    Raises:
        UnpatchableError: it cannot be parsed.
    """

    def __init__(self, text: str) -> None:
        import libcst
        from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

        self.cst = libcst
        self._mark = BOM if text.startswith(BOM) else ""
        self._lines = re.split(r"\r\n|\r|\n", text)
        try:
            self._wrapper = MetadataWrapper(libcst.parse_module(text))
        except libcst.ParserSyntaxError as error:
            raise UnpatchableError("the source cannot be parsed") from error
        self._positions = self._wrapper.resolve(PositionProvider)
        self._parents = self._wrapper.resolve(ParentNodeProvider)
        self._changes: dict[int, list[Callable[[Any], Any]]] = {}

    @property
    def module(self) -> Any:
        """The syntax tree before the changes."""
        return self._wrapper.module

    def parent(self, node: Any) -> Any:
        """Return the parent of a node."""
        return self._parents.get(node)

    def around(self, node: Any, kind: Any) -> Any:
        """Return the innermost node of a kind that contains `node`, or None."""
        while node is not None and not isinstance(node, kind):
            node = self.parent(node)
        return node

    def line(self, node: Any) -> int:
        """Return the line at which a node begins."""
        return int(self._positions[node].start.line)

    def is_within(self, node: Any, outer: Any) -> bool:
        """Return whether a node is a part of another one, or that one itself."""
        while node is not None and node is not outer:
            node = self.parent(node)
        return node is not None

    def code(self, node: Any) -> str:
        """Return a node as text."""
        return str(self.module.code_for_node(node))

    def nodes(self, kind: Any) -> list[Any]:
        """Return all nodes of a kind, in the order of the text."""
        matches = [
            (p.start.line, p.start.column, n)
            for n, p in self._positions.items()
            if isinstance(n, kind)
        ]
        return [node for _, _, node in sorted(matches, key=lambda match: match[:2])]

    def call(self, site: Site, kinds: Iterable[str]) -> Any:
        """Return the call at a site.

        Args:
            site: the place.
            kinds: allowed names of the called function; empty allows any, if the site is exact.

        Raises:
            UnpatchableError: there is no such call, or there are several.
        """
        kinds = tuple(kinds)
        calls = []
        for node in self.nodes(self.cst.Call):
            place = self._positions[node]
            is_named = not kinds or called_name(node) in kinds
            if site.column is None:
                if place.start.line == site.line and is_named:
                    calls.append(node)
            elif self._is_at(place, site) and is_named:
                calls.append(node)
        if len(calls) != 1:
            raise UnpatchableError(
                f"line {site.line} of {site.file} does not make exactly one {' or '.join(kinds)}"
            )
        return calls[0]

    def _is_at(self, place: Any, site: Site) -> bool:
        starts = (place.start.line, place.start.column) == (
            site.line,
            self._character(site.line, site.column or 0),
        )
        end_line = site.end_line or site.line
        end_column = site.end_column or 0
        return starts and (place.end.line, place.end.column) == (
            end_line,
            self._character(end_line, end_column),
        )

    def _character(self, line: int, column: int) -> int:
        # Python counts a line in bytes, LibCST in characters.
        if not 0 < line <= len(self._lines):
            return -1
        return len(self._lines[line - 1].encode()[:column].decode("utf-8", "replace"))

    def change(self, node: Any, make: Callable[[Any], Any]) -> None:
        """Register a change of a node.

        Several changes of one node are applied in order.

        Args:
            node: the node to replace.
            make: maps the node, with its inner nodes already changed, to the new one.
        """
        self._changes.setdefault(id(node), []).append(make)

    def patched_text(self) -> str:
        """Return the text with all changes made."""
        changes = self._changes
        cst = self.cst

        class Transformer(cst.CSTTransformer):  # type: ignore[misc, name-defined, unused-ignore]
            def on_leave(self, original_node: Any, updated_node: Any) -> Any:
                updated: Any = super().on_leave(original_node, updated_node)
                for make in changes.get(id(original_node), ()):
                    if not isinstance(updated, cst.CSTNode):
                        raise UnpatchableError("one line makes several of the layers that change")
                    updated = make(updated)
                return updated

        return self._mark + str(self.module.visit(Transformer()).code)


def called_name(call: Any) -> str:
    """Return the last part of the called name: `Dense` in `layers.Dense(3)`."""
    name = getattr(call.func, "attr", call.func)
    return str(getattr(name, "value", ""))


def with_arguments(
    source: Source, call: Any, changes: dict[str, str | None], parameters: Sequence[str]
) -> Any:
    """Return a call with some arguments set to new expressions, or (None) removed.

    Raises:
        UnpatchableError: arguments are hidden in `*` or `**`, or cannot be removed.
    """
    if any(argument.star for argument in call.args):
        raise UnpatchableError("a call's arguments are hidden behind stars")
    arguments = list(call.args)
    for name, text in changes.items():
        place = _place(arguments, name, parameters)
        if text is None:
            by_place = place is not None and arguments[place].keyword is None
            if place is None or (
                by_place and place + 1 < len(arguments) and arguments[place + 1].keyword is None
            ):
                raise UnpatchableError(f"the argument {name} cannot be left out")
            removed = arguments.pop(place)
            if place == len(arguments) and arguments:
                arguments[-1] = arguments[-1].with_changes(comma=removed.comma)
        elif place is not None:
            arguments[place] = arguments[place].with_changes(
                value=source.cst.parse_expression(text)
            )
        else:
            arguments = _appended(source, arguments, name, text)
    return call.with_changes(args=arguments)


def _place(arguments: list[Any], name: str, parameters: Sequence[str]) -> int | None:
    for i, argument in enumerate(arguments):
        if (
            argument.keyword.value
            if argument.keyword
            else parameters[i]
            if i < len(parameters)
            else ""
        ) == name:
            return i
    return None


def _appended(source: Source, arguments: list[Any], name: str, text: str) -> list[Any]:
    cst = source.cst
    argument = cst.Arg(
        cst.parse_expression(text),
        keyword=cst.Name(name),
        equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
    )
    if not arguments:
        return [argument]
    *others, last = arguments
    argument = argument.with_changes(comma=last.comma)
    plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    between = others[-1].comma if others and isinstance(others[-1].comma, cst.Comma) else plain
    return [*others, last.with_changes(comma=between), argument]


def with_elements(source: Source, list_node: Any, elements: list[list[Any]]) -> Any:
    """Return a list display in its layout, with element `i` replaced by `elements[i]`."""
    cst = source.cst
    flat: list[Any] = []
    plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    commas = [
        element.comma for element in list_node.elements if isinstance(element.comma, cst.Comma)
    ]
    between = commas[0] if len(list_node.elements) > 1 else plain
    trailing = list_node.elements[-1].comma if list_node.elements else cst.MaybeSentinel.DEFAULT
    for old, new in zip(list_node.elements, elements, strict=True):
        for i, value in enumerate(new):
            own = (
                old.comma
                if isinstance(old.comma, cst.Comma) and i == 0 and old is not list_node.elements[-1]
                else between
            )
            flat.append(cst.Element(value, comma=own))
    if flat:
        flat[-1] = flat[-1].with_changes(comma=trailing)
    return list_node.with_changes(elements=flat)
