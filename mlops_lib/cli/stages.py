"""The verbs that do something with a project: the stages, and watching over them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from mlops_lib import config
from mlops_lib.cli.answers import (
    failed,
    interrupted,
    made_ready,
    print_json,
    say,
    say_line,
    stopped_by_signal,
)
from mlops_lib.errors import MlopsError, UsageError
from mlops_lib.formatting import one_line
from mlops_lib.records import Seeds
from mlops_lib.runner import protocol


def _detect(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from pathlib import Path

    from mlops_lib.cli.detect import told
    from mlops_lib.detection import detect

    place = Path(project).expanduser()
    resolved = config.resolve(place if place.is_dir() else None, settings)
    found = detect(project, entry=resolved["entry"] or None)
    if options.get("sarif"):
        from mlops_lib.ci import sarif

        print_json(sarif.log(found))
        return 0
    if as_json:
        print_json(found.to_json())
        return 0
    say(told(found.to_json()))
    return 0


def _staged(
    call: Callable[[Any], Any],
) -> Callable[[str, dict[str, Any], dict[str, Any], bool], int]:
    """A verb that works on a job and answers with a record."""

    def handler(
        project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool
    ) -> int:
        from mlops_lib.pipeline import publishing
        from mlops_lib.training.cancellation import Interrupted

        job = made_ready(project, settings, quiet=bool(options.pop("quiet", False)))
        try:
            answer = call(job, **options)
        except Interrupted:
            job.observer.close()
            sys.stderr.write(
                f"mlops: stopped; the run is kept and goes on when started again: {one_line(str(job.run_dir))}\n"
            )
            if as_json:
                print_json({"schema": 1, "stopped": True, "run_dir": str(job.run_dir)})
            return interrupted()
        finally:
            job.observer.close()
        publishing.flush(job)
        return _answer(answer, as_json=as_json)

    return handler


def _answer(answer: Any, *, as_json: bool) -> int:
    record = answer.to_json() if hasattr(answer, "to_json") else answer
    if as_json:
        print_json(record)
    else:
        _show(record)
    verdict = record.get("verdict") if isinstance(record, dict) else None
    return {"rejected": protocol.EXIT_REJECTED, "undecided": protocol.EXIT_UNDECIDED}.get(
        str(verdict), protocol.EXIT_ACCEPTED
    )


def _show(record: Any) -> None:
    if isinstance(record, dict) and "verdict" in record:
        interval = record.get("interval")
        shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        value = record.get("value")
        number = f"{value:.4g}{shown}" if isinstance(value, float) else "no number"
        if record.get("seeds"):
            number += f", mean {Seeds.from_json(record['seeds']).in_words}"
        say_line(
            f"{record['verdict']}: {record.get('metric') or 'metric'} {number}, bar {record['target']:g}"
        )
        for reason in record.get("reasons") or ():
            say_line(f"  {reason}")
    elif not isinstance(record, dict):
        say(f"{record}\n")
        return
    for key in (
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
    ):
        if record.get(key) is not None:
            say_line(f"  {key:8} {record[key]}")


def _stage(name: str) -> Callable[..., Any]:
    def call(job: Any, **options: Any) -> Any:
        from mlops_lib.pipeline import stages

        return getattr(stages, name)(job, **options)

    return call


def _build(job: Any, *, print_dockerfile: bool = False, with_code: bool = False) -> Any:
    from mlops_lib.engine import project_image
    from mlops_lib.environments import images
    from mlops_lib.pipeline import stages

    if print_dockerfile:
        return project_image.dockerfile(job.spec) if with_code else images.shown(job.spec.image)
    return stages.build(job, with_code=with_code)


def _report(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    try:
        return _staged(_write_report)(project, settings, options, as_json)
    except MlopsError as error:
        if options.get(
            "artifacts"
        ):  # a build that failed before there was a run has a test report all the same
            from pathlib import Path

            from mlops_lib.ci import artifacts

            place = Path(project).expanduser()
            artifacts.gather(
                None, Path(options["artifacts"]), project=place if place.is_dir() else place.parent
            )
            error.answer = {"artifacts": options["artifacts"]}
        raise


def _write_report(
    job: Any,
    *,
    artifacts: str = "",
    open: bool = False,
    markdown: bool = False,
    tensorboard: str = "",
) -> Any:
    from pathlib import Path

    from mlops_lib import reporting
    from mlops_lib.ci import artifacts as gathered
    from mlops_lib.ci import checks
    from mlops_lib.pipeline import publishing
    from mlops_lib.project import places

    if markdown:
        if not job.run_dir.is_dir():
            raise UsageError(
                "there is no such run yet", where=str(job.run_dir), remedy="`mlops train` first."
            )
        return reporting.markdown(
            job.run_dir, against=gathered.rival(job.run_dir, home=job.home)
        ).rstrip("\n")
    page = publishing.report(job, artifacts=artifacts)
    if tensorboard:
        place = places.require_own(Path(tensorboard), project=Path(job.spec.project))
        reporting.tensorboard(job.run_dir, place)
    if open:
        import webbrowser

        webbrowser.open(page.as_uri())
    against = gathered.rival(job.run_dir, home=job.home)
    made = {"artifacts": artifacts} if artifacts else {}
    return {
        "schema": 1,
        "report": str(page),
        **made,
        **checks.of_build(job.run_dir, against=against, environ=os.environ),
    }


def _judge(job: Any) -> Any:
    from mlops_lib.ci import builds
    from mlops_lib.pipeline import stages

    verdict = stages.judge(job)
    # A build server shows these in its log as they are.
    reasons = [one_line(reason) for reason in verdict.reasons]
    return {
        **verdict.to_json(),
        "reasons": reasons,
        **builds.about(verdict, job.spec, trials=job.settings["trials"], home=job.home),
    }


def _notified(project: str, settings: dict[str, Any]) -> list[Any]:
    from mlops_lib.ci import builds
    from mlops_lib.pipeline import publishing

    try:
        job = made_ready(project, settings)
    except MlopsError:
        if builds.failure() is None:
            raise
        return publishing.notify_of_build(project, **settings)
    try:
        return publishing.notify(job)
    finally:
        job.observer.close()


def _notify(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import notification
    from mlops_lib.pipeline import publishing

    deliveries = (
        publishing.try_channels(**settings) if options.get("test") else _notified(project, settings)
    )
    if as_json:
        print_json({"schema": 1, "deliveries": [one.to_json() for one in deliveries]})
    for one in deliveries if not as_json else ():
        again = " (may stand there twice)" if one.uncertain else ""
        say_line(f"{one.channel:10} {one.state}{again}{': ' + one.reason if one.reason else ''}")
    try:
        notification.check(deliveries)
    except MlopsError as error:
        return failed(error, as_json=False)
    return 0


def _stop(job: Any) -> Any:
    from mlops_lib.pipeline import stages
    from mlops_lib.training import resumption

    stopped = stages.stop(job)
    summary = (
        resumption.words(job.run_dir) if job.run_dir.is_dir() else "stopped before there was a run"
    )
    return {"schema": 1, "stopped": stopped, "run_dir": str(job.run_dir), "summary": summary}


def _watch(
    project: str | None, settings: dict[str, Any], options: dict[str, Any], as_json: bool
) -> int:
    from mlops_lib.monitoring import status_board, watch

    observer = status_board.watcher(as_json=as_json)
    until_done = bool(options.get("until_done"))
    stopped = stopped_by_signal()
    try:
        result = watch.watch(
            project, until_done=until_done, observer=observer, stopped=stopped, **settings
        )
    finally:
        observer.close()
    if as_json:
        print_json(
            {
                "schema": 1,
                "run_dir": None if result is None else result.run_dir,
                "state": None if result is None else result.state,
                "restarts": None if result is None else result.restarts,
            }
        )
    return interrupted() if stopped.is_set() else 0


HANDLERS: dict[str, Callable[..., int]] = {
    "detect": _detect,
    "build": _staged(_build),
    "report": _report,
    "judge": _staged(_judge),
    "notify": _notify,
    "stop": _staged(_stop),
    "watch": _watch,
    **{name: _staged(_stage(name)) for name in ("run", "train", "search", "work", "register")},
}
