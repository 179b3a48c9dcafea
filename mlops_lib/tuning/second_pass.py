"""The search from outside: start pass 2 on a rejected run, and read what it found.

The search itself happens in the container, inside the judged `fit` (mlops_lib/runner/search).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_lib import atomic, event_log, events, run_directory
from mlops_lib.engine import Engine
from mlops_lib.errors import SearchError, TrainingError, UsageError
from mlops_lib.events import Observer
from mlops_lib.gate import verdicts
from mlops_lib.records import RunResult, RunSpec, SearchResult, Trial, Verdict
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, cancellation, supervision
from mlops_lib.tuning import local_workers

FOLDS = 3
"""So many fits of the same model, each measured by itself, are a loop."""


def search(
    spec: RunSpec,
    verdict: Verdict,
    *,
    engine: Engine,
    run_dir: Path,
    trials: int,
    minutes: float,
    limits: Mapping[str, Any] | None = None,
    workers: int = 1,
    listen: str = "",
    shared: str = "",
    on: str = "",
    restarts: int = 5,
    home: Path,
    idle_minutes: float = supervision.IDLE_MINUTES,
    taking_over: bool = False,
    observer: Observer = lambda event: None,
    stopped: cancellation.Stop | None = None,
) -> SearchResult:
    """Tweak the judged model until it meets the bar or the budget is used.

    A search that had finished with at least this budget and this bar is returned as it is; a larger
    budget continues it. Where no fit can be searched the result says so (`stopped` is "refused"):
    the rejected model stays what it is. With several workers, each is a container that asks the
    run's own for candidates; trials and minutes are counted over all.

    Raises:
        SearchError: the search itself failed.
        TrainingError: the script failed in pass 2.
    """
    fit, why = _judged_fit(run_dir, verdict)
    if fit is None:
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
    (run_dir / protocol.SEARCH_REFUSED).unlink(missing_ok=True)
    request: dict[str, Any] = {
        "fit": fit,
        "metric": verdict.metric,
        "mode": verdict.mode,
        "target": verdict.target,
        "trials": trials,
        "minutes": minutes,
        "judged_digest": _judged_digest(run_dir, verdict),
        "judged_value": verdict.value,
        "reading": attempt_log.reading(spec),
        "limits": dict(limits or {}),
    }
    before = _read(run_dir / protocol.SEARCH_REQUEST)
    if before is not None and before.get("fit") == fit and before.get("metric") == verdict.metric:
        # The verdict may be about a winner by now; trial 0 stays what it was.
        request.update(
            {key: before[key] for key in ("judged_digest", "judged_value") if key in before}
        )
    if before is not None and _covers(before, request) and not _failed(run_dir, before):
        request = _after_rejection(before, run_dir, verdict) or before
    else:
        request["pass"] = 2 if before is None else int(before.get("pass", 1)) + 1
    _check(listen, shared, on, spec)
    if (workers > 1 or listen) and not _has_workers(run_dir, fit):
        asked = f"--workers {workers}" if workers > 1 else f"--listen {listen}"
        observer(
            events.warning(
                f"{asked} has no effect: this fit is no Keras model's, and such a search tries one"
                " candidate at a time, each on all processors"
            )
        )
        workers = 1
        listen = ""
    request["workers"] = workers
    opened = local_workers.Opened(listen, shared, on) if listen else None

    def train(request: dict[str, Any], *, taking_over: bool = False) -> RunResult:
        atomic.write_json(run_dir / protocol.SEARCH_REQUEST, request)
        return local_workers.train(
            spec,
            engine=engine,
            run_dir=run_dir,
            opened=opened,
            restarts=restarts,
            number_of_pass=int(request["pass"]),
            search=request,
            home=home,
            idle_minutes=idle_minutes,
            taking_over=taking_over,
            observer=observer,
            stopped=stopped,
        )

    result = train(request, taking_over=taking_over)
    if result.state == "failed" and not request.get("own_only") and result.failure is not None:
        # The winner may be another kind of estimator, or another network, which the rest of the
        # script cannot handle (a plot of its tree, weights loaded into the old network): search
        # again among what the script has.
        failed = f"{result.failure.where}: {result.failure.message}".lstrip(": ")[
            :200
        ].splitlines()[0]
        observer(
            events.warning(
                f"the script failed with the winner ({failed}):"
                " searching again without another kind of model"
            )
        )
        result = train(
            {**request, "own_only": True, "failed_with": failed, "pass": int(request["pass"]) + 1}
        )
    _must_have_finished(
        result,
        run_dir,
        "the search was stopped",
        remedy="Mend the script and run it again; finished trials are kept.",
    )
    found = read(run_dir)
    if found is None:
        raise _no_result(run_dir, request)
    return found


def _must_have_finished(result: RunResult, run_dir: Path, stopped: str, *, remedy: str) -> None:
    """Raise TrainingError for a training that failed, or was stopped, before its end."""
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
    """Return what to say about a search that the script went past."""
    trouble = _trouble(run_dir, int(request["pass"]))
    if trouble:
        remedy = f"Mend that, or see hook_error in {run_dir}/{protocol.INSIDE}/{protocol.EVENTS}."
        return SearchError(f"it left no result{trouble}", where=str(run_dir), remedy=remedy)
    return SearchError(
        f"it never began: the script did not come to its fit {request['fit']} again, or that fit cannot be searched",
        where=str(run_dir),
        remedy="Let the script do the same each time it is run with the same arguments; `trials = 0` searches nothing.",
    )


def follow(
    spec: RunSpec,
    *,
    of: Path,
    engine: Engine,
    run_dir: Path,
    restarts: int = 5,
    home: Path,
    idle_minutes: float = supervision.IDLE_MINUTES,
    taking_over: bool = False,
    observer: Observer = lambda event: None,
    stopped: cancellation.Stop | None = None,
) -> SearchResult:
    """Train the winner of another run's search as it came to be: the trials that lead to it, with
    this run's seed.

    Nothing is chosen: the last of these trials is the winner, whatever it scores.

    Raises:
        SearchError: there is no winner to follow, or it could not be trained with this seed.
        TrainingError: the script failed in pass 2.
    """
    asked = _read(of / protocol.SEARCH_REQUEST)
    found = read(of)
    before = run_directory.read_record(of / protocol.SPEC, RunSpec)
    if asked is None or found is None or not found.winner:
        raise SearchError(
            "there is no winner to train again", where=str(of), remedy="Search there first."
        )
    kept = (
        "fit",
        "metric",
        "mode",
        "target",
        "judged_digest",
        "reading",
        "limits",
        "own_only",
        "failed_with",
    )
    request = {
        **{key: asked[key] for key in kept if key in asked},
        "pass": 2,
        "workers": 1,
        "trials": sum(one.number > 0 for one in found.trials),
        "minutes": _FOLLOWED_MINUTES,
        "follow": [one.to_json() for one in lineage(found)],
        "followed": [one.to_json() for one in found.trials],
        "search_seed": 0 if before is None else before.seed,
    }
    atomic.write_json(run_dir / protocol.SEARCH_REQUEST, request)
    result = supervision.train(
        spec,
        engine=engine,
        run_dir=run_dir,
        restarts=restarts,
        number_of_pass=2,
        search=request,
        home=home,
        idle_minutes=idle_minutes,
        taking_over=taking_over,
        observer=observer,
        stopped=stopped,
    )
    _must_have_finished(
        result, run_dir, "it was stopped", remedy="Mend the script and run it again."
    )
    made = read(run_dir)
    if made is None or not made.winner:
        notes = "; ".join(made.notes) if made is not None else _trouble(run_dir, 2).lstrip(": ")
        raise SearchError(
            f"the winner could not be trained with seed {spec.seed}: {notes or 'it left no result'}",
            where=str(run_dir),
            remedy="Set seeds = 1.",
        )
    return made


_FOLLOWED_MINUTES = 1e6
"""A winner that is trained again takes the time it takes."""


def lineage(found: SearchResult) -> list[Trial]:
    """Return the trials that lead to the winner, the first one first; trial 0 is the script's own."""
    trials = {one.number: one for one in found.trials}
    chain: list[Trial] = []
    number: int | None = found.winner
    while number and number in trials and len(chain) < len(trials):
        chain.insert(0, trials[number])
        number = trials[number].parent
    return chain


