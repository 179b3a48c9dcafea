"""Source text as a syntax tree, as far as it can be had."""

from __future__ import annotations

import ast
import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Source:
    """One file: its tree, or why there is none."""

    path: Path
    tree: ast.Module | None
    error: SyntaxError | None = None
    installs: list[str] = field(default_factory=list)
    """What a notebook's `pip install` lines name."""
    language: str = "python"


def read(path: Path) -> Source:
    """Parse a script or notebook; never raises for what is in it."""
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        return _notebook(path, content)
    return _parse(path, _decode(content))


def _decode(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\0", "")


def _parse(path: Path, text: str) -> Source:
    error: SyntaxError | None = None
    for attempt in (text, _repaired(text)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Source(path, ast.parse(attempt), error)
        except SyntaxError as problem:
            error = error or problem
        except (ValueError, RecursionError, MemoryError):
            return Source(path, None, SyntaxError("it cannot be parsed", (str(path), 1, 1, "")))
    return Source(path, None, error)


_PRINT = re.compile(r"^(\s*)print\s+(?![=(])(.*)$")
_EXCEPT = re.compile(r"^(\s*except\s+[\w.()]+)\s*,\s*(\w+)\s*:")


def _repaired(text: str) -> str:
    """What Python 3 cannot read and people still have: Python 2 prints, magics, conflict markers."""
    lines = []
    for line in text.splitlines():
        stripped = line.lstrip()
        if stripped.startswith(("%", "!", "<<<<<<<", "=======", ">>>>>>>", "?")):
            line = line[: len(line) - len(stripped)] + "pass"
        line = _PRINT.sub(lambda m: f"{m[1]}print({m[2].split('>>')[-1].strip().rstrip(',')})", line)
        lines.append(_EXCEPT.sub(r"\1 as \2:", line).expandtabs(8))
    return "\n".join(lines)


def _notebook(path: Path, content: bytes) -> Source:
    try:
        notebook = json.loads(_decode(content))
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Source(path, None, SyntaxError("not a notebook", (str(path), 1, 1, "")))
    if str(language).lower() != "python":
        return Source(path, ast.Module(body=[], type_ignores=[]), language=str(language))
    parts, installs = [], []
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        text = cell.get("source", cell.get("input", ""))
        text = "".join(map(str, text)) if isinstance(text, list) else str(text)
        for line in text.splitlines():
            words = line.strip().lstrip("!%").split()
            if words[:2] == ["pip", "install"] or words[:2] == ["pip3", "install"]:
                installs += [word for word in words[2:] if not word.startswith("-")]
        if text.lstrip().startswith("%%") and text.split()[0] not in ("%%time", "%%timeit", "%%capture"):
            continue
        parts.append("\n".join("pass" if line.lstrip().startswith(("!", "%")) else line for line in text.splitlines()))
    joined = _parse(path, "\n".join(parts))
    if joined.tree is None:  # one broken cell must not hide the others
        bodies = [tree.body for tree in (_parse(path, part).tree for part in parts) if tree is not None]
        joined = Source(path, ast.Module(body=[s for body in bodies for s in body], type_ignores=[]), joined.error)
    joined.installs = installs
    return joined
