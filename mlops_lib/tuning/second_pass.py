"""Start pass 2 on a rejected run, and read its result.

The search itself runs in the container, inside the judged `fit` (mlops_lib/runner/search).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lib import atomic, events
from mlops_lib.errors import SearchError, TrainingError
from mlops_lib.events import Event, FitStarted, HookError, Metric, Observer, RunWarning
from mlops_lib.gate import verdicts
from mlops_lib.records import Failure, RunResult, RunSpec, SearchResult, Trial, Verdict
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log
from mlops_lib.tuning import local_workers
from mlops_lib.tuning.options import Budget, Execution, Workers

FOLDS = 3
"""This many separately measured fits of one model count as cross-validation."""


def search(
    spec: RunSpec,
    verdict: Verdict,
    *,
    execution: Execution,
    budget: Budget,
    limits: Mapping[str, Any] | None = None,
    past: Sequence[Mapping[str, Any]] = (),
    workers: Workers = Workers(),  # noqa: B008 - frozen
) -> SearchResult:
    """Search for a model that meets the bar, starting from the judged one (pass 2).

    A finished search with at least this budget and this bar is returned as it is; a larger budget
    continues it. If no fit can be searched, the result has `stopped` "refused" and the rejected
    model stays as it is. With several workers, each is a container that requests its candidates
    from the run's own.

    Args:
        spec: the run.
        verdict: the verdict on the model of pass 1, or on the winner of an earlier search.
        execution: the execution of the trainings.
        budget: the end of the search.
        limits: limits on the search's changes; the setting `search`.
        past: similar searches of this home (`past_searches.similar`), for the order of the trials.
        workers: the number of workers, and their machines.

    Raises:
        SearchError: the search itself failed.
        TrainingError: the script failed in pass 2.
        UsageError: the workers are on a Ray cluster, and Ray is not installed.
        EngineError: no Ray cluster answers.
    """
    run_dir = execution.run_dir
    fit, why = _judged_fit(run_dir, verdict)
    if fit is None:
        return _refuse(run_dir, verdict, why, observer=execution.observer)
    # Left by an earlier call with another bar or another judged number.
    (run_dir / protocol.SEARCH_REFUSED).unlink(missing_ok=True)
    request = _request(spec, verdict, fit=fit, run_dir=run_dir, budget=budget, limits=limits or {})
    request.setdefault("past", list(past))
    workers = _usable_workers(workers, run_dir, fit, observer=execution.observer)
    request["workers"] = workers.count
    result = _train(spec, request, execution=execution, workers=workers)
    # Once: without other models the script fails by a fault of its own.
    if result.state == "failed" and not request.get("own_only") and result.failure is not None:
        request = _without_other_models(request, result.failure, observer=execution.observer)
        result = _train(
            spec, request, execution=replace(execution, taking_over=False), workers=workers
        )
    _require_finished(
        result,
        run_dir,
        "the search was stopped",
        remedy="Fix the script and run it again; finished trials are kept.",
    )
    outcome = read(run_dir)
    if outcome is None:
        raise _no_result(run_dir, request)
    return outcome


def _refuse(run_dir: Path, verdict: Verdict, why: str, *, observer: Observer) -> SearchResult:
    """Record that this run cannot be searched."""
    refused = SearchResult(
        metric=verdict.metric or "",
        mode=verdict.mode,
        selection="disjoint",
        fit=verdict.judged_fit or 1,
        score=verdict.value,
        stopped="refused",
        notes=(why,),
    )
    atomic.write_json(run_dir / protocol.SEARCH_REFUSED, refused.to_json())
    observer(events.warning(f"not searched: {why}"))
    return refused


def _request(
    spec: RunSpec,
    verdict: Verdict,
    *,
    fit: int,
    run_dir: Path,
    budget: Budget,
    limits: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the request for the runner: the earlier one if it suffices, or a new one."""
    request: dict[str, Any] = {
        "fit": fit,
        "metric": verdict.metric,
        "mode": verdict.mode,
        "target": verdict.target,
        "trials": budget.trials,
        "minutes": budget.minutes,
        "judged_digest": _judged_digest(run_dir, verdict),
        "judged_value": verdict.value,
        "reading": attempt_log.reading(spec),
        "limits": dict(limits),
    }
    before = _read(run_dir / protocol.SEARCH_REQUEST)
    if before is None:
        return {**request, "pass": 2}
    if before.get("fit") == fit and before.get("metric") == verdict.metric:
        # The verdict may be about a winner by now; trial 0 stays what it was.
        # So do the past searches, by which its candidates were ordered.
        kept_keys = [key for key in ("judged_digest", "judged_value", "past") if key in before]
        request.update({key: before[key] for key in kept_keys})
    # The same request in the same pass: a search that was interrupted continues, and one that has
    # ended answers.
    if _covers(before, request) and not _has_failed(run_dir, before):
        return _after_rejection(before, run_dir, verdict) or before
    return {**request, "pass": int(before.get("pass", 1)) + 1}


