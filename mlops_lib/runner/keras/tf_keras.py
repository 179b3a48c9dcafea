"""The legacy Keras around the script.

It is `tf_keras`, and `tf.keras` under TF_USE_LEGACY_KERAS=1. Its `fit` reads data differently: one
iterator may serve all epochs, so a resumed fit skips the elements of earlier epochs. Its training
loop calls a method for the first epoch and step, from which a resumed fit returns its own.
"""

import functools
import sys
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner.keras import data_order, fit_state
from mlops_lib.runner.keras.fit import ACTIVE_FITS, Fit
from mlops_lib.runner.state import rng


class LegacyFit(Fit):
    """One call of the legacy `fit`."""

    start: Optional["tuple[int, int]"] = None

    def _make_order(self) -> data_order.DataOrder:
        order = super()._make_order()
        order.position_of = position
        order.own = False  # one iterator serves all epochs, so its shuffle goes on by itself
        return order

    @property
    def is_on_tensorflow(self) -> bool:
        """Always true: the legacy Keras has no other backend."""
        return True

    @property
    def callbacks_module(self) -> Any:
        """The module of the legacy Keras' callbacks."""
        return sys.modules["tf_keras.src.callbacks"]

    def start_at(self, epoch: int) -> None:
        """Make the running fit begin with this epoch."""
        self.start = (epoch, self.resume.steps_to_skip())
        if self.resume.is_after_steps:
            self.start = (epoch, self.last_step)

    @property
    def last_step(self) -> int:
        """The first step of the epoch's last execution, which has one or more steps."""
        at_once = int(self.handler._steps_per_execution.numpy())
        return (self.resume.steps_to_skip() - 1) // at_once * at_once

    def reset_initial_epoch(self) -> None:
        """Do nothing: the model keeps no initial epoch."""

    @property
    def handler(self) -> Any:
        """The handler that reads the training data, or None."""
        return self.data.order.iterators[0] if self.data.order.iterators else None

    @property
    def steps_in_epoch(self) -> Optional[int]:
        """The number of steps of an epoch, None if the data does not declare it."""
        return None if self.handler is None else self.handler.inferred_steps

    @property
    def reads_by_threads(self) -> bool:
        """Return whether threads read the data and draw, in no determined order.

        Even one thread does, if an epoch takes fewer steps than the data has: it reads ahead while
        the end of the epoch shuffles.
        """
        limited = self.call.get("steps_per_epoch") is not None and data_order.is_stateful(
            self.call.get("x")
        )
        return limited or super().reads_by_threads

    def metric_variables(self) -> List[Any]:
        """Return the variables behind the logs of a running epoch, and the step counter."""
        return [*fit_state.metric_variables(self.model), self.model._train_counter]

    def restore_order(self, order: Dict[str, Any]) -> None:
        """Do nothing: `_epochs` moves the iterators when the handler creates them."""


def patch_model(model_class: Any, fits: Callable[[], Any]) -> None:
    """Let a running fit determine its first epoch and step."""
    original = model_class._maybe_load_initial_counters_from_ckpt

    @functools.wraps(original)
    def initial_counters(self: Any, steps_per_epoch: Any, initial_epoch: Any) -> Any:
        fit = fits()
        if fit is not None and fit.start is not None:
            return fit.start
        return original(self, steps_per_epoch, initial_epoch)

    model_class._maybe_load_initial_counters_from_ckpt = initial_counters


def patch_handlers(handler_class: Any) -> None:
    """Track the legacy data handlers, move them, and enter them within an epoch."""
    init = handler_class.__init__
    epochs = handler_class.enumerate_epochs
    steps = handler_class.steps

    @functools.wraps(init)
    def init_(self: Any, x: Any, *args: Any, **kwargs: Any) -> None:
        fit = ACTIVE_FITS[-1] if ACTIVE_FITS else None
        if fit is None:
            return init(self, x, *args, **kwargs)  # type: ignore[no-any-return]
        before = (
            rng.capture_python()
            if fit.data.order.iterators and fit.resume.state is not None
            else None
        )
        init(self, x, *args, **kwargs)
        self._mlops_made = 0
        self._mlops_python = not data_order.is_dataset(x) and "Generator" in " ".join(
            cls.__name__ for cls in type(self._adapter).__mro__
        )
        dataset = self._dataset
        if data_order.is_dataset(x):
            self._mlops_python = data_order.runs_python(dataset)
            if dataset is not x and hasattr(dataset, "__dict__"):
                dataset.__dict__[data_order.ORIGIN] = x
        fit.data.order.iterators.append(self)
        if before is not None:
            with fit.context.journal.guard("restore validation order"):
                rng.restore_python(before)
                fit.resume.restore_data("validation")
                positions = (fit.resume.state or {})["order"]["iterators"]
                if len(positions) > 1:
                    self._inferred_steps = positions[1]["batches"]
        return None

    @functools.wraps(epochs)
    def enumerate_epochs(self: Any) -> Any:
        fit = ACTIVE_FITS[-1] if ACTIVE_FITS else None
        if fit is None or not fit.data.order.iterators or self is not fit.data.order.iterators[0]:
            return epochs(self)
        return _epochs(self, epochs(self), fit)

    @functools.wraps(steps)
    def steps_(self: Any) -> Any:
        fit = ACTIVE_FITS[-1] if ACTIVE_FITS else None
        if fit is None or not fit.data.order.iterators or self is not fit.data.order.iterators[0]:
            return steps(self)
        return _steps(self, steps(self), fit)

    handler_class.__init__ = init_
    handler_class.enumerate_epochs = enumerate_epochs
    handler_class.steps = steps_


