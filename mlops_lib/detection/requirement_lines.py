"""Parse single requirements: names, versions, environment markers, references."""

from __future__ import annotations

import re
from functools import lru_cache

from mlops_lib.detection.import_map import DISTRIBUTIONS
from mlops_lib.detection.words import words
from mlops_lib.lazy_regex import lazy_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE = (
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[A-Za-z0-9._, -]*\])?\s*(?:\(?[<>=!~](?:(?!\s-)[A-Za-z0-9.*+!<>=~, _-])*\)?)?\s*"
    r"(?:;(?P<marker>.*))?"
)
_MARKER = (
    r"(?:\s*(?:[()]|and\b|or\b|not\s+in\b|in\b|[<>=!~]=?=?"
    r"|(?:python_(?:full_)?version|os[._]name|sys[._]platform|platform[._][a-z_]+|implementation_(?:name|version)|extra)\b"
    r"|'[\w.*+-]*'|\"[\w.*+-]*\"))*\s*"
)
"""Words of an environment marker (PEP 508). Its texts hold no space: an installer would read
options after one.
"""
LONGEST = 400
"""Most characters of a requirement."""
RENAMED = {
    "sklearn": "scikit-learn",
    "pil": "pillow",
    "cv2": "opencv-python",
    "opencv": "opencv-python",
    "skimage": "scikit-image",
    "bs4": "beautifulsoup4",
    "yaml": "pyyaml",
    "tensorflow-gpu": "tensorflow",
    "torch-geometric": "torch-geometric",
    "pytorch": "torch",
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "matplotlib-base": "matplotlib",
    "tensorflow-mkl": "tensorflow",
    "pytorch-cpu": "torch",
    "tensorflow-base": "tensorflow",
    "tables": "tables",
    "pytables": "tables",
    "msgpack-python": "msgpack",
    "keras-gpu": "keras",
    "imblearn": "imbalanced-learn",
}
"""Common or conda names of distributions, with the index's names."""
TOOLS = words("""
    python pip setuptools wheel pkg-resources distribute conda anaconda defaults conda-forge
    nodefaults
""")
"""Names in declarations that are no requirement of the script."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAMED_REFERENCE = lazy_regex(rf"({_NAME})\s*(\[[A-Za-z0-9._, -]*\])?\s*@\s*(\S.*)")
_EGG = lazy_regex(rf"[#&]egg=({_NAME})")
_WHEEL = lazy_regex(rf"/({_NAME}?)-(\d[A-Za-z0-9.!_]*?)(?:(?:%2B|\+)[\w.]+)?-[^/]*\.whl\b")
_SOURCE = lazy_regex(rf"/({_NAME}?)-(\d[A-Za-z0-9.!]*)\.(?:tar\.(?:gz|bz2)|zip)\b")
_REPOSITORY = lazy_regex(rf"[/:]({_NAME}?)(?:\.git)?(?:@[^/#]*)?/?(?:#.*)?$")
_TAG = lazy_regex(r"@v?(\d+(?:\.\d+)+(?:\.?post\d+)?)(?=$|[#&])")
_CONDA_BUILD = lazy_regex(r"file:.*/(croot|conda-bld|feedstock_root|tmp/(build|abs)|opt/conda)")
"""Places at which conda builds its packages: `pip freeze` names them in its environments."""
_SPECIFIER = lazy_regex(rf"\s*{_NAME}\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)")
_EXTRAS = lazy_regex(rf"\s*{_NAME}\s*\[([^\]]*)\]")
_LOCAL = lazy_regex(r"(==\s*[0-9][A-Za-z0-9.!]*)\+[A-Za-z0-9._-]+")
MACHINES = ("x86_64", "aarch64")
"""Processors of the environments: the names of `platform_machine`."""


class Reference:
    """A requirement that names a place: a repository, an address or a folder."""

    __slots__ = ("extras", "kind", "name", "version")

    def __init__(self, name: str, kind: str, *, version: str = "", extras: str = "") -> None:
        self.name = normal(name)
        """The distribution's normalised name; "" if it is unknown."""
        self.kind = kind
        self.version = version
        """Release of the place, if a tag or a file name contains it."""
        self.extras = extras

    @property
    def line(self) -> str:
        """The requirement for the package index; "" if the index must not be asked for it.

        An unknown name could be a private package's, and anybody can publish that name.
        """
        if not is_known(self.name):
            return ""
        return self.name + self.extras + (f"=={self.version}" if self.version else "")

    def note(self) -> str:
        """Return what becomes of it, in words."""
        what = self.name or "a requirement"
        then = "the release of the index is taken" if self.line else "it is not installed"
        return f"{what} comes from a {self.kind}, which is not followed: {then}"


