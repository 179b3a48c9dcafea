"""A run as a report shows it: the run directory's files in one frozen value.

The host's own files decide. Files under `inside/` were written beside an untrusted script and are
only displayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_lib.events import (
    End,
    Epoch,
    Event,
    FitEnded,
    FitStarted,
    HookError,
    Metric,
    RunWarning,
    Start,
    TrialEvent,
    from_json,
)
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
from mlops_lib.reporting.attempts import (
    Attempt,
    Problem,
    attempts,
    failure,
    last_boundary,
    restarts,
)
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
"""Most metrics of one fit."""
EPOCHS_LIMIT = 200_000
"""Most epochs of one fit."""
TRIALS_LIMIT = 500
TRIAL_BYTES = 1 << 18
"""Most bytes of one trial's record."""
LOG_LINES = 80

Points = tuple[tuple[int, float | None], ...]
"""A metric over the epochs, as (epoch from 0, value); the value is None if it was not finite."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One call of a training function."""

    number: int
    framework: str
    model: str
    epochs: int
    """Number of trained epochs."""
    planned: int | None
    parameters: int | None
    seconds: float
    series: Mapping[str, Points]
    restarts: tuple[int, ...]
    """The epochs at which a new attempt began."""
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One number measured by the script."""

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
    """The data of a report."""

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
    """The search's limit on trials."""
    minutes: float | None
    """The search's limit on time."""
    search_s: float | None
    """Seconds from the start of the search's first trial to the end of its last one."""
    fits: tuple[Fit, ...]
    evaluations: tuple[Evaluation, ...]
    judged: Evaluation | None
    """The evaluation that the verdict is about."""
    mistakes: tuple[Mistake, ...]
    pairs: tuple[Pair, ...]
    """Judged examples that are copies of training examples."""
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
    """Files of the run directory that could not be read."""
    against: Branch | None = None
    """The target branch of the run's pull request, with its result."""


def read_run(run_dir: Path, *, against: Branch | None = None) -> RunView:
    """Read a run; of an empty or damaged directory the view names the `problems`.

    Args:
        run_dir: the run directory.
        against: the target branch of the run's pull request, with its result.
    """
    reader = Reader(run_dir)
    spec = reader.record(RunSpec, protocol.SPEC)
    verdict = reader.record(Verdict, protocol.VERDICT)
    events = [from_json(e) for e in reader.lines(f"{protocol.INSIDE}/{protocol.EVENTS}")]
    decisions = [from_json(line) for line in reader.lines(protocol.ATTEMPTS)]
    metrics = reader.object(f"{protocol.INSIDE}/{protocol.METRICS}")
    evaluations = _evaluations(metrics.get("evaluations"), events)
    all_attempts = attempts(events, decisions)
    training = reader.record(RunResult, protocol.TRAINING)
    problem = failure(events, training)
    result = reader.record(PipelineResult, protocol.RESULT)
    request = reader.object(protocol.SEARCH_REQUEST)
    return RunView(
        name=text(spec.name) if spec else text(run_dir.resolve().name),
        state=_state(verdict, events, problem),
        spec=spec,
        detection=reader.record(Detection, protocol.DETECTION),
        verdict=verdict,
        earlier=_earlier_verdicts(reader, verdict),
        result=result,
        registered=reader.record(ModelVersion, protocol.REGISTERED),
        search=_search(reader, request, events),
        trials=count(request.get("trials")),
        minutes=number(request.get("minutes")),
        search_s=_search_s(events),
        fits=_fits(events),
        evaluations=evaluations,
        judged=_judged_evaluation(evaluations, verdict),
        mistakes=mistakes(run_dir),
        pairs=pairs(run_dir),
        model=_model(metrics.get("model")),
        attempts=all_attempts,
        moments=moments(events, decisions),
        failure=problem,
        warnings=_distinct(
            text(event.message, limit=1000) for event in events if isinstance(event, RunWarning)
        ),
        hook_errors=tuple(_problem(event) for event in events if isinstance(event, HookError))[:50],
        log=reader.tail(protocol.LOG, lines=LOG_LINES),
        patch=reader.head(protocol.PATCH),
        python=next(
            (text(event.python) for event in reversed(events) if isinstance(event, Start)), ""
        ),
        restarts=restarts(all_attempts),
        seconds=sum(max(0.0, attempt.ended - attempt.began) for attempt in all_attempts),
        problems=tuple(reader.problems),
        against=against,
    )


