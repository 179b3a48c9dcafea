"""KerasTuner's Oracle over edits: numbers the trials and chooses their values.

Edits come from the space (the portfolio, then those that the diagnosis suggests). When those around
the best model are used up, KerasTuner's Bayesian optimisation searches the training of that model.
Every question and answer is a line of the search's ledger, from which the oracle is restored after
a kill.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy

from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
from mlops_lib.runner.search.keras.oracle_log import Ledger
from mlops_lib.runner.search.request import SearchRequest

OBJECTIVE = "score"
ALONE = "mlops"
"""The worker's name in a search that has only one."""
Propose = Callable[[List[Mapping[str, Any]]], Optional[Candidate]]
"""Return the next candidate from the values of all trials so far, or None if none is left."""
OwnSpace = Tuple[Any, Callable[[Mapping[str, Any]], Candidate]]
Refine = Callable[[float, int], Candidate]
"""Return a candidate on the best model from a learning rate and a number of epochs."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # KerasTuner uses names that newer Pythons call deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep linear algebra to this thread.

    For matrices of a few rows, waking other threads takes six times as long as they save.
    """
    try:
        import threadpoolctl  # scikit-learn brings it
    except ImportError:
        yield
        return
    with threadpoolctl.threadpool_limits(1):
        yield


class Trials:
    """The oracle's trials; each worker has at most one at a time.

    Args:
        request: the search.
        ledger: the search's ledger.
        base_rate: the learning rate around which the refinement looks.
        propose: returns the next candidate.
        refine: returns a candidate with the refinement's values.
        own: the project's own HyperParameters, and a function from their values to a candidate. If
            given, nothing else is searched.
    """

    def __init__(
        self,
        request: SearchRequest,
        ledger: Ledger,
        *,
        base_rate: float,
        propose: Propose,
        refine: Refine,
        own: Optional[OwnSpace] = None,
    ) -> None:
        self._ledger = ledger
        self._own = own
        self._request = request
        self.stopped = ""
        """The reason for the end of this pass's search, "" while it runs."""
        with _quiet():
            self._oracle = _edit_oracle(request, base_rate, propose, refine, own)
            # KerasTuner would print its tables into the script's output.
            self._oracle.verbose = 0
            for line in ledger.lines():
                if "trial" in line:
                    self._replay(line)
                elif line.get("over") == request.number_of_pass:
                    self.stopped = str(line["why"])

    def _replay(self, line: Mapping[str, Any]) -> None:
        """Replay a line of the ledger.

        The oracle then draws the same values as it would have without a restart.
        """
        oracle = self._oracle
        number = str(line["trial"])
        if "values" in line:
            # KerasTuner seeds each draw from this counter, which a rejected draw advances too.
            oracle._seed_state = line["drawn"]
            oracle.add_trial(number, line["values"])
        if number not in oracle.trials:  # a power failure took the line that began it
            return
        if "worker" in line:
            self._assign(number, str(line["worker"]))
        elif "score" in line:
            self._end(oracle.trials[number], line["score"], line["message"])

    def _assign(self, number: str, worker: str) -> None:
        """Assign a trial to a worker; "" puts it back for the next worker that asks."""
        oracle = self._oracle
        oracle.ongoing_trials = {
            name: trial for name, trial in oracle.ongoing_trials.items() if trial.trial_id != number
        }
        oracle._retry_queue = [waiting for waiting in oracle._retry_queue if waiting != number]
        if worker:
            oracle.ongoing_trials[worker] = oracle.trials[number]
        else:
            oracle._retry_queue.append(number)

    def __len__(self) -> int:
        """Return the number of trials, running ones included."""
        return len(self._oracle.trials)

    def ask(self, worker: str = ALONE) -> Optional[Any]:
        """Return the worker's next trial, or None if the budget or the space is used up.

        A trial that a kill interrupted is returned again.
        """
        count_before = len(self)
        current = self._oracle.ongoing_trials.get(worker)
        with _quiet():
            # KerasTuner returns the worker's running trial first, then one of the retry queue, then
            # a new one.
            trial = self._oracle.create_trial(worker)
        if str(trial.status) != "RUNNING":
            return None
        # A trial that the worker has already needs no line, and one from the retry queue has its
        # values in an earlier line: a replay must add no trial twice.
        if current is None:
            new = {"values": trial.hyperparameters.values, "drawn": self._oracle._seed_state}
            self._ledger.add(
                trial=trial.trial_id, worker=worker, **(new if len(self) > count_before else {})
            )
        return trial

    def stop(self, why: str) -> None:
        """Record the end of this pass's search.

        Workers end as soon as they learn of it, so a restarted chief could not learn it from them.
        """
        self._ledger.add(over=self._request.number_of_pass, why=why)
        self.stopped = why

    def under_way(self) -> Dict[str, Any]:
        """Return each worker's running trial."""
        return dict(self._oracle.ongoing_trials)

    def unfinished(self) -> List[Candidate]:
        """Return the candidates of all trials without an end.

        Those that wait for a worker are included.
        """
        return [
            self.candidate(trial)
            for trial in self._oracle.trials.values()
            if str(trial.status) == "RUNNING"
        ]

    def release(self, worker: str) -> None:
        """Give the worker's trial to the next worker that asks."""
        trial = self._oracle.ongoing_trials.get(worker)
        if trial is not None:
            self._ledger.add(trial=trial.trial_id, worker="")
            self._assign(trial.trial_id, "")

    @staticmethod
    def number(trial: Any) -> int:
        """Return the trial's number, from 1; trial 0 is the developer's own."""
        return int(trial.trial_id) + 1

    def candidate(self, trial: Any) -> Candidate:
        """Return the candidate of a trial."""
        values = trial.hyperparameters.values
        return (
            Candidate.read(values) if self._own is None else self._own[1](json.loads(values["own"]))
        )

    def tell(self, trial: Any, score: Optional[float], message: str = "") -> None:
        """Record a trial's score; None means that it failed."""
        self._ledger.add(trial=trial.trial_id, score=score, message=message)
        self._end(trial, score, message)

    def _end(self, trial: Any, score: Optional[float], message: str) -> None:
        with _quiet():
            if score is not None:
                metrics = self._oracle.trials[trial.trial_id].metrics
                if not metrics.exists(OBJECTIVE):
                    # KerasTuner infers the direction of a metric that is not registered from its
                    # name, and takes "min" if it does not know the name.
                    metrics.register(OBJECTIVE, direction=self._oracle.objective.direction)
                metrics.update(OBJECTIVE, score)
            trial.status = "COMPLETED" if score is not None else "FAILED"
            trial.message = message or None
            self._oracle.end_trial(trial)


