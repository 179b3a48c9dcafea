"""scikit-learn around the script: a finished `fit` is not repeated, scores and metric calls are remembered.

Every estimator, XGBoost's and LightGBM's included, derives from `sklearn.base.BaseEstimator`: its methods are wrapped
when its class is made. What one estimator calls on another (a pipeline's steps, a grid search's candidates) happens
inside the outer call and is left alone.
"""

import functools
import os
import pickle
import sys
import time
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner import checkpoint, digest, predictions, randomness
from mlops_lib.runner.context import Context

CLASSIFICATION = {
    "accuracy_score": "accuracy", "balanced_accuracy_score": "balanced_accuracy", "f1_score": "f1",
    "precision_score": "precision", "recall_score": "recall", "roc_auc_score": "roc_auc", "log_loss": "log_loss",
    "matthews_corrcoef": "mcc", "cohen_kappa_score": "kappa",
}  # fmt: skip
REGRESSION = {
    "r2_score": "r2", "mean_absolute_error": "mae", "mean_squared_error": "mse", "root_mean_squared_error": "rmse",
    "median_absolute_error": "median_absolute_error", "mean_absolute_percentage_error": "mape",
}  # fmt: skip


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """The import hooks for scikit-learn."""

    def base(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn.base"):
            _patch_base(module, run)

    def metrics(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn.metrics"):
            for name, metric in {**CLASSIFICATION, **REGRESSION}.items():
                if hasattr(module, name):
                    setattr(module, name, _metric_function(run, getattr(module, name), metric))

    def selection(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn.model_selection"):
            for name in ("cross_val_score", "cross_validate", "cross_val_predict"):
                setattr(module, name, _cross_validation(run, getattr(module, name)))

    return {"sklearn.base": base, "sklearn.metrics": metrics, "sklearn.model_selection": selection}


def _patch_base(module: Any, run: Context) -> None:
    estimator_class = module.BaseEstimator
    plain = estimator_class.__init_subclass__.__func__

    def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:  # noqa: N807 - the hook Python calls
        plain(cls, **kwargs)
        _instrument(cls, run)

    estimator_class.__init_subclass__ = classmethod(__init_subclass__)
    for mixin, metric in ((module.ClassifierMixin, "accuracy"), (module.RegressorMixin, "r2")):
        mixin.score = _score(run, mixin.score, metric)


def _instrument(cls: Any, run: Context) -> None:
    """Wrap the methods that this class itself defines."""
    own = vars(cls)
    if callable(own.get("fit")):
        cls.fit = _fit(run, own["fit"])
    _wrap(cls, own.get("score"), "score", lambda method: _score(run, method, None))
    for name in ("predict", "predict_proba", "decision_function"):
        _wrap(cls, own.get(name), name, functools.partial(_predict, run, name=name))


def _wrap(cls: Any, method: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Wrap a method; one behind `available_if` (a pipeline's, a search's) keeps its descriptor and its condition."""
    if hasattr(method, "fn") and hasattr(method, "check"):
        method.fn = wrapper(method.fn)
    elif hasattr(method, "__code__"):
        setattr(cls, name, wrapper(method))


def _outermost(run: Context, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    run.nested += 1
    try:
        return function(*args, **kwargs)
    finally:
        run.nested -= 1


def _fit(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested or not hasattr(type(self), "predict"):
            return original(self, *args, **kwargs)
        return EstimatorFit(run, self, original, args, kwargs).run()

    return fit


class EstimatorFit:
    """One call of an estimator's `fit` by the script."""

    def __init__(self, run: Context, estimator: Any, original: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.context, self.estimator, self.original, self.args, self.kwargs = run, estimator, original, args, kwargs
        self.number = run.next_fit()
        self.store = checkpoint.Store(run.fit_folder(self.number), run.work)

    @property
    def x(self) -> Any:
        """The training input."""
        return self.args[0] if self.args else self.kwargs.get("X")

    @property
    def y(self) -> Any:
        """The training target."""
        return self.args[1] if len(self.args) > 1 else self.kwargs.get("y")

    def run(self) -> Any:
        """Fit, or restore what had been fitted."""
        run = self.context
        state = None
        with run.journal.guard("load checkpoint"):
            state = self.store.load()
        restored = False
        if state is not None:
            with run.journal.guard("restore fit"):
                graft(self.estimator, pickle.loads(state["estimator"]))
                self.store.put_files_back(state["files"])
                randomness.put(state["random"])
                restored = True
        result = self.estimator
        if restored:
            self._journal("restored")
        else:
            self._journal("started")
            began = time.monotonic()
            result = _outermost(run, self.original, self.estimator, *self.args, **self.kwargs)
            with run.journal.guard("finish fit"):
                self._finish(time.monotonic() - began)
        with run.journal.guard("training examples"):
            seen = digest.examples(self.x)
            if seen is not None:
                run.evaluations.trained_on.append(seen)
        run.models[self.number] = self.estimator
        request = run.spec.search
        if request is not None and int(request.get("fit", 0)) == self.number and run.search is not None:
            _outermost(run, run.search, self, None)
        return result

    def _journal(self, state: str) -> None:
        name = type(self.estimator).__name__
        self.context.journal.write(
            "fit", fit=self.number, framework="sklearn", model=name, state=state, epochs=1, epoch=0
        )
        self.context.journal.progress("fit", fit=self.number)

    def _finish(self, seconds: float) -> None:
        run = self.context
        run.journal.write("fit_end", fit=self.number, epochs=1, seconds=round(seconds, 4), metrics={})
        try:
            content = pickle.dumps(self.estimator, protocol=4)
        except Exception as error:  # noqa: BLE001 - a user's own estimator may fail to pickle in any way
            run.journal.warn(f"fit {self.number} cannot be stored ({error}): a restart fits it again")
            return
        state = {"estimator": content, "random": randomness.take(), "files": self.store.keep_files()}

        def durable(size: int, took: float) -> None:
            run.journal.write("checkpoint", fit=self.number, epoch=0, bytes=size, seconds=round(took, 4), done=True)

        run.writer.submit(self.store, state, durable)


def graft(old: Any, new: Any) -> None:
    """Make `old` the fitted `new` in place; estimators inside it that the script may hold stay the same objects."""
    for name, value in vars(new).items():
        vars(old)[name] = _grafted(vars(old).get(name), value)


def _grafted(old: Any, new: Any) -> Any:
    if type(old) is type(new):
        if hasattr(new, "get_params") and hasattr(new, "__dict__") and not isinstance(new, type):
            graft(old, new)
            return old
        if isinstance(new, list) and len(old) == len(new):
            old[:] = [_grafted(before, after) for before, after in zip(old, new)]
            return old
        if isinstance(new, tuple) and type(new) is tuple and len(old) == len(new):
            return tuple(_grafted(before, after) for before, after in zip(old, new))
    return new


def _predict(run: Context, original: Callable[..., Any], *, name: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(self, *args, **kwargs)
        result = _outermost(run, original, self, *args, **kwargs)
        with run.journal.guard("sklearn.predict"):
            x = args[0] if args else kwargs.get("X")
            if x is not None:
                predictions.remember(model=self, method=name, x=x, output=result, fit=_fit_of(run, self))
        return result

    return predict


def _fit_of(run: Context, estimator: Any) -> Optional[int]:
    return next((number for number in sorted(run.models, reverse=True) if run.models[number] is estimator), None)


def _score(run: Context, original: Callable[..., Any], metric: Optional[str]) -> Callable[..., Any]:
    @functools.wraps(original)
    def score(self: Any, *args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(self, *args, **kwargs)
        value = _outermost(run, original, self, *args, **kwargs)
        with run.journal.guard("sklearn.score"):
            x = args[0] if args else kwargs.get("X")
            y = args[1] if len(args) > 1 else kwargs.get("y")
            kind = getattr(self, "_estimator_type", None) or _kind(self)
            name = metric or {"classifier": "accuracy", "regressor": "r2"}.get(kind or "", "score")
            run.evaluations.add(
                metric=name, value=float(value), source="sklearn.score", fit=_fit_of(run, self), model=self,
                examples=digest.examples(x), task={"accuracy": "classification", "r2": "regression"}.get(name, "unknown"),
                baseline=_majority(y) if name == "accuracy" else {"name": "mean", "value": 0.0} if name == "r2" else None,
                repeat=lambda model: model.score(*args, **kwargs), asked=(x, y),
            )  # fmt: skip
        return value

    return score


def _kind(estimator: Any) -> Optional[str]:
    base = sys.modules["sklearn.base"]
    if base.is_classifier(estimator):
        return "classifier"
    return "regressor" if base.is_regressor(estimator) else None


def _majority(y: Any) -> Optional[Dict[str, Any]]:
    import numpy

    if y is None:
        return None
    _, counts = numpy.unique(numpy.asarray(y), return_counts=True)
    return {"name": "majority class", "value": float(counts.max() / counts.sum())}


def _metric_function(run: Context, original: Callable[..., Any], metric: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def measure(*args: Any, **kwargs: Any) -> Any:
        value = original(*args, **kwargs)
        if not run.nested:
            with run.journal.guard(original.__name__):
                run.nested += 1
                try:
                    _record_metric(run, original, metric, value, list(args), dict(kwargs))
                finally:
                    run.nested -= 1
        return value

    return measure


def _record_metric(
    run: Context, function: Callable[..., Any], metric: str, value: Any, args: List[Any], kwargs: Dict[str, Any]
) -> None:
    import numpy

    if numpy.ndim(value) != 0:
        return
    y = args.pop(0) if args else kwargs.pop("y_true")
    predicted = args.pop(0) if args else kwargs.pop("y_pred" if "y_pred" in kwargs else "y_score")
    classification = function.__name__ in CLASSIFICATION
    traced = predictions.trace(predicted)
    swapped = False
    if traced is None and predictions.trace(y) is not None:
        # accuracy_score(p, y): the number is the same, and scripts do it.
        traced, y, predicted, swapped = predictions.trace(y), predicted, y, True
    confusion, labels = _confusion(y, predicted) if classification else (None, None)
    baseline = _constant_baseline(function, y, args, kwargs, classification=classification)
    common: Dict[str, Any] = {
        "metric": metric, "value": float(value), "source": f"sklearn.metrics.{function.__name__}",
        "task": "classification" if classification else "regression", "baseline": baseline, "confusion": confusion,
        "labels": labels,
    }  # fmt: skip
    if traced is None:
        run.evaluations.add(fit=None, count=len(y), **common)
        return
    prediction, shape = traced

    def repeat(model: Any) -> float:
        again = shape(prediction.repeat(model))
        return float(function(again, y, *args, **kwargs) if swapped else function(y, again, *args, **kwargs))

    run.evaluations.add(
        fit=prediction.fit, examples=digest.examples(prediction.x), model=prediction.model, repeat=repeat,
        asked=(prediction.x, y), **common,
    )  # fmt: skip


def _constant_baseline(
    function: Callable[..., Any], y: Any, args: List[Any], kwargs: Dict[str, Any], *, classification: bool
) -> Optional[Dict[str, Any]]:
    """The same metric of a model that always answers the most frequent class, or the mean."""
    import warnings

    import numpy

    target = numpy.asarray(y)
    if target.ndim != 1 or function.__name__ in ("roc_auc_score", "log_loss"):
        return None
    if classification:
        classes, counts = numpy.unique(target, return_counts=True)
        constant, name = numpy.full(len(target), classes[counts.argmax()], dtype=target.dtype), "majority class"
    else:
        constant, name = numpy.full(len(target), target.mean()), "mean"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"name": name, "value": float(function(target, constant, *args, **kwargs))}


def _confusion(y: Any, predicted: Any) -> Any:
    import numpy

    truth, guess = numpy.asarray(y).ravel(), numpy.asarray(predicted).ravel()
    if truth.shape != guess.shape or (truth.dtype.kind == "f" and not (truth == truth.round()).all()):
        return None, None
    if guess.dtype.kind == "f" and not (guess == guess.round()).all():
        return None, None
    labels = numpy.unique(numpy.concatenate([truth, guess]))
    if len(labels) > 50:
        return None, None
    table: Any = numpy.zeros((len(labels), len(labels)), dtype=int)
    numpy.add.at(table, (numpy.searchsorted(labels, truth), numpy.searchsorted(labels, guess)), 1)
    return table.tolist(), [str(label) for label in labels.tolist()]


def _cross_validation(run: Context, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def cross_validate(*args: Any, **kwargs: Any) -> Any:
        if run.nested:
            return original(*args, **kwargs)
        result = _outermost(run, original, *args, **kwargs)
        with run.journal.guard(original.__name__):
            import numpy

            scores = result.get("test_score") if isinstance(result, dict) else result
            if original.__name__ != "cross_val_predict" and scores is not None:
                kind = _kind(args[0] if args else kwargs["estimator"])
                scoring = kwargs.get("scoring")
                usual = {"classifier": "accuracy", "regressor": "r2"}.get(kind or "", "score")
                x = args[1] if len(args) > 1 else kwargs.get("X")
                run.evaluations.add(
                    metric=scoring if isinstance(scoring, str) else usual, value=float(numpy.mean(scores)),
                    source=f"sklearn.model_selection.{original.__name__}", fit=None, examples=digest.examples(x),
                    held_out=True, task={"classifier": "classification", "regressor": "regression"}.get(kind or "", "unknown"),
                )  # fmt: skip
        return result

    return cross_validate


def save(run: Context, model: Any, fit: Optional[int]) -> Dict[str, Any]:
    """Save the estimator into the run directory, load it again, and repeat its evaluations on what was loaded."""
    import joblib

    path = os.path.join(run.spec.inside, "model.joblib")
    described: Dict[str, Any] = {
        "path": "model.joblib", "framework": "sklearn", "fit": fit, "class": type(model).__name__, "reloaded": False,
        "note": "", "architecture": repr(model).splitlines(),
    }  # fmt: skip
    temporary = os.path.join(run.spec.inside, ".model.joblib")
    try:
        joblib.dump(model, temporary)
        os.replace(temporary, path)
        described["bytes"] = os.path.getsize(path)
        loaded = joblib.load(path)
    except Exception as error:  # noqa: BLE001 - a user's own estimator may fail to pickle in any way
        described["note"] = f"the model cannot be saved and loaded: {type(error).__name__}: {error}"[:1000]
        return described
    described["reloaded"] = True
    _outermost(run, run.evaluations.repeat_on, loaded, model)
    return described
