"""The run's journal: `events.jsonl`, and the heartbeat file that shows progress."""

import contextlib
import errno
import json
import math
import os
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List, Optional

from mlops_lib.runner import protocol

HEARTBEAT_S = 1.0
PHASE_S = 0.25
"""Least time between two heartbeats if the phase changes; an epoch of 0.1 s has several phases."""
MAX_PENDING_EVENTS = 10000
BLOCK = 1 << 16


class Journal:
    """Append events and replace the heartbeat; safe to use from several threads.

    A write error is reported once on stderr and never ends the training.
    """

    def __init__(
        self, inside: str, *, number_of_pass: int, attempt: int, strict: bool = False
    ) -> None:
        self.inside = inside
        self.strict = strict
        self.path = os.path.join(inside, protocol.EVENTS)
        self._common = {"pass": number_of_pass, "attempt": attempt}
        self._lock = threading.Lock()
        self._beat: Dict[str, Any] = {"progress": 0, "phase": "import"}
        self._last_beat_s = 0.0
        self._is_beat_pending = False
        """Set if there is progress that the heartbeat file does not show yet."""
        self._heartbeat_lock = threading.Lock()
        self._wake = threading.Event()
        self._writer: Optional[threading.Thread] = None
        self._write_failed = False
        self._pending_events: List[bytes] = []
        """Events that could not be written; they are written with the next event that succeeds."""
        self._warned: "set[str]" = set()
        self.training_s = 0.0
        self.after_step: Optional[Callable[[], None]] = None
        os.makedirs(inside, exist_ok=True)
        self._drop_incomplete_line()
        self.resumed_epochs = self._recorded_epochs()

    def _drop_incomplete_line(self) -> None:
        """Drop a last line that a kill left incomplete."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb+") as stream:
            end = size = stream.seek(0, os.SEEK_END)
            while end:  # from the end on, a block at a time
                begin = max(0, end - BLOCK)
                stream.seek(begin)
                last = stream.read(end - begin).rfind(b"\n")
                if last >= 0:
                    end = begin + last + 1
                    break
                end = begin
            if end < size:
                stream.truncate(end)

    def _recorded_epochs(self) -> "set[tuple[int, int]]":
        return {
            (int(event["fit"]), int(event["epoch"]))
            for event in self.events()
            if event.get("event") == protocol.EVENT_EPOCH
        }

    def forget_epochs_after(self, fit: int) -> None:
        """Record the epochs of fits after `fit` again in this pass.

        They train another model than they did in the passes before.
        """
        now = {
            (int(event["fit"]), int(event["epoch"]))
            for event in self.events()
            if event.get("event") == protocol.EVENT_EPOCH
            and event.get("pass") == self._common["pass"]
        }
        self.resumed_epochs = {
            epoch for epoch in self.resumed_epochs if epoch[0] <= fit or epoch in now
        }

    def events(self) -> Iterator[Dict[str, Any]]:
        """Iterate over all events so far."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as stream:
            for line in stream:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        yield event

    def write(self, event: str, **keys: Any) -> None:
        """Append one event."""
        line = json.dumps(
            {"event": event, **plain(keys), "time": round(time.time(), 3), **self._common},
            default=str,
        )
        with self._lock:
            self._pending_events.append(line.encode() + b"\n")
            try:
                self._append(b"".join(self._pending_events))
            except OSError as error:
                del self._pending_events[:-MAX_PENDING_EVENTS]
                self._report_write_error(error)
            else:
                self._pending_events.clear()

    def _append(self, content: bytes) -> None:
        """Append all of the content or nothing."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            # A full disk may accept a part of the content. Half a line would merge with the next
            # event, so the file is cut back to its old size.
            if os.write(descriptor, content) < len(content):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def epoch(self, fit: int, epoch: int, metrics: Dict[str, Any], seconds: float) -> None:
        """Append an epoch's event unless an earlier attempt already did."""
        # A resumed fit repeats the epochs after its last checkpoint; each must appear once in the
        # record.
        if (fit, epoch) in self.resumed_epochs:
            return
        self.resumed_epochs.add((fit, epoch))
        self.write(
            protocol.EVENT_EPOCH, fit=fit, epoch=epoch, metrics=metrics, seconds=round(seconds, 4)
        )

    def warn(self, message: str) -> None:
        """Append a warning, once per message."""
        if message not in self._warned:
            self._warned.add(message)
            self.write(protocol.EVENT_WARNING, message=message)

    def note(self, message: str) -> None:
        """Append a message that needs no action."""
        self.write(protocol.EVENT_NOTE, message=message)

    def progress(self, phase: Optional[str] = None, **keys: Any) -> None:
        """Count progress.

        The heartbeat is written once per second, and sooner if the phase changes.

        Args:
            phase: the new phase; None if it has not changed.
            keys: `fit`, `epoch`, `step`, `steps`, `step_s`, `metrics`, `trial`.
        """
        changed = phase is not None and phase != self._beat.get("phase")
        self._beat["progress"] += 1
        if phase is not None:
            self._beat["phase"] = phase
        self._beat.update(keys)
        now = time.monotonic()
        if now - self._last_beat_s >= (PHASE_S if changed else HEARTBEAT_S):
            self._write_heartbeat()
        elif not self._is_beat_pending:
            self._is_beat_pending = True
            self._schedule_heartbeat()

    def _schedule_heartbeat(self) -> None:
        """Write the postponed heartbeat even if no further progress follows.

        A hang shows in the file only if the last progress before it does.
        """
        if self._writer is None:
            self._writer = threading.Thread(
                target=self._write_pending_heartbeats, name="mlops-heartbeat", daemon=True
            )
            self._writer.start()
        self._wake.set()

    def _write_pending_heartbeats(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            time.sleep(HEARTBEAT_S)
            if self._is_beat_pending:
                self._write_heartbeat()

    def _write_heartbeat(self) -> None:
        # The training thread and the writer thread share one temporary file.
        with self._heartbeat_lock:
            self._last_beat_s = time.monotonic()
            self._is_beat_pending = False
            self._replace_heartbeat(dict(self._beat))

    def _replace_heartbeat(self, beat: Dict[str, Any]) -> None:
        now = {"attempt": self._common["attempt"], "time": time.time(), "rss": resident_bytes()}
        content = json.dumps({**plain(beat), **now}, default=str)
        temporary = os.path.join(self.inside, ".heartbeat")
        try:
            # No fsync: a heartbeat is worth nothing after a power failure.
            with open(temporary, "w") as stream:
                stream.write(content)
            os.replace(temporary, os.path.join(self.inside, protocol.HEARTBEAT))
        except OSError as error:
            self._report_write_error(error)

    def _report_write_error(self, error: OSError) -> None:
        if not self._write_failed:
            self._write_failed = True
            sys.stderr.write(
                f"mlops: cannot write to the run directory ({error}); training continues, and the"
                " events are written once the disk accepts them\n"
            )

    def guard(self, hook: str) -> "_Guard":
        """Journal an exception of injected code instead of raising it.

        With MLOPS_STRICT=1 it is raised as well.
        """
        return _Guard(self, hook)


class _Guard:
    """What `Journal.guard` returns; a class, because a generator costs more at every step."""

    __slots__ = ("_hook", "_journal")

    def __init__(self, journal: Journal, hook: str) -> None:
        self._journal = journal
        self._hook = hook

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        self._journal.write(
            protocol.EVENT_HOOK_ERROR,
            hook=self._hook,
            message=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        )
        return not self._journal.strict


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it.

    Numpy scalars and tensors become numbers, NaN and infinities become strings.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if not isinstance(value, float):
        with contextlib.suppress(TypeError, ValueError, AttributeError):
            if getattr(value, "ndim", 0):
                return plain(value.tolist())
            value = value.item() if hasattr(value, "item") else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if it is unknown."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
