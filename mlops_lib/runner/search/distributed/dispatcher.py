"""Who tries what: the decisions of a search that several workers share.

No worker waits for another. A trial belongs to the worker it was handed to until that worker says
how it ended, comes back after a restart (it gets the same trial again and goes on from its
checkpoint), or has not been heard of for `LOST_S`: then another one goes on with it, and what the
first one still says about it is not counted.
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

LOST_S = 60.0
"""A worker that says nothing for so long has no trial any more.

Its machine is gone, or the way to it.
"""
MOST_STARTS = 3
"""A trial that was begun so often without getting an epoch further kills its workers: it has
failed.
"""
DEAF_S = 5.0
"""A desk that did not look for so long (a slow proposal, a paused process) has heard nobody
meanwhile.
"""


@dataclass(frozen=True)
class Order:
    """What a worker is to do next."""

    do: str
    """"try", "wait" (all trials are under way, one of them may come back) or "end"."""
    number: int = 0
    candidate: Optional[Candidate] = None
    """None: trial 0, the developer's own model, once more without the selection examples."""


@dataclass(frozen=True)
class Reply:
    """What a worker hears when it says how far its trial is."""

    do: str = "go on"
    """"go on", "stop" (and say how it ended) or "drop" (somebody else has the trial)."""
    why: str = ""
    best: Optional[float] = None
    """The best score of all."""


@dataclass
class Held:
    """A trial under way."""

    worker: str
    heard: float
    """When its worker was last heard of."""
    candidate: Optional[Candidate] = None
    """None: trial 0."""
    seconds: float = 0.0
    curve: List[float] = field(default_factory=list)
    why: str = ""
    """Why it is to stop."""


@dataclass
class Seen:
    """A worker, as far as it was heard of."""

    heard: float
    """When last."""
    begun: int = 0
    """How many trials it was handed."""
    where: str = ""
    """The machine that it calls from, "" for this one."""


