"""Disk space of finished fits: keep their checkpoints within a limit."""

import os
import threading
from typing import List, Tuple

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.state.checkpoint import Store

SHARE = 0.5
"""Largest share of the available disk space that finished fits may take."""


class FinishedFits:
    """The checkpoints of a script's finished fits.

    A restarted script restores each of them, or trains the fit again with the same result. So if
    many fits (folds, a fit in a loop) would fill the disk, the checkpoints are dropped that save
    the least training time per byte.

    Args:
        journal: for the warning about dropped checkpoints.
        limit: bytes that they may take together; less if the disk has little space.
    """

    def __init__(self, journal: Journal, limit: int) -> None:
        self._journal = journal
        self._limit = limit
        self._fits: List[Tuple[Store, int, float]] = []
        self._lock = threading.Lock()

    def add(self, store: Store, seconds: float) -> None:
        """Add a fit that has finished or was restored.

        Args:
            store: its checkpoints, the last one durable.
            seconds: its training time.
        """
        with self._lock:
            # The newest fit keeps its previous generation as well, in case the last one is damaged.
            if self._fits:
                before, _, its_seconds = self._fits[-1]
                before.settle()
                self._fits[-1] = (before, before.bytes(), its_seconds)
            self._fits.append((store, store.bytes(), seconds))
            self._enforce_limit(store.folder)

    def _enforce_limit(self, folder: str) -> None:
        try:
            room = os.statvfs(folder)
        except OSError:
            return
        used = sum(size for _, size, _ in self._fits)
        most = min(self._limit, SHARE * (room.f_bavail * room.f_frsize + used))
        while used > most and len(self._fits) > 1:
            cheapest = min(self._fits[:-1], key=lambda fit: fit[2] / max(fit[1], 1))
            cheapest[0].drop()
            self._fits.remove(cheapest)
            used -= cheapest[1]
            self._journal.warn(
                f"the checkpoints of finished fits take more than {most / 1e9:.3g} GB: those that"
                " save the least training time are dropped; a restart trains these fits again, with"
                " the same result"
            )
