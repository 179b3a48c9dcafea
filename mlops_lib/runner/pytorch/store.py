"""Checkpoints of a script's own loops on disk, with the files that it wrote."""

import contextlib
import os
import pickle
import zlib
from typing import Any, Collection, Dict, List, Optional, Tuple

from mlops_lib.runner.context import Context
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.script import workdir
from mlops_lib.runner.state import checkpoint, databases

FOLDER = "loops"
"""Below `fits/`: the checkpoints of the script's own loops."""
MARK_ALL = "mark-all"
"""A file beside the checkpoints: an optimizer stepped in no marked loop, so the next attempt marks
every loop.
"""


class Store(checkpoint.Store):
    """Two generations of the state, and the written files by content."""

    def load_but(self, refuted: Collection[int], journal: Journal) -> Optional[Dict[str, Any]]:
        """Return the newest intact, unrefuted state, its files included; else None."""
        states = []
        for number, content in self._states.read():
            self.number = max(self.number, number)
            try:
                states.append(checkpoint._unpack(content))
            except Exception:  # noqa: BLE001 - a state of another version unpickles in any wrong way
                continue
        there = sum(os.path.exists(path) for path in self._states.paths)
        if len(states) < there:
            journal.warn(
                f"{there - len(states)} of {there} checkpoints of the training loops are damaged: passed over"
            )
        for state in states:
            if state["id"] in refuted:
                continue
            # The file was intact; this guards the values against a defect between pickling and
            # unpickling.
            if state["checksum"] != _checksum(state):
                journal.warn(
                    "a checkpoint of the training loops has other contents than were saved: it is passed over"
                )
                continue
            blobs = set(state["files"]["kept"].values())
            if all(self._is_blob_intact(blob) for blob in blobs):
                self._referenced = blobs
                return dict(state)
            journal.warn(
                "a file of a checkpoint of the training loops is damaged: the checkpoint is passed over"
            )
        return None

    def put_back(self, files: Dict[str, Any]) -> None:
        """Restore the files of a record, and remove all others that the script changed."""
        self.restore_files(files)
        now = workdir.manifest(self.work)
        # A file that is open now belongs to the replayed script; its writer would continue in a
        # deleted file.
        opened = _opened(self.work)
        for path in workdir.changed(self.before, now):
            full = os.path.join(self.work, path)
            if (
                path in files["kept"]
                or full in opened
                or os.path.islink(full)
                or databases.is_companion(full)
            ):
                continue
            with contextlib.suppress(OSError):
                os.unlink(full)


def folder_of(run: Context) -> str:
    """Return the folder of the checkpoints.

    A search has a folder of its own, since its loops train another model.
    """
    fits = os.path.join(run.spec.inside, "fits")
    if run.spec.search is None:
        return os.path.join(fits, FOLDER)
    return os.path.join(fits, f"pass-{run.spec.number_of_pass}", FOLDER)


def state_of(records: Dict[str, Dict[str, Any]], more: Dict[str, Any]) -> Dict[str, Any]:
    """Return a state as the store writes it.

    Args:
        records: the records of the loops by path; their files are merged into one table.
        more: further entries of the state.
    """
    copies: Dict[str, str] = {}
    plain = {}
    for path, record in records.items():
        for name, copy in (record.get("files") or {"kept": {}})["kept"].items():
            copies[f"{path}\0{name}"] = copy
        content = record["content"]
        plain[path] = {
            **record,
            # Not copied: the writer's thread pickles the buffer out of band.
            "content": None if content is None else pickle.PickleBuffer(content),
        }
    state = {**more, "records": plain, "files": {"kept": copies, "gone": [], "folders": []}}
    return {**state, "checksum": _checksum(state)}


def _checksum(state: Dict[str, Any]) -> int:
    """Return a checksum over the values that a process begins with.

    It is independent of the file's own checksum, which covers the pickled bytes only.
    """
    checksum = zlib.crc32(repr((state["id"], state["last"], state["torch"])).encode())
    for path, record in sorted(state["records"].items()):
        plain = {name: record[name] for name in record if name not in ("content", "files")}
        checksum = zlib.crc32(repr((path, sorted(plain.items()))).encode(), checksum)
        if record["content"] is not None:
            checksum = zlib.crc32(memoryview(record["content"]), checksum)
    return checksum


def kept_of(state: Dict[str, Any], path: str) -> Dict[str, str]:
    """Return the files of one record in a loaded state: path to the copy's name."""
    begin = path + "\0"
    copies: Dict[str, str] = state["files"]["kept"]
    return {name[len(begin) :]: copy for name, copy in copies.items() if name.startswith(begin)}


def positions(handles: List[Any], work: str) -> List[Tuple[str, int]]:
    """Return path, relative to `work`, and position of the files open for writing."""
    places = []
    for handle in handles:
        name = getattr(handle, "name", None)
        if isinstance(name, str):
            with contextlib.suppress(OSError, ValueError):
                places.append(
                    (
                        os.path.relpath(os.path.realpath(name), os.path.realpath(work)),
                        int(handle.tell()),
                    )
                )
    return places


def put_positions(handles: List[Any], places: List[Tuple[str, int]], work: str) -> None:
    """Move open files to the positions that `positions` returned."""
    offsets = dict(places)
    for handle in handles:
        for name, _ in positions([handle], work):
            with contextlib.suppress(OSError, ValueError):
                if name in offsets:
                    handle.seek(offsets[name])
                else:
                    # A handle that was opened after the checkpoint appends.
                    handle.seek(0, os.SEEK_END)


def reduce_text(stream: Any) -> Any:
    """Reduce a text file that was opened within the loop."""
    if stream.closed:
        return _closed, ()
    position = stream.tell() if stream.seekable() else 0
    return _opened_again, (os.path.abspath(stream.name), stream.mode, position, stream.encoding)


def _closed() -> Any:
    stream = open(os.devnull)  # noqa: SIM115 - it is closed here
    stream.close()
    return stream


def _opened_again(name: str, mode: str, position: int, encoding: str) -> Any:
    """Open a file at its old position; its content is restored afterwards."""
    if "r" in mode and "+" not in mode:
        stream = open(name, mode, encoding=encoding)  # noqa: SIM115 - the script closes it
        stream.seek(position)
        return stream
    os.makedirs(os.path.dirname(name), exist_ok=True)
    stream = open(name, "a+", encoding=encoding)  # noqa: SIM115 - as above
    return stream


def _opened(work: str) -> "set[str]":
    """Return the files in `work` that this process has open."""
    paths = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith(work + os.sep):
                paths.add(target)
    return paths
