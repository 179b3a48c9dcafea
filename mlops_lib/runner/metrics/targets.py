"""Targets: the number of a constant model, and the inputs that they belong to.

Many scripts compare predictions with targets themselves (`np.mean(model.predict(x_test) ==
y_test)`), or never measure at all. Inputs and targets from one `train_test_split` or one of Keras'
data sets belong together, so the comparison can be made for them.
"""

import functools
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import columns, example_hashes, predictions

MAX_SPLITS = 8
DATASETS = (
    "mnist",
    "fashion_mnist",
    "cifar10",
    "cifar100",
    "imdb",
    "reuters",
    "boston_housing",
    "california_housing",
)


def majority(y: Any) -> Optional[Dict[str, Any]]:
    """Return the share of the most frequent class, or None if there are no classes."""
    import numpy

    labels = classes_of(y)
    if labels is None or not len(labels):
        return None
    _, counts = numpy.unique(labels, return_counts=True)
    return {"name": "majority class", "value": float(counts.max() / counts.sum())}


def constant_baseline(y: Any, metric: str) -> Optional[Dict[str, Any]]:
    """Return the number of a model that always predicts the mean; None if undefined.

    It is defined for metrics of regression.
    """
    import numpy

    if y is None or not hasattr(y, "__len__"):
        return None
    values = numpy.asarray(y)
    if values.dtype.kind not in "iufb" or not len(values):
        return None
    errors = values.astype("float64") - values.mean(axis=0)
    measures = {
        "mae": numpy.abs,
        "mean_absolute_error": numpy.abs,
        "mse": numpy.square,
        "mean_squared_error": numpy.square,
    }
    if metric in measures:
        return {"name": "mean", "value": float(measures[metric](errors).mean())}
    if metric in ("rmse", "root_mean_squared_error"):
        return {"name": "mean", "value": float(numpy.sqrt(numpy.square(errors).mean()))}
    return None


