"""The artifacts of a build: one folder with report, model, patch and test results.

report/index.html, …        the report, in the form that a strict content security policy allows
junit.xml                   the build's stages and the gate as test cases, for the server's
trend graph
verdict.json                the verdict
warnings.sarif              warnings of detection and the gate (SARIF)
model.keras | model.joblib  the model, unless it is too large to keep with every build
suggested.patch             the search's change as a patch of the script
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from mlops_lib import atomic
from mlops_lib.ci import builds, sarif
from mlops_lib.formatting import one_line, printable
from mlops_lib.gate import second_measurement
from mlops_lib.project import places
from mlops_lib.records import RunSpec, Verdict
from mlops_lib.reporting import report
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import resumption

WARNINGS = "warnings.sarif"
MODEL_LIMIT = 512 * 1024 * 1024
"""Bytes; a larger model stays in the registry only."""

_COPIED = (
    *(f"{protocol.INSIDE}/{name}" for name in protocol.MODELS),
    protocol.PATCH,
    protocol.BEST_SCRIPT,
)
_WRITTEN = (*(Path(name).name for name in _COPIED), "junit.xml", WARNINGS, protocol.VERDICT)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test case of the JUnit report."""

    name: str
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0


def gather(
    run_dir: Path | None,
    folder: Path,
    *,
    home: Path | None = None,
    project: Path | None = None,
    model_limit: int = MODEL_LIMIT,
) -> list[Path]:
    """Collect a run's artifacts in `folder`, replacing those of an earlier build.

    If the run failed or is still running, the artifacts so far are collected.

    Args:
        run_dir: the run directory; None for a build that failed before there was a run.
        folder: is created; files that this function wrote for an earlier run are removed.
        home: folder of mlops' own files, which holds the results of branches.
        project: the project's folder; nothing below it is written through a link.
        model_limit: largest model that is copied, in bytes.

    Returns:
        The paths of the written files, without the report's.

    Raises:
        OSError: the folder cannot be written.
        UsageError: it holds other files, or a push has put a link in its place.
    """
    folder = places.fresh_folder(folder, project=project, names=_WRITTEN)
    against = None if run_dir is None or home is None else target_branch(run_dir, home=home)
    paths = [write_junit(run_dir, folder / "junit.xml", against=against)]
    detection = None if run_dir is None else RunDirectory(run_dir).detection
    verdict = None if run_dir is None else _verdict(run_dir)
    atomic.write_json(
        folder / WARNINGS, sarif.empty() if detection is None else sarif.log(detection, verdict)
    )
    paths.append(folder / WARNINGS)
    if run_dir is None:
        return paths
    report(run_dir, folder=folder / "report", against=against)
    spec = _spec(run_dir)
    if verdict is not None:
        atomic.write_json(folder / protocol.VERDICT, verdict.to_json())
        paths.append(folder / protocol.VERDICT)
    # For later pull requests, which compare themselves with their target branch.
    if verdict is not None and spec is not None and home is not None:
        builds.remember_branch(spec, verdict, home=home)
    for name in _COPIED:
        place = folder / Path(name).name
        if _copy(run_dir / name, place, inside=run_dir, limit=model_limit):
            paths.append(place)
    return paths


def target_branch(run_dir: Path, *, home: Path) -> builds.Branch | None:
    """Return the result of the target branch of the build's pull request, or None."""
    verdict = _verdict(run_dir)
    spec = _spec(run_dir)
    return (
        None if verdict is None or spec is None else builds.target_branch(verdict, spec, home=home)
    )


