"""What was requested of a run and is not answered yet: `asked.json` in its directory."""

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
class Asked(Record):
    """What somebody asked of a run: the contents of `asked.json`, there until it is answered."""

    schema: int = 1
    verb: Verb
    settings: Mapping[str, Any]
    """The settings that are not the default; never secrets, which are no settings."""
    time: float


@contextmanager
def asking(run_dir: Path, verb: Verb, settings: Mapping[str, Any]) -> Iterator[None]:
    """Drive a run, and leave word of what was asked until it is answered.

    An answer is a result, or an error that would come again. What an interrupt, a kill or a lost
    engine leaves unanswered is for a watchdog.
    """
    before = asked(run_dir)
    answered = False
    try:
        with run_lock.driven(run_dir):
            # Who trains a run that somebody else wants a verdict of does not answer him.
            if verb == "run" or before is None or before.verb != "run":
                atomic.write_json(
                    run_dir / protocol.ASKED,
                    Asked(verb=verb, settings=settings, time=time.time()).to_json(),
                )
            try:
                yield
                answered = True
            except MlopsError as error:
                answered = not isinstance(error, EngineLostError)
                raise
    finally:
        # While another program sees to the run, it is his to answer: he could be killed yet.
        if answered and not run_lock.is_driven(run_dir):
            _answer(run_dir, verb)


def asked(run_dir: Path) -> Asked | None:
    """What was asked of a run and is not answered."""
    return run_directory.read_record(run_dir / protocol.ASKED, Asked)


def _answer(run_dir: Path, verb: Verb) -> None:
    found = asked(run_dir)
    if found is not None and found.verb == verb:
        (run_dir / protocol.ASKED).unlink(missing_ok=True)