def _usable_workers(workers: Workers, run_dir: Path, fit: int, *, observer: Observer) -> Workers:
    """Return `workers`, or a single one if the fit cannot be searched by several."""
    if (workers.count < 2 and not workers.are_remote) or _has_workers(run_dir, fit):
        return workers
    option = f"--workers {workers.count}" if workers.count > 1 else f"--on {workers.ray_address}"
    observer(
        events.warning(
            f"{option} has no effect: this fit is no Keras model's, and such a search"
            " tries one candidate at a time, each on all processors"
        )
    )
    return replace(workers, count=1, ray_address="")


def _train(
    spec: RunSpec, request: dict[str, Any], *, execution: Execution, workers: Workers
) -> RunResult:
    atomic.write_json(execution.run_dir / protocol.SEARCH_REQUEST, request)
    return local_workers.train(spec, execution=execution, request=request, workers=workers)


def _without_other_models(
    request: dict[str, Any], failure: Failure, *, observer: Observer
) -> dict[str, Any]:
    """Return the request for another search that keeps the script's own kind of model.

    The winner may be another kind of estimator, or another network, which the rest of the script
    cannot use: it plots the tree, or loads weights into the old network.
    """
    message = f"{failure.where}: {failure.message}".lstrip(": ")[:200].splitlines()[0]
    observer(
        events.warning(
            f"the script failed with the winner ({message}):"
            " searching again without another kind of model"
        )
    )
    number_of_pass = int(request["pass"]) + 1
    return {**request, "own_only": True, "failed_with": message, "pass": number_of_pass}


def _require_finished(result: RunResult, run_dir: Path, stopped: str, *, remedy: str) -> None:
    """Raise TrainingError if the training failed or was stopped before its end."""
    if result.state == "finished":
        return
    failure = result.failure
    raise TrainingError(
        failure.message if failure else stopped,
        where=failure.where if failure else str(run_dir),
        remedy=remedy,
        log=failure.log if failure else "",
    )


def _no_result(run_dir: Path, request: Mapping[str, Any]) -> SearchError:
    """Return the error for a pass that ended without the result of a search."""
    cause = _hook_error(run_dir, int(request["pass"]))
    if cause:
        place = f"{run_dir}/{protocol.INSIDE}/{protocol.EVENTS}"
        remedy = f"Fix the cause; details are in the hook_error event in {place}."
        return SearchError(f"it left no result{cause}", where=str(run_dir), remedy=remedy)
    return SearchError(
        f"it never began: the script did not reach its fit {request['fit']} again,"
        " or that fit cannot be searched",
        where=str(run_dir),
        remedy="Let the script do the same in every run with the same arguments;"
        " `trials = 0` turns the search off.",
    )


COPIED_REQUEST_KEYS = (
    "fit",
    "metric",
    "mode",
    "target",
    "judged_digest",
    "reading",
    "limits",
    "past",
    "own_only",
    "failed_with",
)
"""Keys of a search request that also hold for the winner's training with another seed."""


