"""The run's diary: events.jsonl, and the heartbeat that shows progress."""

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
"""A new phase is shown sooner, but not more often than this: an epoch of a tenth of a second has
several.
"""
HELD = 10000
BLOCK = 1 << 16


class Journal:
    """Appends events and replaces the heartbeat; safe to use from several threads.

    A disk that refuses is reported once on stderr and never ends the training.
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
        self._beaten = 0.0
        self._late = False
        """Whether progress is noted that the file does not show yet."""
        self._heart = threading.Lock()
        self._wake = threading.Event()
        self._writer: Optional[threading.Thread] = None
        self._refused = False
        self._held: List[bytes] = []
        """Events that a full disk did not take; they follow as soon as it takes one."""
        self._warned: "set[str]" = set()
        self.training_s = 0.0
        self.after_step: Optional[Callable[[], None]] = None
        os.makedirs(inside, exist_ok=True)
        self._mend()
        self.resumed_epochs = self._seen_epochs()

    def _mend(self) -> None:
        """Drop a last line that a kill left unfinished."""
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

    def _seen_epochs(self) -> "set[tuple[int, int]]":
        seen = set()
        for event in self.events():
            if event.get("event") == "epoch":
                seen.add((int(event["fit"]), int(event["epoch"])))
        return seen

    def forget_epochs_after(self, fit: int) -> None:
        """Let later fits be recorded anew in this pass: they train something else than they did in
        the passes before.
        """
        now = {
            (int(event["fit"]), int(event["epoch"]))
            for event in self.events()
            if event.get("event") == "epoch" and event.get("pass") == self._common["pass"]
        }
        self.resumed_epochs = {
            seen for seen in self.resumed_epochs if seen[0] <= fit or seen in now
        }

    def events(self) -> Iterator[Dict[str, Any]]:
        """All events so far."""
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
            self._held.append(line.encode() + b"\n")
            try:
                self._append(b"".join(self._held))
            except OSError as error:
                del self._held[:-HELD]
                self._refuse(error)
            else:
                self._held.clear()

    def _append(self, content: bytes) -> None:
        """All of it, or nothing: what a full disk took of it is taken back."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, content) < len(content):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def epoch(self, fit: int, epoch: int, metrics: Dict[str, Any], seconds: float) -> None:
        """Append an epoch's event, unless an earlier attempt already did."""
        if (fit, epoch) in self.resumed_epochs:
            return
        self.resumed_epochs.add((fit, epoch))
        self.write("epoch", fit=fit, epoch=epoch, metrics=metrics, seconds=round(seconds, 4))

    def warn(self, message: str) -> None:
        """Say something once."""
        if message not in self._warned:
            self._warned.add(message)
            self.write("warning", message=message)

    def note(self, message: str) -> None:
        """Say something that is no cause for concern."""
        self.write("note", message=message)

    def progress(self, phase: Optional[str] = None, **keys: Any) -> None:
        """Note that something was done; written about once a second, a new phase within a second.

        Args:
            phase: what is under way, if that changed.
            keys: `fit`, `epoch`, `step`, `steps`, `step_s`, `metrics`, `trial`.
        """
        changed = phase is not None and phase != self._beat.get("phase")
        self._beat["progress"] += 1
        if phase is not None:
            self._beat["phase"] = phase
        self._beat.update(keys)
        now = time.monotonic()
        if now - self._beaten >= (PHASE_S if changed else HEARTBEAT_S):
            self._write_heartbeat()
        elif not self._late:
            self._late = True
            self._write_late()

    def _write_late(self) -> None:
        """See to it that what is held back now is written if nothing follows: where it stood still
        is the point.
        """
        if self._writer is None:
            self._writer = threading.Thread(
                target=self._write_what_was_late, name="mlops-heartbeat", daemon=True
            )
            self._writer.start()
        self._wake.set()

    def _write_what_was_late(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            time.sleep(HEARTBEAT_S)
            if self._late:
                self._write_heartbeat()

    def _write_heartbeat(self) -> None:
        with self._heart:
            self._beaten = time.monotonic()
            self._late = False
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
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        if not self._refused:
            self._refused = True
            sys.stderr.write(
                f"mlops: the run directory cannot be written ({error}); training goes on, its record follows when there is room\n"
            )

    @contextlib.contextmanager
    def guard(self, hook: str) -> Iterator[None]:
        """Journal what an injected part gets wrong instead of breaking the user's run
        (MLOPS_STRICT=1: raise it).
        """
        try:
            yield
        except Exception as error:
            self.write(
                "hook_error",
                hook=hook,
                message=f"{type(error).__name__}: {error}",
                traceback=traceback.format_exc(),
            )
            if self.strict:
                raise


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: numpy scalars and tensors as numbers, NaN and infinities as
    strings.
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
    """Resident memory of this process, 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
