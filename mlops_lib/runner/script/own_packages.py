"""Packages that a pushed repository develops, preferred to installed ones.

A script in a folder of such a repository (`tasks/train.py`) expects the effect of `pip install -e
.`: the repository's own code. Otherwise it would train with a release from the index that came as a
dependency of some library.
"""

import importlib.machinery
import os
import re
import sys
from typing import Any, Dict, Optional, Sequence

BUILD_FILES = ("setup.py", "setup.cfg")
_BUILDS = re.compile(
    r"^\[(project|build-system|tool\.(poetry|flit|setuptools|hatch))\b", re.MULTILINE
)


class Finder:
    """Find the packages of a repository, before Python searches the installed ones.

    Args:
        packages: name of a package to the folder that contains it.
    """

    def __init__(self, packages: Dict[str, str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Any = None) -> Any:
        """Return the spec of a package of the repository; None for any other module."""
        if path is not None or name not in self.packages:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self.packages[name]])


def install(work: str, entry: str) -> None:
    """Prefer the repository's own packages, except if one lies beside the entry.

    Args:
        work: the working directory.
        entry: the script, relative to it.
    """
    script_folder = os.path.join(work, os.path.dirname(entry))
    packages = {
        name: folder for name, folder in find(work).items() if not _has(script_folder, name)
    }
    if packages:
        finders = sys.meta_path
        place = next(
            (i for i, finder in enumerate(finders) if finder is importlib.machinery.PathFinder),
            len(finders),
        )
        finders.insert(place, Finder(packages))


def find(work: str) -> Dict[str, str]:
    """Return the packages that a repository develops, each with its folder.

    The result is empty if the repository builds no package.
    """
    if not _builds(work):
        return {}
    packages: Dict[str, str] = {}
    for folder in (os.path.join(work, "src"), work):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.isidentifier() and os.path.isfile(os.path.join(folder, name, "__init__.py")):
                packages[name] = folder
    # A folder of the standard library's name (`code`, `types`) must not replace that module
    # everywhere.
    standard = getattr(sys, "stdlib_module_names", ())
    return {name: folder for name, folder in packages.items() if name not in standard}


def _builds(work: str) -> bool:
    if any(os.path.isfile(os.path.join(work, name)) for name in BUILD_FILES):
        return True
    try:
        with open(
            os.path.join(work, "pyproject.toml"), encoding="utf-8", errors="replace"
        ) as stream:
            return _BUILDS.search(stream.read(1 << 18)) is not None
    except OSError:
        return False


def _has(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name + ".py")) or os.path.isdir(
        os.path.join(folder, name)
    )
