"""Replace declared requirements by ones that can be installed today.

Projects outlive the releases they pin: `tensorflow==1.14`, `sklearn`, `pywin32`, a `pip freeze` of
2018. Pins that still resolve are kept. Known faults (containers/requirements.toml) are replaced
before anything is built, and requirements that the installer refuses are loosened by name
afterwards. Every change is reported with its reason. Both are pure functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mlops_lib.environments.requirement import (
    Line,
    ends_before,
    highest,
    normalized_specifier,
    read,
    release,
    series_of,
)
from mlops_lib.environments.tables import tables

NUMPY_1 = Line("numpy", "", (("<", "2"),))


@dataclass(frozen=True)
class Mended:
    """Requirements that can be installed, and the changes that were made."""

    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    """Debian packages that they need."""


def _is_met(line: Line, by: Iterable[Line], locked: Mapping[str, str]) -> bool:
    """Return whether the row's release already satisfies a requirement.

    Without a lock the newest release of the row's series counts: a lower bound in it names an
    existing release.
    """
    own = next((one for one in by if one.name == line.name and not one.marker), None)
    if own is None or line.extras or line.marker or not line.versions:
        return False
    end = highest(own)
    bound = highest(line)
    enough = bound is None or (end is not None and end[0] <= bound[0])
    floors = [
        release(version) for operator, version in line.versions if operator in (">=", ">", "~=")
    ]
    if line.name in locked and any(floor > release(locked[line.name]) for floor in floors):
        return False
    return (
        enough
        and all(operator in (">=", ">", "~=", "<", "<=") for operator, _ in line.versions)
        and (end is None or all(floor < end[0] for floor in floors))
    )


def mend(
    lines: Sequence[str],
    *,
    row: Sequence[str] = (),
    python: str = "3.11",
    locked: Mapping[str, str] = MappingProxyType({}),
) -> Mended:
    """Return the requirements with everything replaced that is known not to work.

    Args:
        lines: the environment's requirements: the row's lines, or the project's in their place,
            then the project's own.
        row: the lines of the environment's row in the catalog.
        python: the environment's Python, such as "3.11".
        locked: the releases that the row is locked to, by name.
    """
    kept: dict[tuple[str, str], Line] = {}
    met: dict[str, Line] = {}
    notes: list[str] = []
    row_lines = [line for line in map(read, row) if line is not None]
    framework = _framework(row_lines)
    for text in lines:
        if text in row:
            continue
        line, why = _mended(text, python=python, framework=framework)
        if why and not (line is None and text.strip() == ""):
            notes.append(f"{text} → {line if line is not None else 'left out'}: {why}")
        if line is None:
            continue
        if _is_met(line, row_lines, locked):
            met[line.name] = line
            continue
        before = kept.get((line.name, line.marker))
        if before is None or (line.versions and not before.versions):
            kept[line.name, line.marker] = line
    own = {line.name for line in kept.values() if line.versions}
    first = []
    for line in row_lines:
        if line.name in own:
            continue
        below = lower_bound_violated(line, kept.values())
        if below is not None:
            instead = met.get(line.name, line.bare)
            notes.append(f"{line} → {instead}: that one needs a later {below.name} than {below}")
            line = instead
        first.append(line)
    names = {line.name for line in first} | ({"tensorflow"} if framework == "tensorflow" else set())
    project = [line for line in kept.values() if line.name not in names]
    every = [*first, *project]
    every, new_notes = _beside(every)
    notes += new_notes
    for line in list(every):
        also = tables()["also"].get(line.name, {})
        applies = also and ("before" not in also or ends_before(line, also["before"]))
        for companion in filter(None, map(read, also["asks"] if applies else ())):
            if companion.name not in {other.name for other in every}:
                every.append(companion)
                notes.append(f"{companion} added: {line} needs it and does not ask for it")
    if needs_numpy_1(every):
        every = [line for line in every if line.name != "numpy" or line.versions]
        every.append(NUMPY_1)
        notes.append("numpy<2: a pinned release was made for NumPy 1")
    every, new_notes = _with_numpy_1(every)
    notes += new_notes
    return Mended(tuple(_text(line, row) for line in every), tuple(notes), _system(every))


def lower_bound_violated(line: Line, others: Iterable[Line]) -> Line | None:
    """Return the requirement that allows only too old releases for `line`, or None."""
    asks = tables()["asks"].get(line.name, {}) if line.versions else {}
    return next(
        (other for other in others if other.name in asks and ends_before(other, asks[other.name])),
        None,
    )


def _beside(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """Return the lines with releases that are compatible with each other.

    A version that the project requests stays, unless it works beside none of the others.
    """
    every: list[Line] = list(lines)
    notes: list[str] = []
    settled = _together(every, notes)
    names = {line.name for line in lines}
    for name, companions in tables()["beside"].items():
        if name not in names or name in settled:
            continue
        for companion in filter(None, map(read, companions)):
            for place, line in enumerate(every):
                if line.name == companion.name and not line.versions:
                    every[place] = companion
                    notes.append(f"{line} → {companion}: the one that {name} works beside")
    return every, notes


def _together(lines: list[Line], notes: list[str]) -> set[str]:
    """Give distributions that are released as a set the series of the one that is pinned.

    Args:
        lines: the requirements, which are changed.
        notes: receives the changes.

    Returns:
        The members of the set of which a pin has decided.
    """
    for group in tables()["together"]:
        for name, number in _pinned_series(group, lines):
            series = {
                other: _series(first, number)
                for other, first in group["first"].items()
                if other != name and not _ended(group, other, number)
            }
            for place, line in enumerate(lines):
                release = series.get(line.name)
                if release is None or not _contradicts(line, release):
                    continue
                lines[place] = line._replace(versions=(("==", f"{release}.*"),))
                own = _series(group["first"][name], number)
                notes.append(f"{line} → {lines[place]}: the one that {name} {own}.* works beside")
            return set(group["first"])
    return set()


def _pinned_series(group: Mapping[str, Any], lines: Iterable[Line]) -> list[tuple[str, int]]:
    """Return the members of a set that are pinned or bounded, and their series' place in it."""
    found = []
    series = {line.name: _last_series(line) for line in lines}
    for name, first in group["first"].items():
        number = _number(first, series[name]) if series.get(name) else -1
        is_one = number >= 0 and (not group["count"] or number < group["count"])
        if is_one and not _ended(group, name, number):
            found.append((name, number))
    return found


