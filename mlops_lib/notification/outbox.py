"""The messages on disk: none is lost and none is sent twice, even after a kill.

    <home>/notifications/
      spool/<id>.json    pending: the notification and its attempts; holds no secret and no target
      sent/<id>.json     delivered; kept for ever
      threads/<id>.json  a run's thread id on a channel with threads
      locks/<id>         exists and is held (flock) while an entry is being delivered

An entry is one notification on one channel; its id is a digest of the channel's name and the
notification's key. It is on disk before the first attempt. After delivery it is first written to
`sent`, then removed from the spool: an entry in both was sent.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlops_lib import atomic, file_lock
from mlops_lib.records import Notification, Record


@dataclass(frozen=True, kw_only=True)
class Entry(Record):
    """One notification on one channel."""

    schema: int = 1
    id: str
    channel: str
    notification: Notification
    created: float
    """Unix time in seconds."""
    attempts: int = 0
    attempting: bool = False
    """Whether an attempt was begun without a recorded end, so that the message may have arrived."""
    not_before: float = 0.0
    """Unix time in seconds until which the receiver requested a pause."""
    reached: tuple[str, ...] = ()
    uncertain: bool = False
    reason: str = ""


class Outbox:
    """The entries in `<home>/notifications`."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "notifications"

    def lock(self, entry_id: str, *, timeout_s: float) -> AbstractContextManager[bool]:
        """Lock an entry for delivery; give False if another program holds it too long."""
        return file_lock.hold_temporary(self._folder / "locks" / entry_id, timeout_s=timeout_s)

    def find(self, entry_id: str) -> Entry | None:
        """Return the entry on disk, or None if it is not pending."""
        place = self._spooled(entry_id)
        try:
            return Entry.from_json(atomic.read_json(place))
        except FileNotFoundError:
            return None
        except ValueError:
            # No version of this program wrote such a file. It is moved aside for a person to
            # inspect, so that it does not block the other messages.
            place.replace(place.with_suffix(".unreadable"))
            return None

    def was_sent(self, entry_id: str) -> bool:
        """Return whether the entry was delivered."""
        return self._sent(entry_id).exists()

    def save(self, entry: Entry) -> None:
        """Write the entry's state to disk."""
        atomic.write_json(self._spooled(entry.id), entry.to_json())

    def mark_sent(self, entry: Entry) -> None:
        """Record that the entry was delivered."""
        record = {
            "id": entry.id,
            "channel": entry.channel,
            "key": entry.notification.key,
            "time": time.time(),
        }
        # In this order: killed in between, the entry is in both places, which means sent.
        atomic.write_json(self._sent(entry.id), record)
        self._spooled(entry.id).unlink(missing_ok=True)

    def thread(self, entry: Entry) -> str:
        """Return the id of the entry's thread on its channel; "" if it begins the thread."""
        if not entry.notification.thread:
            return ""
        with suppress(OSError, ValueError, AttributeError):
            thread = atomic.read_json(self._thread(entry)).get("thread")
            return thread if isinstance(thread, str) else ""
        return ""

    def save_thread(self, entry: Entry, thread: str) -> None:
        """Store the id of the entry's thread, unless one is stored."""
        if thread and entry.notification.thread and not self.thread(entry):
            atomic.write_json(self._thread(entry), {"channel": entry.channel, "thread": thread})

    def pending_ids(self) -> Iterator[str]:
        """Return the ids of the pending entries, oldest first."""
        pending = []
        for path in (self._folder / "spool").glob("[0-9a-f]*.json"):
            with suppress(FileNotFoundError):  # delivered by another program meanwhile
                pending.append((path.stat().st_mtime, path.stem))
        return (entry_id for _, entry_id in sorted(pending))

    def _thread(self, entry: Entry) -> Path:
        return (
            self._folder / "threads" / f"{entry_id(entry.channel, entry.notification.thread)}.json"
        )

    def _spooled(self, entry_id: str) -> Path:
        return self._folder / "spool" / f"{entry_id}.json"

    def _sent(self, entry_id: str) -> Path:
        return self._folder / "sent" / f"{entry_id}.json"


def entry_id(channel: str, key: str) -> str:
    """Return the id of a notification on a channel: equal keys are the same message."""
    return hashlib.sha256(f"{channel}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
