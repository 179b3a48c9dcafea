"""Publish a run: its report, and notifications about its progress and outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import config, events, notification, reporting
from mlops_lib.ci import artifacts as gathered
from mlops_lib.ci import builds
from mlops_lib.errors import NotificationError, UsageError
from mlops_lib.events import Observer
from mlops_lib.pipeline.job import Job, prepared, unprepared
from mlops_lib.project import git_history
from mlops_lib.records import Failure, Link, ModelVersion, RunResult, RunSpec, Verdict
from mlops_lib.registry import model_store
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.pipeline.job import JobArguments
    from mlops_lib.settings_arguments import SettingsArguments


def report(
    project: str | Path | Job, *, artifacts: str = "", **settings: Unpack[JobArguments]
) -> Path:
    """Write the run's report; return the HTML file.

    Args:
        project: the project or run.
        artifacts: folder in which to gather the files that a build server archives; or "".
        settings: any setting.

    Raises:
        UsageError: there is no such run yet.

    Example:
        >>> import mlops_lib as mlops
        >>> page = mlops.report("model_repo/digits_tree")
        >>> page.name, "digits_tree" in page.read_text()
        ('report.html', True)
    """
    job = prepared(project, **settings)
    if not job.run_dir.is_dir():
        raise UsageError(
            "there is no such run yet", where=str(job.run_dir), remedy="`mlops train` first."
        )
    job.observer(events.stage("report"))
    page = reporting.report(job.run_dir)
    if artifacts:
        gathered.gather(job.run_dir, Path(artifacts), home=job.home, project=Path(job.spec.project))
    return page


def notify(
    project: str | Path | Job, **settings: Unpack[JobArguments]
) -> list[notification.Delivery]:
    """Notify people of the run's outcome on every configured channel.

    The setting `notify` decides whether an unchanged outcome is worth a message.

    Args:
        project: the project or run.
        settings: any setting.

    Returns:
        One delivery for each channel and message; empty if there is nothing to send. A message that
        could not be delivered is kept for the next call, and its delivery gives the reason.

    Raises:
        UsageError: a setting has no valid value.

    Example:
        >>> import mlops_lib as mlops
        >>> mlops.notify("model_repo/digits_tree")  # no channel is configured
        []
    """
    job = prepared(project, **settings)
    verdict, result = _outcome(job)
    if verdict is None and result is None:
        return []
    job.observer(events.stage("notify"))
    version = None
    if verdict is not None and verdict.verdict == "accepted":
        version = model_store.of_run(job.spec.name, job.spec.digest, home=job.home)
    _update_report(job)
    marker = job.run_dir / STEPS_MARKER
    message = notification.compose(
        spec=job.spec,
        verdict=verdict,
        result=result,
        search=job.directory.search,
        champion=_champion_before(job, version),
        version=version,
        links=_links(job, version),
        pictures=pictures(job) if job.run_dir.is_dir() else [],
        attachments=_attachments(job),
        is_announced=marker.exists() or builds.failure() is not None,
        **_circumstances(job.spec, job.settings),
    )
    plain = job.settings.plain()
    _wait_for_steps()
    began = time.monotonic()
    deliveries = notification.flush(plain, home=job.home, retry=FLUSH_RETRY)
    if message is not None:
        # Waiting messages have used their share of the time: a receiver that does not answer is
        # not waited for twice.
        left_s = max(FLUSH_RETRY.limit_s, NOTIFY_RETRY.limit_s - (time.monotonic() - began))
        retry = replace(NOTIFY_RETRY, limit_s=left_s)
        deliveries += notification.notify(message, settings=plain, home=job.home, retry=retry)
    outcome = verdict or result
    assert outcome is not None
    notification.remember(job.spec.name, outcome, home=job.home, commit=job.spec.commit)
    marker.unlink(missing_ok=True)
    return deliveries


def notify_of_build(
    project: str | Path, **settings: Unpack[SettingsArguments]
) -> list[notification.Delivery]:
    """Notify people of a build that failed before detection.

    Outside of a build, nothing is sent.

    Args:
        project: the project.
        settings: only `name` and `notify` are used: any other may be the cause of the failure.
    """
    stage = builds.failure()
    place = Path(project).expanduser().absolute()
    if stage is None:
        return []
    # Another setting may be the cause of the failure, and would hide it by its own error.
    harmless = {key: value for key, value in settings.items() if key in ("name", "notify")}
    resolved = config.resolve(None, harmless)
    spec = unprepared(place, resolved)
    url = resolved["link_url"]
    result = _failed(stage, run_dir="")
    message = notification.compose(
        spec=spec,
        result=result,
        links=[Link(label="build", url=url)] if url else [],
        is_announced=True,
        **_circumstances(spec, resolved),
    )
    notification.remember(spec.name, result, home=resolved.home, commit=spec.commit)
    return (
        []
        if message is None
        else notification.notify(message, settings=resolved.plain(), home=resolved.home)
    )


def _failed(stage: builds.Stage, *, run_dir: str) -> RunResult:
    failure = Failure(kind="stage", message=stage.reason, where=stage.name)
    return RunResult(run_dir=run_dir, state="failed", exit_code=stage.exit, failure=failure)


def _outcome(job: Job) -> tuple[Verdict | None, RunResult | None]:
    """Return the run's verdict and training, or its build's failure."""
    verdict = job.directory.verdict
    result = job.directory.training
    stage = builds.failure()
    # A training that failed has its own result, with more detail than the build's.
    if stage is not None and not (
        stage.verb == "train" and result is not None and result.state == "failed"
    ):
        return None, _failed(stage, run_dir=str(job.run_dir))
    return verdict, result


def _champion_before(job: Job, version: ModelVersion | None) -> ModelVersion | None:
    """Return the champion before the run's own model."""
    champion = model_store.champion(job.spec.name, home=job.home)
    own = version or (
        champion if champion is not None and champion.run == job.spec.digest else None
    )
    return champion if own is None else model_store.champion_before(own, home=job.home)


