"""Observe the training: fits, passes over the data, losses, and the heartbeat.

A *fit* is the training of one set of parameters: it begins with the first step of an optimizer that
shares none with the current fit. Two optimizers that take turns within the first pass (a GAN's)
belong to one fit. An *epoch* is one pass over a DataLoader in which steps were made. Without a
DataLoader the steps themselves are counted; they are journaled at intervals that grow, and that are
the same in every attempt.

Steps are observed by the public hook `register_optimizer_step_post_hook`, which every optimizer
calls; losses when they go backward.
"""

import functools
import time
import weakref
from types import ModuleType
from typing import Any, Callable, Dict, FrozenSet, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import artifact

BEAT_S = 0.02
"""The least time between two steps that the heartbeat counts."""
DENSE = 100
"""Without a DataLoader every step up to this one is journaled, then every tenth, and so on."""
TOGETHER_STEPS = 8
"""Without a DataLoader an optimizer of other parameters joins a fit within this many steps."""


class Losses:
    """The mean of the losses of one epoch.

    Losses on an accelerator are summed there, and read once: reading one waits for the device.
    """

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count = 0

    def add(self, loss: Any) -> None:
        """Add a loss, a tensor of one element."""
        self._sum = self._sum + (loss.item() if loss.is_cpu else loss.detach().double())
        self._count += 1

    def mean(self) -> Optional[float]:
        """Return the mean, None without a loss."""
        return float(self._sum) / self._count if self._count else None


class Fit:
    """One training: its parameters, and the epoch under way."""

    def __init__(self, number: int, parameters: FrozenSet[int]) -> None:
        self.number = number
        self.parameters = parameters
        self.optimizers: "weakref.WeakSet[Any]" = weakref.WeakSet()
        self.epoch = 0
        self.steps = 0
        self.steps_of_epoch = 0
        self.losses = Losses()
        self.validation: Dict[str, Any] = {}
        """The numbers measured since the last epoch ended."""
        self.validated_on: Any = None
        """The key of the data that was evaluated first: its numbers stand beside the epochs."""
        self.reading: Optional[int] = None
        """The number of the iterator over the training data whose batches the steps used."""
        self.began = self.epoch_began = time.monotonic()
        self.step_s = 0.0