def normal(name: str) -> str:
    """Return a distribution's name as the index knows it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_known(name: str) -> bool:
    """Return whether the curated map of imports has a distribution of this name."""
    return normal(name) in _known()


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(normal(name) for name in DISTRIBUTIONS.values())


def is_requirement(line: str) -> bool:
    """Return whether a text is only a distribution's name with extras, versions and marker.

    >>> is_requirement("torch>=2.0; sys_platform == 'linux'")
    True
    >>> is_requirement("torch --index-url http://example.com")
    False
    >>> is_requirement("torch; sys_platform == '${TOKEN}'")
    False
    """
    match = re.fullmatch(_LINE, line) if len(line) <= LONGEST else None
    return match is not None and (
        match["marker"] is None or re.fullmatch(_MARKER, match["marker"]) is not None
    )


def name_of(requirement: str) -> str:
    """Return the normalised distribution name (PEP 503)."""
    match = re.match(_NAME, requirement[:LONGEST].strip())
    return normal(match.group()) if match else ""


def extras_of(requirement: str) -> tuple[str, ...]:
    """Return the normalised extras of a requirement.

    Example:
        >>> extras_of("pandas[excel,Plot]>=2")
        ('excel', 'plot')
    """
    match = _EXTRAS.match(requirement[:LONGEST])
    named = match[1].split(",") if match else ()
    return tuple(normal(one.strip()) for one in named if one.strip())


def specifier_of(requirement: str) -> str:
    """Return the version specifier of a requirement, such as ">=2,<3"."""
    match = _SPECIFIER.match(requirement[:LONGEST])
    return re.sub(r"\s", "", match[1]) if match else ""


def marker_of(requirement: str) -> str:
    """Return the environment marker of a requirement, "" if it has none."""
    return requirement.partition(";")[2].strip()


def allows(requirement: str, version: str) -> bool:
    """Return whether a requirement allows a version; True if it cannot be parsed."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(specifier_of(requirement)).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


def reference(text: str) -> Reference | None:
    """Return the direct reference in a requirement, None if it is another one.

    Example:
        >>> reference("peft @ git+https://git.example/peft@v0.10.0").line
        'peft==0.10.0'
        >>> reference("git+ssh://git.example/ours.git").line
        ''
    """
    text = text[: 4 * LONGEST].strip()
    named = _NAMED_REFERENCE.fullmatch(text)
    place = named[3] if named else text
    kind = _kind(place)
    if not kind:
        return None
    if named and _CONDA_BUILD.match(place):
        return None
    file = _WHEEL.search(place) or _SOURCE.search(place) if kind == "URL" else None
    repository = _REPOSITORY.search(place.partition(";")[0].strip()) if "git" in kind else None
    egg = _EGG.search(place)
    name = next((match[1] for match in (named, egg, file, repository) if match), "")
    tag = _TAG.search(place) if "git" in kind else None
    version = file[2] if file and normal(file[1]) == normal(name) else tag[1] if tag else ""
    return Reference(name, kind, version=version, extras=(named[2] or "") if named else "")


def _kind(place: str) -> str:
    """Return what kind of place a direct reference names, "" if it is none."""
    if re.match(r"(git|hg|svn|bzr)\+|git@|ssh://", place) or re.search(r"\.git\b", place):
        return "git repository"
    if re.match(r"file:|\.{0,2}/|\.{1,2}$|\.{1,2}\[|~", place):
        return "folder"
    if re.match(r"https?://|s3://|gs://", place):
        return "URL"
    return ""


