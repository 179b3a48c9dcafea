"""Choose the Python that a project asks for: `requires-python`, `.python-version`, `runtime.txt`,
`.tool-versions`.

Of the versions that every declaration allows, the usual one is taken if it is among them, else the
nearest newer, else the nearest older one.
"""

from __future__ import annotations

import os
import re

from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex
from mlops_lib.project import files

USUAL = 11
"""Minor version of the Python 3 of environments without another declaration."""
KNOWN = range(8, 15)
"""Minor versions that there are images of, and that the runner runs on."""
_CLAUSE = lazy_regex(
    r"(===|==|~=|!=|<=|>=|<|>|\^|~|=)?\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+|\*))?(\.\*)?"
)


class Wish:
    """A declaration of the Python that a project needs."""

    __slots__ = ("line", "source", "text")

    def __init__(self, source: str, text: str, line: int = 1) -> None:
        self.source = source
        """The declaring file."""
        self.text = text
        self.line = line


def allowed(specifier: str) -> set[int]:
    """Return the known minor versions of Python 3 that a specifier allows.

    Example:
        >>> sorted(allowed(">=3.10,<3.13")), allowed("3.12.4"), sorted(allowed("~=3.13"))
        ([10, 11, 12], {12}, [13, 14])
        >>> sorted(allowed("~3.9 || >=3.12,!=3.13.*"))
        [9, 12, 14]
    """
    minors: set[int] = set()
    for part in re.split(r"\|\|?", specifier):  # alternatives of Poetry's and conda's
        fitting = set(KNOWN)
        for clause in re.split(r"[,\s]+(?=[<>=!~^]|$)|,", part):
            match = _CLAUSE.fullmatch(clause.strip())
            if match is not None:
                fitting &= {minor for minor in KNOWN if _fits(minor, match)}
        minors |= fitting
    return minors


def _fits(minor: int, clause: re.Match[str]) -> bool:
    """Return whether some release 3.minor.x fits a clause."""
    operator = clause[1] or "=="
    major = int(clause[2])
    if major != 3:
        return (operator in (">=", ">") and major < 3) or (
            operator in ("<", "<=", "!=") and major > 3
        )
    if clause[3] is None:  # of Python 3 as a whole
        return operator not in ("<", ">", "!=")
    bound = int(clause[3])
    exact = clause[4] not in (None, "*")
    match operator:
        case ">=" | ">":
            return minor >= bound if operator == ">=" or exact else minor > bound
        case "<":
            return minor < bound or (minor == bound and exact and clause[4] != "0")
        case "<=":
            return minor <= bound
        case "!=":
            return exact or minor != bound
        case "~=":  # a release of the series 3.11, or any later one of Python 3
            return minor == bound if exact else minor >= bound
        case "^":
            return minor >= bound
    return minor == bound


def choose(wishes: list[Wish]) -> tuple[str, Wish | None, list[str]]:
    """Return the Python to use.

    Args:
        wishes: what the project declares, what binds most first.

    Returns:
        The version, such as "3.12"; the declaration that decided, if it is not the usual one; and
        warnings about what cannot be honoured.
    """
    possible = set(KNOWN)
    warnings: list[str] = []
    decided: Wish | None = None
    for wish in wishes:
        fitting = possible & allowed(wish.text)
        if not fitting:
            other = f"; {decided.source} asks for {decided.text}" if decided else ""
            warnings.append(f"{wish.source}:{wish.line}: Python {wish.text} cannot be had{other}")
            continue
        if USUAL in possible and USUAL not in fitting:
            decided = wish
        possible = fitting
    newer = [minor for minor in sorted(possible) if minor >= USUAL]
    chosen = f"3.{newer[0] if newer else max(possible)}"
    return chosen, decided, [f"{one}: Python {chosen} is used" for one in warnings]


_FILES = (
    (".python-version", r"(?:cpython-)?"),
    ("runtime.txt", r"python-"),
    (".tool-versions", r"python\s+"),
)
"""Files that say which Python to use, and what stands before the version."""


def written_down(folder: str, root: str) -> list[Wish]:
    """Return what files for a Python's version alone say, nearest to a folder first."""
    wishes: list[Wish] = []
    place = folder
    while True:
        names = set(files.names_in(place, root=root))
        for name, pattern in _FILES:
            if name in names:
                wish = _version_in(os.path.join(place, name), pattern, root)
                if wish is not None:
                    wishes.append(wish)
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return wishes
        place = os.path.dirname(place)


def _version_in(path: str, pattern: str, root: str) -> Wish | None:
    try:
        text = files.read_text(path, root=root, limit=2_000)
    except RefusedFileError:
        return None
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(rf"\s*{pattern}([23](?:\.\d+){{1,2}})(?![\w.]*[a-z-])", line)
        if match is not None:
            return Wish(os.path.relpath(path, root), match[1], number)
    return None
