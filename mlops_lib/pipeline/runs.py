"""Looking at runs: which there are, how one stands, how two differ."""

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
    """A run in a line."""

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
    """One thing about two runs."""

    what: str
    first: str
    second: str

    @property
    def same(self) -> bool:
        """Whether they agree in it."""
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
    """How the architectures differ, as lines of a diff; empty where they are the same."""


def runs(home: Path, *, state: str = "", name: str = "") -> list[RunSummary]:
    """The runs of a home, oldest first.

    Args:
        home: folder of mlops' own files.
        state: only these, one of `STATES`; "" for all.
        name: only names like this, with `*` and `?`; "" for all.
    """
    root = home / "runs"
    found = [
        one
        for place in (root.iterdir() if root.is_dir() else ())
        if (one := summary(place)) is not None
    ]
    return sorted(
        (
            one
            for one in found
            if state in ("", one.state) and fnmatch.fnmatchcase(one.name, name or "*")
        ),
        key=lambda one: (one.created, one.run_dir),
    )


def summary(run_dir: Path) -> RunSummary | None:
    """A run in a line; None where there is none."""
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
    """Two runs side by side: how they ended, what they cost, what they were made from."""
    import difflib

    from mlops_lib.formatting import metric_value
    from mlops_lib.reporting import sentences
    from mlops_lib.reporting.view import RunView, read_run

    def about(view: RunView) -> dict[str, str]:
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
    left, right = map(about, views)
    rows = tuple(
        Difference(what=w, first=left.get(w, "–"), second=right.get(w, "–"))
        for w in {**left, **right}
    )
    layers = [list(view.model.architecture) if view.model else [] for view in views]
    return Comparison(
        first=str(first),
        second=str(second),
        rows=rows,
        layers=tuple(
            line for line in difflib.ndiff(layers[0], layers[1]) if not line.startswith("?")
        )
        if layers[0] != layers[1]
        else (),
    )
