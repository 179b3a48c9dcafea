"""Declared requirements as they can be installed today.

Projects outlive the releases they pin: `tensorflow==1.14`, `sklearn`, `pywin32`, a `pip freeze` of 2018. Pins that still
resolve are kept. What is known not to (containers/requirements.toml) is mended before anything is built, and what an
installer refuses is loosened by name afterwards; every change is told with its reason. Both are pure functions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mlops_lib import catalog
from mlops_lib.detection.import_map import CALLS_IMPLY

NAMED_ROUNDS = 2
"""How often what an installer named is loosened before the versions of all that no import needs are."""
NAMED_LEFT_OUT = 4
"""In which round the last of those is left out by itself; in the next one all are, which a list of hundreds needs."""

_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[(?P<extras>[A-Za-z0-9._, -]*)\])?"
    r"\s*\(?(?P<versions>[<>=!~][A-Za-z0-9.*+!<>=~, _-]*)?\)?\s*(;(?P<marker>[^\n\r]*))?"
)
_VERSION = re.compile(r"(===|==|~=|!=|<=|>=|<|>|=)\s*([A-Za-z0-9.*+!_-]+)")
_PEP_440 = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(alpha|beta|preview|pre|rc|a|b|c)[-_.]?\d*)?(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?"
    r"([-_.]?dev[-_.]?\d*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)


class Line(NamedTuple):
    """One requirement: a distribution with its versions."""

    name: str
    """Normalised (PEP 503)."""
    extras: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    marker: str = ""

    def __str__(self) -> str:
        versions = ",".join(operator + version for operator, version in self.versions)
        return f"{self.name}{self.extras}{versions}" + (f"; {self.marker}" if self.marker else "")

    @property
    def bare(self) -> Line:
        """Without its versions."""
        return self._replace(versions=())


NUMPY_1 = Line("numpy", "", (("<", "2"),))


@dataclass(frozen=True)
class Mended:
    """Requirements that can be installed, and what was changed to get them."""

    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    """Debian packages that they need."""


def read(text: str) -> Line | None:
    """The requirement in a line; None for what is no name with its versions (an option, a URL, a path)."""
    found = _LINE.fullmatch(text.strip())
    if found is None:
        return None
    # A single = is conda's, and what some write.
    versions = tuple(("==" if o == "=" else o, v) for o, v in _VERSION.findall(found["versions"] or ""))
    extras = re.sub(r"\s", "", found["extras"] or "")
    return Line(normal(found["name"]), f"[{extras}]" if extras else "", versions, (found["marker"] or "").strip())


def normal(name: str) -> str:
    """A distribution's name as the index knows it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(text: str) -> str:
    """The normalised name in a requirement, "" if there is none."""
    line = read(text)
    return "" if line is None else line.name


@cache
def tables() -> Mapping[str, Any]:
    """containers/requirements.toml."""
    return read_toml(Path(catalog.FOLDER, "requirements.toml"))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file of ours."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]
    with path.open("rb") as stream:
        return tomllib.load(stream)


def release(version: str) -> tuple[int, ...]:
    """A version's release numbers, for comparing: (1, 16, 4) of 1.16.4rc1."""
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
    """The versions a requirement allows end here (and whether that one is allowed); None where they are open."""
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
    """The release that ends a series: of 1.4.* (length 2) and ~=1.4.2 it is 1.5."""
    padded = (*numbers, *(0,) * length)[:length]
    return (*padded[:-1], padded[-1] + 1) if padded else (sys.maxsize,)


def ends_before(line: Line, version: str) -> bool:
    """Whether every version that the requirement allows is older than this one."""
    end = highest(line)
    first = release(version)
    return end is not None and (end[0] < first or (end[0] == first and not end[1]))


