"""From a project to its Detection."""

from __future__ import annotations

import contextlib
import gc
import os

from mlops_lib.detection import root
from mlops_lib.detection.files import File, Files
from mlops_lib.detection.report import findings
from mlops_lib.errors import DetectionError
from mlops_lib.project import files as pushed

LARGE = 200
"""Python files and notebooks from which on a project's result is remembered between runs."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from mlops_lib.records import Detection


def detect(project: str | Path, *, entry: str | None = None) -> Detection:
    """Find out what a project trains with and what it needs, without running it.

    Args:
        project: a folder, one script or one notebook.
        entry: the file that trains, relative to the folder; needed only if there are several.

    Raises:
        DetectionError: there is no such project, nothing in it trains, or several files do and
            nothing says which.

    Example:
        >>> import mlops_lib as mlops
        >>> detection = mlops.detect("model_repo/digits_tree")
        >>> detection.entry, detection.framework, detection.family
        ('tree.py', 'sklearn', 'tree')
        >>> evidence = detection.evidence[0]
        >>> evidence.file, evidence.line, evidence.means
        ('tree.py', 10, 'the only file that trains')
    """
    from mlops_lib.records import Detection

    return Detection.from_json(look(project, entry=entry))


def look(project: str | Path, *, entry: str | None = None) -> dict[str, Any]:
    """Return the result of `detect` as plain JSON values.

    Raises:
        DetectionError: as for `detect`.
    """
    with _without_collection():
        return _look(project, entry)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the garbage collector, which would take a third of the time on syntax trees."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _look(project: str | Path, entry: str | None) -> dict[str, Any]:
    pushed.require_in_checkout(project)
    place = os.path.realpath(os.path.expanduser(project))
    if not os.path.exists(place):
        raise DetectionError(
            "no such file or folder",
            where=str(project),
            remedy="Give a project's folder or its script.",
        )
    if not os.path.isdir(place):
        return _look_at_file(project, entry)
    files = Files(place)
    if len(files.paths()) >= LARGE:
        return _remembered(files, entry)
    return _look_at_folder(files, entry)


def _look_at_folder(files: Files, entry: str | None) -> dict[str, Any]:
    if entry:
        return findings(files, _entry(files, entry))
    from mlops_lib.detection.entry import choose

    chosen = choose(files)
    return findings(files, chosen.file, reason=chosen.reason, where=chosen.where)


def _remembered(files: Files, entry: str | None) -> dict[str, Any]:
    """Return the stored result of a large project with this content, or compute it."""
    from mlops_lib.detection import result_cache

    name = result_cache.key(files.folder, entry or "")
    result = result_cache.recall(name) if name else None
    if result is not None:
        return result
    try:
        result = _look_at_folder(files, entry)
    except DetectionError as error:
        if name and type(error) is DetectionError:
            result_cache.remember_refusal(name, error)
        raise
    if name:
        result_cache.remember(name, result)
    return result


def _look_at_file(project: str | Path, entry: str | None) -> dict[str, Any]:
    """Return the conclusions about a named script, in its project."""
    if not os.fspath(project).endswith((".py", ".ipynb")):
        raise DetectionError(
            "neither a Python script nor a notebook",
            where=str(project),
            remedy="Give a .py or .ipynb file.",
        )
    # The folder that it is named in, not that of what it may be a link to: that file is read if it
    # lies there too.
    above, name = os.path.split(os.path.abspath(os.path.expanduser(project)))
    files = Files(os.path.realpath(above))
    file = _entry(files, entry or name)
    top = root.find(files, file)
    if top == files.folder:
        return findings(files, file)
    wider = Files(top)
    reason = f"it was named; its project begins at {os.path.relpath(top, files.folder)}"
    entry_file = _entry(wider, os.path.relpath(file.path, top))
    return findings(wider, entry_file, reason=reason, where=(entry_file.name, 1))


def _entry(files: Files, entry: str) -> File:
    path = os.path.realpath(os.path.join(files.folder, entry))
    if not os.path.isfile(path) or not path.startswith(files.folder + os.sep):
        raise DetectionError(
            "no such entry in the project",
            where=entry,
            remedy="Name a file of the project, relative to its folder.",
        )
    file = files.file(path)
    if file.refused is not None:
        raise file.refused
    return file