def _state(verdict: Verdict | None, events: list[Event], failure: Problem | None) -> State:
    if verdict is not None:
        return verdict.verdict
    if failure is not None:
        return "stopped" if failure.kind == "stopped" else "failed"
    return "unjudged" if isinstance(last_boundary(events), End) else "unfinished"


def _earlier_verdicts(reader: Reader, current: Verdict | None) -> tuple[Verdict, ...]:
    verdicts = []
    for line in reader.lines(protocol.VERDICTS):
        try:
            verdicts.append(Verdict.from_json(line))
        except ValueError as error:
            reader.problems.append(text(f"verdicts.jsonl: {error}"))
    return tuple(verdict for verdict in verdicts if verdict != current)[-20:]


def _search(reader: Reader, request: dict[str, Any], events: list[Event]) -> SearchResult | None:
    """Return the finished search, or the trials so far of a running one."""
    result = reader.object(f"{protocol.INSIDE}/{protocol.SEARCH}/{protocol.RESULT}")
    if result:
        claims = _list(result.get("trials"))
        try:
            return SearchResult.from_json(
                {
                    **result,
                    "score": number(result.get("score")),
                    "trials": [t.to_json() for t in _trials(claims)],
                }
            )
        except ValueError as error:
            reader.problems.append(
                text(
                    f"{protocol.INSIDE}/{protocol.SEARCH}/{protocol.RESULT} could not be read: "
                    f"{error}"
                )
            )
    folder = f"{protocol.INSIDE}/{protocol.SEARCH}/trials"
    names = reader.numbers_in(folder, limit=TRIALS_LIMIT)
    claims = [reader.value(f"{folder}/{name}", limit=TRIAL_BYTES) for name in names]
    trials = _trials(claims or [event.trial for event in events if isinstance(event, TrialEvent)])
    if not trials:
        return None
    mode: Literal["max", "min"] = "min" if request.get("mode") == "min" else "max"
    best = max(
        (t for t in trials if t.score is not None),
        key=lambda t: (t.score or 0.0) * (1 if mode == "max" else -1),
        default=None,
    )
    return SearchResult(
        metric=text(request.get("metric")) or "score",
        mode=mode,
        selection="disjoint",
        fit=count(request.get("fit")) or 0,
        trials=trials,
        winner=best.number if best else 0,
        score=best.score if best else None,
        stopped="interrupted",
        notes=("The search has not ended; these are the trials so far.",),
    )


def _search_s(events: list[Event]) -> float | None:
    trials = [e for e in events if isinstance(e, TrialEvent) and e.trial.get("worker")]
    times = [time for event in trials if (time := when(event.time)) is not None]
    return max(times) - min(times) if len(times) > 1 else None


def _trials(claims: list[Any]) -> tuple[Trial, ...]:
    """Return the valid trials among the claims, the last one of each number.

    A diverged trial has scores that are not finite; they become None.
    """
    newest: dict[int, dict[str, Any]] = {}
    for claim in claims:
        key = count(claim.get("number")) if isinstance(claim, dict) else None
        if key is not None:
            newest[key] = claim
    trials = []
    for key in sorted(newest)[:TRIALS_LIMIT]:
        claim = newest[key]
        curve = [
            value for point in _list(claim.get("curve")) if (value := number(point)) is not None
        ]
        try:
            trials.append(
                Trial.from_json({**claim, "curve": curve, "score": number(claim.get("score"))})
            )
        except ValueError:
            continue
    return tuple(trials)


FitEvent = FitStarted | Epoch | FitEnded


