"""What the delivery keeps on disk, so that nothing is lost and nothing told twice, whoever is
killed when.

    <home>/notifications/
      spool/<id>.json    to be delivered: the notification, and what happened so far. Holds no secret and no target
      sent/<id>.json     delivered, for ever
      threads/<id>.json  what names a run's thread on a channel that has threads
      locks/<id>         there and held (flock) while an entry is being delivered

An entry is one notification on one channel; its id is a digest of the channel's name and the
notification's key. It is on disk before the first attempt. Delivered, it is first written to `sent`
and then taken from the spool: found in both, it was sent.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlops_lib import atomic
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
    """An attempt was begun and its end is not recorded: whoever finds this does not know whether it
    arrived.
    """
    not_before: float = 0.0
    """Unix time in seconds; the receiver asked to be left alone until then."""
    reached: tuple[str, ...] = ()
    uncertain: bool = False
    reason: str = ""


class Ledger:
    """The entries in `<home>/notifications`."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "notifications"

    def held(self, entry_id: str, *, timeout_s: float) -> AbstractContextManager[bool]:
        """Be the only one who delivers this entry; False where another program does so for longer
        than this.
        """
        return atomic.locked_while_there(self._folder / "locks" / entry_id, timeout_s=timeout_s)

    def find(self, entry_id: str) -> Entry | None:
        """The entry as it is on disk, or None if it is not to be delivered (any more)."""
        place = self._spooled(entry_id)
        try:
            return Entry.from_json(atomic.read_json(place))
        except FileNotFoundError:
            return None
        except ValueError:
            # Not written by us like this. Out of the way, but kept for a person: it must not stop
            # the others.
            place.replace(place.with_suffix(".unreadable"))
            return None

    def was_sent(self, entry_id: str) -> bool:
        """Whether it was delivered."""
        return self._sent(entry_id).exists()

    def save(self, entry: Entry) -> None:
        """Put the entry's state on disk."""
        atomic.write_json(self._spooled(entry.id), entry.to_json())

    def close(self, entry: Entry) -> None:
        """Record that the entry was delivered."""
        record = {
            "id": entry.id,
            "channel": entry.channel,
            "key": entry.notification.key,
            "time": time.time(),
        }
        atomic.write_json(self._sent(entry.id), record)
        self._spooled(entry.id).unlink(missing_ok=True)

    def thread(self, entry: Entry) -> str:
        """What names the thread the entry belongs to on its channel; "" where it would be the
        first.
        """
        with suppress(OSError, ValueError, AttributeError):
            kept = (
                atomic.read_json(self._thread(entry)).get("thread")
                if entry.notification.thread
                else ""
            )
            return kept if isinstance(kept, str) else ""
        return ""

    def keep_thread(self, entry: Entry, thread: str) -> None:
        """Note what names the entry's thread, unless it is noted."""
        if thread and entry.notification.thread and not self.thread(entry):
            atomic.write_json(self._thread(entry), {"channel": entry.channel, "thread": thread})

    def waiting(self) -> Iterator[str]:
        """The ids of the entries to be delivered, oldest first."""
        found = []
        for path in (self._folder / "spool").glob("[0-9a-f]*.json"):
            with suppress(FileNotFoundError):  # delivered by somebody else meanwhile
                found.append((path.stat().st_mtime, path.stem))
        return (entry_id for _, entry_id in sorted(found))

    def _thread(self, entry: Entry) -> Path:
        return (
            self._folder / "threads" / f"{entry_id(entry.channel, entry.notification.thread)}.json"
        )

    def _spooled(self, entry_id: str) -> Path:
        return self._folder / "spool" / f"{entry_id}.json"

    def _sent(self, entry_id: str) -> Path:
        return self._folder / "sent" / f"{entry_id}.json"


def entry_id(channel: str, key: str) -> str:
    """What names a notification on a channel: the same key is the same message, whoever composes it
    again.
    """
    return hashlib.sha256(f"{channel}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
