"""Adapter for XGBoost and LightGBM: `train` resumes at the round of the kill.

Each checkpoint holds a round's booster, the callbacks' state and the evaluation history. A
restarted training passes the booster to the library's own continuation, and rounds, callbacks and
history continue their counts. Both libraries then add up trees in the same order as before, so the
predictions are the same to the bit, unless rows or columns are sampled: the libraries do not expose
the state of these draws. Such a training is repeated from its first round while that costs little;
else it continues, with a warning.
"""

import copy
import functools
import inspect
import pickle
import time
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import predictions
from mlops_lib.runner.state import checkpoint, objects, proof, rng

SAMPLING = {
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "colsample_bylevel": 1.0,
    "colsample_bynode": 1.0,
    "bagging_fraction": 1.0,
    "sub_row": 1.0,
    "bagging": 1.0,
    "feature_fraction": 1.0,
    "sub_feature": 1.0,
    "feature_fraction_bynode": 1.0,
    "extra_trees": False,
    "data_sample_strategy": "bagging",
    "booster": "gbtree",
    "boosting": "gbdt",
    "boosting_type": "gbdt",
}
"""Parameters that, at other values than these, draw from a random state that cannot be stored."""
REPEAT_BELOW_S = 60.0
"""A training with sampling that took less time is repeated from its first round."""