OUTCOME_FILES = (protocol.VERDICT, protocol.TRAINING, protocol.REGISTERED)
"""Files of a run directory that contain its outcome."""


def _update_report(job: Job) -> None:
    """Write the report unless it is newer than the run's outcome: messages link to it."""
    page = job.run_dir / protocol.REPORT
    outcomes = [job.run_dir / name for name in OUTCOME_FILES]
    times = [path.stat().st_mtime for path in outcomes if path.is_file()]
    # A report older than the verdict would contradict the message that links to it.
    if times and not (page.is_file() and page.stat().st_mtime >= max(times)):
        report(job)


STEPS_MARKER = "steps-told"
"""Marker in a run directory: a step was announced, so that its end is announced too."""
STEP_RETRY = notification.DeliveryPolicy(attempts=2, limit_s=5.0, timeout_s=3.0)
"""Retries for messages about steps, and for waiting ones that are sent beside other work."""
NOTIFY_RETRY = notification.DeliveryPolicy()
"""Retries for the outcome of a run; waiting messages share its time limit."""
FLUSH_RETRY = notification.DeliveryPolicy(attempts=2, limit_s=20.0)


def _circumstances(spec: RunSpec, settings: config.Settings) -> dict[str, Any]:
    """Return author, commits and previous outcome for a message."""
    project = Path(spec.project)
    green = notification.last_accepted(spec.name, home=settings.home)
    return {
        "previous": notification.recall(spec.name, home=settings.home),
        "author": git_history.author(project),
        "commits": git_history.commits_since(project, green),
        "when": settings["notify"],
    }


def _links(job: Job, version: ModelVersion | None = None) -> list[Link]:
    places = {
        "report": (job.run_dir / protocol.REPORT, builds.artifact_url("report/index.html")),
        "patch": (job.run_dir / protocol.PATCH, builds.artifact_url(protocol.PATCH)),
    }
    if version is not None:
        places["model"] = (Path(version.model), builds.artifact_url(Path(version.model).name))
    links = [
        Link(label=name, url=url or str(at)) for name, (at, url) in places.items() if at.is_file()
    ]
    if job.settings["link_url"]:
        links.append(Link(label="build", url=job.settings["link_url"]))
    return links


