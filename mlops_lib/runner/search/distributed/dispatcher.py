"""Dispatch the trials of one search to several workers.

No worker waits for another. A trial is leased to one worker until that worker reports its end, asks
again after a restart (it then gets the same trial, and continues from its checkpoint), or is silent
for `WORKER_TIMEOUT_S`. After a timeout another worker continues the trial, and reports of the first
one about it are ignored.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from mlops_lib.runner.search import failures
from mlops_lib.runner.search.distributed.halving import Rungs
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.oracle import ALONE, Trials
from mlops_lib.runner.search.request import SearchRequest, trial_record

WORKER_TIMEOUT_S = 60.0
"""A worker that is silent for so long loses its trial: its machine or its network is gone."""
MAX_STARTS = 3
"""A trial that was started so often without completing another epoch kills its workers: it failed.
"""
CHIEF_PAUSE_S = 5.0
"""A gap between two checks from which on silence is the chief's own fault.

A slow proposal or a paused process delays the reports of all workers; none of them timed out.
"""


@dataclass(frozen=True)
class Assignment:
    """The next task of a worker."""

    action: str
    """"try", "wait" (all trials are leased, and one of them may come back) or "end"."""
    number: int = 0
    candidate: Optional[Candidate] = None
    """None for trial 0: train the developer's own model without the selection examples."""


@dataclass(frozen=True)
class Reply:
    """The answer to a worker's progress report."""

    action: str = "go on"
    """"go on", "stop" (and report the end) or "drop" (another worker has the trial)."""
    reason: str = ""
    best: Optional[float] = None
    """The best score of the whole search so far."""


@dataclass
class Lease:
    """A running trial and the worker that it belongs to."""

    worker: str
    last_seen: float
    """The time of the worker's last report, in seconds of the dispatcher's clock."""
    candidate: Optional[Candidate] = None
    """None for trial 0."""
    seconds: float = 0.0
    curve: List[float] = field(default_factory=list)
    stop_reason: str = ""
    """The reason for stopping the trial; "" if it may continue."""


@dataclass
class WorkerInfo:
    """A worker that has called at least once."""

    last_seen: float
    trials_started: int = 0
    address: str = ""
    """The machine that it calls from, "" for this one."""