def of_conda_build(text: str) -> str:
    """Return the name in a line such as `attrs @ file:///croot/attrs_1/work`, else ""."""
    named = _NAMED_REFERENCE.fullmatch(text[: 4 * LONGEST].strip())
    if named is None or not named[3].startswith("file:"):
        return ""
    return named[1] if _CONDA_BUILD.match(named[3]) or is_known(named[1]) else ""


def cleaned(lines: Iterable[str], *, without: str = "") -> list[str]:
    """Return the requirements with the names of the index, each line once.

    Args:
        lines: the requirements.
        without: the repository's own package, which is none of them.
    """
    result: dict[str, None] = {}
    for line in lines:
        name = name_of(line)
        if not name or name in TOOLS or name == without or not is_requirement(line):
            continue
        if name in RENAMED and RENAMED[name] != name:
            line = re.sub(r"^[A-Za-z0-9._-]+", RENAMED[name], line)
        # The local part of a version names a build that only another index has.
        result.setdefault(_LOCAL.sub(r"\1", line))
    return list(result)


def other_builds(lines: Iterable[str]) -> list[str]:
    """Return notes on versions of another index's builds (`2.3.1+cu121`)."""
    messages = []
    for line in lines:
        match = re.search(r"==\s*([0-9][A-Za-z0-9.!]*)(\+[A-Za-z0-9._-]+)", line)
        if match is not None and is_requirement(line):
            name = name_of(line)
            messages.append(
                f"{name} {match[1]}{match[2]} is a build of another index: {match[1]} is taken"
            )
    return messages


def for_python(lines: Iterable[str], python: str) -> list[str]:
    """Return the requirements that count for a Python on Linux, each name once.

    Markers that hold on every processor are left out of the result.
    """
    result: dict[str, str] = {}
    for line in lines:
        marker = marker_of(line)
        on = [one for one in MACHINES if holds(marker, python, machine=one)]
        if not on:
            continue
        if len(on) == len(MACHINES):
            line = line.partition(";")[0].strip()
        name = name_of(line)
        before = result.get(name, "")
        if not before:
            result[name] = line
        elif not (marker_of(before) or marker_of(line)):
            result[name] = _both(before, line)
        elif "x86_64" in on:
            result[name] = line
    return list(result.values())


def _both(first: str, second: str) -> str:
    """Return a requirement with the versions of two others; a pin wins."""
    own, other = specifier_of(first), specifier_of(second)
    if "==" in own or "==" in other:
        versions = own if "==" in own else other
    else:
        versions = ",".join(dict.fromkeys(filter(None, (own, other))))
    extras = ",".join(dict.fromkeys((*extras_of(first), *extras_of(second))))
    written = re.match(_NAME, first)
    name = written[0] if written else name_of(first)
    return name + (f"[{extras}]" if extras else "") + versions


@lru_cache(maxsize=4096)
def holds(
    marker: str,
    python: str,
    *,
    machine: str = "x86_64",
    groups: frozenset[str] = frozenset(),
) -> bool:
    """Return whether an environment marker holds for a Python on Linux.

    Args:
        marker: the marker (PEP 508, PEP 751); one that cannot be read holds.
        python: the environment's Python, such as "3.12".
        machine: the processor.
        groups: the dependency groups that are installed (PEP 751).
    """
    if not marker:
        return True
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    environment: dict[str, str | frozenset[str]] = {
        "python_version": python,
        "python_full_version": f"{python}.99",  # images have the newest release of a series
        "implementation_version": f"{python}.99",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": machine,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
        "extras": frozenset(),
        "dependency_groups": groups,
    }
    try:
        return Marker(marker).evaluate(environment)
    except (InvalidMarker, UndefinedEnvironmentName, ValueError, KeyError, RecursionError):
        return True
