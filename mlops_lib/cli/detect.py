"""The fast path of `mlops detect`, which loads only what detection needs.

It answers in half the time of the whole command, whose settings and records take as long to load as
the detection itself (docs/decisions/0062).
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
    """Run `detect PROJECT [--json]` if no setting can influence it.

    Returns:
        The exit code, or None if there are other arguments or any settings: the whole command has
        to run then.
    """
    projects = [word for word in words if word != "--json"]
    if len(projects) != 1 or projects[0].startswith("-") or _has_settings(projects[0]):
        return None
    project = projects[0]
    as_json = len(words) > 1
    from mlops_lib.detection.project import look
    from mlops_lib.errors import DetectionError

    try:
        detection = look(project)
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
