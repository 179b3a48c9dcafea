"""Read lock files: the exact versions that a project's own tools have resolved.

Of a lock that says which distribution needs which (uv, Poetry, PDM), the ones are taken that the
project's declared requirements lead to; of others (pip-compile, Pipenv, conda-lock, Pixi) all.
Names and versions are all that is taken: from which index, repository or folder something comes is
the operator's to decide.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from mlops_lib.detection import python_version
from mlops_lib.detection.requirement_lines import (
    RENAMED,
    Reference,
    extras_of,
    holds,
    is_known,
    is_requirement,
    marker_of,
    name_of,
    normal,
    reference,
    specifier_of,
)
from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex
from mlops_lib.project import files, toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

SIZE_LIMIT = 20_000_000
PACKAGES_LIMIT = 5_000
_VERSION = lazy_regex(r"[A-Za-z0-9][A-Za-z0-9.!]*")
_CONDA_FILE = lazy_regex(r"/([A-Za-z0-9_.-]+?)-([^-/]+)-[^-/]+\.(?:conda|tar\.bz2)\b")
_WHEEL_FILE = lazy_regex(
    r"/([A-Za-z0-9_.-]+?)-(\d[A-Za-z0-9_.!]*?)(?:(?:%2B|\+)[\w.]+)?(?:-[^/]*\.whl|\.tar\.gz|\.zip)\b"
)
BROUGHT = (
    "nvidia-",
    "triton",
    "pytorch-triton",
    "cuda-bindings",
    "cuda-pathfinder",
    "cuda-toolkit",
)
"""Beginnings of distributions that a build of another one for GPUs brings; without GPUs they are
not needed."""
PLATFORMS = ("linux-64", "linux-aarch64", "noarch")
"""Conda's platforms, the most wanted one first."""


class Edge(NamedTuple):
    """A dependency of one distribution on another."""

    name: str
    """Normalised name."""
    marker: str = ""
    version: str = ""
    """The version, if the lock has several and this edge names one."""
    extras: tuple[str, ...] = ()


class Package:
    """One distribution of a lock.

    Args:
        name: its name.
        version: its version; the local part (`+cpu`), which only another index has, is left out.
        needs: what it needs in any case.
        optional: what its extras and groups need.
        marker: for which environments it is.
        python: the Pythons that it is for.
        place: the folder that it comes from, relative to the lock's.
        elsewhere: the place that it comes from, if that is no index.
    """

    __slots__ = (
        "build",
        "elsewhere",
        "marker",
        "name",
        "needs",
        "optional",
        "place",
        "python",
        "version",
    )

    def __init__(
        self,
        name: str,
        version: str,
        needs: Iterable[Edge] = (),
        *,
        optional: dict[str, list[Edge]] | None = None,
        marker: str = "",
        python: str = "",
        place: str = "",
        elsewhere: Reference | None = None,
    ) -> None:
        self.name = normal(name)
        self.version, _, self.build = version.partition("+")
        self.needs = list(needs)
        self.optional = optional or {}
        self.marker = marker
        self.python = python
        self.place = place
        self.elsewhere = elsewhere


