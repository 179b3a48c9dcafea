"""KerasTuner's Oracle over edits: it numbers the trials and draws their values; what it is asked
and told is in the search's ledger, from which it comes back after a kill.

Edits come from the space (portfolio, then what the diagnosis suggests). When those around the best
model are used up, KerasTuner's Bayesian optimisation goes on over the way that model is trained.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
from mlops_lib.runner.search.keras.oracle_log import Ledger
from mlops_lib.runner.search.request import SearchRequest

OBJECTIVE = "score"
ALONE = "mlops"
"""The worker of a search that has only one."""
Propose = Callable[[List[Mapping[str, Any]]], Optional[Candidate]]
"""From the values of all trials so far to the next candidate, None when the space is used up."""
Own = Tuple[Any, Callable[[Mapping[str, Any]], Candidate]]
Refine = Callable[[float, int], Candidate]
"""From a learning rate and a number of epochs to a candidate on the best model."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # KerasTuner uses names that newer Pythons call deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep linear algebra to this thread: for matrices of a few rows, waking others takes six times
    as long as they save.
    """
    try:
        import threadpoolctl  # scikit-learn brings it
    except ImportError:
        yield
        return
    with threadpoolctl.threadpool_limits(1):
        yield


class Trials:
    """The oracle's trials, at most one under way for each worker.

    Args:
        request: the search.
        ledger: the search's ledger.
        base_rate: learning rate around which the refinement looks.
        propose: gives the next candidate.
        refine: makes a candidate of the refinement's values.
        own: the project's own HyperParameters and what makes a candidate of their values: all that
            is searched then.
    """

    def __init__(
        self,
        request: SearchRequest,
        ledger: Ledger,
        *,
        base_rate: float,
        propose: Propose,
        refine: Refine,
        own: Optional[Own] = None,
    ) -> None:
        self._ledger = ledger
        self._own = own
        self._request = request
        self.stopped = ""
        """Why this pass's search is over, "" while it is not."""
        with _quiet():
            self._oracle = _edit_oracle(request, base_rate, propose, refine, own)
            self._oracle.verbose = 0
            for line in ledger.lines():
                if "trial" in line:
                    self._repeat(line)
                elif line.get("over") == request.number_of_pass:
                    self.stopped = str(line["why"])

    def _repeat(self, line: Mapping[str, Any]) -> None:
        """Let the oracle know what was written down; values it draws later are those that it would
        have drawn.
        """
        oracle = self._oracle
        number = str(line["trial"])
        if "values" in line:
            oracle._seed_state = line["drawn"]
            oracle.add_trial(number, line["values"])
        if number not in oracle.trials:  # a power failure took the line that began it
            return
        if "worker" in line:
            self._hand(number, str(line["worker"]))
        elif "score" in line:
            self._end(oracle.trials[number], line["score"], line["message"])

    def _hand(self, number: str, worker: str) -> None:
        """A trial is this worker's from here on; "" is nobody."""
        oracle = self._oracle
        oracle.ongoing_trials = {
            name: one for name, one in oracle.ongoing_trials.items() if one.trial_id != number
        }
        oracle._retry_queue = [one for one in oracle._retry_queue if one != number]
        if worker:
            oracle.ongoing_trials[worker] = oracle.trials[number]
        else:
            oracle._retry_queue.append(number)

    def __len__(self) -> int:
        """How many there are, those under way included."""
        return len(self._oracle.trials)

    def ask(self, worker: str = ALONE) -> Optional[Any]:
        """The trial to run (the one a kill interrupted comes again), None when the budget or the
        space is used up.
        """
        known = len(self)
        mine = self._oracle.ongoing_trials.get(worker)
        with _quiet():
            trial = self._oracle.create_trial(worker)
        if str(trial.status) != "RUNNING":
            return None
        if mine is None:
            new = {"values": trial.hyperparameters.values, "drawn": self._oracle._seed_state}
            self._ledger.add(
                trial=trial.trial_id, worker=worker, **(new if len(self) > known else {})
            )
        return trial

    def stop(self, why: str) -> None:
        """This pass's search is over.

        Workers end when they hear of it, so a chief that comes back must know it by itself.
        """
        self._ledger.add(over=self._request.number_of_pass, why=why)
        self.stopped = why

    def under_way(self) -> Dict[str, Any]:
        """Worker to the trial it has."""
        return dict(self._oracle.ongoing_trials)

    def unfinished(self) -> List[Candidate]:
        """What the trials without an end are to try, those that wait for a worker included."""
        return [
            self.candidate(trial)
            for trial in self._oracle.trials.values()
            if str(trial.status) == "RUNNING"
        ]

    def release(self, worker: str) -> None:
        """Let the next worker that asks go on with this one's trial."""
        trial = self._oracle.ongoing_trials.get(worker)
        if trial is not None:
            self._ledger.add(trial=trial.trial_id, worker="")
            self._hand(trial.trial_id, "")

    @staticmethod
    def number(trial: Any) -> int:
        """The trial's number, from 1; trial 0 is the developer's own."""
        return int(trial.trial_id) + 1

    def candidate(self, trial: Any) -> Candidate:
        """What it is to try."""
        values = trial.hyperparameters.values
        return (
            Candidate.read(values) if self._own is None else self._own[1](json.loads(values["own"]))
        )

    def tell(self, trial: Any, score: Optional[float], message: str = "") -> None:
        """How it ended; without a score it failed."""
        self._ledger.add(trial=trial.trial_id, score=score, message=message)
        self._end(trial, score, message)

    def _end(self, trial: Any, score: Optional[float], message: str) -> None:
        with _quiet():
            if score is not None:
                metrics = self._oracle.trials[trial.trial_id].metrics
                if not metrics.exists(OBJECTIVE):
                    metrics.register(OBJECTIVE, direction=self._oracle.objective.direction)
                metrics.update(OBJECTIVE, score)
            trial.status = "COMPLETED" if score is not None else "FAILED"
            trial.message = message or None
            self._oracle.end_trial(trial)