def retrain_winner(spec: RunSpec, *, of: Path, execution: Execution) -> SearchResult:
    """Train the winner of another run's search with the seed of this run.

    The trials that lead to the winner are repeated in order. Nothing is selected: the last of them
    wins whatever its score.

    Args:
        spec: this run.
        of: directory of the run whose search found the winner.
        execution: how the training is executed.

    Raises:
        SearchError: there is no winner, or it could not be trained with this seed.
        TrainingError: the script failed in pass 2.
    """
    run_dir = execution.run_dir
    earlier = _read(of / protocol.SEARCH_REQUEST)
    outcome = read(of)
    earlier_spec = RunDirectory(of).spec
    if earlier is None or outcome is None or not outcome.winner:
        raise SearchError(
            "there is no winner to train again", where=str(of), remedy="Search there first."
        )
    request = {
        **{key: earlier[key] for key in COPIED_REQUEST_KEYS if key in earlier},
        "pass": 2,
        "workers": 1,
        "trials": sum(trial.number > 0 for trial in outcome.trials),
        "minutes": UNLIMITED_MINUTES,
        "follow": [trial.to_json() for trial in lineage(outcome)],
        "followed": [trial.to_json() for trial in outcome.trials],
        # The candidates' own random choices, such as which half selects, have to be those of the
        # search.
        "search_seed": 0 if earlier_spec is None else earlier_spec.seed,
    }
    atomic.write_json(run_dir / protocol.SEARCH_REQUEST, request)
    result = execution.train(spec, request=request, number_of_pass=2)
    _require_finished(result, run_dir, "it was stopped", remedy="Fix the script and run it again.")
    repeated = read(run_dir)
    if repeated is None or not repeated.winner:
        notes = _hook_error(run_dir, 2).lstrip(": ")
        if repeated is not None:
            notes = "; ".join(repeated.notes)
        raise SearchError(
            f"the winner could not be trained with seed {spec.seed}:"
            f" {notes or 'it left no result'}",
            where=str(run_dir),
            remedy="Set seeds = 1.",
        )
    return repeated


UNLIMITED_MINUTES = 1e6
"""Budget of a winner's training with another seed: nothing is searched, so nothing is cut short."""


def lineage(outcome: SearchResult) -> list[Trial]:
    """Return the trials that lead to the winner, oldest first, without trial 0."""
    trials = {trial.number: trial for trial in outcome.trials}
    chain: list[Trial] = []
    number: int | None = outcome.winner
    # The records are claims of a container: parents may form a circle.
    while number and number in trials and len(chain) < len(trials):
        chain.insert(0, trials[number])
        number = trials[number].parent
    return chain


def _hook_error(run_dir: Path, number_of_pass: int) -> str:
    """Return ": MESSAGE" for the last failure of the search hook in this pass.

    "" without one.
    """
    messages = [
        event.message[:500]
        for event in RunDirectory(run_dir).events
        if isinstance(event, HookError)
        and event.hook == "search"
        and event.number_of_pass == number_of_pass
    ]
    return f": {messages[-1]}" if messages else ""


def _has_workers(run_dir: Path, fit: int) -> bool:
    """Return whether a search on this fit can have several workers: only Keras."""
    return any(
        isinstance(event, FitStarted) and event.fit == fit and event.framework == "keras"
        for event in RunDirectory(run_dir).events
    )


def read(run_dir: Path) -> SearchResult | None:
    """Return the result of the run's search, or its refusal.

    None if there was no search.
    """
    return RunDirectory(run_dir).search


def can_continue(run_dir: Path, verdict: Verdict) -> bool:
    """Return whether the gate rejected the search's winner and budget is left."""
    before = _read(run_dir / protocol.SEARCH_REQUEST)
    return before is not None and _after_rejection(before, run_dir, verdict) is not None


def last_pass(run_dir: Path) -> int:
    """Return the number of the last finished pass; 1 is the script as written."""
    latest = int((_read(run_dir / protocol.SEARCH_REQUEST) or {}).get("pass", 1))
    run = RunDirectory(run_dir)
    # The request is written before its pass starts, so the newest one may not have finished.
    for number in range(latest, 1, -1):
        if attempt_log.finished(run, number) is not None:
            return number
    return 1


