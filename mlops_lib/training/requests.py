"""The request that a run has not answered yet, in `asked.json` in its directory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops_lib import atomic, run_directory, run_lock
from mlops_lib.errors import EngineLostError, MlopsError
from mlops_lib.records import Record
from mlops_lib.runner import protocol

Verb = Literal["run", "train", "search"]


@dataclass(frozen=True, kw_only=True)
class Request(Record):
    """A person's request to a run."""

    schema: int = 1
    verb: Verb
    settings: Mapping[str, Any]
    """The settings that are not the default; never secrets, which are no settings."""
    time: float
    """Unix time in seconds."""


@contextmanager
def opened(run_dir: Path, verb: Verb, settings: Mapping[str, Any]) -> Iterator[None]:
    """Drive a run, and keep the request in its directory until it is answered.

    The answer is a result, or an error that would happen again. A request that an interrupt, a kill
    or a lost engine leaves unanswered is for a watchdog.
    """
    before = pending(run_dir)
    is_answered = False
    try:
        with run_lock.driven(run_dir):
            # `train` and `search` do not answer a request for a verdict.
            if verb == "run" or before is None or before.verb != "run":
                request = Request(verb=verb, settings=settings, time=time.time())
                atomic.write_json(run_dir / protocol.ASKED, request.to_json())
            try:
                yield
                is_answered = True
            except MlopsError as error:
                is_answered = not isinstance(error, EngineLostError)
                raise
    finally:
        # Another process may still drive this run; then the request stays pending in case that
        # process dies.
        if is_answered and not run_lock.is_driven(run_dir):
            _close(run_dir, verb)


def pending(run_dir: Path) -> Request | None:
    """Return the request that a run has not answered."""
    return run_directory.read_record(run_dir / protocol.ASKED, Request)


def _close(run_dir: Path, verb: Verb) -> None:
    request = pending(run_dir)
    if request is not None and request.verb == verb:
        (run_dir / protocol.ASKED).unlink(missing_ok=True)
