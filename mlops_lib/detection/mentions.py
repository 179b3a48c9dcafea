"""Find the scripts that Dockerfiles, Makefiles, CI files and READMEs run."""

from __future__ import annotations

import os
import re

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RANKS = (
    ("dockerfile", 0),
    ("jenkinsfile", 1),
    ("mlproject", 2),
    ("dvc.yaml", 2),
    ("makefile", 3),
    ("justfile", 3),
    ("taskfile.yml", 3),
    ("pyproject.toml", 3),
    ("setup.py", 3),
    ("setup.cfg", 3),
    ("docker-compose.yml", 3),
    ("docker-compose.yaml", 3),
    ("compose.yaml", 3),
    ("procfile", 4),
    ("readme.md", 5),
    ("readme.rst", 5),
    ("readme.txt", 5),
    ("readme", 5),
)
"""Files that run scripts; those with lower numbers are stronger evidence."""
SHELL_RANK = 4
WORKFLOW_RANK = 4
FOLDERS = ("docker", "scripts", "bin", "tools", os.path.join(".github", "workflows"))
FILES_LIMIT = 60
TEXT_LIMIT = 300_000
_PROGRAM = (
    r"(?:python[\d.]*|ipython|papermill|nbconvert|--execute|torchrun|deepspeed|launch"
    r"|(?:uv|poetry|pdm|pipenv|pixi)\s+run)"
)
_GAP = r"[\"',\s]+"
_RUNS = re.compile(
    _PROGRAM + _GAP + rf"(?:-[\w-]+(?:=\S+)?{_GAP})*[\"']?((?:[\w.-]*/)*[\w.-]+\.(?:py|ipynb))\b"
)
_RUNS_MODULE = re.compile(
    _PROGRAM + _GAP + rf"(?:\S+{_GAP})??-m{_GAP}([A-Za-z_]\w*(?:\.\w+)*)(?![\w./])"
)
_CONSOLE_SCRIPT = re.compile(
    r"""["']?([\w.-]+)["']?\s*=\s*["']?([A-Za-z_][\w.]*):[A-Za-z_][\w.]*"""
)


class Mention:
    """A place in the project's files that runs a script, and its rank."""

    __slots__ = ("file", "line", "rank")

    def __init__(self, file: str, line: int, rank: int) -> None:
        self.file = file
        self.line = line
        self.rank = rank


def find(folder: str, scripts: Iterable[str]) -> dict[str, Mention]:
    """Return those of the scripts that the project's own files run.

    Args:
        folder: the project's folder.
        scripts: paths relative to it.
    """
    by_name: dict[str, list[str]] = {}
    for script in scripts:
        by_name.setdefault(os.path.basename(script), []).append(script)
    result: dict[str, Mention] = {}
    for name, rank in _files(folder):
        try:
            text = pushed.read_start(name, root=folder, limit=TEXT_LIMIT).decode("utf-8", "replace")
        except RefusedFileError:
            continue
        declares = os.path.basename(name).lower() in ("pyproject.toml", "setup.py", "setup.cfg")
        for number, line in enumerate(text.splitlines(), 1):
            for path in _said(line[:2000], declares=declares):
                for script in _meant(path, by_name):
                    if script not in result or rank < result[script].rank:
                        result[script] = Mention(name, number, rank)
    return result


def _said(line: str, *, declares: bool) -> Iterator[str]:
    """Yield the script paths that a line runs; a module gives two paths."""
    modules = [match[1] for match in _RUNS_MODULE.finditer(line)]
    if declares:
        modules += [match[2] for match in _CONSOLE_SCRIPT.finditer(line)]
    else:
        yield from (match[1].removeprefix("./") for match in _RUNS.finditer(line))
    for module in modules:
        path = module.replace(".", "/")
        yield f"{path}.py"
        yield f"{path}/__main__.py"


def _meant(path: str, by_name: dict[str, list[str]]) -> list[str]:
    """Return the scripts that a path may name; its leading folders may be missing."""
    base = os.path.basename(path)
    return [
        one
        for one in by_name.get(base, ())
        if one == path
        or path.endswith("/" + one)
        or (
            one.endswith("/" + path) and ("/" in path or base not in ("__main__.py", "__init__.py"))
        )
    ]


def _files(folder: str) -> Iterator[tuple[str, int]]:
    """Yield the project's files that may run scripts, with their ranks."""
    count = 0
    for place in ("", *FOLDERS):
        for name in sorted(pushed.names_in(place or ".", root=folder)):
            rank = _rank(name.lower(), place)
            if rank is not None and count < FILES_LIMIT:
                count += 1
                yield os.path.join(place, name), rank


def _rank(name: str, place: str) -> int | None:
    for begin, rank in RANKS:
        if name == begin or (rank == 0 and (name.startswith(begin) or name.endswith(begin))):
            return rank
    if name.endswith((".sh", ".jenkinsfile")):
        return SHELL_RANK
    is_workflow = place.endswith("workflows") and name.endswith((".yml", ".yaml"))
    return WORKFLOW_RANK if is_workflow or name == ".gitlab-ci.yml" else None
