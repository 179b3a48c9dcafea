"""The stages, as the command line, notebooks and Jenkins call them.

Each function takes a project (folder, script or notebook) or a run directory, and settings by
keyword; mlops_lib.config lists them. Each may be called again at any time: finished work is not
repeated, interrupted work continues.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lib import atomic, event_log, events, patching, run_directory
from mlops_lib.detection import missing_data
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.errors import SearchError, TrainingError, UsageError
from mlops_lib.gate import seeds, verdicts
from mlops_lib.gate.reasons import reason
from mlops_lib.pipeline import publishing
from mlops_lib.pipeline.job import Job, continued, prepared, remember_files, with_args, with_seed
from mlops_lib.provisioning import resolution
from mlops_lib.records import (
    Image,
    ModelVersion,
    PipelineResult,
    Remeasured,
    RunResult,
    SearchResult,
    Verdict,
)
from mlops_lib.registry import champions, model_store
from mlops_lib.registry import mlflow as mlflow_registry
from mlops_lib.runner import protocol
from mlops_lib.training import (
    alerts,
    attempt_log,
    cancellation,
    remeasurement,
    remedies,
    requests,
    supervision,
)
from mlops_lib.tuning import argument_sweep, ray_node, second_pass
from mlops_lib.tuning.options import Budget, Workers

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.pipeline.job import JobArguments


def build(
    project: str | Path | Job, *, with_code: bool = False, **settings: Unpack[JobArguments]
) -> Image:
    """Build the project's environment, and check the code's imports in it.

    Args:
        project: the project or run.
        with_code: also build an image that contains the project and trains by itself.
        settings: any setting.

    Returns:
        The environment's image, or the one with the project if `with_code`. Its tag is a digest of
        its contents, so that the same requirements share one image.

    Raises:
        DetectionError: as for `detect`.
        ImageError: the image cannot be built.
        EngineError: the container engine does not answer.

    Example:
        >>> import mlops_lib as mlops
        >>> image = mlops.build("model_repo/digits_tree")
        >>> image.environment.name, image.tag.partition(":")[0]
        ('sklearn', 'mlops/sklearn')
    """
    job = prepared(project, **settings)
    image = _with_environment(job).spec.image
    if not with_code:
        return image
    if not isinstance(job.engine, DockerEngine):
        raise UsageError(
            "only a container image can hold the code",
            where="--with-code",
            remedy="Use --backend docker.",
        )
    tag = job.engine.bake(replace(job.spec, image=image), on_line=_on_line(job))
    return replace(image, tag=tag)


def _on_line(job: Job) -> Callable[[str], None]:
    return lambda line: job.observer(events.build_output(line))


def _with_environment(job: Job) -> Job:
    """Build the job's environment, and return the job with it."""
    if job.need is None:
        if not job.engine.has(job.spec.image):
            job.observer(events.stage("build"))
            job.engine.build(job.spec.image, on_line=_on_line(job))
        return replace(job, spec=replace(job.spec, image=replace(job.spec.image, built=True)))
    if not job.engine.has(job.spec.image):
        job.observer(events.stage("build"))
    image = resolution.make(job.need, engine=job.engine, home=job.home, observer=job.observer)
    for note in image.notes:
        job.observer(events.warning(note))
    return replace(job, spec=replace(job.spec, image=image))


def train(project: str | Path | Job, **settings: Unpack[JobArguments]) -> RunResult:
    """Train the project as written (pass 1), or return the finished result.

    A training that dies or hangs is started again from its last checkpoint. An interrupted call is
    continued by the same call.

    Args:
        project: the project or run.
        settings: any setting.

    Returns:
        The state and exit code of the script, its restarts, and the seconds that it trained.

    Raises:
        DetectionError, ImageError, EngineError: as for `build`.
        TrainingError: the script failed; the run is kept.

    Example:
        >>> import mlops_lib as mlops
        >>> result = mlops.train("model_repo/digits_tree")
        >>> result.state, result.exit_code, result.restarts
        ('finished', 0, 0)
    """
    job = prepared(project, **settings)
    with contextlib.ExitStack() as stack:
        return _train(job, lambda: stack.enter_context(_pending_request(job, "train")))


