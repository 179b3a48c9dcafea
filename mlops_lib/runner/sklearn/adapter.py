"""Adapter for scikit-learn: restore finished fits, record scores and metrics.

Every estimator, XGBoost's and LightGBM's included, derives from `sklearn.base.BaseEstimator`. Its
methods are wrapped when its class is created. Calls of one estimator by another (a pipeline's
steps, a grid search's candidates) happen within the outer call and are left alone.
"""

import functools
import os
import pickle
import sys
import time
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Set

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import example_hashes, preparation
from mlops_lib.runner.sklearn import evaluation
from mlops_lib.runner.state import atomic, checkpoint, proof, rng


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for scikit-learn."""

    def base(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn.base"):
            _patch_base(module, run)

    return {"sklearn.base": base, **evaluation.install(run)}


def _patch_base(module: Any, run: Context) -> None:
    estimator_class = module.BaseEstimator
    # Before 1.2 it was object's own.
    plain = getattr(estimator_class.__init_subclass__, "__func__", lambda cls, **kwargs: None)
    wrapped_mixins: Set[Any] = set()

    def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:  # noqa: N807 - the hook Python calls
        plain(cls, **kwargs)
        # A mixin is not an estimator (LogisticRegression predicts by one): it is wrapped when an
        # estimator inherits from it.
        for mixin in cls.__mro__[1:]:
            if (
                mixin is not object
                and mixin not in wrapped_mixins
                and not issubclass(mixin, estimator_class)
            ):
                wrapped_mixins.add(mixin)
                _wrap_prediction(mixin, run)
                _wrap_preparation(mixin, run)
        _instrument(cls, run)

    estimator_class.__init_subclass__ = classmethod(__init_subclass__)
    for mixin, metric in ((module.ClassifierMixin, "accuracy"), (module.RegressorMixin, "r2")):
        mixin.score = evaluation.score(run, mixin.score, metric)


def _instrument(cls: Any, run: Context) -> None:
    """Wrap the methods that this class itself defines."""
    own = vars(cls)
    if callable(own.get("fit")):
        cls.fit = _fit(run, own["fit"])
    _wrap(cls, own.get("partial_fit"), "partial_fit", functools.partial(_partial_fit, run))
    _wrap(cls, own.get("score"), "score", lambda method: evaluation.score(run, method, None))
    _wrap_prediction(cls, run)
    _wrap_preparation(cls, run)


def _wrap_preparation(cls: Any, run: Context) -> None:
    for name, watch in preparation.METHODS.items():
        _wrap(cls, vars(cls).get(name), name, functools.partial(_observed, run, watch))


def _observed(
    run: Context, watch: Callable[..., Any], original: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a transformer's or sampler's method that records the rows of its fit."""

    @functools.wraps(original)
    def prepare(self: Any, *args: Any, **kwargs: Any) -> Any:
        # With `predict` it is a model, or a pipeline that may end in one.
        if run.nested or hasattr(type(self), "predict"):
            return original(self, *args, **kwargs)
        return watch(run.leaks.preparations, run.journal, original, self, args, kwargs)

    return prepare


def _wrap_prediction(cls: Any, run: Context) -> None:
    for name in ("predict", "predict_proba", "decision_function"):
        _wrap(cls, vars(cls).get(name), name, functools.partial(evaluation.predict, run, name=name))


