"""The candidates of a search: edits to an architecture, and a training recipe."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from mlops_lib.runner.search.keras.architecture_edits import Edit, words
from mlops_lib.runner.search.keras.constraints import Ties

PEAK = 3e-3
"""Peak learning rate of Adam under warm-up and cosine decay, at batches of 64."""
STEPS = 1200
"""The fewest steps of a training, as long as its epochs stay within `MOST_EPOCHS`.

With fewer the weights stay close to their initial values.
"""
FEW_STEPS = 20
"""With fewer steps an epoch, a smaller batch is worth its time."""
SMALLEST_BATCH = 16
LARGEST_BATCH = 256
FEWEST_EPOCHS = 8
MOST_EPOCHS = 50


@dataclass(frozen=True)
class Recipe:
    """The training of a trial."""

    optimizer: str = "own"
    """"own" for the developer's, from its configuration; "compiled" for the one the model has; else
    the name of a Keras optimizer.
    """
    learning_rate: float = 0.0
    """Peak under "cosine"; 0 keeps the developer's."""
    schedule: str = "own"
    """"own" or "cosine" (linear warm-up over a tenth, then cosine decay)."""
    batch_size: int = 0
    """0 keeps the developer's."""
    epochs: int = 10
    balanced: bool = False
    """Weigh classes by their rarity."""

    def words(self) -> List[str]:
        """Return the recipe in plain words, one item a setting."""
        words = [f"train {self.epochs} epochs"]
        if self.schedule == "cosine":
            words.append("warm up, then decay the learning rate along a cosine")
        if self.optimizer not in ("own", "compiled"):
            words.append(f"use {self.optimizer}")
        if self.learning_rate:
            words.append(f"learning rate {self.learning_rate:.2g}")
        if self.batch_size:
            words.append(f"batches of {self.batch_size}")
        if self.balanced:
            words.append("weigh rare classes more")
        return words


@dataclass(frozen=True)
class Candidate:
    """The changes that a trial tries."""

    parent: int
    """The trial whose architecture is edited and whose weights are inherited."""
    edits: Tuple[Edit, ...] = ()
    recipe: Recipe = Recipe()
    fresh: bool = False
    """Start from the weights before the developer's fit; layers that the edits changed are
    initialised.
    """
    own: str = ""
    """Values of the project's own HyperModel, as JSON; it builds the model, and nothing is edited.
    """
    role: str = field(default="", compare=False)
    """The name of a prepared candidate (`usual_form`); "" for one around the best trial."""

    def values(self) -> Dict[str, Any]:
        """Return flat JSON values, for the oracle's own records."""
        return {
            "parent": self.parent,
            "edits": json.dumps([dict(e) for e in self.edits], sort_keys=True),
            "fresh": self.fresh,
            "own": self.own,
            **({"role": self.role} if self.role else {}),
            **asdict(self.recipe),
        }

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Candidate:
        """Return the candidate that `values` describe."""
        recipe = Recipe(**{name: values[name] for name in asdict(Recipe()) if name in values})
        edits = tuple(json.loads(values["edits"]))
        own = str(values.get("own") or "")
        role = str(values.get("role") or "")
        return cls(int(values["parent"]), edits, recipe, bool(values["fresh"]), own, role)

    def kinds(self) -> List[str]:
        """Return the kinds of its changes, by which searches are compared."""
        return [self.role] if self.role else kinds_of(self.edits)

    def words(self) -> List[str]:
        """Return the edits in plain words."""
        own = [f"{name} = {value}" for name, value in json.loads(self.own or "{}").items()]
        return [words(edit) for edit in self.edits] + own


def kinds_of(edits: Iterable[Edit]) -> List[str]:
    """Return the kinds of edits, each once."""
    return list(dict.fromkeys(str(edit.get("edit", edit)["kind"]) for edit in edits))