class TrialDispatcher:
    """Dispatch the trials of one search. Not thread-safe: only one thread may call it.

    Args:
        trials: the oracle.
        request: the search.
        records: the records of finished trials, by number; `record` adds to them.
        on_start: called with the record of each trial that starts.
        record: stores the record of a finished trial.
        winner: returns the number of the best trial so far.
        is_bar_reached: returns whether the bar is reached.
        is_own_training_due: returns whether trial 0 has yet to be trained without the selection examples.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        trials: Trials,
        request: SearchRequest,
        records: Mapping[int, Mapping[str, Any]],
        *,
        on_start: Callable[[Dict[str, Any]], None],
        record: Callable[[Dict[str, Any]], None],
        winner: Callable[[], int],
        is_bar_reached: Callable[[], bool],
        is_own_training_due: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials = trials
        self._request = request
        self._records = records
        self._on_start = on_start
        self._record = record
        self._winner = winner
        self._is_bar_reached = is_bar_reached
        self._is_own_training_due = is_own_training_due
        self._clock = clock
        self.leases: Dict[int, Lease] = {}
        self.active_workers: Set[str] = set()
        """The workers that do not know yet that the search is over."""
        self._workers: Dict[str, WorkerInfo] = {}
        self._rungs = Rungs(request.mode)
        self._starts: Dict[int, int] = {}
        """The number of starts of each trial since it last completed an epoch for the first time.
        """
        self._epochs: Dict[int, int] = {}
        self._last_check = clock()
        self._training_s = sum(float(ended["seconds"]) for ended in records.values())
        self._resume()
        if not self.stopped and is_bar_reached():
            trials.stop("bar")

    def _resume(self) -> None:
        """Take over the leases of an earlier process from the oracle."""
        for worker, trial in self._trials.under_way().items():
            number = self._trials.number(trial)
            record = self._records.get(number)
            if record is not None:
                # The record is written before the oracle's line: the process was killed in between.
                self._trials.tell(trial, record["score"], record["message"])
            elif worker == ALONE:
                # Left by an attempt without workers; the next worker continues its checkpoint.
                self._trials.release(worker)
            else:
                self._lease(worker, number, self._trials.candidate(trial))

    def _lease(self, worker: str, number: int, candidate: Optional[Candidate]) -> None:
        self.leases[number] = Lease(worker, self._clock(), candidate)

    def touch_worker(self, worker: str, address: str = "") -> None:
        """Note that a worker has called.

        Args:
            worker: its name.
            address: the machine that it calls from, "" for this one.
        """
        info = self._workers.setdefault(worker, WorkerInfo(self._clock()))
        info.last_seen = self._clock()
        info.address = address

    def knows_worker(self, worker: str) -> bool:
        """Return whether the worker has called before."""
        return worker in self._workers

    def workers(self) -> List[Dict[str, Any]]:
        """Return a JSON object for each worker: its machine, its trial and progress.

        `silent_s` is the time since its last call.
        """
        now = self._clock()
        rows: List[Dict[str, Any]] = []
        leases = {lease.worker: (number, lease) for number, lease in self.leases.items()}
        for name, info in sorted(self._workers.items()):
            number, lease = leases.get(name, (None, None))
            candidate = None if lease is None else lease.candidate
            rows.append(
                {
                    "name": name,
                    "where": info.address,
                    "silent_s": round(now - info.last_seen, 1),
                    "begun": info.trials_started,
                    "trial": number,
                    "epoch": len(lease.curve) - 1 if lease is not None and lease.curve else None,
                    "epochs": None if candidate is None else candidate.recipe.epochs,
                }
            )
        return rows

    def assign(self, worker: str) -> Assignment:
        """Return the next task of a worker; a restarted one gets its own trial again."""
        self.check()
        self.active_workers.add(worker)
        if self.stopped:
            return self._dismiss(worker)
        leased = next((n for n, lease in self.leases.items() if lease.worker == worker), None)
        if leased == 0 or (leased is None and self._is_own_training_due() and 0 not in self.leases):
            self._start(worker, 0, None)
            return Assignment("try")
        if failures.common_failure(self._records.values()):
            self._trials.stop("failed")
            return self._dismiss(worker)
        # KerasTuner takes a maximum of no trials for no maximum.
        trial = self._trials.ask(worker) if self._request.trials > 0 else None
        if trial is None:
            if self.leases:
                return Assignment("wait")
            spent = len(self._trials) >= self._request.trials
            self._trials.stop("trials" if spent else "exhausted")
            return self._dismiss(worker)
        return self._assign_trial(worker, trial)

    def _assign_trial(self, worker: str, trial: Any) -> Assignment:
        """Start the oracle's trial, unless it is done or keeps killing its workers."""
        number = self._trials.number(trial)
        record = self._records.get(number)
        if record is not None:
            self._trials.tell(trial, record["score"], record["message"])
            self.leases.pop(number, None)
            return self.assign(worker)
        candidate = self._trials.candidate(trial)
        if self._starts.get(number, 0) >= MAX_STARTS:
            self._lease(worker, number, candidate)
            self._finish(
                {
                    **_initial_record(number, candidate),
                    "state": "failed",
                    "worker": worker,
                    "message": f"its worker died {MAX_STARTS} times in the same epoch",
                }
            )
            return self.assign(worker)
        self._start(worker, number, candidate)
        return Assignment("try", number, candidate)

    def _dismiss(self, worker: str) -> Assignment:
        self.active_workers.discard(worker)
        return Assignment("end")

    def _start(self, worker: str, number: int, candidate: Optional[Candidate]) -> None:
        self._starts[number] = self._starts.get(number, 0) + 1
        if worker in self._workers:
            self._workers[worker].trials_started += 1
        self._lease(worker, number, candidate)
        self._on_start({**_initial_record(number, candidate), "worker": worker})

    def report_progress(
        self, worker: str, number: int, *, curve: List[float], seconds: float
    ) -> Reply:
        """Note a worker's progress in its trial; return whether to continue.

        Args:
            worker: the worker's name.
            number: the trial.
            curve: its score after each epoch so far.
            seconds: its training time so far.
        """
        lease = self._lease_of(worker, number)
        if lease is None:
            return Reply("drop", "another worker has this trial")
        # A new epoch is progress: only the starts since then count towards `MAX_STARTS`.
        if len(curve) > self._epochs.get(number, 0):
            self._starts[number] = 1
            self._epochs[number] = len(curve)
        lease.last_seen = self._clock()
        lease.seconds = seconds
        lease.curve = curve
        self.check()
        candidate = lease.candidate
        if candidate is not None and not self._rungs.should_continue(
            number,
            curve,
            candidate.recipe.epochs,
            "fresh" if candidate.fresh or candidate.own else "inherited",
        ):
            lease.stop_reason = "others had come further after as much of their training"
        reason = lease.stop_reason or _STOP_REASONS.get(self.stopped, "")
        best = self._records.get(self._winner(), {}).get("score")
        return Reply("stop" if reason else "go on", reason, best)

    def _lease_of(self, worker: str, number: int) -> Optional[Lease]:
        """Return the worker's lease on a trial, or None if it has none."""
        # The oracle does not number trial 0, so a chief that was restarted has no lease on it: the
        # worker that reports on it must have had one.
        if (
            number == 0
            and 0 not in self.leases
            and self._is_own_training_due()
            and not self.stopped
        ):
            self._lease(worker, 0, None)
        lease = self.leases.get(number)
        return lease if lease is not None and lease.worker == worker else None

    def report_end(self, worker: str, record: Dict[str, Any]) -> None:
        """Record the end of a worker's trial.

        A repeated report, or one by a worker that has lost the trial, is ignored.
        """
        number = int(record["number"])
        if self._lease_of(worker, number) is None:
            return
        self._finish({**record, "worker": worker})
        if not self.stopped and self._is_bar_reached():
            self._trials.stop("bar")

    def _finish(self, record: Dict[str, Any]) -> None:
        number = int(record["number"])
        lease = self.leases.pop(number)
        self._training_s += float(record["seconds"])
        # Before the oracle's line: `_resume` completes what a kill in between leaves.
        self._record(record)
        trial = self._trials.under_way().get(lease.worker)
        if number and trial is not None and self._trials.number(trial) == number:
            self._trials.tell(trial, record["score"], record["message"])

    def check(self) -> None:
        """Stop the search if its time is used up; release the trials of silent workers."""
        now = self._clock()
        pause = now - self._last_check
        self._last_check = now
        # While the chief itself was suspended, no worker could report to it.
        for number, lease in list(self.leases.items()):
            if pause > CHIEF_PAUSE_S:
                lease.last_seen = now
            if now - lease.last_seen > WORKER_TIMEOUT_S:
                del self.leases[number]
                self.active_workers.discard(lease.worker)
                if number:
                    self._trials.release(lease.worker)
        used_s = self._training_s + sum(lease.seconds for lease in self.leases.values())
        if not self.stopped and used_s >= 60.0 * self._request.minutes:
            self._trials.stop("minutes")

    @property
    def stopped(self) -> str:
        """The reason for the end of the search, "" while it runs."""
        return self._trials.stopped

    def close_leases(self) -> None:
        """Record trials that were still running when the search ended, as stopped."""
        for number, lease in sorted(self.leases.items()):
            if number == 0:
                del self.leases[0]
                continue
            self._finish(
                {
                    **_initial_record(number, lease.candidate),
                    "state": "stopped",
                    "worker": lease.worker,
                    "curve": lease.curve,
                    "epochs": len(lease.curve),
                    "seconds": lease.seconds,
                    "message": _STOP_REASONS[self.stopped],
                }
            )


def _initial_record(number: int, candidate: Optional[Candidate]) -> Dict[str, Any]:
    """Return the record of a trial that starts."""
    if candidate is None:
        return trial_record(number)
    edits = [*candidate.words(), *candidate.recipe.words()]
    return trial_record(
        number,
        parent=candidate.parent,
        edits=edits,
        kinds=candidate.kinds(),
        hyperparameters=candidate.values(),
    )


_STOP_REASONS = {
    "bar": "another trial has reached the bar",
    "minutes": "the time is used up",
    "trials": "the search is over",
    "exhausted": "the search is over",
    "failed": "every trial failed for the same reason",
}
