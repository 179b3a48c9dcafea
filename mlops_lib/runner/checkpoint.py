"""Checkpoints: everything a fit needs to go on exactly where it was, written off the training thread."""

import contextlib
import hashlib
import io
import os
import pickle
import queue
import shutil
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner import files, workdir
from mlops_lib.runner.journal import Journal

LARGE_BYTES = 16 << 20
"""A callback's array that is larger, and the same object as at the start of the fit, is not stored again."""


class Store:
    """The checkpoints of one fit: two generations of its state, and the files written during it by content."""

    def __init__(self, folder: str, work: str) -> None:
        self.folder = folder
        self.work = work
        self._states = files.Generations(folder, "state")
        self._blobs = os.path.join(folder, "files")
        self._known: Dict[str, Tuple[Any, str]] = {}
        self.number = 0
        self._referenced: "set[str]" = set()
        self.before: workdir.Manifest = workdir.manifest(work)

    def load(self) -> Optional[Dict[str, Any]]:
        """The newest state that is whole, its files included."""
        for number, content in self._states.read():
            self.number = max(self.number, number)
            try:
                state: Dict[str, Any] = pickle.loads(content)
            except Exception:  # noqa: BLE001 - a state of another library version unpickles in any wrong way
                continue
            if all(self._blob_is_whole(blob) for blob in state["files"].values()):
                self._referenced = set(state["files"].values())
                return state
        return None

    def _blob_is_whole(self, blob: str) -> bool:
        try:
            return _digest(os.path.join(self._blobs, blob)) == blob
        except OSError:
            return False

    def keep_files(self) -> Dict[str, str]:
        """Store the files that changed since the fit began; path to blob name."""
        kept: Dict[str, str] = {}
        now = workdir.manifest(self.work)
        for path in workdir.changed(self.before, now):
            full = os.path.join(self.work, path)
            if os.path.islink(full):
                continue
            known = self._known.get(path)
            if known is None or known[0] != now[path]:
                with contextlib.suppress(FileNotFoundError):
                    known = (now[path], self._keep(full))
                    self._known[path] = known
            if known is not None:
                kept[path] = known[1]
        return kept

    def _keep(self, full: str) -> str:
        os.makedirs(self._blobs, exist_ok=True)
        temporary = os.path.join(self._blobs, ".tmp-" + hashlib.sha256(full.encode()).hexdigest()[:16])
        shutil.copyfile(full, temporary)
        name = _digest(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, os.path.join(self._blobs, name))
        return name

    def put_files_back(self, kept: Dict[str, str]) -> None:
        """Write the stored files as they were, in place, so that handles the script opened stay valid."""
        for path, blob in kept.items():
            full = os.path.join(self.work, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if os.path.islink(full):
                os.unlink(full)
            shutil.copyfile(os.path.join(self._blobs, blob), full)

    def write(self, state: Dict[str, Any]) -> int:
        """Make a state durable; returns its size in bytes.

        Raises:
            OSError: the disk refuses; the generations before stay.
        """
        self.number += 1
        content = pickle.dumps(state, protocol=4)
        self._states.write(self.number, content)
        referenced = set(state["files"].values())
        if os.path.isdir(self._blobs):
            for name in set(os.listdir(self._blobs)) - referenced - self._referenced:
                if not name.startswith(".tmp-"):
                    os.unlink(os.path.join(self._blobs, name))
        self._referenced = referenced
        return len(content)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Writer:
    """One background thread that writes states in order; what must follow a durable write is done after it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._queue: "queue.Queue[Optional[Tuple[Store, Dict[str, Any], Callable[[int, float], None]]]]" = queue.Queue(
            1
        )
        self._thread: Optional[threading.Thread] = None

    def submit(self, store: Store, state: Dict[str, Any], durable: Callable[[int, float], None]) -> None:
        """Write `state`, then call `durable(bytes, seconds)`; waits while the previous one is still being taken."""
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
                        self._journal.warn(f"checkpoint not written ({error.strerror}); the one before stays")
                    durable(size, time.monotonic() - began)
            finally:
                self._queue.task_done()

    def wait(self) -> None:
        """Until everything submitted is durable."""
        self._queue.join()


class _Pickler(pickle.Pickler):
    """Refuses what belongs to a framework: models, variables, tensors are restored by their own means."""

    def reducer_override(self, item: Any) -> Any:
        module = type(item).__module__ or ""
        if module.split(".")[0] in ("tensorflow", "keras", "tf_keras") and not isinstance(item, type):
            raise pickle.PicklingError(f"{type(item).__name__} belongs to the framework")
        return NotImplemented


def attributes(item: Any, same: Dict[str, int]) -> Dict[str, bytes]:
    """The attributes of a stateful object that can be stored, each pickled on its own.

    Args:
        item: a callback, a data set, an estimator.
        same: ids of its large attributes when the fit began (`large`): unchanged ones are left out.
    """
    taken: Dict[str, bytes] = {}
    for name, value in list(getattr(item, "__dict__", {}).items()):
        if name in ("model", "_model", "params", "validation_data") or callable(value):
            continue
        if same.get(name) == id(value):
            continue
        stream = io.BytesIO()
        # Whatever a foreign object raises while it is pickled means: this one cannot be stored.
        try:
            _Pickler(stream, protocol=4).dump(value)
        except Exception:  # noqa: BLE001
            continue
        taken[name] = stream.getvalue()
    return taken


def large(item: Any) -> Dict[str, int]:
    """The ids of an object's large arrays."""
    found = {}
    for name, value in getattr(item, "__dict__", {}).items():
        if int(getattr(value, "nbytes", 0) or 0) > LARGE_BYTES:
            found[name] = id(value)
    return found


def restore_attributes(item: Any, taken: Dict[str, bytes]) -> List[str]:
    """Put stored attributes back; returns the names of those that could not be."""
    missing = []
    for name, content in taken.items():
        try:
            item.__dict__[name] = pickle.loads(content)
        except Exception:  # noqa: BLE001 - as above, when it is read back
            missing.append(name)
    return missing
