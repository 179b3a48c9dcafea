"""The verbs that work on a project: the stages, and `watch`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import config
from mlops_lib.cli.answers import (
    interrupted_exit_code,
    open_job,
    print_json,
    report_error,
    say,
    say_line,
    stop_on_signal,
)
from mlops_lib.errors import MlopsError, UsageError
from mlops_lib.formatting import one_line
from mlops_lib.records import Record, Seeds
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from mlops_lib.cli.command import Command, Handler, Options
    from mlops_lib.notification import Delivery
    from mlops_lib.pipeline.job import Job
    from mlops_lib.records import Image

Answer = Record | dict[str, Any] | str


def _detect(command: Command) -> int:
    from mlops_lib.cli.detect import describe
    from mlops_lib.detection import detect

    place = Path(command.project).expanduser()
    resolved = config.resolve(place if place.is_dir() else None, command.settings)
    detection = detect(command.project, entry=resolved["entry"] or None)
    if command.options.get("sarif"):
        from mlops_lib.ci import sarif

        print_json(sarif.log(detection))
    elif command.as_json:
        print_json(detection.to_json())
    else:
        say(describe(detection.to_json()))
    return 0


def _on_job(stage: Callable[[Job, Options], Answer]) -> Handler:
    """Return the handler of a verb that runs a stage on a job and prints its answer."""

    def handle(command: Command) -> int:
        from mlops_lib.pipeline import publishing
        from mlops_lib.training.cancellation import Interrupted

        answer: Answer | None = None
        quiet = bool(command.options.get("quiet"))
        # An interruption is reported below, once the progress display is closed.
        with (
            open_job(command.project, command.settings, quiet=quiet) as job,
            contextlib.suppress(Interrupted),
        ):
            answer = stage(job, command.options)
        if answer is None:
            return _report_interruption(job, as_json=command.as_json)
        publishing.flush(job)
        return _print_answer(answer, as_json=command.as_json)

    return handle


def _report_interruption(job: Job, *, as_json: bool) -> int:
    sys.stderr.write(
        "mlops: stopped; the run is kept and goes on when started again:"
        f" {one_line(str(job.run_dir))}\n"
    )
    if as_json:
        print_json({"schema": 1, "stopped": True, "run_dir": str(job.run_dir)})
    return interrupted_exit_code()


def _print_answer(answer: Answer, *, as_json: bool) -> int:
    """Print a stage's answer; return the exit code of the verdict in it."""
    record = answer.to_json() if isinstance(answer, Record) else answer
    if as_json:
        print_json(record)
    else:
        _show(record)
    verdict = record.get("verdict") if isinstance(record, dict) else None
    exit_codes = {"rejected": protocol.EXIT_REJECTED, "undecided": protocol.EXIT_UNDECIDED}
    return exit_codes.get(str(verdict), protocol.EXIT_ACCEPTED)


SHOWN_KEYS = (
    "run_dir",
    "model",
    "report",
    "patch",
    "tag",
    "path",
    "state",
    "stopped",
    "winner",
    "score",
)
"""Keys of a record that are shown to a person, in this order."""


def _show(record: dict[str, Any] | str) -> None:
    if isinstance(record, str):
        say(f"{record}\n")
        return
    if "verdict" in record:
        _show_verdict(record)
    for key in SHOWN_KEYS:
        if record.get(key) is not None:
            say_line(f"  {key:8} {record[key]}")


def _show_verdict(record: dict[str, Any]) -> None:
    interval = record.get("interval")
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    value = record.get("value")
    number = f"{value:.4g}{bounds}" if isinstance(value, float) else "no number"
    if record.get("seeds"):
        number += f", mean {Seeds.from_json(record['seeds']).in_words}"
    metric = record.get("metric") or "metric"
    say_line(f"{record['verdict']}: {metric} {number}, bar {record['target']:g}")
    for reason in record.get("reasons") or ():
        say_line(f"  {reason}")


def _pipeline_stage(name: str) -> Callable[[Job, Options], Answer]:
    """Return the stage of that name, imported at its first use."""

    def stage(job: Job, options: Options) -> Answer:
        from mlops_lib.pipeline import stages

        answer: Record = getattr(stages, name)(job)
        return answer

    return stage


def _build(job: Job, options: Options) -> Image | str:
    from mlops_lib.engine import project_image
    from mlops_lib.environments import images
    from mlops_lib.pipeline import stages

    with_code = bool(options.get("with_code"))
    if options.get("print_dockerfile"):
        return (
            project_image.dockerfile(job.spec) if with_code else images.display_text(job.spec.image)
        )
    return stages.build(job, with_code=with_code)


