"""Checkpoints: everything a fit needs to go on exactly where it was, written off the training
thread.
"""

import contextlib
import hashlib
import os
import pickle
import queue
import shutil
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.script import workdir
from mlops_lib.runner.state import atomic, databases

COPY = ".copy-"
"""Begin of the name of a copied file that is not durable yet."""


class Pace:
    """When a checkpoint is due: its cost, on the training thread and beside it, stays within a
    share of the time.

    Args:
        budget: the share.
        mid_epoch_s: the least time between two checkpoints within an epoch.
    """

    def __init__(self, budget: float, mid_epoch_s: float) -> None:
        self._budget = max(budget, 1e-6)
        self._mid_epoch_s = mid_epoch_s
        self._last = time.monotonic()
        self._cost_s = 0.0
        self._background_s = 0.0

    def begin(self) -> None:
        """The training begins now."""
        self._last = time.monotonic()

    def is_due(self, *, within_epoch: bool = False) -> bool:
        """Whether a checkpoint may be written now."""
        passed = time.monotonic() - self._last
        if within_epoch and passed < self._mid_epoch_s:
            return False
        return passed * self._budget >= self._cost_s + self._background_s

    def wrote(self, seconds: float) -> None:
        """A checkpoint has kept the training thread for so long."""
        self._cost_s = seconds
        self._last = time.monotonic()

    def add_background(self, seconds: float) -> None:
        """And took so long beside it."""
        self._background_s = seconds


