"""The stages build and train: an environment for the project, and its training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lib import atomic, event_log, events, run_directory
from mlops_lib.detection import missing_data
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.errors import TrainingError, UsageError
from mlops_lib.pipeline import publishing
from mlops_lib.pipeline.job import Job, prepared, remember_files
from mlops_lib.provisioning import resolution
from mlops_lib.records import (
    Image,
    RunResult,
)
from mlops_lib.runner import protocol
from mlops_lib.training import (
    alerts,
    attempt_log,
    remedies,
    requests,
    supervision,
)

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
    image = with_environment(job).spec.image
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


def with_environment(job: Job) -> Job:
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
        return train_job(job, lambda: stack.enter_context(pending_request(job, "train")))


def pending_request(job: Job, verb: requests.Verb) -> contextlib.AbstractContextManager[None]:
    """Record the request while it is executed, for a watchdog to take over."""
    return requests.opened(job.run_dir, verb, job.settings.chosen())


def train_job(job: Job, begin: Callable[[], None]) -> RunResult:
    """Do the work of `train`; `begin` is called once the run exists."""
    _require_data(job)
    job = with_environment(job)
    job.observer(events.stage("train"))
    # Before the request is recorded: a watchdog reads the spec.
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
        # An import may fail only within the script: the environment is then repaired, and it starts
        # again.
        for number in range(resolution.REPAIRS + 1):
            spec = run_directory.write_spec(job.run_dir, job.spec)
            result = supervision.train(
                spec,
                engine=job.engine,
                run_dir=job.run_dir,
                restarts=job.settings["restarts"],
                home=job.home,
                idle_minutes=job.settings["idle_minutes"],
                # Only the first start takes over; a repaired one is this program's own.
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
    # A finished training has read its data.
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
