"""Checkpoints: the state from which a fit resumes to bit-identical results.

They are written off the training thread.
"""

import contextlib
import hashlib
import os
import pickle
import queue
import shutil
import threading
import time
from typing import Any, Callable, Collection, Dict, List, Optional, Tuple

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.script import workdir
from mlops_lib.runner.state import atomic, databases

COPY = ".copy-"
"""Prefix of the name of a copied file that is not durable yet."""


class Pace:
    """Decide when a checkpoint is due, so that its cost stays within a share.

    The cost is time on the training thread and beside it, as a share of the training time.

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
        """Start the clock as the training begins."""
        self._last = time.monotonic()

    def expect(self, seconds: float) -> None:
        """Assume that the next checkpoint blocks the training thread for at least so long."""
        self._cost_s = max(self._cost_s, seconds)

    def is_due(self, *, within_epoch: bool = False) -> bool:
        """Return whether a checkpoint may be written now."""
        elapsed_s = time.monotonic() - self._last
        # An epoch's end is the cheap place: there the data has no position inside an iterator.
        if within_epoch and elapsed_s < self._mid_epoch_s:
            return False
        # The next checkpoint is assumed to cost as much as the last one.
        return elapsed_s * self._budget >= self._cost_s + self._background_s

    def record_write(self, seconds: float) -> None:
        """Record a checkpoint that blocked the training thread for `seconds`."""
        self._cost_s = seconds
        self._last = time.monotonic()

    def add_background(self, seconds: float) -> None:
        """Record the time that the checkpoint took beside the training thread."""
        self._background_s = seconds


class Store:
    """The checkpoints of one fit.

    It holds two generations of the fit's state, and the files written during it, named by content.
    """

    def __init__(self, folder: str, work: str) -> None:
        self.folder = folder
        self.work = work
        self._states = atomic.Generations(folder, "state")
        self._blobs = os.path.join(folder, "files")
        self._copied_files: Dict[str, Tuple[Any, str]] = {}
        """Path to the manifest entry of its last copy, and the copy's temporary name."""
        self._content_names: Dict[str, str] = {}
        """Temporary name of a copy to its name by content."""
        self.number = 0
        self._referenced: "set[str]" = set()
        # The state at the beginning of the fit is made again by the script itself; only later
        # changes belong to a checkpoint.
        self.before: workdir.Manifest = workdir.manifest(work)
        self._folders = workdir.folders(work)

    def load(self, refuted: Collection[int] = ()) -> Optional[Dict[str, Any]]:
        """Return the newest complete state, its files included; None if there is none.

        Args:
            refuted: the `id` of states that were found to be wrong.
        """
        # Newest first. A damaged generation is passed over, and the one before it costs one
        # interval.
        for number, content in self._states.read():
            self.number = max(self.number, number)
            try:
                state: Dict[str, Any] = _unpack(content)
                blobs = set(state["files"]["kept"].values())
            except Exception:  # noqa: BLE001 - states of other library versions may raise anything
                continue
            if state.get("id") in refuted:
                continue
            # A state whose files are lost would restore half of a run: weights of one epoch, logs
            # of another.
            if all(self._is_blob_intact(blob) for blob in blobs):
                self._referenced = blobs
                return state
        return None

    def _is_blob_intact(self, blob: str) -> bool:
        try:
            return _digest(os.path.join(self._blobs, blob)) == blob
        except OSError:
            return False

    def snapshot_files(self) -> Dict[str, Any]:
        """Copy the files that changed since the fit began.

        Returns:
            `kept` (path to copy), `gone` (paths of deleted files) and new `folders`.

        Raises:
            OSError: the disk cannot be written.
        """
        copies: Dict[str, str] = {}
        now = workdir.manifest(self.work)
        for path in workdir.changed(self.before, now):
            full = os.path.join(self.work, path)
            # Links lead to read-only data. A database is copied by SQLite, whose copy needs no
            # companion files.
            if os.path.islink(full) or databases.is_companion(full):
                continue
            copy_of = self._copied_files.get(path)
            # A file with the same size, time and inode as at the last checkpoint keeps its copy: a
            # data set that the script unpacked is copied once, not with every checkpoint.
            if copy_of is None or copy_of[0] != now[path]:
                with contextlib.suppress(FileNotFoundError):
                    copy_of = (now[path], self._copy(full))
                    self._copied_files[path] = copy_of
            if copy_of is not None:
                copies[path] = self._content_names.get(copy_of[1], copy_of[1])
        return {
            "kept": copies,
            "gone": sorted(set(self.before) - set(now)),
            "folders": sorted(workdir.folders(self.work) - self._folders),
        }

    def _copy(self, full: str) -> str:
        """Copy a file under a temporary name.

        It is hashed and named by its content later, off the training thread.
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
        """Make a copy durable and return its name by content."""
        if not name.startswith(COPY):
            return name
        if name not in self._content_names:
            copy = os.path.join(self._blobs, name)
            with open(copy, "rb+") as stream:
                # Before the rename: a name on the disk must not refer to content that is not.
                os.fsync(stream.fileno())
            blob = _digest(copy)
            os.replace(copy, os.path.join(self._blobs, blob))
            self._content_names[name] = blob
        return self._content_names[name]

    def restore_files(self, files: Dict[str, Any]) -> None:
        """Restore the stored files in place: open handles of the script stay valid."""
        for path in files["folders"]:
            os.makedirs(os.path.join(self.work, path), exist_ok=True)
        for path, blob in files["kept"].items():
            full = os.path.join(self.work, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if os.path.islink(full):
                os.unlink(full)
            _restore_file(os.path.join(self._blobs, blob), full)
        for path in files["gone"]:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(os.path.join(self.work, path))

    def write(self, state: Dict[str, Any]) -> int:
        """Make a state durable; return its size in bytes.

        Raises:
            OSError: the disk cannot be written; earlier generations stay.
        """
        # Files before the state that names them: a kill in between leaves copies without a state,
        # which are harmless, and never a state without its files.
        copies = {path: self._settle(name) for path, name in state["files"]["kept"].items()}
        state = {**state, "files": {**state["files"], "kept": copies}}
        self.number += 1
        size = self._states.write(self.number, _pack(state))
        referenced = set(copies.values())
        # The previous generation is the fallback if this one is damaged, so its files stay too.
        self._sweep(referenced | self._referenced)
        self._referenced = referenced
        return size

    def settle(self) -> None:
        """Keep only the newest state, because no other follows."""
        with contextlib.suppress(FileNotFoundError):
            # The two generations take turns by the parity of their number.
            os.unlink(self._states.paths[(self.number + 1) % 2])
        self._sweep(self._referenced)

    def drop(self) -> None:
        """Remove all checkpoints."""
        # The states come first: a kill in between leaves copies without a state, which are
        # harmless, and never a state without its copies.
        for path in self._states.paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._sweep(set())

    def bytes(self) -> int:
        """Return the disk space in use."""
        paths = [*self._states.paths, *(os.path.join(self._blobs, name) for name in self._names())]
        return sum(os.path.getsize(path) for path in paths if os.path.exists(path))

    def _names(self) -> List[str]:
        return os.listdir(self._blobs) if os.path.isdir(self._blobs) else []

    def _sweep(self, referenced: "set[str]") -> None:
        """Remove the copies that no state refers to, except those of a future state."""
        for name in set(self._names()) - referenced:
            # Copies of this process belong to a state that is about to be written; those of other
            # processes were left by a kill.
            if not name.startswith(f"{COPY}{os.getpid()}-"):
                os.unlink(os.path.join(self._blobs, name))


def _restore_file(copy: str, full: str) -> None:
    """Restore a file's content without emptying it: another thread may be reading it."""
    if databases.is_database(copy) and databases.copy(copy, full):
        return
    if not os.path.exists(full):
        shutil.copyfile(copy, full)
        return
    with open(copy, "rb") as source, open(full, "r+b") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.truncate()