def _edit_oracle(
    request: SearchRequest,
    base_rate: float,
    propose: Propose,
    refine: Refine,
    own: Optional[OwnSpace],
) -> Any:
    """Return KerasTuner's oracle for this search.

    Args:
        request: the search.
        base_rate: the learning rate around which the refinement looks.
        propose: returns the next candidate.
        refine: returns a candidate with the refinement's values.
        own: the project's own space and the function from its values to a candidate, or None.
    """
    import keras_tuner

    oracle_class = _edit_oracle_class(propose, refine, own)
    return oracle_class(
        objective=keras_tuner.Objective(OBJECTIVE, request.mode),
        max_trials=request.trials,
        seed=request.seed or 1,
        hyperparameters=_refinement_space(base_rate) if own is None else own[0],
        # The space is complete from the beginning. A trial that added an entry would change the
        # draws of all later ones, and a replay would not repeat them.
        allow_new_entries=False,
        tune_new_entries=False,
    )


def _refinement_space(base_rate: float) -> Any:
    """Return the space of the best model's training: learning rate and epochs."""
    import keras_tuner

    space = keras_tuner.HyperParameters()
    # Lower by ten and higher by three: a rate that is too high diverges, one that is too low only
    # learns slowly.
    space.Float("learning_rate", base_rate / 10, base_rate * 3, sampling="log")
    space.Int("epochs", Recipe().epochs // 2, 4 * Recipe().epochs)
    return space


def _parent_oracle() -> Any:
    """Return KerasTuner's Bayesian oracle, or its random one without scikit-learn."""
    import keras_tuner

    try:
        import sklearn.gaussian_process  # noqa: F401 - what the Bayesian oracle needs
    except ImportError:
        return keras_tuner.oracles.RandomSearchOracle
    return keras_tuner.oracles.BayesianOptimizationOracle


def _edit_oracle_class(propose: Propose, refine: Refine, own: Optional[OwnSpace]) -> Any:
    """Return the class of the oracle; its base is known once KerasTuner is imported."""
    from keras_tuner.src.engine import trial as trials

    parent: Any = _parent_oracle()

    class EditOracle(parent):  # type: ignore[misc]
        """Edits first, then the learning rate and the epochs of the best model."""

        def populate_space(self, trial_id: str) -> Dict[str, Any]:
            # In the order in which they began, which a replay repeats; the order of ends depends on
            # the workers.
            earlier = [self.trials[number].hyperparameters.values for number in self.start_order]
            candidate = propose(earlier)
            if candidate is not None:
                return {"status": "RUNNING", "values": candidate.values()}
            draw = self._draw(trial_id)
            # The space is used up: every value has been drawn.
            if draw["status"] != "RUNNING":
                return draw
            values = draw["values"]
            if own is not None:
                # Beside KerasTuner's own names, by which it models the scores.
                return {"status": "RUNNING", "values": {**own[1](values).values(), **values}}
            candidate = refine(float(values["learning_rate"]), int(values["epochs"]))
            return {"status": "RUNNING", "values": candidate.values()}

        def _draw(self, trial_id: str) -> Dict[str, Any]:
            # The draw depends on the trial's number alone, so that a search that was killed repeats
            # it.
            self._random_state = numpy.random.RandomState(self.seed + int(trial_id))
            with _one_thread():
                return dict(super().populate_space(trial_id))

        def _check_consecutive_failures(self) -> None:
            """Do not stop: the budget bounds the search, however many trials fail."""

        def add_trial(self, trial_id: str, values: Dict[str, Any]) -> None:
            """Start a trial with these values, as `create_trial` would."""
            # A copy, because a trial's values are set on it.
            hyperparameters = self.hyperparameters.copy()
            hyperparameters.values = values
            trial = trials.Trial(hyperparameters, trial_id=trial_id, status="RUNNING")
            self._record_values(trial)
            self.trials[trial_id] = trial
            self.start_order.append(trial_id)

        def save(self) -> None:
            """Do nothing: the ledger has it."""

        def _save_trial(self, trial: Any) -> None:
            """Do nothing: the ledger has it."""

    return EditOracle