def _last_series(line: Line) -> str:
    """Return the last minor series that a requirement allows, such as "2.3" for <2.4; "" if open."""
    end = highest(line)
    if end is None:
        return ""
    numbers, is_included = end
    numbers = (*numbers, 0) if is_included else numbers  # 2.0 is written (2,)
    if len(numbers) < 2:
        return ""
    before = 0 if is_included or len(numbers) > 2 else 1
    return f"{numbers[0]}.{numbers[1] - before}" if numbers[1] >= before else ""


def _ended(group: Mapping[str, Any], name: str, number: int) -> bool:
    """Return whether a member of a set has no release in a series of it."""
    last = group.get("last", {}).get(name)
    return last is not None and number > _number(group["first"][name], last)


def _number(first: str, version: str) -> int:
    """Return how many series after the first one a version is; -1 if it is of another kind."""
    own, other = release(first), release(version.removesuffix(".*"))
    own, other = (*own, 0)[:2], (*other, 0)[:2]
    return other[1] - own[1] if own[0] == other[0] else -1


def _series(first: str, number: int) -> str:
    major, minor = first.split(".")
    return f"{major}.{int(minor) + number}"


def _contradicts(line: Line, series: str) -> bool:
    """Return whether a requirement has no versions, or is pinned to another series."""
    pins = [version for operator, version in line.versions if operator == "=="]
    if not line.versions:
        return True
    return bool(pins) and release(series) != (*release(pins[0].removesuffix(".*")), 0)[:2]


def follows(text: str, row: Sequence[str]) -> bool:
    """Return whether a requirement pins the framework that the row provides."""
    line, framework = read(text), _framework(line for line in map(read, row) if line is not None)
    if line is None or not framework or not line.versions:
        return False
    return tables()["variant"].get(line.name, line.name) in tables()["follows"][framework]