class Lock:
    """The content of a lock file.

    Args:
        path: relative to the project's folder.
        packages: its distributions.
        folder: the absolute path of its folder.
        root: the absolute path of the project's folder.
        has_edges: whether it says which distribution needs which.
        requires_python: the Pythons that it is for.
        groups: the groups that are installed by default (PEP 751).
    """

    def __init__(
        self,
        path: str,
        packages: list[Package],
        *,
        folder: str,
        root: str,
        has_edges: bool,
        requires_python: str = "",
        groups: Iterable[str] = (),
    ) -> None:
        self.path = path
        self.packages = packages[:PACKAGES_LIMIT]
        self.has_edges = has_edges
        self.requires_python = requires_python
        self.groups = frozenset(groups)
        self._folder = folder
        self._root = root
        self._by_name: dict[str, list[Package]] = {}
        for one in self.packages:
            self._by_name.setdefault(one.name, []).append(one)

    def __contains__(self, name: str) -> bool:
        """Return whether it has some version of a distribution."""
        return name in self._by_name

    def member(self, folder: str) -> Package | None:
        """Return the project in a folder that the lock was made for, or None."""
        members = (one for one in self.packages if one.place and self._resolved(one) == folder)
        return next(members, None)

    def is_own(self, package: Package) -> bool:
        """Return whether a distribution is a folder of the project that is being trained."""
        place = self._resolved(package) if package.place else ""
        return place == self._root or place.startswith(self._root + os.sep)

    def _resolved(self, package: Package) -> str:
        return os.path.normpath(os.path.join(self._folder, package.place))

    def note(self, package: Package) -> str:
        """Return what becomes of a distribution that does not come from the usual index."""
        if package.elsewhere is not None:
            return f"{self.path}: {package.elsewhere.note()}"
        version = package.version
        return (
            f"{self.path}: {package.name} {version}+{package.build} is a build of another index:"
            f" {version} is taken"
        )

    def roots(self, requirements: Sequence[str], folder: str, groups: Sequence[str]) -> list[Edge]:
        """Return the edges that a project's requirements stand for.

        Args:
            requirements: its declared requirements.
            folder: the folder of its declaration.
            groups: its groups and extras that count.
        """
        member = self.member(folder)
        own = [] if member is None else list(member.needs)
        for group in groups:
            own += [] if member is None else member.optional.get(group, [])
        result = [one for one in own if any(map(self.is_own, self._by_name.get(one.name, ())))]
        for line in requirements:
            name, extras = name_of(line), extras_of(line)
            edges = [one for one in own if one.name == name]
            result += [edge._replace(extras=(*edge.extras, *extras)) for edge in edges] or [
                Edge(name, marker_of(line), extras=extras)
            ]
        return result

    def pins(self, roots: Iterable[Edge], python: str) -> tuple[dict[str, str], list[Package]]:
        """Return the versions of what some distributions need.

        Args:
            roots: what the project needs itself; everything if the lock has no edges.
            python: the environment's Python, such as "3.12".

        Returns:
            The versions by normalised name, and what comes from elsewhere than the usual index.
        """
        pending = list(roots) if self.has_edges else self.everything()
        pins: dict[str, str] = {}
        elsewhere: list[Package] = []
        other_builds: list[Package] = []
        seen: set[Edge] = set()
        while pending:
            edge = pending.pop()
            if edge in seen or edge.name.startswith(BROUGHT):
                continue
            seen.add(edge)
            package = self._chosen(edge, python)
            if package is None:
                continue
            if self.is_own(package):
                pass  # its code is the project's own, and what it needs counts
            elif package.elsewhere is not None:
                elsewhere += [] if package in elsewhere else [package]
            elif _VERSION.fullmatch(package.version):
                pins.setdefault(edge.name, package.version)
                if package.build and package not in other_builds:
                    other_builds.append(package)
            further = [
                *package.needs,
                *(one for extra in edge.extras for one in package.optional.get(extra, ())),
            ]
            pending += [one for one in further if holds(one.marker, python, groups=self.groups)]
        return pins, [*elsewhere, *other_builds]

    def everything(self) -> list[Edge]:
        """Return an edge to each of its distributions."""
        return [Edge(one.name, version=one.version) for one in self.packages]

    def _chosen(self, edge: Edge, python: str) -> Package | None:
        """Return the version of a distribution that is meant for this environment."""
        fitting = [
            one
            for one in self._by_name.get(edge.name, ())
            if holds(one.marker, python, groups=self.groups)
        ]
        if edge.version:
            version = edge.version.partition("+")[0]
            fitting = [one for one in fitting if one.version == version] or fitting
        if len(fitting) > 1:
            minor = int(python.partition(".")[2] or 0)
            fits = [
                one
                for one in fitting
                if not one.python or minor in python_version.allowed(one.python)
            ]
            fitting = fits or fitting
        return fitting[0] if fitting else None


