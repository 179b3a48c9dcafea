"""Write the checkpoints of a call of `fit`: after epochs, and within long ones.

Within an epoch a checkpoint is written after a step, or when the epoch's validation has begun.
"""

import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.state import checkpoint, rng

if TYPE_CHECKING:
    from mlops_lib.runner.keras.fit import Fit


class FitCheckpoints:
    """The checkpoints that a running fit writes, and their contents."""

    def __init__(self, fit: "Fit") -> None:
        spec = fit.context.spec
        self.fit = fit
        self.pace = checkpoint.Pace(spec.checkpoint_budget, spec.mid_epoch_s)
        self.at_epoch_begin: Dict[str, Any] = {}
        self.at_validation: Optional[Dict[str, Any]] = None
        """The state, at its begin, of all that the running validation may change."""
        self.unsaved = False
        """True if a step was made since the last checkpoint."""
        self._pending: List[Any] = []
        """Epochs that no checkpoint contains yet."""
        self._training_began = self._epoch_began = time.monotonic()

    def begin(self) -> None:
        """Begin to count the time: the first step comes next."""
        self._training_began = self._epoch_began = time.monotonic()
        self.pace.begin()

    def begin_epoch(self) -> None:
        """Capture the data's state, so that a checkpoint within the epoch can use it."""
        self.at_epoch_begin = {
            "order": self.fit.data.order.capture(),
            "random": {**rng.capture_python(), "seeds": rng.seed_generators.capture()},
            "data": self.fit.data.capture(),
        }

    def begin_step(self, step: int) -> None:
        """Write a checkpoint within a long epoch, if the budget allows."""
        self.at_validation = None
        if not step or self.fit.resume.point is not None:
            return
        shutdown = self.fit.context.shutdown
        is_ending = shutdown.requested
        if self.fit.proof.is_comparing and not is_ending:
            return
        if is_ending or self.pace.is_due(within_epoch=True):
            with self.fit.context.journal.guard("checkpoint within an epoch"):
                self.write(self.fit.last_epoch(), done=False, step=step)
        if is_ending:
            shutdown.block_if_requested()

    def begin_validation(self, steps: int) -> None:
        """Capture all that a validation may change.

        A checkpoint written within the validation returns to its begin.
        """
        fit = self.fit
        if fit.resume.point is not None or not steps:
            return
        is_observed = any(_acts_on_validation(callback) for callback in fit.user_callbacks)
        with fit.headers.as_set():
            callbacks = fit.callback_state.capture() if is_observed else None
        self.at_validation = {
            "step": steps,
            "metrics": fit_state.values(fit.metric_variables()),
            "random": rng.capture(),
            "data": fit.data.capture(),
            "inner": fit_state.capture_inner(fit.model),
            "callbacks": callbacks,
        }
        self.write_in_validation()

    def write_in_validation(self) -> None:
        """Write a checkpoint of the epoch's steps, if the process is about to end."""
        shutdown = self.fit.context.shutdown
        if not shutdown.requested or self.at_validation is None or not self.unsaved:
            return
        with self.fit.context.journal.guard("checkpoint within a validation"):
            self.write(
                self.fit.last_epoch(),
                done=False,
                step=self.at_validation["step"],
                ended=self.at_validation,
            )
        shutdown.block_if_requested()

    def end_epoch(self, epoch: int, logs: Dict[str, Any]) -> None:
        """Note an epoch; write a checkpoint if its cost is within the budget."""
        fit = self.fit
        if self.at_epoch_begin:
            fit.resume.check_races(self.at_epoch_begin["random"])
        fit.headers.release()
        now = time.monotonic()
        self._pending.append(
            {"epoch": epoch, "metrics": dict(logs), "seconds": now - self._epoch_began}
        )
        self._epoch_began = now
        last = epoch + 1 >= int(fit.call["epochs"]) or fit.model.stop_training
        self.at_validation = None
        is_ending = fit.context.shutdown.requested
        if not last and (is_ending or self.pace.is_due()):
            self.write(epoch, done=False)
            if is_ending:
                fit.context.shutdown.block_if_requested()

    def write(
        self, epoch: int, *, done: bool, step: int = 0, ended: Optional[Dict[str, Any]] = None
    ) -> None:
        """Write a checkpoint in the background.

        Args:
            epoch: the last finished epoch.
            done: whether the fit is over.
            step: the number of steps of the next epoch.
            ended: the state at the begin of that epoch's validation, if it has begun.
        """
        fit = self.fit
        began = time.monotonic()
        records, self._pending = self._pending, []
        trained_s = began - self._training_began + fit.resume.trained_s
        try:
            with fit.headers.as_set():
                state = fit_state.capture(fit.model, fit.callback_state, fit.store)
        except OSError as error:
            # A full disk must not end a training that could go on without a checkpoint.
            fit.context.journal.warn(checkpoint.describe_write_error(error))
            fit.journal_epochs(records)
            self.pace.record_write(time.monotonic() - began)
            return
        state.update(id=fit.proof.expect(done=done))
        state.update(done=done, epoch=epoch, step=step, records=records, trained_s=trained_s)
        self._add_position(state, ended)

        def on_written(size: int, seconds: float) -> None:
            self.pace.add_background(seconds)
            self._journal_written(state, size, seconds)

        fit.context.writer.submit(fit.store, state, on_written)
        self.unsaved = False
        self.pace.record_write(time.monotonic() - began)

    def _add_position(self, state: Dict[str, Any], ended: Optional[Dict[str, Any]]) -> None:
        """Add the History and the position in the data to the state of a model."""
        fit = self.fit
        state.update(
            epochs=list(fit.history.epoch),
            data=fit.data.capture(),
            history={name: list(values) for name, values in fit.history.history.items()},
            order=fit.data.order.capture(),
            params=dict(fit.history.params or {}),
            validated=fit.validated,
        )
        if state["step"]:
            metrics = fit_state.values(fit.metric_variables())
            state.update(begin=self.at_epoch_begin, metrics=metrics)
        if ended is not None:
            # The validation has changed metrics, seeds and callbacks since; it will run again from
            # its begin.
            state.update(
                ended=True, metrics=ended["metrics"], random=ended["random"], data=ended["data"]
            )
            fit_state.replace_inner(state["variables"], ended["inner"])
            if ended["callbacks"] is not None:
                state["callbacks"], state["lost"] = ended["callbacks"]

    def _journal_written(self, state: Dict[str, Any], size: int, seconds: float) -> None:
        """Note a checkpoint that was written; `size` is 0 if it could not be."""
        fit = self.fit
        # Epochs enter the journal only once their checkpoint is on the disk: a kill before that
        # trains them again, and they would be listed twice.
        fit.journal_epochs(state["records"])
        if not size:
            return
        fit.context.journal.write(
            protocol.EVENT_CHECKPOINT,
            fit=fit.number,
            epoch=state["epoch"],
            step=state["step"],
            bytes=size,
            seconds=round(seconds, 4),
            done=state["done"],
        )
        if state["done"]:
            fit.context.finished.add(fit.store, state["trained_s"])


def _acts_on_validation(callback: Any) -> bool:
    """Return whether a callback of the script's does something during a validation."""
    names = ("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end")
    # The class is Keras' or the legacy Keras' Callback, so it is found by its name.
    base = next((kind for kind in type(callback).__mro__ if kind.__name__ == "Callback"), None)
    return any(
        getattr(type(callback), name, None) is not getattr(base, name, None) for name in names
    )