class Desk:
    """Hands out the trials of one search. Not thread-safe: one thread asks.

    Args:
        trials: the oracle.
        request: the search.
        records: the records of trials that have ended, by number; `record` adds to them.
        begun: hears of a trial that begins.
        record: writes a trial's record down.
        winner: the best trial's number so far.
        reached: whether the bar is reached.
        owes_own: whether trial 0 is still to be trained again without the selection examples.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        trials: Trials,
        request: SearchRequest,
        records: Mapping[int, Mapping[str, Any]],
        *,
        begun: Callable[[Dict[str, Any]], None],
        record: Callable[[Dict[str, Any]], None],
        winner: Callable[[], int],
        reached: Callable[[], bool],
        owes_own: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials = trials
        self._request = request
        self._records = records
        self._begun = begun
        self._record = record
        self._winner = winner
        self._reached = reached
        self._owes_own = owes_own
        self._clock = clock
        self.held: Dict[int, Held] = {}
        self.present: Set[str] = set()
        """The workers that do not know yet that the search is over."""
        self._seen: Dict[str, Seen] = {}
        self._rungs = Rungs(request.mode)
        self._starts: Dict[int, int] = {}
        """How often a trial was begun since it last got an epoch further than ever."""
        self._epochs: Dict[int, int] = {}
        self._looked = clock()
        self._training_s = sum(float(one["seconds"]) for one in records.values())
        for worker, asked in trials.under_way().items():
            known = records.get(trials.number(asked))
            if (
                known is not None
            ):  # it was written down when this process was killed, and the oracle does not know
                trials.tell(asked, known["score"], known["message"])
            elif worker == ALONE:
                trials.release(worker)
            else:
                self._hold(worker, trials.number(asked), trials.candidate(asked))
        if not self.stopped and reached():
            trials.stop("bar")

    def _hold(self, worker: str, number: int, candidate: Optional[Candidate]) -> None:
        self.held[number] = Held(worker, self._clock(), candidate)

    def hear(self, worker: str, where: str = "") -> None:
        """A worker has called.

        Args:
            worker: who.
            where: the machine that it calls from, "" for this one.
        """
        seen = self._seen.setdefault(worker, Seen(self._clock()))
        seen.heard, seen.where = self._clock(), where

    def knows(self, worker: str) -> bool:
        """Whether the worker has called before."""
        return worker in self._seen

    def workers(self) -> List[Dict[str, Any]]:
        """Who works for this search, and on what; `silent_s` is for how long one was not heard of."""
        now = self._clock()
        found = []
        trials = {held.worker: (number, held) for number, held in self.held.items()}
        for name, seen in sorted(self._seen.items()):
            number, held = trials.get(name, (None, None))
            candidate = None if held is None else held.candidate
            found.append(
                {
                    "name": name,
                    "where": seen.where,
                    "silent_s": round(now - seen.heard, 1),
                    "begun": seen.begun,
                    "trial": number,
                    "epoch": len(held.curve) - 1 if held is not None and held.curve else None,
                    "epochs": None if candidate is None else candidate.recipe.epochs,
                }
            )
        return found

    def ask(self, worker: str) -> Order:
        """What a worker is to do next; one that was restarted gets the trial that it had."""
        self.look()
        self.present.add(worker)
        if self.stopped:
            self.present.discard(worker)
            return Order("end")
        held = next((n for n, one in self.held.items() if one.worker == worker), None)
        if held == 0 or (held is None and self._owes_own() and 0 not in self.held):
            self._begin(worker, 0, None)
            return Order("try")
        if failures.common_failure(self._records.values()):
            self._trials.stop("failed")
            self.present.discard(worker)
            return Order("end")
        asked = self._trials.ask(worker) if self._request.trials > 0 else None
        if asked is None:
            if self.held:
                return Order("wait")
            spent = len(self._trials) >= self._request.trials
            self._trials.stop("trials" if spent else "exhausted")
            self.present.discard(worker)
            return Order("end")
        number = self._trials.number(asked)
        record = self._records.get(number)
        if record is not None:
            self._trials.tell(asked, record["score"], record["message"])
            self.held.pop(number, None)
            return self.ask(worker)
        candidate = self._trials.candidate(asked)
        if self._starts.get(number, 0) >= MOST_STARTS:
            self._hold(worker, number, candidate)
            self._close(
                {
                    **_described(number, candidate),
                    "state": "failed",
                    "worker": worker,
                    "message": f"its worker died {MOST_STARTS} times in the same epoch",
                }
            )
            return self.ask(worker)
        self._begin(worker, number, candidate)
        return Order("try", number, candidate)

    def _begin(self, worker: str, number: int, candidate: Optional[Candidate]) -> None:
        self._starts[number] = self._starts.get(number, 0) + 1
        if worker in self._seen:
            self._seen[worker].begun += 1
        self._hold(worker, number, candidate)
        self._begun({**_described(number, candidate), "worker": worker})

    def beat(self, worker: str, number: int, *, curve: List[float], seconds: float) -> Reply:
        """How far a worker's trial is.

        Args:
            worker: who.
            number: the trial.
            curve: its score after each epoch so far.
            seconds: its training time so far.
        """
        held = self._held_by(worker, number)
        if held is None:
            return Reply("drop", "another worker has this trial")
        if len(curve) > self._epochs.get(number, 0):
            self._starts[number], self._epochs[number] = 1, len(curve)
        held.heard, held.seconds, held.curve = self._clock(), seconds, curve
        self.look()
        candidate = held.candidate
        if candidate is not None and not self._rungs.goes_on(
            number,
            curve,
            candidate.recipe.epochs,
            "fresh" if candidate.fresh or candidate.own else "inherited",
        ):
            held.why = "others had come further after as much of their training"
        why = held.why or (_OVER.get(self.stopped, ""))
        best = self._records.get(self._winner(), {}).get("score")
        return Reply("stop" if why else "go on", why, best)

    def _held_by(self, worker: str, number: int) -> Optional[Held]:
        """The trial, if it is this worker's; trial 0 is not in the oracle's books, so its worker is
        believed.
        """
        if number == 0 and 0 not in self.held and self._owes_own() and not self.stopped:
            self._hold(worker, 0, None)
        held = self.held.get(number)
        return held if held is not None and held.worker == worker else None

    def end(self, worker: str, record: Dict[str, Any]) -> None:
        """How a worker's trial ended; said twice, or by one that has lost it, it does not count."""
        number = int(record["number"])
        if self._held_by(worker, number) is None:
            return
        self._close({**record, "worker": worker})
        if not self.stopped and self._reached():
            self._trials.stop("bar")

    def _close(self, record: Dict[str, Any]) -> None:
        number = int(record["number"])
        held = self.held.pop(number)
        self._training_s += float(record["seconds"])
        self._record(record)
        asked = self._trials.under_way().get(held.worker)
        if number and asked is not None and self._trials.number(asked) == number:
            self._trials.tell(asked, record["score"], record["message"])

    def look(self) -> None:
        """Notice that the time is used up, and whose worker is lost."""
        now = self._clock()
        asleep, self._looked = now - self._looked, now
        for number, held in list(self.held.items()):
            if asleep > DEAF_S:  # nobody could be heard
                held.heard = now
            if now - held.heard > LOST_S:
                del self.held[number]
                self.present.discard(held.worker)
                if number:
                    self._trials.release(held.worker)
        used_s = self._training_s + sum(one.seconds for one in self.held.values())
        if not self.stopped and used_s >= 60.0 * self._request.minutes:
            self._trials.stop("minutes")

    @property
    def stopped(self) -> str:
        """Why the search is over, "" while it is not."""
        return self._trials.stopped

    def settle(self) -> None:
        """Close what was under way when the search ended and whose workers have not said how it
        went.
        """
        for number, held in sorted(self.held.items()):
            if number == 0:
                del self.held[0]
                continue
            self._close(
                {
                    **_described(number, held.candidate),
                    "state": "stopped",
                    "worker": held.worker,
                    "curve": held.curve,
                    "epochs": len(held.curve),
                    "seconds": held.seconds,
                    "message": _OVER[self.stopped],
                }
            )


def _described(number: int, candidate: Optional[Candidate]) -> Dict[str, Any]:
    """The record of a trial that begins."""
    if candidate is None:
        return trial_record(number)
    said = [*candidate.words(), *candidate.recipe.words()]
    return trial_record(
        number, parent=candidate.parent, edits=said, hyperparameters=candidate.values()
    )


_OVER = {
    "bar": "another trial has reached the bar",
    "minutes": "the time is used up",
    "trials": "the search is over",
    "exhausted": "the search is over",
    "failed": "every trial failed for the same reason",
}
