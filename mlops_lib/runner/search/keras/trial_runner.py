"""Run single trials: build, train and score a candidate, and record the result."""

from __future__ import annotations

import gc
import math
from typing import Any, Dict, Optional

import keras

from mlops_lib.runner import protocol
from mlops_lib.runner.search.examples import RefusedError
from mlops_lib.runner.search.keras import trial
from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
from mlops_lib.runner.search.keras.lineage import Lineage
from mlops_lib.runner.search.keras.memory_growth import forgotten_gradients
from mlops_lib.runner.search.keras.trial_store import TrialStore
from mlops_lib.runner.search.request import trial_record

SEED_FACTOR = 7919
"""A prime by which the search's seed is multiplied, so that trials of two seeds share no seed."""


class TrialRunner:
    """Run the trials of a search, one at a time, in this process."""

    def __init__(
        self, model: Any, context: trial.TrialContext, store: TrialStore, lineage: Lineage
    ) -> None:
        self._model = model
        self._context = context
        self._request = context.request
        self._store = store
        self._lineage = lineage

    def score_own_model(self) -> None:
        """Record trial 0: the developer's model on the selection examples.

        It is not trained again. If it was trained on these examples it gets no score, and the
        gate's value stands in.

        Raises:
            RefusedError: the metric cannot be computed on the selection examples.
        """
        if 0 in self._store.records:
            return
        selected = self._context.selected
        score: Optional[float] = None
        message = "as the script trained it"
        if selected.is_split:
            message += "; it has seen the selection examples"
        else:
            score = trial.Scorer(self._request, selected).evaluate(self._model)
            if score is None:
                raise RefusedError(
                    f"{self._request.metric} cannot be computed on the selection examples"
                )
        self.record(
            trial_record(
                0,
                state="finished",
                score=score,
                epochs=len(self._context.call.history.epoch),
                parameters=self._model.count_params(),
                message=message,
            )
        )

    def run(self, number: int, candidate: Candidate) -> Dict[str, Any]:
        """Run one trial; return its record."""
        inherits_own = candidate.parent == 0 and not candidate.fresh
        if inherits_own and self._context.selected.is_split and not self._request.worker:
            self.retrain_own_model()
        self._seed(number)
        model, grade = self._lineage.build(candidate)
        record = trial_record(
            number,
            parent=candidate.parent,
            edits=candidate.words() + candidate.recipe.words(),
            kinds=candidate.kinds(),
            inherited=grade,
            hyperparameters=candidate.values(),
            parameters=model.count_params(),
        )
        self._context.journal.write(protocol.EVENT_TRIAL, trial=record)
        self._context.best = self._store.score(self._store.winner())
        self._context.finished = self._store.curves_like(candidate)
        with forgotten_gradients():
            run = trial.train(self._context, model, candidate.recipe, number)
        self._finish(record, run)
        # Keras models are cycles of references: without a collection two of them share the memory.
        del model
        gc.collect()
        return record

    def retrain_own_model(self) -> Dict[str, Any]:
        """Train trial 0 again without the selection examples; return its record.

        Weights that have seen the selection examples would make every trial that inherits them look
        better than it is.
        """
        # Weights of trial 0 on disk are from such a training: its own are never written.
        if self._store.has_weights(0):
            return self._store.records[0]
        self._seed(0)
        call = self._context.call
        model = self._lineage.build_untrained()
        recipe = Recipe(epochs=len(call.history.epoch) or int(call.arguments.get("epochs") or 1))
        record = trial_record(
            0,
            parameters=model.count_params(),
            message="trained again without the selection examples",
        )
        self._context.journal.write(protocol.EVENT_TRIAL, trial=record)
        self._context.finished = []
        self._context.best = None  # never stop it early: others are compared with it
        self._finish(record, trial.train(self._context, model, recipe, 0))
        return record

    def _seed(self, number: int) -> None:
        """Seed all random generators by the trial's number alone.

        A trial then gives the same result whichever process runs it, and after whatever other
        trials.
        """
        keras.utils.set_random_seed((self._request.seed * SEED_FACTOR + number) % 2**31)

    def _finish(self, record: Dict[str, Any], run: trial.TrialRun) -> None:
        """Complete and store a trial's record; keep its weights if it is the best."""
        number = int(record["number"])
        state = run.state if run.state != "finished" or not run.out_of_time else "stopped"
        score = run.score if state in ("finished", "stopped") else None
        record.update(
            state=state,
            score=score,
            epochs=len(run.curve),
            seconds=math.ceil(1000 * run.seconds) / 1000,
            curve=run.curve,
            message=run.message,
        )
        # Weights come before the record: a trial that is on record as the best must have them.
        is_best = self._store.is_worth_keeping(number, score)
        if run.weights is not None and is_best and self._context.owns_trial():
            self._store.add_weights(number, run.weights)
        self._store.add_history(number, run.history)
        self.record(record)
        if not self._request.worker:
            self._store.commit()
            self._store.delete_checkpoint(number)

    def record(self, record: Dict[str, Any]) -> None:
        """Record how a trial ended, in the store and in the run's journal."""
        self._store.add(record)
        self._context.journal.write(protocol.EVENT_TRIAL, trial=record)
