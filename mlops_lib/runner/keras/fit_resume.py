"""Return a call of `fit` to its checkpoint.

After an epoch, the state is restored at once. Within an epoch, the data is first read up to the
step, and the state is restored there. The order matters: reading data may draw from random states,
so they are restored last.
"""

import inspect
from typing import TYPE_CHECKING, Any, Dict, Optional

from mlops_lib.runner.keras import data_order, fit_state
from mlops_lib.runner.state import rng

if TYPE_CHECKING:
    from mlops_lib.runner.keras.fit import Fit


class FitResume:
    """The checkpoint of a fit, and how far the fit has returned to it."""

    def __init__(self, fit: "Fit") -> None:
        self.fit = fit
        self.state: Optional[Dict[str, Any]] = None
        """The checkpoint; None if there is none."""
        self.point: Optional[Dict[str, Any]] = None
        """The checkpoint from within an epoch that is being returned to."""
        self.consumes_rng: Optional[bool] = None
        """True if reading the data advanced the random state, for a last step that is repeated."""
        self.random_at_call: Optional[Dict[str, Any]] = None
        """The random state at the call.

        Keras may read a batch to build a part that a restored fit did not build; that must not draw
        twice.
        """

    @property
    def trained_s(self) -> float:
        """Seconds that the fit had trained until the checkpoint."""
        return 0.0 if self.state is None else float(self.state["trained_s"])

    def begin(self) -> int:
        """Continue from the checkpoint, if there is one; return the first epoch.

        Called when all is set up and no step was made yet.
        """
        state = self.state
        if state is None:
            if self.random_at_call is not None:
                rng.restore_python(self.random_at_call)
            return int(self.fit.call.get("initial_epoch") or 0)
        self._build(state)
        if state["step"]:
            # The model's state after these steps is restored by `enter_epoch`, when the data
            # has been read up to them: reading may draw from the random state.
            self.point = state
            self.fit.restore_order(state["begin"]["order"])
        else:
            self._restore_after_epoch(state)
        self._restore_history(state)
        self.fit.proof.arrive(state)
        epoch = int(state["epoch"]) + 1
        self.fit.start_at(epoch)
        self._warn_about_limits()
        return epoch

    def _restore_after_epoch(self, state: Dict[str, Any]) -> None:
        self._restore_state(state)
        self.fit.headers.suppress(self.fit.user_callbacks if state["epochs"] else [])
        # Creating iterators may draw, so the random states come after the data.
        self.fit.restore_order(state["order"])
        self.restore_data("x")
        rng.restore_framework(state["random"])
        # An unfinished Python iterator shares this state, and has just been read to its
        # position; setting it again would repeat those draws.
        if not self.fit.data.has_drawn(state["order"]):
            rng.restore_python(state["random"])

    def _restore_history(self, state: Dict[str, Any]) -> None:
        history = self.fit.history
        history.epoch = list(state["epochs"])
        history.history = {name: list(values) for name, values in state["history"].items()}
        self.fit.journal_epochs(state["records"])

    def _restore_state(self, state: Dict[str, Any]) -> None:
        fit = self.fit
        unrestored = fit_state.restore(fit.model, fit.callback_state, state, fit.store)
        fit.proof.has_lost |= bool(unrestored)
        for name in unrestored:
            fit.context.journal.warn(
                f"{name} could not be restored: the continuation is not guaranteed identical"
            )

    def _build(self, state: Dict[str, Any]) -> None:
        """Create the variables that the model had.

        If its configuration does not suffice, one training step creates them; its effect is
        overwritten.
        """
        fit = self.fit
        try:
            fit_state.build(fit.model, state["build"])
        except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
            fit.context.journal.note(f"fit {fit.number} is built by a step: {error}")
        if fit_state.is_built_for(fit.model, state["variables"]):
            return
        iterators = fit.data.order.iterators
        if iterators:
            data = data_order.pipeline(iterators[0]) or getattr(iterators[0], "_dataset", None)
            # Without a pipeline Keras has built the model by now.
            if data is not None:
                fit.model.train_function(iter(data))
            return
        fit.train_one_step()

    def _warn_about_limits(self) -> None:
        x = self.fit.call.get("x")
        if inspect.isgenerator(x):
            self.fit.context.journal.warn(
                f"fit {self.fit.number} reads a plain generator: it was read again from its"
                " beginning to where the fit had stopped; what it takes from outside the process is"
                " not guaranteed identical"
            )
        if data_order.is_dataset(x) and data_order.has_racing_randomness(x):
            self._warn_about_races()

    def _warn_about_races(self) -> None:
        self.fit.context.journal.warn(
            f"the data of fit {self.fit.number} is read by several threads that draw from one random"
            " state: two runs left alone differ already, so this one cannot be continued"
            " identically"
        )

    def check_races(self, began: Dict[str, Any]) -> None:
        """Warn at the end of an epoch if threads drew from the random state within it.

        Args:
            began: the random state at the begin of the epoch.
        """
        if self.state is None or not self.fit.reads_by_threads:
            return
        if not rng.is_same_python(began, rng.capture_python()):
            self._warn_about_races()

    def restore_data(self, name: str) -> None:
        """Restore the attributes of the training or validation data."""
        if self.state is not None and name in self.state["data"]:
            self.fit.data.restore(name, self.state["data"][name])

    def begin_epoch(self) -> None:
        """Restore the beginning of the checkpoint's epoch, if there is a checkpoint."""
        if self.point is None:
            return
        begin = self.point["begin"]
        rng.seed_generators.restore(begin["random"]["seeds"])
        if not self.fit.data.has_drawn(begin["order"]):
            rng.restore_python(begin["random"])
        for name, contents in begin["data"].items():
            self.fit.data.restore(name, contents)

    def steps_to_skip(self) -> int:
        """Return the number of this epoch's steps that come before the checkpoint."""
        return 0 if self.point is None else int(self.point["step"])

    def reading_consumes_rng(self, *, python: bool, passed_over: bool) -> bool:
        """Return whether iterating over the data advances the process RNG.

        Args:
            python: whether Python code reads the data; others cannot.
            passed_over: whether steps were skipped, which shows it; else the checkpoint does.
        """
        assert self.point is not None
        now = rng.capture_python() if passed_over else self.point["random"]
        began = self.fit.checkpoints.at_epoch_begin["random"]
        return python and not rng.is_same_python(began, now)

    def enter_epoch(self, *, consumes_rng: bool) -> None:
        """Restore the state of the checkpoint, after its steps were skipped.

        Args:
            consumes_rng: whether reading the data advances the process RNG. The data has then left
                it at the right position for the next step.
        """
        state = self.point
        assert state is not None
        self.point = None
        self._restore_state(state)
        self.fit.headers.suppress(self.fit.user_callbacks if state["epochs"] else [])
        fit_state.assign(self.fit.metric_variables(), state["metrics"])
        x = self.fit.data.order.data.get("x")
        rng.restore_framework(state["random"], data_order.data_seeds(x))
        if not consumes_rng:
            rng.restore_python(state["random"])

    @property
    def is_after_steps(self) -> bool:
        """Return whether the checkpoint was written in an epoch's validation.

        Keras takes an epoch's metrics from its last step, so this step is repeated and its effect
        undone.
        """
        return self.point is not None and bool(self.point.get("ended"))

    def undo_step(self) -> None:
        """Undo the repeated last step of the checkpoint's epoch."""
        state = self.point
        assert state is not None
        model = self.fit.model
        with self.fit.context.journal.guard("resume after the steps of an epoch"):
            # On JAX the values live outside the variables within an epoch: bring them back first,
            # or a later sync would overwrite the restored ones.
            if hasattr(model, "jax_state_sync"):
                model.jax_state_sync()
            self.enter_epoch(consumes_rng=bool(self.consumes_rng))
            model.stop_training = state["stop"]

    def restore_finished(self) -> Any:
        """Restore the state after this finished fit without training; return the History."""
        state = self.state
        assert state is not None
        fit = self.fit
        self._build(state)
        history = fit.own_history() or fit.callbacks_module.History()
        for callback in (*fit.user_callbacks, history):
            callback.set_model(fit.model)
            callback.set_params(state["params"])
        fit.history = history
        # The script may read on from a generator that the fit had read.
        data_order.exhaust(fit.call.get("x"), state["order"])
        self._restore_state(state)
        fit.data.order.restore(state["order"])
        for name in state["data"]:
            self.restore_data(name)
        rng.restore(state["random"])
        self._restore_history(state)
        fit.model.history = history
        fit.model.stop_training = state["stop"]
        fit.validated = state.get("validated")
        fit.journal_begin("restored", state["epoch"] + 1)
        fit.context.finished.add(fit.store, state["trained_s"])
        return history