def position(handler: Any) -> Dict[str, Any]:
    """Return the position of a handler's iterator.

    If each epoch has an iterator of its own, the handler creates an unused one before the first.
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
    """Yield the epochs of a fit with their iterators, past the elements read before."""
    if fit.resume.state is not None:
        order = (
            fit.resume.state["begin"]["order"]
            if fit.resume.state["step"]
            else fit.resume.state["order"]
        )
        with fit.context.journal.guard("restore order"):
            saved: Dict[str, Any] = order["iterators"][0]
            handler._inferred_steps = saved["batches"]
            if saved["limited"]:
                handler._mlops_made = saved["steps"]
                _Once(handler, _advanced(handler, saved["steps"]))
            if not saved["limited"] and fit.resume.state["step"] and "x" in order["made"]:
                # The handler creates the iterator of the resumed epoch itself.
                order = {
                    **order,
                    "made": {**order["made"], "x": order["made"]["x"] - 1},
                }
            fit.data.order.restore(order, moves=False)
            if not saved["limited"]:
                # The unused first iterator is among those just created.
                _Once(handler, iter(()))
                if not fit.resume.state["step"]:
                    handler._adapter.on_epoch_end()
    for epoch, iterator in source:
        if handler._adapter.should_recreate_iterator():
            handler._mlops_made = 0
        handler._mlops_iterator = iterator
        yield epoch, iterator


class _Once:
    """A stand-in for a handler's data that gives it one prepared iterator.

    An unused iterator would draw from the same shuffle.
    """

    def __init__(self, handler: Any, iterator: Any) -> None:
        self.handler = handler
        self.dataset = handler._dataset
        self.iterator = iterator
        handler._dataset = self

    def __iter__(self) -> Any:
        self.handler._dataset = self.dataset
        return self.iterator


def _advanced(handler: Any, steps: int) -> Any:
    """Return an iterator of the handler's data past so many steps."""
    dataset = handler._dataset
    if not handler._mlops_python and hasattr(dataset, "skip"):
        owner = dataset.__dict__.get(data_order.ORIGIN, dataset)
        owner.__dict__[data_order.CREATED] = data_order.iterators_created(owner) + 1
        return iter(dataset.skip(steps))
    iterator = iter(dataset)
    data_order.pass_over(iterator, steps)
    return iterator


def _steps(handler: Any, source: Any, fit: Any) -> Any:
    """Yield the steps of one epoch, without those made before the checkpoint."""
    skipped = fit.resume.steps_to_skip()
    if skipped and fit.resume.is_after_steps:
        skipped = fit.last_step
        data_order.pass_over(handler._mlops_iterator, skipped)
        fit.resume.consumes_rng = fit.resume.reading_consumes_rng(
            python=handler._mlops_python, passed_over=skipped > 0
        )
        handler._mlops_made += skipped
    elif skipped:
        data_order.pass_over(handler._mlops_iterator, skipped - 1)
        consumes_rng = fit.resume.reading_consumes_rng(
            python=handler._mlops_python, passed_over=skipped > 1
        )
        # Training on the last skipped step creates all variables of the fit; their values are
        # restored right after.
        fit.model.train_function(handler._mlops_iterator)
        with fit.context.journal.guard("resume within an epoch"):
            fit.resume.enter_epoch(consumes_rng=consumes_rng)
        handler._mlops_made += skipped
    for step in source:
        yield step
        handler._mlops_made += handler._step_increment + 1