def find(folder: str, root: str, declared_in: str, warnings: list[str]) -> Lock | None:
    """Return the lock of a project, searched for upwards from a folder.

    A lock above the project's declaration counts if the project is a member of its workspace.

    Args:
        folder: where to begin.
        root: the folder of the whole checkout.
        declared_in: the folder with the project's declaration; "" if it declares nothing.
        warnings: what is said about locks that cannot be read is added here.
    """
    place = folder
    is_above = False
    while True:
        for path, reader in _locks_in(place, root):
            lock = read(path, reader, root, warnings)
            if lock is None or not lock.packages:
                continue
            if not is_above or lock.member(declared_in) is not None:
                return lock
        is_above = is_above or place == declared_in
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return None
        place = os.path.dirname(place)


def _locks_in(folder: str, root: str) -> list[tuple[str, Any]]:
    """Return the lock files in a folder with what reads them, the most telling first."""
    names = {name.lower(): name for name in files.names_in(folder, root=root)}
    readers = [(names[name], reader) for name, reader in READERS if name in names]
    # PEP 751: a project may have several, with names of their own.
    readers += [
        (names[n], _pylock) for n in sorted(names) if re.fullmatch(r"pylock\.[^.]+\.toml", n)
    ]
    return [(os.path.join(folder, name), reader) for name, reader in readers]


def read(path: str, reader: Any, root: str, warnings: list[str]) -> Lock | None:
    """Return the content of one lock file; None, with a note, if it cannot be read."""
    name = os.path.relpath(path, root)
    try:
        text = files.read_text(path, root=root, limit=SIZE_LIMIT)
        packages, options = reader(text)
        return Lock(name, packages, folder=os.path.dirname(path), root=root, **options)
    except RefusedFileError as refused:
        warnings.append(f"{name}: {refused.what}")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        warnings.append(f"{name}: it cannot be read as a lock file: it is not followed")
    return None


if TYPE_CHECKING:
    Read = tuple[list[Package], dict[str, Any]]


