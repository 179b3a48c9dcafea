"""A build on a build server: its stages, its summary, and its target branch.

Jenkins' shared library names the build's folder in `MLOPS_BUILD`; outside of a build nothing here
has an effect.

    stages.jsonl      in the build's folder: a line per finished stage, written by the command
    itself
    MLOPS_OUTCOME     the build's state as JSON: its result so far and its reason
    <home>/branches/  the result of each branch and model, for builds of pull requests
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlops_lib import atomic, event_log, run_directory
from mlops_lib.formatting import one_line
from mlops_lib.gate import verdicts
from mlops_lib.records import Record, RunSpec, Verdict

FOLDER = "MLOPS_BUILD"
ARTIFACTS = ".mlops/results"
"""Folder of the artifacts in a build's workspace (vars/mlopsResults.groovy)."""
OUTCOME = "MLOPS_OUTCOME"
STAGES = {
    "detect": "Detect environment",
    "build": "Build image",
    "train": "Train",
    "judge": "Gate",
    "search": "Tweak & retrain",
    "register": "Register",
    "notify": "Notify",
}
"""CLI verb to the name of its stage; other verbs are no stages."""
ANSWERS = (0, 6, 10)
"""Exit codes that are an answer: accepted, rejected, undecided."""


@dataclass(frozen=True, kw_only=True)
class Stage(Record):
    """The end of one stage of the build."""

    verb: str
    exit: int
    seconds: float
    what: str = ""
    """The error's message."""

    @property
    def name(self) -> str:
        """The stage's name in the build."""
        return STAGES.get(self.verb, "The build")

    @property
    def reason(self) -> str:
        """The cause of its failure, in words."""
        if self.what:
            return self.what
        return (
            f"it was killed by signal {self.exit - 128}" if self.exit > 128 else f"exit {self.exit}"
        )


@dataclass(frozen=True, kw_only=True)
class Outcome(Record):
    """The build's state as Jenkins reports it."""

    result: str = ""
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Branch(Record):
    """The result of a branch's last good build."""

    schema: int = 1
    branch: str
    name: str
    """The model's name."""
    commit: str | None = None
    verdict: str
    metric: str | None = None
    value: float | None = None
    target: float
    build: str = ""
    """URL of the build's page."""


def record_stage(
    verb: str, *, exit_code: int, seconds: float, what: str, environ: Mapping[str, str] = os.environ
) -> None:
    """Record the end of a stage, for the build's test report."""
    folder = environ.get(FOLDER)
    # Outside of a build there is no test report.
    if folder and verb in STAGES and Path(folder).is_dir():
        stage = Stage(verb=verb, exit=exit_code, seconds=round(seconds, 3), what=what)
        event_log.append(
            Path(folder) / "stages.jsonl", {**stage.to_json(), "time": round(time.time(), 3)}
        )


def stages(environ: Mapping[str, str] = os.environ) -> list[Stage]:
    """Return the finished stages in order; of a repeated stage, its last end."""
    folder = environ.get(FOLDER)
    # A stage that was restarted appears twice; its last end counts, in its first place.
    lines = event_log.read_lines(Path(folder) / "stages.jsonl") if folder else []
    latest: dict[str, Stage] = {}
    for line in lines:
        line.pop("time", None)
        stage = Stage.from_json(line)
        latest[stage.verb] = stage
    return list(latest.values())


def outcome(environ: Mapping[str, str] = os.environ) -> Outcome:
    """Return the build's state; empty outside of a build."""
    try:
        return Outcome.from_json(json.loads(environ.get(OUTCOME) or "{}"))
    except ValueError:
        return Outcome()


