"""One trial: compile, train and score a model as the developer's script would."""

from __future__ import annotations

import copy
import gc
import json
import math
import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import keras
import numpy

from mlops_lib.runner import protocol
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.search import outlook, scores
from mlops_lib.runner.search.examples import Selected, classes, length
from mlops_lib.runner.search.keras.candidates import Recipe
from mlops_lib.runner.search.request import Clock, FitCall, SearchJournal, SearchRequest
from mlops_lib.runner.state import atomic, objects

SMALLEST_BATCH = 4
SCORED_AT_ONCE = 256
"""Batch size for scoring only; no gradients are kept, so it may be larger than in training."""
ADAM_LIKE = {"Adam", "AdamW", "Nadam", "Adamax"}
STEERING = ("EarlyStopping", "ReduceLROnPlateau", "LearningRateScheduler", "TerminateOnNaN")
"""The developer's callbacks that run in trials, as fresh copies.

All others may write files, or do anything else.
"""


@dataclass
class TrialRun:
    """The course and the result of one trial."""

    state: str = "finished"
    """finished, stopped (early, on purpose), invalid (the score is not a number) or failed."""
    score: Optional[float] = None
    curve: List[float] = field(default_factory=list)
    history: Dict[str, List[float]] = field(default_factory=dict)
    weights: Optional[List[Any]] = None
    """The model's weights after the best epoch."""
    losses: List[float] = field(default_factory=list)
    """The loss on the selection examples after each epoch.

    It still falls while a score on few examples can no longer rise.
    """
    seconds: float = 0.0
    message: str = ""
    reached: bool = False
    """True if the bar, with its margin, was reached."""
    out_of_time: bool = False


@dataclass
class TrialContext:
    """The parts that all trials of a search share."""

    call: FitCall
    request: SearchRequest
    selected: Selected
    journal: SearchJournal
    clock: Clock
    optimizer: Any
    """The developer's optimizer; only its class and its configuration are read."""
    bar: float
    """The score at which the search stops after the running trial."""
    sure: float
    """The score from which on a trial may stop before its end, once its curve has levelled off."""
    best: Optional[float] = None
    """The best score so far; a trial that cannot beat it any more is stopped."""
    finished: List[List[float]] = field(default_factory=list)
    """The curves of finished trials that were trained in the same way as the running one."""
    in_place: bool = False
    """True if trials train the caller's own object, because it cannot be built a second time."""
    cancel_reason: Callable[[], str] = str
    """Return why the running trial has to end now, or "" if it may continue; set by a worker."""
    owns_trial: Callable[[], bool] = lambda: True
    """Return whether this process still owns the running trial (it may have been reassigned)."""
    run: Optional[TrialRun] = None
    """The running trial."""
    pipeline: Dict[str, bytes] = field(default_factory=dict)
    """The attributes of the training pipeline (its order, among others) when the search began."""

    def rewind(self) -> None:
        """Put the training pipeline into the state it had when the search began.

        Every trial then reads the same data, whatever ran before it in this process.
        """
        if self.pipeline:
            roots = [("x", self.selected.training["x"])]
            objects.restore(objects.find_places(roots), self.pipeline, roots)

    def progress(self) -> Tuple[List[float], float]:
        """Return the curve of the running trial and its training time in seconds."""
        run = self.run
        return ([], 0.0) if run is None else (list(run.curve), run.seconds + self.clock.running_s)


