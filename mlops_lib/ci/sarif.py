"""Warnings of detection and the gate as SARIF 2.1.0.

Jenkins' Warnings plugin, GitHub and others read it:
https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

import mlops_lib
from mlops_lib.project import repository
from mlops_lib.records import Detection, Verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES = {
    "detection": "What is unclear or outdated in the code, or missing for it",
    "gate": "What a verdict on the trained model lacks or says",
}
"""Source of a warning to the subject of its warnings."""
_PLACE = re.compile(r"(?P<file>[^\s:][^:\n]*\.\w+):(?P<line>\d+): (?P<text>.+)", re.DOTALL)
_LIMIT = 2000
"""Characters of a message."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One warning with its place in the project."""

    rule: str
    level: Literal["warning", "note"]
    text: str
    file: str
    line: int


def log(detection: Detection, verdict: Verdict | None = None) -> dict[str, Any]:
    """Return the SARIF log of a project.

    Args:
        detection: the project's detection.
        verdict: the gate's verdict, if there is one.
    """
    folder = repository_folder(Path(detection.project))
    return _log(_issues(detection, verdict), folder=folder)


def empty() -> dict[str, Any]:
    """Return the log of a build that failed before detection."""
    return _log((), folder="")


def repository_folder(project: Path) -> str:
    """Return the project's folder within its repository; "" if it is the repository.

    Servers count paths from the repository's top.
    """
    checkout = repository.find(project)
    if checkout is None:
        return ""
    relative = project.resolve().relative_to(checkout.top).as_posix()
    return "" if relative == "." else relative


def _issues(detection: Detection, verdict: Verdict | None) -> Iterator[Issue]:
    entry = next(
        (
            evidence.line
            for evidence in detection.evidence
            if evidence.file == detection.entry and evidence.line
        ),
        1,
    )
    for warning in detection.warnings:
        match = _PLACE.fullmatch(warning)
        place = PurePosixPath(match["file"]) if match else None
        # A warning about a file outside the project, or none, is shown at the entry.
        if match is None or place is None or place.is_absolute() or ".." in place.parts:
            yield Issue(
                rule="detection", level="warning", text=warning, file=detection.entry, line=entry
            )
        else:
            line = max(1, int(match["line"]))
            yield Issue(
                rule="detection", level="warning", text=match["text"], file=match["file"], line=line
            )
    if verdict is not None:
        level: Literal["warning", "note"] = "note" if verdict.verdict == "accepted" else "warning"
        for reason in verdict.reasons or (verdict.verdict,):
            text = f"{verdict.verdict}: {reason}" if reason != verdict.verdict else reason
            yield Issue(rule="gate", level=level, text=text, file=detection.entry, line=entry)


def _log(issues: Iterable[Issue], *, folder: str) -> dict[str, Any]:
    names = list(RULES)
    rules = [
        {
            "id": f"mlops/{name}",
            "name": name.capitalize(),
            "shortDescription": {"text": RULES[name]},
        }
        for name in names
    ]
    driver = {"name": "mlops", "version": mlops_lib.__version__, "rules": rules}
    results = [_result(issue, names.index(issue.rule), folder) for issue in issues]
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(issue: Issue, rule: int, folder: str) -> dict[str, Any]:
    path = str(PurePosixPath(folder, issue.file))
    text = " ".join(issue.text.split())[:_LIMIT]
    # A digest of the text without its numbers: a warning that moved to another line stays the same.
    identity = hashlib.sha256(
        "\0".join((issue.rule, path, re.sub(r"\d+", "0", text))).encode(errors="replace")
    )
    place = {
        "artifactLocation": {"uri": quote(path, errors="replace")},
        "region": {"startLine": issue.line},
    }
    return {
        "ruleId": f"mlops/{issue.rule}",
        "ruleIndex": rule,
        "level": issue.level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"mlopsIssue/v1": identity.hexdigest()[:32]},
    }
