"""The fast path of `mlops detect`, which loads only what detection needs."""

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
    """Run `detect PROJECT [--entry FILE] [--json]` if no setting can influence it.

    Returns:
        The exit code, or None if other options or any settings are present: the whole command has
        to run then.
    """
    arguments = _parse(words)
    if arguments is None or _has_settings(arguments[0]):
        return None
    project, entry, as_json = arguments
    from mlops_lib.detection.project import look
    from mlops_lib.errors import DetectionError

    try:
        detection = look(project, entry=entry or None)
    except DetectionError as error:
        from mlops_lib.cli.answers import report_error

        return report_error(error, as_json=as_json)
    if as_json:
        import json

        answer = json.dumps(detection) + "\n"
    else:
        answer = describe(detection)
    try:
        sys.stdout.write(answer)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parse(words: Sequence[str]) -> tuple[str, str, bool] | None:
    """Return project, entry and `--json`, or None if there is any other argument."""
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


def _has_settings(project: str) -> bool:
    """Return whether a variable or a settings file may influence the detection."""
    if any(name.startswith("MLOPS_") for name in os.environ):
        return True
    if os.path.exists(os.path.expanduser("~/.config/mlops/mlops.toml")):
        return True
    folder = os.path.expanduser(project)
    if not os.path.isdir(folder):
        return False
    return any(os.path.exists(os.path.join(folder, name)) for name in PROJECT_SETTINGS)


def describe(detection: dict[str, Any]) -> str:
    """Return a detection's JSON as text: the conclusions, then the evidence for each."""
    families = ", ".join(detection["families"]) or detection["family"]
    environment = detection["environment"]["name"]
    lines = [
        f"{detection['entry']}: {detection['framework']}, {families}; environment {environment}"
    ]
    evidence = detection["evidence"]
    places = [f"{item['file']}:{item['line']}" for item in evidence]
    width = min(max(map(len, places), default=0), 40)
    saw_width = min(max((len(item["saw"]) for item in evidence), default=0), 56)
    for place, item in zip(places, evidence, strict=True):
        lines.append(f"  {place:<{width}}  {item['saw']:<{saw_width}}  →  {item['means']}")
    if detection["optional_imports"]:
        lines.append(f"  optional: {', '.join(detection['optional_imports'])}")
    if detection["args_needed"]:
        lines.append(f"  needs {detection['args_needed']} argument(s): --args")
    if detection["data_paths"]:
        lines.append(f"  reads {', '.join(detection['data_paths'][:8])}")
    lines += [f"  warning: {warning}" for warning in detection["warnings"]]
    return "".join(one_line(line) + "\n" for line in lines)
