"""A run as a report sees it: the files of the run directory brought together into one frozen value.

The host's own files decide; what lies under `inside/` was written beside a stranger's script and is
only shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_lib.records import (
    Detection,
    ModelVersion,
    PipelineResult,
    RunResult,
    RunSpec,
    SearchResult,
    Trial,
    Verdict,
)
from mlops_lib.reporting.attempts import Attempt, Problem, attempts, failure, restarts
from mlops_lib.reporting.leaks import Pair, pairs
from mlops_lib.reporting.misclassified import Mistake, mistakes
from mlops_lib.reporting.timeline import Moment, moments
from mlops_lib.reporting.untrusted_files import Reader, count, number, text, when
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from mlops_lib.ci.builds import Branch

State = Literal["accepted", "rejected", "undecided", "failed", "stopped", "unfinished", "unjudged"]

FITS_LIMIT = 200
METRICS_LIMIT = 40
"""Names of metrics of one fit."""
EPOCHS_LIMIT = 200_000
"""Epochs kept of one fit."""
TRIALS_LIMIT = 500
TRIAL_BYTES = 1 << 18
"""Of one trial's record."""
LOG_LINES = 80

Points = tuple[tuple[int, float | None], ...]
"""A number after each epoch, as (epoch from 0, value); the value is None where it was not finite.
"""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One call of a training function."""

    number: int
    framework: str
    model: str
    epochs: int
    """Epochs trained."""
    planned: int | None
    parameters: int | None
    seconds: float
    series: Mapping[str, Points]
    restarts: tuple[int, ...]
    """The epochs that a new attempt began with."""
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One number the script measured."""

    metric: str
    value: float | None
    source: str
    fit: int | None
    examples: int | None
    unique: int | None
    held_out: bool | None
    recomputed: float | None
    note: str
    task: str
    confusion: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """The saved model, as the runner described it."""

    path: str
    kind: str
    framework: str
    parameters: int | None
    size_bytes: int | None
    reloaded: bool
    note: str
    architecture: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """All that a report shows."""

    name: str
    state: State
    spec: RunSpec | None
    detection: Detection | None
    verdict: Verdict | None
    earlier: tuple[Verdict, ...]
    result: PipelineResult | None
    registered: ModelVersion | None
    search: SearchResult | None
    trials: int | None
    """The most that the search could try."""
    minutes: float | None
    """The longest that it could take."""
    search_s: float | None
    """From the begin of the search's first trial to the end of its last one, with what lay between
    them.
    """
    fits: tuple[Fit, ...]
    evaluations: tuple[Evaluation, ...]
    judged: Evaluation | None
    """The evaluation the verdict is about."""
    mistakes: tuple[Mistake, ...]
    pairs: tuple[Pair, ...]
    """Judged examples that the model knows from its training."""
    model: Model | None
    attempts: tuple[Attempt, ...]
    moments: tuple[Moment, ...]
    failure: Problem | None
    """The last failure that the run did not recover from."""
    warnings: tuple[str, ...]
    hook_errors: tuple[Problem, ...]
    log: str
    patch: str
    python: str
    restarts: int
    seconds: float
    """Over all attempts, without the time between them."""
    problems: tuple[str, ...]
    """What of the run directory could not be read."""
    against: Branch | None = None
    """What the branch has reached that the run's pull request goes to."""


def read_run(run_dir: Path, *, against: Branch | None = None) -> RunView:
    """Read the run in `run_dir`; an empty or damaged directory gives an empty view that says so in
    `problems`.

    Args:
        run_dir: the run directory.
        against: what the branch has reached that the run's pull request goes to.
    """
    reader = Reader(run_dir)
    spec = reader.record(RunSpec, protocol.SPEC)
    verdict = reader.record(Verdict, protocol.VERDICT)
    events = list(reader.lines(f"{protocol.INSIDE}/{protocol.EVENTS}"))
    decisions = list(reader.lines(protocol.ATTEMPTS))
    metrics = reader.object(f"{protocol.INSIDE}/{protocol.METRICS}")
    evaluations = _evaluations(metrics.get("evaluations"), events)
    made = attempts(events, decisions)
    ended = reader.record(RunResult, protocol.TRAINING)
    problem = failure(events, ended)
    result = reader.record(PipelineResult, protocol.RESULT)
    asked = reader.object(protocol.SEARCH_REQUEST)
    return RunView(
        name=text(spec.name) if spec else text(run_dir.resolve().name),
        state=_state(verdict, events, problem),
        spec=spec,
        detection=reader.record(Detection, protocol.DETECTION),
        verdict=verdict,
        earlier=_earlier(reader, verdict),
        result=result,
        registered=reader.record(ModelVersion, protocol.REGISTERED),
        search=_search(reader, asked, events),
        trials=count(asked.get("trials")),
        minutes=number(asked.get("minutes")),
        search_s=_search_s(events),
        fits=_fits(events),
        evaluations=evaluations,
        judged=_judged(evaluations, verdict),
        mistakes=mistakes(run_dir),
        pairs=pairs(run_dir),
        model=_model(metrics.get("model")),
        attempts=made,
        moments=moments(events, decisions),
        failure=problem,
        warnings=_distinct(
            text(e.get("message"), limit=1000)
            for e in events
            if e.get("event") == protocol.EVENT_WARNING
        ),
        hook_errors=tuple(
            _hook_error(e) for e in events if e.get("event") == protocol.EVENT_HOOK_ERROR
        )[:50],
        log=reader.tail(protocol.LOG, lines=LOG_LINES),
        patch=reader.head(protocol.PATCH),
        python=next(
            (
                text(e.get("python"))
                for e in reversed(events)
                if e.get("event") == protocol.EVENT_START
            ),
            "",
        ),
        restarts=restarts(made),
        seconds=sum(max(0.0, one.ended - one.began) for one in made),
        problems=tuple(reader.problems),
        against=against,
    )


