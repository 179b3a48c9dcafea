"""The search's winner as a change to the developer's source.

The result is `suggested.patch`, or `best_model.py` if the source cannot be patched. The runner
records its changes and the places in the script that made the model (`inside/search/winner.json`);
the host, which has the project, writes the patch. The record is a claim: each place must hold the
call that it names, and the text written is built from validated names and literals.
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
from mlops_lib.patching import pytorch as pytorch_patch
from mlops_lib.patching import sklearn as sklearn_patch
from mlops_lib.patching.source import read_source
from mlops_lib.patching.winner_record import UnpatchableError, Winner
from mlops_lib.runner import protocol

SCRIPTS = {
    "keras": best_model_script.script,
    "sklearn": sklearn_patch.script,
    "pytorch": pytorch_patch.script,
}
"""What writes a winner without a patch."""
ARGUMENT = "argument.patch"
"""Patch that converts an argument, which the script compares as text, to a number."""


def suggest(run_dir: Path, *, project: Path, entry: str = "") -> Path | None:
    """Write the winner as a patch of the project, or as a separate script.

    Args:
        run_dir: the run directory; the file is written there.
        project: the project's folder, as it was trained.
        entry: the script that was trained; files that it does not reach are left alone. "" for any
            file.

    Returns:
        The file; None if the search changed nothing that code can express.
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
            changed_files = sklearn_patch.patched_files(winner, project=project, entry=entry)
        elif winner.framework == "pytorch":
            changed_files = pytorch_patch.patched_files(winner, project=project)
        else:
            changed_files = keras_patch.patched_files(winner, project=project)
        patch = difference(project, changed_files)
        if not patch:
            return None
        atomic.write_bytes(run_dir / protocol.PATCH, patch.encode())
        return run_dir / protocol.PATCH
    except UnpatchableError as error:
        reason = str(error)
    try:
        text = SCRIPTS[winner.framework](winner, reason=reason)
    except UnpatchableError:
        return None
    atomic.write_bytes(run_dir / protocol.BEST_SCRIPT, text.encode())
    return run_dir / protocol.BEST_SCRIPT


def fix_argument(run_dir: Path, *, project: Path, entry: str) -> tuple[str, Path] | None:
    """Write a patch for an argument that the script compares with numbers as text.

    Args:
        run_dir: the run directory; the patch is written there.
        project: the project's folder.
        entry: the script.

    Returns:
        The description of the fault, and the patch; None if the script has no such fault.
    """
    try:
        source = read_source(project, entry)
        tree = ast.parse(source)
    except (UnpatchableError, SyntaxError, ValueError):
        return None
    comparisons = arguments.compared_as_text(tree)
    if not comparisons or not entry.endswith(".py"):
        return None
    patch = difference(project, {entry: comparisons[0].mended(source)})
    atomic.write_bytes(run_dir / ARGUMENT, patch.encode())
    message = (
        "the argument has no effect: it is text, compared with a number at line "
        f"{comparisons[0].line} (`{comparisons[0].text}`)"
    )
    return message, run_dir / ARGUMENT


def difference(project: Path, changed: Mapping[str, str]) -> str:
    """Return a unified diff for `git apply`, with paths relative to the project."""
    parts = []
    for name, after in sorted(changed.items()):
        before = read_source(project, name)
        lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
        parts += [_with_newline(line) for line in lines]
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """Split a text into lines as git does: `str.splitlines` also splits at form feeds."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _with_newline(line: str) -> str:
    return line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