def write_junit(run_dir: Path | None, path: Path, *, against: builds.Branch | None = None) -> Path:
    """Write the stages, the training and the gate as JUnit XML, and return the path.

    A rejected verdict is a failed case, an undecided one a skipped case. The file only feeds the
    server's graph; the build's result follows from the exit code.
    """
    cases = [*_stages(), *(() if run_dir is None else _cases(run_dir, against))]
    name = _xml("build" if run_dir is None else one_line(_name(run_dir)))
    # In the schema of Jenkins' JUnit plugin the counts are attributes of the suite.
    counts = {
        outcome: str(sum(case.outcome == outcome for case in cases))
        for outcome in ("failed", "skipped")
    }
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=counts["failed"],
        errors="0",
        skipped=counts["skipped"],
    )
    for case in cases:
        element = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"mlops.{name}",
            name=_xml(one_line(case.name)),
            time=f"{case.seconds:.3f}",
        )
        if case.outcome != "passed":
            tag = "failure" if case.outcome == "failed" else "skipped"
            ElementTree.SubElement(element, tag, message=_xml(printable(case.message)))
        elif case.message:
            ElementTree.SubElement(element, "system-out").text = _xml(printable(case.message))
    atomic.write_bytes(path, ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
    return path


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _stages() -> Iterator[Case]:
    stages = builds.stages()
    failure = builds.failure()
    if failure is not None and failure.verb not in [stage.verb for stage in stages]:
        stages.append(failure)  # its command was killed before it could record its end
    aborted = builds.outcome().result == "ABORTED"
    for stage in stages:
        unsuccessful: Outcome = "skipped" if aborted and stage.exit > 128 else "failed"
        has_answer = stage.exit in builds.ANSWERS
        yield Case(
            name=f"stage {stage.name}",
            outcome="passed" if has_answer else unsuccessful,
            message=stage.what if has_answer else stage.reason,
            seconds=stage.seconds,
        )


def _training(run_dir: Path) -> Case:
    """Return the case of the training: its end, or its progress if it has none."""
    name = "the training ends well"
    if (run_dir / protocol.INSIDE / protocol.METRICS).is_file():
        return Case(name=name, outcome="passed")
    result = RunDirectory(run_dir).training
    if result is not None and result.failure is not None:
        return Case(
            name=name,
            outcome="failed",
            message=result.failure.message or "see the end of log.txt",
        )
    return Case(name=name, outcome="skipped", message=resumption.words(run_dir))


def _cases(run_dir: Path, against: builds.Branch | None) -> Iterator[Case]:
    yield _training(run_dir)
    verdict = _verdict(run_dir)
    if verdict is None:
        yield Case(name="the model meets the bar", outcome="skipped", message="It was not judged.")
        return
    outcomes: dict[str, Outcome] = {
        "accepted": "passed",
        "rejected": "failed",
        "undecided": "skipped",
    }
    yield Case(
        name="the model meets the bar",
        outcome=outcomes[verdict.verdict],
        message="\n".join(verdict.reasons) or "-",
    )
    is_independent = verdict.measured == second_measurement.INDEPENDENTLY
    yield Case(
        name="the saved model's number is measured independently",
        outcome="passed" if is_independent else "skipped",
        message=f"Measured {second_measurement.measured_by(verdict) or 'by an unknown process'}.",
    )
    if verdict.baseline is not None and verdict.value is not None:
        is_better = protocol.is_better(verdict.value, verdict.baseline.value, verdict.mode)
        yield Case(
            name="the model is better than one that looks at nothing",
            outcome="passed" if is_better else "failed",
            message=(
                f"{verdict.metric} {verdict.value:g}; {verdict.baseline.name} "
                f"{verdict.baseline.value:g}"
            ),
        )
    if against is not None and against.value is not None and verdict.value is not None:
        is_worse = protocol.is_better(against.value, verdict.value, verdict.mode)
        yield Case(
            name="the model is at least as good as the target branch's",
            outcome="failed" if is_worse else "passed",
            message=(
                f"{verdict.metric} {verdict.value:g}, against target branch {against.branch} "
                f"{against.value:g}"
            ),
        )


def _verdict(run_dir: Path) -> Verdict | None:
    return RunDirectory(run_dir).verdict


def _spec(run_dir: Path) -> RunSpec | None:
    return RunDirectory(run_dir).spec


def _name(run_dir: Path) -> str:
    spec = _spec(run_dir)
    return run_dir.name if spec is None else spec.name


def _copy(source: Path, target: Path, *, inside: Path, limit: int) -> bool:
    """Copy an untrusted file if it is a regular one of at most `limit` bytes.

    Return whether it was copied.
    """
    try:
        reading = atomic.open_regular(source, inside=inside)
    except OSError:
        return False
    with reading, target.open("wb") as writing:
        remaining = limit
        while chunk := reading.read(min(remaining + 1, 1 << 20)):
            remaining -= len(chunk)
            if remaining < 0:
                break
            writing.write(chunk)
    if remaining < 0:
        target.unlink()
    return remaining >= 0