def train(context: TrialContext, model: Any, recipe: Recipe, number: int) -> TrialRun:
    """Train a model and score it; return the run.

    A trial that fails raises nothing: its run has the state "failed" and the message. A batch that
    does not fit into memory is halved until it does.

    Args:
        context: the parts that all trials share.
        model: the candidate's model, with its starting weights.
        recipe: the training.
        number: the trial.
    """
    # Other errors (KeyboardInterrupt, SystemExit, a broken framework) end the search.
    expected: Tuple[type[Exception], ...] = (
        ValueError,
        TypeError,
        ArithmeticError,
        RuntimeError,
        LookupError,
        AttributeError,
        MemoryError,
    )
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        expected = (*expected, tensorflow.errors.OpError)
    checkpoint = TrialCheckpoint(
        os.path.join(context.request.directory, "trials", f"{number}{TrialCheckpoint.ENDING}")
    )
    # For a restart with a smaller batch: running out of memory leaves half-trained weights.
    start = model.get_weights()
    while True:
        run = context.run = TrialRun()
        context.clock.start()
        try:
            _fit(context, model, recipe, number, run, checkpoint)
        except expected as error:
            if not _is_out_of_memory(error):
                run.state, run.message = "failed", f"{type(error).__name__}: {str(error)[:500]}"
                return run
            smaller = (recipe.batch_size or batch_size(context.call)) // 2
            gc.collect()
            if smaller < SMALLEST_BATCH:
                run.state, run.message = "failed", "out of memory even with the smallest batch"
                return run
            recipe = replace(recipe, batch_size=smaller)
            model.set_weights(start)
            context.journal.write(
                protocol.EVENT_WARNING,
                message=f"trial {number} ran out of memory: batches of {smaller} from here on",
            )
            continue
        finally:
            run.seconds += context.clock.stop()
        return run


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether a training ran out of the process's or the device's memory.

    TensorFlow and PyTorch have a class for it. JAX raises XLA's status RESOURCE_EXHAUSTED in an
    error without a class of its own.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(
        names & {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}
    ) or "RESOURCE_EXHAUSTED" in str(error)


def _fit(
    context: TrialContext,
    model: Any,
    recipe: Recipe,
    number: int,
    run: TrialRun,
    checkpoint: TrialCheckpoint,
) -> None:
    data = dict(context.selected.training)
    batch = recipe.batch_size or batch_size(context.call)
    steps = steps_an_epoch(context.call, data["x"], batch)
    if recipe.optimizer != "compiled":
        compile_as_given(model, context.call, optimizer_for(context.optimizer, recipe, steps))
    monitor = _monitor(context, recipe, number, run, checkpoint)
    selected = context.selected
    arguments = {
        **data,
        **passed_on(context.call, data["x"], batch),
        "epochs": recipe.epochs,
        "verbose": 0,
        "callbacks": [*steering(context.call.arguments.get("callbacks"), recipe), monitor],
        "validation_data": (selected.x, selected.y)
        if selected.weight is None
        else (selected.x, selected.y, selected.weight),
        "initial_epoch": checkpoint.restore(model, run),
    }
    context.clock.count(run.seconds)
    if recipe.balanced and "class_weight" not in arguments:
        arguments["class_weight"] = rarity(data.get("y"))
    context.rewind()
    if arguments["initial_epoch"] < recipe.epochs:
        history = model.fit(**arguments)
        for name, values in history.history.items():
            run.history[name] = run.history.get(name, []) + [float(v) for v in values]
    if run.weights is not None:
        model.set_weights(run.weights)
    if run.state == "finished" and run.score is None:
        run.state, run.message = "invalid", "the score is not a number"


def batch_size(call: FitCall) -> int:
    """Return the developer's batch size, or Keras' default if none was given."""
    return int(call.arguments.get("batch_size") or 32)


def steps_an_epoch(call: FitCall, x: Any, batch: int) -> int:
    """Return the number of steps in an epoch of the training data."""
    steps = call.arguments.get("steps_per_epoch")
    if steps:
        return int(steps)
    if is_pipeline(x):
        count = int(x.cardinality()) if hasattr(x, "cardinality") else len(x)
        return max(count, 1)
    return max(math.ceil(length(x) / batch), 1)


def is_pipeline(x: Any) -> bool:
    """Return whether the data makes its own batches."""
    return hasattr(x, "cardinality") or (
        not isinstance(x, (dict, list, tuple)) and not hasattr(x, "shape")
    )


def passed_on(call: FitCall, x: Any, batch: int) -> Dict[str, Any]:
    """Return the arguments of the developer's `fit` that apply to trials too."""
    names = ["class_weight", "validation_batch_size"]
    # Arrays are split into batches anew, so the script's own number of steps may not fit them.
    names += ["steps_per_epoch"] if is_pipeline(x) else ["shuffle"]
    arguments = {
        name: call.arguments[name] for name in names if call.arguments.get(name) is not None
    }
    if not is_pipeline(x):
        arguments["batch_size"] = batch
        arguments.setdefault("validation_batch_size", max(batch, min(8 * batch, SCORED_AT_ONCE)))
    elif not hasattr(x, "__getitem__"):
        arguments["shuffle"] = False  # Keras cannot shuffle a stream, and would warn
    return arguments


