"""Read lock files: the exact versions that a project's own tools have resolved.

Of a lock that says which distribution needs which (uv, Poetry, PDM), the ones are taken that the
project's declared requirements lead to; of others (pip-compile, Pipenv, conda-lock, Pixi) all.
Names and versions are all that is taken: from which index, repository or folder something comes is
the operator's to decide.
"""

from __future__ import annotations

import os
import re

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files, toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SIZE_LIMIT = 20_000_000
PACKAGES_LIMIT = 5_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!]*")
_CONDA_FILE = re.compile(r"/([A-Za-z0-9_.-]+?)-([^-/]+)-[^-/]+\.(?:conda|tar\.bz2)\b")
_WHEEL_FILE = re.compile(r"/([A-Za-z0-9_.]+)-([A-Za-z0-9_.!]+?)(?:-[^/]*\.whl|\.tar\.gz)\b")
BROUGHT = ("nvidia-", "triton", "pytorch-triton")
"""Beginnings of distributions that a build of another one for GPUs brings; without GPUs they are
not needed."""
PLATFORMS = ("linux-64", "linux-aarch64", "noarch")


class Package:
    """One distribution of a lock."""

    __slots__ = ("elsewhere", "marker", "name", "needs", "version")

    def __init__(
        self,
        name: str,
        version: str,
        needs: Iterable[tuple[str, str]] = (),
        *,
        marker: str = "",
        elsewhere: str = "",
    ) -> None:
        self.name = normal(name)
        self.version = version.partition("+")[0]
        """Without the local part (`+cpu`), which only another index has."""
        self.needs = list(needs)
        """Names of distributions, each with its environment marker."""
        self.marker = marker
        self.elsewhere = elsewhere
        """What it comes from, if that is no index: a repository, an address, a folder."""


class Lock:
    """The content of a lock file."""

    __slots__ = ("has_edges", "packages", "path", "requires_python")

    def __init__(
        self, path: str, packages: list[Package], *, has_edges: bool, requires_python: str = ""
    ) -> None:
        self.path = path
        """Relative to the project's folder."""
        self.packages = packages[:PACKAGES_LIMIT]
        self.has_edges = has_edges
        self.requires_python = requires_python

    def pins(self, roots: Iterable[str], python: str) -> tuple[dict[str, str], list[str]]:
        """Return the versions of what some distributions need, and warnings.

        Args:
            roots: normalised names of what the project declares.
            python: the environment's Python, such as "3.12".
        """
        by_name: dict[str, list[Package]] = {}
        for one in self.packages:
            by_name.setdefault(one.name, []).append(one)
        pending = list(roots) if self.has_edges else list(by_name)
        pins: dict[str, str] = {}
        warnings: list[str] = []
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if name in seen or name.startswith(BROUGHT):
                continue
            seen.add(name)
            package = _of_environment(by_name.get(name, []), python)
            if package is None:
                continue
            if package.elsewhere:
                warnings.append(
                    f"{self.path}: {name} comes from {package.elsewhere}, which is not followed: it is not installed"
                )
            elif _VERSION.fullmatch(package.version):
                pins[name] = package.version
            pending += [normal(n) for n, marker in package.needs if _holds(marker, python)]
        return pins, warnings


