"""Modules beside the importing file, found only if Python would otherwise raise.

In Python 2 a module of a package imported its siblings by their bare names. A script meant to run
from its own folder extends the path relative to that folder: `sys.path.append("../tools")`.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any, Iterator, Optional

from mlops_lib.runner.compat.notes import Notes


class Neighbours(importlib.abc.MetaPathFinder):
    """Finder of sibling modules, last on `sys.meta_path`.

    Args:
        work: the working directory; nothing outside it is found.
        entry: the script that runs, relative to it.
        notes: journal of adaptations.
    """

    def __init__(self, work: str, entry: str, notes: Notes) -> None:
        self._work = os.path.realpath(work)
        self._home = os.path.dirname(os.path.join(self._work, entry))
        self._notes = notes

    def find_spec(self, name: str, path: Any, target: Optional[ModuleType] = None) -> Any:
        """Return the spec of the sibling of that name, None if there is none."""
        asker = None if path is not None else self._asker()
        if asker is None:
            return None
        for folder in self._folders(asker):
            spec = importlib.machinery.PathFinder.find_spec(name, [folder])
            if spec is not None and spec.origin is not None:
                where = os.path.relpath(os.path.realpath(folder), self._work)
                self._notes.say(
                    f"what lies in {where} is found by its bare name, as from that folder or by Python 2"
                )
                return spec
        return None

    def _asker(self) -> Optional[str]:
        """The project's file whose import is under way."""
        frame: Any = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if (
                name != __file__
                and "importlib" not in name
                and not name.endswith(os.path.join("script", "import_hooks.py"))
            ):
                full = os.path.realpath(name)
                return full if full.startswith(self._work + os.sep) else None
            frame = frame.f_back
        return None

    def _folders(self, asker: str) -> Iterator[str]:
        yield os.path.dirname(asker)
        for entry in sys.path:
            folder = os.path.realpath(os.path.join(self._home, entry))
            if entry and not os.path.isabs(entry) and folder.startswith(self._work + os.sep):
                yield folder