def _text(line: Line, row: Sequence[str]) -> str:
    return next((text for text in row if read(text) == line), str(line))


def _framework(row: Iterable[Line]) -> str:
    names = {line.name for line in row}
    return next((name for name, group in tables()["follows"].items() if names & set(group)), "")


def _mended(text: str, *, python: str, framework: str) -> tuple[Line | None, str]:
    """Return the replacement of one line, or None to drop it, and the reason.

    The reason is "" if the line is unchanged.
    """
    line = read(text)
    if line is None:
        return (
            None,
            "only a distribution's name and versions are taken; where it comes from is the"
            " operator's to say",
        )
    if line.name.replace("-", "_") in sys.stdlib_module_names:
        return None, "it is a module of Python itself"
    facts = tables()
    why = ""
    sound = tuple(filter(None, (normalized_specifier(*one) for one in line.versions)))
    if sound != line.versions:
        line, why = (
            line._replace(versions=sound),
            "the version is not written as installers read it (PEP 440)",
        )
    reason = next((reason for reason, names in facts["dropped"].items() if line.name in names), "")
    if reason:
        return None, reason
    if line.name in facts["renamed"]:
        line, why = (
            Line(facts["renamed"][line.name], "", (), line.marker),
            "that is its name on the index",
        )
    elif line.name in facts["variant"]:
        line, why = (
            line._replace(name=facts["variant"][line.name], extras=""),
            "the variant for these containers",
        )
    fixed = facts["broken"].get(str(line._replace(extras="", marker="")))
    if fixed:
        line, why = line._replace(versions=(("==", fixed),)), "that release cannot be imported"
    if framework and line.name in facts["follows"][framework] and line.versions:
        return None, f"the environment has its own release of {framework} and what belongs to it"
    if line.versions and line.name in facts["brought"].get(framework, ()):
        return None, f"it comes with the environment's {framework}, in the release that one needs"
    needed = facts["needs"].get(framework, {}).get(line.name)
    if needed and ends_before(line, needed):
        return line._replace(
            versions=(("==", series_of(needed)),)
        ), f"the environment's {framework} needs {needed} at least"
    oldest = facts["wheels"].get(python, {}).get(line.name)
    if oldest and ends_before(line, oldest):
        return line._replace(
            versions=(("==", series_of(oldest)),)
        ), f"no earlier release has a wheel for Python {python}"
    return line, why if str(line) != text else ""


def needs_numpy_1(lines: Sequence[Line]) -> bool:
    """Return whether one of these was compiled for NumPy 1 only.

    Its metadata omits that.
    """
    bounded = any(line.name == "numpy" and highest(line) is not None for line in lines)
    return not bounded and any(
        ends_before(line, tables()["numpy2"][line.name])
        for line in lines
        if line.name in tables()["numpy2"]
    )


def before_numpy_2(name: str) -> Line | None:
    """Return the releases of a distribution that still work with NumPy 1.

    It is None if all do, or if that is unknown.
    """
    bound = tables()["numpy1"].get(name)
    return read(f"{name}<{bound['ends']}") if bound else None


def _with_numpy_1(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """Limit distributions to releases for NumPy 1 if NumPy itself is kept below 2.

    Their metadata does not state that limit.
    """
    every = list(lines)
    names = {line.name for line in lines}
    notes: list[str] = []
    if not any(line.name == "numpy" and ends_before(line, "2") for line in lines):
        return every, notes
    for name, known in tables()["numpy1"].items():
        held = before_numpy_2(name)
        assert held is not None
        place = next((place for place, line in enumerate(every) if line.name == name), None)
        if place is None and names.isdisjoint(known["with"]):
            continue
        if place is None:
            every.append(held)
        elif highest(every[place]) is None:
            every[place] = every[place]._replace(versions=(*every[place].versions, *held.versions))
        else:
            continue
        notes.append(f"{held}: a later one needs NumPy 2")
    return every, notes


def _system(lines: Iterable[Line]) -> tuple[str, ...]:
    return tuple(
        sorted({package for line in lines for package in tables()["system"].get(line.name, ())})
    )


Step = Callable[[Line], tuple[Line | None, str]]
