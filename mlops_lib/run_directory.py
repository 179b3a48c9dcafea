"""The run directory from the host's side: its name, what was asked, who holds it, what the runner claims.

Everything under `inside/` was written by a container and is read as a claim: size-capped, validated, no links followed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from mlops_lib import atomic
from mlops_lib.errors import RefusedFileError, UsageError
from mlops_lib.project import files, repository
from mlops_lib.records import Record, RunSpec
from mlops_lib.runner import protocol

CODE = {".py", ".ipynb", ".toml", ".cfg", ".ini", ".yml", ".yaml", ".lock", ".r", ".sh"}
MAYBE_CODE = {".txt", ".json"}
"""Code beside the entry (requirements.txt, layers.json), data in folders of thousands."""
CODE_BYTES = 1 << 20
"""Code-like files up to this size are named by content, everything else by path, size and time."""
NOT_PROJECT = {".git", ".mlops", "__pycache__", ".venv", "venv", "node_modules", ".tox", ".mypy_cache", ".pytest_cache"}
SETTINGS_FILE = "mlops.toml"
"""Not part of a run's name: a changed bar continues the same run."""
DRIVERS = "drivers"
"""File that every program which drives the run holds a shared lock on; the kernel gives it back when it dies."""
WORKERS = "workers"
"""Folder with a directory for each worker of the run's search."""

R = TypeVar("R", bound=Record)


def manifest(project: Path, *, left_out: Collection[str] = ()) -> str:
    """A digest of the project without reading its data; of what decides a run if `left_out` names the rest."""
    return manifest_digest(identities(project, left_out=left_out))