def _state(verdict: Verdict | None, events: list[dict[str, Any]], failure: Problem | None) -> State:
    if verdict is not None:
        return verdict.verdict
    if failure is not None:
        return "stopped" if failure.kind == "stopped" else "failed"
    last = next(
        (
            e
            for e in reversed(events)
            if e.get("event") in (protocol.EVENT_START, protocol.EVENT_END)
        ),
        None,
    )
    return (
        "unjudged" if last is not None and last.get("event") == protocol.EVENT_END else "unfinished"
    )


def _earlier(reader: Reader, current: Verdict | None) -> tuple[Verdict, ...]:
    found = []
    for line in reader.lines(protocol.VERDICTS):
        try:
            found.append(Verdict.from_json(line))
        except ValueError as error:
            reader.problems.append(text(f"verdicts.jsonl: {error}"))
    return tuple(one for one in found if one != current)[-20:]


def _search(
    reader: Reader, asked: dict[str, Any], events: list[dict[str, Any]]
) -> SearchResult | None:
    """The finished search, or as much of one under way as there is."""
    done = reader.object(f"{protocol.INSIDE}/{protocol.SEARCH}/{protocol.RESULT}")
    if done:
        claims = _list(done.get("trials"))
        try:
            return SearchResult.from_json(
                {
                    **done,
                    "score": number(done.get("score")),
                    "trials": [t.to_json() for t in _trials(claims)],
                }
            )
        except ValueError as error:
            reader.problems.append(
                text(
                    f"{protocol.INSIDE}/{protocol.SEARCH}/{protocol.RESULT} could not be read: {error}"
                )
            )
    folder = f"{protocol.INSIDE}/{protocol.SEARCH}/trials"
    names = reader.numbers_in(folder, limit=TRIALS_LIMIT)
    claims = [reader.value(f"{folder}/{name}", limit=TRIAL_BYTES) for name in names]
    trials = _trials(
        claims or [e.get("trial") for e in events if e.get("event") == protocol.EVENT_TRIAL]
    )
    if not trials:
        return None
    mode: Literal["max", "min"] = "min" if asked.get("mode") == "min" else "max"
    best = max(
        (t for t in trials if t.score is not None),
        key=lambda t: (t.score or 0.0) * (1 if mode == "max" else -1),
        default=None,
    )
    return SearchResult(
        metric=text(asked.get("metric")) or "score",
        mode=mode,
        selection="disjoint",
        fit=count(asked.get("fit")) or 0,
        trials=trials,
        winner=best.number if best else 0,
        score=best.score if best else None,
        stopped="interrupted",
        notes=("The search has not ended; these are the trials so far.",),
    )


def _search_s(events: list[dict[str, Any]]) -> float | None:
    claims = [e for e in events if isinstance(e.get("trial"), dict) and e["trial"].get("worker")]
    times = [time for e in claims if (time := when(e.get("time"))) is not None]
    return max(times) - min(times) if len(times) > 1 else None


def _trials(claims: list[Any]) -> tuple[Trial, ...]:
    """The trials among these claims, the last of each number; a diverged trial has scores that are
    no numbers.
    """
    newest: dict[int, dict[str, Any]] = {}
    for claim in claims:
        key = count(claim.get("number")) if isinstance(claim, dict) else None
        if key is not None:
            newest[key] = claim
    found = []
    for key in sorted(newest)[:TRIALS_LIMIT]:
        claim = newest[key]
        curve = [value for one in _list(claim.get("curve")) if (value := number(one)) is not None]
        try:
            found.append(
                Trial.from_json({**claim, "curve": curve, "score": number(claim.get("score"))})
            )
        except ValueError:
            continue
    return tuple(found)


def _fits(events: list[dict[str, Any]]) -> tuple[Fit, ...]:
    numbers = sorted(
        {
            n
            for e in events
            if e.get("event") in (protocol.EVENT_FIT, protocol.EVENT_EPOCH)
            and (n := count(e.get("fit"))) is not None
        }
    )
    return tuple(_fit(n, [e for e in events if e.get("fit") == n]) for n in numbers[:FITS_LIMIT])