def _report(command: Command) -> int:
    try:
        return _on_job(_write_report)(command)
    except MlopsError as error:
        folder = command.options.get("artifacts")
        if folder:  # a build that failed before it made a run still needs its test report
            from mlops_lib.ci import artifacts

            place = Path(command.project).expanduser()
            artifacts.gather(None, Path(folder), project=place if place.is_dir() else place.parent)
            error.answer = {"artifacts": folder}
        raise


def _write_report(job: Job, options: Options) -> dict[str, Any] | str:
    from mlops_lib import reporting
    from mlops_lib.ci import artifacts, checks
    from mlops_lib.pipeline import publishing
    from mlops_lib.project import places

    if options.get("markdown"):
        if not job.run_dir.is_dir():
            raise UsageError(
                "there is no such run yet", where=str(job.run_dir), remedy="`mlops train` first."
            )
        branch = artifacts.target_branch(job.run_dir, home=job.home)
        return reporting.markdown(job.run_dir, against=branch).rstrip("\n")
    folder = options.get("artifacts", "")
    page = publishing.report(job, artifacts=folder)
    if options.get("tensorboard"):
        place = places.require_own(Path(options["tensorboard"]), project=Path(job.spec.project))
        reporting.tensorboard(job.run_dir, place)
    if options.get("open"):
        import webbrowser

        webbrowser.open(page.as_uri())
    branch = artifacts.target_branch(job.run_dir, home=job.home)
    return {
        "schema": 1,
        "report": str(page),
        **({"artifacts": folder} if folder else {}),
        **checks.of_build(job.run_dir, against=branch, environ=os.environ),
    }


def _judge(job: Job, options: Options) -> dict[str, Any]:
    from mlops_lib.ci import builds
    from mlops_lib.pipeline import stages

    verdict = stages.judge(job)
    # A build server writes these to its log without escaping them.
    reasons = [one_line(reason) for reason in verdict.reasons]
    return {
        **verdict.to_json(),
        "reasons": reasons,
        **builds.about(verdict, job.spec, trials=job.settings["trials"], home=job.home),
    }


def _notify_of(command: Command) -> list[Delivery]:
    """Send the notification about the run, or about a build that made no run."""
    from mlops_lib.ci import builds
    from mlops_lib.pipeline import publishing

    with contextlib.ExitStack() as stack:
        try:
            job = stack.enter_context(open_job(command.project, command.settings))
        except MlopsError:
            if builds.failure() is None:
                raise
            return publishing.notify_of_build(command.project, **command.settings)
        return publishing.notify(job)


def _notify(command: Command) -> int:
    from mlops_lib import notification
    from mlops_lib.pipeline import publishing

    is_test = bool(command.options.get("test"))
    deliveries = publishing.try_channels(**command.settings) if is_test else _notify_of(command)
    if command.as_json:
        print_json({"schema": 1, "deliveries": [delivery.to_json() for delivery in deliveries]})
    else:
        for delivery in deliveries:
            _show_delivery(delivery)
    try:
        notification.check(deliveries)
    except MlopsError as error:
        return report_error(error, as_json=False)
    return 0


def _show_delivery(delivery: Delivery) -> None:
    doubt = " (may have been delivered twice)" if delivery.uncertain else ""
    reason = f": {delivery.reason}" if delivery.reason else ""
    say_line(f"{delivery.channel:10} {delivery.state}{doubt}{reason}")


def _stop(job: Job, options: Options) -> dict[str, Any]:
    from mlops_lib.pipeline import stages
    from mlops_lib.training import resumption

    count = stages.stop(job)
    summary = "stopped before there was a run"
    if job.run_dir.is_dir():
        summary = resumption.words(job.run_dir)
    return {"schema": 1, "stopped": count, "run_dir": str(job.run_dir), "summary": summary}


def _watch(command: Command) -> int:
    from mlops_lib.monitoring import status_board, watch

    stopped = stop_on_signal()
    with contextlib.closing(status_board.watcher(as_json=command.as_json)) as view:
        result = watch.watch(
            command.project or None,
            until_done=bool(command.options.get("until_done")),
            observer=view,
            stopped=stopped,
            **command.settings,
        )
    if command.as_json:
        print_json(
            {
                "schema": 1,
                "run_dir": None if result is None else result.run_dir,
                "state": None if result is None else result.state,
                "restarts": None if result is None else result.restarts,
            }
        )
    return interrupted_exit_code() if stopped.is_set() else 0


HANDLERS: dict[str, Handler] = {
    "detect": _detect,
    "build": _on_job(_build),
    "report": _report,
    "judge": _on_job(_judge),
    "notify": _notify,
    "stop": _on_job(_stop),
    "watch": _watch,
    **{name: _on_job(_pipeline_stage(name)) for name in ("run", "train", "search", "register")},
}