class Store:
    """The checkpoints of one fit: two generations of its state, and the files written during it by
    content.
    """

    def __init__(self, folder: str, work: str) -> None:
        self.folder = folder
        self.work = work
        self._states = atomic.Generations(folder, "state")
        self._blobs = os.path.join(folder, "files")
        self._known: Dict[str, Tuple[Any, str]] = {}
        self._copies: Dict[str, str] = {}
        self.number = 0
        self._referenced: "set[str]" = set()
        self.before: workdir.Manifest = workdir.manifest(work)
        self._folders = workdir.folders(work)

    def load(self) -> Optional[Dict[str, Any]]:
        """The newest state that is whole, its files included."""
        for number, content in self._states.read():
            self.number = max(self.number, number)
            try:
                state: Dict[str, Any] = _unpack(content)
                blobs = set(state["files"]["kept"].values())
            except Exception:  # noqa: BLE001 - a state of another library version unpickles in any wrong way
                continue
            if all(self._blob_is_whole(blob) for blob in blobs):
                self._referenced = blobs
                return state
        return None

    def _blob_is_whole(self, blob: str) -> bool:
        try:
            return _digest(os.path.join(self._blobs, blob)) == blob
        except OSError:
            return False

    def snapshot_files(self) -> Dict[str, Any]:
        """Copy the files that changed since the fit began: `kept`, path to copy; what is `gone`;
        and new `folders`.

        Raises:
            OSError: the disk refuses.
        """
        kept: Dict[str, str] = {}
        now = workdir.manifest(self.work)
        for path in workdir.changed(self.before, now):
            full = os.path.join(self.work, path)
            if os.path.islink(full) or databases.is_companion(full):
                continue
            known = self._known.get(path)
            if known is None or known[0] != now[path]:
                with contextlib.suppress(FileNotFoundError):
                    known = (now[path], self._copy(full))
                    self._known[path] = known
            if known is not None:
                kept[path] = self._copies.get(known[1], known[1])
        return {
            "kept": kept,
            "gone": sorted(set(self.before) - set(now)),
            "folders": sorted(workdir.folders(self.work) - self._folders),
        }

    def _copy(self, full: str) -> str:
        """A copy under a name of its own; it is checked and named by its content off the training
        thread.
        """
        os.makedirs(self._blobs, exist_ok=True)
        self._copied += 1
        name = f"{COPY}{os.getpid()}-{self._copied}"
        copy = os.path.join(self._blobs, name)
        try:
            if not (databases.is_database(full) and databases.copy(full, copy)):
                shutil.copyfile(full, copy)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(copy)
            raise
        return name

    _copied = 0

    def _settle(self, name: str) -> str:
        """The name by content of a copy, which is made durable."""
        if not name.startswith(COPY):
            return name
        if name not in self._copies:
            copy = os.path.join(self._blobs, name)
            with open(copy, "rb+") as stream:
                os.fsync(stream.fileno())
            blob = _digest(copy)
            os.replace(copy, os.path.join(self._blobs, blob))
            self._copies[name] = blob
        return self._copies[name]

    def restore_files(self, taken: Dict[str, Any]) -> None:
        """Write the stored files as they were, in place, so that handles the script opened stay
        valid.
        """
        for path in taken["folders"]:
            os.makedirs(os.path.join(self.work, path), exist_ok=True)
        for path, blob in taken["kept"].items():
            full = os.path.join(self.work, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if os.path.islink(full):
                os.unlink(full)
            _put_back(os.path.join(self._blobs, blob), full)
        for path in taken["gone"]:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(os.path.join(self.work, path))

    def write(self, state: Dict[str, Any]) -> int:
        """Make a state durable; returns its size in bytes.

        Raises:
            OSError: the disk refuses; the generations before stay.
        """
        kept = {path: self._settle(name) for path, name in state["files"]["kept"].items()}
        state = {**state, "files": {**state["files"], "kept": kept}}
        self.number += 1
        size = self._states.write(self.number, _pack(state))
        referenced = set(kept.values())
        self._sweep(referenced | self._referenced)
        self._referenced = referenced
        return size

    def settle(self) -> None:
        """Nothing follows the newest state: what only the one before it needs goes."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._states.paths[(self.number + 1) % 2])
        self._sweep(self._referenced)

    def drop(self) -> None:
        """Remove all of it."""
        for path in self._states.paths:  # first: the copies without them are nothing
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._sweep(set())

    def bytes(self) -> int:
        """What it takes on the disk."""
        paths = [*self._states.paths, *(os.path.join(self._blobs, name) for name in self._names())]
        return sum(os.path.getsize(path) for path in paths if os.path.exists(path))

    def _names(self) -> List[str]:
        return os.listdir(self._blobs) if os.path.isdir(self._blobs) else []

    def _sweep(self, referenced: "set[str]") -> None:
        """Remove the copies that no state refers to; those of a state to come stay."""
        for name in set(self._names()) - referenced:
            if not name.startswith(f"{COPY}{os.getpid()}-"):
                os.unlink(os.path.join(self._blobs, name))


def _put_back(copy: str, full: str) -> None:
    """Give a file its stored content without ever being empty: another thread may be reading it."""
    if databases.is_database(copy) and databases.copy(copy, full):
        return
    if not os.path.exists(full):
        shutil.copyfile(copy, full)
        return
    with open(copy, "rb") as source, open(full, "r+b") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.truncate()


def _pack(state: Dict[str, Any]) -> List[Any]:
    """The state as buffers one after the other, large arrays uncopied: how many, how long each is,
    and they themselves.
    """
    arrays: List[pickle.PickleBuffer] = []
    head = pickle.dumps(state, protocol=5, buffer_callback=arrays.append)
    buffers = [memoryview(head), *(array.raw() for array in arrays)]
    lengths = [len(buffers), *(buffer.nbytes for buffer in buffers)]
    return [b"".join(length.to_bytes(8, "big") for length in lengths), *buffers]


def _unpack(content: Any) -> Any:
    view = memoryview(content)

    def number(i: int) -> int:
        return int.from_bytes(view[8 * i : 8 * i + 8], "big")

    begin = 8 * (number(0) + 1)
    buffers = []
    for i in range(number(0)):
        buffers.append(view[begin : begin + number(i + 1)])
        begin += number(i + 1)
    return pickle.loads(buffers[0], buffers=buffers[1:])


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def refused(error: OSError) -> str:
    """What to say when the disk does not take a checkpoint."""
    return f"checkpoint not written ({error.strerror}); the one before stays"


class Writer:
    """One background thread that writes states in order; what must follow a durable write is done
    after it.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._queue: "queue.Queue[Optional[Tuple[Store, Dict[str, Any], Callable[[int, float], None]]]]" = queue.Queue(
            1
        )
        self._thread: Optional[threading.Thread] = None

    def submit(
        self, store: Store, state: Dict[str, Any], durable: Callable[[int, float], None]
    ) -> None:
        """Write `state`, then call `durable(bytes, seconds)`; waits while the previous one is still
        being taken.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlops-checkpoint", daemon=True)
            self._thread.start()
        self._queue.put((store, state, durable))

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            if job is None:
                self._queue.task_done()
                return
            store, state, durable = job
            began = time.monotonic()
            try:
                with self._journal.guard("checkpoint"):
                    size = 0
                    try:
                        size = store.write(state)
                    except OSError as error:
                        self._journal.warn(refused(error))
                    durable(size, time.monotonic() - began)
            finally:
                self._queue.task_done()

    def wait(self, deadline: Optional[float] = None) -> None:
        """Until everything submitted is durable, or until `deadline` of the monotonic clock."""
        if deadline is None:
            self._queue.join()
        while self._queue.unfinished_tasks and time.monotonic() < (deadline or 0.0):
            time.sleep(0.005)