@dataclass(frozen=True)
class Limits:
    """The limits that a project sets: the table `[search]` of its settings."""

    edits: Tuple[str, ...] = ()
    """The only kinds of edits allowed; empty allows all."""
    without: Tuple[str, ...] = ()
    """Kinds of edits not allowed."""
    epochs: int = 0
    """Most epochs of a trial; 0 for no limit."""
    parameters: int = 0
    """Most parameters of a model; 0 for no limit."""

    @classmethod
    def read(cls, content: Any) -> Limits:
        """Return the limits in a JSON object; anything else sets none."""
        table = content if isinstance(content, dict) else {}
        return cls(
            tuple(map(str, table.get("edits") or ())),
            tuple(map(str, table.get("without") or ())),
            int(table.get("epochs") or 0),
            int(table.get("parameters") or 0),
        )

    def allow(self, edit: Edit) -> bool:
        """Return whether an edit of this kind is allowed."""
        kind = str(edit.get("edit", edit)["kind"])
        return kind not in self.without and (not self.edits or kind in self.edits)


@dataclass
class Facts:
    """Properties of the data and of the developer's training."""

    examples: int
    batch_size: int
    epochs: int
    learning_rate: float = 1e-3
    images: List[str] = field(default_factory=list)
    """Names of inputs that are images."""
    pictures: Dict[str, List[int]] = field(default_factory=dict)
    """Names of inputs that are pictures, also as grey values or as one vector, with height, width
    and channels.
    """
    mirrored: bool = False
    """True if a mirrored image may keep its label."""
    unscaled: Dict[str, Tuple[List[float], List[float]]] = field(default_factory=dict)
    """Input name to mean and variance by feature, for inputs that are far from standard."""
    targets: Optional[Tuple[float, float]] = None
    """Mean and deviation of numeric targets that are far from standard, else None."""
    arrays: bool = True
    """True if the batch size can be chosen."""
    imbalanced: bool = False
    """True if some class is rare and the metric cares."""
    padded: List[str] = field(default_factory=list)
    """Names of token inputs in which many examples end in zeros: padding without a mask."""
    inner: List[str] = field(default_factory=list)
    """Names of the script's own models inside the model that began untrained; they are edited too.
    """
    pretrained: bool = False
    """True if pretrained weights are being trained, which a high learning rate would destroy."""
    accelerated: bool = False
    """True if there is an accelerator: wider networks cost little there."""
    most_cost: float = 0.0
    """Multiplications that an example may cost a network; 0 for no limit."""
    limits: Limits = Limits()
    ties: Ties = field(default_factory=Ties)
    """Properties of the network that the script's other models depend on; edits keep them."""


def standard_recipe(facts: Facts, *, share: float = 1.0) -> Recipe:
    """Return warm-up and cosine decay with Adam.

    It runs for `share` of the developer's epochs, or more until there are enough steps. Pretrained
    weights are trained at the developer's own rate.
    """
    batch = facts.batch_size
    if facts.arrays:
        # Smaller batches give more steps an epoch at hardly more cost for few examples.
        while facts.examples / batch < FEW_STEPS and batch > SMALLEST_BATCH:
            batch //= 2
        batch = min(max(batch, 1), LARGEST_BATCH)
    steps = max(math.ceil(facts.examples / max(batch, 1)), 1)
    # At least as many as the steps require: a cosine over a handful of steps trains nothing.
    epochs = max(
        round(facts.epochs * share), min(math.ceil(STEPS / steps), MOST_EPOCHS), FEWEST_EPOCHS
    )
    epochs = min(epochs, max(MOST_EPOCHS, facts.epochs // 2), facts.limits.epochs or epochs)
    # The rate follows the square root of the batch size, within bounds.
    rate = PEAK * min(max((batch / 64.0) ** 0.5, 0.5), 2.0)
    if facts.pretrained:
        rate = min(facts.learning_rate or 1e-4, 1e-3)
    # 0 keeps the argument of the script, which a patch then need not touch.
    changed_batch = batch if facts.arrays and batch != facts.batch_size else 0
    return Recipe("adam", float(f"{rate:.3g}"), "cosine", changed_batch, epochs, facts.imbalanced)