def _pending_request(job: Job, verb: requests.Verb) -> contextlib.AbstractContextManager[None]:
    """Record the request while it is executed, for a watchdog to take over."""
    return requests.opened(job.run_dir, verb, job.settings.chosen())


def _train(job: Job, begin: Callable[[], None]) -> RunResult:
    """Do the work of `train`; `begin` is called once the run exists."""
    _require_data(job)
    job = _with_environment(job)
    job.observer(events.stage("train"))
    run_directory.write_spec(job.run_dir, job.spec)
    run_directory.remember(job.run_dir, home=job.home)
    begin()
    if job.detection is not None:
        atomic.write_json(job.run_dir / protocol.DETECTION, job.detection.to_json())
        remember_files(job)
    if attempt_log.finished(job.directory, 1) is None:
        (job.run_dir / protocol.TRAINING).unlink(missing_ok=True)
        publishing.step(job, "started")
    with alerts.alerting(
        job.spec, settings=job.settings.plain(), home=job.home, observer=job.observer
    ) as observer:
        for number in range(resolution.REPAIRS + 1):
            spec = run_directory.write_spec(job.run_dir, job.spec)
            result = supervision.train(
                spec,
                engine=job.engine,
                run_dir=job.run_dir,
                restarts=job.settings["restarts"],
                home=job.home,
                idle_minutes=job.settings["idle_minutes"],
                taking_over=job.taking_over and number == 0,
                observer=observer,
                stopped=job.stopped,
            )
            repaired = _repaired(job, result) if number < resolution.REPAIRS else None
            if repaired is None:
                break
            job = repaired
    try:
        atomic.write_json(job.run_dir / protocol.TRAINING, result.to_json())
    except OSError:
        # A full disk may be what ended the training: its own error is the more useful one.
        if result.state == "finished":
            raise
    if result.state != "finished":
        raise remedies.training_error(result)
    return result


def _repaired(job: Job, result: RunResult) -> Job | None:
    """Return the job in an environment with the failed import, or None."""
    failure = result.failure
    if job.need is None or failure is None or failure.kind != "import":
        return None
    image = resolution.repair(job.need, failure.message, image=job.spec.image, home=job.home)
    if image is None:
        return None
    note = {
        "event": protocol.EVENT_DECISION,
        "do": protocol.DO_REPAIR,
        "why": image.notes[-1],
        "time": round(time.time(), 3),
    }
    event_log.append(job.run_dir / protocol.ATTEMPTS, note)
    job.observer(note)
    job.engine.build(image, on_line=_on_line(job))
    return replace(job, spec=replace(job.spec, image=replace(image, built=True)))


def _require_data(job: Job) -> None:
    """Raise TrainingError if data that the script certainly reads is missing."""
    if job.detection is None or attempt_log.finished(job.directory, 1) is not None:
        return
    pointers = missing_data.pointers(job.detection)
    if pointers:
        more = f" and {len(pointers) - 3} more" if len(pointers) > 3 else ""
        raise TrainingError(
            f"Git LFS has left pointers in place of data: {', '.join(pointers[:3])}{more}",
            where=job.spec.entry,
            remedy="Fetch the content before: git lfs pull (in Jenkins, the behaviour"
            ' "Git LFS pull after checkout").',
        )
    mounted = [mount.target for mount in job.spec.mounts]
    for path, pointer in missing_data.not_pulled(job.detection, given=mounted).items():
        raise TrainingError(
            f"{path} is tracked by DVC and not here ({pointer} stands for it)",
            where=job.spec.entry,
            remedy=f"Fetch it before: dvc pull {pointer}."
            f" Or give it with {remedies.mount_for(path)}.",
        )
    for file in missing_data.missing(job.detection, given=mounted):
        if not file.certain:
            job.observer(events.warning(f"{file.where}: {file.path!r} is not there"))
            continue
        first = "Push"
        if file.maker:
            first = f"{file.maker} writes it: let {job.spec.entry} run that first. Or push"
        raise TrainingError(
            f"it reads {file.path!r}, which is not there",
            where=file.where,
            remedy=f"{first} the file with the project, or give it with"
            f" {remedies.mount_for(file.path)}.",
        )