def _rows(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


_PLACES = {
    "git": "git repository",
    "vcs": "git repository",
    "url": "URL",
    "archive": "URL",
    "path": "folder",
    "directory": "folder",
    "editable": "folder",
    "virtual": "folder",
    "file": "URL",
}
"""Lock entries that name a place instead of an index, with their kinds."""


def _elsewhere(name: str, source: Any) -> Reference | None:
    """Return the place that a distribution comes from, if that is no index."""
    table = _dict(source)
    kind = next((kind for kind in _PLACES if kind in table), "") or _text(table.get("type"))
    return Reference(name, _PLACES[kind]) if kind in _PLACES else None


def _place(source: Any) -> str:
    """Return the source folder of a distribution, relative to the lock's; "" if none."""
    table = _dict(source)
    for kind in ("editable", "virtual", "directory", "path"):
        inner = table.get(kind)
        folder = _text(_dict(inner).get("path")) or _text(inner)
        if folder:
            return folder
    return _text(table.get("url")) if table.get("type") == "directory" else ""


def _uv(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("package") or table.get("distribution")):  # before uv 0.3
        marker = " or ".join(
            f"({m})" for m in one.get("resolution-markers", ()) if isinstance(m, str)
        )
        optional = {
            normal(group): _uv_edges(rows)
            for key in ("dev-dependencies", "optional-dependencies")
            for group, rows in _dict(one.get(key)).items()
        }
        name, source = _text(one.get("name")), one.get("source")
        packages.append(
            Package(
                name,
                _text(one.get("version")),
                _uv_edges(one.get("dependencies")),
                optional=optional,
                marker=marker,
                place=_place(source),
                elsewhere=_elsewhere(name, source),
            )
        )
    return packages, {"has_edges": True, "requires_python": _text(table.get("requires-python"))}


def _uv_edges(value: Any) -> list[Edge]:
    return [
        Edge(
            normal(_text(row.get("name"))),
            _text(row.get("marker")),
            _text(row.get("version")),
            tuple(normal(one) for one in row.get("extra", ()) if isinstance(one, str)),
        )
        for row in _rows(value)
    ]


def _poetry(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("package")):
        name, source = _text(one.get("name")), one.get("source")
        edges = []
        for needed, value in _dict(one.get("dependencies")).items():
            for way in value if isinstance(value, list) else [value]:
                if _dict(way).get("optional") is not True:
                    edges.append(
                        Edge(
                            normal(needed),
                            _text(_dict(way).get("markers")),
                            extras=tuple(map(normal, _dict(way).get("extras", ()))),
                        )
                    )
        extras = {normal(extra): _edges(lines) for extra, lines in _dict(one.get("extras")).items()}
        packages.append(
            Package(
                name,
                _text(one.get("version")),
                edges,
                optional=extras,
                marker=_poetry_marker(one.get("markers")),
                python=_text(one.get("python-versions")),
                place=_place(source),
                elsewhere=_elsewhere(name, source),
            )
        )
    python = _text(_dict(table.get("metadata")).get("python-versions"))
    return packages, {"has_edges": True, "requires_python": python}


def _poetry_marker(value: Any) -> str:
    """Return the marker of a package; by group, they are alternatives."""
    if isinstance(value, dict):
        return " or ".join(f"({one})" for one in value.values() if isinstance(one, str))
    return _text(value)


def _edges(lines: Any) -> list[Edge]:
    """Return the edges in requirement lines."""
    texts = [one for one in lines if isinstance(one, str)] if isinstance(lines, list) else []
    result = []
    for line in texts:
        exact = specifier_of(line)
        version = exact[2:] if exact.startswith("==") and "," not in exact else ""
        result.append(Edge(name_of(line), marker_of(line), version, extras_of(line)))
    return result


def _pdm(text: str) -> Read:
    table = toml.parse(text)
    packages: dict[tuple[str, str, str], Package] = {}
    for one in _rows(table.get("package")):
        name, version = _text(one.get("name")), _text(one.get("version"))
        marker, needs = _text(one.get("marker")), _edges(one.get("dependencies"))
        package = packages.setdefault(
            (name, version, marker),
            Package(
                name,
                version,
                marker=marker,
                python=_text(one.get("requires_python")),
                place=_text(one.get("path")),
                elsewhere=_elsewhere(name, one),
            ),
        )
        extras = [normal(extra) for extra in one.get("extras", ()) if isinstance(extra, str)]
        for extra in extras:  # a package with extras stands there a second time
            package.optional.setdefault(extra, []).extend(needs)
        package.needs += [] if extras else needs
    python = _text(_dict(table.get("metadata")).get("requires_python"))
    return list(packages.values()), {"has_edges": True, "requires_python": python}


def _pylock(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("packages")):
        name = _text(one.get("name"))
        packages.append(
            Package(
                name,
                _text(one.get("version")),
                marker=_text(one.get("marker")),
                python=_text(one.get("requires-python")),
                place=_place(one),
                elsewhere=_elsewhere(name, one),
            )
        )
    groups = [one for one in table.get("default-groups", ()) if isinstance(one, str)]
    python = _text(table.get("requires-python"))
    return packages, {"has_edges": False, "requires_python": python, "groups": groups}


def _pipfile(text: str) -> Read:
    import json

    table = json.loads(text)
    packages = []
    for name, value in table.get("default", {}).items():
        packages.append(
            Package(
                name,
                _text(value.get("version")).lstrip("="),
                marker=_text(value.get("markers")),
                place=_text(value.get("path")),
                elsewhere=_elsewhere(name, value),
            )
        )
    meta = table.get("_meta", {}).get("requires", {})
    python = _text(meta.get("python_full_version")) or _text(meta.get("python_version"))
    return packages, {"has_edges": False, "requires_python": python}


def _requirements(text: str) -> Read:
    packages = []
    for raw in text.replace("\\\n", " ").splitlines():
        line = re.split(r"\s(?:#|--hash)", raw[:4_000])[0].strip()
        elsewhere = reference(re.sub(r"^(?:-e|--editable)[ =]\s*", "", line))
        if elsewhere is not None and elsewhere.name:
            place = re.sub(r"^.*file:", "", line) if elsewhere.kind == "folder" else ""
            packages.append(Package(elsewhere.name, "", place=place, elsewhere=elsewhere))
        elif is_requirement(line) and re.match(r"===?[\w.!+]+$", specifier_of(line)):
            version = specifier_of(line).lstrip("=")
            packages.append(Package(name_of(line), version, marker=marker_of(line)))
    return packages, {"has_edges": False}


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _conda_lock(text: str) -> Read:
    rows = [one for one in _rows(_yaml(text).get("package")) if _is_main(one)]
    there = {one.get("platform") for one in rows}
    platform = next((one for one in PLATFORMS if one in there), None)
    return _conda_packages(
        [
            (_text(one.get("name")), str(one.get("version", "")), _text(one.get("manager")))
            for one in rows
            if one.get("platform") in (platform, "noarch", None)
        ]
    )


def _is_main(row: dict[str, Any]) -> bool:
    """Return whether a row of conda-lock is for more than development."""
    named = row.get("categories") or [row.get("category") or "main"]
    return "main" in named and row.get("optional") is not True


def _pixi(text: str) -> Read:
    table = _yaml(text)
    about: dict[str, tuple[str, str, str]] = {}
    for one in _rows(table.get("packages")):
        address = _address(one)
        name, version = _text(one.get("name")), str(one.get("version") or "")
        if name and version and address:
            about[address] = (name, version, "pip" if _is_pypi(one) else "conda")
    environments = _dict(table.get("environments"))
    environment: Any = next(
        (environments[one] for one in ("default", "train") if one in environments), {}
    )
    of_platform = _dict(_dict(environment).get("packages"))
    used: Any = next((of_platform[one] for one in PLATFORMS if one in of_platform), None)
    named = []
    for one in _rows(used) if used is not None else ():
        address = _address(one)
        pattern = _WHEEL_FILE if _is_pypi(one) else _CONDA_FILE
        match = pattern.search(address)
        if address in about:
            named.append(about[address])
        elif match is not None:
            named.append((match[1], match[2], "pip" if _is_pypi(one) else "conda"))
    return _conda_packages(named if used is not None else list(about.values()))


def _is_pypi(row: dict[str, Any]) -> bool:
    return "pypi" in row or row.get("kind") == "pypi"


def _address(row: dict[str, Any]) -> str:
    return next((_text(row[key]) for key in ("conda", "pypi", "url") if key in row), "")


def _explicit(text: str) -> Read:
    return _conda_packages([(m[1], m[2], "conda") for m in _CONDA_FILE.finditer(text)])


def _conda_packages(packages: list[tuple[str, str, str]]) -> Read:
    """Return conda's packages that the index has, by the index's names; Python too."""
    python = next((version for name, version, _ in packages if name == "python"), "")
    result = []
    # What pip installed in the environment comes first: it took the place of conda's.
    for name, version, manager in sorted(packages, key=lambda one: one[2] != "pip"):
        plain = normal(RENAMED.get(name, name))
        if manager == "pip" or is_known(plain):
            result.append(Package(plain, version))
    return result, {"has_edges": False, "requires_python": ".".join(python.split(".")[:2])}


READERS = (
    ("uv.lock", _uv),
    ("poetry.lock", _poetry),
    ("pdm.lock", _pdm),
    ("pylock.toml", _pylock),
    ("pipfile.lock", _pipfile),
    ("pixi.lock", _pixi),
    ("conda-lock.yml", _conda_lock),
    ("conda-lock.yaml", _conda_lock),
    ("conda-linux-64.lock", _explicit),
    ("requirements.lock", _requirements),
    ("requirements-lock.txt", _requirements),
    ("requirements.lock.txt", _requirements),
)
"""File names, in lower case, to what reads them."""
MANIFESTS = {
    "uv.lock": "pyproject.toml",
    "poetry.lock": "pyproject.toml",
    "pdm.lock": "pyproject.toml",
    "pipfile.lock": "pipfile",
    "pixi.lock": "pixi.toml",
    "conda-lock.yml": "environment.yml",
}
"""Locks and the declaration that they are made from."""