def _trouble(run_dir: Path, number_of_pass: int) -> str:
    """What the search fell over in this pass, in words; "" where it did not say."""
    said = [
        str(event.get("message"))[:500]
        for event in event_log.events(run_dir)
        if event["event"] == protocol.EVENT_HOOK_ERROR
        and event.get("hook") == "search"
        and event.get("pass") == number_of_pass
    ]
    return f": {said[-1]}" if said else ""


def _check(listen: str, shared: str, on: str, spec: RunSpec) -> None:
    """That other machines can work with this one, if they are to.

    Raises:
        UsageError: they cannot.
    """
    host, _, port = listen.rpartition(":")
    if bool(listen) != bool(shared) or (on and not listen):
        raise UsageError(
            "workers of other machines need both an address and shared files",
            where="listen, shared",
            remedy="Give --listen ADDRESS:PORT and --shared URL, or neither.",
        )
    if listen and not (host and port.isdecimal()):
        raise UsageError(
            f"{listen!r} is no address",
            where="listen",
            remedy="Give ADDRESS:PORT, such as 10.0.0.5:7070.",
        )
    if listen and spec.backend == "docker" and spec.limits.network == "none":
        raise UsageError(
            "a container without a network cannot listen",
            where="listen",
            remedy="Give another --network, or no --listen.",
        )


