"""The way a script trains, changed on the script's own objects.

Nothing is made anew that the script holds: an optimizer stays the same object, whatever its class
becomes, since schedulers, closures and the script's variables refer to it.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional

from mlops_lib.runner.search.pytorch.processes import alive

RATES = ("lr", "initial_lr", "max_lr", "min_lr", "base_lr")
"""Settings of a group of parameters that a schedule derives the rate from."""


@dataclass(frozen=True)
class Recipe:
    """The changes to a training; a field that is None or "" keeps the script's own."""

    optimizer: str = ""
    """The name of a class of torch.optim."""
    rate: Optional[float] = None
    decay: Optional[float] = None
    """Weight decay."""
    epochs: Optional[int] = None
    batch_size: Optional[int] = None
    smoothing: Optional[float] = None
    schedule: str = ""
    """ "cosine": from the rate to 0 over the epochs, instead of the script's own."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `values` returned, unknown keys ignored."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def values(self) -> Dict[str, Any]:
        """Return the changes as JSON."""
        empty = Recipe()
        return {
            name: value for name, value in asdict(self).items() if value != getattr(empty, name)
        }

    def words(self) -> List[str]:
        """Return the changes in words."""
        changes = []
        if self.optimizer:
            changes.append(f"optimizer {self.optimizer}")
        if self.rate is not None:
            changes.append(f"learning rate {self.rate:g}")
        if self.schedule:
            changes.append("cosine decay")
        if self.decay is not None:
            changes.append(f"weight decay {self.decay:g}")
        if self.epochs is not None:
            changes.append(f"{self.epochs} epochs")
        if self.batch_size is not None:
            changes.append(f"batch size {self.batch_size}")
        if self.smoothing is not None:
            changes.append(f"label smoothing {self.smoothing:g}")
        return changes


class Trained:
    """The objects of a script that make up its training.

    Attributes:
        loop: the entered loop (`runner.pytorch.loops.Loop`).
        model: the module that is trained.
        optimizer: its optimizer.
        dataset: the data set that it trains on; None if it does not read one.
    """

    def __init__(self, loop: Any, model: Any, optimizer: Any, dataset: Any) -> None:
        torch = sys.modules["torch"]
        self.loop = loop
        self.model = model
        self.optimizer = optimizer
        self.dataset = dataset
        scheduler_module = sys.modules["torch.optim.lr_scheduler"]
        kinds = tuple(
            getattr(scheduler_module, name)
            for name in ("LRScheduler", "_LRScheduler", "ReduceLROnPlateau")
            if hasattr(scheduler_module, name)
        )
        self.schedulers = [one for one in alive(kinds) if one.optimizer is optimizer]
        self.loaders = [
            one
            for one in alive(torch.utils.data.DataLoader)
            if dataset is not None and one.dataset is dataset and one.batch_size
        ]
        self.criteria = alive(torch.nn.CrossEntropyLoss)
        self.on_turn: List[Callable[[int], None]] = []
        """Called at the top of each iteration of the loop, with its number."""

    @property
    def epochs(self) -> Optional[int]:
        """The iterations of the loop, None if that cannot be changed."""
        items = counted_items(self.loop)
        return None if items is None else len(items)

    @property
    def can_stretch(self) -> bool:
        """Return whether the number of epochs may change.

        It may not if a schedule has it built in, or if the loop is a library's, which counts its
        steps itself.
        """
        if not self.loop.site.rsplit(":", 2)[0].endswith((".py", ".ipynb")):
            return False
        # These schedules compute their whole curve from the number of steps given to them.
        rigid = ("OneCycleLR", "SequentialLR", "LambdaLR", "CyclicLR")
        return self.epochs is not None and not any(
            type(scheduler).__name__ in rigid for scheduler in self.schedulers
        )

    @property
    def rate(self) -> float:
        """The learning rate as the script begins with it."""
        group = self.optimizer.param_groups[0]
        return float(group.get("initial_lr", group["lr"]))

    @property
    def batch_size(self) -> Optional[int]:
        """The size of the batches, None if that cannot be changed."""
        return self.loaders[0].batch_size if len(self.loaders) == 1 else None

    def apply(self, recipe: Recipe) -> None:
        """Change the training.

        Raises:
            ValueError: something cannot be changed in this script.
        """
        if recipe.optimizer:
            convert(self.optimizer, recipe.optimizer)
        if recipe.rate is not None:
            scale_rate(self.optimizer, self.schedulers, recipe.rate / self.rate)
        for group in self.optimizer.param_groups:
            if recipe.decay is not None:
                group["weight_decay"] = recipe.decay
        if recipe.epochs is not None:
            self._stretch(recipe.epochs)
        if recipe.batch_size is not None:
            self._rebatch(recipe.batch_size)
        if recipe.smoothing is not None:
            if not self.criteria:
                raise ValueError("the loss has no label smoothing")
            for criterion in self.criteria:
                criterion.label_smoothing = recipe.smoothing
        if recipe.schedule:
            self._anneal()

    def _stretch(self, epochs: int) -> None:
        own = self.epochs
        if own is None or not self.can_stretch:
            raise ValueError("the number of epochs cannot be changed")
        for scheduler in self.schedulers:
            for name in ("T_max", "step_size", "total_iters"):
                if isinstance(getattr(scheduler, name, None), int) and getattr(scheduler, name) > 1:
                    setattr(scheduler, name, max(1, round(getattr(scheduler, name) * epochs / own)))
        stretch(self.loop, epochs)

    def _rebatch(self, size: int) -> None:
        if self.batch_size is None:
            raise ValueError("the batch size cannot be changed")
        for loader in self.loaders:
            loader.__dict__["batch_size"] = size  # `__setattr__` refuses
            loader.batch_sampler.batch_size = size

    def _anneal(self) -> None:
        epochs = self.epochs
        if epochs is None:
            raise ValueError("the number of epochs is not known")
        # Read once: the script's own schedule may change them in the meantime.
        rates = [float(group.get("initial_lr", group["lr"])) for group in self._groups()]

        def turn(number: int) -> None:
            factor = (1.0 + math.cos(math.pi * min(number / epochs, 1.0))) / 2.0
            for group, rate in zip(self._groups(), rates):
                group["lr"] = rate * factor

        self.on_turn.append(turn)

    def _groups(self) -> List[Dict[str, Any]]:
        groups: List[Dict[str, Any]] = self.optimizer.param_groups
        return groups


def counted_items(loop: Any) -> Optional[range]:
    """Return the numbers that a loop goes over, None if it goes over anything else."""
    source = getattr(loop.source, "iterable", loop.source)  # a progress bar's
    return source if isinstance(source, range) and len(source) else None


def stretch(loop: Any, count: int) -> None:
    """Let a loop over numbers that was just entered have so many iterations."""
    own = counted_items(loop)
    assert own is not None
    items = range(own.start, own.start + own.step * count, own.step)
    if loop.source is own:
        loop.source, loop.items = items, iter(items)
        return
    loop.source.iterable = items  # it is read when the first number is
    if hasattr(loop.source, "total"):
        loop.source.total = count


def scale_rate(optimizer: Any, schedulers: List[Any], factor: float) -> None:
    """Multiply the learning rate, and what schedules derive it from."""
    for group in optimizer.param_groups:
        for name in RATES:
            if isinstance(group.get(name), float):
                group[name] *= factor
    for scheduler in schedulers:
        for name in ("base_lrs", "_last_lr", "min_lrs", "max_lrs"):
            rates = getattr(scheduler, name, None)
            if isinstance(rates, list):
                setattr(scheduler, name, [rate * factor for rate in rates])


def convert(optimizer: Any, name: str) -> None:
    """Make an optimizer that has made no step yet one of another class of torch.optim."""
    kind = getattr(sys.modules["torch.optim"], name)
    if type(optimizer) is kind:
        return
    carried_over = ("params", "lr", "initial_lr", "max_lr", "min_lr", "weight_decay")
    groups = [
        {key: value for key, value in group.items() if key in carried_over}
        for group in optimizer.param_groups
    ]
    fresh = kind(groups, lr=groups[0]["lr"])
    is_counted = "_opt_called" in optimizer.__dict__ or hasattr(
        optimizer.__dict__.get("step"), "_wrapped_by_lr_sched"
    )
    optimizer.__dict__.clear()
    optimizer.__class__ = kind
    optimizer.__dict__.update(fresh.__dict__)
    if is_counted:
        optimizer.step = _counted(optimizer)


def _counted(optimizer: Any) -> Callable[..., Any]:
    """Return `step` as a scheduler wraps it, so that it does not warn."""
    plain = type(optimizer).step

    def step(*args: Any, **kwargs: Any) -> Any:
        optimizer._opt_called = True
        return plain(optimizer, *args, **kwargs)

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    return step
