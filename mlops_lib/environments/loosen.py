"""Loosen requirements step by step until they install together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from mlops_lib.detection.import_map import CALLS_IMPLY
from mlops_lib.environments.installer_log import NOT_BUILT, refused_distributions
from mlops_lib.environments.mend import NUMPY_1, Mended, Step, lower_bound_violated, needs_numpy_1
from mlops_lib.environments.requirement import Line, normal, read
from mlops_lib.environments.tables import tables

NAMED_ROUNDS = 2
"""Rounds in which only distributions named by the installer are loosened.

After them, the versions of all distributions that no import needs are dropped.
"""


NAMED_LEFT_OUT = 4
"""Last round in which named distributions are dropped one by one.

The next round drops all that no import needs, which a list of hundreds requires.
"""


def loosen(
    lines: Sequence[str], log: str, *, number: int, needed: Collection[str], row: Sequence[str] = ()
) -> Mended | None:
    """Return the requirements after a refusal by an installer, or None.

    It is None if nothing is left to loosen. The order: what the installer names; then the versions
    of distributions that no import needs (mostly a list of everything that was installed
    somewhere); then those distributions themselves; then all of the project's versions; then all
    but the framework's; then distributions of the row that no import needs; then the framework's
    version. If the row has a version of its own, that replaces the project's.

    Args:
        lines: the requirements that could not be installed.
        log: the installer's output.
        number: the number of refusals so far, from 1.
        needed: distributions that the code imports; they are never dropped.
        row: the lines of the environment's row in the catalog.
    """
    requirements = [line for line in map(read, lines) if line is not None]
    assert len(requirements) == len(lines), lines
    own = {line.name: line for line in map(read, row) if line is not None and not line.marker}
    rows = {
        name: line if lower_bound_violated(line, requirements) is None else line.bare
        for name, line in own.items()
    }
    framework = {name for group in tables()["follows"].values() for name in group}
    protected = {*needed, *framework}
    names = {*refused_distributions(log)} - framework
    # Between something that is imported and something that is not, the latter gives way.
    aside = {line.name for line in requirements if line.versions and line.name in names - protected}
    unbuilt = {normal(name) for name in re.findall(NOT_BUILT, log) if name}
    named = _by_name(aside or names, needed, rows, unbuilt=unbuilt)
    unneeded = _without_versions(
        rows, but=lambda line: line.name in protected or line == rows.get(line.name)
    )
    steps: list[Step] = [
        *((named,) if number <= NAMED_ROUNDS else ()),
        unneeded,
        *((_only({*protected, *own, *CALLS_IMPLY.values()}),) if number > NAMED_LEFT_OUT else ()),
        named,
        _without_versions(
            rows, but=lambda line: line.name in framework or line == rows.get(line.name)
        ),
        _without_versions({}, but=lambda line: line.name in framework),
        _only(protected),
        _without_versions({}, but=lambda line: False),
    ]
    for step in steps:
        answers = [step(line) for line in requirements]
        if needs_numpy_1([fresh for fresh, _ in answers if fresh is not None]):
            answers = [
                (NUMPY_1, why) if fresh == NUMPY_1.bare else (fresh, why) for fresh, why in answers
            ]
        changed = list(zip(lines, requirements, answers, strict=True))
        notes = tuple(
            f"{text} → {fresh if fresh is not None else 'left out'}: {why}"
            for text, line, (fresh, why) in changed
            if fresh != line
        )
        if notes:
            kept_lines = [
                text if fresh == line else str(fresh)
                for text, line, (fresh, _) in changed
                if fresh is not None
            ]
            return Mended(tuple(dict.fromkeys(kept_lines)), notes)
    return None


def _looser(line: Line, rows: Mapping[str, Line]) -> Line:
    instead = rows.get(line.name, line)
    return instead if instead != line else line.bare


def _by_name(
    names: Collection[str],
    needed: Collection[str],
    rows: Mapping[str, Line],
    *,
    unbuilt: Collection[str],
) -> Step:
    def step(line: Line) -> tuple[Line | None, str]:
        if line.name not in names:
            return line, ""
        if line.name in unbuilt and line.name not in {*needed, *rows}:
            return None, "it has to be compiled, and no import needs it"
        if line.versions:
            return _looser(line, rows), "this version cannot be installed with the rest"
        return (
            (line, "")
            if line.name in needed
            else (None, "it cannot be installed, and no import needs it")
        )

    return step


def _without_versions(rows: Mapping[str, Line], *, but: Callable[[Line], bool]) -> Step:
    def step(line: Line) -> tuple[Line | None, str]:
        return (
            (line, "")
            if not line.versions or but(line)
            else (_looser(line, rows), "the versions asked for do not go together")
        )

    return step


def _only(needed: Collection[str]) -> Step:
    def step(line: Line) -> tuple[Line | None, str]:
        return (
            (line, "")
            if line.name in needed
            else (None, "the installer refuses the list, and no import needs it")
        )

    return step
