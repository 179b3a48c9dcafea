"""What every verb shares: how it answers, and how it is asked to end."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from mlops_lib.errors import MlopsError
from mlops_lib.formatting import one_line, printable
from mlops_lib.runner import protocol


def print_json(value: Any) -> None:
    """The one record that `--json` promises, on stdout."""
    _write(json.dumps(value) + "\n")


def say(text: str) -> None:
    """Write an answer for people to stdout; its lines stay lines."""
    _write(printable(text))


def say_line(text: str) -> None:
    """Write one line of an answer to stdout; no name in it can begin another one."""
    _write(one_line(text) + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has left; what was done is done, and the exit code says it
        closed_output()


def closed_output() -> None:
    """Let what is still written to stdout go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


WRONG: list[str] = []
"""What was wrong with the verb."""


def failed(error: MlopsError, *, as_json: bool) -> int:
    """Say what went wrong; returns the exit code."""
    log = getattr(error, "log", "")
    if log:
        sys.stderr.write(printable(log).rstrip("\n") + "\n\n")
    sys.stderr.write(f"mlops: {error}\n")
    WRONG.append(str(error))
    if as_json:
        fields = {"what": error.what, "where": error.where, "remedy": error.remedy}
        record = {"schema": 1, "exit": error.exit_code, "error": fields, "summary": summary(error)}
        print_json({**record, **error.answer})
    return error.exit_code


SUMMARY_LIMIT = 500


def summary(error: MlopsError) -> str:
    """The error with its place and remedy in one line, as a build shows it."""
    place = f" ({error.where})" if error.where else ""
    line = " ".join(printable(f"{error.what.rstrip('.')}{place}. {error.remedy}").split())
    return line if len(line) <= SUMMARY_LIMIT else f"{line[:SUMMARY_LIMIT]}…"


def bug(*, as_json: bool) -> int:
    """Say that the exception under way is a fault of ours, and keep its traceback; returns the exit
    code.
    """
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="mlops-bug-", suffix=".txt", delete=False
    ) as stream:
        stream.write(traceback.format_exc())
    kind, value, _ = sys.exc_info()
    what = f"a bug of ours: {kind.__name__ if kind else ''}: {one_line(str(value))}"
    sys.stderr.write(
        f"mlops: {what}\n  remedy: please report it with {stream.name}; the run is kept\n"
    )
    WRONG.append(what)
    if as_json:
        fields = {"what": what, "where": stream.name, "remedy": "report it"}
        shown = " ".join(what.split())[:SUMMARY_LIMIT]
        print_json({"schema": 1, "exit": protocol.EXIT_BUG, "error": fields, "summary": shown})
    return protocol.EXIT_BUG


def made_ready(project: str, settings: dict[str, Any], *, quiet: bool = False) -> Any:
    """A job whose run is stopped, and kept, when this program is asked to end."""
    from mlops_lib.display import terminal
    from mlops_lib.pipeline.job import prepare

    stopped = stopped_by_signal()
    return prepare(project, observer=terminal.observer(quiet=quiet), stopped=stopped, **settings)


def stopped_by_signal() -> Any:
    """A wish to end that SIGINT and SIGTERM utter."""
    from mlops_lib.training.cancellation import Stop

    stopped = Stop()

    def end(number: int, frame: Any) -> None:
        _ASKED.append(number)
        stopped.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return stopped


_ASKED: list[int] = []
"""Signals that asked for the end."""


def interrupted() -> int:
    """The exit code of a program that a signal ended."""
    return 128 + (_ASKED[0] if _ASKED else signal.SIGINT)