def _edit_oracle(
    request: SearchRequest, base_rate: float, propose: Propose, refine: Refine, own: Optional[Own]
) -> Any:
    import keras_tuner
    import numpy
    from keras_tuner.src.engine import trial as trials

    try:
        import sklearn.gaussian_process  # noqa: F401 - what the Bayesian oracle needs
    except ImportError:
        parent: Any = keras_tuner.oracles.RandomSearchOracle
    else:
        parent = keras_tuner.oracles.BayesianOptimizationOracle

    class EditOracle(parent):  # type: ignore[misc]
        """Edits first, then the learning rate and the epochs of the best model."""

        def populate_space(self, trial_id: str) -> Dict[str, Any]:
            tried = [self.trials[one].hyperparameters.values for one in self.start_order]
            candidate = propose(tried)
            if candidate is None:
                # What is drawn depends on the trial's number alone, so that a search that was
                # killed repeats it.
                self._random_state = numpy.random.RandomState(self.seed + int(trial_id))
                with _one_thread():
                    drawn = super().populate_space(trial_id)
                if drawn["status"] != "RUNNING":
                    return dict(drawn)
                if own is not None:
                    # Beside KerasTuner's own names, by which it models the scores.
                    return {
                        "status": "RUNNING",
                        "values": {**own[1](drawn["values"]).values(), **drawn["values"]},
                    }
                candidate = refine(
                    float(drawn["values"]["learning_rate"]), int(drawn["values"]["epochs"])
                )
            return {"status": "RUNNING", "values": candidate.values()}

        def _check_consecutive_failures(self) -> None:
            """Trials may fail as they like: the budget bounds them."""

        def add_trial(self, trial_id: str, values: Dict[str, Any]) -> None:
            """A trial with these values begins, as `create_trial` lets one begin."""
            hyperparameters = self.hyperparameters.copy()
            hyperparameters.values = values
            trial = trials.Trial(hyperparameters, trial_id=trial_id, status="RUNNING")
            self._record_values(trial)
            self.trials[trial_id] = trial
            self.start_order.append(trial_id)

        def save(self) -> None:
            """The ledger has it."""

        def _save_trial(self, trial: Any) -> None:
            """The ledger has it."""

    space = keras_tuner.HyperParameters() if own is None else own[0]
    if own is None:
        space.Float("learning_rate", base_rate / 10, base_rate * 3, sampling="log")
        space.Int("epochs", Recipe().epochs // 2, 4 * Recipe().epochs)
    return EditOracle(
        objective=keras_tuner.Objective(OBJECTIVE, request.mode),
        max_trials=request.trials,
        seed=request.seed or 1,
        hyperparameters=space,
        allow_new_entries=False,
        tune_new_entries=False,
    )