class Training:
    """The training under way, shared by the parts of this adapter.

    Attributes:
        after_step: called with the optimizer after each step of the script's own, in order.
        after_backward: called after each backward pass, in order, with the tensor that it began at.
        before_epoch_ends: called before an epoch is journaled.
    """

    def __init__(self, run: Context) -> None:
        self.run = run
        self.steps = 0
        self.passes = 0
        """Backward passes: a script may step without an optimizer."""
        self.fit: Optional[Fit] = None
        self.models: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()
        """The number of each fit to the module that it trained."""
        self.last_trained: Callable[[], Any] = lambda: None
        """Returns the module whose output went backward last."""
        self.after_step: List[Callable[[Any], None]] = []
        self.after_backward: List[Callable[[Any], None]] = []
        self.before_epoch_ends: List[Callable[[], None]] = []
        self.iterator: Optional[int] = None
        """The number of the iterator over a DataLoader that gave a batch last."""
        self.is_of_loader = False
        """Whether the model trained last got a batch of that iterator."""
        self._unscaled: Optional[Any] = None
        self._pending = Losses()
        self._stepped_by: Callable[[], Any] = lambda: None
        """The optimizer of the last step: most steps follow one of the same."""
        self._stepped_fit: Optional[Fit] = None
        self._stepped_count = 0
        self._beat_s = 0.0

    def state(self) -> Dict[str, Any]:
        """Return the state that a restart within a fit restores, such as epoch numbers."""
        fit = self.fit
        plain = {
            "steps": self.steps,
            "passes": self.passes,
            "pending": (self._pending._sum, self._pending._count),
        }
        if fit is None:
            return plain
        fit_state = {
            name: getattr(fit, name) for name in ("epoch", "steps", "steps_of_epoch", "validation")
        }
        losses = (fit.losses._sum, fit.losses._count)
        # kept by identity, with the script's own objects
        fit_state["optimizers"] = list(fit.optimizers)
        return {**plain, "fit": {**fit_state, "losses": losses, "number": fit.number}}

    def restore(self, state: Dict[str, Any]) -> None:
        """Restore what `state` returned, once the fit of that number runs again."""
        self.steps = int(state["steps"])
        self.passes = int(state.get("passes", 0))
        self._pending._sum, self._pending._count = state["pending"]
        fit_state = state.get("fit")
        if fit_state is None:
            return
        if self.fit is None or self.fit.number != fit_state["number"]:
            self.run.fits = max(self.run.fits, int(fit_state["number"]))
            self.fit = Fit(int(fit_state["number"]), frozenset())
        for name in ("epoch", "steps", "steps_of_epoch", "validation"):
            setattr(self.fit, name, fit_state[name])
        self.fit.losses._sum, self.fit.losses._count = fit_state["losses"]
        self.fit.optimizers = weakref.WeakSet(fit_state["optimizers"])
        self.fit.parameters = frozenset().union(*map(_parameters, fit_state["optimizers"]))

    def scaled(self, loss: Any) -> None:
        """Note the loss that a GradScaler is about to scale; it is the one to journal."""
        self._unscaled = loss

    def backward(self, tensor: Any) -> None:
        """Note a loss that went backward."""
        self.passes += 1
        loss, self._unscaled = (tensor if self._unscaled is None else self._unscaled), None
        for follow in self.after_backward:
            follow(tensor)
        # Several gradients at once, or a tensor with an explicit gradient, are no loss.
        if hasattr(loss, "detach") and loss.numel() == 1:
            self._pending.add(loss)

    def step(self, optimizer: Any) -> None:
        """Note a step of an optimizer."""
        self.steps += 1
        fit = self.fit
        # `add_param_group` may add parameters to a known optimizer; their number shows it.
        count = sum([len(group["params"]) for group in optimizer.param_groups])
        is_known = fit is self._stepped_fit and count == self._stepped_count
        if fit is None or not is_known or self._stepped_by() is not optimizer:
            fit = self._fit_of(optimizer)
            fit.optimizers.add(optimizer)
            self._stepped_by = weakref.ref(optimizer)
            self._stepped_fit = fit
            self._stepped_count = count
        now = time.monotonic()
        reading = self.iterator if self.is_of_loader else None
        is_next = reading != fit.reading if reading is not None else _is_journaled(fit.steps)
        # The epoch before ends only now: it is complete once a batch of another pass is used.
        if fit.steps_of_epoch and is_next:
            self.end_epoch()
        fit.reading = reading
        if self._pending._count:
            # Losses that went backward since the last step belong to this one (gradient
            # accumulation).
            fit.losses._sum = fit.losses._sum + self._pending._sum
            fit.losses._count += self._pending._count
            self._pending = Losses()
        fit.steps += 1
        fit.steps_of_epoch += 1
        fit.step_s = now - fit.epoch_began
        if now - self._beat_s >= BEAT_S or fit.steps_of_epoch == 1:
            self._beat_s = now
            step_s = round(fit.step_s / fit.steps_of_epoch, 6)
            beat = {"fit": fit.number, "epoch": fit.epoch, "step": fit.steps_of_epoch}
            self.run.journal.progress("fit", step_s=step_s, **beat)
        for follow in self.after_step:
            follow(optimizer)

    def _fit_of(self, optimizer: Any) -> Fit:
        fit = self.fit
        own = _parameters(optimizer)
        # A restored fit may have no parameters yet: ids differ in each process.
        if fit is not None and (not own.isdisjoint(fit.parameters) or not fit.parameters):
            if fit.number not in self.models:  # it was begun by another process
                self._name(fit)
            fit.parameters |= own
            return fit
        # Generator and discriminator of a GAN have no common parameters.
        if fit is not None and self._is_together(fit):
            fit.parameters |= own
            return fit
        if fit is not None:
            self.end_fit()
        return self._begin(own)

    def _is_together(self, fit: Fit) -> bool:
        """Return whether another optimizer takes turns with those of this fit."""
        if fit.epoch:
            return False
        same_pass = fit.reading is not None and self.iterator == fit.reading
        return same_pass or (fit.reading is None and fit.steps <= TOGETHER_STEPS)

    def _begin(self, parameters: FrozenSet[int]) -> Fit:
        run = self.run
        fit = self.fit = Fit(run.next_fit(), parameters)
        model = self._name(fit)
        name = type(model).__name__ if model is not None else ""
        count = (
            sum(parameter.numel() for parameter in model.parameters())
            if model is not None
            else None
        )
        run.journal.write(
            protocol.EVENT_FIT,
            fit=fit.number,
            framework="pytorch",
            model=name,
            state="started",
            epochs=None,
            epoch=0,
            parameters=count,
            # A search begins at the outermost of these loops.
            loops=[] if run.marked_loops is None else run.marked_loops.paths(),
        )
        return fit

    def _name(self, fit: Fit) -> Any:
        """Note the module that a fit trains; return it, None if it is not known."""
        model = self.last_trained()
        if model is not None:
            self.models[fit.number] = artifact.plain(model)
        return model

    def end_epoch(self) -> None:
        """Journal the current epoch, if steps were made in it."""
        for before in self.before_epoch_ends:
            before()
        fit = self.fit
        if fit is None or not fit.steps_of_epoch:
            return
        now = time.monotonic()
        loss = fit.losses.mean()
        metrics = {**({} if loss is None else {"loss": loss}), **fit.validation}
        epoch = fit.epoch if fit.reading is not None else fit.steps - 1
        self.run.journal.epoch(fit.number, epoch, metrics, now - fit.epoch_began)
        self.run.journal.progress(None, epoch=epoch, metrics=metrics)
        fit.epoch += 1
        fit.steps_of_epoch = 0
        fit.losses, fit.validation, fit.epoch_began = Losses(), {}, now

    def end_fit(self) -> None:
        """Journal the end of the current fit: another one begins, or the script has ended."""
        self.end_epoch()
        fit, self.fit = self.fit, None
        if fit is not None:
            epochs = fit.epoch if fit.reading is not None else fit.steps
            seconds = round(time.monotonic() - fit.began, 4)
            self.run.journal.write(
                protocol.EVENT_FIT_END, fit=fit.number, epochs=epochs, seconds=seconds, metrics={}
            )