def failure(environ: Mapping[str, str] = os.environ) -> Stage | None:
    """Return the stage that failed the build, or None.

    A command that was killed could not record its end. The build's own reason, which begins with
    the stage, is then used.
    """
    failures = [
        stage for stage in stages(environ) if stage.exit not in ANSWERS and stage.verb != "notify"
    ]
    if failures:
        return failures[-1]
    build = outcome(environ)
    # An aborted build has no stage at fault.
    if build.result != "FAILURE":
        return None
    stage, _, what = (build.reason or "").partition(": ")
    verb = next((verb for verb, name in STAGES.items() if name == stage), "")
    return Stage(
        verb=verb, exit=1, seconds=0.0, what=what if verb else build.reason or "its log says why"
    )


def artifact_url(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the URL of a file among the build's artifacts; "" outside of a build."""
    url = environ.get("BUILD_URL", "")
    return (
        f"{url.rstrip('/')}/artifact/{ARTIFACTS}/{quote(name)}"
        if url and environ.get(FOLDER)
        else ""
    )


def target_branch(
    verdict: Verdict, spec: RunSpec, *, home: Path, environ: Mapping[str, str] = os.environ
) -> Branch | None:
    """Return the result of the pull request's target branch, or None.

    It must be for the same metric of the same model.
    """
    target = environ.get("CHANGE_TARGET")
    branch = run_directory.read_record(_place(home, spec.name, target), Branch) if target else None
    # A branch may have changed its metric since; two metrics cannot be compared.
    is_comparable = branch is not None and (branch.name, branch.metric) == (
        spec.name,
        verdict.metric,
    )
    return branch if is_comparable and branch is not None and branch.value is not None else None


def about(
    verdict: Verdict,
    spec: RunSpec,
    *,
    trials: int,
    home: Path,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Return a build's view of a verdict; empty outside of a build.

    Returns:
        `summary`: the verdict in one line, for the build's description; `badge`: its number, for
        the build's name; `search`: whether a search comes next.
    """
    if not environ.get(FOLDER):
        return {}
    badge = (
        verdict.verdict if verdict.value is None else f"{verdict.metric} {number(verdict.value)}"
    )
    return {
        "summary": one_line(
            _summary(verdict, target_branch(verdict, spec, home=home, environ=environ))
        ),
        "badge": one_line(badge),
        "search": verdicts.is_searched(verdict) and trials > 0,
    }


def _summary(verdict: Verdict, branch: Branch | None) -> str:
    parts = [
        f"{verdict.metric or 'no metric'} {number(verdict.value)}",
        f"bar {number(verdict.target)}",
    ]
    if verdict.champion is not None:
        parts.append(f"champion {number(verdict.champion)}")
    if branch is not None:
        parts.append(f"{branch.branch} {number(branch.value)}")
    return f"{verdict.verdict}: {', '.join(parts)}"


def number(value: float | None) -> str:
    """Format a number for a build."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def remember_branch(
    spec: RunSpec, verdict: Verdict, *, home: Path, environ: Mapping[str, str] = os.environ
) -> Path | None:
    """Store the result of the build's branch, and return the file.

    None if the build failed, or is not the build of a branch.
    """
    branch = environ.get("BRANCH_NAME")
    # A pull request's build has a BRANCH_NAME too ("PR-12"); it is no branch to compare with.
    if (
        not branch
        or "CHANGE_ID" in environ
        or outcome(environ).result in ("FAILURE", "ABORTED", "NOT_BUILT")
    ):
        return None
    record = Branch(
        branch=branch,
        name=spec.name,
        commit=spec.commit,
        verdict=verdict.verdict,
        metric=verdict.metric,
        value=verdict.value,
        target=verdict.target,
        build=environ.get("BUILD_URL", ""),
    )
    path = _place(home, spec.name, branch)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, record.to_json())
    return path


def _place(home: Path, name: str, branch: str) -> Path:
    """Return the path of a branch's record.

    Names may contain any character, so the file is named by a digest.
    """
    digest = hashlib.sha256(f"{name}\0{branch}".encode("utf-8", "surrogatepass")).hexdigest()
    return home / "branches" / f"{digest[:32]}.json"