def manifest_digest(identities: Mapping[str, str]) -> str:
    """The digest of a project's files, each with what identifies it."""
    digest = hashlib.sha256()
    for path, identity in identities.items():
        digest.update(f"{path}\0{identity}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def identities(project: Path, *, left_out: Collection[str] = ()) -> dict[str, str]:
    """Return what identifies each file of a project, in order, without reading its data.

    Files that git tracks and that are unchanged are named by git's own content hash, so that a fresh checkout of the
    same commit is the same project; other code is hashed; other data is named by path, size and modification time.
    """
    checkout = repository.find(project)
    tracked = {} if checkout is None else checkout.unchanged(project)
    found: dict[str, str] = {}
    for path, full in _files(project):
        if path != SETTINGS_FILE and path not in left_out:
            found[path] = tracked.get(path) or _identify(full, root=project, is_code=_is_code(path))
    return found


def project_files(project: Path) -> set[str]:
    """The paths, relative to the project, of what belongs to it."""
    return {path for path, _ in _files(project)}


def data_manifest(source: Path) -> str:
    """A digest of a mounted file or folder by paths, sizes and times; nothing in it is read."""
    listed = [("", source)] if source.is_file() else _files(source)
    digest = hashlib.sha256()
    for path, full in listed:
        digest.update(f"{path}\0{_identify(full, root=source, is_code=False)}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _is_code(path: str) -> bool:
    suffix = Path(path).suffix.lower()
    return suffix in CODE or (suffix in MAYBE_CODE and os.sep not in path)


def _files(project: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(project):
        if folder != str(project) and protocol.is_own_folder([*folders, *names]):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in NOT_PROJECT)
        for name in sorted(names):
            full = Path(folder, name)
            yield os.path.relpath(full, project), full


def _identify(path: Path, *, root: Path, is_code: bool) -> str:
    """Name a file by its content if it is code, else by size and time. Data is not read, nor what a link leads out to."""
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    if is_code and stat.S_ISREG(status.st_mode) and status.st_size <= CODE_BYTES:
        with suppress(RefusedFileError):
            # git's own name for the content, so that an untracked copy and a tracked one are the same project.
            return repository.blob_name(files.read(path, root=root, limit=CODE_BYTES))
    return f"{status.st_size}:{status.st_mtime_ns}"


def commit(project: Path) -> str | None:
    """The checked-out commit, None outside a checkout."""
    checkout = repository.find(project)
    return None if checkout is None else checkout.head


def repository_name(project: Path) -> str | None:
    """The name of the repository whose checkout the project is; None for a folder within one, or without a remote."""
    checkout = repository.find(project)
    if checkout is None or checkout.top != project.resolve():
        return None
    return checkout.origin.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git") or None


def author(project: Path) -> str:
    """Who made the checked-out commit, as `Name <address>`; "" outside a checkout."""
    checkout = repository.find(project)
    return "" if checkout is None else checkout.author


def commits_since(project: Path, before: str | None, *, limit: int = 5) -> list[str]:
    """The commits to the project after `before`, newest first, as `id author: subject`; empty where it is not known."""
    checkout = repository.find(project)
    if before is None or checkout is None:
        return []
    lines = checkout.commits_since(before, project, limit=limit + 1)
    return [*lines[:limit], "…"] if len(lines) > limit else lines


def digest(*parts: Any) -> str:
    """The run's digest over what decides the result, and nothing else; the parts are JSON values."""
    content = json.dumps([2, *parts])
    return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()


def write_spec(run_dir: Path, spec: RunSpec) -> RunSpec:
    """Write what is asked, and return it; of the same run asked for before only the time is kept.

    What does not decide the result may change between two starts of a run: limits, where its number is found, the
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
    """Let a home know a run directory that somebody placed elsewhere, so that it is listed and found again."""
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
    """Whether this home made the run directory: a pushed project could hold a spec.json of its own making."""
    runs, here = home / "runs", run_dir.resolve()
    return runs.is_dir() and any(one.resolve() == here for one in runs.iterdir())


def read_record(path: Path, record: type[R], *, inside: Path | None = None) -> R | None:
    """A record from a file; None where there is none, or what is there is no such record.

    Args:
        path: the file.
        record: its kind.
        inside: given for a file that a container wrote: no link is followed from this folder on, and of each list the
            record holds only the beginning is read.
    """
    try:
        values = atomic.VALUES_LIMIT if inside is None else CLAIMED_VALUES
        value = atomic.read_json(path, inside=inside, values=values)
        return record.from_json(value if inside is None else _shorter(value))
    except (OSError, ValueError):
        return None


CLAIMED_ITEMS, CLAIMED_VALUES = 2000, 300_000
"""Of one list in a container's record, such as the trials of a search; and of all of it."""


def _shorter(claim: Any) -> Any:
    """A claim whose own lists are no longer than anything honest: each item of a record costs time at every verb."""
    if not isinstance(claim, dict):
        return claim
    return {key: one[:CLAIMED_ITEMS] if isinstance(one, list) else one for key, one in claim.items()}


@contextmanager
def lease(run_dir: Path, *, meanwhile: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the right to start containers for this run.

    Args:
        run_dir: the run directory.
        meanwhile: called again and again while another program has it; takes its time, and may raise. None: do not
            wait, yield False instead.
    """
    import fcntl

    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / "lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        held = False
        while not held:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                if meanwhile is None:
                    break
                meanwhile()
        yield held
    finally:
        os.close(descriptor)


@contextmanager
def driven(run_dir: Path) -> Iterator[None]:
    """Let others see that a program drives this run, through its stages and between them; several may at once."""
    import fcntl

    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / DRIVERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def is_driven(run_dir: Path) -> bool:
    """Whether a living program drives the run."""
    import fcntl

    try:
        descriptor = os.open(run_dir / DRIVERS, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def workers(run_dir: Path) -> list[Path]:
    """The directories of the workers of a run's search; each is one like a run's."""
    found = (run_dir / WORKERS).glob("[0-9]*")
    return sorted((one for one in found if one.is_dir() and one.name.isdecimal()), key=lambda one: int(one.name))


def append(path: Path, line: dict[str, Any]) -> None:
    """Append one JSON object as a line, with one write; a line that was torn before (a full disk) stays by itself."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = b"\n" * torn + json.dumps(line).encode() + b"\n"
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of one of the host's own files of lines; torn or foreign lines are left out."""
    found = []
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
    return found


WHOLE = (int, type(None))
SHAPES: dict[str, tuple[type, ...]] = {
    "event": (str,), "time": (int, float, type(None)), "pass": WHOLE, "attempt": WHOLE, "fit": WHOLE, "epoch": WHOLE,
    "epochs": WHOLE, "step": WHOLE, "steps": WHOLE, "exit_code": WHOLE, "metrics": (dict, type(None)),
    "error": (dict, type(None)), "trial": (dict, int, type(None)), "progress": WHOLE, "phase": (str,),
    "step_s": (int, float, type(None)), "seconds": (int, float, type(None)),
}  # fmt: skip
LARGEST = 1 << 53


def _well_formed(claim: Any) -> TypeGuard[dict[str, Any]]:
    """Whether an event or heartbeat has the shapes of docs/run-directory.md: a script can write anything there."""
    if not isinstance(claim, dict):
        return False
    return all(
        isinstance(claim[key], kinds)
        and not isinstance(claim[key], bool)
        and not (isinstance(claim[key], (int, float)) and not abs(claim[key]) <= LARGEST)
        for key, kinds in SHAPES.items()
        if key in claim
    )


def events(run_dir: Path) -> list[dict[str, Any]]:
    """The events of the runner so far; of very many the first and the last ones, with a warning in between."""
    return Events(run_dir).new()


class Events:
    """The runner's events.jsonl, read as it grows, in bounded time and memory (`durable.Lines`)."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lines = atomic.Lines()
        self._is_shortened = False

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._lines.offset

    def new(self) -> list[dict[str, Any]]:
        """The events since the last call; a torn line waits until it is whole, garbage is dropped."""
        try:
            with atomic.open_regular(self._run_dir / protocol.INSIDE / protocol.EVENTS, inside=self._run_dir) as stream:
                lines = self._lines.new(stream)
        except OSError:
            return []
        found = []
        for line in lines:
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if _well_formed(event) and "event" in event:
                    found.append(event)
        if self._lines.skipped and not self._is_shortened:
            self._is_shortened = True
            found.insert(0, _shortened(self._lines.skipped))
        return found


def _shortened(skipped: int) -> dict[str, Any]:
    """The warning that not all events were read."""
    size = f"{skipped / (1 << 20):.1f} MiB of it were"
    return {
        "event": "warning",
        "message": f"{protocol.EVENTS} is too long: {size} not read, its beginning and its end were",
    }


def heartbeat(run_dir: Path) -> dict[str, Any]:
    """The runner's heartbeat; empty where there is none."""
    try:
        value = atomic.read_json(run_dir / protocol.INSIDE / protocol.HEARTBEAT, inside=run_dir, limit=1 << 16)
    except (OSError, ValueError):
        return {}
    return value if _well_formed(value) else {}


def log_tail(run_dir: Path, *, start: int = 0, limit: int = 4000) -> str:
    """The end of the script's output, of what came after byte `start`."""
    with suppress(OSError), (run_dir / protocol.LOG).open("rb") as stream:
        stream.seek(max(0, start, stream.seek(0, os.SEEK_END) - limit))
        return stream.read().decode(errors="replace")
    return ""
