"""How much of finished fits stays on the disk: what restoring them needs, within a bound."""

import os
import threading
from typing import List, Tuple

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.state.checkpoint import Store

SHARE = 0.5
"""Of the room there is, what finished fits may take at most."""


class FinishedFits:
    """The checkpoints of a script's finished fits.

    Each is needed when the script is started again, unless the fit is trained again: that gives the
    same. So where many fits (folds, a fit in a loop) would fill the disk, those are dropped that
    are trained again soonest for the room they take.

    Args:
        journal: where it is said.
        limit: bytes that they may take together; less where the disk has no room.
    """

    def __init__(self, journal: Journal, limit: int) -> None:
        self._journal = journal
        self._limit = limit
        self._kept: List[Tuple[Store, int, float]] = []
        self._lock = threading.Lock()

    def add(self, store: Store, seconds: float) -> None:
        """A fit has finished, or was restored.

        Args:
            store: its checkpoints, the last one durable.
            seconds: how long it had trained.
        """
        with self._lock:
            if self._kept:  # the newest keeps the generation before, should its last one be damaged
                before, _, its_seconds = self._kept[-1]
                before.settle()
                self._kept[-1] = (before, before.bytes(), its_seconds)
            self._kept.append((store, store.bytes(), seconds))
            self._bound(store.folder)

    def _bound(self, folder: str) -> None:
        try:
            room = os.statvfs(folder)
        except OSError:
            return
        taken = sum(size for _, size, _ in self._kept)
        most = min(self._limit, SHARE * (room.f_bavail * room.f_frsize + taken))
        while taken > most and len(self._kept) > 1:
            cheapest = min(self._kept[:-1], key=lambda one: one[2] / max(one[1], 1))
            cheapest[0].drop()
            self._kept.remove(cheapest)
            taken -= cheapest[1]
            self._journal.warn(
                f"the checkpoints of finished fits take more than {most / 1e9:.3g} GB: those that are soonest trained again"
                " are dropped; a restart trains these fits again, with the same result"
            )
