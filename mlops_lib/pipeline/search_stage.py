"""The stage search: a better model from a rejected one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import events, patching
from mlops_lib.errors import TrainingError, UsageError
from mlops_lib.gate import verdicts
from mlops_lib.pipeline import publishing
from mlops_lib.pipeline.job import Job, prepared, with_args
from mlops_lib.pipeline.judge_stage import judge
from mlops_lib.pipeline.train_stage import pending_request, train, with_environment
from mlops_lib.project import trust
from mlops_lib.records import (
    SearchResult,
    Verdict,
)
from mlops_lib.runner import protocol
from mlops_lib.training import (
    alerts,
    cancellation,
)
from mlops_lib.tuning import argument_sweep, past_searches, ray_node, second_pass
from mlops_lib.tuning.options import Budget, Workers

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.pipeline.job import JobArguments


BALANCED = "balanced_accuracy"


def search(project: str | Path | Job, **settings: Unpack[JobArguments]) -> SearchResult:
    """Search for a better model from a rejected one until it meets the bar (pass 2).

    Args:
        project: the project or run.
        settings: any setting; `trials` and `minutes` limit the search.

    Returns:
        The trials in order, each with its score on the selection examples, which are not the ones
        that the verdict is measured on.

    Raises:
        UsageError: the model was not rejected.
        SearchError: the search failed.
        TrainingError: the script failed during the search.

    Example:
        >>> import mlops_lib as mlops
        >>> search = mlops.search("model_repo/digits_tree", trials=4)
        >>> search.metric, search.selection
        ('accuracy', 'disjoint')
        >>> as_written = search.trials[0]
        >>> search.trials[search.winner].score > as_written.score
        True
    """
    job = prepared(project, **settings)
    verdict = job.directory.verdict or judge(job)
    if not verdicts.is_searched(verdict):
        outcome = job.directory.search
        if outcome is not None:
            return outcome
        raise UsageError(
            f"the model is {verdict.verdict}: there is nothing to search",
            where=str(job.run_dir),
            remedy="Give a higher --target to search all the same.",
        )
    with pending_request(job, "search"):
        return search_job(job, verdict)


def _verdict_to_improve(verdict: Verdict, job: Job) -> Verdict:
    """Return the verdict that the search is to improve.

    It is about balanced accuracy if the model met the bar but is no better than the most frequent
    class.
    """
    if verdict.verdict == "rejected":
        return verdict
    job.observer(
        events.warning(
            f"{verdict.metric} {verdict.value:.4g} is no better than always predicting the most"
            f" frequent class: the search improves {BALANCED}, with class weights and thresholds;"
            f' `metric` = "{BALANCED}" judges by it too'
        )
    )
    return replace(verdict, verdict="rejected", metric=BALANCED, value=None)


def search_job(job: Job, verdict: Verdict) -> SearchResult:
    job = with_environment(job)
    job.observer(events.stage("search"))
    verdict = _verdict_to_improve(verdict, job)
    if not verdict.selection:
        publishing.step(job, "fell short", verdict=verdict)
    # The script's own argument first: it is the tweak that its author has foreseen.
    if job.detection is not None and job.origin is None:
        job, verdict, attempts = _retrain(job, verdict)
        if verdict.verdict != "rejected":
            return attempts
    with alerts.alerting(
        job.spec, settings=job.settings.plain(), home=job.home, observer=job.observer
    ) as observer:
        outcome = second_pass.search(
            job.spec,
            verdict,
            execution=replace(job.execution, observer=observer),
            budget=Budget(trials=job.settings["trials"], minutes=job.settings["minutes"]),
            limits=job.settings["search"],
            past=_similar_searches(job, verdict),
            workers=Workers(
                count=job.settings["workers"],
                ray_address=job.settings["on"],
            ),
        )
    _remember_search(job, verdict, outcome)
    _suggest(job)
    score = outcome.score if outcome.winner else None
    if score is not None and protocol.reaches(score, verdict.target, verdict.mode):
        publishing.step(job, "recovered", search=outcome)
    return outcome


def _similar_searches(job: Job, verdict: Verdict) -> list[dict[str, Any]]:
    """Return the earlier searches of this home that decide about the order of the trials."""
    if not job.settings["past_searches"]:
        return []
    return past_searches.similar(
        job.home, job.spec, metric=verdict.metric or "", examples=verdict.examples
    )


def _remember_search(job: Job, verdict: Verdict, outcome: SearchResult) -> None:
    """Keep what this search found out, for the order of later ones.

    A push that is not trusted could mislead the searches of others: it is not remembered.
    """
    if not job.settings["past_searches"] or job.settings["trust"] != trust.BRANCH:
        return
    try:
        past_searches.remember(job.home, job.spec, outcome, examples=verdict.examples)
    except OSError as error:  # the search itself has ended well
        job.observer(events.warning(f"this search is not remembered: {error}"))


def work(on: str, *, stopped: cancellation.Stop | None = None) -> None:
    """Lend this machine to a search on another one, as a node of its Ray cluster.

    Returns once the search has ended.

    Args:
        on: HOST:PORT of the search, which was started there with `on = "head://HOST:PORT"`.
        stopped: ends it early.

    Raises:
        UsageError: Ray is not installed, or has no token.
        EngineError: no search appears at the address.
        Interrupted: `stopped` was set.

    Example:
        `mlops.work("10.0.0.5:6379")` waits for the search that another machine starts there. An
        address needs a port:

        >>> import mlops_lib as mlops
        >>> mlops.work("10.0.0.5")
        Traceback (most recent call last):
        mlops_lib.errors.UsageError: '10.0.0.5' is no address
    """
    ray_node.join(on, stopped=stopped or cancellation.Stop())


def _retrain(job: Job, verdict: Verdict) -> tuple[Job, Verdict, SearchResult]:
    """Retrain with further values of the argument by which the script takes its tweak.

    Returns:
        The best job, its verdict, and the attempts as a search result. It is the same job if the
        script takes no such argument.
    """
    attempts = [argument_sweep.Attempt.of(job.run_dir, job.spec.args, verdict)]
    jobs = {job.spec.args: job}
    notes = []
    repair = patching.fix_argument(
        job.run_dir, project=Path(job.spec.project), entry=job.spec.entry
    )
    if repair is not None:
        fault, patch = repair
        notes.append(f"{fault}; {patch} fixes that, and the search adds the layers itself")
    for args in argument_sweep.values(
        Path(job.spec.project), job.spec.entry, job.spec.args, count=job.settings["retrain"]
    ):
        retrained = replace(with_args(job, args), earlier_looks=len(attempts))
        try:
            train(retrained)
        except TrainingError as error:
            notes.append(f"with the argument {args[0]} the script fails: {error}")
            break
        jobs[args] = retrained
        attempts.append(argument_sweep.Attempt.of(retrained.run_dir, args, judge(retrained)))
        if attempts[-1].verdict.verdict == "accepted":
            break
        # Further values would train the same model again.
        if attempts[-1].is_same(attempts[-2]):
            notes.append(
                "the argument has no effect: the architecture, its training and its number stay"
                " the same"
            )
            break
    for note in notes:
        job.observer(events.warning(note))
    if len(attempts) > 1:
        argument_sweep.remember(job.run_dir, attempts)
    best = argument_sweep.best(attempts)
    return jobs[best.args], best.verdict, argument_sweep.as_search(attempts, notes=notes)


def _suggest(job: Job) -> None:
    """Write the winner as a patch of the project, if the project still exists."""
    if Path(job.spec.project).is_dir():
        patching.suggest(job.run_dir, project=Path(job.spec.project), entry=job.spec.entry)


def retrain_winner(job: Job, *, of: Path) -> None:
    """Train the winner of another run's search again with this run's seed."""
    job = with_environment(job)
    with pending_request(job, "search"):
        second_pass.retrain_winner(job.spec, of=of, execution=job.execution)
