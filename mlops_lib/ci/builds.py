"""One build of a build server: how its stages ended, its result in a line, and the branch it is
compared with.

The shared library of Jenkins names the build's own folder in `MLOPS_BUILD`; outside of a build
nothing here has effect.

stages.jsonl        in the build's folder: one line for each stage that ended, written by the command itself
MLOPS_OUTCOME       how the build stands, as JSON: its result so far, and what it shows as the reason
<home>/branches/    what each branch of each model has reached, for builds of pull requests that go to it
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
"""Where in its workspace a build gathers what is kept of it (vars/mlopsResults.groovy)."""
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

    @property
    def name(self) -> str:
        """The stage as the build shows it."""
        return STAGES.get(self.verb, "The build")

    @property
    def reason(self) -> str:
        """What was wrong, in words."""
        if self.what:
            return self.what
        return (
            f"it was killed by signal {self.exit - 128}" if self.exit > 128 else f"exit {self.exit}"
        )


@dataclass(frozen=True, kw_only=True)
class Outcome(Record):
    """How the build stands, as Jenkins knows it."""

    result: str = ""
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Branch(Record):
    """What a branch has reached, as its last good build has remembered it."""

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


def note(
    verb: str, *, exit_code: int, seconds: float, what: str, environ: Mapping[str, str] = os.environ
) -> None:
    """Remember how a stage ended, for the build's test report."""
    folder = environ.get(FOLDER)
    if folder and verb in STAGES and Path(folder).is_dir():
        stage = Stage(verb=verb, exit=exit_code, seconds=round(seconds, 3), what=what)
        event_log.append(
            Path(folder) / "stages.jsonl", {**stage.to_json(), "time": round(time.time(), 3)}
        )


def stages(environ: Mapping[str, str] = os.environ) -> list[Stage]:
    """The stages that have ended, in order; of one that was repeated, its last end."""
    folder = environ.get(FOLDER)
    lines = event_log.read_lines(Path(folder) / "stages.jsonl") if folder else []
    found: dict[str, Stage] = {}
    for line in lines:
        line.pop("time", None)
        stage = Stage.from_json(line)
        found[stage.verb] = stage
    return list(found.values())


def outcome(environ: Mapping[str, str] = os.environ) -> Outcome:
    """How the build stands; empty outside of one."""
    try:
        return Outcome.from_json(json.loads(environ.get(OUTCOME) or "{}"))
    except ValueError:
        return Outcome()


def failure(environ: Mapping[str, str] = os.environ) -> Stage | None:
    """The stage that has failed the build, or None.

    A command that was killed could not note its end; then the build's own reason counts, which
    begins with the stage.
    """
    failed = [one for one in stages(environ) if one.exit not in ANSWERS and one.verb != "notify"]
    if failed:
        return failed[-1]
    build = outcome(environ)
    if build.result != "FAILURE":
        return None
    stage, _, what = (build.reason or "").partition(": ")
    verb = next((verb for verb, name in STAGES.items() if name == stage), "")
    return Stage(
        verb=verb, exit=1, seconds=0.0, what=what if verb else build.reason or "its log says why"
    )


def page(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The address of a file among the build's artifacts; "" outside of a build."""
    url = environ.get("BUILD_URL", "")
    return (
        f"{url.rstrip('/')}/artifact/{ARTIFACTS}/{quote(name)}"
        if url and environ.get(FOLDER)
        else ""
    )


def rival(
    verdict: Verdict, spec: RunSpec, *, home: Path, environ: Mapping[str, str] = os.environ
) -> Branch | None:
    """What the branch that a pull request goes to has reached, if that is the same number of the
    same model.
    """
    target = environ.get("CHANGE_TARGET")
    branch = run_directory.read_record(_place(home, spec.name, target), Branch) if target else None
    same = branch is not None and (branch.name, branch.metric) == (spec.name, verdict.metric)
    return branch if same and branch is not None and branch.value is not None else None


def about(
    verdict: Verdict,
    spec: RunSpec,
    *,
    trials: int,
    home: Path,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """What a build wants to know of a verdict; empty outside of a build.

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
        "summary": one_line(_summary(verdict, rival(verdict, spec, home=home, environ=environ))),
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
    """A number as a build shows it."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def remember_branch(
    spec: RunSpec, verdict: Verdict, *, home: Path, environ: Mapping[str, str] = os.environ
) -> Path | None:
    """Remember what the build's branch has reached and return the file; None if it is no good build
    of a branch.
    """
    branch = environ.get("BRANCH_NAME")
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
    """The record of a branch; names may hold anything, digests may not."""
    digest = hashlib.sha256(f"{name}\0{branch}".encode("utf-8", "surrogatepass")).hexdigest()
    return home / "branches" / f"{digest[:32]}.json"