def _parameters(optimizer: Any) -> FrozenSet[int]:
    return frozenset(
        id(parameter) for group in optimizer.param_groups for parameter in group["params"]
    )


def _is_journaled(step: int) -> bool:
    """Return whether a step without a DataLoader is journaled.

    >>> [step for step in range(1, 1300) if _is_journaled(step)][-5:]
    [980, 990, 1000, 1100, 1200]
    """
    if not step:
        return False
    interval = 1
    while step > DENSE * interval:
        interval *= 10
    return step % interval == 0


def install(run: Context, training: Training) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks that observe optimizers and backward passes."""

    def optimizers(module: Any) -> None:
        # A global hook also sees optimizers whose `step` a library has wrapped.
        module.register_optimizer_step_post_hook(functools.partial(_stepped, run, training))

    def backward(module: Any) -> None:
        module.backward = _watched_backward(run, training, module.backward)

    def scaler(module: Any) -> None:
        module.GradScaler.scale = _watched_scale(training, module.GradScaler.scale)

    return {
        "torch.optim.optimizer": optimizers,
        "torch.autograd": backward,
        "torch.amp.grad_scaler": scaler,
    }


def _stepped(run: Context, training: Training, optimizer: Any, args: Any, kwargs: Any) -> None:
    if not run.nested:
        with run.journal.guard("optimizer step"):
            training.step(optimizer)


def _watched_backward(
    run: Context, training: Training, plain: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(plain)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        # `Tensor.backward` calls this function too.
        result = plain(tensors, *args, **kwargs)
        if not run.nested:
            with run.journal.guard("backward"):
                training.backward(tensors if hasattr(tensors, "numel") else next(iter(tensors)))
        return result

    return backward


def _watched_scale(training: Training, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def scale(self: Any, outputs: Any) -> Any:
        if hasattr(outputs, "numel"):
            training.scaled(outputs)
        return plain(self, outputs)

    return scale
