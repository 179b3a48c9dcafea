"""The stages with their settings: what a shell, a notebook and Jenkins call.

Each function takes a project (folder, script or notebook) or a run directory, and settings by
keyword (mlops_lib.config lists them). Each may be called again at any time: what was done is not
done twice, what was interrupted goes on.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lib import atomic, event_log, events, run_directory
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
from mlops_lib.runner import protocol
from mlops_lib.training import alerts, attempt_log, remeasurement, remedies, requests, supervision
from mlops_lib.tuning import argument_sweep, second_pass
from mlops_lib.tuning.options import Budget, Workers

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.pipeline.job import JobArguments


def build(
    project: str | Path | Job, *, with_code: bool = False, **settings: Unpack[JobArguments]
) -> Image:
    """Make the project's environment real, and see that what the code imports is in it.

    Args:
        project: the project or run.
        with_code: also bake the project into an image that trains by itself; that one is returned.
        settings: as everywhere.

    Raises:
        ImageError: it cannot be built.
    """
    job = prepared(project, **settings)
    image = _with_environment(job).spec.image
    if not with_code:
        return image
    from mlops_lib.engine.docker import DockerEngine

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
    """The job in the environment that was made for it, which may differ from the one planned."""
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
    """Train the project as it is written (pass 1), or return what had been trained.

    Raises:
        TrainingError: the script failed; the run is kept.
    """
    job = prepared(project, **settings)
    with contextlib.ExitStack() as asking:
        return _train(job, lambda: asking.enter_context(_asking(job, "train")))


def _asking(job: Job, verb: requests.Verb) -> contextlib.AbstractContextManager[None]:
    return requests.asking(job.run_dir, verb, job.settings.chosen())


def _train(job: Job, begin: Callable[[], None]) -> RunResult:
    """As `train`; `begin` is called once the run exists."""
    _check_data(job)
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
    with alerts.telling(
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
        if result.state == "finished":
            raise
    if result.state != "finished":
        raise remedies.training_error(result)
    return result


def _repaired(job: Job, result: RunResult) -> Job | None:
    """The job in an environment that has what its training failed to import; None where that is not
    known.
    """
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


def _check_data(job: Job) -> None:
    from mlops_lib.detection import missing_data

    if job.detection is None or attempt_log.finished(job.directory, 1) is not None:
        return
    pointers = missing_data.pointers(job.detection)
    if pointers:
        more = f" and {len(pointers) - 3} more" if len(pointers) > 3 else ""
        raise TrainingError(
            f"Git LFS has left pointers in place of data: {', '.join(pointers[:3])}{more}",
            where=job.spec.entry,
            remedy='Fetch the content before: git lfs pull (in Jenkins, the behaviour "Git LFS pull after checkout").',
        )
    given = [mount.target for mount in job.spec.mounts]
    for path, pointer in missing_data.not_pulled(job.detection, given=given).items():
        raise TrainingError(
            f"{path} is tracked by DVC and not here ({pointer} stands for it)",
            where=job.spec.entry,
            remedy=f"Fetch it before: dvc pull {pointer}. Or give it with {remedies.mount_for(path)}.",
        )
    for missing in missing_data.missing(job.detection, given=given):
        if missing.certain:
            first = (
                f"{missing.maker} writes it: let {job.spec.entry} run that first. Or push"
                if missing.maker
                else "Push"
            )
            raise TrainingError(
                f"it reads {missing.path!r}, which is not there",
                where=missing.where,
                remedy=f"{first} the file with the project, or give it with {remedies.mount_for(missing.path)}.",
            )
        job.observer(events.warning(f"{missing.where}: {missing.path!r} is not there"))


def judge(project: str | Path | Job, **settings: Unpack[JobArguments]) -> Verdict:
    """Judge the run's model against its bar.

    Raises:
        UsageError: the run has not finished.
    """
    job = prepared(project, **settings)
    if attempt_log.finished(job.directory, 1) is None:
        raise UsageError(
            "there is no finished training", where=str(job.run_dir), remedy="`mlops train` first."
        )
    return _judge(job)


def _judge(job: Job, *, is_alone: bool = False) -> Verdict:
    """Judge a run that has finished, and write its verdict.

    Args:
        job: the run.
        is_alone: judge its own seed only, however many are asked for.
    """
    found = job.directory.search
    before = job.directory.verdict
    remeasured = _remeasured(job)
    verdict = _judged(job, before, remeasured)
    if job.settings["seeds"] > 1 and not is_alone:
        verdict = _over_seeds(job, verdict, before, remeasured)
    if found is not None and found.stopped == "refused" and verdict.verdict == "rejected":
        notes = tuple(reason("not searched", note=note) for note in found.notes)
        verdict = replace(verdict, reasons=(*verdict.reasons, *notes))
    if before is not None and before != verdict:
        event_log.append(job.run_dir / protocol.VERDICTS, before.to_json())
    atomic.write_json(job.run_dir / protocol.VERDICT, verdict.to_json())
    job.observer({"event": protocol.EVENT_VERDICT, "verdict": verdict.to_json()})
    return verdict


def _remeasured(job: Job) -> Remeasured | None:
    """Have the saved model measured by a process without the script."""
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
    found = job.directory.search
    return verdicts.judge(
        job.run_dir,
        target=job.settings["target"] if target is None else target,
        metric=job.settings["metric"],
        mode=job.settings["mode"],
        strict=job.settings["strict"] and target is None,
        beats=job.settings["beats"] if target is None else "",
        champion=champions.find(job.spec, job.run_dir, home=job.home) if target is None else None,
        selection="" if found is None or not found.trials else found.selection,
        is_winner=found is not None and found.winner > 0,
        best_of=_best_of(job),
        remeasured=remeasured,
        **_looks(job, before, is_changed=found is not None and found.winner > 0),
    )


def _over_seeds(
    job: Job, own: Verdict, before: Verdict | None, remeasured: Remeasured | None
) -> Verdict:
    """Return the verdict over all seeds that were asked for."""
    asked = int(job.settings["seeds"])
    repetitions = {one.seed: one for one in seeds.read(job.run_dir)}
    wanted = range(job.spec.seed + 1, job.spec.seed + asked)
    missing = [seed for seed in wanted if seed not in repetitions]
    if missing:
        told = reason("seeds missing", missing=len(missing), count=asked)
        return replace(
            own,
            verdict="undecided" if own.verdict == "accepted" else own.verdict,
            reasons=(told, *own.reasons),
        )
    anything = -math.inf if own.mode == "max" else math.inf
    others: dict[int, Verdict | str] = {}
    for seed in wanted:
        one = repetitions[seed]
        other = replace(job, run_dir=one.run_dir, origin=None, looked=own.looks - 1)
        is_winner = second_pass.last_pass(one.run_dir) > 1
        if one.failure or is_winner != (own.judged_pass > 1):
            others[seed] = one.failure or "it was not trained as this one was"
        else:
            others[seed] = _judged(other, None, _remeasured(other), target=anything)
    run_dirs = {
        job.spec.seed: str(job.run_dir),
        **{one.seed: str(one.run_dir) for one in repetitions.values()},
    }
    return seeds.combine(
        own,
        _judged(job, before, remeasured, target=anything),
        others,
        seed=job.spec.seed,
        run_dirs=run_dirs,
        strict=job.settings["strict"] or own.looks > protocol.MOST_LOOKS,
        must_beat=job.settings["beats"] == "champion",
    )


def _repeat(job: Job, verdict: Verdict) -> Verdict:
    """Train the judged model with the further seeds that were asked for, and return the verdict
    over all of them.
    """
    asked = int(job.settings["seeds"])
    if asked < 2 or verdict.value is None:
        return verdict
    if (
        job.detection is None
    ):  # of a run directory only what is in it is known: no run can be made with another seed
        return _judge(job)
    repetitions = []
    for seed in range(job.spec.seed + 1, job.spec.seed + asked):
        other = with_seed(job, seed)
        failure = ""
        try:
            train(other)
            if verdict.judged_pass > 1:
                _follow(other, of=job.run_dir)
        except (TrainingError, SearchError) as error:
            failure = str(error).splitlines()[0][:300]
        repetitions.append(seeds.Repetition(seed=seed, run_dir=other.run_dir, failure=failure))
    seeds.remember(job.run_dir, repetitions)
    return _judge(job)


def _follow(job: Job, *, of: Path) -> None:
    """Train the winner of another run's search once more, as it came to be, with this run's seed."""
    job = _with_environment(job)
    with _asking(job, "search"):
        second_pass.retrain_winner(job.spec, of=of, execution=job.execution)


def _looks(job: Job, before: Verdict | None, *, is_changed: bool) -> dict[str, int]:
    """Return how many models were judged on these examples, this one included, and the pass that
    made this one.

    Judging the same model again is no further look. Runs that a script with another argument makes
    share their examples, so each goes on counting from the one before.
    """
    number = second_pass.last_pass(job.run_dir) if is_changed else 1
    earlier = job.looked if before is None else before.looks
    is_same = before is not None and before.judged_pass == number
    looks = earlier if is_same else earlier + 1
    return {"looks": max(looks, _best_of(job)), "judged_pass": number}


def _best_of(job: Job) -> int:
    """Return of how many arguments the run's was chosen by the judged number; 0 if there was no
    choice.
    """
    return 0 if job.origin is None else argument_sweep.attempts_of(job.origin) + 1


def search(project: str | Path | Job, **settings: Unpack[JobArguments]) -> SearchResult:
    """Tweak a rejected model until it meets the bar (pass 2).

    Raises:
        UsageError: the model was not rejected.
        SearchError, TrainingError: the search failed.
    """
    job = prepared(project, **settings)
    verdict = job.directory.verdict or judge(job)
    if not verdicts.is_searched(verdict):
        found = job.directory.search
        if found is not None:
            return found
        raise UsageError(
            f"the model is {verdict.verdict}: there is nothing to search",
            where=str(job.run_dir),
            remedy="Give a higher --target to search all the same.",
        )
    with _asking(job, "search"):
        return _search(job, verdict)


BALANCED = "balanced_accuracy"


def _searched_for(verdict: Verdict, job: Job) -> Verdict:
    """Return the verdict as the search is to take it: for balanced accuracy, if the most frequent
    class passes the bar.
    """
    if verdict.verdict == "rejected":
        return verdict
    job.observer(
        events.warning(
            f"{verdict.metric} {verdict.value:.4g} is no better than always the most frequent class: the search goes"
            f' for {BALANCED}, with class weights and thresholds; `metric` = "{BALANCED}" judges by it too'
        )
    )
    return replace(verdict, verdict="rejected", metric=BALANCED, value=None)


def _search(job: Job, verdict: Verdict) -> SearchResult:
    job = _with_environment(job)
    job.observer(events.stage("search"))
    verdict = _searched_for(verdict, job)
    if not verdict.selection:
        publishing.step(job, "fell short", verdict=verdict)
    if job.detection is not None and job.origin is None:
        job, verdict, tried = _retrain(job, verdict)
        if verdict.verdict != "rejected":
            return tried
    with alerts.telling(
        job.spec, settings=job.settings.plain(), home=job.home, observer=job.observer
    ) as observer:
        found = second_pass.search(
            job.spec,
            verdict,
            execution=replace(job.execution, observer=observer),
            budget=Budget(trials=job.settings["trials"], minutes=job.settings["minutes"]),
            limits=job.settings["search"],
            workers=Workers(
                count=job.settings["workers"],
                listen=job.settings["listen"],
                shared=job.settings["shared"],
                ray_address=job.settings["on"],
            ),
        )
    _suggest(job)
    score = found.score if found.winner else None
    if score is not None and protocol.reaches(score, verdict.target, verdict.mode):
        publishing.step(job, "recovered", search=found)
    return found


def work(project: str | Path | Job, **settings: Unpack[JobArguments]) -> RunResult:
    """Try candidates for the search of the same project's run on another machine, until it is over.

    Raises:
        UsageError: the shared files are not named or cannot be reached.
        TrainingError: the script failed here.
    """
    from mlops_lib.tuning import remote_worker

    job = _with_environment(prepared(project, **settings))
    job.observer(events.stage("work"))
    return remote_worker.work(job.spec, execution=job.execution, url=job.settings["shared"])


def _retrain(job: Job, verdict: Verdict) -> tuple[Job, Verdict, SearchResult]:
    """Where the script takes its tweak as an argument: train it with further values, and go on as
    the best.
    """
    from mlops_lib import patching

    attempts = [argument_sweep.Attempt.of(job.run_dir, job.spec.args, verdict)]
    jobs = {job.spec.args: job}
    notes = []
    mended = patching.mend_argument(
        job.run_dir, project=Path(job.spec.project), entry=job.spec.entry
    )
    if mended is not None:
        notes.append(f"{mended[0]}; {mended[1]} mends that, and the search adds the layers itself")
    for args in argument_sweep.values(
        Path(job.spec.project), job.spec.entry, job.spec.args, count=job.settings["retrain"]
    ):
        other = replace(with_args(job, args), looked=len(attempts))
        try:
            train(other)
        except TrainingError as error:
            notes.append(f"with the argument {args[0]} the script fails: {error}")
            break
        jobs[args] = other
        attempts.append(argument_sweep.Attempt.of(other.run_dir, args, judge(other)))
        if attempts[-1].verdict.verdict == "accepted":
            break
        if attempts[-1].is_same(attempts[-2]):
            notes.append(
                "the argument has no effect: the architecture, its training and its number stay the same"
            )
            break
    for note in notes:
        job.observer(events.warning(note))
    if len(attempts) > 1:
        argument_sweep.remember(job.run_dir, attempts)
    chosen = argument_sweep.best(attempts)
    return jobs[chosen.args], chosen.verdict, argument_sweep.as_search(attempts, notes=notes)


def _suggest(job: Job) -> None:
    """Write the winner as a patch of the project; a project that is not here any more gets none."""
    from mlops_lib import patching

    if Path(job.spec.project).is_dir():
        patching.suggest(job.run_dir, project=Path(job.spec.project), entry=job.spec.entry)


def register(project: str | Path | Job, **settings: Unpack[JobArguments]) -> ModelVersion:
    """Make an accepted model a version in the registry.

    Raises:
        UsageError: it was not accepted.
    """
    job = prepared(project, **settings)
    verdict = job.directory.verdict
    if verdict is None or verdict.verdict != "accepted":
        raise UsageError(
            "only an accepted model is registered",
            where=str(job.run_dir),
            remedy="`mlops judge` says what it lacks.",
        )
    from mlops_lib.registry import mlflow as mlflow_registry

    job.observer(events.stage("register"))
    version = model_store.register(job.run_dir, job.spec, verdict, home=job.home)
    atomic.write_json(job.run_dir / protocol.REGISTERED, version.to_json())
    if mlflow_registry.is_wanted():
        publishing.report(job)
        publishing.pictures(job)
    mlflow_registry.try_to_log(job.run_dir, job.spec, version, home=job.home, observer=job.observer)
    return version


def stop(project: str | Path | Job, **settings: Unpack[JobArguments]) -> int:
    """Stop the run's containers; the run stays resumable. Returns how many were running."""
    job = prepared(project, **settings)
    return supervision.stop(job.run_dir, job.spec, engine=job.engine) if job.run_dir.is_dir() else 0


