"""A worker's part of a search: run the trials that the chief assigns."""

from __future__ import annotations

import functools
import os
import time
from typing import Any, Callable, Dict

from mlops_lib.runner.search.distributed import worker
from mlops_lib.runner.search.distributed.dispatcher import Assignment
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.trial import TrialContext
from mlops_lib.runner.search.keras.trial_runner import TrialRunner
from mlops_lib.runner.search.keras.trial_store import TrialStore


class SearchWorker:
    """Run assigned trials until the chief reports the end of the search."""

    def __init__(self, context: TrialContext, store: TrialStore, runner: TrialRunner) -> None:
        self._context = context
        self._request = context.request
        self._store = store
        self._runner = runner

    def work(self) -> None:
        """Run assigned trials until the end of the search.

        Raises:
            RefusedError: the chief does not accept this worker.
        """
        client = worker.ChiefClient(self._request, self._context.journal)
        worker.work(client, self._context, self._run, self._store.delete_checkpoint)

    def _run(self, assignment: Assignment) -> Dict[str, Any]:
        candidate = assignment.candidate
        self._store.reload()
        if candidate is None:
            record = self._runner.retrain_own_model()
        else:
            self._wait_until(functools.partial(self._is_parent_ready, candidate))
            self._store.candidates[assignment.number] = candidate
            record = self._runner.run(assignment.number, candidate)
        if self._request.remote and self._store.has_weights(assignment.number):
            # The chief may build on a trial as soon as it knows its end: its weights go first.
            delivered_weights = self._store.path("given", f"{assignment.number}.npz")
            self._wait_until(lambda: os.path.exists(delivered_weights))
        return record

    def _is_parent_ready(self, candidate: Candidate) -> bool:
        """Return whether the parent's record and, if inherited, its weights are here."""
        self._store.reload()
        records = self._store.records
        parent = candidate.parent
        if parent not in records or candidate.fresh or candidate.own:
            return parent in records
        if parent != 0:
            return self._store.has_weights(parent)
        # Trial 0 that has seen the selection examples is trained again first, by some worker.
        is_split = self._context.selected.is_split
        return not is_split or self._store.has_weights(0) or bool(records[0].get("worker"))

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or until the trial is cancelled."""
        while not condition() and not self._context.cancel_reason():
            self._context.journal.progress("search")
            time.sleep(worker.RETRY_S)
