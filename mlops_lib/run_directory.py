"""Host-side access to run directories: specification, records, logs, list.

Everything under `inside/` was written by a container and is read as a claim: size-capped,
validated, no links followed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from mlops_lib import atomic, event_log
from mlops_lib.errors import UsageError
from mlops_lib.events import Event, from_json
from mlops_lib.records import (
    Detection,
    PipelineResult,
    Record,
    RunResult,
    RunSpec,
    SearchResult,
    Verdict,
)
from mlops_lib.runner import protocol

WORKERS = "workers"
"""Folder with a directory for each worker of the run's search."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class RunDirectory:
    """Typed access to the files of one run, each parsed once per version on disk.

    Functions hand this object along instead of reading again what their caller has read. It holds
    no state of the run: a file that changed, whichever process changed it, is read anew.

    Args:
        path: the run directory; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parsed: dict[str, tuple[_FileState, Any]] = {}

    @property
    def spec(self) -> RunSpec | None:
        """The run's specification; None if the directory holds no run."""
        return self._record(protocol.SPEC, RunSpec)

    @property
    def detection(self) -> Detection | None:
        """The conclusions from the project's code."""
        return self._record(protocol.DETECTION, Detection)

    @property
    def training(self) -> RunResult | None:
        """The outcome of the training, None if it has not ended."""
        return self._record(protocol.TRAINING, RunResult)

    @property
    def verdict(self) -> Verdict | None:
        """The gate's newest answer."""
        return self._record(protocol.VERDICT, Verdict)

    @property
    def result(self) -> PipelineResult | None:
        """The answer of `mlops run`."""
        return self._record(protocol.RESULT, PipelineResult)

    @property
    def search(self) -> SearchResult | None:
        """The outcome of the search, or of the refusal to search; None if there was none."""
        return self._record(protocol.SEARCH_REFUSED, SearchResult) or self.search_result

    @property
    def search_result(self) -> SearchResult | None:
        """The outcome that the search wrote itself, which is a container's claim."""
        place = f"{protocol.INSIDE}/{protocol.SEARCH}/{protocol.RESULT}"
        return self._read(place, lambda path: read_record(path, SearchResult, inside=self.path))

    @property
    def attempts(self) -> Sequence[Event]:
        """Starts, exits and decisions, in order: the host's own journal."""
        return self._read(protocol.ATTEMPTS, _read_attempts)

    @property
    def events(self) -> Sequence[Event]:
        """The runner's events, a container's claims; of too many the first and last."""
        place = f"{protocol.INSIDE}/{protocol.EVENTS}"
        return self._read(place, lambda path: self._claimed_events())

    def _record(self, name: str, record: type[R]) -> R | None:
        return self._read(name, lambda path: read_record(path, record))

    def _claimed_events(self) -> tuple[Event, ...]:
        return tuple(from_json(claim) for claim in event_log.events(self.path))

    def _read(self, name: str, read: Callable[[Path], T]) -> T:
        path = self.path / name
        # Taken before the file is read: if it changes meanwhile, the next access reads it again.
        state = _file_state(path)
        before, value = self._parsed.get(name, (None, None))
        if before is None or state is None or before != state:
            value = read(path)
            if state is not None:
                self._parsed[name] = (state, value)
        return cast("T", value)


_FileState = tuple[int, int, int]


def _file_state(path: Path) -> _FileState | None:
    """Return a value that changes whenever the file does, None if there is no file.

    A container can set a file's modification time, but not its change time.
    """
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_size


def _read_attempts(path: Path) -> tuple[Event, ...]:
    return tuple(from_json(line) for line in event_log.read_lines(path))


def write_spec(run_dir: Path, spec: RunSpec) -> RunSpec:
    """Write the specification of a run, and return it as written.

    If the directory holds the same run already, its time of creation stays. Everything that does
    not decide the result may change between two starts: limits, where the number is read, the
    image's name with a new version of the runner.

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
    """List a run directory that lies outside the home in the home."""
    runs = home / "runs"
    if is_known(run_dir, home=home):
        return
    runs.mkdir(parents=True, exist_ok=True)
    place = hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:8]
    with suppress(FileExistsError):  # another program was first
        (runs / f"{run_dir.name}-{place}").symlink_to(run_dir)


def known(home: Path) -> list[Path]:
    """Return the run directories of a home."""
    runs = home / "runs"
    places = sorted(path.resolve() for path in runs.iterdir()) if runs.is_dir() else []
    return [path for path in dict.fromkeys(places) if (path / protocol.SPEC).is_file()]


def is_known(run_dir: Path, *, home: Path) -> bool:
    """Return whether this home made the run directory.

    A pushed project could hold a spec.json of its own making.
    """
    runs = home / "runs"
    here = run_dir.resolve()
    return runs.is_dir() and any(path.resolve() == here for path in runs.iterdir())


def read_record(path: Path, record: type[R], *, inside: Path | None = None) -> R | None:
    """Return the record in a file; None if the file is missing or holds no such record.

    Args:
        path: the file.
        record: the record's class.
        inside: set it for a file that a container wrote: no link below this folder is followed, and
            only the beginning of each list of the record is read.
    """
    try:
        values = atomic.VALUES_LIMIT if inside is None else CLAIMED_VALUES
        value = atomic.read_json(path, inside=inside, values=values)
        return record.from_json(value if inside is None else _shorter(value))
    except (OSError, ValueError):
        return None


CLAIMED_ITEMS = 2000
CLAIMED_VALUES = 300_000
"""Limits of a container's record: items of one list, such as the trials of a search; values
altogether.
"""


def _shorter(claim: Any) -> Any:
    """Return a claim with its lists cut to a length that no honest record exceeds.

    Each item of a record costs time in every command that reads it.
    """
    if not isinstance(claim, dict):
        return claim
    return {
        key: value[:CLAIMED_ITEMS] if isinstance(value, list) else value
        for key, value in claim.items()
    }


def workers(run_dir: Path) -> list[Path]:
    """Return the directories of the workers of a run's search; each is one like a run's."""
    places = (run_dir / WORKERS).glob("[0-9]*")
    return sorted(
        (place for place in places if place.is_dir() and place.name.isdecimal()),
        key=lambda place: int(place.name),
    )


def log_tail(run_dir: Path, *, start: int = 0, limit: int = 4000) -> str:
    """Return the end of the script's output after byte `start`, at most `limit` bytes."""
    with suppress(OSError), (run_dir / protocol.LOG).open("rb") as stream:
        stream.seek(max(0, start, stream.seek(0, os.SEEK_END) - limit))
        return stream.read().decode(errors="replace")
    return ""