def _pack(state: Dict[str, Any]) -> List[Any]:
    """Return the state as buffers without copying large arrays.

    The first buffer holds the number of buffers and the length of each.
    """
    # Protocol 5 hands large arrays over as buffers. A pickle that contains them would hold every
    # weight twice in memory.
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
    # Protocol 5 leaves the arrays out of the pickle; they are views of the file's content.
    return pickle.loads(buffers[0], buffers=buffers[1:])


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def describe_write_error(error: OSError) -> str:
    """Return the warning about a checkpoint that could not be written."""
    return f"checkpoint not written ({error.strerror}); the one before stays"


_Job = Tuple[Store, Dict[str, Any], Callable[[int, float], None]]
"""A store, the state to write, and the callback for its size and the seconds it took."""


class Writer:
    """A background thread that writes states in order.

    Actions that require a durable state run after its write.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # One waiting state at most: a slow disk must slow the training, not fill the memory.
        self._queue: "queue.Queue[Optional[_Job]]" = queue.Queue(1)
        self._thread: Optional[threading.Thread] = None

    def submit(
        self, store: Store, state: Dict[str, Any], durable: Callable[[int, float], None]
    ) -> None:
        """Write `state`, then call `durable(bytes, seconds)`.

        It blocks while the queue still holds an earlier state.
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
                        self._journal.warn(describe_write_error(error))
                    durable(size, time.monotonic() - began)
            finally:
                self._queue.task_done()

    def wait(self, deadline: Optional[float] = None) -> None:
        """Wait until everything submitted is durable.

        Args:
            deadline: time of the monotonic clock after which to return anyway; None to wait for
                ever.
        """
        if deadline is None:
            self._queue.join()
        while self._queue.unfinished_tasks and time.monotonic() < (deadline or 0.0):
            time.sleep(0.005)