def _is_met(line: Line, by: Iterable[Line], locked: Mapping[str, str]) -> bool:
    """Whether what the row has of a distribution is what a requirement asks for.

    Without a lock the newest of the row's series is taken: a lower bound in it names a release that there is.
    """
    own = next((one for one in by if one.name == line.name and not one.marker), None)
    if own is None or line.extras or line.marker or not line.versions:
        return False
    end, wanted = highest(own), highest(line)
    enough = wanted is None or (end is not None and end[0] <= wanted[0])
    floors = [release(version) for operator, version in line.versions if operator in (">=", ">", "~=")]
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
    """The requirements with everything that is known not to work replaced.

    Args:
        lines: what the environment asks for: the row's lines, or the project's in their place, then the project's own.
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
        below = _below(line, kept.values())
        if below is not None:
            instead = met.get(line.name, line.bare)
            notes.append(f"{line} → {instead}: that one needs a later {below.name} than {below}")
            line = instead
        first.append(line)
    names = {line.name for line in first} | ({"tensorflow"} if framework == "tensorflow" else set())
    project = [line for line in kept.values() if line.name not in names]
    every = [*first, *project]
    every, said = _beside(every)
    notes += said
    for line in list(every):
        also = tables()["also"].get(line.name, {})
        applies = also and ("before" not in also or ends_before(line, also["before"]))
        for wanted in filter(None, map(read, also["asks"] if applies else ())):
            if wanted.name not in {other.name for other in every}:
                every.append(wanted)
                notes.append(f"{wanted} added: {line} needs it and does not ask for it")
    if _needs_numpy_1(every):
        every = [line for line in every if line.name != "numpy" or line.versions]
        every.append(NUMPY_1)
        notes.append("numpy<2: a pinned release was made for NumPy 1")
    every, said = _with_numpy_1(every)
    notes += said
    return Mended(tuple(_text(line, row) for line in every), tuple(notes), _system(every))


def _below(line: Line, others: Iterable[Line]) -> Line | None:
    """The other requirement that allows only what is too old for a release of the row; None where there is none."""
    asks = tables()["asks"].get(line.name, {}) if line.versions else {}
    return next((other for other in others if other.name in asks and ends_before(other, asks[other.name])), None)


def _beside(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """The lines with the releases that others of them work beside; a version that was asked for stays."""
    every: list[Line] = list(lines)
    notes: list[str] = []
    names, numbered = {line.name for line in lines}, tables()["numbered"]
    series = {line.name: _series(version) for line in lines for operator, version in line.versions if operator == "=="}

    def settle(wanted: Line, other: str) -> None:
        for place, line in enumerate(every):
            if line.name == wanted.name and not line.versions:
                every[place] = wanted
                notes.append(f"{line} → {wanted}: the one that {other} works beside")

    for name, other in (*numbered.items(), *((other, name) for name, other in numbered.items())):
        if other in series:
            settle(Line(name, "", (("==", series[other]),)), f"{other} {series[other]}")
    for name, companions in tables()["beside"].items():
        if name in names and not (name in numbered and {name, numbered[name]} & set(series)):
            for wanted in filter(None, map(read, companions)):
                settle(wanted, name)
    return every, notes


def follows(text: str, row: Sequence[str]) -> bool:
    """Whether a requirement names a release of the framework that the row brings itself."""
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
    """What stands for one line, None for nothing; and why, "" where nothing was changed."""
    line = read(text)
    if line is None:
        return None, "only a distribution's name and versions are taken; where it comes from is the operator's to say"
    if line.name.replace("-", "_") in sys.stdlib_module_names:
        return None, "it is a module of Python itself"
    known, why = tables(), ""
    sound = tuple(filter(None, (_sound(*one) for one in line.versions)))
    if sound != line.versions:
        line, why = line._replace(versions=sound), "the version is not written as installers read it (PEP 440)"
    reason = next((reason for reason, names in known["dropped"].items() if line.name in names), "")
    if reason:
        return None, reason
    if line.name in known["renamed"]:
        line, why = Line(known["renamed"][line.name], "", (), line.marker), "that is its name on the index"
    elif line.name in known["variant"]:
        line, why = line._replace(name=known["variant"][line.name], extras=""), "the variant for these containers"
    fixed = known["broken"].get(str(line._replace(extras="", marker="")))
    if fixed:
        line, why = line._replace(versions=(("==", fixed),)), "that release cannot be imported"
    if framework and line.name in known["follows"][framework] and line.versions:
        return None, f"the environment has its own release of {framework} and what belongs to it"
    if line.versions and line.name in known["brought"].get(framework, ()):
        return None, f"it comes with the environment's {framework}, in the release that one needs"
    needed = known["needs"].get(framework, {}).get(line.name)
    if needed and ends_before(line, needed):
        return line._replace(
            versions=(("==", _series(needed)),)
        ), f"the environment's {framework} needs {needed} at least"
    oldest = known["wheels"].get(python, {}).get(line.name)
    if oldest and ends_before(line, oldest):
        return line._replace(versions=(("==", _series(oldest)),)), f"no earlier release has a wheel for Python {python}"
    return line, why if str(line) != text else ""


def _sound(operator: str, version: str) -> tuple[str, str] | None:
    """A bound that installers can read, without a dot or star at its end where none may stand; None if that does not help."""
    starred = operator in ("==", "!=") and version.endswith(".*")
    number = version.rstrip(".*")
    valid = _PEP_440.fullmatch(number) and not (operator == "~=" and "." not in number)
    return (operator, number + ".*" * starred) if valid or operator == "===" else None


def _series(version: str) -> str:
    """The minor release: 1.5.* of 1.5.1."""
    return ".".join(version.split(".")[:2]) + ".*"


def _needs_numpy_1(lines: Sequence[Line]) -> bool:
    """Whether one of these was compiled for NumPy 1 only, which its own metadata does not say."""
    bounded = any(line.name == "numpy" and highest(line) is not None for line in lines)
    return not bounded and any(
        ends_before(line, tables()["numpy2"][line.name]) for line in lines if line.name in tables()["numpy2"]
    )


def before_numpy_2(name: str) -> Line | None:
    """The releases of a distribution that still work with NumPy 1; None where all do, or nobody knows."""
    known = tables()["numpy1"].get(name)
    return read(f"{name}<{known['ends']}") if known else None


def _with_numpy_1(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """The lines, what no longer works with NumPy 1 held back where they keep NumPy below 2: its metadata does not say it."""
    every, names = list(lines), {line.name for line in lines}
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


@cache
def only_wheels(python: str = "3.11") -> tuple[str, ...]:
    """The distributions that are never built from source: they hold compiled code and have wheels, so that an installer which
    tries to build one has chosen a release that is too old.
    """
    known = tables()
    return tuple(sorted({*known["wheels"].get(python, {}), *known["compiled"]["also"]} - {*known["compiled"]["never"]}))


def _system(lines: Iterable[Line]) -> tuple[str, ...]:
    return tuple(sorted({package for line in lines for package in tables()["system"].get(line.name, ())}))


class Trouble(NamedTuple):
    """What keeps an installer from its end, and no other version would mend."""

    sign: re.Pattern[str]
    what: str
    remedy: str


UNREACHABLE = (
    Trouble(
        re.compile(r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate"),
        "the package index shows a certificate that is not trusted",
        "Name the bundle of its authority with PIP_CERT, or in pip's settings (cert); builds use it too, and keep nothing of it.",
    ),
    Trouble(
        re.compile(r"\b40[137] (Client )?Error"),
        "the package index refuses access",
        "See that PIP_INDEX_URL, or pip's settings, name the index and who may read it.",
    ),
    Trouble(
        re.compile(r"No space left on device"), "the disk is full", "`mlops images --prune` removes what no run needs."
    ),
    Trouble(
        re.compile(
            r"Retrying \(Retry\(total=0\b|Failed to fetch:|Temporary failure in name resolution"
            r"|Could not fetch URL .*: connection error"
        ),
        "the package index does not answer",
        "See that it can be reached (PIP_INDEX_URL, http_proxy; `mlops doctor` asks it), and build again.",
    ),
)
REFUSAL = re.compile(
    r"ERROR: (No matching|Could not|Cannot install|Ignored|Failed|ResolutionImpossible|Package|Invalid)|No solution found"
    r"|subprocess-exited-with-error|[Ff]ailed to build|E: Unable to locate package|E: Package .* has no installation candidate"
)
"""What pip, uv and apt say when it is a requirement that they refuse, and not the engine or the machine that failed."""
_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)"
_NOT_BUILT = rf"[Ff]ailed (?:building wheel for|to build|to download and build):? ['`]?{_NAME}?(?:==|@|[-'`\s]|$)"
_REFUSED = (
    rf"No matching distribution found for {_NAME}",
    rf"requirement {_NAME}\S* \(from versions",
    rf"The user requested {_NAME}",
    _NOT_BUILT,
    rf"[Bb]ecause there (?:is|are) no versions? of {_NAME}",
    rf"[Bb]ecause {_NAME} was not found",
)  # fmt: skip
_REQUIRED = re.compile(r"you require ([^,\n]*)")
_COLLECTING = re.compile(rf"(?:Collecting|Building wheel for|Running setup\.py install for) {_NAME}")
_NO_PACKAGE = re.compile(
    r"E: (?:Unable to locate package ([a-z0-9.+-]+)|Package '?([a-z0-9.+-]+)'? has no installation candidate)"
)


def is_refusal(log: str) -> bool:
    """Whether an installer failed because of what it was asked for: else no requirement is to blame."""
    return REFUSAL.search(log) is not None and trouble(log) is None


def trouble(log: str) -> Trouble | None:
    """What kept an installer from its index, None if nothing did."""
    return next((one for one in UNREACHABLE if one.sign.search(log)), None)


def refused(log: str) -> list[str]:
    """The distributions that a failed installer (pip, uv) names as the reason."""
    found = [normal(match) for pattern in _REFUSED for match in re.findall(pattern, log) if match]
    # uv: "you require tensorflow-cpu{…}==2.21.* and scipy==1.9.*, we can conclude …"
    for phrase in _REQUIRED.findall(log):
        found += [normal(name) for name in re.findall(rf"(?:^| and ){_NAME}", phrase)]
    current = ""
    for line in log.splitlines():
        collecting = _COLLECTING.search(line)
        current = collecting[1] if collecting else current
        if current and ("finished with status 'error'" in line or "subprocess-exited-with-error" in line):
            found.append(normal(current))
    return list(dict.fromkeys(found))


_NO_WHEEL = (
    # pip
    re.compile(
        r"Could not find a version that satisfies the requirement ([^\n(]+?) (?:\(from [^\n]*?\) )?\(from versions: "
    ),
    # uv
    re.compile(
        rf"[Bb]ecause (?:all versions of )?({_NAME}(?:[<>=!~]=?[A-Za-z0-9.*+!]+)?) ha(?:s|ve) no (?:usable )?wheels"
    ),
    re.compile(rf"Wheels are required for `({_NAME})`"),
)


def without_wheel(log: str) -> list[str]:
    """Return the requirements that a failed installer (pip, uv) found no wheel for, one for each distribution.

    Whether there is a source distribution is not said.
    """
    found = (match[1].strip() for pattern in _NO_WHEEL for match in pattern.finditer(log))
    lines: dict[str, str] = {}
    for line in found:
        if name_of(line):
            lines.setdefault(name_of(line), line)
    return list(lines.values())


_NO_RELEASE = re.compile(
    rf"(?:satisfies the requirement|[Bb]ecause there (?:is|are) no versions? of) ({_NAME})==([A-Za-z0-9.+!_-]+)"
)


def without_release(log: str) -> list[str]:
    """Return the exact releases, as `name==version`, that a failed installer (pip, uv) says the index does not have."""
    return [f"{normal(match[1])}=={match[match.re.groups]}" for match in _NO_RELEASE.finditer(log)]


def uncompiled(lines: Sequence[str], log: str, needed: Collection[str]) -> Trouble | None:
    """A distribution that the code imports and that cannot be compiled in any version: nothing is left to loosen there."""
    bare = {line.name for line in map(read, lines) if line is not None and not line.versions}
    name = next((name for name in map(normal, re.findall(_NOT_BUILT, log)) if name in bare and name in needed), "")
    if not name:
        return None
    packages = ", ".join(tables()["system"].get(name, ())) or "the libraries that the compiler misses above"
    remedy = f"Install {packages} (the Debian names) and build again; for --backend docker, name them in apt.txt."
    return Trouble(re.compile(re.escape(name)), f"{name} has to be compiled, and that fails", remedy)


def no_packages(log: str) -> set[str]:
    """The Debian packages that apt does not have."""
    return {one or other for one, other in _NO_PACKAGE.findall(log)}


Step = Callable[[Line], tuple[Line | None, str]]


def loosen(
    lines: Sequence[str], log: str, *, number: int, needed: Collection[str], row: Sequence[str] = ()
) -> Mended | None:
    """The requirements once an installer has refused them; None where nothing is left to loosen.

    What the installer names gives way first, then the versions of what no import needs (a list of all that was installed
    somewhere, mostly), then what no import needs itself, then all of the project's versions, then all but the framework's, then
    what no import needs of the row, then the framework's too. A version of the project gives way to the row's, if it has one.

    Args:
        lines: what could not be installed.
        log: what the installer said.
        number: how many times it has been refused, from 1.
        needed: distributions that the code imports; they are never left out.
        row: the lines of the environment's row in the catalog.
    """
    given = [line for line in map(read, lines) if line is not None]
    assert len(given) == len(lines), lines
    own = {line.name: line for line in map(read, row) if line is not None and not line.marker}
    rows = {name: line if _below(line, given) is None else line.bare for name, line in own.items()}
    framework = {name for group in tables()["follows"].values() for name in group}
    kept = {*needed, *framework}
    names = {*refused(log)} - framework
    # Between something that is imported and something that is not, the latter gives way.
    aside = {line.name for line in given if line.versions and line.name in names - kept}
    unbuilt = {normal(name) for name in re.findall(_NOT_BUILT, log) if name}
    named = _by_name(aside or names, needed, rows, unbuilt=unbuilt)
    unneeded = _without_versions(rows, but=lambda line: line.name in kept or line == rows.get(line.name))
    steps: list[Step] = [
        *((named,) if number <= NAMED_ROUNDS else ()),
        unneeded,
        *((_only({*kept, *own, *CALLS_IMPLY.values()}),) if number > NAMED_LEFT_OUT else ()),
        named,
        _without_versions(rows, but=lambda line: line.name in framework or line == rows.get(line.name)),
        _without_versions({}, but=lambda line: line.name in framework),
        _only(kept),
        _without_versions({}, but=lambda line: False),
    ]
    for step in steps:
        answers = [step(line) for line in given]
        if _needs_numpy_1([fresh for fresh, _ in answers if fresh is not None]):
            answers = [(NUMPY_1, why) if fresh == NUMPY_1.bare else (fresh, why) for fresh, why in answers]
        changed = list(zip(lines, given, answers, strict=True))
        notes = tuple(
            f"{text} → {fresh if fresh is not None else 'left out'}: {why}"
            for text, line, (fresh, why) in changed
            if fresh != line
        )
        if notes:
            kept_lines = [
                text if fresh == line else str(fresh) for text, line, (fresh, _) in changed if fresh is not None
            ]
            return Mended(tuple(dict.fromkeys(kept_lines)), notes)
    return None


def _looser(line: Line, rows: Mapping[str, Line]) -> Line:
    instead = rows.get(line.name, line)
    return instead if instead != line else line.bare


def _by_name(
    names: Collection[str], needed: Collection[str], rows: Mapping[str, Line], *, unbuilt: Collection[str]
) -> Step:
    def step(line: Line) -> tuple[Line | None, str]:
        if line.name not in names:
            return line, ""
        if line.name in unbuilt and line.name not in {*needed, *rows}:
            return None, "it has to be compiled, and no import needs it"
        if line.versions:
            return _looser(line, rows), "this version cannot be installed with the rest"
        return (line, "") if line.name in needed else (None, "it cannot be installed, and no import needs it")

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
        return (line, "") if line.name in needed else (None, "the installer refuses the list, and no import needs it")

    return step
