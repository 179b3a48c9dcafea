"""What a build server keeps of a run: one folder with the report, the model, the patch, and the
gate as JUnit XML.

report/index.html, …        the report, in the form that a strict content security policy allows
junit.xml                   the build's stages and the gate as test cases, for the server's trend graph
verdict.json                the verdict
warnings.sarif              what detection and the gate warn about (SARIF)
model.keras | model.joblib  the model, where it is not too large to keep with every build
suggested.patch             what the search would change in the script
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
    """One line of the test report."""

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
    """Put what a build server keeps of the run into `folder`, replacing what an earlier build left
    there.

    Works on a run that failed or is still under way, with what there is.

    Args:
        run_dir: the run directory; None for a build that failed before there was a run.
        folder: is created; what this function has put there for an earlier run is removed.
        home: folder of mlops' own files, where branches are remembered.
        project: the project's folder, below which nothing is written through a link.
        model_limit: bytes from which on a model is not copied.

    Returns:
        The files written by this function, the report's besides them.

    Raises:
        OSError: the folder cannot be written.
        UsageError: it holds other files, or a push has put a link in its place.
    """
    folder = places.fresh_folder(folder, project=project, names=_WRITTEN)
    against = None if run_dir is None or home is None else rival(run_dir, home=home)
    written = [write_junit(run_dir, folder / "junit.xml", against=against)]
    detection = None if run_dir is None else RunDirectory(run_dir).detection
    verdict = None if run_dir is None else _verdict(run_dir)
    atomic.write_json(
        folder / WARNINGS, sarif.empty() if detection is None else sarif.log(detection, verdict)
    )
    written.append(folder / WARNINGS)
    if run_dir is None:
        return written
    from mlops_lib.reporting import report

    report(run_dir, folder=folder / "report", against=against)
    spec = _spec(run_dir)
    if verdict is not None:
        atomic.write_json(folder / protocol.VERDICT, verdict.to_json())
        written.append(folder / protocol.VERDICT)
    if verdict is not None and spec is not None and home is not None:
        builds.remember_branch(spec, verdict, home=home)
    for name in _COPIED:
        place = folder / Path(name).name
        if _copy(run_dir / name, place, inside=run_dir, limit=model_limit):
            written.append(place)
    return written


def rival(run_dir: Path, *, home: Path) -> builds.Branch | None:
    """What the branch that the build's pull request goes to has reached, or None."""
    verdict = _verdict(run_dir)
    spec = _spec(run_dir)
    return None if verdict is None or spec is None else builds.rival(verdict, spec, home=home)


def write_junit(run_dir: Path | None, path: Path, *, against: builds.Branch | None = None) -> Path:
    """Write the build's stages, the run's training and the gate as JUnit XML and return the path.

    A rejected verdict is a failed case and an undecided one a skipped case: the build's result is
    decided by the exit code, this is for the graph.
    """
    cases = [*_stages(), *(() if run_dir is None else _cases(run_dir, against))]
    name = _xml("build" if run_dir is None else one_line(_name(run_dir)))
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
        stages.append(failure)  # its command was killed before it could note how it ended
    aborted = builds.outcome().result == "ABORTED"
    for stage in stages:
        broken: Outcome = "skipped" if aborted and stage.exit > 128 else "failed"
        answered = stage.exit in builds.ANSWERS
        yield Case(
            name=f"stage {stage.name}",
            outcome="passed" if answered else broken,
            message=stage.what if answered else stage.reason,
            seconds=stage.seconds,
        )


def _training(run_dir: Path) -> Case:
    """The case of the training: how it ended, or where it stands if nobody let it end."""
    name = "the training ends well"
    if (run_dir / protocol.INSIDE / protocol.METRICS).is_file():
        return Case(name=name, outcome="passed")
    result = RunDirectory(run_dir).training
    if result is not None and result.failure is not None:
        return Case(
            name=name,
            outcome="failed",
            message=result.failure.message or "log.txt says how it ended",
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
    independently = verdict.measured == second_measurement.INDEPENDENTLY
    yield Case(
        name="the saved model's number is measured independently",
        outcome="passed" if independently else "skipped",
        message=f"Measured {second_measurement.measured_by(verdict) or 'by nobody known'}.",
    )
    if verdict.baseline is not None and verdict.value is not None:
        better = protocol.is_better(verdict.value, verdict.baseline.value, verdict.mode)
        yield Case(
            name="the model is better than one that looks at nothing",
            outcome="passed" if better else "failed",
            message=f"{verdict.metric} {verdict.value:g}; {verdict.baseline.name} {verdict.baseline.value:g}",
        )
    if against is not None and against.value is not None and verdict.value is not None:
        worse = protocol.is_better(against.value, verdict.value, verdict.mode)
        yield Case(
            name="the model is at least as good as the target branch's",
            outcome="failed" if worse else "passed",
            message=f"{verdict.metric} {verdict.value:g}, against target branch {against.branch} {against.value:g}",
        )


def _verdict(run_dir: Path) -> Verdict | None:
    return RunDirectory(run_dir).verdict


def _spec(run_dir: Path) -> RunSpec | None:
    return RunDirectory(run_dir).spec


def _name(run_dir: Path) -> str:
    spec = _spec(run_dir)
    return run_dir.name if spec is None else spec.name


def _copy(source: Path, target: Path, *, inside: Path, limit: int) -> bool:
    """Copy a file that the script may have written, if it is a regular one of at most `limit`
    bytes.
    """
    try:
        reading = atomic.open_regular(source, inside=inside)
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
