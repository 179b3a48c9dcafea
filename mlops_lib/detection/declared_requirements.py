"""Requirements that a project declares itself: they win over what its imports suggest.

They stand in the script, or in the files around it (mlops_lib.detection.manifests); a lock file
decides their versions (mlops_lib.detection.lock_files).
"""

from __future__ import annotations

import os
import re

from mlops_lib.detection import lock_files, manifests, own_packages, python_version
from mlops_lib.detection.requirement_lines import (
    TOOLS,
    allows,
    cleaned,
    extras_of,
    for_python,
    is_known,
    is_requirement,
    name_of,
    other_builds,
    specifier_of,
)
from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files, toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["TOOLS", "Declared", "is_requirement", "name_of", "of_entry"]
INLINE_LIMIT = 200_000
"""Bytes in which a script's own metadata begins and ends."""


class Declared:
    """The declarations of a project, with warnings about them."""

    __slots__ = (
        "folder",
        "lock",
        "locked",
        "outer",
        "pins",
        "python",
        "python_wish",
        "requirements",
        "source",
        "warnings",
    )

    def __init__(
        self, requirements: list[str], source: str, warnings: list[str], *, folder: str = ""
    ) -> None:
        self.requirements = requirements
        self.source = source
        """The file that they stand in."""
        self.folder = folder
        """The absolute path of that file's folder."""
        self.warnings = warnings
        self.outer: list[str] = []
        """Declarations of the folders above, for imports that the nearest one leaves out."""
        self.lock = ""
        """The lock file that decides their versions."""
        self.locked: list[str] = []
        """Exact versions of indirect requirements, from a lock."""
        self.pins: dict[str, str] = {}
        """Distribution to version, of everything in the lock."""
        self.python = f"3.{python_version.USUAL}"
        self.python_wish: python_version.Wish | None = None
        """The declaration that decided for another Python than the usual one."""


def of_entry(entry: str, root: str) -> Declared:
    """Return what is declared for a script or notebook: in itself, or in the files around it.

    Args:
        entry: the script's path.
        root: the project's folder.
    """
    folder = os.path.dirname(entry)
    inline = inline_metadata(entry, root)
    if inline is None:
        declaration = find(folder, root)
        lock = lock_files.find(folder, root, declaration.folder, declaration.warnings)
        wishes = python_version.written_down(folder, root) + _python_wishes(folder, root)
    else:
        declaration = _inline(entry, root, inline)
        lock = _lock_of_script(entry, root, declaration)
        wishes = _wish(inline.get("requires-python"), declaration.source)
    if lock is not None and lock.requires_python:
        wishes.append(python_version.Wish(lock.path, lock.requires_python))
    declaration.python, declaration.python_wish, warnings = python_version.choose(wishes)
    declaration.warnings += warnings
    declaration.requirements = for_python(declaration.requirements, declaration.python)
    declaration.outer = for_python(declaration.outer, declaration.python)
    if lock is not None:
        _apply(lock, declaration)
    return declaration


def _inline(entry: str, root: str, inline: dict[str, Any]) -> Declared:
    """Return the declarations in a script's own metadata."""
    project = manifests.Project(root)
    name = os.path.relpath(entry, root)
    uv = manifests.table_of(inline, "tool", "uv")
    lines = manifests.taken(manifests.texts_of(inline.get("dependencies")), name, project)
    lines = manifests.follow_sources(lines, uv, entry, project)
    manifests.note_sources(inline, name, project)
    project.warnings += [f"{name}: {message}" for message in other_builds(lines)]
    return Declared(cleaned(lines), name, project.warnings, folder=os.path.dirname(entry))


def inline_metadata(path: str, root: str) -> dict[str, Any] | None:
    """Return the metadata in a script's comments (PEP 723), None if it has none."""
    if not path.endswith((".py", ".ipynb")):
        return None
    try:
        text = files.read_start(path, root=root, limit=INLINE_LIMIT).decode("utf-8-sig", "replace")
    except RefusedFileError:
        return None
    if "# /// script" not in text:
        return None
    if path.endswith(".ipynb"):
        text = _lines_of_notebook(text)
    match = re.search(
        r"(?m)^# /// script\s*$\n((?:^#(?:| .*)$\n)+)^# ///[ \t]*$", text.replace("\r", "")
    )
    if match is None:
        return None
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in match[1].splitlines()]
    try:
        return toml.parse("\n".join(lines))
    except ValueError:
        return None


def _lines_of_notebook(text: str) -> str:
    """Return the comment lines in a notebook's source, which is not parsed as a whole."""
    import json

    lines = []
    for match in re.finditer(r'"(?:[^"\\]|\\.){0,2000}"', text):
        if match[0].startswith('"#'):
            lines.append(str(json.loads(match[0], strict=False)).rstrip("\n"))
    return "\n".join(lines)


def _lock_of_script(entry: str, root: str, declaration: Declared) -> lock_files.Lock | None:
    """Return the lock beside a script with metadata of its own."""
    path = entry + ".lock"
    if not files.is_file(path, root=root):
        return None
    reader = dict(lock_files.READERS)["uv.lock"]
    return lock_files.read(path, reader, root, declaration.warnings)


