"""Numbers that a script logs: TensorBoard, W&B, trackio, Lightning, Hugging Face.

They stand beside the epochs. A number whose name marks it as held-out (`val_acc`, `test/f1`,
`eval_bleu`) is judged too, if nothing else was measured or it is the requested metric. It is the
script's own statement about unknown examples, so it is not measured again. A measurement of the
same name that differs causes a warning.
"""

import functools
import re
from types import ModuleType
from typing import Any, Callable, Dict, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch.observation import Training

HELD_OUT = re.compile(
    r"(?:^|[/_. ])(?:val|valid|validation|test|eval|dev|holdout)(?=$|[/_. ])", re.I
)
TRAINED = re.compile(r"(?:^|[/_. ])(?:train|training)(?=$|[/_. ])", re.I)
PACE = re.compile(r"runtime|per_second|(?:^|[/_])(?:epoch|step|time|lr|learning_rate)$|grad_norm")
"""Names of numbers that do not concern a model's quality."""
MOST = 200
"""The number of names that are remembered."""
CLOSE = 1e-3
"""The relative tolerance: logged numbers are often 32-bit, or means of the batches' means."""

Hook = Callable[[ModuleType], None]


class Logged:
    """The numbers that the script has logged, the last of each name."""

    def __init__(self, run: Context, training: Training) -> None:
        self.run = run
        self.training = training
        self.last: Dict[str, float] = {}
        self.sources: Dict[str, str] = {}

    def note(self, name: Any, value: Any, source: str) -> None:
        """Take a logged number.

        Args:
            name: the script's name for it.
            value: a number, a tensor of one element, or anything else, which is ignored.
            source: the library that logged it.
        """
        number = _number(value)
        # Throughput and learning rates would fill the list of names.
        if number is None or not isinstance(name, str) or PACE.search(name):
            return
        # Scripts may log a number for each layer or step.
        if name not in self.last and len(self.last) >= MOST:
            return
        self.last[name], self.sources[name] = number, source
        fit = self.training.fit
        usual = _usual(name)
        if fit is not None and usual is not None and HELD_OUT.search(name):
            # A number that was measured stands before one that was only logged.
            fit.validation.setdefault(f"val_{usual}", number)

    def finish(self) -> None:
        """Record the held-out numbers, and warn about measurements that differ."""
        evaluations = self.run.evaluations
        is_measured = bool(evaluations.records)
        requested = protocol.metric_name(self.run.spec.metric) if self.run.spec.metric else ""
        for name, value in self.last.items():
            usual = _usual(name)
            if usual is None or not HELD_OUT.search(name) or TRAINED.search(name):
                continue
            matches = [
                record for record in evaluations.records if usual in (record.get("all") or {})
            ]
            values = [record["all"][usual] for record in matches]
            if not values and is_measured and usual != requested:
                continue  # it would stand before what was measured
            if not values:
                evaluations.add(
                    metric=usual,
                    value=value,
                    source=self.sources[name],
                    fit=max(self.training.models, default=None),
                    data=f"what the script logs as {name}",
                )
            elif min(abs(record - value) for record in values) > CLOSE * max(1.0, abs(value)):
                self.run.journal.warn(
                    f"the script logs {name} {value:.4g}; its outputs and targets give {usual}"
                    f" {values[-1]:.4g}: they may be averaged otherwise, or be of other examples"
                )


def _usual(name: str) -> Optional[str]:
    """Return a number's canonical name without the part that names its data.

    >>> _usual("val/acc"), _usual("Accuracy/test"), _usual("eval_loss"), _usual("val")
    ('accuracy', 'accuracy', 'loss', None)
    """
    plain = HELD_OUT.sub("_", name)
    words = [word for word in re.split(r"[^a-zA-Z0-9]+", plain) if word]
    return protocol.metric_name("_".join(words)) if words else None


def _number(value: Any) -> Optional[float]:
    if isinstance(value, bool) or value is None:
        return None
    if hasattr(value, "numel") and hasattr(value, "detach"):
        value = value.detach().item() if value.numel() == 1 else None
    elif hasattr(value, "item") and getattr(value, "size", 0) == 1:
        value = value.item()
    return float(value) if isinstance(value, (int, float)) else None


def install(run: Context, training: Training) -> Dict[str, Hook]:
    """Return the import hooks of the logging libraries."""
    logged = Logged(run, training)
    run.before_end.append(logged.finish)

    def after(method: str, take: Callable[..., None]) -> Callable[[Any], None]:
        def hook(owner: Any) -> None:
            plain = getattr(owner, method)

            @functools.wraps(plain)
            def watched(*args: Any, **kwargs: Any) -> Any:
                result = plain(*args, **kwargs)
                if not run.nested:
                    with run.journal.guard("logged numbers"):
                        take(logged, *args, **kwargs)
                return result

            setattr(owner, method, watched)

        return hook

    return {
        "torch.utils.tensorboard.writer": lambda module: after("add_scalar", _scalar)(
            module.SummaryWriter
        ),
        "tensorboardX.writer": lambda module: after("add_scalar", _scalar)(module.SummaryWriter),
        "wandb.sdk.wandb_run": lambda module: after("log", _mapping("wandb"))(module.Run),
        "trackio": lambda module: after("log", _mapping_first("trackio"))(module),
        "transformers.trainer": lambda module: after("log", _mapping("transformers.Trainer"))(
            module.Trainer
        ),
        "lightning.pytorch.loops.evaluation_loop": lambda module: after("run", _lightning)(
            module._EvaluationLoop
        ),
        "pytorch_lightning.loops.evaluation_loop": lambda module: after("run", _lightning)(
            module._EvaluationLoop
        ),
    }


def _scalar(
    logged: Logged, writer: Any, tag: Any, scalar_value: Any, *args: Any, **kwargs: Any
) -> None:
    logged.note(tag, scalar_value, "tensorboard")


def _mapping(source: str) -> Callable[..., None]:
    def take(logged: Logged, owner: Any, data: Any = None, *args: Any, **kwargs: Any) -> None:
        values = data if data is not None else kwargs.get("logs")
        _take_all(logged, values, source)

    return take


def _mapping_first(source: str) -> Callable[..., None]:
    def take(logged: Logged, metrics: Any = None, *args: Any, **kwargs: Any) -> None:
        _take_all(logged, metrics, source)

    return take


def _take_all(logged: Logged, values: Any, source: str) -> None:
    if isinstance(values, dict):
        for name, value in values.items():
            logged.note(name, value, source)


def _lightning(logged: Logged, loop: Any, *args: Any, **kwargs: Any) -> None:
    trainer = loop.trainer
    # Lightning evaluates two batches before the training, to find errors early.
    if not getattr(trainer, "sanity_checking", False):
        _take_all(logged, dict(trainer.callback_metrics), "lightning")