def _has_workers(run_dir: Path, fit: int) -> bool:
    """Whether a search around this fit can have several workers."""
    events = event_log.events(run_dir)
    return any(
        e["event"] == protocol.EVENT_FIT and e.get("fit") == fit and e.get("framework") == "keras"
        for e in events
    )


def read(run_dir: Path) -> SearchResult | None:
    """What a search found, or why it left the script alone; None if there was none."""
    refused = run_directory.read_record(run_dir / protocol.SEARCH_REFUSED, SearchResult)
    return refused or run_directory.read_record(
        run_dir / protocol.INSIDE / protocol.SEARCH / protocol.RESULT, SearchResult, inside=run_dir
    )


def goes_on(run_dir: Path, verdict: Verdict) -> bool:
    """Whether a finished search has something to go on with: its winner was rejected, and its
    budget is not used up.
    """
    before = _read(run_dir / protocol.SEARCH_REQUEST)
    return before is not None and _after_rejection(before, run_dir, verdict) is not None


def last_pass(run_dir: Path) -> int:
    """Return the number of the last pass that came to its end: 1 as written, further ones are the
    search's.
    """
    asked = int((_read(run_dir / protocol.SEARCH_REQUEST) or {}).get("pass", 1))
    return next(
        (
            number
            for number in range(asked, 1, -1)
            if attempt_log.finished(run_dir, number) is not None
        ),
        1,
    )


def _after_rejection(
    before: dict[str, Any], run_dir: Path, verdict: Verdict
) -> dict[str, Any] | None:
    """The orders of a search that goes on because the gate rejected its winner; None where there is
    no reason to.

    All that comes back from the gate is that it said no: the bar on the selection examples is
    raised, and what is tried is decided as before.
    """
    found = read(run_dir)
    rejected = list(before.get("rejected") or ())
    number = int(before.get("pass", 2))
    if (
        found is None
        or found.stopped != "bar"
        or found.score is None
        or attempt_log.finished(run_dir, number) is None
    ):
        return None
    if (
        verdict.verdict != "rejected"
        or not verdict.selection
        or verdict.looks >= protocol.MOST_LOOKS
    ):
        return None
    used_s = sum(trial.seconds for trial in found.trials if trial.number)
    tried = sum(trial.number > 0 for trial in found.trials)
    if tried >= before.get("trials", 0) or used_s >= 60 * before.get("minutes", 0):
        return None
    return {**before, "rejected": [*rejected, found.score], "pass": number + 1}