def judge(project: str | Path | Job, **settings: Unpack[JobArguments]) -> Verdict:
    """Judge the run's model against its bar.

    Args:
        project: the project or run.
        settings: any setting; `target` is the bar, in the metric's own unit (0.8 is 80 %).

    Returns:
        accepted, rejected or undecided, with the number, its 95 % interval, the number of examples
        that it was measured on, and the reasons.

    Raises:
        UsageError: the run has not finished.

    Example:
        >>> import mlops_lib as mlops
        >>> verdict = mlops.judge("model_repo/digits_tree", target=0.8)
        >>> verdict.verdict, verdict.metric, verdict.examples
        ('rejected', 'accuracy', 540)
        >>> low, high = verdict.interval
        >>> low < verdict.value < high < verdict.target
        True
    """
    job = prepared(project, **settings)
    if attempt_log.finished(job.directory, 1) is None:
        raise UsageError(
            "there is no finished training", where=str(job.run_dir), remedy="`mlops train` first."
        )
    return _judge(job)


def _judge(job: Job, *, is_alone: bool = False) -> Verdict:
    """Judge a finished run and write its verdict.

    Args:
        job: the run.
        is_alone: ignore the setting `seeds` and judge this run's seed only.
    """
    outcome = job.directory.search
    before = job.directory.verdict
    remeasured = _remeasured(job)
    verdict = _judged(job, before, remeasured)
    if job.settings["seeds"] > 1 and not is_alone:
        verdict = _over_seeds(job, verdict, before, remeasured)
    if outcome is not None and outcome.stopped == "refused" and verdict.verdict == "rejected":
        notes = tuple(reason("not searched", note=note) for note in outcome.notes)
        verdict = replace(verdict, reasons=(*verdict.reasons, *notes))
    if before is not None and before != verdict:
        event_log.append(job.run_dir / protocol.VERDICTS, before.to_json())
    atomic.write_json(job.run_dir / protocol.VERDICT, verdict.to_json())
    job.observer({"event": protocol.EVENT_VERDICT, "verdict": verdict.to_json()})
    return verdict


def _remeasured(job: Job) -> Remeasured | None:
    """Measure the saved model again in a process without the script."""
    remeasurement.sweep(job.run_dir)
    evaluation = verdicts.judged_evaluation(
        job.run_dir, metric=job.settings["metric"], mode=job.settings["mode"]
    )
    if evaluation is None:
        return None
    # The image may be one that was repaired while the run trained.
    spec = job.directory.spec or job.spec
    return remeasurement.measure(
        job.run_dir, spec, evaluation, engine=job.engine, observer=job.observer
    )


def _judged(
    job: Job, before: Verdict | None, remeasured: Remeasured | None, *, target: float | None = None
) -> Verdict:
    """Return the verdict on a run's own seed, against another target if one is given."""
    outcome = job.directory.search
    is_winner = outcome is not None and outcome.winner > 0
    return verdicts.judge(
        job.run_dir,
        target=job.settings["target"] if target is None else target,
        metric=job.settings["metric"],
        mode=job.settings["mode"],
        strict=job.settings["strict"] and target is None,
        beats=job.settings["beats"] if target is None else "",
        champion=champions.find(job.spec, job.run_dir, home=job.home) if target is None else None,
        selection="" if outcome is None or not outcome.trials else outcome.selection,
        is_winner=is_winner,
        best_of=_best_of(job),
        remeasured=remeasured,
        **_looks(job, before, is_changed=is_winner),
    )


def _over_seeds(
    job: Job, own: Verdict, before: Verdict | None, remeasured: Remeasured | None
) -> Verdict:
    """Return the verdict over all requested seeds."""
    count = int(job.settings["seeds"])
    repetitions = {repetition.seed: repetition for repetition in seeds.read(job.run_dir)}
    further_seeds = range(job.spec.seed + 1, job.spec.seed + count)
    untrained = [seed for seed in further_seeds if seed not in repetitions]
    if untrained:
        not_trained = reason("seeds missing", missing=len(untrained), count=count)
        return replace(
            own,
            verdict="undecided" if own.verdict == "accepted" else own.verdict,
            reasons=(not_trained, *own.reasons),
        )
    # Each seed is measured against a bar that any number meets: only the mean is judged.
    no_bar = -math.inf if own.mode == "max" else math.inf
    others: dict[int, Verdict | str] = {}
    run_dirs = {job.spec.seed: str(job.run_dir)}
    for seed, repetition in repetitions.items():
        run_dirs[seed] = str(repetition.run_dir)
    for seed in further_seeds:
        repetition = repetitions[seed]
        repeated = replace(
            job, run_dir=repetition.run_dir, origin=None, earlier_looks=own.looks - 1
        )
        is_winner = second_pass.last_pass(repetition.run_dir) > 1
        if repetition.failure or is_winner != (own.judged_pass > 1):
            others[seed] = repetition.failure or "it was not trained as this one was"
        else:
            others[seed] = _judged(repeated, None, _remeasured(repeated), target=no_bar)
    return seeds.combine(
        own,
        _judged(job, before, remeasured, target=no_bar),
        others,
        seed=job.spec.seed,
        run_dirs=run_dirs,
        strict=job.settings["strict"] or own.looks > protocol.MOST_LOOKS,
        must_beat=job.settings["beats"] == "champion",
    )


