"""Put the winning trial into the model and the History that the script holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, List, Optional

from mlops_lib.runner.keras.examples import Reading, of_validation
from mlops_lib.runner.search.keras import architecture_edits, trial
from mlops_lib.runner.search.keras.candidates import Candidate, Facts, Recipe
from mlops_lib.runner.search.keras.graft import graft
from mlops_lib.runner.search.keras.lineage import Lineage
from mlops_lib.runner.search.keras.trial_store import TrialStore
from mlops_lib.runner.search.request import Clock

REFIT_SHARE = 0.15
"""The epochs of the last training on all examples, as a share of the winner's own epochs; also the
share of the search's minutes that it may use on top.
"""


class WinnerInstaller:
    """Install the winner of a search into the developer's model.

    Args:
        model: the developer's model object, which keeps its identity.
        context: the parts that all trials share.
        store: the trials.
        lineage: builds their models.
        facts: the data and the developer's way to train.
    """

    def __init__(
        self,
        model: Any,
        context: trial.TrialContext,
        store: TrialStore,
        lineage: Lineage,
        facts: Facts,
    ) -> None:
        self._model = model
        self._context = context
        self._call = context.call
        self._selected = context.selected
        self._store = store
        self._lineage = lineage
        self._facts = facts
        self.notes: List[str] = []
        """Warnings for the developer."""
        self.steps: List[str] = []
        """The steps taken, in words."""
        self.reading: Optional[Reading] = None
        """The winner's results on the script's own validation data."""

    def restore_own(self, weights: List[Any]) -> None:
        """Give the model its own weights back, after trials have trained it in place."""
        self._model.set_weights(weights)
        trial.compile_as_given(self._model, self._call, self._own_optimizer())

    def install(self, number: int, *, was_interrupted: bool) -> Any:
        """Turn the developer's model into the winner; return its History.

        Args:
            number: the winning trial.
            was_interrupted: skip the last training on all examples.
        """
        candidate = self._store.candidate(number)
        has_root = self._lineage.root is not None
        winner = self._lineage.architecture(number) if has_root else self._model
        winner.set_weights(self._store.weights(number))
        if self._selected.is_split and not was_interrupted and not candidate.own:
            self._refit(winner, candidate, number)
        if has_root:
            winner = architecture_edits.without_augmentation(winner)
        weights = winner.get_weights()
        optimizer = self._own_optimizer()
        if has_root and self._lineage.is_edited(number):
            self.notes += graft(self._model, winner)
        else:
            self._model.set_weights(weights)
        trial.compile_as_given(self._model, self._call, optimizer)
        # Any fit leaves an optimizer with variables; without them saving and loading would warn.
        optimizer.build(self._model.trainable_variables)
        self.notes.append("the optimizer starts afresh: what a later fit inherits is the weights")
        return self._rewrite_history(number)

    def _own_optimizer(self) -> Any:
        return trial.optimizer_for(self._context.optimizer, Recipe(), 1)

    def _refit(self, winner: Any, candidate: Candidate, number: int) -> None:
        """Train the winner briefly on all examples, at a small and falling learning rate.

        The selection examples were split off the script's training data, so a script without a
        search would have trained on them. If the score drops, the training is undone.
        """
        everything = self._selected.everything or {}
        # A third of the peak: the weights are trained, and only have to take in a few more
        # examples.
        rate = (candidate.recipe.learning_rate or self._facts.learning_rate or 1e-3) / 3
        epochs = max(1, round(REFIT_SHARE * candidate.recipe.epochs))
        recipe = replace(candidate.recipe, epochs=epochs, learning_rate=rate, schedule="cosine")
        before = winner.get_weights()
        batch = recipe.batch_size or trial.batch_size(self._call)
        steps = trial.steps_an_epoch(self._call, everything["x"], batch)
        optimizer = trial.optimizer_for(self._context.optimizer, recipe, steps)
        trial.compile_as_given(winner, self._call, optimizer)
        scorer = trial.Scorer(self._context.request, self._selected)
        score_before = scorer.evaluate(winner)
        minutes = REFIT_SHARE * self._context.request.minutes
        clock = Clock(0.0, max(self._context.clock.left_s / 60.0, minutes))
        clock.start()
        winner.fit(
            **everything,
            **trial.passed_on(self._call, everything["x"], batch),
            epochs=epochs,
            verbose=0,
            callbacks=[trial.pulse(self._context.journal, clock, number)()],
        )
        spent = clock.stop()
        # By the selection examples, which it has just seen: only a clear loss shows there.
        if self._context.request.better(score_before, scorer.evaluate(winner)):
            winner.set_weights(before)
            self.notes.append("training the winner on all examples made it worse, and was undone")
        else:
            self.steps.append(
                f"the winner trained {epochs} more epochs on all examples ({spent:.0f} s)"
            )

    def _rewrite_history(self, number: int) -> Any:
        """Fill the caller's History with the winner's values; its keys and length stay.

        The script uses this object afterwards: it may plot `history["loss"]` over `range(epochs)`.
        """
        history = self._call.history
        count = len(history.epoch)
        for name in [name for name in history.history if not name.startswith("val_")]:
            curve = self._lineage.curve(number, name)
            if curve:
                history.history[name] = stretched(curve, count)
            else:
                self.notes.append(f"history['{name}'] is trial 0's: the winner has no such curve")
        self._measure_history(history)
        self._model.history = history
        history.set_model(self._model)
        return history

    def _measure_history(self, history: Any) -> None:
        """Set the History's validation values to the winner's on the script's own data.

        The trials' curves are no substitute: the winner was selected by them. If the gate judges on
        half of the validation data, the half that the winner was selected on is left out.
        """
        names = [name for name in history.history if name.startswith("val_")]
        source = of_validation(self._call.arguments)
        if not names or source is None:
            return
        left_out = self._selected.hashes if self._selected.kind == "half" else frozenset()
        try:
            self.reading = source.without(left_out).in_memory().evaluate(self._model)
        except Exception as error:  # noqa: BLE001 - the script's own pipeline may raise anything
            self.notes.append(
                "the winner could not be measured on the validation data:"
                f" {type(error).__name__}: {error}"
            )
        logs = {} if self.reading is None else self.reading.logs
        for name in names:
            value = float(logs.get(name[len("val_") :], math.nan))
            history.history[name] = [value] * len(history.history[name])
        if self.reading is not None:
            part = "the half of it that did not select" if left_out else "all of it"
            self.steps.append(
                f"the History's validation values are the winner's, measured once on {part}"
            )


def stretched(curve: List[float], count: int) -> List[float]:
    """Return a curve of `count` values with the same first and last value.

    Values in between are repeated or left out evenly.

    Example:
        >>> stretched([1.0, 2.0, 3.0], 5)
        [1.0, 1.0, 2.0, 3.0, 3.0]
    """
    if count <= 1 or len(curve) == 1:
        return [curve[-1]] * count
    return [curve[round(i * (len(curve) - 1) / (count - 1))] for i in range(count)]