def unfinished(run_dir: Path) -> bool:
    """Whether a search was asked for and is not at its end."""
    request = _read(run_dir / protocol.SEARCH_REQUEST)
    return (
        request is not None and attempt_log.finished(run_dir, int(request.get("pass", 2))) is None
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = atomic.read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _covers(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether the earlier search was asked for at least as much, for the same bar."""
    # What is missing in a request of an earlier version of this package is taken as equal.
    same = all(
        before.get(key, now[key]) == now[key]
        for key in ("fit", "metric", "mode", "target", "reading", "limits")
    )
    return (
        same
        and before.get("trials", 0) >= now["trials"]
        and before.get("minutes", 0) >= now["minutes"]
    )


def _failed(run_dir: Path, before: dict[str, Any]) -> bool:
    """Whether that search came to its end without a result."""
    return (
        read(run_dir) is None
        and attempt_log.finished(run_dir, int(before.get("pass", 2))) is not None
    )


def loop(events: list[dict[str, Any]]) -> str:
    """Why a script with these events is left alone: it trains the same model again and again; ""
    where it does not.
    """
    made: dict[tuple[Any, Any], set[int]] = {}
    measured = {
        e.get("fit")
        for e in events
        if e["event"] == protocol.EVENT_METRIC and not str(e.get("source")).startswith("fit.")
    }
    for event in events:
        if event.get("continues"):
            continue  # another phase of the same training
        if (
            event["event"] == protocol.EVENT_FIT
            and event.get("fit") in measured
            and event.get("pass", 1) == 1
        ):
            made.setdefault((event.get("model"), event.get("parameters")), set()).add(event["fit"])
    most = max(map(len, made.values()), default=0)
    if most < FOLDS:
        return ""
    return (
        f"the script fits and measures the same model {most} times (cross-validation, or a search of its own): changing one"
        " of them would mean nothing, so it is left alone"
    )


def _judged_fit(run_dir: Path, verdict: Verdict) -> tuple[int | None, str]:
    """The fit whose model the verdict is about; None with the reason where there is none to search
    in.
    """
    events = event_log.Events(run_dir).new()
    repeated = loop(events)
    if repeated:
        return None, repeated
    if verdict.source.startswith("sklearn.model_selection."):
        return (
            None,
            "the script only cross-validates, so no example is left to judge a tweak by: hold out a test set",
        )
    boosters = {
        e.get("fit")
        for e in events
        if e["event"] == protocol.EVENT_FIT and e.get("model") == "Booster"
    }
    fits = {
        e["fit"] for e in events if e["event"] == protocol.EVENT_FIT and e.get("fit") is not None
    }
    judged = (
        verdict.judged_fit
        if verdict.judged_fit is not None or len(fits) != 1
        else int(next(iter(fits)))
    )
    if judged in boosters:
        return (
            None,
            "a booster trained by `train` is not searched: its estimator (XGBClassifier, LGBMClassifier …) is",
        )
    if judged is not None:
        return judged, ""
    if not fits:
        own_loop = any(
            "train_on_batch" in str(e.get("message"))
            for e in events
            if e["event"] == protocol.EVENT_WARNING
        )
        why = "by train_on_batch, as GANs do" if own_loop else "if it trains at all"
        return (
            None,
            f"no fit of Keras or scikit-learn was seen in the script: it trains in a loop of its own, {why}",
        )
    return None, (
        f"the script has {len(fits)} fits and its number does not say which model it measures: let it evaluate its final"
        " model with evaluate, score, or a metric of its predictions"
    )


def _judged_digest(run_dir: Path, verdict: Verdict) -> str:
    """Return the name of the judged examples; "" if they have none, or have another one whenever
    they are read.
    """
    listed = verdicts.read_claims(run_dir).get("evaluations")
    for evaluation in reversed(listed if isinstance(listed, list) else []):
        if not isinstance(evaluation, dict) or evaluation.get("source") != verdict.source:
            continue
        name = str(evaluation.get("examples_digest") or "")
        if verdict.examples_digest and name != verdict.examples_digest:
            continue
        on = evaluation.get("measured_on")
        return "" if isinstance(on, dict) and on.get("same_again") is False else name
    return ""