ACTIVE: "List[Rounds]" = []
"""The running boosting, if any."""


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for XGBoost and LightGBM."""

    def hook(name: str, patch: Callable[[Any], None]) -> Callable[[ModuleType], None]:
        def patched(module: ModuleType) -> None:
            with run.journal.guard(f"patch {name}"):
                patch(module)

        return patched

    def xgboost_training(module: Any) -> None:
        module.train = _train(run, module.train, _continue_xgboost)

    def lightgbm_training(module: Any) -> None:
        module.train = _train(run, module.train, _continue_lightgbm)

    def xgboost_booster(module: Any) -> None:
        _patch_xgboost_booster(module)
        _remember_predictions(run, module.Booster)

    def lightgbm_booster(module: Any) -> None:
        _remember_predictions(run, module.Booster)

    return {
        "xgboost.training": hook("xgboost.train", xgboost_training),
        "xgboost.callback": hook("xgboost callbacks", _patch_xgboost_callbacks),
        "xgboost.core": hook("xgboost.Booster", xgboost_booster),
        "lightgbm.basic": hook("lightgbm.Booster", lightgbm_booster),
        "lightgbm.engine": hook("lightgbm.train", lightgbm_training),
        "lightgbm.callback": hook("lightgbm callbacks", _patch_lightgbm_callbacks),
    }


class Rounds:
    """The rounds of one boosting, and their checkpoints.

    Args:
        run: the execution.
        number: the fit it belongs to.
        store: the fit's checkpoints.
        state: the newest checkpoint from within the rounds, if there is one.
    """

    def __init__(
        self, run: Context, number: int, store: checkpoint.Store, state: Optional[Dict[str, Any]]
    ) -> None:
        self.run = run
        self.number = number
        self.store = store
        self.state = state
        self.rounds_done = 0 if state is None else int(state["round"])
        self.callbacks: List[Tuple[str, Any]] = []
        self.pace = checkpoint.Pace(run.spec.checkpoint_budget, 0.0)
        self.proof = proof.Proof(
            store.folder, proof.conditions("xgboost", "lightgbm", more=run.spec.smaller)
        )
        self._checkpoint_id = max(
            [0 if state is None else state.get("id", 0), *self.proof.refuted()]
        )
        if state is not None:
            self.proof.arrive(self._checkpoint_id)
        self.began = time.monotonic() - (0.0 if state is None else state["seconds"])
        self._records: List[Dict[str, Any]] = []
        self._round_began = time.monotonic()
        self.unsaved = False
        """True if a round has ended since the last checkpoint."""

    def adopt(self, callbacks: List[Any]) -> None:
        """Track these callbacks, and restore their state."""
        for callback in callbacks:
            item = (f"{len(self.callbacks)}-{type(callback).__name__}", callback)
            self.callbacks.append(item)
            if self.state is not None:
                state = {
                    k: v for k, v in self.state["callbacks"].items() if k.startswith(item[0] + ".")
                }
                objects.restore(objects.find_places([item]), state, [item])

    def end(
        self, count: int, metrics: Dict[str, float], booster: Callable[[], Any], history: Any = None
    ) -> None:
        """Record the end of a round, and write a checkpoint if it is due.

        Args:
            count: number of rounds so far.
            metrics: the round's evaluations.
            booster: returns the model so far, as the library serializes it.
            history: all evaluations so far, if the library keeps them.
        """
        now = time.monotonic()
        self.run.journal.progress("fit", fit=self.number, epoch=count - 1, metrics=metrics)
        if metrics:
            self._records.append(
                {"epoch": count - 1, "metrics": metrics, "seconds": now - self._round_began}
            )
        self._round_began = now
        self.unsaved = True
        if self.proof.is_awaited:
            self._check_proof(count, metrics)
        is_ending = self.run.shutdown.requested
        if not is_ending and not self.pace.is_due():
            return
        self._checkpoint_id += 1
        self.proof.expect(self._checkpoint_id)
        state = {
            "id": self._checkpoint_id,
            "round": count,
            "booster": booster(),
            # The library extends the history while the checkpoint is written in the background.
            "history": copy.deepcopy(history),
            "seconds": now - self.began,
            "callbacks": objects.capture(objects.find_places(self.callbacks), {})[0],
            "random": rng.capture(),
            "records": self.journal_later(),
        }
        self.unsaved = not self._submit(state)
        self.pace.record_write(time.monotonic() - now)
        if is_ending and not self.unsaved:
            self.run.shutdown.block_if_requested()

    def _submit(self, state: Dict[str, Any]) -> bool:
        """Write a checkpoint in the background; return whether its files were captured."""
        count = state["round"]
        records = state["records"]
        try:
            state["files"] = self.store.snapshot_files()
        except OSError as error:
            self.run.journal.warn(checkpoint.describe_write_error(error))
            self.journal_now(records)
            return False

        def durable(size: int, seconds: float) -> None:
            self.pace.add_background(seconds)
            self.journal_now(records)
            if size:
                self.run.journal.write(
                    protocol.EVENT_CHECKPOINT,
                    fit=self.number,
                    epoch=count - 1,
                    bytes=size,
                    seconds=round(seconds, 4),
                    done=False,
                )

        self.run.writer.submit(self.store, state, durable)
        return True

    def _check_proof(self, count: int, metrics: Dict[str, float]) -> None:
        """Compare a round's evaluations with those before the restart, or store them.

        Without evaluations, nothing of a round can be compared at little cost.
        """
        if not metrics:
            self.proof.is_awaited = False
            return
        numbers = sorted((name, proof.rounded(float(value))) for name, value in metrics.items())
        if self.proof.show(count, repr(numbers)):
            return
        if self.proof.stands(self.run.journal, self.number):
            self.proof.refute(self._checkpoint_id)
            self.run.restart_process(
                f"fit {self.number}: the first round after the checkpoint is not what it was"
            )

    def journal_later(self) -> List[Dict[str, Any]]:
        """Return the rounds without events; the next checkpoint contains them."""
        records, self._records = self._records, []
        return records

    def journal_now(self, records: List[Dict[str, Any]]) -> None:
        """Write rounds as events."""
        for record in records:
            self.run.journal.epoch(
                self.number, record["epoch"], record["metrics"], record["seconds"]
            )


def _remember_predictions(run: Context, booster_class: Any) -> None:
    """Record a booster's predictions, for metrics that the script computes from them."""
    original = booster_class.predict

    @functools.wraps(original)
    def predict(self: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(self, data, *args, **kwargs)
        run.nested += 1
        try:
            result = original(self, data, *args, **kwargs)
        finally:
            run.nested -= 1
        with run.journal.guard("booster.predict"):
            options = predictions.options_of(original, (self, data, *args), kwargs)
            predictions.remember(
                model=self,
                method="predict",
                x=data,
                output=result,
                fit=run.fit_of(self),
                options=options,
            )
        return result

    booster_class.predict = predict


def _train(
    run: Context, original: Callable[..., Any], continued: Callable[..., None]
) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def train(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs)
        arguments.apply_defaults()
        call = dict(arguments.arguments)
        if not run.nested:
            return BoosterFit(run, original, call, continued).train()
        fit = run.estimator_fit
        if (
            run.nested != 1
            or fit is None
            or not type(fit.estimator).__module__.startswith(("xgboost", "lightgbm"))
        ):
            return original(**call)
        return _train_rounds(run, fit.number, fit.store, fit.rounds, original, call, continued)

    return train


def _train_rounds(
    run: Context,
    number: int,
    store: checkpoint.Store,
    state: Optional[Dict[str, Any]],
    original: Callable[..., Any],
    call: Dict[str, Any],
    continued: Callable[..., None],
) -> Any:
    """Train, starting at the checkpoint's round."""
    if state is not None:
        with run.journal.guard("resume boosting"):
            state = _resumable_state(run, number, call["params"], state)
    rounds = Rounds(run, number, store, state)
    if state is not None:
        with run.journal.guard("resume boosting"):
            store.restore_files(state["files"])
            rng.restore(state["random"])
            rounds.journal_now(state["records"])
    continued(rounds, call)
    ACTIVE.append(rounds)
    try:
        with run.shutdown.waiting_for(rounds):
            result = original(**call)
    finally:
        ACTIVE.pop()
    run.writer.wait()  # events of earlier rounds come first
    rounds.journal_now(rounds.journal_later())
    return result


def _resumable_state(
    run: Context, number: int, params: Any, state: Dict[str, Any]
) -> Optional[Dict[str, Any]]:
    sampled = [
        name
        for name, plain in SAMPLING.items()
        if dict(params).get(name, plain) not in (plain, None)
    ]
    if not sampled:
        return state
    # Exact repetition is worth more than the time it costs, as long as that is short.
    if state["seconds"] < REPEAT_BELOW_S:
        return None
    run.journal.warn(
        f"fit {number} samples ({', '.join(sampled)}) and continues at round {state['round']}:"
        " later rounds draw other rows and columns, so the continuation is not guaranteed to be identical"
    )
    return state


class BoosterFit:
    """One call of `xgboost.train` or `lightgbm.train` by the script."""

    def __init__(
        self, run: Context, original: Callable[..., Any], call: Dict[str, Any], continued: Any
    ) -> None:
        self.run = run
        self.original = original
        self.call = call
        self.continued = continued
        self.number = run.next_fit()
        self.store = checkpoint.Store(run.fit_folder(self.number), run.work)

    def train(self) -> Any:
        """Train, resume, or return the booster of a finished training."""
        run = self.run
        state = None
        with run.journal.guard("load checkpoint"):
            state = proof.load(self.store, run.journal, self.number)
        if state is not None and "result" in state:
            with run.journal.guard("restore fit"):
                return self._restore(state)
        self._journal(
            "started" if state is None else "resumed", 0 if state is None else state["round"]
        )
        began = time.monotonic() - (0.0 if state is None else state["seconds"])
        run.nested += 1
        try:
            booster = _train_rounds(
                run, self.number, self.store, state, self.original, self.call, self.continued
            )
        finally:
            run.nested -= 1
        with run.journal.guard("finish fit"):
            self._finish(booster, time.monotonic() - began)
        self._record_training(booster)
        return booster

    def _record_training(self, booster: Any) -> None:
        self.run.models[self.number] = booster
        with self.run.journal.guard("training examples"):
            data = next(
                (self.call[name] for name in ("dtrain", "train_set") if name in self.call), None
            )
            self.run.evaluations.trainings.add(booster, data, None)
            self.run.leaks.record_training(booster, data, None)

    def _journal(self, state: str, epoch: int) -> None:
        framework = self.original.__module__.split(".")[0]
        self.run.journal.write(
            protocol.EVENT_FIT,
            fit=self.number,
            framework=framework,
            model="Booster",
            state=state,
            epoch=epoch,
            epochs=self.call["num_boost_round"],
        )

    def _named_callbacks(self) -> List[Tuple[str, Any]]:
        return [
            (f"{i}-{type(callback).__name__}", callback)
            for i, callback in enumerate(self.call.get("callbacks") or [])
        ]

    def _finish(self, booster: Any, trained_s: float) -> None:
        state = {
            "result": pickle.dumps(booster, protocol=4),
            "evals_result": copy.deepcopy(self.call.get("evals_result")),
            "callbacks": objects.capture(objects.find_places(self._named_callbacks()), {})[0],
            "random": rng.capture(),
            "files": self.store.snapshot_files(),
            "seconds": trained_s,
        }
        self.run.journal.write(
            protocol.EVENT_FIT_END, fit=self.number, epochs=self.call["num_boost_round"], metrics={}
        )

        def durable(size: int, seconds: float) -> None:
            if size:
                self.run.journal.write(
                    protocol.EVENT_CHECKPOINT,
                    fit=self.number,
                    epoch=0,
                    bytes=size,
                    seconds=round(seconds, 4),
                    done=True,
                )
                self.run.finished.add(self.store, trained_s)

        self.run.writer.submit(self.store, state, durable)

    def _restore(self, state: Dict[str, Any]) -> Any:
        booster = pickle.loads(state["result"])
        if state["evals_result"] is not None and self.call.get("evals_result") is not None:
            objects.update_in_place(self.call["evals_result"], state["evals_result"])
        objects.restore(
            objects.find_places(self._named_callbacks()),
            state["callbacks"],
            self._named_callbacks(),
        )
        self.store.restore_files(state["files"])
        rng.restore(state["random"])
        self._journal("restored", 0)
        self.run.finished.add(self.store, state["seconds"])
        self._record_training(booster)
        return booster


def _continue_xgboost(rounds: Rounds, call: Dict[str, Any]) -> None:
    if rounds.state is None:
        return
    import xgboost

    call["xgb_model"] = xgboost.Booster(
        params=call["params"], model_file=bytearray(rounds.state["booster"]["model"])
    )
    call["num_boost_round"] -= rounds.rounds_done


def _xgboost_state(model: Any) -> Dict[str, Any]:
    return {"model": bytes(model.save_raw("ubj")), "config": model.save_config()}


def _patch_xgboost_booster(module: Any) -> None:
    update = module.Booster.update

    @functools.wraps(update)
    def update_(self: Any, dtrain: Any, iteration: int, *args: Any, **kwargs: Any) -> Any:
        return update(
            self, dtrain, iteration + (ACTIVE[-1].rounds_done if ACTIVE else 0), *args, **kwargs
        )

    module.Booster.update = update_


def _patch_xgboost_callbacks(module: Any) -> None:
    container = module.CallbackContainer
    training = container.before_training
    before = container.before_iteration
    after = container.after_iteration

    @functools.wraps(training)
    def before_training(self: Any, model: Any) -> Any:
        model = training(self, model)
        if ACTIVE and not self.is_cv:
            if ACTIVE[-1].state is not None:
                booster = ACTIVE[-1].state["booster"]
                # The parameters as well: a learning-rate schedule sets those of the next round.
                model.load_config(booster["config"])
                # In place, because callbacks may refer to the history object already.
                objects.update_in_place(self.history, ACTIVE[-1].state["history"])
            ACTIVE[-1].adopt(list(self.callbacks))
        return model

    @functools.wraps(before)
    def before_iteration(self: Any, model: Any, epoch: int, *args: Any) -> bool:
        return bool(before(self, model, epoch + (ACTIVE[-1].rounds_done if ACTIVE else 0), *args))

    @functools.wraps(after)
    def after_iteration(self: Any, model: Any, epoch: int, *args: Any) -> bool:
        # Cross-validation trains several boosters in turn, so a round does not belong to one of
        # them.
        if not ACTIVE or self.is_cv:
            return bool(after(self, model, epoch, *args))
        rounds = ACTIVE[-1]
        stop = bool(after(self, model, epoch + rounds.rounds_done, *args))
        # The round that stops the training is not stored: the finished booster follows at once.
        if not stop:
            metrics = {
                f"{data}_{name}": values[-1]
                for data, of in self.history.items()
                for name, values in of.items()
            }
            with rounds.run.journal.guard("end round"):
                rounds.end(
                    epoch + rounds.rounds_done + 1,
                    metrics,
                    functools.partial(_xgboost_state, model),
                    self.history,
                )
        return stop

    container.before_training, container.before_iteration = before_training, before_iteration
    container.after_iteration = after_iteration


def _continue_lightgbm(rounds: Rounds, call: Dict[str, Any]) -> None:
    callbacks = list(call.get("callbacks") or [])
    rounds.adopt(callbacks)
    begin: List[int] = []

    def end_round(environment: Any) -> None:
        begin[:] = begin or [environment.begin_iteration]
        metrics = {
            f"{entry[0]}_{entry[1]}": float(entry[2])
            for entry in environment.evaluation_result_list or []
        }
        with rounds.run.journal.guard("end round"):
            model = environment.model
            rounds.end(
                environment.iteration - begin[0] + 1,
                metrics,
                lambda: model.model_to_string(num_iteration=-1),
            )

    # Last, so that the checkpoint contains the state of all other callbacks after the round.
    end_round.order = 1000  # type: ignore[attr-defined]
    call["callbacks"] = [*callbacks, end_round]
    if rounds.state is None:
        return
    import lightgbm

    aliases = lightgbm.basic._ConfigAliases.get("num_iterations")
    limits = [value for name, value in call["params"].items() if name in aliases]
    call["params"] = {name: value for name, value in call["params"].items() if name not in aliases}
    # An alias in `params` takes precedence over the argument, so both are reduced to one.
    call["num_boost_round"] = (limits or [call["num_boost_round"]])[0] - rounds.rounds_done
    call["init_model"] = lightgbm.Booster(model_str=rounds.state["booster"])


def _patch_lightgbm_callbacks(module: Any) -> None:
    environment = module.CallbackEnv
    stopping = module._EarlyStoppingCallback
    init = stopping.__init__

    @functools.wraps(environment)
    def environment_(*args: Any, **kwargs: Any) -> Any:
        current = environment(*args, **kwargs)
        if not ACTIVE or not ACTIVE[-1].rounds_done or module._is_using_cv(current):
            return current
        begin = current.begin_iteration - ACTIVE[-1].rounds_done
        return environment(
            current.model,
            current.params,
            current.iteration,
            begin,
            current.end_iteration,
            current.evaluation_result_list,
        )

    @functools.wraps(init)
    def init_(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if ACTIVE:
            ACTIVE[-1].adopt([self])

    module.CallbackEnv, stopping.__init__ = environment_, init_
