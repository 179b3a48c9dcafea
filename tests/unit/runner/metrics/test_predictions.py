"""`runner.metrics.predictions`: which call of `predict` returned the argument of a metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mlops_lib.runner.metrics import predictions

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    predictions._REMEMBERED.clear()
    yield
    predictions._REMEMBERED.clear()


class Scaled:
    """A model that multiplies its input."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, x: Any, times: int = 1) -> Any:
        return x * self.factor * times


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (PROBABILITIES, "_as_it_is"),
        (PROBABILITIES.argmax(axis=1), "_argmax"),
        (PROBABILITIES.argmax(axis=1).astype(float)[:, None], "_argmax"),
        (PROBABILITIES[:, 1], "_second_column"),
        (PROBABILITIES > 0.5, "_above_half"),
    ],
)
def test_the_usual_transformations_are_recognized(values: Any, name: str) -> None:
    predictions.remember(model=None, method="predict", x=None, output=PROBABILITIES, fit=3)
    traced = predictions.trace(values)
    assert traced is not None
    prediction, transformation = traced
    assert (prediction.fit, transformation.__name__) == (3, name)


def test_the_newest_of_equal_predictions_is_taken_and_others_none() -> None:
    for fit in (1, 2):
        predictions.remember(model=None, method="predict", x=None, output=PROBABILITIES, fit=fit)
    traced = predictions.trace(PROBABILITIES)
    assert traced is not None
    assert traced[0].fit == 2
    assert predictions.trace(np.array([0.3, 0.4, 0.5])) is None


def test_old_predictions_are_dropped_by_number_and_by_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for fit in range(predictions.MAX_PREDICTIONS + 5):
        predictions.remember(model=None, method="predict", x=None, output=np.ones(1), fit=fit)
    assert [p.fit for p in predictions.newest_first()][-1] == 5
    monkeypatch.setattr(predictions, "MAX_BYTES", 100)
    predictions.remember(model=None, method="predict", x=None, output=np.ones(1000), fit=99)
    assert [p.fit for p in predictions.newest_first()] == [99]


def test_another_model_is_measured_by_the_same_call() -> None:
    x = np.arange(6.0).reshape(6, 1)
    prediction = predictions.Prediction(Scaled(1), "predict", x, x, 0, {"times": 2})

    def error(y: Any, output: Any) -> float:
        return float(abs(y - output).mean())

    measured = prediction.measure(Scaled(3), x * 6, error, without=frozenset())
    assert measured.value == 0.0


def test_examples_that_are_left_out_are_not_measured() -> None:
    x = np.arange(6.0).reshape(6, 1)
    prediction = predictions.Prediction(Scaled(1), "predict", x, x, 0)
    names = predictions.read_names(x)
    assert names is not None
    y = x.copy()
    y[0] = 100.0

    def error(y: Any, output: Any) -> float:
        return float(abs(y - output).max())

    measured = prediction.measure(Scaled(1), y, error, without=frozenset(names[:1]))
    assert measured.value == 0.0
    assert measured.names == names[1:]


def test_further_arguments_of_a_prediction_are_told_by_name() -> None:
    assert predictions.options_of(Scaled.predict, (Scaled(1), None, 5), {}) == {"times": 5}
    assert predictions.options_of(Scaled.predict, (Scaled(1),), {"x": 1, "times": 2}) == {
        "times": 2
    }
