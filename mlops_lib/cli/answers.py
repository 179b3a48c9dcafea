"""Parts that all verbs share: answers, errors, and the end by a signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlops_lib.errors import MlopsError
from mlops_lib.formatting import one_line, printable
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from mlops_lib.pipeline.job import Job
    from mlops_lib.settings_arguments import SettingsArguments
    from mlops_lib.training.cancellation import Stop


def print_json(value: Any) -> None:
    """Write the one record of `--json` to stdout."""
    _write(json.dumps(value) + "\n")


def say(text: str) -> None:
    """Write a text to stdout; line breaks are kept, control characters are escaped."""
    _write(printable(text))


def say_line(text: str) -> None:
    """Write one line to stdout; a line break in a name cannot start another one."""
    _write(one_line(text) + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone; the exit code still reports the result
        discard_output()


def discard_output() -> None:
    """Redirect stdout to the null device, so that no later write fails."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


ERRORS: list[str] = []
"""Messages of the errors that this command reported."""


def report_error(error: MlopsError, *, as_json: bool) -> int:
    """Write an error with its log to stderr; return its exit code."""
    log = getattr(error, "log", "")
    if log:
        sys.stderr.write(printable(log).rstrip("\n") + "\n\n")
    sys.stderr.write(f"mlops: {error}\n")
    ERRORS.append(str(error))
    if as_json:
        fields = {"what": error.what, "where": error.where, "remedy": error.remedy}
        record = {"schema": 1, "exit": error.exit_code, "error": fields, "summary": summary(error)}
        print_json({**record, **error.answer})
    return error.exit_code


SUMMARY_LIMIT = 500


def summary(error: MlopsError) -> str:
    """Return the error with its place and remedy in one line, for a build's page."""
    place = f" ({error.where})" if error.where else ""
    line = " ".join(printable(f"{error.what.rstrip('.')}{place}. {error.remedy}").split())
    return line if len(line) <= SUMMARY_LIMIT else f"{line[:SUMMARY_LIMIT]}…"


def report_internal_error(*, as_json: bool) -> int:
    """Report the current exception as an internal error; return the exit code.

    Its traceback is kept in a file, whose path is part of the message.
    """
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="mlops-bug-", suffix=".txt", delete=False
    ) as stream:
        stream.write(traceback.format_exc())
    kind, value, _ = sys.exc_info()
    what = f"internal error: {kind.__name__ if kind else ''}: {one_line(str(value))}"
    sys.stderr.write(
        f"mlops: {what}\n  remedy: please report it with {stream.name}; the run is kept\n"
    )
    ERRORS.append(what)
    if as_json:
        fields = {"what": what, "where": stream.name, "remedy": "report it"}
        summary = " ".join(what.split())[:SUMMARY_LIMIT]
        print_json({"schema": 1, "exit": protocol.EXIT_BUG, "error": fields, "summary": summary})
    return protocol.EXIT_BUG


@contextlib.contextmanager
def open_job(project: str, settings: SettingsArguments, *, quiet: bool = False) -> Iterator[Job]:
    """Prepare a job, and show its progress while the context is open.

    SIGINT and SIGTERM stop the job's run, which is kept.
    """
    from mlops_lib.display import terminal
    from mlops_lib.pipeline.job import prepare

    stopped = stop_on_signal()
    with contextlib.closing(terminal.observer(quiet=quiet)) as view:
        yield prepare(project, observer=view, stopped=stopped, **settings)


def stop_on_signal() -> Stop:
    """Return a stop request that SIGINT and SIGTERM make."""
    from mlops_lib.training.cancellation import Stop

    stopped = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        _SIGNALS.append(number)
        stopped.request()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stopped


_SIGNALS: list[int] = []
"""The signals that requested the end of this command."""


def interrupted_exit_code() -> int:
    """Return the exit code that shells use for a program that a signal ended."""
    return 128 + (_SIGNALS[0] if _SIGNALS else signal.SIGINT)
