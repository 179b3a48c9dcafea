"""The legacy Keras (`tf_keras`, and `tf.keras` under TF_USE_LEGACY_KERAS=1) around the script.

Its `fit` differs in how it reads data: one iterator may serve all epochs, so a resumed fit passes
over what the epochs before had read; and it has a place where the first epoch and step are asked
for, which is where a resumed fit gives its own.
"""

import functools
import sys
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner.keras import data_order, fit_state
from mlops_lib.runner.keras.fit import ACTIVE, Fit
from mlops_lib.runner.state import rng


class LegacyFit(Fit):
    """One call of the legacy `fit`."""

    start: Optional["tuple[int, int]"] = None

    def _make_order(self) -> data_order.Order:
        order = super()._make_order()
        order.standing = standing
        order.own = False  # one iterator serves all epochs, so its shuffle goes on by itself
        return order

    @property
    def is_on_tensorflow(self) -> bool:
        """Always: there is nothing else it could compute with."""
        return True

    @property
    def callbacks_module(self) -> Any:
        """Where this Keras has its callbacks."""
        return sys.modules["tf_keras.src.callbacks"]

    def start_at(self, epoch: int) -> None:
        """Let the fit under way begin with this epoch."""
        self.start = (epoch, self.steps_to_pass_over())
        if self.enters_after_steps:
            self.start = (epoch, self.last_step)

    @property
    def last_step(self) -> int:
        """Where the last execution of the epoch began whose steps were over; several steps may make
        up one.
        """
        at_once = int(self.handler._steps_per_execution.numpy())
        return (self.steps_to_pass_over() - 1) // at_once * at_once

    def reset_initial_epoch(self) -> None:
        """Nothing of a start is kept in the model."""

    @property
    def handler(self) -> Any:
        """What reads the training data."""
        return self.order.iterators[0] if self.order.iterators else None

    @property
    def steps_in_epoch(self) -> Optional[int]:
        """Number of steps, where the data says."""
        return None if self.handler is None else self.handler.inferred_steps

    @property
    def reads_by_threads(self) -> bool:
        """Also where one thread reads on while the end of an epoch shuffles, which it does if an
        epoch has fewer steps.
        """
        limited = self.call.get("steps_per_epoch") is not None and data_order.is_stateful(
            self.call.get("x")
        )
        return limited or super().reads_by_threads

    def metric_variables(self) -> List[Any]:
        """What makes up the logs of an epoch under way, and the count of steps."""
        return [*fit_state.metric_variables(self.model), self.model._train_counter]

    def put_order(self, order: Dict[str, Any]) -> None:
        """The iterators are moved when the handler makes them (`_epochs`)."""


def patch_model(model_class: Any, fits: Callable[[], Any]) -> None:
    """Let a fit under way say where it begins."""
    asked = model_class._maybe_load_initial_counters_from_ckpt

    @functools.wraps(asked)
    def initial_counters(self: Any, steps_per_epoch: Any, initial_epoch: Any) -> Any:
        fit = fits()
        if fit is not None and fit.start is not None:
            return fit.start
        return asked(self, steps_per_epoch, initial_epoch)

    model_class._maybe_load_initial_counters_from_ckpt = initial_counters


def patch_handlers(handler_class: Any) -> None:
    """Let the legacy data handlers be followed, moved, and entered in the middle of an epoch."""
    init = handler_class.__init__
    epochs = handler_class.enumerate_epochs
    steps = handler_class.steps

    @functools.wraps(init)
    def init_(self: Any, x: Any, *args: Any, **kwargs: Any) -> None:
        fit = ACTIVE[-1] if ACTIVE else None
        if fit is None:
            return init(self, x, *args, **kwargs)  # type: ignore[no-any-return]
        before = rng.capture_python() if fit.order.iterators and fit.state is not None else None
        init(self, x, *args, **kwargs)
        self._mlops_made = 0
        self._mlops_python = not data_order.is_dataset(x) and "Generator" in " ".join(
            cls.__name__ for cls in type(self._adapter).__mro__
        )
        dataset = self._dataset
        if data_order.is_dataset(x):
            self._mlops_python = data_order.runs_python(dataset)
            if dataset is not x and hasattr(dataset, "__dict__"):
                dataset.__dict__[data_order.WHOSE] = x
        fit.order.iterators.append(self)
        if before is not None:
            with fit.context.journal.guard("restore validation order"):
                rng.restore_python(before)
                fit.restore_data("validation")
                taken = (fit.state or {})["order"]["iterators"]
                if len(taken) > 1:
                    self._inferred_steps = taken[1]["batches"]
        return None

    @functools.wraps(epochs)
    def enumerate_epochs(self: Any) -> Any:
        fit = ACTIVE[-1] if ACTIVE else None
        if fit is None or not fit.order.iterators or self is not fit.order.iterators[0]:
            return epochs(self)
        return _epochs(self, epochs(self), fit)

    @functools.wraps(steps)
    def steps_(self: Any) -> Any:
        fit = ACTIVE[-1] if ACTIVE else None
        if fit is None or not fit.order.iterators or self is not fit.order.iterators[0]:
            return steps(self)
        return _steps(self, steps(self), fit)

    handler_class.__init__, handler_class.enumerate_epochs, handler_class.steps = (
        init_,
        enumerate_epochs,
        steps_,
    )