def _repeat(job: Job, verdict: Verdict) -> Verdict:
    """Train with the further seeds, and return the verdict over all of them."""
    count = int(job.settings["seeds"])
    if count < 2 or verdict.value is None:
        return verdict
    if job.detection is None:
        # The job is made of a run directory, without the project that another seed would train.
        return _judge(job)
    repetitions = []
    for seed in range(job.spec.seed + 1, job.spec.seed + count):
        repeated = with_seed(job, seed)
        failure = ""
        try:
            train(repeated)
            if verdict.judged_pass > 1:
                _retrain_winner(repeated, of=job.run_dir)
        except (TrainingError, SearchError) as error:
            failure = str(error).splitlines()[0][:300]
        repetitions.append(seeds.Repetition(seed=seed, run_dir=repeated.run_dir, failure=failure))
    seeds.remember(job.run_dir, repetitions)
    return _judge(job)


def _retrain_winner(job: Job, *, of: Path) -> None:
    """Train the winner of another run's search again with this run's seed."""
    job = _with_environment(job)
    with _pending_request(job, "search"):
        second_pass.retrain_winner(job.spec, of=of, execution=job.execution)


def _looks(job: Job, before: Verdict | None, *, is_changed: bool) -> dict[str, int]:
    """Return the number of models judged on these examples, and this one's pass.

    This model counts too, but judging it again does not. Runs of the same script with another
    argument share their examples, so each continues the count of the one before.
    """
    number = second_pass.last_pass(job.run_dir) if is_changed else 1
    earlier = job.earlier_looks if before is None else before.looks
    is_same = before is not None and before.judged_pass == number
    looks = earlier if is_same else earlier + 1
    return {"looks": max(looks, _best_of(job)), "judged_pass": number}


def _best_of(job: Job) -> int:
    """Return the number of arguments that competed by judged score; 0 for none."""
    return 0 if job.origin is None else argument_sweep.attempts_of(job.origin) + 1


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
    with _pending_request(job, "search"):
        return _search(job, verdict)


BALANCED = "balanced_accuracy"


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


def _search(job: Job, verdict: Verdict) -> SearchResult:
    job = _with_environment(job)
    job.observer(events.stage("search"))
    verdict = _verdict_to_improve(verdict, job)
    if not verdict.selection:
        publishing.step(job, "fell short", verdict=verdict)
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
            workers=Workers(
                count=job.settings["workers"],
                ray_address=job.settings["on"],
            ),
        )
    _suggest(job)
    score = outcome.score if outcome.winner else None
    if score is not None and protocol.reaches(score, verdict.target, verdict.mode):
        publishing.step(job, "recovered", search=outcome)
    return outcome


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
        return _run(job, lambda: stack.enter_context(_pending_request(job, "run")))


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
    _train(job, begin)
    verdict = _judge(job, is_alone=True)
    is_searched = job.settings["trials"] > 0
    if not verdicts.is_searched(verdict) or not is_searched:
        verdict = _repeat(job, verdict)
    if verdicts.is_searched(verdict) and is_searched:
        _search(job, verdict)
        job = job if job.detection is None else continued(job)
        verdict = _judge(job, is_alone=True)
        while second_pass.can_continue(job.run_dir, verdict):
            _search(job, verdict)
            verdict = _judge(job, is_alone=True)
        verdict = _repeat(job, verdict)
    return job, verdict, job.directory.search


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