def _apply(lock: lock_files.Lock, declaration: Declared) -> None:
    """Apply a lock's versions to the requirements, and add the indirect ones."""
    python = declaration.python
    if not declaration.requirements:
        declaration.source = lock.path
        roots = lock.everything()
    else:
        roots = lock.roots(declaration.requirements, declaration.folder, manifests.TRAINING_GROUPS)
    pins, elsewhere = lock.pins(roots, python)
    every, _ = lock.pins(lock.everything(), python)
    declaration.lock = lock.path if pins else ""
    declaration.pins = every
    declared = {name_of(line) for line in declaration.requirements}
    unavailable = set()
    for package in elsewhere:
        if package.elsewhere is not None and not is_known(package.name):
            unavailable.add(package.name)
        declaration.warnings.append(lock.note(package))
    exact = []
    for line in declaration.requirements:
        name = name_of(line)
        if name in unavailable:
            continue
        exact.append(_exact(line, pins, lock, declaration))
    if not declared:
        exact = [f"{name}=={version}" for name, version in sorted(pins.items())]
    declaration.requirements = [line for line in exact if name_of(line) not in TOOLS]
    direct = {name_of(line) for line in declaration.requirements}
    declaration.locked = [
        f"{name}=={version}"
        for name, version in sorted(pins.items())
        if name not in direct and name not in TOOLS
    ]


def _exact(line: str, pins: dict[str, str], lock: lock_files.Lock, declaration: Declared) -> str:
    """Return a requirement in the version of the lock, or as declared if they differ."""
    name = name_of(line)
    version = pins.get(name, "")
    if not version:
        if name not in lock and "==" not in specifier_of(line):
            declaration.warnings.append(
                f"{lock.path}: {name} is not in it, and {declaration.source} asks for it: the lock"
                " is out of date, and the newest release that fits is taken"
            )
        return line
    if not allows(line, version):
        declaration.warnings.append(
            f"{lock.path}: {name} is locked to {version}, and {declaration.source} asks for"
            f" {line}: the lock is out of date, and the declaration is followed"
        )
        return line
    extras = ",".join(extras_of(line))
    return f"{name}{f'[{extras}]' if extras else ''}=={version}"


def _wish(value: Any, source: str) -> list[python_version.Wish]:
    return [python_version.Wish(source, value.strip())] if isinstance(value, str) else []


def _python_wishes(folder: str, root: str) -> list[python_version.Wish]:
    """Return the Python versions that the nearest project files declare."""
    place = folder
    project = manifests.Project(root)
    while True:
        names = {name.lower(): name for name in files.names_in(place, root=root)}
        for file_name, reader in _PYTHON_READERS:
            if file_name in names:
                path = os.path.join(place, names[file_name])
                result = _wish(reader(path, project), os.path.relpath(path, root))
                if result:
                    return result
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return []
        place = os.path.dirname(place)


def _pyproject_python(path: str, project: manifests.Project) -> Any:
    table = project.table(path)
    poetry = manifests.table_of(table, "tool", "poetry", "dependencies").get("python")
    pixi = manifests.table_of(table, "tool", "pixi", "dependencies").get("python")
    return manifests.table_of(table, "project").get("requires-python") or poetry or pixi


def _pipfile_python(path: str, project: manifests.Project) -> Any:
    table = manifests.table_of(project.table(path), "requires")
    return table.get("python_full_version") or table.get("python_version")


def _pixi_python(path: str, project: manifests.Project) -> Any:
    value = manifests.table_of(project.table(path), "dependencies").get("python")
    return value.get("version") if isinstance(value, dict) else value


def _environment_python(path: str, project: manifests.Project) -> Any:
    match = re.search(
        r"(?m)^\s*-\s*[\"']?(?:[\w.-]+::)?python\s*([<>=~!]*\s*\d[\d.,*<>=!~| ]*)",
        project.text(path),
    )
    # A single = is conda's.
    return re.sub(r"^=(?!=)", "==", match[1].strip().rstrip("=")) if match else None


def _setup_cfg_python(path: str, project: manifests.Project) -> Any:
    match = re.search(r"(?m)^python_requires\s*=\s*(.+)$", project.text(path))
    return match[1] if match else None


def _setup_py_python(path: str, project: manifests.Project) -> Any:
    match = re.search(r"python_requires[\"']?\s*[=:]\s*[\"']([^\"']+)[\"']", project.text(path))
    return match[1] if match else None


_PYTHON_READERS = (
    ("pyproject.toml", _pyproject_python),
    ("pixi.toml", _pixi_python),
    ("pipfile", _pipfile_python),
    ("environment.yml", _environment_python),
    ("environment.yaml", _environment_python),
    ("conda.yaml", _environment_python),
    ("conda.yml", _environment_python),
    ("setup.cfg", _setup_cfg_python),
    ("setup.py", _setup_py_python),
)


def find(folder: str, root: str) -> Declared:
    """Return the declaration nearest to a folder, upwards to the project's root; empty if none.

    A recipe's own list often names only what it has on top of the repository's package.

    In a folder with a lock, the file that the lock is made from comes first.
    """
    place = folder
    project = manifests.Project(root)
    own = own_packages.distribution(root)
    nearest: Declared | None = None
    while True:
        names = {name.lower() for name in files.names_in(place, root=root)}
        first = next(
            (lock_files.MANIFESTS[one] for one in lock_files.MANIFESTS if one in names), ""
        )
        result, source = manifests.in_folder(place, project, first=first, without=own)
        if result and nearest is None:
            nearest = Declared(result, source, list(project.warnings), folder=place)
        elif nearest is not None:
            nearest.outer += result
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return nearest or Declared([], "", project.warnings)
        place = os.path.dirname(place)