def standing(handler: Any) -> Dict[str, Any]:
    """Where a handler's iterator stands; where each epoch has its own, one is made in vain before
    the first.
    """
    again = handler._adapter.should_recreate_iterator()
    return {
        "steps": handler._mlops_made,
        "batches": handler._inferred_steps,
        "limited": not again,
        "python": handler._mlops_python,
        "per_epoch": None if again else handler._steps_per_epoch,
        "first": 2 if again else 1,
        "number": 1,
        "random": None,
        "epoch": 0,
    }


def _epochs(handler: Any, source: Any, fit: Any) -> Any:
    """The epochs of a fit with their iterators; what a resumed fit had read before is passed over."""
    if fit.state is not None:
        order = fit.state["begin"]["order"] if fit.state["step"] else fit.state["order"]
        with fit.context.journal.guard("restore order"):
            taken: Dict[str, Any] = order["iterators"][0]
            handler._inferred_steps = taken["batches"]
            if taken["limited"]:
                handler._mlops_made = taken["steps"]
                _Once(handler, _moved(handler, taken["steps"]))
            if not taken["limited"] and fit.state["step"] and "x" in order["made"]:
                order = {
                    **order,
                    "made": {**order["made"], "x": order["made"]["x"] - 1},
                }  # the epoch's own was made already
            fit.order.put(order, moves=False)
            if not taken["limited"]:
                _Once(
                    handler, iter(())
                )  # the first iterator, which is made in vain, is among those just made
                if not fit.state["step"]:
                    handler._adapter.on_epoch_end()
    for epoch, iterator in source:
        if handler._adapter.should_recreate_iterator():
            handler._mlops_made = 0
        handler._mlops_iterator = iterator
        yield epoch, iterator


class _Once:
    """Stands for a handler's data while it makes its only iterator; one made in vain would draw
    from the same shuffle.
    """

    def __init__(self, handler: Any, iterator: Any) -> None:
        self.handler = handler
        self.dataset = handler._dataset
        self.iterator = iterator
        handler._dataset = self

    def __iter__(self) -> Any:
        self.handler._dataset = self.dataset
        return self.iterator


def _moved(handler: Any, steps: int) -> Any:
    """The handler's iterator, which has given so many steps already."""
    dataset = handler._dataset
    if not handler._mlops_python and hasattr(dataset, "skip"):
        owner = dataset.__dict__.get(data_order.WHOSE, dataset)
        owner.__dict__[data_order.MADE] = data_order.made(owner) + 1
        return iter(dataset.skip(steps))
    iterator = iter(dataset)
    data_order.pass_over(iterator, steps)
    return iterator


def _steps(handler: Any, source: Any, fit: Any) -> Any:
    """The steps of one epoch; those made before the checkpoint are passed over."""
    passed = fit.steps_to_pass_over()
    if passed and fit.enters_after_steps:
        passed = fit.last_step
        data_order.pass_over(handler._mlops_iterator, passed)
        fit.drawn = fit.has_drawn(python=handler._mlops_python, passed_over=passed > 0)
        handler._mlops_made += passed
    elif passed:
        data_order.pass_over(handler._mlops_iterator, passed - 1)
        drawn = fit.has_drawn(python=handler._mlops_python, passed_over=passed > 1)
        fit.model.train_function(handler._mlops_iterator)
        with fit.context.journal.guard("resume within an epoch"):
            fit.enter_epoch(drawn=drawn)
        handler._mlops_made += passed
    for step in source:
        yield step
        handler._mlops_made += handler._step_increment + 1
