"""The run directory from the host's side: its name, what was asked, who holds it, what the runner
claims.

Everything under `inside/` was written by a container and is read as a claim: size-capped,
validated, no links followed.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mlops_lib import atomic
from mlops_lib.errors import UsageError
from mlops_lib.records import Record, RunSpec
from mlops_lib.runner import protocol

WORKERS = "workers"
"""Folder with a directory for each worker of the run's search."""

R = TypeVar("R", bound=Record)


def write_spec(run_dir: Path, spec: RunSpec) -> RunSpec:
    """Write what is asked, and return it; of the same run asked for before only the time is kept.

    What does not decide the result may change between two starts of a run: limits, where its number
    is found, the image's name with a new version of the runner.

    Raises:
        UsageError: the directory belongs to another run.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    before = read_record(run_dir / protocol.SPEC, RunSpec)
    if before is not None and before.digest != spec.digest:
        raise UsageError(
            f"it holds run {before.digest[:12]} of {before.name}, not {spec.digest[:12]}: the code, its arguments, its"
            " environment or its data changed",
            where=str(run_dir),
            remedy="Give another --run-dir, or none.",
        )
    if before is not None:
        spec = replace(spec, created=before.created)
    if before != spec:
        atomic.write_json(run_dir / protocol.SPEC, spec.to_json())
    (run_dir / protocol.INSIDE).mkdir(exist_ok=True)
    return spec


def remember(run_dir: Path, *, home: Path) -> None:
    """Let a home know a run directory that somebody placed elsewhere, so that it is listed and
    found again.
    """
    runs = home / "runs"
    if is_known(run_dir, home=home):
        return
    runs.mkdir(parents=True, exist_ok=True)
    place = hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:8]
    with suppress(FileExistsError):  # another program was first
        (runs / f"{run_dir.name}-{place}").symlink_to(run_dir)


def known(home: Path) -> list[Path]:
    """The run directories of a home."""
    runs = home / "runs"
    places = sorted(one.resolve() for one in runs.iterdir()) if runs.is_dir() else []
    return [one for one in dict.fromkeys(places) if (one / protocol.SPEC).is_file()]


def is_known(run_dir: Path, *, home: Path) -> bool:
    """Whether this home made the run directory: a pushed project could hold a spec.json of its own
    making.
    """
    runs = home / "runs"
    here = run_dir.resolve()
    return runs.is_dir() and any(one.resolve() == here for one in runs.iterdir())


def read_record(path: Path, record: type[R], *, inside: Path | None = None) -> R | None:
    """A record from a file; None where there is none, or what is there is no such record.

    Args:
        path: the file.
        record: its kind.
        inside: given for a file that a container wrote: no link is followed from this folder on,
            and of each list the record holds only the beginning is read.
    """
    try:
        values = atomic.VALUES_LIMIT if inside is None else CLAIMED_VALUES
        value = atomic.read_json(path, inside=inside, values=values)
        return record.from_json(value if inside is None else _shorter(value))
    except (OSError, ValueError):
        return None


CLAIMED_ITEMS = 2000
CLAIMED_VALUES = 300_000
"""Of one list in a container's record, such as the trials of a search; and of all of it."""


def _shorter(claim: Any) -> Any:
    """A claim whose own lists are no longer than anything honest: each item of a record costs time
    at every verb.
    """
    if not isinstance(claim, dict):
        return claim
    return {
        key: one[:CLAIMED_ITEMS] if isinstance(one, list) else one for key, one in claim.items()
    }


def workers(run_dir: Path) -> list[Path]:
    """The directories of the workers of a run's search; each is one like a run's."""
    found = (run_dir / WORKERS).glob("[0-9]*")
    return sorted(
        (one for one in found if one.is_dir() and one.name.isdecimal()),
        key=lambda one: int(one.name),
    )


def log_tail(run_dir: Path, *, start: int = 0, limit: int = 4000) -> str:
    """The end of the script's output, of what came after byte `start`."""
    with suppress(OSError), (run_dir / protocol.LOG).open("rb") as stream:
        stream.seek(max(0, start, stream.seek(0, os.SEEK_END) - limit))
        return stream.read().decode(errors="replace")
    return ""
