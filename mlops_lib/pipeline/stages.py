"""The stages, as the command line, notebooks and Jenkins call them.

Each function takes a project (folder, script or notebook) or a run directory, and settings by
keyword; mlops_lib.config lists them. Each may be called again at any time: finished work is not
repeated, interrupted work continues.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lib import atomic, events
from mlops_lib.errors import SearchError, TrainingError, UsageError
from mlops_lib.gate import seeds, verdicts
from mlops_lib.gate.reasons import reason
from mlops_lib.pipeline import publishing
from mlops_lib.pipeline.job import Job, continued, prepared, with_seed
from mlops_lib.pipeline.judge_stage import judge as judge
from mlops_lib.pipeline.judge_stage import judge_job
from mlops_lib.pipeline.search_stage import retrain_winner, search_job
from mlops_lib.pipeline.search_stage import search as search
from mlops_lib.pipeline.search_stage import work as work
from mlops_lib.pipeline.train_stage import build as build
from mlops_lib.pipeline.train_stage import pending_request, train_job
from mlops_lib.pipeline.train_stage import train as train
from mlops_lib.records import (
    ModelVersion,
    PipelineResult,
    SearchResult,
    Verdict,
)
from mlops_lib.registry import champions, model_store
from mlops_lib.registry import mlflow as mlflow_registry
from mlops_lib.runner import protocol
from mlops_lib.training import (
    attempt_log,
    supervision,
)
from mlops_lib.tuning import argument_sweep, second_pass

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.pipeline.job import JobArguments


def register(project: str | Path | Job, **settings: Unpack[JobArguments]) -> ModelVersion:
    """Register an accepted model as a new version.

    The same model is registered once: a second call returns the version that it has.

    Args:
        project: the project or run.
        settings: any setting.

    Raises:
        UsageError: the model was not accepted.

    Example:
        >>> import mlops_lib as mlops
        >>> version = mlops.register("model_repo/digits_tree")
        >>> version.name, version.version, version.champion
        ('digits_tree', 1, True)
    """
    job = prepared(project, **settings)
    verdict = job.directory.verdict
    if verdict is None or verdict.verdict != "accepted":
        raise UsageError(
            "only an accepted model is registered",
            where=str(job.run_dir),
            remedy="`mlops judge` lists the reasons.",
        )
    job.observer(events.stage("register"))
    version = model_store.register(job.run_dir, job.spec, verdict, home=job.home)
    atomic.write_json(job.run_dir / protocol.REGISTERED, version.to_json())
    if mlflow_registry.is_wanted():
        publishing.report(job)
        publishing.pictures(job)
    mlflow_registry.try_to_log(job.run_dir, job.spec, version, home=job.home, observer=job.observer)
    return version


def stop(project: str | Path | Job, **settings: Unpack[JobArguments]) -> int:
    """Stop the run's containers, and return how many were running.

    The run stays resumable.

    Args:
        project: the project or run.
        settings: any setting.

    Raises:
        EngineError: the container engine does not answer.

    Example:
        >>> import mlops_lib as mlops
        >>> mlops.stop("model_repo/digits_tree")  # nothing is running any more
        0
    """
    job = prepared(project, **settings)
    return supervision.stop(job.run_dir, job.spec, engine=job.engine) if job.run_dir.is_dir() else 0


def run(project: str | Path | Job, **settings: Unpack[JobArguments]) -> PipelineResult:
    """Run the whole chain, from detection to notification.

    The stages are detect, build, train, judge, search (only if the bar is missed), register, report
    and notify. An interrupted call is continued by the same call.

    Args:
        project: the project or run.
        settings: any setting.

    Returns:
        The verdict with its number, and the paths of the model, the report and the patch.

    Raises:
        DetectionError, ImageError, EngineError: as for `build`.
        TrainingError: the script failed. The report and the notifications are sent first.
        SearchError: the search failed, likewise.

    Example:
        >>> import mlops_lib as mlops
        >>> result = mlops.run("model_repo/digits_tree", target=0.8, trials=4)
        >>> result.verdict, result.value > 0.8, result.trials
        ('accepted', True, 1)
    """
    job = prepared(project, **settings)
    with contextlib.ExitStack() as stack:
        return _run(job, lambda: stack.enter_context(pending_request(job, "run")))


def _run(job: Job, begin: Callable[[], None]) -> PipelineResult:
    began = time.monotonic()
    try:
        job, verdict, outcome = _decided(job, begin)
    except (TrainingError, SearchError):
        if job.run_dir.is_dir():
            publishing.report(job)
            publishing.try_to_notify(job)
        raise
    model = champions.model_file(job.run_dir)
    version = register(job) if verdict.verdict == "accepted" and model is not None else None
    result = _result(job, verdict, outcome, version, seconds=time.monotonic() - began)
    atomic.write_json(job.run_dir / protocol.RESULT, result.to_json())
    publishing.report(job)
    publishing.try_to_notify(job)
    return result


def _decided(job: Job, begin: Callable[[], None]) -> tuple[Job, Verdict, SearchResult | None]:
    """Train and judge; if the bar is missed, search and judge again.

    Returns:
        The job, which may have other arguments now, its verdict, and the search's result.
    """
    train_job(job, begin)
    verdict = judge_job(job, is_alone=True)
    is_searched = job.settings["trials"] > 0
    # Before a search only its own seed is judged: the others would train a model that is about to
    # change.
    if not verdicts.is_searched(verdict) or not is_searched:
        verdict = _repeat(job, verdict)
    if verdicts.is_searched(verdict) and is_searched:
        search_job(job, verdict)
        # The search may have chosen another argument, and so another run.
        job = job if job.detection is None else continued(job)
        verdict = judge_job(job, is_alone=True)
        # The gate may reject a winner that has cleared the bar on the selection examples.
        while second_pass.can_continue(job.run_dir, verdict):
            search_job(job, verdict)
            verdict = judge_job(job, is_alone=True)
        verdict = _repeat(job, verdict)
    return job, verdict, job.directory.search


def _repeat(job: Job, verdict: Verdict) -> Verdict:
    """Train with the further seeds, and return the verdict over all of them."""
    count = int(job.settings["seeds"])
    if count < 2 or verdict.value is None:
        return verdict
    if job.detection is None:
        # The job is made of a run directory, without the project that another seed would train.
        return judge_job(job)
    repetitions = []
    for seed in range(job.spec.seed + 1, job.spec.seed + count):
        repeated = with_seed(job, seed)
        failure = ""
        try:
            train(repeated)
            if verdict.judged_pass > 1:
                retrain_winner(repeated, of=job.run_dir)
        except (TrainingError, SearchError) as error:
            failure = str(error).splitlines()[0][:300]
        repetitions.append(seeds.Repetition(seed=seed, run_dir=repeated.run_dir, failure=failure))
    seeds.remember(job.run_dir, repetitions)
    return judge_job(job)


def _result(
    job: Job,
    verdict: Verdict,
    outcome: SearchResult | None,
    version: ModelVersion | None,
    *,
    seconds: float,
) -> PipelineResult:
    model = champions.model_file(job.run_dir)
    suggestions = [job.run_dir / name for name in (protocol.PATCH, protocol.BEST_SCRIPT)]
    patch = next((path for path in suggestions if path.is_file()), None)
    reasons = verdict.reasons
    if verdict.verdict == "accepted" and model is None:
        reasons = (*reasons, reason("not registered"))
    retrained = 0 if job.origin is None else argument_sweep.attempts_of(job.origin)
    if retrained:
        reasons = (
            *reasons,
            reason("best of arguments", argument=job.spec.args[0], count=retrained + 1),
        )
    model_path = None if model is None else str(model)
    searched = 0 if outcome is None else sum(trial.number > 0 for trial in outcome.trials)
    return PipelineResult(
        verdict=verdict.verdict,
        metric=verdict.metric,
        value=verdict.value,
        interval=verdict.interval,
        target=verdict.target,
        examples=verdict.examples,
        trials=retrained + searched,
        restarts=attempt_log.count_restarts(job.directory.attempts),
        model=model_path if version is None else version.model,
        report=str(job.run_dir / protocol.REPORT),
        patch=None if patch is None else str(patch),
        run_dir=str(job.run_dir),
        seconds=round(seconds, 3),
        version=None if version is None else version.version,
        seeds=verdict.seeds,
        reasons=reasons,
    )
