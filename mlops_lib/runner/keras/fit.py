"""One call of Keras' `fit` by the script: trained, resumed, or restored when done."""

import contextlib
import inspect
import os
import sys
import time
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional

from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import (
    data_order,
    evaluation,
    examples,
    fit_state,
    graph_random,
    half_batches,
)
from mlops_lib.runner.metrics import example_hashes, finite
from mlops_lib.runner.script.arguments import bind
from mlops_lib.runner.state import checkpoint, objects, rng

SEED_OFFSET = 740_000_003
"""Added to the run's seed for TensorFlow, to distinguish it from a script's own `set_seed`."""

ACTIVE_FITS: List[Optional["Fit"]] = []
"""The fits whose data is being read, innermost last.

None stands for a call inside a fit that is not part of it.
"""


class Fit:
    """One call of `fit` by the script.

    Checkpoints are written after epochs, and within an epoch after a step (long epochs) or when its
    validation has begun. A resumed fit first builds the model's variables. It then restores the
    state at once (after an epoch), or reads the data up to the step and restores it there
    (`resume_point`). The order matters: reading data may draw from random states, so they are
    restored last.

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
        self.state: Optional[Dict[str, Any]] = None
        self.validated: Optional[int] = None
        """The number of examples of the last validation, if there was one and Keras counted."""
        self.winner: Any = None
        """The Outcome of a search that has replaced this fit's model."""
        self.random_at_call: Optional[Dict[str, Any]] = None
        """The random state at the call.

        Keras may read a batch to build what a restored fit did not build; that must not draw twice.
        """
        self.epochs_pending: List[Any] = []
        self.pace = checkpoint.Pace(run.spec.checkpoint_budget, run.spec.mid_epoch_s)
        self.user_callbacks = _as_list(self.call.get("callbacks"))
        self.callback_state = fit_state.CallbackState(self.user_callbacks)
        self.order = self._make_order()
        self.initial: Optional[List[Any]] = None
        self.resume_point: Optional[Dict[str, Any]] = None
        """The checkpoint from within an epoch that is being returned to."""
        self.at_epoch_begin: Dict[str, Any] = {}
        self.at_validation: Optional[Dict[str, Any]] = None
        """The state, at its begin, of all that the running validation may change."""
        self.unsaved = False
        """Whether a step was made since the last checkpoint."""
        self.consumes_rng: Optional[bool] = None
        """Whether reading the data advanced the random state, for a last step that is repeated."""
        self.training_began = self.epoch_began = time.monotonic()
        self._csv_loggers: List[Any] = []

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
        validation = self.call.get("validation_data")
        data = {
            "x": self.call.get("x"),
            "validation": validation[0]
            if isinstance(validation, tuple) and validation
            else validation,
        }
        for name, space, key in objects.find_places(self.callback_state.roots):
            if isinstance(space, dict) and data_order.is_dataset(space[key]):
                data[name] = space[key]
        return data_order.DataOrder((self.context.spec.seed, self.number), own=unseeded, data=data)

    def run(self) -> Any:
        """Train, resume the training, or restore its result; return the History."""
        with self.context.journal.guard("load checkpoint"):
            self.state = self.store.load()
            if self.is_searched and self.model.built:
                self.initial = fit_state.capture_variables(self.model)
        if self.state is not None and self.state["done"]:
            history = None
            with self.context.journal.guard("restore fit"):
                history = self._restore()
            if history is not None:
                return self._complete(history)
            self.state = None
        history = self._train()
        self.context.journal.progress("script", step=None, steps=None)
        return self._complete(history)

    @property
    def is_on_tensorflow(self) -> bool:
        """Whether Keras computes with TensorFlow, not with JAX or PyTorch."""
        return str(sys.modules["keras.src.backend"].backend()) == "tensorflow"

    @property
    def is_searched(self) -> bool:
        """Whether this is pass 2 and this is the judged fit."""
        request = self.context.spec.search
        return request is not None and int(request.get("fit", 0)) == self.number

    def _complete(self, history: Any) -> Any:
        """Record the fit's evaluation; begin the search in pass 2; return the History."""
        run = self.context
        with run.journal.guard("fit evaluation"):
            seen = example_hashes.examples(self._training_rows())
            x = self.call.get("x")
            steps = self.call.get("steps_per_epoch")
            reader = examples.reader(x, steps) if seen is None else None
            run.evaluations.record_training(
                self.model, x, seen, *(() if reader is None else (reader,))
            )
            run.leaks.record_training(
                self.model, self._training_rows(), self._training_rows("y"), source=x
            )
            if seen is not None:
                run.fit_examples[self.number] = seen
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

    def _training_rows(self, name: str = "x") -> Any:
        """Return the training inputs, or targets, without `validation_split`'s rows."""
        rows: Any = self.call.get(name)
        split = self.call.get("validation_split") or 0.0
        if not split or self.call.get("validation_data") is not None or not hasattr(rows, "shape"):
            return rows
        return rows[: examples.first_validation_row(rows, split)]

    def _train(self) -> Any:
        run = self.context
        call = dict(self.call)
        if type(call.get("callbacks")).__name__ == "CallbackList":
            run.journal.warn(
                f"fit {self.number} has a CallbackList of its own: it is not resumable"
            )
            return self._inside(None, call)
        callbacks_module = self.callbacks_module
        history = self._own_history()
        own: List[Any] = []
        if history is None:
            history = callbacks_module.History()
            own.append(history)
        self.history = history
        own.append(_recorder(callbacks_module.Callback, self))
        if not self.is_on_tensorflow and run.fit_of(self.model) is not None:
            self.random_at_call = rng.capture_python()
        call["callbacks"] = [*self.user_callbacks, *own]
        with run.journal.guard("missing values"):
            missing = finite.describe_missing(call.get("x"))
            if missing is not None:
                run.journal.warn(
                    f"the inputs of fit {self.number} hold NaN: {missing}; fill or drop them before"
                )
        with run.shutdown.waiting_for(self):
            with self._footprint():
                result = self._inside(self, call)
            self.reset_initial_epoch()
            with run.journal.guard("finish fit"):
                self._finish()
            run.shutdown.block_if_requested()
        return result

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

    @property
    def callbacks_module(self) -> Any:
        """The module of this Keras' callbacks."""
        return sys.modules["keras.src.callbacks"]

    def restore_order(self, order: Dict[str, Any]) -> None:
        """Bring the data to its saved position, before the first epoch begins."""
        self.order.restore(order)

    def start_at(self, epoch: int) -> None:
        """Make the running fit begin with this epoch."""
        self.model._initial_epoch = epoch

    def reset_initial_epoch(self) -> None:
        """Make the next fit begin at its own `initial_epoch`."""
        self.model._initial_epoch = 0

    def begin(self) -> None:
        """Continue from the checkpoint, if there is one.

        Called when all is set up and no step was made yet.
        """
        state = self.state
        epoch = int(self.call.get("initial_epoch") or 0)
        if state is None and self.random_at_call is not None:
            rng.restore_python(self.random_at_call)
        if state is not None:
            self._build(state)
            if state["step"]:
                # The model's state after these steps is restored by `enter_epoch`, when the data
                # has been read up to them: reading may draw from the random state.
                self.resume_point = state
                self.restore_order(state["begin"]["order"])
            else:
                self._restore_state(state)
                self._csv_loggers = (
                    fit_state.suppress_headers(self.user_callbacks) if state["epochs"] else []
                )
                # Creating iterators may draw, so the random states come after the data.
                self.restore_order(state["order"])
                self.restore_data("x")
                rng.restore_framework(state["random"])
                # An unfinished Python iterator shares this state, and has just been read to its
                # position; setting it again would repeat those draws.
                if not self._data_draws(state["order"]):
                    rng.restore_python(state["random"])
            self._restore_history(state)
            epoch = state["epoch"] + 1
            self.start_at(epoch)
            self._warn_about_limits()
        self._journal_fit("started" if state is None else "resumed", epoch)
        self.training_began = self.epoch_began = time.monotonic()
        self.pace.begin()

    def _data_draws(self, order: Dict[str, Any]) -> bool:
        """Return whether recreating the training data has advanced the random state."""
        first = order["iterators"][0]
        if not (
            first["python"] and first["limited"] and first["steps"] and first["random"] is not None
        ):
            return False
        return not rng.is_same_python(first["random"], rng.capture_python())

    def _restore_history(self, state: Dict[str, Any]) -> None:
        self.history.epoch = list(state["epochs"])
        self.history.history = {name: list(values) for name, values in state["history"].items()}
        self._journal_epochs(state["records"])

    def _journal_epochs(self, records: List[Dict[str, Any]]) -> None:
        for record in records:
            self.context.journal.epoch(
                self.number, record["epoch"], record["metrics"], record["seconds"]
            )

    def _restore_state(self, state: Dict[str, Any]) -> None:
        lost = fit_state.restore(self.model, self.callback_state, state, self.store)
        for name in lost:
            self.context.journal.warn(
                f"{name} could not be restored: the continuation is not guaranteed identical"
            )

    def _build(self, state: Dict[str, Any]) -> None:
        """Create the variables that the model had.

        If its configuration does not suffice, one training step creates them; its effect is
        overwritten.
        """
        try:
            fit_state.build(self.model, state["build"])
        except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
            self.context.journal.write(
                "note", message=f"fit {self.number} is built by a step: {error}"
            )
        if fit_state.is_built_for(self.model, state["variables"]):
            return
        if self.order.iterators:
            iterator = self.order.iterators[0]
            data = data_order.pipeline(iterator) or getattr(iterator, "_dataset", None)
            # Without a pipeline Keras has built the model by now.
            if data is not None:
                self.model.train_function(iter(data))
            return
        shorter = {
            **self.call,
            "epochs": int(self.call.get("initial_epoch") or 0) + 1,
            "steps_per_epoch": 1,
            "verbose": 0,
        }
        shorter.update(callbacks=None, validation_data=None, validation_split=0.0)
        self._inside(None, shorter)
        self.reset_initial_epoch()

    def _warn_about_limits(self) -> None:
        if inspect.isgenerator(self.call.get("x")):
            self.context.journal.warn(
                f"fit {self.number} reads a plain generator: it was read again from its beginning"
                " to where the fit had stopped; what it takes from outside the process is not"
                " guaranteed identical"
            )
        x = self.call.get("x")
        if data_order.is_dataset(x) and data_order.has_racing_randomness(x):
            self._warn_about_races()

    @property
    def reads_by_threads(self) -> bool:
        """Whether several threads read the data and draw, in no determined order."""
        x = self.call.get("x")
        own = [
            getattr(x, name, None) or self.call.get(name)
            for name in ("workers", "use_multiprocessing")
        ]
        return (
            data_order.is_stateful(x)
            and (own[0] or 1) > 1
            and not own[1]
            and data_order.reads_randomly(x)
        )

    def _warn_about_races(self) -> None:
        self.context.journal.warn(
            f"the data of fit {self.number} is read by several threads that draw from one random"
            " state: two runs left alone differ already, so this one cannot be continued"
            " identically"
        )

    def restore_data(self, name: str) -> None:
        """Restore the attributes of the training or validation data."""
        if self.state is not None and name in self.state["data"]:
            self._restore_attributes(name, self.state["data"][name])

    def _restore_attributes(self, name: str, contents: Dict[str, bytes]) -> None:
        roots = [(name, self.order.data[name])]
        objects.restore(objects.find_places(roots), contents, roots)

    def _capture_data(self) -> Dict[str, Dict[str, bytes]]:
        return {
            name: objects.capture(objects.find_places([(name, data)]), {})[0]
            for name, data in self.order.data.items()
            if name in ("x", "validation") and data_order.is_stateful(data)
        }

    def _journal_fit(self, state: str, epoch: int) -> None:
        parameters = self.model.count_params() if self.model.built else None
        self.context.journal.write(
            "fit",
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

    @property
    def steps_in_epoch(self) -> Optional[int]:
        """The number of steps of an epoch, None if the data does not declare it."""
        steps = self.order.iterators[0].num_batches if self.order.iterators else None
        return None if steps is None else int(steps)

    def begin_epoch(self, epoch: int) -> None:
        """Capture the data's state, so that a checkpoint within the epoch can use it."""
        self.order.begin_epoch(epoch)
        if self.resume_point is not None:
            begin = self.resume_point["begin"]
            rng.seed_generators.restore(begin["random"]["seeds"])
            if not self._data_draws(begin["order"]):
                rng.restore_python(begin["random"])
            for name, contents in begin["data"].items():
                self._restore_attributes(name, contents)
        self.at_epoch_begin = {
            "order": self.order.capture(),
            "random": {**rng.capture_python(), "seeds": rng.seed_generators.capture()},
            "data": self._capture_data(),
        }

    def steps_to_skip(self) -> int:
        """Return the number of this epoch's steps that come before the checkpoint."""
        return 0 if self.resume_point is None else int(self.resume_point["step"])

    def reading_consumes_rng(self, *, python: bool, passed_over: bool) -> bool:
        """Return whether iterating over the data advances the process RNG.

        Args:
            python: whether Python code reads the data; others cannot.
            passed_over: whether steps were skipped, which shows it; else the checkpoint does.
        """
        assert self.resume_point is not None
        now = rng.capture_python() if passed_over else self.resume_point["random"]
        return python and not rng.is_same_python(self.at_epoch_begin["random"], now)

    def enter_epoch(self, *, consumes_rng: bool) -> None:
        """Restore the state of the checkpoint, after its steps were skipped.

        Args:
            consumes_rng: whether reading the data advances the process RNG. The data has then left
                it at the right position for the next step.
        """
        state = self.resume_point
        assert state is not None
        self.resume_point = None
        self._restore_state(state)
        self._csv_loggers = (
            fit_state.suppress_headers(self.user_callbacks) if state["epochs"] else []
        )
        fit_state.assign(self.metric_variables(), state["metrics"])
        rng.restore_framework(state["random"], data_order.data_seeds(self.order.data.get("x")))
        if not consumes_rng:
            rng.restore_python(state["random"])

    @property
    def resumes_after_steps(self) -> bool:
        """Whether the checkpoint was written in an epoch's validation.

        Keras takes an epoch's metrics from its last step, so this step is repeated and its effect
        undone.
        """
        return self.resume_point is not None and bool(self.resume_point.get("ended"))

    def end_step(self) -> None:
        """Note a step, or undo it if it repeats the last one of the checkpoint."""
        if not self.resumes_after_steps:
            self.unsaved = True
            return
        state = self.resume_point
        assert state is not None
        with self.context.journal.guard("resume after the steps of an epoch"):
            # On JAX the values live outside the variables within an epoch: bring them back first,
            # or a later sync would overwrite the restored ones.
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            self.enter_epoch(consumes_rng=bool(self.consumes_rng))
            self.model.stop_training = state["stop"]

    def begin_validation(self, steps: int) -> None:
        """Capture all that a validation may change.

        A checkpoint written within the validation returns to its begin.
        """
        if self.resume_point is not None or not steps:
            return
        is_observed = any(_acts_on_validation(callback) for callback in self.user_callbacks)
        with self._headers_as_set():
            callbacks = self.callback_state.capture() if is_observed else None
        self.at_validation = {
            "step": steps,
            "metrics": fit_state.values(self.metric_variables()),
            "random": rng.capture(),
            "data": self._capture_data(),
            "inner": fit_state.capture_inner(self.model),
            "callbacks": callbacks,
        }
        self.checkpoint_in_validation()

    @contextlib.contextmanager
    def _headers_as_set(self) -> Iterator[None]:
        """Give resumed CSVLoggers the script's own setting within the block.

        Checkpoints have to contain that setting, not the one that suppresses a second header.
        """
        for logger, setting in self._csv_loggers:
            logger.append_header = setting
        try:
            yield
        finally:
            for logger, _ in self._csv_loggers:
                logger.append_header = False

    def checkpoint_in_validation(self) -> None:
        """Write a checkpoint of the epoch's steps, if the process is about to end."""
        if not self.context.shutdown.requested or self.at_validation is None or not self.unsaved:
            return
        with self.context.journal.guard("checkpoint within a validation"):
            self._write(
                self._last_epoch(),
                done=False,
                step=self.at_validation["step"],
                ended=self.at_validation,
            )
        self.context.shutdown.block_if_requested()

    def metric_variables(self) -> List[Any]:
        """Return the variables behind the logs of a running epoch."""
        return fit_state.metric_variables(self.model)

    def begin_step(self, step: int) -> None:
        """Write a checkpoint within a long epoch, if the budget allows."""
        self.at_validation = None
        if not step or self.resume_point is not None:
            return
        is_ending = self.context.shutdown.requested
        if is_ending or self.pace.is_due(within_epoch=True):
            with self.context.journal.guard("checkpoint within an epoch"):
                self._write(self._last_epoch(), done=False, step=step)
        if is_ending:
            self.context.shutdown.block_if_requested()

    def end_epoch(self, epoch: int, logs: Dict[str, Any]) -> None:
        """Note an epoch; write a checkpoint if its cost is within the budget."""
        if self.state is not None and self.reads_by_threads and self.at_epoch_begin:
            began = self.at_epoch_begin["random"]
            if not rng.is_same_python(began, rng.capture_python()):
                self._warn_about_races()
        for logger, setting in self._csv_loggers:
            logger.append_header = setting
        self._csv_loggers = []
        now = time.monotonic()
        self.epochs_pending.append(
            {"epoch": epoch, "metrics": dict(logs), "seconds": now - self.epoch_began}
        )
        self.epoch_began = now
        last = epoch + 1 >= int(self.call["epochs"]) or self.model.stop_training
        self.at_validation = None
        is_ending = self.context.shutdown.requested
        if not last and (is_ending or self.pace.is_due()):
            self._write(epoch, done=False)
            if is_ending:
                self.context.shutdown.block_if_requested()

    def _last_epoch(self) -> int:
        return (
            int(self.history.epoch[-1])
            if self.history.epoch
            else int(self.call.get("initial_epoch") or 0) - 1
        )

    def _finish(self) -> None:
        self._write(self._last_epoch(), done=True)
        metrics = {name: values[-1] for name, values in self.history.history.items() if values}
        self.context.journal.write(
            "fit_end", fit=self.number, epochs=len(self.history.epoch), metrics=metrics
        )

    def _write(
        self, epoch: int, *, done: bool, step: int = 0, ended: Optional[Dict[str, Any]] = None
    ) -> None:
        """Write a checkpoint in the background.

        Args:
            epoch: the last finished epoch.
            done: whether the fit is over.
            step: the number of steps of the next epoch.
            ended: the state at the begin of that epoch's validation, if it has begun.
        """
        run = self.context
        began = time.monotonic()
        records, self.epochs_pending = self.epochs_pending, []
        trained_s = (
            began - self.training_began + (0.0 if self.state is None else self.state["trained_s"])
        )
        try:
            with self._headers_as_set():
                state = fit_state.capture(self.model, self.callback_state, self.store)
        except OSError as error:
            # A full disk must not end a training that could go on without a checkpoint.
            run.journal.warn(checkpoint.describe_write_error(error))
            self._journal_epochs(records)
            self.pace.record_write(time.monotonic() - began)
            return
        state.update(
            done=done,
            epoch=epoch,
            step=step,
            epochs=list(self.history.epoch),
            records=records,
            data=self._capture_data(),
            history={name: list(values) for name, values in self.history.history.items()},
            order=self.order.capture(),
            params=dict(self.history.params or {}),
            trained_s=trained_s,
            validated=self.validated,
        )
        if step:
            state.update(
                begin=self.at_epoch_begin, metrics=fit_state.values(self.metric_variables())
            )
        if ended is not None:
            # The validation has changed metrics, seeds and callbacks since; it will run again from
            # its begin.
            state.update(
                ended=True, metrics=ended["metrics"], random=ended["random"], data=ended["data"]
            )
            fit_state.replace_inner(state["variables"], ended["inner"])
            if ended["callbacks"] is not None:
                state["callbacks"], state["lost"] = ended["callbacks"]

        def on_written(size: int, seconds: float) -> None:
            self.pace.add_background(seconds)
            # Epochs enter the journal only once their checkpoint is on the disk: a kill before that
            # trains them again, and they would be listed twice.
            self._journal_epochs(records)
            if size:
                run.journal.write(
                    "checkpoint",
                    fit=self.number,
                    epoch=epoch,
                    step=step,
                    bytes=size,
                    seconds=round(seconds, 4),
                    done=done,
                )
            if size and done:
                run.finished.add(self.store, trained_s)

        run.writer.submit(self.store, state, on_written)
        self.unsaved = False
        self.pace.record_write(time.monotonic() - began)

    def _own_history(self) -> Any:
        """Return the History among the script's own callbacks, or None."""
        for callback in self.user_callbacks:
            if type(callback).__name__ == "History":
                return callback
        return None

    def _restore(self) -> Any:
        """Bring the process to the state after this fit, without training."""
        state = self.state
        assert state is not None
        self._build(state)
        history = self._own_history() or self.callbacks_module.History()
        for callback in (*self.user_callbacks, history):
            callback.set_model(self.model)
            callback.set_params(state["params"])
        self.history = history
        # The script may read on from a generator that the fit had read.
        data_order.exhaust(self.call.get("x"), state["order"])
        self._restore_state(state)
        self.order.restore(state["order"])
        for name in state["data"]:
            self.restore_data(name)
        rng.restore(state["random"])
        self._restore_history(state)
        self.model.history = history
        self.model.stop_training = state["stop"]
        self.validated = state.get("validated")
        self._journal_fit("restored", state["epoch"] + 1)
        self.context.finished.add(self.store, state["trained_s"])
        return history

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


def _acts_on_validation(callback: Any) -> bool:
    """Return whether a callback of the script's does something during a validation."""
    names = ("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end")
    # The class is Keras' or the legacy Keras' Callback, so it is found by its name.
    base = next((kind for kind in type(callback).__mro__ if kind.__name__ == "Callback"), None)
    return any(
        getattr(type(callback), name, None) is not getattr(base, name, None) for name in names
    )


def _recorder(callback_class: Any, fit: Fit) -> Any:
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
            fit.begin_step(batch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch:
                self.step_s = (time.monotonic() - self.began) / batch
            self.made = batch + 1
            fit.end_step()
            steps = self.params.get("steps") or self.steps
            fit.context.journal.progress("fit", step=batch + 1, steps=steps, step_s=self.step_s)

        def on_test_begin(self, logs: Any = None) -> None:
            with fit.context.journal.guard("begin validation"):
                fit.begin_validation(self.made)

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            fit.context.journal.progress("validation")
            fit.checkpoint_in_validation()

        def on_test_end(self, logs: Any = None) -> None:
            with fit.context.journal.guard("end validation"):
                fit.validated = evaluation.count(fit.model)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            with fit.context.journal.guard("end epoch"):
                fit.context.journal.progress("checkpoint", metrics=dict(logs or {}))
                fit.end_epoch(epoch, dict(logs or {}))

    return Recorder()