def normal(name: str) -> str:
    """Return a distribution's name as the index knows it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_environment(packages: list[Package], python: str) -> Package | None:
    """Return the one of several versions of a distribution that is for this environment."""
    fitting = [one for one in packages if _holds(one.marker, python)]
    return next(iter(fitting or packages), None)


def _holds(marker: str, python: str) -> bool:
    """Return whether an environment marker holds on Linux."""
    if not marker:
        return True
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    try:
        return Marker(marker).evaluate(environment)
    except (InvalidMarker, UndefinedEnvironmentName, ValueError, RecursionError):
        return True


def find(folder: str, root: str, warnings: list[str]) -> Lock | None:
    """Return the lock nearest to a folder, upwards to the project's root.

    Args:
        folder: where to begin.
        root: the project's folder.
        warnings: what is said about locks that cannot be read is added here.
    """
    place = folder
    while True:
        names = {name.lower(): name for name in files.names_in(place, root=root)}
        for file_name, reader in READERS:
            if file_name in names:
                path = os.path.join(place, names[file_name])
                lock = read(path, reader, root, warnings)
                if lock is not None and lock.packages:
                    return lock
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return None
        place = os.path.dirname(place)


def read(path: str, reader: Any, root: str, warnings: list[str]) -> Lock | None:
    """Return the content of one lock file, None if it cannot be read, which is said."""
    name = os.path.relpath(path, root)
    try:
        text = files.read_text(path, root=root, limit=SIZE_LIMIT)
        packages, has_edges, requires_python = reader(text)
        return Lock(name, packages, has_edges=has_edges, requires_python=requires_python)
    except RefusedFileError as refused:
        warnings.append(f"{name}: {refused.what}")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        warnings.append(f"{name}: it cannot be read as a lock file: it is not followed")
    return None


Read = tuple[list[Package], bool, str]


def _rows(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _elsewhere(source: Any) -> str:
    """Return what a distribution comes from, if that is no index."""
    if not isinstance(source, dict):
        return ""
    for kind in ("git", "url", "path", "directory", "editable"):
        if kind in source:
            return f"{kind} {str(source[kind])[:120]}"
    kind = _text(source.get("type"))
    return (
        f"{kind} {str(source.get('url', ''))[:120]}"
        if kind in ("git", "url", "file", "directory")
        else ""
    )


def _uv(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("package")):
        needs = list(_rows(one.get("dependencies")))
        optional = one.get("optional-dependencies")
        for extra in optional.values() if isinstance(optional, dict) else ():
            needs += _rows(extra)
        marker = " or ".join(
            f"({m})" for m in one.get("resolution-markers", ()) if isinstance(m, str)
        )
        is_own = isinstance(one.get("source"), dict) and one["source"].keys() & {
            "virtual",
            "editable",
        }
        packages.append(
            Package(
                _text(one.get("name")),
                "" if is_own else _text(one.get("version")),
                [(_text(need.get("name")), _text(need.get("marker"))) for need in needs],
                marker=marker,
                elsewhere="" if is_own else _elsewhere(one.get("source")),
            )
        )
    return packages, True, _text(table.get("requires-python"))


def _poetry(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("package")):
        needs = one.get("dependencies")
        edges = []
        for name, value in needs.items() if isinstance(needs, dict) else ():
            marker = _text(value.get("markers")) if isinstance(value, dict) else ""
            is_extra = isinstance(value, dict) and value.get("optional") is True
            edges += [] if is_extra else [(name, marker)]
        packages.append(
            Package(
                _text(one.get("name")),
                _text(one.get("version")),
                edges,
                elsewhere=_elsewhere(one.get("source")),
            )
        )
    metadata = table.get("metadata")
    return (
        packages,
        True,
        _text(metadata.get("python-versions")) if isinstance(metadata, dict) else "",
    )


def _pdm(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("package")):
        needs = []
        for line in one.get("dependencies", ()):
            name = _NAME.match(_text(line))
            if name is not None:
                needs.append((name[0], _text(line).partition(";")[2].strip()))
        elsewhere = next(
            (f"{k} {str(one[k])[:120]}" for k in ("git", "url", "path") if k in one), ""
        )
        packages.append(
            Package(
                _text(one.get("name")),
                _text(one.get("version")),
                needs,
                marker=_text(one.get("marker")),
                elsewhere=elsewhere,
            )
        )
    return packages, True, _text(table.get("metadata", {}).get("requires_python"))


def _pylock(text: str) -> Read:
    table = toml.parse(text)
    packages = []
    for one in _rows(table.get("packages")):
        elsewhere = next((k for k in ("vcs", "directory", "archive") if k in one), "")
        packages.append(
            Package(
                _text(one.get("name")),
                _text(one.get("version")),
                marker=_text(one.get("marker")),
                elsewhere=elsewhere,
            )
        )
    return packages, False, _text(table.get("requires-python"))


def _pipfile(text: str) -> Read:
    import json

    table = json.loads(text)
    packages = []
    for name, value in table.get("default", {}).items():
        version = _text(value.get("version")).lstrip("=")
        elsewhere = next(
            (f"{k} {str(value[k])[:120]}" for k in ("git", "path", "file") if k in value), ""
        )
        packages.append(
            Package(name, version, marker=_text(value.get("markers")), elsewhere=elsewhere)
        )
    meta = table.get("_meta", {}).get("requires", {})
    python = _text(meta.get("python_full_version")) or _text(meta.get("python_version"))
    return packages, False, python


def _requirements(text: str) -> Read:
    packages = []
    for line in text.splitlines():
        match = re.match(
            r"\s*([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([\w.!+]+)\s*(?:;\s*([^\\#]*))?", line[:400]
        )
        if match is not None:
            packages.append(Package(match[1], match[2], marker=(match[3] or "").strip()))
    return packages, False, ""


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _conda_lock(text: str) -> Read:
    packages = [
        (_text(one.get("name")), str(one.get("version", "")), _text(one.get("manager")))
        for one in _rows(_yaml(text).get("package"))
        if one.get("platform") in (*PLATFORMS, None)
    ]
    return _conda_packages(packages)


def _pixi(text: str) -> Read:
    table = _yaml(text)
    named = [
        (_text(one.get("name")), str(one.get("version", "")), "pip" if "pypi" in one else "conda")
        for one in _rows(table.get("packages"))
        if one.get("name") and one.get("version") is not None
    ]
    default = table.get("environments", {}).get("default", {}).get("packages", {})
    of_platform: Any = next((default[one] for one in PLATFORMS if one in default), [])
    used: set[str] = set()
    for one in _rows(of_platform):
        address = _text(one.get("conda")) or _text(one.get("pypi"))
        match = (_CONDA_FILE if "conda" in one else _WHEEL_FILE).search(address)
        if match is not None:
            used.add(normal(match[1]))
            named.append((match[1], match[2], "conda" if "conda" in one else "pip"))
    return _conda_packages([one for one in named if not used or normal(one[0]) in used])


def _explicit(text: str) -> Read:
    return _conda_packages([(m[1], m[2], "conda") for m in _CONDA_FILE.finditer(text)])


def _conda_packages(packages: list[tuple[str, str, str]]) -> Read:
    """Return those of conda's packages that the index knows, by its names; Python is one of them."""
    from mlops_lib.detection.declared_requirements import RENAMED
    from mlops_lib.detection.import_map import DISTRIBUTIONS

    index_names = {normal(name) for name in DISTRIBUTIONS.values()}
    python = next((version for name, version, _ in packages if name == "python"), "")
    result = []
    for name, version, manager in packages:
        plain = normal(RENAMED.get(name, name))
        if manager == "pip" or plain in index_names:
            result.append(Package(plain, version))
    return result, False, ".".join(python.split(".")[:2])


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