def pictures(job: Job) -> list[str]:
    """Draw the run's curves; return the file, or nothing if there is no curve."""
    picture = reporting.curve_png(job.run_dir, job.run_dir / protocol.CURVES)
    return [] if picture is None else [str(picture)]


def _attachments(job: Job) -> list[str]:
    page = job.run_dir / protocol.REPORT
    return [str(page)] if page.is_file() else []


def step(job: Job, what: notification.Step, **details: Any) -> None:
    """Announce a step of the run on channels that group a run's messages.

    Args:
        job: the run.
        what: the step.
        details: records that the step's message needs: `verdict` or `search`.
    """
    try:
        message = notification.step(
            what,
            spec=job.spec,
            links=_links(job),
            **details,
            **_circumstances(job.spec, job.settings),
        )
        if message is None:
            return
        plain = job.settings.plain()
        if notification.enqueue(message, settings=plain, home=job.home):
            (job.run_dir / STEPS_MARKER).touch()
            _send_in_thread(
                job,
                lambda: notification.notify(
                    message, settings=plain, home=job.home, retry=STEP_RETRY
                ),
            )
    except (NotificationError, UsageError, OSError) as error:
        job.observer(events.warning(f"could not send notifications: {error}"))


_steps: list[threading.Thread] = []
"""Threads that are sending messages about steps while the training continues."""


def _send_in_thread(job: Job, send: Callable[[], object]) -> None:
    """Send in a thread, so that a training never waits for a receiver.

    A message that cannot be sent stays in the spool.
    """

    def work() -> None:
        try:
            send()
        except (NotificationError, UsageError, OSError) as error:
            job.observer(events.warning(f"could not send notifications: {error}"))

    thread = threading.Thread(target=work, name="mlops-step", daemon=True)
    # In place: other threads hold the list.
    _steps[:] = [sender for sender in _steps if sender.is_alive()]
    _steps.append(thread)
    thread.start()


def _wait_for_steps() -> None:
    """Wait for the messages about steps, so that the outcome does not overtake them."""
    deadline = time.monotonic() + STEP_RETRY.limit_s
    for thread in list(_steps):
        thread.join(timeout=max(0.0, deadline - time.monotonic()))


def try_channels(**settings: Unpack[SettingsArguments]) -> list[notification.Delivery]:
    """Send one message to every configured channel.

    Raises:
        UsageError: no channel is configured.
    """
    plain = {**config.resolve(None, settings).plain(), "notify": "always"}
    home = config.resolve(None, settings).home
    deliveries = notification.notify(
        notification.sample(f"{time.time_ns():x}"), settings=plain, home=home
    )
    if not deliveries:
        raise UsageError(
            "no channel is configured",
            where="mlops notify --test",
            remedy=f"Set one of {', '.join(config.SECRETS)}; docs/notifications.md says how.",
        )
    return deliveries


def flush(
    project: str | Path | Job, **settings: Unpack[JobArguments]
) -> list[notification.Delivery]:
    """Send the messages that earlier commands could not deliver; never fail."""
    job = prepared(project, **settings)
    return post(job.settings, job.observer)


def post(settings: config.Settings, observer: Observer) -> list[notification.Delivery]:
    """Do the work of `flush` for callers that have settings but no job."""
    try:
        return notification.flush(settings.plain(), home=settings.home, retry=STEP_RETRY)
    except (NotificationError, UsageError, OSError) as error:
        observer(events.warning(f"could not send waiting messages, which are kept: {error}"))
        return []


def try_to_notify(job: Job) -> None:
    """Notify people of the run's outcome; a failure is only a warning.

    A failed notification never fails a training: it stays in the spool for the next command.
    """
    try:
        notify(job)
    except (NotificationError, UsageError, OSError) as error:
        job.observer(events.warning(f"could not send notifications: {error}"))
