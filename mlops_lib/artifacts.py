"""What a build server keeps of a run: one folder with the report, the model, the patch, and the gate as JUnit XML.

index.html, style.css, …    the report, in the form that a strict content security policy allows
junit.xml                   the build's stages and the gate as test cases, for the server's trend graph
verdict.json                the verdict
mlops-branch.json           what this branch has reached, for builds of pull requests that go to it
model.keras | model.joblib  the model, where it is not too large to keep with every build
suggested.patch             what the search would change in the script
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from mlops_lib import builds, durable, rundir
from mlops_lib.records import RunSpec, Verdict
from mlops_lib.runner import protocol

MODEL_LIMIT = 512 * 1024 * 1024
"""Bytes; a larger model stays in the registry only."""

_COPIED = (*(f"{protocol.INSIDE}/{name}" for name in protocol.MODELS), protocol.PATCH, protocol.BEST_SCRIPT)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the test report."""

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""
    seconds: float = 0.0


def gather(run_dir: Path | None, folder: Path, *, model_limit: int = MODEL_LIMIT) -> list[Path]:
    """Put what a build server keeps of the run into `folder`, replacing what an earlier build left there.

    Works on a run that failed or is still under way, with what there is.

    Args:
        run_dir: the run directory; None for a build that failed before there was a run.
        folder: is created; files of an earlier run in it are removed.
        model_limit: bytes from which on a model is not copied.

    Returns:
        The files written by this function, the report's besides them.

    Raises:
        OSError: the folder cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written = [write_junit(run_dir, folder / "junit.xml")]
    if run_dir is None:
        return written
    from mlops_lib.reporting import report

    report(run_dir, folder=folder)
    verdict, spec = _verdict(run_dir), _spec(run_dir)
    if verdict is not None:
        durable.write_json(folder / protocol.VERDICT, verdict.to_json())
        written.append(folder / protocol.VERDICT)
    if verdict is not None and spec is not None:
        branch = builds.write_branch(folder / "mlops-branch.json", spec, verdict)
        written += [] if branch is None else [branch]
    for name in _COPIED:
        place = folder / Path(name).name
        if _copy(run_dir / name, place, inside=run_dir, limit=model_limit):
            written.append(place)
    return written


def write_junit(run_dir: Path | None, path: Path) -> Path:
    """Write the build's stages, the run's training and the gate as JUnit XML and return the path.

    A rejected verdict is a failed case and an undecided one a skipped case: the build's result is decided by the exit
    code, this is for the graph.
    """
    cases = [*_stages(), *(() if run_dir is None else _cases(run_dir))]
    name = "build" if run_dir is None else _name(run_dir)
    counts = {outcome: str(sum(case.outcome == outcome for case in cases)) for outcome in ("failed", "skipped")}
    suite = ElementTree.Element(
        "testsuite", name=name, tests=str(len(cases)), failures=counts["failed"], errors="0", skipped=counts["skipped"]
    )
    for case in cases:
        element = ElementTree.SubElement(
            suite, "testcase", classname=f"mlops.{name}", name=case.name, time=f"{case.seconds:.3f}"
        )
        if case.outcome != "passed":
            tag = "failure" if case.outcome == "failed" else "skipped"
            ElementTree.SubElement(element, tag, message=_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", case.message))
        elif case.message:
            ElementTree.SubElement(element, "system-out").text = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", case.message)
    durable.write_bytes(path, ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
    return path


def _stages() -> Iterator[Case]:
    for stage in builds.stages():
        answered = stage.exit in builds.ANSWERS
        yield Case(
            name=f"stage {builds.STAGES[stage.verb]}", outcome="passed" if answered else "failed",
            message=stage.what, seconds=stage.seconds,
        )  # fmt: skip


def _cases(run_dir: Path) -> Iterator[Case]:
    trained = (run_dir / protocol.INSIDE / protocol.METRICS).is_file()
    yield Case(
        name="the training ends well",
        outcome="passed" if trained else "failed",
        message="" if trained else "The script did not end by itself without an error; log.txt says how it ended.",
    )
    verdict = _verdict(run_dir)
    if verdict is None:
        yield Case(name="the model meets the bar", outcome="skipped", message="It was not judged.")
        return
    outcomes: dict[str, Literal["passed", "failed", "skipped"]] = {
        "accepted": "passed",
        "rejected": "failed",
        "undecided": "skipped",
    }
    yield Case(
        name="the model meets the bar", outcome=outcomes[verdict.verdict], message="\n".join(verdict.reasons) or "-"
    )
    yield Case(
        name="the saved model gives the same number",
        outcome="passed" if verdict.recomputed else "skipped",
        message="" if verdict.recomputed else "It was not recomputed.",
    )
    if verdict.baseline is not None and verdict.value is not None:
        better = protocol.is_better(verdict.value, verdict.baseline.value, verdict.mode)
        yield Case(
            name="the model is better than one that looks at nothing",
            outcome="passed" if better else "failed",
            message=f"{verdict.metric} {verdict.value:g}; {verdict.baseline.name} {verdict.baseline.value:g}",
        )
    spec = _spec(run_dir)
    branch = None if spec is None else builds.rival(verdict, spec)
    if branch is not None and branch.value is not None and verdict.value is not None:
        worse = protocol.is_better(branch.value, verdict.value, verdict.mode)
        yield Case(
            name="the model is at least as good as the target branch's", outcome="failed" if worse else "passed",
            message=f"{verdict.metric} {verdict.value:g}; {branch.branch} {branch.value:g}",
        )  # fmt: skip


def _verdict(run_dir: Path) -> Verdict | None:
    return rundir.read_record(run_dir / protocol.VERDICT, Verdict)


def _spec(run_dir: Path) -> RunSpec | None:
    return rundir.read_record(run_dir / protocol.SPEC, RunSpec)


def _name(run_dir: Path) -> str:
    spec = _spec(run_dir)
    return run_dir.name if spec is None else spec.name


def _copy(source: Path, target: Path, *, inside: Path, limit: int) -> bool:
    """Copy a file that the script may have written, if it is a regular one of at most `limit` bytes."""
    try:
        reading = durable.open_regular(source, inside=inside)
    except OSError:
        return False
    with reading, target.open("wb") as writing:
        left = limit
        while chunk := reading.read(min(left + 1, 1 << 20)):
            left -= len(chunk)
            if left < 0:
                break
            writing.write(chunk)
    if left < 0:
        target.unlink()
    return left >= 0
