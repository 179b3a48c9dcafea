"""A notebook as patchable source: its code cells as one program, and back.

The file is JSON with each string on a line of its own, as all programs that write notebooks format
it. Only the lines of changed cells change, so that the patch stays readable.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lib.patching.source import Source, read_source
from mlops_lib.patching.winner_record import Site, UnpatchableError

TIMED = ("%%time", "%%timeit", "%%capture")
"""Cell magics whose cell contains Python."""
_MARK = re.compile(r"^__mlops_cell_(\d+)__\n", re.MULTILINE)
_ASIDE = re.compile(r"__mlops_line_(\d+)__")


class NotebookSource(Source):
    """The code cells of a notebook, with the changes to be made to them.

    Args:
        text: the file's content.

    Raises:
        UnpatchableError: it is no notebook, or its cells cannot be parsed.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._aside: list[str] = []
        """Lines that only IPython understands; a name replaces each of them."""
        self._starts: list[tuple[int, int]] = []
        """First line of each cell: as the runner counts lines, and in the program."""
        self._cells = _code_cells(text)
        parts: list[str] = []
        runner_line = program_line = 1
        for number, cell in enumerate(self._cells):
            lines = "".join(cell).splitlines() or [""]
            parts += [f"__mlops_cell_{number}__", *self._plain(lines)]
            self._starts.append((runner_line, program_line + 1))
            runner_line, program_line = runner_line + len(lines), program_line + 1 + len(lines)
        super().__init__("\n".join(parts) + "\n")

    def _plain(self, lines: list[str]) -> list[str]:
        first = next((line for line in lines if line.strip()), "")
        foreign = first.startswith("%%") and first.split()[0] not in TIMED
        return [self._set_aside(line) if foreign or _is_magic(line) else line for line in lines]

    def _set_aside(self, line: str) -> str:
        self._aside.append(line.lstrip())
        return f"{line[: len(line) - len(line.lstrip())]}__mlops_line_{len(self._aside) - 1}__"

    def call(self, site: Site, kinds: Any) -> Any:
        """Return the call at a site, whose line counts the executed cells' lines."""
        runner_line, program_line = max(
            (start for start in self._starts if start[0] <= site.line), default=(1, 1)
        )
        end = site.end_line
        return super().call(
            replace(
                site,
                line=site.line - runner_line + program_line,
                end_line=None if end is None else end - runner_line + program_line,
            ),
            kinds,
        )

    def patched_text(self) -> str:
        """Return the file with all changes made."""
        parts = _MARK.split(super().patched_text())[1:]
        text = self._text
        for number, cell in zip(map(int, parts[::2]), parts[1::2], strict=True):
            cell_text = _ASIDE.sub(lambda match: self._aside[int(match[1])], cell)
            own = "".join(self._cells[number])
            cell_text = cell_text.removesuffix("\n") + ("\n" if own.endswith("\n") else "")
            if cell_text != own:
                text = _with_cell(text, self._cells[number], cell_text.splitlines(keepends=True))
        return text


def open_source(project: Path, name: str) -> Source:
    """Return a script or notebook of the project.

    Raises:
        UnpatchableError: it is neither, or cannot be parsed.
    """
    text = read_source(project, name)
    return NotebookSource(text) if name.endswith(".ipynb") else Source(text)


def _is_magic(line: str) -> bool:
    bare = line.strip()
    return bare.startswith(("!", "%")) or (bare.endswith("?") and bare.rstrip("?").isidentifier())


def _code_cells(text: str) -> list[list[str]]:
    try:
        cells = json.loads(text)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnpatchableError("it is no notebook of format 4") from error
    if not all(
        isinstance(lines, list) and all(isinstance(line, str) for line in lines)
        for lines in sources
    ):
        raise UnpatchableError("the notebook does not keep the lines of its cells apart")
    return sources


def _with_cell(text: str, old: list[str], new: list[str]) -> str:
    """Return the file with the lines of one cell replaced.

    Unchanged strings keep their spelling.
    """
    raw = text.splitlines(keepends=True)
    values = [_string(line) for line in raw]
    places = [i for i in range(len(raw) - len(old) + 1) if old and values[i : i + len(old)] == old]
    if len(places) != 1:
        raise UnpatchableError("the notebook does not keep the lines of its cells apart")
    first = raw[places[0]]
    indent = first[: len(first) - len(first.lstrip())]
    ending = first[len(first.rstrip("\r\n")) :]
    spellings = {value: raw[places[0] + i].strip().removesuffix(",") for i, value in enumerate(old)}
    strings = [spellings.get(line, json.dumps(line, ensure_ascii=False)) for line in new]
    new_lines = [
        indent + string + ("," if i + 1 < len(strings) else "") + ending
        for i, string in enumerate(strings)
    ]
    return "".join([*raw[: places[0]], *new_lines, *raw[places[0] + len(old) :]])


def _string(line: str) -> str | None:
    bare = line.strip().removesuffix(",")
    if not bare.startswith('"'):
        return None
    try:
        value = json.loads(bare)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
