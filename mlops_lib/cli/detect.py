"""`mlops detect`: what was found, said to people or to programs, without waiting for the rest of
the program to load.
"""

from __future__ import annotations

import os
import sys

from mlops_lib.formatting import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PROJECT_SETTINGS = ("mlops.toml", "pyproject.toml")


def quickly(words: Sequence[str]) -> int | None:
    """Run `detect PROJECT [--entry FILE] [--json]` where nothing else has a say in it.

    Returns:
        The exit code, or None where settings, options or the project ask for the whole command.
    """
    asked = _asked(words)
    if asked is None or _is_configured(asked[0]):
        return None
    project, entry, as_json = asked
    from mlops_lib.detection.project import look
    from mlops_lib.errors import DetectionError

    try:
        found = look(project, entry=entry or None)
    except DetectionError as error:
        from mlops_lib.cli.answers import failed

        return failed(error, as_json=as_json)
    if as_json:
        import json

        said = json.dumps(found) + "\n"
    else:
        said = told(found)
    try:
        sys.stdout.write(said)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _asked(words: Sequence[str]) -> tuple[str, str, bool] | None:
    project = ""
    entry = ""
    as_json = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--json":
            as_json = True
        elif word == "--entry" and rest:
            entry = rest.pop(0)
        elif word.startswith("--entry="):
            entry = word.partition("=")[2]
        elif word.startswith("-") or project:
            return None
        else:
            project = word
    return (project, entry, as_json) if project else None


def _is_configured(project: str) -> bool:
    """Whether anything but the arguments may decide."""
    if any(name.startswith("MLOPS_") for name in os.environ):
        return True
    if os.path.exists(os.path.expanduser("~/.config/mlops/mlops.toml")):
        return True
    folder = os.path.expanduser(project)
    if not os.path.isdir(folder):
        return False
    return any(os.path.exists(os.path.join(folder, name)) for name in PROJECT_SETTINGS)


def told(found: dict[str, Any]) -> str:
    """What was found, for people: the conclusions, then for each what was seen and where."""
    families = ", ".join(found["families"]) or found["family"]
    lines = [
        f"{found['entry']}: {found['framework']}, {families}; environment {found['environment']['name']}"
    ]
    evidence = found["evidence"]
    places = [f"{one['file']}:{one['line']}" for one in evidence]
    width = min(max(map(len, places), default=0), 40)
    saw = min(max((len(one["saw"]) for one in evidence), default=0), 56)
    for place, one in zip(places, evidence, strict=True):
        lines.append(f"  {place:<{width}}  {one['saw']:<{saw}}  →  {one['means']}")
    if found["optional_imports"]:
        lines.append(f"  optional: {', '.join(found['optional_imports'])}")
    if found["args_needed"]:
        lines.append(f"  needs {found['args_needed']} argument(s): --args")
    if found["data_paths"]:
        lines.append(f"  reads {', '.join(found['data_paths'][:8])}")
    lines += [f"  warning: {warning}" for warning in found["warnings"]]
    return "".join(one_line(line) + "\n" for line in lines)
