"""Watch a training loop of the script's own: its steps, losses and the learned pace, with the heartbeat.

`Optimizer.step` is followed by its public global hook, which every optimizer calls; a loss is noted when it goes backward.
"""

import functools
from types import ModuleType
from typing import Any, Callable, Dict, List

from mlops_lib.runner.context import Context


class Training:
    """What the parts of this adapter share about the training under way.

    Attributes:
        after_step: called with the optimizer after each step of the script's own, in order.
    """

    def __init__(self, run: Context) -> None:
        self.run = run
        self.steps = 0
        self.after_step: List[Callable[[Any], None]] = []

    def step(self, optimizer: Any) -> None:
        """Note a step of an optimizer."""
        self.steps += 1
        self.run.journal.progress("fit", step=self.steps)
        for follow in self.after_step:
            follow(optimizer)


def install(run: Context, training: Training) -> Dict[str, Callable[[ModuleType], None]]:
    """The import hooks that observe optimizers."""

    def optimizers(module: Any) -> None:
        module.register_optimizer_step_post_hook(functools.partial(_stepped, run, training))

    return {"torch.optim.optimizer": optimizers}


def _stepped(run: Context, training: Training, optimizer: Any, args: Any, kwargs: Any) -> None:
    if not run.nested:
        with run.journal.guard("optimizer step"):
            training.step(optimizer)
