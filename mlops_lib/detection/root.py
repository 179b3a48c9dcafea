"""Find the root of the project of a named file, as Python and the tools would."""

from __future__ import annotations

import os
import re

from mlops_lib.detection.facts import is_standard
from mlops_lib.detection.import_map import COMMON_NAMES, DISTRIBUTIONS
from mlops_lib.detection.words import words
from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlops_lib.detection.files import File, Files

MARKERS = words("""
    pyproject.toml setup.py setup.cfg requirements.txt requirements.in environment.yml
    environment.yaml conda.yaml pipfile uv.lock poetry.lock pdm.lock pixi.toml dvc.yaml mlproject
    mlops.toml readme.md readme.rst readme.txt readme makefile dockerfile jenkinsfile .git
""")
"""Files, in lower case, in the folder that is a project by itself."""
CLIMB_LIMIT = 8
"""Folders above a file that are looked at."""
DECLARED_LIMIT = 3
"""Levels above an undeclared folder at which its project may declare the installation."""


def find(files: Files, file: File) -> str:
    """Return the project's folder for a file that was named.

    It is the folder above the packages that the file is part of, the one from which what it imports
    is found, or the nearest that says how it is installed; never one above the checkout.

    Args:
        files: the file's own folder.
        file: the file.
    """
    folder = files.folder
    above = list(_above(folder))
    root = _above_packages(folder, file, above)
    for top in _unresolved(files, file):
        place = next((one for one in above if _provides(one, top)), None)
        if place is not None and len(place) < len(root):
            root = place
    in_checkout = any(".git" in _names(one) for one in (folder, *above))
    if in_checkout and not _is_marked(root):
        near = above[:DECLARED_LIMIT]
        root = next((one for one in near if len(one) < len(root) and _is_marked(one)), root)
    # A member of uv's workspace is locked, and finds its siblings, in the workspace's folder.
    return next((one for one in above if len(one) < len(root) and _is_workspace(one)), root)


def _above(folder: str) -> Iterator[str]:
    """Yield the folders above one, up to the root of its checkout."""
    workspace = os.path.realpath(os.environ.get("WORKSPACE") or os.sep)
    home = os.path.realpath(os.path.expanduser("~"))
    place = folder
    for _ in range(CLIMB_LIMIT):
        parent = os.path.dirname(place)
        is_top = ".git" in _names(place) or place == workspace
        if is_top or parent in (place, home, os.path.dirname(parent)):
            return
        yield parent
        place = parent


def _above_packages(folder: str, file: File, above: list[str]) -> str:
    steps = max((level - 1 for level, *_ in file.facts.relative), default=0)
    root = folder
    for number, parent in enumerate(above):
        if number >= steps and "__init__.py" not in _names(root):
            break
        root = parent
    return root


def _unresolved(files: Files, file: File) -> Iterable[str]:
    """Return the top-level modules imported that are neither here, nor Python's, nor a
    distribution's.
    """
    return {
        imported.top: None
        for one in (file, *file.reachable())
        for imported in one.facts.imports
        if not is_standard(imported.top)
        and (imported.top not in DISTRIBUTIONS or imported.top in COMMON_NAMES)
        and not files.is_local(one, imported.module, imported.names)
    }


def _provides(folder: str, top: str) -> bool:
    for base in (folder, os.path.join(folder, "src")):
        names = _names(base)
        if top + ".py" in names:
            return True
        if top in names:
            inside = _names(os.path.join(base, top))
            if any(
                name.endswith(".py") or os.path.isdir(os.path.join(base, top, name))
                for name in inside
            ):
                return True
    return False


def _is_marked(folder: str) -> bool:
    return any(name.lower() in MARKERS for name in _names(folder))


def _is_workspace(folder: str) -> bool:
    """Return whether a folder is the root of a workspace of uv's that has a lock."""
    if not {"uv.lock", "pyproject.toml"} <= set(_names(folder)):
        return False
    try:
        text = pushed.read_text(os.path.join(folder, "pyproject.toml"), root=folder)
    except RefusedFileError:
        return False
    return re.search(r"(?m)^\s*\[tool\.uv\.workspace\]", text) is not None


def _names(folder: str) -> list[str]:
    return pushed.names_in(folder, root=folder)