def _fit(number_of_fit: int, events: list[dict[str, Any]]) -> Fit:
    begun = [e for e in events if e.get("event") == protocol.EVENT_FIT]
    first = begun[0] if begun else {}
    # The first record of an epoch counts, as in the runner; a forged repetition changes nothing.
    epochs: dict[int, dict[str, Any]] = {}
    for event in events:
        epoch = (
            count(event.get("epoch"), limit=10**9)
            if event.get("event") == protocol.EVENT_EPOCH
            else None
        )
        if epoch is not None and len(epochs) < EPOCHS_LIMIT:
            epochs.setdefault(epoch, event)
    ordered = [(epoch, epochs[epoch]) for epoch in sorted(epochs)]
    return Fit(
        number=number_of_fit,
        framework=text(first.get("framework"), limit=40),
        model=text(first.get("model"), limit=80),
        epochs=len(ordered),
        planned=count(first.get("epochs")),
        parameters=count(first.get("parameters")),
        seconds=sum(number(e.get("seconds")) or 0.0 for _, e in ordered)
        or next(
            (
                number(e.get("seconds")) or 0.0
                for e in events
                if e.get("event") == protocol.EVENT_FIT_END
            ),
            0.0,
        ),
        series=_series(ordered),
        restarts=tuple(
            epoch
            for (_, before), (epoch, after) in pairwise(ordered)
            if before.get("attempt") != after.get("attempt")
        ),
        finished=any(e.get("event") == protocol.EVENT_FIT_END for e in events),
    )


def _series(ordered: list[tuple[int, dict[str, Any]]]) -> dict[str, Points]:
    found: dict[str, list[tuple[int, float | None]]] = {}
    for epoch, event in ordered:
        metrics = event.get("metrics")
        for name, value in metrics.items() if isinstance(metrics, dict) else ():
            name = text(name, limit=60)
            if name in found or len(found) < METRICS_LIMIT:
                found.setdefault(name, []).append((epoch, number(value)))
    return {name: tuple(points) for name, points in found.items()}


def _evaluations(claimed: Any, events: list[dict[str, Any]]) -> tuple[Evaluation, ...]:
    """Those of metrics.json; those of the journal where the script did not get that far."""
    claims = (
        claimed
        if isinstance(claimed, list)
        else [e for e in events if e.get("event") == protocol.EVENT_METRIC]
    )
    return tuple(_evaluation(one) for one in claims[:200] if isinstance(one, dict))


def _evaluation(claim: dict[str, Any]) -> Evaluation:
    held_out = claim.get("held_out")
    return Evaluation(
        metric=text(claim.get("metric"), limit=60),
        value=number(claim.get("value")),
        source=text(claim.get("source"), limit=80),
        fit=count(claim.get("fit")),
        examples=count(claim.get("examples")),
        unique=count(claim.get("unique")),
        held_out=held_out if isinstance(held_out, bool) else None,
        recomputed=number(claim.get("recomputed")),
        note=text(claim.get("recompute_note")),
        task=text(claim.get("task"), limit=40),
        confusion=_matrix(claim.get("confusion")),
        labels=tuple(text(str(one), limit=40) for one in _list(claim.get("labels"))),
    )


def _matrix(claim: Any) -> tuple[tuple[int, ...], ...]:
    """A square matrix of counts, or nothing."""
    rows = [[count(cell) for cell in _list(row)] for row in _list(claim)]
    if not 2 <= len(rows) <= 200 or any(len(row) != len(rows) or None in row for row in rows):
        return ()
    return tuple(tuple(cell or 0 for cell in row) for row in rows)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _judged(evaluations: tuple[Evaluation, ...], verdict: Verdict | None) -> Evaluation | None:
    """The last evaluation that has the verdict's number; without a verdict the last of the script's
    own.
    """
    if verdict is None:
        own = [e for e in evaluations if not e.source.startswith("fit.")]
        return own[-1] if own else None
    named = [
        e
        for e in evaluations
        if e.metric == verdict.metric and _is(verdict.value, e.value, e.recomputed)
    ]
    return named[-1] if named and verdict.value is not None else None


def _is(value: float | None, *claims: float | None) -> bool:
    """Whether a number is one of these but for rounding: the verdict's may come from another
    process.
    """
    return value is not None and any(
        one is not None and math.isclose(value, one, rel_tol=1e-4) for one in claims
    )


def _model(claim: Any) -> Model | None:
    if not isinstance(claim, dict):
        return None
    return Model(
        path=text(claim.get("path")),
        kind=text(claim.get("class"), limit=80),
        framework=text(claim.get("framework"), limit=40),
        parameters=count(claim.get("parameters")),
        size_bytes=count(claim.get("bytes")),
        reloaded=claim.get("reloaded") is True,
        note=text(claim.get("note")),
        architecture=tuple(
            text(line, limit=200) for line in _list(claim.get("architecture"))[:1000]
        ),
    )


def _hook_error(event: dict[str, Any]) -> Problem:
    trace = event.get("traceback")
    return Problem(
        kind=text(event.get("hook"), limit=80),
        message=text(event.get("message"), limit=1000),
        trace=trace[-2000:] if isinstance(trace, str) else "",
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))[:100]
