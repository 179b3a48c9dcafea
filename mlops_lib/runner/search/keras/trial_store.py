"""The trials of one search on disk: records, candidates, curves and weights."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any, Callable, Dict, List, Optional, Set

import numpy

from mlops_lib.runner import protocol
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.oracle_log import Ledger
from mlops_lib.runner.search.keras.trial import TrialCheckpoint
from mlops_lib.runner.search.request import SearchRequest
from mlops_lib.runner.state import atomic

History = Dict[str, List[float]]


class TrialStore:
    """The trials of a search, by number; trial 0 is the developer's own trained model.

    The process that decides (a search of its own, or the chief) writes the records and the ledger.
    A worker reads records, and writes weights and histories only.

    Args:
        request: the search; its directory holds the files.
        own_weights: the weights of the developer's trained model, in the order of `get_weights`.
        own_history: the curves of the developer's fit.
    """

    def __init__(
        self, request: SearchRequest, *, own_weights: List[Any], own_history: History
    ) -> None:
        self._request = request
        self._own_weights = own_weights
        self.ledger = None if request.worker else Ledger(request.directory)
        self.followed = [int(record["number"]) for record in request.follow]
        """The trials that led to another run's winner, in order; empty in an ordinary search."""
        self.records: Dict[int, Dict[str, Any]] = {}
        self.candidates: Dict[int, Candidate] = {}
        self._histories: Dict[int, History] = {0: own_history}
        self._is_tidy = True
        """True if no record was added since superseded files were deleted."""
        self.reload()

    def path(self, *parts: str) -> str:
        """Return the path of a file in the search's directory."""
        return os.path.join(self._request.directory, *parts)

    def reload(self) -> None:
        """Read the records of all finished trials, of this attempt and of earlier ones."""
        # Only the ledger is flushed to the disk: after a power failure it knows trials whose record
        # files are gone.
        records = {} if self.ledger is None else self.ledger.records()
        for name in sorted(os.listdir(self.path("trials"))):
            number = name[: -len(".json")]
            record = atomic.read_json(self.path("trials", name)) if number.isdigit() else None
            if isinstance(record, dict) and record.get("state") != "running":
                records[int(number)] = record
        self.records = records

    def add(self, record: Dict[str, Any]) -> None:
        """Record how a trial ended.

        Raises:
            OSError: the disk is full or read-only.
        """
        number = int(record["number"])
        self.records[number] = record
        # A worker's own view does not count: the chief may have given the trial to another one.
        if self.ledger is not None:
            self.ledger.add(record=record)
            atomic.write_json(self.path("trials", f"{number}.json"), record, lasting=False)
            self._is_tidy = False

    def commit(self, parents: Callable[[], List[int]] = list) -> None:
        """Flush every record to the disk; then delete files no longer needed.

        Args:
            parents: returns the trials that unfinished trials build on. Their weights are kept, and
                those of trial 0, of the best trials and of `followed`.
        """
        assert self.ledger is not None  # only workers have none
        # The order matters: weights may be deleted only after the record that supersedes them
        # survives a power failure.
        self.ledger.commit()
        if self._is_tidy:
            return
        self._is_tidy = True
        retained = {0, self.winner(), self._best_of_trials(), *self.followed, *parents()}
        self._delete_superseded("weights", ".npz", retained)
        self._delete_superseded("trials", TrialCheckpoint.ENDING, {0})

    def _delete_superseded(self, folder: str, ending: str, retained: Set[int]) -> None:
        """Delete the files of recorded trials; one without a record may still be running."""
        for name in os.listdir(self.path(folder)):
            number = name[: -len(ending)]
            if not name.endswith(ending) or not number.isdigit():
                continue
            if int(number) in self.records.keys() - retained:
                os.unlink(self.path(folder, name))

    def candidate(self, number: int) -> Candidate:
        """Return the candidate that a trial tried."""
        if number not in self.candidates:
            self.candidates[number] = Candidate.read(self.records[number]["hyperparameters"])
        return self.candidates[number]

    def score(self, number: int) -> Optional[float]:
        """Return a trial's score, or None if it has none.

        If trial 0 was not scored, because it was trained on the selection examples, the value that
        the gate measured stands in.
        """
        score = self.records[number]["score"] if number in self.records else None
        if number == 0 and score is None:
            return self._request.judged_value
        return float(score) if score is not None else None

    def curves_like(self, candidate: Candidate) -> List[List[float]]:
        """Return the curves of finished trials under the same schedule as this candidate.

        Curves of trained weights and of fresh ones differ in shape: those of the candidate's own
        kind are returned if there are any.
        """
        alike: Dict[bool, List[List[float]]] = {True: [], False: []}
        for number, record in sorted(self.records.items()):
            if not number or record["state"] != "finished" or not record.get("curve"):
                continue
            other = self.candidate(number)
            if other.recipe.schedule == candidate.recipe.schedule:
                alike[other.fresh].append(record["curve"])
        return alike[candidate.fresh] or alike[not candidate.fresh]

    def winner(self) -> int:
        """Return the number of the best trial so far, or of the last of `followed`."""
        if self._request.follow:
            last = self.followed[-1]
            return last if self.records.get(last, {}).get("score") is not None else 0
        best = 0
        for number, record in sorted(self.records.items()):
            # Strictly better, and in the order of numbers: of equal scores the earliest wins, in
            # every attempt.
            if number and self._request.better(record["score"], self.score(best)):
                best = number
        return best

    def _best_of_trials(self) -> int:
        """Return the best trial without regard to trial 0, or 0 if no trial has a score.

        It becomes the winner if trial 0, trained again, scores less than the value that stood in
        for it.
        """
        best = 0
        for number, record in sorted(self.records.items()):
            score = self.records[best]["score"] if best else None
            if number and self._request.better(record["score"], score):
                best = number
        return best

    def is_worth_keeping(self, number: int, score: Optional[float]) -> bool:
        """Return whether the weights of a trial with this score may be needed later."""
        if score is None:
            return False
        if number in (0, *self.followed):
            return True
        # Trial 0 is left out: the gate's value that stands in for it may turn out to be too high
        # once it is trained again without the selection examples.
        others = [record["score"] for n, record in self.records.items() if n not in (0, number)]
        return all(self._request.better(score, other) for other in others)

    def add_history(self, number: int, history: History) -> None:
        """Store the curves of a trial."""
        atomic.write_json(self.path("trials", f"{number}.history.json"), history)
        self._histories[number] = history

    def history(self, number: int) -> History:
        """Return the curves of a trial, by metric; empty if they are not known."""
        path = self.path("trials", f"{number}.history.json")
        return self._histories.get(number) or atomic.read_json(path) or {}

    def add_weights(self, number: int, values: List[Any]) -> None:
        """Store the weights of a trial."""
        stream = io.BytesIO()
        numpy.savez(stream, *values)
        atomic.write_atomic(self.weights_path(number), stream.getvalue())

    def has_weights(self, number: int) -> bool:
        """Return whether the weights of a trial are stored."""
        return os.path.exists(self.weights_path(number))

    def weights(self, number: int) -> List[Any]:
        """Return the weights of trial 0, or of another trial whose weights were kept."""
        if number == 0 and not self.has_weights(0):
            return list(self._own_weights)
        with numpy.load(self.weights_path(number), allow_pickle=False) as arrays:
            return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]

    def weights_path(self, number: int) -> str:
        """Return the path of a trial's weights."""
        return self.path("weights", f"{number}.npz")

    def delete_checkpoint(self, number: int) -> None:
        """Delete the checkpoint of a trial whose end is recorded."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("trials", f"{number}{TrialCheckpoint.ENDING}"))

    def write_result(self, result: Dict[str, Any]) -> None:
        """Write the search's result (mlops_lib.records.SearchResult)."""
        atomic.write_json(self.path(protocol.RESULT), result)
