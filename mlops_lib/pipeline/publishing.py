"""What people get to see of a run: its report, and the messages that say how it stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import config, events, notification
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
    """Write the run's report; returns the HTML file.

    Args:
        project: the project or run.
        artifacts: also gather what a build server keeps in this folder.
        settings: as everywhere.
    """
    from mlops_lib import reporting

    job = prepared(project, **settings)
    if not job.run_dir.is_dir():
        raise UsageError(
            "there is no such run yet", where=str(job.run_dir), remedy="`mlops train` first."
        )
    job.observer(events.stage("report"))
    page = reporting.report(job.run_dir)
    if artifacts:
        from mlops_lib.ci import artifacts as gathered

        gathered.gather(job.run_dir, Path(artifacts), home=job.home, project=Path(job.spec.project))
    return page


def notify(
    project: str | Path | Job, **settings: Unpack[JobArguments]
) -> list[notification.Delivery]:
    """Tell people how the run ended, on every configured channel, if that is a change.

    Args:
        project: the project or run.
        settings: as everywhere.
    """
    job = prepared(project, **settings)
    verdict, result = _outcome(job)
    if verdict is None and result is None:
        return []
    job.observer(events.stage("notify"))
    version = None
    if verdict is not None and verdict.verdict == "accepted":
        version = model_store.of_run(job.spec.name, job.spec.digest, home=job.home)
    _reported(job)
    marker = job.run_dir / STEPS_TOLD
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
    _let_steps_end()
    began = time.monotonic()
    deliveries = notification.flush(plain, home=job.home, retry=FLUSH_RETRY)
    if message is not None:
        # What waited before has had its share of the time: a receiver that stays silent is not
        # waited for twice.
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
    """Tell people of a build that ended before it was known what there is to train; nothing outside
    of a build.

    Args:
        project: the project.
        settings: as everywhere; of those only `name` and `notify` count, for the others may be what
            is wrong.
    """
    stage = builds.failure()
    place = Path(project).expanduser().absolute()
    if stage is None:
        return []
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
    """How the run stands; in a build that failed of which the run does not know why, that."""
    verdict = job.directory.verdict
    result = job.directory.training
    stage = builds.failure()
    if stage is not None and not (
        stage.verb == "train" and result is not None and result.state == "failed"
    ):
        return None, _failed(stage, run_dir=str(job.run_dir))
    return verdict, result


def _champion_before(job: Job, version: ModelVersion | None) -> ModelVersion | None:
    """The champion that the run's model had to compare with, never of its own making."""
    champion = model_store.champion(job.spec.name, home=job.home)
    own = version or (
        champion if champion is not None and champion.run == job.spec.digest else None
    )
    return champion if own is None else model_store.champion_before(own, home=job.home)


STANDING = (protocol.VERDICT, protocol.TRAINING, protocol.REGISTERED)
"""Files of a run directory that say how the run stands."""


def _reported(job: Job) -> None:
    """See that there is a report, and that it tells of how the run stands: it goes with what people
    are told.
    """
    page = job.run_dir / protocol.REPORT
    told = [path.stat().st_mtime for name in STANDING if (path := job.run_dir / name).is_file()]
    if told and not (page.is_file() and page.stat().st_mtime >= max(told)):
        report(job)


STEPS_TOLD = "steps-told"
"""In a run directory: people were told of a step of the run, and wait for its end."""
STEP_RETRY = notification.RetryPolicy(attempts=2, limit_s=5.0, timeout_s=3.0)
"""How long it is tried to tell of a step, and to send what waits beside other work."""
NOTIFY_RETRY = notification.RetryPolicy()
"""How long it is tried to tell how a run ended, what waited before included."""
FLUSH_RETRY = notification.RetryPolicy(attempts=2, limit_s=20.0)


def _circumstances(spec: RunSpec, settings: config.Settings) -> dict[str, Any]:
    """What every message may need: who, since when, and how the project stood."""
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
        "report": (job.run_dir / protocol.REPORT, builds.page("report/index.html")),
        "patch": (job.run_dir / protocol.PATCH, builds.page(protocol.PATCH)),
    }
    if version is not None:
        places["model"] = (Path(version.model), builds.page(Path(version.model).name))
    links = [
        Link(label=name, url=url or str(at)) for name, (at, url) in places.items() if at.is_file()
    ]
    if job.settings["link_url"]:
        links.append(Link(label="build", url=job.settings["link_url"]))
    return links


def pictures(job: Job) -> list[str]:
    """Draw the run's curves; the file, if there is anything to draw."""
    from mlops_lib import reporting

    drawn = reporting.curve_png(job.run_dir, job.run_dir / protocol.CURVES)
    return [] if drawn is None else [str(drawn)]


def _attachments(job: Job) -> list[str]:
    page = job.run_dir / protocol.REPORT
    return [str(page)] if page.is_file() else []


def step(job: Job, what: notification.Step, **known: Any) -> None:
    """Tell channels that show a run's messages together that it has come so far."""
    try:
        message = notification.step(
            what,
            spec=job.spec,
            links=_links(job),
            **known,
            **_circumstances(job.spec, job.settings),
        )
        if message is None:
            return
        plain = job.settings.plain()
        if notification.enqueue(message, settings=plain, home=job.home):
            (job.run_dir / STEPS_TOLD).touch()
            _beside(
                job,
                lambda: notification.notify(
                    message, settings=plain, home=job.home, retry=STEP_RETRY
                ),
            )
    except (NotificationError, UsageError, OSError) as error:
        job.observer(events.warning(f"nobody was told: {error}"))


_steps: list[threading.Thread] = []
"""Threads that tell of steps, while the training goes on."""


def _beside(job: Job, send: Callable[[], object]) -> None:
    """Send in a thread of its own: a training waits for no receiver. What is not sent stays in the
    spool.
    """

    def work() -> None:
        try:
            send()
        except (NotificationError, UsageError, OSError) as error:
            job.observer(events.warning(f"nobody was told: {error}"))

    thread = threading.Thread(target=work, name="mlops-step", daemon=True)
    _steps[:] = [one for one in _steps if one.is_alive()]
    _steps.append(thread)
    thread.start()


def _let_steps_end() -> None:
    """Wait for the messages about steps that are on their way, so that the end is not told before
    them.
    """
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
    """Send what earlier commands could not deliver; fails nothing."""
    job = prepared(project, **settings)
    return post(job.settings, job.observer)


def post(settings: config.Settings, observer: Observer) -> list[notification.Delivery]:
    """The same by settings alone, where there is no job."""
    try:
        return notification.flush(settings.plain(), home=settings.home, retry=STEP_RETRY)
    except (NotificationError, UsageError, OSError) as error:
        observer(events.warning(f"waiting messages stay where they are: {error}"))
        return []


def tell(job: Job) -> None:
    """A failed notification never fails a training: it stays in the spool and the next command
    sends it.
    """
    try:
        notify(job)
    except (NotificationError, UsageError, OSError) as error:
        job.observer(events.warning(f"nobody was told: {error}"))
