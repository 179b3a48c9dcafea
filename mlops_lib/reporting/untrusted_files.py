"""Reading what somebody else may have written: every size is bounded, every value is checked, no
link is followed.

A report has to be good when the run was not. So nothing here raises for what a file holds: a
missing file is an empty answer, a damaged one an entry in `problems`, and what is left is plain,
short, finite and printable.
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
"""Values in one file, all its lists and objects together; a confusion matrix of 100 classes has
10,000.
"""
ENTRIES_LIMIT = 20_000
"""Names read of one folder."""
TAIL_LIMIT = 256 * 1024
"""Bytes read from the end of the script's output."""
PATCH_LIMIT = 64 * 1024
"""Bytes of the suggested patch."""

# Control characters can break a terminal, and the direction marks make text read as something else
# than it is.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]"
)
_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


@dataclass
class Reader:
    """Reads the files of one run directory, and remembers what could not be read."""

    run_dir: Path
    problems: list[str] = field(default_factory=list)

    def value(self, name: str, *, limit: int = atomic.JSON_LIMIT) -> Any:
        """The tidied JSON value in a file, by its path in the run directory; None where there is
        none.

        Args:
            name: the path.
            limit: bytes; of a larger file nothing is read.
        """
        try:
            return tidy(
                atomic.read_json(self.run_dir / name, inside=self._boundary(name), limit=limit)
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._complain(name, error)
            return None

    def object(self, name: str) -> dict[str, Any]:
        """The JSON object in a file; empty where there is none."""
        value = self.value(name)
        return value if isinstance(value, dict) else {}

    def record(self, kind: type[R], name: str) -> R | None:
        """The record in a file; None where there is none, or it has the wrong shape."""
        value = self.value(name)
        if value is None:
            return None
        try:
            return kind.from_json(value)
        except ValueError as error:
            self._complain(name, error)
            return None

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The objects of a journal, one a line; torn and foreign lines are left out.

        Of a very long one its beginning and its end.
        """
        lines = atomic.Lines()
        try:
            with atomic.open_regular(self.run_dir / name, inside=self._boundary(name)) as file:
                found = lines.new(file)
        except FileNotFoundError:
            return
        except OSError as error:
            self._complain(name, error)
            return
        for line in found:
            if (value := _object(line)) is not None:
                yield value
        if lines.skipped:
            size = f"{lines.skipped / (1 << 20):.1f} MiB"
            self.problems.append(
                f"{name} is too long: {size} of it are not shown, its beginning and its end are"
            )

    def tail(self, name: str, *, lines: int) -> str:
        """The last lines of a text file, as a terminal would have shown them."""
        try:
            with atomic.open_regular(self.run_dir / name, inside=self._boundary(name)) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_LIMIT))
                content = file.read(TAIL_LIMIT)
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._complain(name, error)
            return ""
        return "\n".join(terminal_lines(content.decode("utf-8", "replace"))[-lines:])

    def head(self, name: str) -> str:
        """The beginning of a text file, at most `PATCH_LIMIT` bytes."""
        try:
            with atomic.open_regular(self.run_dir / name, inside=self._boundary(name)) as file:
                content = file.read(PATCH_LIMIT)
        except FileNotFoundError:
            return ""
        except OSError as error:
            self._complain(name, error)
            return ""
        return printable(content.decode("utf-8", "replace"), limit=PATCH_LIMIT)

    def numbers_in(self, folder: str, *, limit: int) -> list[str]:
        """The names `<number>.json` in a folder of `inside/`, in the order of their numbers."""
        try:
            opened = os.open(self.run_dir / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return []
        try:
            with os.scandir(opened) as entries:
                some = itertools.islice(entries, ENTRIES_LIMIT)
                found = [e.name for e in some if re.fullmatch(r"[0-9]{1,6}\.json", e.name)]
        finally:
            os.close(opened)
        return sorted(found, key=lambda name: int(name.partition(".")[0]))[:limit]

    def _boundary(self, name: str) -> Path | None:
        return self.run_dir / protocol.INSIDE if name.startswith(f"{protocol.INSIDE}/") else None

    def _complain(self, name: str, error: Exception) -> None:
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
    """`value` without what a page cannot bear: long or unprintable strings, NaN, infinities,
    endless lists.
    """
    return _tidy(value, [ITEMS_LIMIT], 0)


def _tidy(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**18 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 20 or left[0] <= 0:
        return None
    if isinstance(value, dict):
        return {
            printable(str(key), limit=200): _tidy(item, left, depth + 1)
            for key, item in list(value.items())[: max(0, left[0])]
        }
    if isinstance(value, list):
        return [_tidy(item, left, depth + 1) for item in value[: max(0, left[0])]]
    return None


def printable(text: str, *, limit: int = TEXT_LIMIT) -> str:
    """`text` with what cannot be shown replaced, cut at `limit` characters."""
    text = text[: limit + 1].encode("utf-8", "replace").decode("utf-8")
    text = _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def terminal_lines(output: str) -> list[str]:
    """The lines of a program's output without colours; of a progress bar only what it showed last."""
    lines = []
    for line in _COLOURS.sub("", output).replace("\r\n", "\n").split("\n"):
        shown = [part for part in re.split(r"[\r\b]+", line) if part.strip()]
        lines.append(printable(shown[-1], limit=500) if shown else "")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def number(value: Any) -> float | None:
    """A finite number, or None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def when(value: Any) -> float | None:
    """A Unix time before the year 3000, or None for everything else."""
    time = number(value)
    return time if time is not None and 0 <= time < 32_503_680_000 else None


def count(value: Any, *, limit: int = 10**15) -> int | None:
    """A whole number from 0 to `limit`, or None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= limit else None


def text(value: Any, *, limit: int = 300) -> str:
    """A string on one line, or "" for everything that is not a string."""
    return printable(" ".join(value.split()), limit=limit) if isinstance(value, str) else ""