def run(project: str | Path | Job, **settings: Unpack[JobArguments]) -> PipelineResult:
    """The whole chain: detect, build, train, judge, search if the bar is missed, register, report,
    notify.

    Raises:
        TrainingError, SearchError: the script or the search failed; it is reported and people are
            told first.
    """
    job = prepared(project, **settings)
    with contextlib.ExitStack() as asking:
        return _run(job, lambda: asking.enter_context(_asking(job, "run")))


def _run(job: Job, begin: Callable[[], None]) -> PipelineResult:
    began = time.monotonic()
    try:
        job, verdict, found = _decided(job, begin)
    except (TrainingError, SearchError):
        if job.run_dir.is_dir():
            publishing.report(job)
            publishing.tell(job)
        raise
    model = champions.model_file(job.run_dir)
    version = register(job) if verdict.verdict == "accepted" and model is not None else None
    result = _result(job, verdict, found, version, seconds=time.monotonic() - began)
    atomic.write_json(job.run_dir / protocol.RESULT, result.to_json())
    publishing.report(job)
    publishing.tell(job)
    return result


def _decided(job: Job, begin: Callable[[], None]) -> tuple[Job, Verdict, SearchResult | None]:
    """Train and judge; where the bar is missed, search and judge again. The job may go on with
    other arguments.
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
    found: SearchResult | None,
    version: ModelVersion | None,
    *,
    seconds: float,
) -> PipelineResult:
    model = champions.model_file(job.run_dir)
    suggested = [job.run_dir / name for name in (protocol.PATCH, protocol.BEST_SCRIPT)]
    patch = next((place for place in suggested if place.is_file()), None)
    reasons = verdict.reasons
    if verdict.verdict == "accepted" and model is None:
        reasons = (*reasons, reason("not registered"))
    retrained = 0 if job.origin is None else argument_sweep.attempts_of(job.origin)
    if retrained:
        reasons = (
            *reasons,
            reason("best of arguments", argument=job.spec.args[0], count=retrained + 1),
        )
    place = None if model is None else str(model)
    return PipelineResult(
        verdict=verdict.verdict,
        metric=verdict.metric,
        value=verdict.value,
        interval=verdict.interval,
        target=verdict.target,
        examples=verdict.examples,
        trials=retrained + (0 if found is None else sum(t.number > 0 for t in found.trials)),
        restarts=attempt_log.count_restarts(job.directory.attempts),
        model=place if version is None else version.model,
        report=str(job.run_dir / protocol.REPORT),
        patch=None if patch is None else str(patch),
        run_dir=str(job.run_dir),
        seconds=round(seconds, 3),
        version=None if version is None else version.version,
        seeds=verdict.seeds,
        reasons=reasons,
    )