def classes_of(y: Any) -> Any:
    """Return targets as one label per example; None for numbers that are not classes.

    One-hot rows become their index.
    """
    import numpy

    if y is None or not hasattr(y, "__len__"):
        return None
    labels = numpy.asarray(y)
    if labels.ndim == 0 or labels.dtype.kind not in "iufbOUS":
        return None
    if labels.ndim > 1 and labels.shape[-1] > 1:
        if (
            labels.dtype.kind not in "iufb"
            or not (labels.reshape(-1, labels.shape[-1]).sum(axis=1) == 1).all()
        ):
            return None
        labels = labels.argmax(axis=-1)
    labels = labels.ravel()
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    if labels.dtype.kind == "f" and not (labels == labels.round()).all():
        return None
    if labels.dtype.kind in "iuf" and len(numpy.unique(labels)) > max(100, len(labels) // 3):
        return None
    return labels


class Split(NamedTuple):
    """Inputs and targets that belong together."""

    x_train: Any
    x_test: Any
    y_test: Any


_SPLITS: List[Split] = []


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for functions that split data."""

    def selection(module: ModuleType) -> None:
        with run.journal.guard("patch train_test_split"):
            module.train_test_split = _splitting(run, module.train_test_split, _of_split)  # type: ignore[attr-defined]

    def dataset(module: ModuleType) -> None:
        with run.journal.guard("patch load_data"):
            module.load_data = _splitting(run, module.load_data, _of_dataset)  # type: ignore[attr-defined]

    return {
        "sklearn.model_selection._split": selection,
        **{f"keras.src.datasets.{name}": dataset for name in DATASETS},
    }


def _splitting(
    run: Context, original: Callable[..., Any], read: Callable[[Any], Optional[Split]]
) -> Any:
    @functools.wraps(original)
    def split(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        with run.journal.guard(original.__name__):
            pair = None if run.nested else read(result)
            if pair is not None:
                _SPLITS.append(pair)
                del _SPLITS[:-MAX_SPLITS]
            if not run.nested and isinstance(result, list):
                columns.remember_split(result)
        return result

    return split


def _of_split(result: Any) -> Optional[Split]:
    if len(result) != 4:  # with three arrays or more, the target is unknown
        return None
    x_train, x_test, _, y_test = result
    return Split(x_train, x_test, y_test)


def _of_dataset(result: Any) -> Optional[Split]:
    (x_train, _), (x_test, y_test) = result
    return Split(x_train, x_test, y_test)


def measure(run: Context) -> None:
    """Measure the model of a script without a recognized held-out evaluation."""
    own = [r for r in run.evaluations.records if not str(r["source"]).startswith("fit.training")]
    # The script's own measurement takes precedence over anything that is computed for it.
    if any(r["held_out"] is not False and r["source"] != "fit.validation" for r in own):
        return
    compared = _last_comparable_prediction(run)
    if compared is None and not any(r["source"] == "fit.validation" for r in own):
        compared = _omitted_prediction(run)
    if compared is not None:
        _add_evaluation(run, *compared)


def _last_comparable_prediction(run: Context) -> "Optional[Tuple[predictions.Prediction, Any]]":
    """Return the script's last prediction on inputs with known targets."""
    for prediction in predictions.newest_first():
        if getattr(prediction.model, "is_judged_by_its_calls", False):
            continue
        y = _target_of(prediction)
        if y is None:
            continue
        held_out = run.evaluations.trainings.is_held_out(
            prediction.model, prediction.x, example_hashes.examples(prediction.x)
        )
        if held_out is not False:
            return prediction, y
    return None


def _target_of(prediction: predictions.Prediction) -> Any:
    if hasattr(prediction.x, "get_label"):  # XGBoost's DMatrix
        labels = prediction.x.get_label()
        return labels if len(labels) else None
    return next(
        (split.y_test for split in reversed(_SPLITS) if _is_test_part(prediction, split)), None
    )


def _is_test_part(prediction: predictions.Prediction, split: Split) -> bool:
    """Return whether a prediction's input is the split's test part.

    It is the same object, or was derived from it example by example (scaled, vectorised): then no
    other part has the same number of examples.
    """
    if prediction.x is split.x_test:
        return True
    count = _length(prediction.x)
    # A unique number of examples is the only trace that a derived input keeps.
    lengths = [_length(part) for other in _SPLITS for part in (other.x_train, other.x_test)]
    return count is not None and count == _length(split.x_test) and lengths.count(count) == 1


def _length(x: Any) -> Optional[int]:
    shape = getattr(x, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    return len(x) if hasattr(x, "__len__") else None


def _omitted_prediction(run: Context) -> "Optional[Tuple[predictions.Prediction, Any]]":
    """Return a prediction of the last model on the test part of its training's split.

    The script itself did not make it.
    """
    for number in sorted(run.models, reverse=True):
        model = run.models[number]
        for training in run.evaluations.trainings:
            for split in _SPLITS:
                if (
                    training.model() is model
                    and training.x() is split.x_train
                    and hasattr(model, "predict")
                ):
                    output = predictions.predict(model, "predict", split.x_test)
                    return predictions.Prediction(
                        model, "predict", split.x_test, output, number
                    ), split.y_test
    return None


def _add_evaluation(run: Context, prediction: predictions.Prediction, y: Any) -> None:
    truth = classes_of(y)
    common: Dict[str, Any] = {
        "source": "compared",
        "fit": prediction.fit,
        "examples": example_hashes.examples(prediction.x),
        "x": prediction.x,
        "count": _length(y),
        "model": prediction.model,
    }
    if truth is None:
        _add_regression(run, prediction, y, common)
        return
    if not _can_predict(prediction.output, truth):
        return

    def agreement(truth: Any, output: Any) -> float:
        return float((guess(output, truth) == truth).mean())

    run.evaluations.add(
        metric="accuracy",
        value=agreement(truth, prediction.output),
        task="classification",
        baseline=majority(y),
        repeat=lambda model, without: prediction.measure(
            model, truth, agreement, without=without, baseline=majority
        ),
        recipe=_recipe("accuracy", prediction, y),
        xy=(prediction.x, y) if hasattr(prediction.x, "shape") else None,
        **common,
    )


def _recipe(metric: str, prediction: predictions.Prediction, y: Any) -> Any:
    """Return the recipe of the number and its examples."""
    from mlops_lib.runner.metrics import recipes

    return recipes.Recipe(recipes.COMPARED, metric, method=prediction.method), recipes.Examples(
        prediction.x, y
    )


def _can_predict(output: Any, truth: Any) -> bool:
    """Return whether an output can be a prediction of these labels.

    The output of an autoencoder, for instance, has as many columns as its input.
    """
    import numpy

    shape = numpy.shape(output)
    if not shape or shape[0] != len(truth) or len(shape) > 2:
        return False
    columns = shape[1] if len(shape) == 2 else 1
    classes = len(numpy.unique(truth))
    highest = int(truth.max()) + 1 if truth.dtype.kind in "iuf" else classes
    return columns == 1 or columns in (classes, highest)


def guess(output: Any, truth: Any) -> Any:
    """Return a model's output as labels of the truth's type."""
    import numpy

    labels = numpy.asarray(output)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        labels = labels.argmax(axis=-1)
    elif labels.dtype.kind == "f" and not (labels == labels.round()).all():
        labels = labels > 0.5
    labels = labels.ravel()
    return labels.astype(str) if truth.dtype.kind in "US" else labels.astype(truth.dtype)


def _add_regression(
    run: Context, prediction: predictions.Prediction, y: Any, common: Dict[str, Any]
) -> None:
    import numpy

    truth = numpy.asarray(y, dtype="float64").ravel()
    if numpy.size(prediction.output) != len(truth):
        return

    def r2(truth: Any, output: Any) -> float:
        errors = truth - numpy.asarray(output, dtype="float64").ravel()
        return float(1.0 - numpy.square(errors).sum() / numpy.square(truth - truth.mean()).sum())

    def baseline(truth: Any) -> Dict[str, Any]:
        return {"name": "mean", "value": 0.0}

    errors = truth - numpy.asarray(prediction.output, dtype="float64").ravel()
    everything = {
        "r2": r2(truth, prediction.output),
        "mae": float(numpy.abs(errors).mean()),
        "mse": float(numpy.square(errors).mean()),
        "rmse": float(numpy.sqrt(numpy.square(errors).mean())),
    }
    run.evaluations.add(
        metric="r2",
        value=everything["r2"],
        task="regression",
        baseline=baseline(truth),
        everything=everything,
        repeat=lambda model, without: prediction.measure(
            model, truth, r2, without=without, baseline=baseline
        ),
        recipe=_recipe("r2", prediction, y),
        **common,
    )