def _wrap(cls: Any, method: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Wrap a method.

    A method behind `available_if` (of a pipeline or a search) keeps its descriptor and condition.
    """
    if hasattr(method, "fn") and hasattr(method, "check"):
        method.fn = wrapper(method.fn)
    elif hasattr(method, "__code__"):
        setattr(cls, name, wrapper(method))


def _fit(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(self, *args, **kwargs)
        if not hasattr(type(self), "predict"):
            return preparation.fit(
                run.leaks.preparations, run.journal, original, self, args, kwargs
            )
        return EstimatorFit(run, self, original, args, kwargs).run()

    return fit


def _partial_fit(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def partial_fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        # Without `predict` it is a scaler or another transformer, whose own fit calls partial_fit.
        if run.nested or not hasattr(type(self), "predict"):
            return original(self, *args, **kwargs)
        run.warn_custom_loop(
            "partial_fit", resumable="a call of `fit`, or a search over candidates,"
        )
        run.journal.progress("fit")
        return evaluation.call_nested(run, original, self, *args, **kwargs)

    return partial_fit


class EstimatorFit:
    """One call of an estimator's `fit` by the script."""

    def __init__(
        self, run: Context, estimator: Any, original: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        self.context = run
        self.estimator = estimator
        self.original = original
        self.args = args
        self.kwargs = kwargs
        self.number = run.next_fit()
        self.store = checkpoint.Store(run.fit_folder(self.number), run.work)
        self.loops = 0
        """Number of loops over candidates within it so far."""
        self.rounds: Optional[Dict[str, Any]] = None
        """The checkpoint of a boosting that was killed within this fit."""

    @property
    def x(self) -> Any:
        """The training input."""
        return self.args[0] if self.args else self.kwargs.get("X")

    @property
    def y(self) -> Any:
        """The training target."""
        return self.args[1] if len(self.args) > 1 else self.kwargs.get("y")

    def run(self) -> Any:
        """Fit, or restore the fitted estimator."""
        run = self.context
        state = None
        with run.journal.guard("load checkpoint"):
            state = proof.load(self.store, run.journal, self.number)
        restored = False
        if state is not None and "booster" in state:
            self.rounds, state = state, None
        if state is not None:
            with run.journal.guard("restore fit"):
                graft(self.estimator, pickle.loads(state["estimator"]))
                self.store.restore_files(state["files"])
                # The script draws on from where the fit left the generators.
                rng.restore(state["random"])
                run.finished.add(self.store, state["seconds"])
                restored = True
        result = self.estimator
        if restored:
            self._journal("restored")
        else:
            self._journal("started" if self.rounds is None else "resumed")
            began = time.monotonic()
            run.estimator_fit = self
            try:
                result = evaluation.call_nested(
                    run, self.original, self.estimator, *self.args, **self.kwargs
                )
            finally:
                run.estimator_fit = None
            run.journal.progress("script")
            with run.journal.guard("finish fit"):
                self._finish(time.monotonic() - began)
        with run.journal.guard("training examples"):
            run.evaluations.trainings.add(self.estimator, self.x, example_hashes.examples(self.x))
            run.leaks.record_training(self.estimator, self.x, self.y)
            evaluation.add_search(run, self.estimator, self.number, self.x)
        run.models[self.number] = self.estimator
        request = run.spec.search
        if (
            request is not None
            and int(request.get("fit", 0)) == self.number
            and run.search is not None
        ):
            evaluation.call_nested(run, run.search, self, None)
        return result

    def _journal(self, state: str) -> None:
        name = type(self.estimator).__name__
        self.context.journal.write(
            protocol.EVENT_FIT,
            fit=self.number,
            framework="sklearn",
            model=name,
            state=state,
            epochs=1,
            epoch=0,
        )
        self.context.journal.progress("fit", fit=self.number)

    def _finish(self, seconds: float) -> None:
        run = self.context
        run.journal.write(
            protocol.EVENT_FIT_END, fit=self.number, epochs=1, seconds=round(seconds, 4), metrics={}
        )
        try:
            content = pickle.dumps(self.estimator, protocol=4)
        except Exception as error:  # noqa: BLE001 - a user's estimator may fail in any way
            run.journal.warn(
                f"fit {self.number} cannot be stored ({error}): a restart fits it again"
            )
            return
        if _is_plain(self.estimator):
            # Pickling loses the identity of equal numbers. With the unpickled state the estimator
            # is the same from here on as after a restart, to the byte of its next pickle.
            graft(self.estimator, pickle.loads(content))
        try:
            state = {
                "estimator": content,
                "random": rng.capture(),
                "files": self.store.snapshot_files(),
                "seconds": seconds,
            }
        except OSError as error:
            run.journal.warn(checkpoint.describe_write_error(error))
            return

        def durable(size: int, took: float) -> None:
            if size:
                run.journal.write(
                    protocol.EVENT_CHECKPOINT,
                    fit=self.number,
                    epoch=0,
                    bytes=size,
                    seconds=round(took, 4),
                    done=True,
                )
                run.finished.add(self.store, seconds)

        run.writer.submit(self.store, state, durable)


def graft(old: Any, new: Any) -> None:
    """Make `old` the fitted `new` in place.

    Estimators within it, to which the script may refer, stay the same objects.
    """
    _Graft().estimator(old, new)


class _Graft:
    """Copy an estimator's state; shared objects stay shared.

    Pickled again, both estimators then have the same bytes.
    """

    def __init__(self) -> None:
        self._replacements: Dict[int, Any] = {}
        self._alive: List[Any] = []

    def estimator(self, old: Any, new: Any) -> None:
        """Copy the attributes of one estimator, or a part of one, to the other."""
        self._register(old, new)
        for name, value in list(vars(new).items()):
            # The script has no references to private attributes: they are replaced.
            before = None if name.startswith("_") else vars(old).get(name)
            vars(old)[name] = self._value(before, value)

    def _register(self, old: Any, new: Any) -> None:
        self._replacements[id(new)] = old
        # The ids above are keys: an object that was freed could share its id with another one.
        self._alive.append(new)

    def _value(self, old: Any, new: Any) -> Any:
        if id(new) in self._replacements:
            return self._replacements[id(new)]
        if type(old) is not type(new):
            old = None
        if hasattr(new, "get_params") and hasattr(new, "__dict__") and not isinstance(new, type):
            target = new if old is None else old
            self.estimator(target, new)
            return target
        if type(new).__name__ == "RandomState" and old is not None:
            self._register(old, new)
            old.set_state(new.get_state())  # the script may draw from it too
            return old
        if isinstance(new, list):
            target = old if old is not None and len(old) == len(new) else new
            self._register(target, new)
            target[:] = [
                self._value(before, after) for before, after in zip(list(target), list(new))
            ]
            return target
        if type(new) is tuple:
            before = old if old is not None and len(old) == len(new) else new
            after = tuple(self._value(first, second) for first, second in zip(before, new))
            return new if all(first is second for first, second in zip(after, new)) else after
        if isinstance(new, dict):
            self._register(new, new)
            for key, value in list(new.items()):
                new[key] = self._value(None, value)
        return new


def _is_plain(estimator: Any) -> bool:
    """Return whether all parts are scikit-learn's own.

    Those survive pickling unchanged.
    """
    parts = [estimator, *estimator.get_params(deep=True).values()]
    return all(
        type(part).__module__.startswith("sklearn.")
        for part in parts
        if hasattr(part, "get_params")
    )


def fit_on_everything(run: Context, estimator: Any, x: Any, y: Any) -> None:
    """Train the model of a cross-validation on all of its examples."""
    fresh = sys.modules["sklearn.base"].clone(estimator)
    fresh.fit(x, y)
    for record in run.evaluations.records:
        if str(record["source"]).startswith("sklearn.model_selection."):
            record["fit"] = run.fits


def save(run: Context, model: Any, fit: Optional[int]) -> Dict[str, Any]:
    """Save the estimator, load it again, and repeat its evaluations on the loaded one.

    Returns:
        the record of the model for metrics.json.
    """
    import joblib

    path = os.path.join(run.spec.inside, protocol.JOBLIB_MODEL)
    described: Dict[str, Any] = {
        "path": protocol.JOBLIB_MODEL,
        "framework": "sklearn",
        "fit": fit,
        "class": type(model).__name__,
        "reloaded": False,
        "note": "",
        "architecture": repr(model).splitlines(),
    }
    temporary = os.path.join(run.spec.inside, ".model.joblib")
    try:
        joblib.dump(model, temporary)
        os.replace(temporary, path)
        described.update(bytes=os.path.getsize(path), sha256=atomic.digest(path))
        loaded = joblib.load(path)
    except Exception as error:  # noqa: BLE001 - a user's estimator may fail in any way
        described["note"] = (
            f"the model cannot be saved and loaded: {type(error).__name__}: {error}"[:1000]
        )
        return described
    described["reloaded"] = True
    evaluation.call_nested(run, run.evaluations.remeasure, loaded, model)
    return described
