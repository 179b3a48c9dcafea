"""The Keras callback that reports the epochs, steps and validations of a `fit`."""

import time
from typing import TYPE_CHECKING, Any, Optional

from mlops_lib.runner.keras import evaluation

if TYPE_CHECKING:
    from mlops_lib.runner.keras.fit import Fit


def recorder(callback_class: Any, fit: "Fit") -> Any:
    """Return the callback that stands last in the caller's list."""

    class Recorder(callback_class):  # type: ignore[misc]
        async_safe = True

        def __init__(self) -> None:
            super().__init__()
            self.began = 0.0
            self.step_s: Optional[float] = None
            self.made = 0
            self.steps: Optional[int] = None
            """The number of steps of the epoch before, for data that does not declare it."""

        def on_train_begin(self, logs: Any = None) -> None:
            with fit.context.journal.guard("begin fit"):
                fit.begin()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            fit.reset_initial_epoch()
            self.began = time.monotonic()
            self.steps = self.made or None
            with fit.context.journal.guard("begin epoch"):
                fit.begin_epoch(epoch)
                fit.context.journal.progress("fit", fit=fit.number, epoch=epoch, step=0)

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            fit.checkpoints.begin_step(batch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch:
                self.step_s = (time.monotonic() - self.began) / batch
            self.made = batch + 1
            fit.end_step(dict(logs or {}))
            steps = self.params.get("steps") or self.steps
            fit.context.journal.progress("fit", step=batch + 1, steps=steps, step_s=self.step_s)

        def on_test_begin(self, logs: Any = None) -> None:
            with fit.context.journal.guard("begin validation"):
                fit.checkpoints.begin_validation(self.made)

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            fit.context.journal.progress("validation")
            fit.checkpoints.write_in_validation()

        def on_test_end(self, logs: Any = None) -> None:
            with fit.context.journal.guard("end validation"):
                fit.validated = evaluation.count(fit.model)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            with fit.context.journal.guard("end epoch"):
                fit.context.journal.progress("checkpoint", metrics=dict(logs or {}))
                fit.checkpoints.end_epoch(epoch, dict(logs or {}))

    return Recorder()
