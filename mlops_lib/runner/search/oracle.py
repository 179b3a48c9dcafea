"""KerasTuner's Oracle over edits: it numbers the trials, keeps their state as JSON, and resumes after a kill.

Edits come from the space (portfolio, then what the diagnosis suggests). When those around the best model are used up,
KerasTuner's Bayesian optimisation goes on over the way that model is trained.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from mlops_lib.runner import files
from mlops_lib.runner.search.candidates import Candidate, Recipe
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


class Trials:
    """The oracle's trials, at most one under way for each worker.

    Args:
        request: the search.
        base_rate: learning rate around which the refinement looks.
        propose: gives the next candidate.
        refine: makes a candidate of the refinement's values.
        own: the project's own HyperParameters and what makes a candidate of their values: all that is searched then.
    """

    def __init__(
        self, request: SearchRequest, *, base_rate: float, propose: Propose, refine: Refine,
        own: Optional[Own] = None,
    ) -> None:  # fmt: skip
        self._own = own
        with _quiet():
            self._oracle = _edit_oracle(request, base_rate, propose, refine, own)
            self._oracle.verbose = 0
            self._oracle._set_project_dir(request.directory, "oracle")
            if os.path.exists(self._oracle._get_oracle_fname()):
                self._reload()

    def _reload(self) -> None:
        """As KerasTuner does, but a trial under way stays its worker's, and none is lost to a kill between two writes."""
        oracle = self._oracle
        held = (files.read_json(oracle._get_oracle_fname()) or {}).get("ongoing_trials", {})
        oracle.reload()
        running = {number for number, trial in oracle.trials.items() if str(trial.status) == "RUNNING"}
        oracle.ongoing_trials = {worker: oracle.trials[number] for worker, number in held.items() if number in running}
        orphans = sorted(running - {trial.trial_id for trial in oracle.ongoing_trials.values()}, reverse=True)
        oracle._retry_queue = orphans
        oracle.start_order += [number for number in reversed(orphans) if number not in oracle.start_order]

    def __len__(self) -> int:
        """How many there are, those under way included."""
        return len(self._oracle.trials)

    def ask(self, worker: str = ALONE) -> Optional[Any]:
        """The trial to run (the one a kill interrupted comes again), None when the budget or the space is used up."""
        with _quiet():
            trial = self._oracle.create_trial(worker)
        return trial if str(trial.status) == "RUNNING" else None

    def under_way(self) -> Dict[str, Any]:
        """Worker to the trial it has."""
        return dict(self._oracle.ongoing_trials)

    def unfinished(self) -> List[Candidate]:
        """What the trials without an end are to try, those that wait for a worker included."""
        return [self.candidate(trial) for trial in self._oracle.trials.values() if str(trial.status) == "RUNNING"]

    def release(self, worker: str) -> None:
        """Let the next worker that asks go on with this one's trial."""
        trial = self._oracle.ongoing_trials.pop(worker, None)
        if trial is not None:
            self._oracle._retry_queue.append(trial.trial_id)
            self._oracle.save()

    @staticmethod
    def number(trial: Any) -> int:
        """The trial's number, from 1; trial 0 is the developer's own."""
        return int(trial.trial_id) + 1

    def candidate(self, trial: Any) -> Candidate:
        """What it is to try."""
        values = trial.hyperparameters.values
        return Candidate.read(values) if self._own is None else self._own[1](json.loads(values["own"]))

    def tell(self, trial: Any, score: Optional[float], message: str = "") -> None:
        """How it ended; without a score it failed."""
        with _quiet():
            if score is not None:
                metrics = self._oracle.trials[trial.trial_id].metrics
                if not metrics.exists(OBJECTIVE):
                    metrics.register(OBJECTIVE, direction=self._oracle.objective.direction)
                metrics.update(OBJECTIVE, score)
            trial.status = "COMPLETED" if score is not None else "FAILED"
            trial.message = message or None
            self._oracle.end_trial(trial)


def _save(path: str, state: Any) -> None:
    """However it is killed; after a power failure the state before will do."""
    files.write_atomic(path, json.dumps(state).encode(), lasting=False)


def _edit_oracle(request: SearchRequest, base_rate: float, propose: Propose, refine: Refine, own: Optional[Own]) -> Any:
    import keras_tuner
    import numpy

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
                # What is drawn depends on the trial's number alone, so that a search that was killed repeats it.
                self._random_state = numpy.random.RandomState(self.seed + int(trial_id))
                drawn = super().populate_space(trial_id)
                if drawn["status"] != "RUNNING":
                    return dict(drawn)
                if own is not None:
                    # Beside KerasTuner's own names, by which it models the scores.
                    return {"status": "RUNNING", "values": {**own[1](drawn["values"]).values(), **drawn["values"]}}
                candidate = refine(float(drawn["values"]["learning_rate"]), int(drawn["values"]["epochs"]))
            return {"status": "RUNNING", "values": candidate.values()}

        def _check_consecutive_failures(self) -> None:
            """Trials may fail as they like: the budget bounds them."""

        def save(self) -> None:
            _save(self._get_oracle_fname(), self.get_state())

        def _save_trial(self, trial: Any) -> None:
            _save(os.path.join(self._get_trial_dir(trial.trial_id), "trial.json"), trial.get_state())

    space = keras_tuner.HyperParameters() if own is None else own[0]
    if own is None:
        space.Float("learning_rate", base_rate / 10, base_rate * 3, sampling="log")
        space.Int("epochs", Recipe().epochs // 2, 4 * Recipe().epochs)
    return EditOracle(
        objective=keras_tuner.Objective(OBJECTIVE, request.mode), max_trials=request.trials, seed=request.seed or 1,
        hyperparameters=space, allow_new_entries=False, tune_new_entries=False,
    )  # fmt: skip
