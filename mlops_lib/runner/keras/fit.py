"""One call of Keras' `fit` by the script: trained, resumed, or restored when done."""

import contextlib
import os
import sys
from typing import Any, Callable, ContextManager, Dict, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import (
    data_order,
    evaluation,
    examples,
    fit_state,
    graph_random,
    half_batches,
)
from mlops_lib.runner.keras.csv_headers import ResumedHeaders
from mlops_lib.runner.keras.fit_checkpoints import FitCheckpoints
from mlops_lib.runner.keras.fit_data import FitData, named_data
from mlops_lib.runner.keras.fit_proof import FitProof
from mlops_lib.runner.keras.fit_resume import FitResume
from mlops_lib.runner.keras.recorder import recorder
from mlops_lib.runner.metrics import example_hashes, finite
from mlops_lib.runner.script.arguments import bind
from mlops_lib.runner.state import checkpoint, rng

SEED_OFFSET = 740_000_003
"""Added to the run's seed for TensorFlow, to distinguish it from a script's own `set_seed`."""

ACTIVE_FITS: List[Optional["Fit"]] = []
"""The fits whose data is being read, innermost last.

None stands for a call inside a fit that is not part of it.
"""


class Fit:
    """One call of `fit` by the script.

    It trains, and records the training data, the epochs and the measurements. `FitResume` returns
    it to
    a checkpoint, `FitCheckpoints` writes them, `FitData` is its data.

    Args:
        run: the execution.
        model: the model.
        original: Keras' own `fit`.
        args: the call's positional arguments.
        kwargs: its keyword arguments.
    """

    def __init__(
        self, run: Context, model: Any, original: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        self.context = run
        self.model = model
        self.original = original
        self.call = bind(original, model, args, kwargs)
        self.number = run.next_fit()
        shorter = self._without_held_back()
        self.call = shorter or self.call
        self.store = checkpoint.Store(
            run.fit_folder(self.number, held_back=shorter is not None), run.work
        )
        self.history: Any = None
        self.validated: Optional[int] = None
        """The number of examples of the last validation, if there was one and Keras counted."""
        self.winner: Any = None
        """The Outcome of a search that has replaced this fit's model."""
        self.initial: Optional[List[Any]] = None
        """The values of the model's variables before a searched fit."""
        self.user_callbacks = _as_list(self.call.get("callbacks"))
        self.callback_state = fit_state.CallbackState(self.user_callbacks)
        self.headers = ResumedHeaders()
        self.data = FitData(self.call, self._make_order())
        self.resume = FitResume(self)
        self.proof = FitProof(self)
        self.checkpoints = FitCheckpoints(self)

    def _without_held_back(self) -> Optional[Dict[str, Any]]:
        """Return the call without the examples that a later fit's search selects on.

        None if it has none of them.
        """
        run = self.context
        if run.searched_fit is None or self.number >= run.searched_fit:
            return None
        from mlops_lib.runner.search import holdout

        hashes = holdout.noted(run.search_folder, run.searched_fit)
        return holdout.without(self.call, hashes) if hashes else None

    def _make_order(self) -> data_order.DataOrder:
        # Keras on JAX or PyTorch shuffles by the random state of the process, seeded or not.
        tf_context = (
            sys.modules.get("tensorflow.python.eager.context") if self.is_on_tensorflow else None
        )
        seed = None if tf_context is None else getattr(tf_context.context(), "_seed", None)
        unseeded = seed == self.context.spec.seed + SEED_OFFSET
        data = named_data(self.call, self.callback_state.roots)
        return data_order.DataOrder((self.context.spec.seed, self.number), own=unseeded, data=data)

    # What differs between one Keras and another

    @property
    def is_on_tensorflow(self) -> bool:
        """Return whether Keras computes with TensorFlow, not with JAX or PyTorch."""
        return str(sys.modules["keras.src.backend"].backend()) == "tensorflow"

    @property
    def callbacks_module(self) -> Any:
        """The module of this Keras' callbacks."""
        return sys.modules["keras.src.callbacks"]

    def restore_order(self, order: Dict[str, Any]) -> None:
        """Bring the data to its saved position, before the first epoch begins."""
        self.data.order.restore(order)

    def start_at(self, epoch: int) -> None:
        """Make the running fit begin with this epoch."""
        self.model._initial_epoch = epoch

    def reset_initial_epoch(self) -> None:
        """Make the next fit begin at its own `initial_epoch`."""
        self.model._initial_epoch = 0

    @property
    def reads_by_threads(self) -> bool:
        """Return whether several threads read the data and draw, in no determined order."""
        return self.data.is_read_by_threads

    @property
    def steps_in_epoch(self) -> Optional[int]:
        """The number of steps of an epoch, None if the data does not declare it."""
        iterators = self.data.order.iterators
        steps = iterators[0].num_batches if iterators else None
        return None if steps is None else int(steps)

    def metric_variables(self) -> List[Any]:
        """Return the variables behind the logs of a running epoch."""
        return fit_state.metric_variables(self.model)

    # The whole call

    def run(self) -> Any:
        """Train, resume the training, or restore its result; return the History."""
        journal = self.context.journal
        with journal.guard("load checkpoint"):
            self.resume.state = self.proof.load()
            if self.is_searched and self.model.built:
                self.initial = fit_state.capture_variables(self.model)
        if self.resume.state is not None and self.resume.state["done"]:
            history = None
            with journal.guard("restore fit"):
                history = self.resume.restore_finished()
            if history is not None:
                return self._complete(history)
            self.resume.state = None
        history = self._train()
        journal.progress("script", step=None, steps=None)
        return self._complete(history)

    @property
    def is_searched(self) -> bool:
        """Return whether this is pass 2 and this is the judged fit."""
        request = self.context.spec.search
        return request is not None and int(request.get("fit", 0)) == self.number

    def _complete(self, history: Any) -> Any:
        """Record the fit's evaluation; begin the search in pass 2; return the History."""
        run = self.context
        with run.journal.guard("fit evaluation"):
            self._record_examples()
        self._record_metrics(history)
        run.models[self.number] = self.model
        if self.is_searched and run.search is not None:
            run.nested += 1
            try:
                history = run.search(self, history)
            finally:
                run.nested -= 1
            if self.winner is not None:
                run.evaluations.withdraw(self.number)
                self._record_metrics(history)
        return history

    def _record_examples(self) -> None:
        """Record the examples that the model was trained on."""
        run = self.context
        rows = self.data.training_rows()
        seen = example_hashes.examples(rows)
        x = self.call.get("x")
        steps = self.call.get("steps_per_epoch")
        reader = examples.reader(x, steps) if seen is None else None
        run.evaluations.trainings.add(self.model, x, seen, *(() if reader is None else (reader,)))
        run.leaks.record_training(self.model, rows, self.data.training_rows("y"), source=x)
        if seen is not None:
            run.fit_examples[self.number] = seen

    def _record_metrics(self, history: Any) -> None:
        """Record the fit's own last metrics, or the winner's after a search."""
        winner = self.winner
        left_out = (
            winner.selected_on
            if winner is not None and winner.result["selection"] == "half"
            else frozenset()
        )
        with self.context.journal.guard("fit evaluation"):
            evaluation.add_fit_metrics(
                self.context,
                self.model,
                self.number,
                self.call,
                _last(history),
                validated=self.validated if winner is None else None,
                left_out=left_out,
                names=None if winner is None or winner.measured is None else winner.measured.names,
            )

    # The training

    def _train(self) -> Any:
        run = self.context
        call = dict(self.call)
        if type(call.get("callbacks")).__name__ == "CallbackList":
            run.journal.warn(
                f"fit {self.number} has a CallbackList of its own: it is not resumable"
            )
            return self._inside(None, call)
        call["callbacks"] = self._callbacks()
        if not self.is_on_tensorflow and run.fit_of(self.model) is not None:
            self.resume.random_at_call = rng.capture_python()
        with run.journal.guard("missing values"):
            absent = finite.describe_missing(call.get("x"))
            if absent is not None:
                run.journal.warn(
                    f"the inputs of fit {self.number} hold NaN: {absent}; fill or drop them before"
                )
        with run.shutdown.waiting_for(self.checkpoints):
            with self._footprint():
                result = self._inside(self, call)
            self.reset_initial_epoch()
            with run.journal.guard("finish fit"):
                self._finish()
            run.shutdown.block_if_requested()
        return result

    def _callbacks(self) -> List[Any]:
        """Return the script's callbacks, a History and the recorder, which has to be last."""
        own: List[Any] = []
        history = self.own_history()
        if history is None:
            history = self.callbacks_module.History()
            own.append(history)
        self.history = history
        own.append(recorder(self.callbacks_module.Callback, self))
        return [*self.user_callbacks, *own]

    def _footprint(self) -> ContextManager[None]:
        # Without an optimizer the training step has optimizers of its own, as a GAN's has.
        if not self.context.spec.smaller or self.model.optimizer is None:
            return contextlib.nullcontext()
        if not self.is_on_tensorflow:
            self.context.journal.warn(
                f"the memory was not enough before, and fit {self.number} needs as much again"
            )
            return contextlib.nullcontext()
        self.context.journal.warn(
            f"the memory was not enough before: fit {self.number} computes each batch in two halves"
            " and makes one update from both; the result is not guaranteed identical to that of a"
            " run with more memory"
        )
        return half_batches.halved(self.model)

    def _inside(self, fit: "Optional[Fit]", call: Dict[str, Any]) -> Any:
        self.context.nested += 1
        ACTIVE_FITS.append(fit)
        graph_random.current.append(self.model)
        try:
            return self.original(self.model, **call)
        finally:
            graph_random.current.pop()
            ACTIVE_FITS.pop()
            self.context.nested -= 1

    def train_one_step(self) -> None:
        """Train on one batch, which creates all variables of the model."""
        shorter = {
            **self.call,
            "epochs": int(self.call.get("initial_epoch") or 0) + 1,
            "steps_per_epoch": 1,
            "verbose": 0,
        }
        shorter.update(callbacks=None, validation_data=None, validation_split=0.0)
        self._inside(None, shorter)
        self.reset_initial_epoch()

    def begin(self) -> None:
        """Continue from the checkpoint, if there is one, and begin to count the time.

        Called when all is set up and no step was made yet.
        """
        epoch = self.resume.begin()
        self.journal_begin("started" if self.resume.state is None else "resumed", epoch)
        self.checkpoints.begin()

    def begin_epoch(self, epoch: int) -> None:
        """Bring the data to the begin of an epoch."""
        self.data.order.begin_epoch(epoch)
        self.resume.begin_epoch()
        self.checkpoints.begin_epoch()

    def end_step(self, logs: Dict[str, Any]) -> None:
        """Note a step, or undo it if it repeats the last one of the checkpoint.

        Args:
            logs: loss and metrics of the step.
        """
        if self.resume.is_after_steps:
            self.resume.undo_step()
        else:
            self.checkpoints.unsaved = True
            with self.context.journal.guard("proof of resume"):
                self.proof.show(logs)

    def _finish(self) -> None:
        self.checkpoints.write(self.last_epoch(), done=True)
        self.context.journal.write(
            protocol.EVENT_FIT_END,
            fit=self.number,
            epochs=len(self.history.epoch),
            metrics=_last(self.history),
        )

    def last_epoch(self) -> int:
        """Return the number of the last finished epoch."""
        return (
            int(self.history.epoch[-1])
            if self.history.epoch
            else int(self.call.get("initial_epoch") or 0) - 1
        )

    def own_history(self) -> Any:
        """Return the History among the script's own callbacks, or None."""
        for callback in self.user_callbacks:
            if type(callback).__name__ == "History":
                return callback
        return None

    def journal_begin(self, state: str, epoch: int) -> None:
        """Note that the fit has started, is resumed, or is restored."""
        parameters = self.model.count_params() if self.model.built else None
        self.context.journal.write(
            protocol.EVENT_FIT,
            fit=self.number,
            framework="keras",
            model=type(self.model).__name__,
            state=state,
            epochs=self.call.get("epochs"),
            epoch=epoch,
            parameters=parameters,
            steps=self.steps_in_epoch,
            continues=self.context.fit_of(self.model),
        )

    def journal_epochs(self, records: List[Dict[str, Any]]) -> None:
        """Note finished epochs."""
        for record in records:
            self.context.journal.epoch(
                self.number, record["epoch"], record["metrics"], record["seconds"]
            )

    def rewrite_checkpointed_files(self) -> None:
        """Write the winner of the search into the files of the script's ModelCheckpoint."""
        for callback in self.user_callbacks:
            if type(callback).__name__ != "ModelCheckpoint":
                continue
            path = str(callback.filepath)
            if "{" in path or not os.path.exists(path):
                self.context.journal.warn(
                    f"{path}: written for single epochs, holds the model from before the search"
                )
            elif callback.save_weights_only:
                self.model.save_weights(path, overwrite=True)
            else:
                self.model.save(path, overwrite=True)


def _last(history: Any) -> Dict[str, Any]:
    return {name: values[-1] for name, values in history.history.items() if values}


def _as_list(callbacks: Any) -> List[Any]:
    if callbacks is None or type(callbacks).__name__ == "CallbackList":
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
