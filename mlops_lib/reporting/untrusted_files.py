"""Read files that a script may have written: bounded, checked, no links followed.

A report must also work for a broken run, so nothing here raises for a file's content. A missing
file gives an empty value, a damaged one an entry in `problems`; the rest is plain, short, finite
and printable.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlops_lib import atomic
from mlops_lib.records import Record
from mlops_lib.runner import protocol

R = TypeVar("R", bound=Record)

TEXT_LIMIT = 2000
"""Characters of one string."""
ITEMS_LIMIT = 20_000
"""Values in one file, over all its lists and objects; a confusion matrix of 100 classes has 10,000.
"""
ENTRIES_LIMIT = 20_000
"""Names read from one folder."""
TAIL_LIMIT = 256 * 1024
"""Bytes read from the end of the script's output."""
PATCH_LIMIT = 64 * 1024
"""Bytes of the suggested patch."""

# Control characters can break a terminal; direction marks can make a text read differently.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]"
)
_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


@dataclass
class Reader:
    """A reader of one run directory's files; it collects what could not be read."""

    run_dir: Path
    problems: list[str] = field(default_factory=list)

    def value(self, name: str, *, limit: int = atomic.JSON_LIMIT) -> Any:
        """Return the sanitized JSON value in a file; None if there is none.

        Args:
            name: the file's path in the run directory.
            limit: bytes; a larger file is not read at all.
        """
        try:
            return tidy(
                atomic.read_json(self.run_dir / name, inside=self._boundary(name), limit=limit)
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._report_problem(name, error)
            return None

    def object(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file; empty if there is none."""
        value = self.value(name)
        return value if isinstance(value, dict) else {}

    def record(self, kind: type[R], name: str) -> R | None:
        """Return the record in a file; None if it is missing or invalid."""
        value = self.value(name)
        if value is None:
            return None
        try:
            return kind.from_json(value)
        except ValueError as error:
            self._report_problem(name, error)
            return None

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of a journal, one per line; torn and invalid lines are skipped.

        Of a very long journal only the beginning and the end are read.
        """
        lines = atomic.Lines()
        try:
            with atomic.open_regular(self.run_dir / name, inside=self._boundary(name)) as file:
                journal_lines = lines.new(file)
        except FileNotFoundError:
            return
        except OSError as error:
            self._report_problem(name, error)
            return
        for line in journal_lines:
            if (value := _object(line)) is not None:
                yield value
        if lines.skipped:
            size = f"{lines.skipped / (1 << 20):.1f} MiB"
            self.problems.append(f"{name} is too long: {size} in its middle are not shown")

    def tail(self, name: str, *, lines: int) -> str:
        """Return the last lines of a text file, as a terminal would have shown them."""
        try:
            with atomic.open_regular(self.run_dir / name, inside=self._boundary(name)) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_LIMIT))
                content = file.read(TAIL_LIMIT)
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._report_problem(name, error)
            return ""
        return "\n".join(terminal_lines(content.decode("utf-8", "replace"))[-lines:])

    def head(self, name: str) -> str:
        """Return the beginning of a text file, at most `PATCH_LIMIT` bytes."""
        try:
            with atomic.open_regular(self.run_dir / name, inside=self._boundary(name)) as file:
                content = file.read(PATCH_LIMIT)
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._report_problem(name, error)
            return ""
        return printable(content.decode("utf-8", "replace"), limit=PATCH_LIMIT)

    def numbers_in(self, folder: str, *, limit: int) -> list[str]:
        """Return the names `<number>.json` in a folder of `inside/`, in numerical order."""
        try:
            opened = os.open(self.run_dir / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return []
        try:
            with os.scandir(opened) as entries:
                some = itertools.islice(entries, ENTRIES_LIMIT)
                names = [e.name for e in some if re.fullmatch(r"[0-9]{1,6}\.json", e.name)]
        finally:
            os.close(opened)
        return sorted(names, key=lambda name: int(name.partition(".")[0]))[:limit]

    def _boundary(self, name: str) -> Path | None:
        return self.run_dir / protocol.INSIDE if name.startswith(f"{protocol.INSIDE}/") else None

    def _report_problem(self, name: str, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = reason.replace(str(self.run_dir) + os.sep, "")
        self.problems.append(printable(f"{name} could not be read: {reason}", limit=300))


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return tidy(value) if isinstance(value, dict) else None


def tidy(value: Any) -> Any:
    """Return `value` without long or unprintable strings, NaN, infinity and long lists."""
    return _tidy(value, [ITEMS_LIMIT], 0)


def _tidy(value: Any, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**18 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 20 or budget[0] <= 0:
        return None
    if isinstance(value, dict):
        return {
            printable(str(key), limit=200): _tidy(item, budget, depth + 1)
            for key, item in list(value.items())[: max(0, budget[0])]
        }
    if isinstance(value, list):
        return [_tidy(item, budget, depth + 1) for item in value[: max(0, budget[0])]]
    return None


def printable(text: str, *, limit: int = TEXT_LIMIT) -> str:
    """Return the text with unprintable characters replaced, cut at `limit` characters."""
    text = text[: limit + 1].encode("utf-8", "replace").decode("utf-8")
    text = _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def terminal_lines(output: str) -> list[str]:
    """Return a program's output as lines, without colours and overwritten text."""
    lines = []
    for line in _COLOURS.sub("", output).replace("\r\n", "\n").split("\n"):
        parts = [part for part in re.split(r"[\r\b]+", line) if part.strip()]
        lines.append(printable(parts[-1], limit=500) if parts else "")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def when(value: Any) -> float | None:
    """Return a Unix time before the year 3000, or None for anything else."""
    time = number(value)
    return time if time is not None and 0 <= time < 32_503_680_000 else None


def count(value: Any, *, limit: int = 10**15) -> int | None:
    """Return a whole number from 0 to `limit`, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= limit else None


def text(value: Any, *, limit: int = 300) -> str:
    """Return a string on one line, or "" for anything that is not a string."""
    return printable(" ".join(value.split()), limit=limit) if isinstance(value, str) else ""
