"""Data that the entry reads and that is not there, known before a training has begun."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_lib.records import Detection


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A path that the entry reads and that does not exist."""

    path: str
    where: str
    """File and line, or the file."""
    certain: bool
    """Whether the script surely reads it before anything could make it."""


def missing(detection: Detection, *, given: Sequence[str] = ()) -> Iterator[Missing]:
    """The literal paths which the entry reads and which are not there.

    Certain is only what the entry reads by a relative path right after its imports and definitions, before anything else
    of it ran: a path in a function, under a condition or after another call may never be read, or be made first.

    Args:
        detection: the project as it was understood.
        given: paths that are provided otherwise.
    """
    project = Path(detection.project)
    entry = project / detection.entry
    provided = tuple(given)
    paths = [p for p in detection.data_paths if not _is_there(p, project, entry) and not _is_given(p, provided)]
    if not paths:
        return
    text = _text(entry)
    lines = _surely_read(text, entry.parent, paths)
    for path in paths:
        line = lines.get(path)
        certain = line is not None and not Path(path).is_absolute() and text.count(path) == 1
        yield Missing(path=path, where=f"{detection.entry}:{line}" if line else detection.entry, certain=certain)


def _is_there(path: str, project: Path, entry: Path) -> bool:
    # A path of Windows, of a home folder or out of the project is taken for a pushed file too (runner/places.py).
    away = path.startswith(("..", "~")) or "\\" in path
    place = Path(re.sub(r"^([A-Za-z]:)?[\\/.~]*", "/", path.replace("\\", "/"))) if away else Path(path)
    if any(letter in path for letter in "*?[{%"):
        return True  # a pattern, not a path
    if place.is_absolute() and place.exists():
        return True
    # The runner takes a pushed file for an absolute path of some other machine that ends as its own does.
    ends = [Path(*place.parts[start:]) for start in range(1, len(place.parts))] if place.is_absolute() else [place]
    return any((folder / end).exists() for folder in (project, entry.parent) for end in ends)


def _is_given(path: str, given: Sequence[str]) -> bool:
    plain = Path(path)
    return any(plain == Path(one) or Path(one) in plain.parents for one in given)


def _text(entry: Path) -> str:
    try:
        text = entry.read_text(encoding="utf-8", errors="replace")
        if entry.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join("".join(c.get("source", "")) for c in cells if c.get("cell_type") == "code")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return text


def _surely_read(text: str, project: Path, paths: Sequence[str]) -> dict[str, int]:
    """Those of the paths that are read before anything else of the project could have made them, with their lines."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, int] = {}
    for statement in module.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(statement, (ast.Import, ast.ImportFrom)) and not _is_local(statement, project):
            continue
        if not isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign)):
            break
        read = {path: line for path, line in _first_arguments(statement) if path in paths}
        calls = any(isinstance(node, ast.Call) for node in ast.walk(statement))
        lazy = any(isinstance(node, (ast.Lambda, ast.IfExp, ast.BoolOp)) for node in ast.walk(statement))
        if calls and (lazy or not read):
            break
        found.update(read)
    return found


def _is_local(statement: ast.Import | ast.ImportFrom, project: Path) -> bool:
    if isinstance(statement, ast.ImportFrom):
        names = [statement.module or ""]
        relative = statement.level > 0
    else:
        names, relative = [alias.name for alias in statement.names], False
    tops = [name.split(".")[0] for name in names]
    return relative or any((project / top).is_dir() or (project / f"{top}.py").exists() for top in tops)


def _first_arguments(statement: ast.stmt) -> Iterator[tuple[str, int]]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, first.lineno