def _fits(events: list[Event]) -> tuple[Fit, ...]:
    by_number: dict[int, list[FitEvent]] = {}
    for event in events:
        number_of_fit = count(event.fit) if isinstance(event, FitEvent) else None
        if isinstance(event, FitEvent) and number_of_fit is not None:
            by_number.setdefault(number_of_fit, []).append(event)
    # The end alone of a fit that was never seen is no fit.
    started = [
        number_of_fit
        for number_of_fit, fit_events in sorted(by_number.items())
        if any(isinstance(event, (FitStarted, Epoch)) for event in fit_events)
    ]
    return tuple(_fit(n, by_number[n]) for n in started[:FITS_LIMIT])


def _fit(number_of_fit: int, events: list[FitEvent]) -> Fit:
    first = next((event for event in events if isinstance(event, FitStarted)), FitStarted())
    ends = [event for event in events if isinstance(event, FitEnded)]
    # The first record of an epoch counts, as in the runner, so that a forged one changes nothing.
    epochs: dict[int, Epoch] = {}
    for event in events:
        epoch = count(event.epoch, limit=10**9) if isinstance(event, Epoch) else None
        if isinstance(event, Epoch) and epoch is not None and len(epochs) < EPOCHS_LIMIT:
            epochs.setdefault(epoch, event)
    ordered = [(epoch, epochs[epoch]) for epoch in sorted(epochs)]
    epochs_s = sum(number(event.seconds) or 0.0 for _, event in ordered)
    fit_s = number(ends[0].seconds) if ends else None
    return Fit(
        number=number_of_fit,
        framework=text(first.framework, limit=40),
        model=text(first.model, limit=80),
        epochs=len(ordered),
        planned=count(first.epochs),
        parameters=count(first.parameters),
        seconds=epochs_s or fit_s or 0.0,
        series=_series(ordered),
        restarts=tuple(
            epoch
            for (_, before), (epoch, after) in pairwise(ordered)
            if before.attempt != after.attempt
        ),
        finished=bool(ends),
    )


def _series(ordered: list[tuple[int, Epoch]]) -> dict[str, Points]:
    series: dict[str, list[tuple[int, float | None]]] = {}
    for epoch, event in ordered:
        for name, value in event.metrics.items():
            name = text(name, limit=60)
            if name in series or len(series) < METRICS_LIMIT:
                series.setdefault(name, []).append((epoch, number(value)))
    return {name: tuple(points) for name, points in series.items()}


def _evaluations(from_metrics: Any, events: list[Event]) -> tuple[Evaluation, ...]:
    """Return the evaluations of metrics.json; without that file, those of the journal."""
    claims = (
        from_metrics
        if isinstance(from_metrics, list)
        else [event.fields for event in events if isinstance(event, Metric)]
    )
    return tuple(_evaluation(claim) for claim in claims[:200] if isinstance(claim, dict))


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
        labels=tuple(text(str(label), limit=40) for label in _list(claim.get("labels"))),
    )


def _matrix(claim: Any) -> tuple[tuple[int, ...], ...]:
    """Return a square matrix of counts; empty if the claim is none."""
    rows = [[count(cell) for cell in _list(row)] for row in _list(claim)]
    if not 2 <= len(rows) <= 200 or any(len(row) != len(rows) or None in row for row in rows):
        return ()
    return tuple(tuple(cell or 0 for cell in row) for row in rows)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _judged_evaluation(
    evaluations: tuple[Evaluation, ...], verdict: Verdict | None
) -> Evaluation | None:
    """Return the last evaluation with the verdict's number.

    Without a verdict, the last one that the script itself made.
    """
    if verdict is None:
        own = [e for e in evaluations if not e.source.startswith("fit.")]
        return own[-1] if own else None
    matches = [
        e
        for e in evaluations
        if e.metric == verdict.metric and _equals_any(verdict.value, e.value, e.recomputed)
    ]
    return matches[-1] if matches and verdict.value is not None else None


def _equals_any(value: float | None, *claims: float | None) -> bool:
    """Return whether a number equals one of the claims, up to rounding.

    The verdict's number may come from another process.
    """
    return value is not None and any(
        claim is not None and math.isclose(value, claim, rel_tol=1e-4) for claim in claims
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


def _problem(event: HookError) -> Problem:
    return Problem(
        kind=text(event.hook, limit=80),
        message=text(event.message, limit=1000),
        trace=event.traceback[-2000:],
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))[:100]
