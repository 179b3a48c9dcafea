"""The search's winner as a change to the developer's source: `suggested.patch`, or `best_model.py`
where that is too clever.

The runner writes down what it changed and where the script made it (`inside/search/winner.json`);
the host, which has the project, writes the patch. What the runner says is a claim: places must hold
the calls it names, and what is written is made of checked names and literals.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.detection import arguments
from mlops_lib.patching import best_model_script
from mlops_lib.patching import keras as keras_patch
from mlops_lib.patching import sklearn as sklearn_patch
from mlops_lib.patching.source import read_source
from mlops_lib.patching.winner_record import TooCleverError, Winner
from mlops_lib.runner import protocol

ARGUMENT = "argument.patch"
"""Makes a number of an argument that the script compares as text."""


def suggest(run_dir: Path, *, project: Path, entry: str = "") -> Path | None:
    """Write the winner as a patch of the project, or as a script of its own.

    Args:
        run_dir: the run directory; the file is written there.
        project: the project's folder, as it was trained.
        entry: the script that was trained; files that it does not reach are left alone. "" for any
            file.

    Returns:
        the file; None where the search changed nothing that can be said in code.
    """
    try:
        claim = atomic.read_json(
            run_dir / protocol.INSIDE / protocol.SEARCH / protocol.WINNER, inside=run_dir
        )
        winner = Winner.read(claim)
    except (OSError, ValueError):
        return None
    for name in (protocol.PATCH, protocol.BEST_SCRIPT):
        (run_dir / name).unlink(missing_ok=True)
    try:
        if winner.framework == "sklearn":
            made = sklearn_patch.changed(winner, project=project, entry=entry)
        else:
            made = keras_patch.changed(winner, project=project)
        patch = difference(project, made)
        if not patch:
            return None
        atomic.write_bytes(run_dir / protocol.PATCH, patch.encode())
        return run_dir / protocol.PATCH
    except TooCleverError as error:
        reason = str(error)
    try:
        write = sklearn_patch.script if winner.framework == "sklearn" else best_model_script.script
        text = write(winner, reason=reason)
    except TooCleverError:
        return None
    atomic.write_bytes(run_dir / protocol.BEST_SCRIPT, text.encode())
    return run_dir / protocol.BEST_SCRIPT


def mend_argument(run_dir: Path, *, project: Path, entry: str) -> tuple[str, Path] | None:
    """Write a patch that makes a number of the argument which the script compares as text.

    Args:
        run_dir: the run directory; the patch is written there.
        project: the project's folder.
        entry: the script.

    Returns:
        what is wrong, and the patch; None if nothing of the kind is.
    """
    try:
        source = read_source(project, entry)
        tree = ast.parse(source)
    except (TooCleverError, SyntaxError, ValueError):
        return None
    found = arguments.compared_as_text(tree)
    if not found or not entry.endswith(".py"):
        return None
    patch = difference(project, {entry: found[0].mended(source)})
    atomic.write_bytes(run_dir / ARGUMENT, patch.encode())
    said = f"the argument has no effect: it is text, compared with a number at line {found[0].line} (`{found[0].text}`)"
    return said, run_dir / ARGUMENT


def difference(project: Path, changed: Mapping[str, str]) -> str:
    """A unified diff that `git apply` takes, of files named relative to the project."""
    parts = []
    for name, after in sorted(changed.items()):
        before = read_source(project, name)
        lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
        parts += [_whole(line) for line in lines]
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """What `git` takes for lines; `str.splitlines` also ends one at a form feed."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _whole(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
