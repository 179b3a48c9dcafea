"""`keras.wrappers.scikit_learn`: a function that builds a model, as an estimator."""

import copy
import inspect
from typing import Any, Callable, Dict, Optional

import numpy
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

FITTING = (
    "epochs",
    "nb_epoch",
    "batch_size",
    "verbose",
    "callbacks",
    "validation_split",
    "shuffle",
    "class_weight",
    "validation_data",
    "steps_per_epoch",
)
PREDICTING = ("batch_size", "verbose", "steps")


class _Wrapper(BaseEstimator):  # type: ignore[misc]
    """Common part of classifier and regressor: distribute arguments over builder and `fit`."""

    def __init__(self, build_fn: Optional[Callable[..., Any]] = None, **sk_params: Any) -> None:
        self.build_fn = build_fn
        self.sk_params = sk_params

    def get_params(self, deep: bool = True) -> Dict[str, Any]:
        """The arguments it was made with."""
        return {**copy.copy(self.sk_params), "build_fn": self.build_fn}

    def set_params(self, **params: Any) -> Any:
        """Change some of them."""
        if "build_fn" in params:
            self.build_fn = params.pop("build_fn")
        self.sk_params = {**self.sk_params, **params}
        return self

    def _chosen(self, names: Any, passed: Dict[str, Any]) -> Dict[str, Any]:
        return {**{key: value for key, value in self.sk_params.items() if key in names}, **passed}

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Build the model and train it; returns its History, as the old wrapper did."""
        builder = self.build_fn if self.build_fn is not None else self.__call__
        accepted = inspect.signature(builder).parameters
        self.model = builder(
            **{key: value for key, value in self.sk_params.items() if key in accepted}
        )
        loss = self.model.loss
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
        if name == "categorical_crossentropy" and len(numpy.shape(y)) != 2:
            from keras.utils import to_categorical

            y = to_categorical(y)
        self.history = self.model.fit(x, y, **self._chosen(FITTING, kwargs))
        self._fitted = True
        return self.history

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model")


class KerasClassifier(ClassifierMixin, _Wrapper):  # type: ignore[misc]
    """A classifier around a Keras model."""

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Train on class labels or one-hot rows."""
        labels = numpy.asarray(y)
        if labels.ndim == 2 and labels.shape[1] > 1:
            self.classes_ = numpy.arange(labels.shape[1])
        else:
            self.classes_ = numpy.unique(labels)
            y = numpy.searchsorted(self.classes_, labels)
        self.n_classes_ = len(self.classes_)
        return super().fit(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Class labels."""
        result = self.model.predict(x, **self._chosen(PREDICTING, kwargs))
        indices = (
            result.argmax(axis=-1)
            if result.shape[-1] > 1
            else (result > 0.5).astype("int32").ravel()
        )
        return self.classes_[indices]

    def predict_proba(self, x: Any, **kwargs: Any) -> Any:
        """Probabilities, a column for each class."""
        result = self.model.predict(x, **self._chosen(PREDICTING, kwargs))
        return numpy.hstack([1 - result, result]) if result.shape[1] == 1 else result

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The share of right answers."""
        labels = numpy.asarray(y)
        if labels.ndim == 2 and labels.shape[1] > 1:
            labels = labels.argmax(axis=1)
        return float((self.predict(x, **kwargs) == labels.ravel()).mean())


class KerasRegressor(RegressorMixin, _Wrapper):  # type: ignore[misc]
    """A regressor around a Keras model."""

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Values."""
        return numpy.squeeze(self.model.predict(x, **self._chosen(PREDICTING, kwargs)), axis=-1)

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """The negative loss, as the old wrapper gave it."""
        loss = self.model.evaluate(x, y, **self._chosen(PREDICTING, kwargs))
        return -float(loss[0] if isinstance(loss, list) else loss)
