"""Proof of a fit's resume: the first step after it must repeat its numbers."""

import inspect
import sys
from typing import TYPE_CHECKING, Any, Dict

from mlops_lib.runner.keras import data_order
from mlops_lib.runner.state import proof

if TYPE_CHECKING:
    from mlops_lib.runner.keras.fit import Fit


class FitProof:
    """The numbers of the steps that follow the checkpoints of a fit.

    Attributes:
        has_lost: whether a part of the checkpoint could not be restored, with a warning.
    """

    def __init__(self, fit: "Fit") -> None:
        self._fit = fit
        run = fit.context
        self._proof = proof.Proof(
            fit.store.folder,
            proof.conditions("keras", "tensorflow", "jax", "torch", more=run.spec.smaller),
        )
        self._newest = 0
        """Names the newest checkpoint."""
        self.has_lost = False

    def load(self) -> Any:
        """Return the newest checkpoint that was not refuted, or None."""
        fit = self._fit
        state = proof.load(fit.store, fit.context.journal, fit.number)
        number = 0 if state is None else int(state.get("id", 0))
        self._newest = max([number, *self._proof.refuted()])
        return state

    def arrive(self, state: Dict[str, Any]) -> None:
        """Compare the next step, because the fit resumes from a checkpoint."""
        self._proof.arrive(int(state.get("id", 0)))

    def expect(self, *, done: bool) -> int:
        """Return the name of a checkpoint, after which the next step leaves its numbers.

        Args:
            done: whether the fit is over, and no step follows.
        """
        self._newest += 1
        if not done:
            self._proof.expect(self._newest)
        return self._newest

    @property
    def is_comparing(self) -> bool:
        """Return whether the next step will be compared with the one before the restart."""
        return self._proof.is_comparing

    def show(self, logs: Dict[str, Any]) -> None:
        """Compare a step's numbers with those before the restart, or store them.

        Args:
            logs: loss and metrics of the step.
        """
        fit = self._fit
        if not self._proof.is_awaited or fit.resume.point is not None:
            return
        epochs = getattr(fit.history, "epoch", None) or []
        numbers = sorted((name, repr(proof.rounded(_plain(value)))) for name, value in logs.items())
        state = fit.resume.state
        if self._proof.show(len(epochs), repr(numbers)) or state is None or not self._repeats:
            return
        if not self._proof.stands(fit.context.journal, fit.number):
            return
        self._proof.refute(*range(int(state.get("id", 0)), self._newest + 1))
        fit.context.restart_process(
            f"fit {fit.number}: the first step after the checkpoint is not what it was"
        )

    @property
    def _repeats(self) -> bool:
        """Return whether the training must repeat to the bit.

        If it need not, a difference proves nothing.
        """
        x = self._fit.call.get("x")
        races = data_order.is_dataset(x) and data_order.has_racing_randomness(x)
        if self.has_lost or races or inspect.isgenerator(x) or self._fit.reads_by_threads:
            return False
        # On JAX the first logs after a restart within an epoch were seen to differ although the
        # fit ended identically: a good checkpoint would be refuted. On PyTorch it was not tried.
        tensorflow = sys.modules.get("tensorflow")
        if not self._fit.is_on_tensorflow or tensorflow is None:
            return False
        return not tensorflow.config.list_physical_devices("GPU")


def _plain(value: Any) -> Any:
    """Return the numbers of an array or tensor."""
    return value.tolist() if hasattr(value, "tolist") else value
