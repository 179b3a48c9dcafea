"""One declared requirement: its name, its versions, and the releases it allows."""

from __future__ import annotations

import re
import sys
from itertools import takewhile
from typing import NamedTuple

_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[(?P<extras>[A-Za-z0-9._, -]*)\])?"
    r"\s*\(?(?P<versions>[<>=!~][A-Za-z0-9.*+!<>=~, _-]*)?\)?\s*(;(?P<marker>[^\n\r]*))?"
)


_VERSION = re.compile(r"(===|==|~=|!=|<=|>=|<|>|=)\s*([A-Za-z0-9.*+!_-]+)")


class Line(NamedTuple):
    """One requirement: a distribution with its versions."""

    name: str
    """Normalised name (PEP 503)."""
    extras: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    marker: str = ""

    def __str__(self) -> str:
        versions = ",".join(operator + version for operator, version in self.versions)
        return f"{self.name}{self.extras}{versions}" + (f"; {self.marker}" if self.marker else "")

    @property
    def bare(self) -> Line:
        """The requirement without its versions."""
        return self._replace(versions=())


def read(text: str) -> Line | None:
    """Return the requirement in a line, or None for an option, a URL or a path."""
    match = _LINE.fullmatch(text.strip())
    if match is None:
        return None
    # A single = is conda's, and what some write.
    versions = tuple(
        ("==" if o == "=" else o, v) for o, v in _VERSION.findall(match["versions"] or "")
    )
    extras = re.sub(r"\s", "", match["extras"] or "")
    return Line(
        normal(match["name"]),
        f"[{extras}]" if extras else "",
        versions,
        (match["marker"] or "").strip(),
    )


def normal(name: str) -> str:
    """Return a distribution's normalised name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(text: str) -> str:
    """Return the normalised name in a requirement; "" if there is none."""
    line = read(text)
    return "" if line is None else line.name


def release(version: str) -> tuple[int, ...]:
    """Return a version's release numbers for comparison: (1, 16, 4) of 1.16.4rc1."""
    numbers = []
    for part in version.partition("!")[2].split(".") if "!" in version else version.split("."):
        digits = "".join(takewhile(str.isdigit, part))
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def highest(line: Line) -> tuple[tuple[int, ...], bool] | None:
    """Return the upper bound of a requirement, and whether it includes that release.

    It is None if there is no upper bound.
    """
    ends = []
    for operator, version in line.versions:
        numbers = release(version)
        if operator in ("==", "===") and version.endswith("*"):
            ends.append((_next(release(version.removesuffix(".*")), version.count(".")), False))
        elif operator == "~=":
            ends.append((_next(numbers, version.count(".")), False))
        elif operator in ("==", "===", "<="):
            ends.append((numbers, True))
        elif operator == "<":
            ends.append((numbers, False))
    return min(ends, default=None)


def _next(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    """Return the release that ends a series: 1.5 for 1.4.* (length 2) and ~=1.4.2."""
    padded = (*numbers, *(0,) * length)[:length]
    return (*padded[:-1], padded[-1] + 1) if padded else (sys.maxsize,)


def ends_before(line: Line, version: str) -> bool:
    """Return whether every version that the requirement allows is older than this one."""
    end = highest(line)
    first = release(version)
    return end is not None and (end[0] < first or (end[0] == first and not end[1]))


def normalized_specifier(operator: str, version: str) -> tuple[str, str] | None:
    """Return a bound that installers accept, without a misplaced dot or star.

    It is None if that is not enough.
    """
    starred = operator in ("==", "!=") and version.endswith(".*")
    number = version.rstrip(".*")
    valid = _PEP_440.fullmatch(number) and not (operator == "~=" and "." not in number)
    return (operator, number + ".*" * starred) if valid or operator == "===" else None


def series_of(version: str) -> str:
    """Return the minor release: 1.5.* for 1.5.1."""
    return ".".join(version.split(".")[:2]) + ".*"


_PEP_440 = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(alpha|beta|preview|pre|rc|a|b|c)[-_.]?\d*)?(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?"
    r"([-_.]?dev[-_.]?\d*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
