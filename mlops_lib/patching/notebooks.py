"""A notebook as source that can be patched: its code cells as one program, and back into the lines
of its file.

The file is JSON whose strings stand on lines of their own, as every program that writes notebooks
leaves it; only the lines of changed cells change, so that the patch can be read.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lib.patching.source import Source, read_source
from mlops_lib.patching.winner_record import Site, TooCleverError

TIMED = ("%%time", "%%timeit", "%%capture")
"""Cell magics whose cell is Python all the same."""
_MARK = re.compile(r"^__mlops_cell_(\d+)__\n", re.MULTILINE)
_ASIDE = re.compile(r"__mlops_line_(\d+)__")


class NotebookSource(Source):
    """The code cells of a notebook, with the changes to be made to them.

    Args:
        text: the file.

    Raises:
        TooCleverError: it is no notebook, or its cells cannot be parsed.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._aside: list[str] = []
        """Lines that only IPython understands; a name stands in for each."""
        self._starts: list[tuple[int, int]] = []
        """First line of each cell, as the runner counts and in the program."""
        self._cells = _code_cells(text)
        parts: list[str] = []
        ran = made = 1
        for number, cell in enumerate(self._cells):
            lines = "".join(cell).splitlines() or [""]
            parts += [f"__mlops_cell_{number}__", *self._plain(lines)]
            self._starts.append((ran, made + 1))
            ran, made = ran + len(lines), made + 1 + len(lines)
        super().__init__("\n".join(parts) + "\n")

    def _plain(self, lines: list[str]) -> list[str]:
        first = next((line for line in lines if line.strip()), "")
        foreign = first.startswith("%%") and first.split()[0] not in TIMED
        return [self._set_aside(line) if foreign or _is_magic(line) else line for line in lines]

    def _set_aside(self, line: str) -> str:
        self._aside.append(line.lstrip())
        return f"{line[: len(line) - len(line.lstrip())]}__mlops_line_{len(self._aside) - 1}__"

    def call(self, site: Site, kinds: Any) -> Any:
        """The call at a place, whose line counts as the runner executed the cells."""
        ran, made = max((one for one in self._starts if one[0] <= site.line), default=(1, 1))
        end = site.end_line
        return super().call(
            replace(
                site,
                line=site.line - ran + made,
                end_line=None if end is None else end - ran + made,
            ),
            kinds,
        )

    def changed(self) -> str:
        """The file with all changes made."""
        parts = _MARK.split(super().changed())[1:]
        text = self._text
        for number, cell in zip(map(int, parts[::2]), parts[1::2], strict=True):
            whole = _ASIDE.sub(lambda found: self._aside[int(found[1])], cell)
            own = "".join(self._cells[number])
            whole = whole.removesuffix("\n") + ("\n" if own.endswith("\n") else "")
            if whole != own:
                text = _with_cell(text, self._cells[number], whole.splitlines(keepends=True))
        return text


def open_source(project: Path, name: str) -> Source:
    """A script or notebook of the project.

    Raises:
        TooCleverError: it is neither, or cannot be parsed.
    """
    text = read_source(project, name)
    return NotebookSource(text) if name.endswith(".ipynb") else Source(text)


def _is_magic(line: str) -> bool:
    bare = line.strip()
    return bare.startswith(("!", "%")) or (bare.endswith("?") and bare.rstrip("?").isidentifier())


def _code_cells(text: str) -> list[list[str]]:
    try:
        cells = json.loads(text)["cells"]
        found = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise TooCleverError("it is no notebook of format 4") from error
    if not all(
        isinstance(one, list) and all(isinstance(line, str) for line in one) for one in found
    ):
        raise TooCleverError("the notebook does not keep the lines of its cells apart")
    return found


def _with_cell(text: str, old: list[str], new: list[str]) -> str:
    """The file with the lines of one cell replaced; strings that stay keep the way they are
    written.
    """
    raw = text.splitlines(keepends=True)
    known = [_string(line) for line in raw]
    places = [i for i in range(len(raw) - len(old) + 1) if old and known[i : i + len(old)] == old]
    if len(places) != 1:
        raise TooCleverError("the notebook does not keep the lines of its cells apart")
    first = raw[places[0]]
    indent = first[: len(first) - len(first.lstrip())]
    ending = first[len(first.rstrip("\r\n")) :]
    written = {value: raw[places[0] + i].strip().removesuffix(",") for i, value in enumerate(old)}
    strings = [written.get(line, json.dumps(line, ensure_ascii=False)) for line in new]
    made = [
        indent + one + ("," if i + 1 < len(strings) else "") + ending
        for i, one in enumerate(strings)
    ]
    return "".join([*raw[: places[0]], *made, *raw[places[0] + len(old) :]])


def _string(line: str) -> str | None:
    bare = line.strip().removesuffix(",")
    if not bare.startswith('"'):
        return None
    try:
        value = json.loads(bare)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
