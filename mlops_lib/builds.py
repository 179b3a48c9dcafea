"""One build of a build server: how its stages ended, its result in a line, and the branch it is compared with.

The shared library of Jenkins names the build's own folder in `MLOPS_BUILD`; outside of a build nothing here has effect.

stages.jsonl        one line for each stage that ended, written by the command itself
mlops-branch.json   among the build's artifacts: what this branch has reached. A pull request's build gets the one of
                    the branch that it goes to in `MLOPS_AGAINST`
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlops_lib import durable, rundir
from mlops_lib.records import Record, RunSpec, Verdict

FOLDER = "MLOPS_BUILD"
ARTIFACTS = ".mlops/results"
"""Where in its workspace a build gathers what is kept of it (vars/mlopsResults.groovy)."""
AGAINST = "MLOPS_AGAINST"
STAGES = {
    "detect": "Detect environment", "build": "Build image", "train": "Train", "judge": "Gate",
    "search": "Tweak & retrain", "register": "Register", "notify": "Notify",
}  # fmt: skip
"""Verb to the stage's name; the other verbs are no stages."""
ANSWERS = (0, 6, 10)
"""Exit codes that are an answer: accepted, rejected, undecided."""


@dataclass(frozen=True, kw_only=True)
class Stage(Record):
    """How one stage of the build ended."""

    verb: str
    exit: int
    seconds: float
    what: str = ""
    """What was wrong."""


@dataclass(frozen=True, kw_only=True)
class Branch(Record):
    """What a branch has reached: the contents of mlops-branch.json."""

    schema: int = 1
    branch: str
    name: str
    """The model's."""
    commit: str | None = None
    verdict: str
    metric: str | None = None
    value: float | None = None
    target: float
    build: str = ""
    """Address of the build's page."""


def note(verb: str, *, exit_code: int, seconds: float, what: str, environ: Mapping[str, str] = os.environ) -> None:
    """Remember how a stage ended, for the build's test report."""
    folder = environ.get(FOLDER)
    if folder and verb in STAGES and Path(folder).is_dir():
        stage = Stage(verb=verb, exit=exit_code, seconds=round(seconds, 3), what=what)
        rundir.append(Path(folder) / "stages.jsonl", {**stage.to_json(), "time": round(time.time(), 3)})


def stages(environ: Mapping[str, str] = os.environ) -> list[Stage]:
    """The stages that have ended, in order; of one that was repeated, its last end."""
    folder = environ.get(FOLDER)
    lines = rundir.read_lines(Path(folder) / "stages.jsonl") if folder else []
    found: dict[str, Stage] = {}
    for line in lines:
        line.pop("time", None)
        stage = Stage.from_json(line)
        found[stage.verb] = stage
    return list(found.values())


def broken(environ: Mapping[str, str] = os.environ) -> Stage | None:
    """The stage that ended the build, where that was not the training itself: of that the run knows more."""
    failed = [one for one in stages(environ) if one.exit not in ANSWERS and one.verb not in ("train", "notify")]
    return failed[-1] if failed else None


def page(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The address of a file among the build's artifacts; "" outside of a build."""
    url = environ.get("BUILD_URL", "")
    return f"{url.rstrip('/')}/artifact/{ARTIFACTS}/{quote(name)}" if url and environ.get(FOLDER) else ""


def against(environ: Mapping[str, str] = os.environ) -> Branch | None:
    """What the branch that a pull request goes to has reached; None where that is not known."""
    try:
        return Branch.from_json(json.loads(environ.get(AGAINST) or "null"))
    except (ValueError, TypeError):
        return None


def rival(verdict: Verdict, spec: RunSpec, *, environ: Mapping[str, str] = os.environ) -> Branch | None:
    """The target branch's record, where it is about the same number of the same model."""
    branch = against(environ)
    same = branch is not None and (branch.name, branch.metric) == (spec.name, verdict.metric)
    return branch if same and branch is not None and branch.value is not None else None


def about(verdict: Verdict, spec: RunSpec, *, trials: int, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """What a build wants to know of a verdict; empty outside of a build.

    Returns:
        `summary`: the verdict in one line, for the build's description; `badge`: its number, for the build's name;
        `search`: whether a search comes next.
    """
    if not environ.get(FOLDER):
        return {}
    return {
        "summary": _summary(verdict, rival(verdict, spec, environ=environ)),
        "badge": verdict.verdict if verdict.value is None else f"{verdict.metric} {_number(verdict.value)}",
        "search": verdict.verdict == "rejected" and trials > 0,
    }


def _summary(verdict: Verdict, branch: Branch | None) -> str:
    parts = [f"{verdict.metric or 'no metric'} {_number(verdict.value)}", f"bar {_number(verdict.target)}"]
    if verdict.champion is not None:
        parts.append(f"champion {_number(verdict.champion)}")
    if branch is not None:
        parts.append(f"{branch.branch} {_number(branch.value)}")
    return f"{verdict.verdict}: {', '.join(parts)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def write_branch(
    path: Path, spec: RunSpec, verdict: Verdict, *, environ: Mapping[str, str] = os.environ
) -> Path | None:
    """Write mlops-branch.json and return its path; None where the build is not one of a branch."""
    branch = environ.get("BRANCH_NAME")
    if not branch:
        return None
    record = Branch(
        branch=branch, name=spec.name, commit=spec.commit, verdict=verdict.verdict, metric=verdict.metric,
        value=verdict.value, target=verdict.target, build=environ.get("BUILD_URL", ""),
    )  # fmt: skip
    durable.write_json(path, record.to_json())
    return path
