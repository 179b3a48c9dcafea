"""Changes to Python source that leave everything else as it was written, by LibCST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mlops_lib.errors import RefusedFileError
from mlops_lib.patching.winner_record import Site, TooCleverError
from mlops_lib.project import files

LARGEST = 1 << 20
BOM = "\ufeff"
"""The mark that some editors begin a file with; LibCST drops it."""


def read_source(project: Path, name: str) -> str:
    """A source file of the project, its line ends as they are.

    Raises:
        TooCleverError: it is not there, lies elsewhere, or is no Python text.
    """
    if not name.endswith((".py", ".ipynb")):
        raise TooCleverError(f"{name} is no source file of the project that can be patched")
    try:
        return files.read(name, root=project, limit=LARGEST).decode("utf-8")
    except RefusedFileError as refused:
        raise TooCleverError(f"{name} cannot be patched: {refused.what}") from refused
    except UnicodeDecodeError as error:
        raise TooCleverError(f"{name} is not UTF-8") from error


class Source:
    """One file, with the changes to be made to it.

    Args:
        text: the source.

    Raises:
        TooCleverError: it cannot be parsed.
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
            raise TooCleverError("the source cannot be parsed") from error
        self._positions = self._wrapper.resolve(PositionProvider)
        self._parents = self._wrapper.resolve(ParentNodeProvider)
        self._changes: dict[int, list[Callable[[Any], Any]]] = {}

    @property
    def module(self) -> Any:
        """The syntax tree as it was."""
        return self._wrapper.module

    def parent(self, node: Any) -> Any:
        """The node around a node."""
        return self._parents.get(node)

    def around(self, node: Any, kind: Any) -> Any:
        """The innermost node of a kind around a node, None where there is none."""
        while node is not None and not isinstance(node, kind):
            node = self.parent(node)
        return node

    def code(self, node: Any) -> str:
        """A node as text."""
        return str(self.module.code_for_node(node))

    def nodes(self, kind: Any) -> list[Any]:
        """All nodes of a kind, in the order of the text."""
        found = [
            (p.start.line, p.start.column, n)
            for n, p in self._positions.items()
            if isinstance(n, kind)
        ]
        return [node for _, _, node in sorted(found, key=lambda one: one[:2])]

    def call(self, site: Site, kinds: Iterable[str]) -> Any:
        """The call at a place.

        Args:
            site: the place.
            kinds: the names that the called function may have; any where the place is exact and
                this is empty.

        Raises:
            TooCleverError: there is none, or several.
        """
        kinds = tuple(kinds)
        found = []
        for node in self.nodes(self.cst.Call):
            place = self._positions[node]
            named = not kinds or called_name(node) in kinds
            if site.column is None:
                if place.start.line == site.line and named:
                    found.append(node)
            elif self._is_at(place, site) and named:
                found.append(node)
        if len(found) != 1:
            raise TooCleverError(
                f"line {site.line} of {site.file} does not make exactly one {' or '.join(kinds)}"
            )
        return found[0]

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
        """Replace a node by what `make` makes of it, after the nodes inside it; changes of one node
        follow each other.
        """
        self._changes.setdefault(id(node), []).append(make)

    def changed(self) -> str:
        """The text with all changes made."""
        changes = self._changes
        cst = self.cst

        class Transformer(cst.CSTTransformer):  # type: ignore[misc, name-defined, unused-ignore]
            def on_leave(self, original_node: Any, updated_node: Any) -> Any:
                updated: Any = super().on_leave(original_node, updated_node)
                for make in changes.get(id(original_node), ()):
                    if not isinstance(updated, cst.CSTNode):
                        raise TooCleverError("one line makes several of the layers that change")
                    updated = make(updated)
                return updated

        return self._mark + str(self.module.visit(Transformer()).code)


def called_name(call: Any) -> str:
    """The last part of what is called: `Dense` in `layers.Dense(3)`."""
    name = getattr(call.func, "attr", call.func)
    return str(getattr(name, "value", ""))


def with_arguments(
    source: Source, call: Any, wanted: dict[str, str | None], parameters: Sequence[str]
) -> Any:
    """A call with some arguments set to new expressions, or (None) left out.

    Raises:
        TooCleverError: an argument is hidden in `*` or `**`, or cannot be left out.
    """
    if any(argument.star for argument in call.args):
        raise TooCleverError("a call's arguments are hidden behind stars")
    arguments = list(call.args)
    for name, text in wanted.items():
        place = _place(arguments, name, parameters)
        if text is None:
            by_place = place is not None and arguments[place].keyword is None
            if place is None or (
                by_place and place + 1 < len(arguments) and arguments[place + 1].keyword is None
            ):
                raise TooCleverError(f"the argument {name} cannot be left out")
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
    made = cst.Arg(
        cst.parse_expression(text),
        keyword=cst.Name(name),
        equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
    )
    if not arguments:
        return [made]
    *others, last = arguments
    made = made.with_changes(comma=last.comma)
    plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    between = others[-1].comma if others and isinstance(others[-1].comma, cst.Comma) else plain
    return [*others, last.with_changes(comma=between), made]


def with_elements(source: Source, listed: Any, elements: list[list[Any]]) -> Any:
    """A list display whose element `i` became `elements[i]`, in the layout that it has."""
    cst = source.cst
    flat: list[Any] = []
    plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    commas = [one.comma for one in listed.elements if isinstance(one.comma, cst.Comma)]
    between = commas[0] if len(listed.elements) > 1 else plain
    trailing = listed.elements[-1].comma if listed.elements else cst.MaybeSentinel.DEFAULT
    for old, new in zip(listed.elements, elements, strict=True):
        for i, value in enumerate(new):
            own = (
                old.comma
                if isinstance(old.comma, cst.Comma) and i == 0 and old is not listed.elements[-1]
                else between
            )
            flat.append(cst.Element(value, comma=own))
    if flat:
        flat[-1] = flat[-1].with_changes(comma=trailing)
    return listed.with_changes(elements=flat)
