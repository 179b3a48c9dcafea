"""Propose the next training to try, as a function of the records so far."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

from mlops_lib.runner.search.pytorch import layers
from mlops_lib.runner.search.pytorch.recipe import Recipe, Trained
from mlops_lib.runner.search.request import SearchRequest

ADAM_LIKE = ("Adam", "AdamW", "NAdam", "Adamax", "RAdam")
USUAL_RATES = (3e-4, 3e-3)
"""Learning rates of Adam that need no change."""
USUAL_RATE = 1e-3
FEWEST_STEPS = 1500
MOST_TIMES = 4
"""The most epochs of a training, as a multiple of its own."""
FEWEST_EPOCHS = 12
DRAWS = 40


@dataclass(frozen=True)
class Candidate:
    """A change of the script's training."""

    edits: Tuple[Mapping[str, Any], ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    parent: int = 0

    def values(self) -> Dict[str, Any]:
        """Return it as JSON."""
        values = {
            "edits": [dict(edit) for edit in self.edits],
            "recipe": self.recipe.values(),
            "parent": self.parent,
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Candidate:
        """Return the candidate that `values` returned."""
        return cls(
            tuple(values.get("edits") or ()),
            Recipe.read(values.get("recipe") or {}),
            int(values.get("parent") or 0),
        )

    def words(self) -> List[str]:
        """Return the changes in words."""
        return [*layers.words(self.edits), *self.recipe.words()]


class Proposer:
    """Propose candidates.

    Args:
        trained: the script's training.
        plan: the possible changes of its model.
        request: the search.
        loss: the name of the loss function.
        count: the number of training examples, 0 if it is not known.
    """

    def __init__(
        self,
        trained: Trained,
        plan: layers.Plan,
        request: SearchRequest,
        *,
        loss: str,
        count: int,
    ) -> None:
        self.trained = trained
        self.request = request
        self.limits = request.limits
        self.loss = loss
        self.count = count
        self.own_epochs = trained.epochs
        self.own_rate = trained.rate
        self.own_batch = trained.batch_size
        self.own_optimizer = type(trained.optimizer).__name__
        self.can_stretch = trained.can_stretch
        self.has_criterion = bool(trained.criteria)
        self.architecture = [] if request.failed_with else plan.portfolio(self.limits)
        self.plan = plan

    def next(
        self,
        records: Mapping[int, Mapping[str, Any]],
        candidates: Mapping[int, Candidate],
        winner: int,
    ) -> Optional[Candidate]:
        """Return the next candidate, None if there is none."""
        tried_values = [candidate.values() for candidate in candidates.values()]
        for proposal in self._portfolio():
            if proposal.values() not in tried_values:
                return proposal
        # By the number of trials alone, so that a search that was killed proposes the same.
        draw = random.Random(self.request.seed * 7919 + len(tried_values))
        base = candidates.get(winner, Candidate())
        for _ in range(DRAWS):
            changed = replace(self._changed(base, draw), parent=winner)
            if not any(_same(changed.values(), values) for values in tried_values):
                return changed
        return None

    def _portfolio(self) -> List[Candidate]:
        """Return the candidates that most often help, the most promising first."""
        usual = self._usual_recipe()
        own_rate = replace(usual, optimizer="", rate=None)
        portfolio = [Candidate(tuple(edits), usual) for edits in self.architecture]
        portfolio.append(Candidate((), usual))
        portfolio.append(Candidate((), replace(usual, rate=(usual.rate or self.own_rate) * 3)))
        if own_rate != usual:
            portfolio.append(
                Candidate(tuple(self.architecture[0]) if self.architecture else (), own_rate)
            )
        return [candidate for candidate in portfolio if candidate.values()]

    def _usual_recipe(self) -> Recipe:
        low, high = USUAL_RATES
        is_adam = self.own_optimizer in ADAM_LIKE
        recipe = Recipe()
        if not (is_adam and low <= self.own_rate <= high):
            recipe = replace(
                recipe,
                optimizer="" if is_adam else "Adam",
                rate=None if is_adam and self.own_rate == USUAL_RATE else USUAL_RATE,
            )
        epochs = self._more_epochs()
        if epochs is not None:
            recipe = replace(recipe, epochs=epochs)
        if self.own_epochs is not None and self.can_stretch and (epochs or self.own_epochs) > 2:
            recipe = replace(recipe, schedule="cosine")
        return recipe

    def _more_epochs(self) -> Optional[int]:
        """Return how many epochs a training should have, None if its own are enough."""
        own = self.own_epochs
        if own is None or not self.can_stretch:
            return None
        batches = 1
        if self.count and self.own_batch:
            batches = -(-self.count // self.own_batch)
        epochs = max(FEWEST_EPOCHS, min(FEWEST_STEPS // batches, MOST_TIMES * own))
        epochs = min(epochs, int(self.limits.get("epochs") or epochs))
        return epochs if epochs > own else None

    def _changed(self, base: Candidate, draw: random.Random) -> Candidate:
        """Return a candidate with one or two changes more."""
        for _ in range(draw.choice((1, 1, 2))):
            options = [self._other_rate, self._other_decay]
            if self.can_stretch:
                options += [self._longer]
            if self.own_batch is not None:
                options += [self._other_batch]
            if (
                self.has_criterion
                and self.loss == "cross_entropy"
                and "loss" not in self.request.metric
            ):
                options += [self._smoother]
            # Layers are drawn as often as all other changes together, because they gain the most.
            if self.architecture:
                options += [self._other_layers] * 3
            base = draw.choice(options)(base, draw)
        return base

    def _other_rate(self, base: Candidate, draw: random.Random) -> Candidate:
        rate = base.recipe.rate or self.own_rate
        factor = draw.choice((0.3, 0.5, 2.0, 3.0))
        return replace(base, recipe=replace(base.recipe, rate=float(f"{rate * factor:.2g}")))

    def _other_decay(self, base: Candidate, draw: random.Random) -> Candidate:
        decay = draw.choice((1e-5, 1e-4, 1e-3))
        return replace(base, recipe=replace(base.recipe, decay=decay))

    def _longer(self, base: Candidate, draw: random.Random) -> Candidate:
        epochs = round((base.recipe.epochs or self.own_epochs or 1) * draw.choice((1.5, 2.0)))
        limit = int(self.limits.get("epochs") or epochs)
        return replace(base, recipe=replace(base.recipe, epochs=min(epochs, limit)))

    def _other_batch(self, base: Candidate, draw: random.Random) -> Candidate:
        size = base.recipe.batch_size or self.own_batch or 1
        size = max(4, round(size * draw.choice((0.5, 2.0))))
        # Fewer than four steps an epoch train next to nothing.
        if self.count and size > self.count // 4:
            return base
        return replace(base, recipe=replace(base.recipe, batch_size=size))

    def _smoother(self, base: Candidate, draw: random.Random) -> Candidate:
        return replace(base, recipe=replace(base.recipe, smoothing=draw.choice((0.05, 0.1))))

    def _other_layers(self, base: Candidate, draw: random.Random) -> Candidate:
        edits = self.plan.variation(base.edits, draw, self.limits)
        return base if edits is None else replace(base, edits=tuple(edits))


def _same(values: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {k: v for k, v in values.items() if k != "parent"} == {
        k: v for k, v in other.items() if k != "parent"
    }