def _after_rejection(
    before: dict[str, Any], run_dir: Path, verdict: Verdict
) -> dict[str, Any] | None:
    """Return the request that continues after the gate rejected the winner, or None.

    The rejection is the only thing the search learns from the gate: the bar on the selection
    examples rises, and candidates are proposed as before.
    """
    outcome = read(run_dir)
    rejected = list(before.get("rejected") or ())
    number = int(before.get("pass", 2))
    if (
        outcome is None
        or outcome.stopped != "bar"
        or outcome.score is None
        or attempt_log.finished(RunDirectory(run_dir), number) is None
    ):
        return None
    if (
        verdict.verdict != "rejected"
        or not verdict.selection
        or verdict.looks >= protocol.MOST_LOOKS
    ):
        return None
    # Trial 0 was trained by the script, and costs the search nothing.
    used_s = sum(trial.seconds for trial in outcome.trials if trial.number)
    count = sum(trial.number > 0 for trial in outcome.trials)
    if count >= before.get("trials", 0) or used_s >= 60 * before.get("minutes", 0):
        return None
    return {**before, "rejected": [*rejected, outcome.score], "pass": number + 1}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = atomic.read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _covers(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Return whether the earlier request had at least this budget, for the same bar."""
    # A key that requests of earlier versions of this package lack counts as equal.
    same = all(
        before.get(key, now[key]) == now[key]
        for key in ("fit", "metric", "mode", "target", "reading", "limits")
    )
    return (
        same
        and before.get("trials", 0) >= now["trials"]
        and before.get("minutes", 0) >= now["minutes"]
    )


def _has_failed(run_dir: Path, before: dict[str, Any]) -> bool:
    """Return whether that search ended without a result."""
    return (
        read(run_dir) is None
        and attempt_log.finished(RunDirectory(run_dir), int(before.get("pass", 2))) is not None
    )


def repeated_fits(journal: Sequence[Event]) -> str:
    """Return why a script that fits the same model again and again is not searched.

    Else "".

    Such a script cross-validates or searches by itself.
    """
    measured_fits = {
        event.fit
        for event in journal
        if isinstance(event, Metric) and not event.source.startswith("fit.")
    }
    fits_of_model: dict[tuple[str, int | None], set[int | None]] = {}
    for event in journal:
        if not isinstance(event, FitStarted) or event.number_of_pass not in (None, 1):
            continue
        # One that continues another fit is a further phase of the same training.
        if event.fit in measured_fits and not event.continues:
            model = (event.model, event.parameters)
            fits_of_model.setdefault(model, set()).add(event.fit)
    most = max(map(len, fits_of_model.values()), default=0)
    if most < FOLDS:
        return ""
    return (
        f"the script fits and measures the same model {most} times (cross-validation, or a search"
        " of its own): changing one of them would mean nothing, so it is left alone"
    )


def _judged_fit(run_dir: Path, verdict: Verdict) -> tuple[int | None, str]:
    """Return the fit that made the judged model, or None and why none can be searched."""
    journal = RunDirectory(run_dir).events
    repeated = repeated_fits(journal)
    if repeated:
        return None, repeated
    if verdict.source.startswith("sklearn.model_selection."):
        return None, (
            "the script only cross-validates, so no example is left to judge a change by:"
            " hold out a test set"
        )
    started = [event for event in journal if isinstance(event, FitStarted)]
    boosters = {event.fit for event in started if event.model == "Booster"}
    fits = {event.fit for event in started if event.fit is not None}
    number = verdict.judged_fit
    # With one fit there is no doubt which model a number measures.
    if number is None and len(fits) == 1:
        number = next(iter(fits))
    if number in boosters:
        return None, (
            "a booster trained by `train` is not searched: its estimator (XGBClassifier,"
            " LGBMClassifier …) is"
        )
    if number is not None:
        return number, ""
    if not fits:
        return None, _no_fits(journal)
    return None, (
        f"the script has {len(fits)} fits and its number does not say which model it measures:"
        " let it evaluate its final model with evaluate, score, or a metric of its predictions"
    )


def _no_fits(journal: Sequence[Event]) -> str:
    own_loop = any(
        isinstance(event, RunWarning) and "train_on_batch" in event.message for event in journal
    )
    why = "by train_on_batch, as GANs do" if own_loop else "if it trains at all"
    return (
        "no fit of Keras or scikit-learn was seen in the script:"
        f" it trains in a loop of its own, {why}"
    )


def _judged_digest(run_dir: Path, verdict: Verdict) -> str:
    """Return the digest of the judged examples.

    "" without one, or if every read gives others.
    """
    evaluations = verdicts.read_claims(run_dir).get("evaluations")
    # The last evaluation from this source is the judged one, as in the gate.
    for evaluation in reversed(evaluations if isinstance(evaluations, list) else []):
        if not isinstance(evaluation, dict) or evaluation.get("source") != verdict.source:
            continue
        digest = str(evaluation.get("examples_digest") or "")
        if verdict.examples_digest and digest != verdict.examples_digest:
            continue
        on = evaluation.get("measured_on")
        return "" if isinstance(on, dict) and on.get("same_again") is False else digest
    return ""
