"""List runs, and compare two of them."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from mlops_lib import run_directory, run_lock
from mlops_lib.records import Record, RunResult, RunSpec, Verdict
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log

STATES = ("accepted", "rejected", "undecided", "failed", "stopped", "running", "unfinished")


@dataclass(frozen=True, kw_only=True)
class RunSummary(Record):
    """One line about a run."""

    name: str
    state: str
    """One of `STATES`."""
    verdict: str | None
    metric: str | None
    value: float | None
    target: float | None
    created: float
    """Unix time in seconds."""
    run_dir: str


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """One property of two runs."""

    what: str
    first: str
    second: str

    @property
    def same(self) -> bool:
        """Return whether both runs have the same value."""
        return self.first == self.second


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """Two runs side by side."""

    schema: int = 1
    first: str
    second: str
    """Their run directories."""
    rows: tuple[Difference, ...]
    layers: tuple[str, ...] = ()
    """Differences of the architectures, as lines of a diff; empty if they are equal."""


def runs(home: Path, *, state: str = "", name: str = "") -> list[RunSummary]:
    """Return the runs of a home, oldest first.

    Args:
        home: folder of mlops' own files.
        state: only runs in this state, one of `STATES`; "" for all.
        name: only names that match this pattern, with `*` and `?`; "" for all.
    """
    root = home / "runs"
    matches = []
    for place in root.iterdir() if root.is_dir() else ():
        run = summary(place)
        if run is None or state not in ("", run.state):
            continue
        if fnmatch.fnmatchcase(run.name, name or "*"):
            matches.append(run)
    return sorted(matches, key=lambda run: (run.created, run.run_dir))


def summary(run_dir: Path) -> RunSummary | None:
    """Return one line about a run, or None if the folder is no run directory."""
    spec = run_directory.read_record(run_dir / protocol.SPEC, RunSpec)
    if spec is None:
        return None
    verdict = run_directory.read_record(run_dir / protocol.VERDICT, Verdict)
    return RunSummary(
        name=spec.name,
        state=_state(run_dir, verdict),
        verdict=None if verdict is None else verdict.verdict,
        metric=None if verdict is None else verdict.metric,
        value=None if verdict is None else verdict.value,
        target=None if verdict is None else verdict.target,
        created=spec.created,
        run_dir=str(run_dir),
    )


def _state(run_dir: Path, verdict: Verdict | None) -> str:
    with run_lock.lease(run_dir) as free:
        if not free:
            return "running"
    if verdict is not None:
        return verdict.verdict
    result = run_directory.read_record(run_dir / protocol.TRAINING, RunResult)
    if result is not None and result.state != "finished":
        return result.state
    return "stopped" if (run_dir / attempt_log.STOP).exists() else "unfinished"


def compare(first: Path, second: Path) -> Comparison:
    """Compare two runs: their outcome, their cost and their origin."""
    import difflib

    from mlops_lib.formatting import metric_value
    from mlops_lib.reporting import sentences
    from mlops_lib.reporting.view import RunView, read_run

    def properties(view: RunView) -> dict[str, str]:
        verdict = view.verdict
        rows = {"Verdict": sentences.BADGES[view.state]}
        if verdict is not None:
            rows[verdict.metric or "Metric"] = metric_value(verdict.metric, verdict.value)
            rows["Bar"] = sentences.bar_in_words(verdict)
            if verdict.interval is not None:
                rows["95 % interval"] = " to ".join(
                    metric_value(verdict.metric, end) for end in verdict.interval
                )
        return {**rows, **dict(sentences.facts(view)), **dict(sentences.lineage(view))}

    views = read_run(first), read_run(second)
    of_first, of_second = map(properties, views)
    rows = tuple(
        Difference(what=name, first=of_first.get(name, "–"), second=of_second.get(name, "–"))
        for name in {**of_first, **of_second}
    )
    before, after = (list(view.model.architecture) if view.model else [] for view in views)
    layers = difflib.ndiff(before, after) if before != after else ()
    return Comparison(
        first=str(first),
        second=str(second),
        rows=rows,
        layers=tuple(line for line in layers if not line.startswith("?")),
    )