def compile_as_given(model: Any, call: FitCall, optimizer: Any) -> None:
    """Compile with the developer's own loss and metric objects, and this optimizer."""
    arguments = {name: value for name, value in call.compiled.items() if name != "optimizer"}
    model.compile(optimizer=optimizer, **arguments)


def optimizer_for(own: Any, recipe: Recipe, steps: int) -> Any:
    """Return a fresh optimizer for a recipe.

    Args:
        own: the developer's optimizer.
        recipe: the kind of optimizer, and its learning rate.
        steps: steps in an epoch.
    """
    # Mixed precision wraps the optimizer into one that scales the loss; compile() wraps it again.
    own = getattr(own, "inner_optimizer", own)
    config = dict(own.get_config())
    kind = type(own)
    if recipe.optimizer == "adam" and kind.__name__ not in ADAM_LIKE:
        kind = keras.optimizers.Adam
        config = {
            name: config[name]
            for name in ("clipnorm", "clipvalue", "global_clipnorm")
            if config.get(name)
        }
    if recipe.schedule == "cosine":
        total = max(recipe.epochs * steps, 2)
        # A tenth of the steps at a rising rate: Adam's estimates of the moments begin at zero.
        warm = max(total // 10, 1)
        rate = recipe.learning_rate or plain_rate(own) or 1e-3
        config["learning_rate"] = keras.optimizers.schedules.CosineDecay(
            rate / 10, max(total - warm, 1), warmup_target=rate, warmup_steps=warm, alpha=0.01
        )
    elif recipe.learning_rate:
        config["learning_rate"] = recipe.learning_rate
    return kind.from_config(config)


def plain_rate(optimizer: Any) -> float:
    """Return the learning rate of an optimizer, or 0 if it is a schedule."""
    rate = getattr(optimizer, "inner_optimizer", optimizer).get_config().get("learning_rate")
    return float(rate) if isinstance(rate, (int, float)) or hasattr(rate, "item") else 0.0


def steering(given: Any, recipe: Recipe) -> List[Any]:
    """Return fresh copies of the developer's schedules and early stopping."""
    callbacks = given if isinstance(given, (list, tuple)) else [given] if given is not None else []
    copies = []
    for callback in callbacks:
        kind = type(callback).__name__
        is_keras = type(callback).__module__.startswith(("keras.", "tf_keras."))
        # ReduceLROnPlateau and LearningRateScheduler would overwrite the recipe's own schedule.
        sets_rate = "L" in kind
        if not is_keras or kind not in STEERING or (recipe.schedule == "cosine" and sets_rate):
            continue
        # A shallow copy: Keras resets the state of these callbacks in on_train_begin.
        fresh = copy.copy(callback)
        fresh._model = None
        if kind == "EarlyStopping" and recipe.schedule == "cosine":
            # The learning rate falls at the end, and that is when such a training gets better.
            fresh.patience = max(int(callback.patience), recipe.epochs // 2)
        copies.append(fresh)
    return copies


def left_out(given: Any) -> List[str]:
    """Return the class names of the developer's callbacks that do not run in trials."""
    callbacks = given if isinstance(given, (list, tuple)) else [given] if given is not None else []
    return [
        type(callback).__name__
        for callback in callbacks
        if type(callback).__name__ not in (*STEERING, "History")
    ]


def rarity(y: Any) -> Optional[Dict[int, float]]:
    """Return weights under which all classes count the same, None without classes."""
    labels = classes(y)
    if labels is None:
        return None
    kinds, counts = numpy.unique(labels, return_counts=True)
    return {
        int(kind): float(len(labels) / (len(kinds) * count)) for kind, count in zip(kinds, counts)
    }


class Scorer:
    """The judged metric on the selection examples.

    It is read from the epoch's logs if the model reports it, else computed from predictions.
    """

    def __init__(self, request: SearchRequest, selected: Selected) -> None:
        self.metric = request.metric
        self.selected = selected

    def __call__(self, model: Any, logs: Mapping[str, Any]) -> Optional[float]:
        name = scores.in_logs(self.metric, logs)
        if name is not None:
            return float(logs[name])
        compute = scores.from_predictions(self.metric)
        if compute is None or isinstance(self.selected.y, (dict, list, tuple)):
            return None
        return compute(
            self.selected.y, model.predict(self.selected.x, batch_size=SCORED_AT_ONCE, verbose=0)
        )

    def evaluate(self, model: Any) -> Optional[float]:
        """Return the score of a compiled model, or None if it cannot be computed."""
        selected = self.selected
        logs = model.evaluate(
            selected.x,
            selected.y,
            batch_size=SCORED_AT_ONCE,
            sample_weight=selected.weight,
            verbose=0,
            return_dict=True,
        )
        return self(model, {f"val_{name}": value for name, value in logs.items()})


def pulse(journal: SearchJournal, clock: Clock, number: int) -> Any:
    """Return a callback class that reports progress and respects the time limit."""

    class Pulse(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            journal.progress("search", trial=number, step=batch + 1)
            if clock.left_s <= 0.0:
                self.model.stop_training = True

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            journal.progress("search", trial=number)

    return Pulse


class _Judge:
    """Decide after each epoch on the best weights and on the end of a trial.

    Args:
        context: the parts that all trials share.
        recipe: the trial's training.
        run: the trial; the decisions are written into it.
    """

    def __init__(self, context: TrialContext, recipe: Recipe, run: TrialRun) -> None:
        self._context = context
        self._recipe = recipe
        self._run = run

    def rejects(self, score: Optional[float], logs: Mapping[str, Any]) -> bool:
        """Return whether the epoch has no valid score or loss; the run is then invalid."""
        losses = [float(logs.get(name, 0.0)) for name in ("loss", "val_loss")]
        if score is not None and all(map(math.isfinite, losses)):
            return False
        self._run.state = "invalid"
        self._run.message = "the loss is not a number" if score is not None else "no score"
        return True

    def add_epoch(self, score: float, loss: float, weights: Callable[[], List[Any]]) -> bool:
        """Record an epoch; return whether the trial stops after it.

        Args:
            score: the score on the selection examples.
            loss: the loss on them.
            weights: returns the model's weights.
        """
        run = self._run
        supersedes = self._supersedes(score, loss)
        run.curve.append(score)
        run.losses.append(loss)
        if supersedes:
            run.score = score
            run.weights = weights()
        run.reached = run.reached or not self._context.request.better(self._context.bar, score)
        if self._is_safely_above_bar(score):
            run.message = "the bar is passed by far, and the curve has levelled off"
            return True
        if not run.reached and self._is_hopeless():
            run.state = "stopped"
            run.message = "cannot become the best any more"
            return True
        return False

    def _supersedes(self, score: float, loss: float) -> bool:
        """Return whether this epoch's weights replace those of the best epoch so far."""
        run = self._run
        request = self._context.request
        # Few examples allow only few different scores: among equal ones the lower loss wins.
        if score == run.score and loss <= min(run.losses):
            return True
        if self._recipe.schedule != "cosine" or not run.curve:
            return request.better(score, run.score)
        # Under a falling rate later weights are better ones. A difference that chance explains
        # speaks for no earlier epoch, unless that one alone has reached the bar.
        bar = self._context.bar
        best = (max if request.mode == "max" else min)(run.curve)
        error = scores.error_of_score(request.metric, best, self._context.selected.count)
        lost_bar = request.better(bar, score) and not request.better(bar, best)
        return not request.better(best - error, score) and not lost_bar

    def _is_safely_above_bar(self, score: float) -> bool:
        # A cosine ends where its rate does: before that its curve only seems to be level.
        if self._recipe.schedule == "cosine":
            return False
        is_sure = not self._context.request.better(self._context.sure, score)
        return is_sure and levelled_off(self._run.losses, self._recipe.epochs)

    def _is_hopeless(self) -> bool:
        context = self._context
        request = context.request
        return outlook.is_hopeless(
            self._run.curve,
            self._recipe.epochs,
            context.best,
            mode=request.mode,
            finished=context.finished,
            error=scores.error_of_score(
                request.metric, context.best or 0.0, context.selected.count
            ),
        )


def _monitor(
    context: TrialContext, recipe: Recipe, number: int, run: TrialRun, checkpoint: TrialCheckpoint
) -> Any:
    """Return the callback that scores every epoch and stops a hopeless trial."""
    scorer = Scorer(context.request, context.selected)
    judge = _Judge(context, recipe, run)

    class Monitor(pulse(context.journal, context.clock, number)):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            why = "the time is used up" if context.clock.left_s <= 0.0 else context.cancel_reason()
            if why:
                self.model.stop_training = True
                run.out_of_time = True
                run.message = why

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs = dict(logs or {})
            score = scorer(self.model, logs)
            metrics = {**logs, "score": score}
            context.journal.progress("search", trial=number, epoch=epoch, metrics=metrics)
            if judge.rejects(score, logs):
                self.model.stop_training = True
                return
            assert score is not None  # or it was rejected
            loss = float(logs.get("val_loss", logs.get("loss", 0.0)))
            if judge.add_epoch(score, loss, self.model.get_weights):
                self.model.stop_training = True
            # A stopped trial has its result: nothing will resume it.
            if not self.model.stop_training:
                checkpoint.write(self.model, run, epoch, context.clock.running_s)

    return Monitor()


def levelled_off(losses: List[float], epochs: int) -> bool:
    """Return whether a training has gained nothing for a fifth of its epochs.

    Args:
        losses: the loss after each epoch so far.
        epochs: the number of epochs it is to have.

    Example:
        >>> levelled_off([0.9, 0.5, 0.4, 0.41, 0.42, 0.43], 10)
        True
        >>> levelled_off([0.9, 0.5, 0.4, 0.3], 50)
        False
    """
    best = min(range(len(losses)), key=losses.__getitem__)
    return len(losses) - 1 - best >= max(3, epochs // 5)


class TrialCheckpoint:
    """The state of a running trial on disk; a killed process resumes within it.

    Args:
        path: the file; it stays until the trial's end is recorded.
    """

    ENDING = ".state.npz"

    def __init__(self, path: str) -> None:
        self.path = path
        self._cost_s = 0.0
        self._last_s = 0.0

    def write(self, model: Any, run: TrialRun, epoch: int, running_s: float) -> None:
        """Store the state for the next epoch, in at most a fiftieth of the training time."""
        if running_s - self._last_s < 50 * self._cost_s:
            return
        import io
        import time

        # The cost of this write sets the time until the next one.
        began = time.monotonic()
        # Optimizer and seed generators included: the resumed trial ends with the same weights.
        arrays = {f"v{i}": value for i, value in enumerate(fit_state.capture_variables(model))}
        arrays.update({f"b{i}": value for i, value in enumerate(run.weights or [])})
        history = getattr(model, "history", None)
        state = {
            "epoch": epoch,
            "curve": run.curve,
            "losses": run.losses,
            "score": run.score,
            "seconds": run.seconds + running_s,
        }
        state["history"] = {
            k: [float(v) for v in vs] for k, vs in (history.history if history else {}).items()
        }
        stream = io.BytesIO()
        numpy.savez(
            stream, state=numpy.frombuffer(json.dumps(state).encode(), dtype="uint8"), **arrays
        )
        atomic.write_atomic(self.path, stream.getvalue())
        self._cost_s = time.monotonic() - began
        self._last_s = running_s

    def restore(self, model: Any, run: TrialRun) -> int:
        """Restore an interrupted trial; return its next epoch, 0 without a checkpoint."""
        try:
            with numpy.load(self.path, allow_pickle=False) as stored:
                state = json.loads(stored["state"].tobytes().decode())
                values = _arrays(stored, "v")
                fit_state.build(model, None)
                fit_state.restore_variables(model, values)
                run.weights = _arrays(stored, "b") or None
        # Missing, cut off, or not of this model: begin from the first epoch.
        except (OSError, ValueError, KeyError, EOFError):
            return 0
        run.curve, run.score, run.seconds = state["curve"], state["score"], state["seconds"]
        run.history, run.losses = state["history"], state["losses"]
        return int(state["epoch"]) + 1


def _arrays(stored: Any, letter: str) -> List[Any]:
    count = sum(name[0] == letter and name[1:].isdigit() for name in stored.files)
    return [stored[f"{letter}{i}"] for i in range(count)]
