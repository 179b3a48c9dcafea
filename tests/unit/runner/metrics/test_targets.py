"""`runner.metrics.targets`: constant models, and targets as classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlops_lib.runner.metrics import targets


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        ([0, 1, 1], [0, 1, 1]),
        (np.array([[0, 1], [1, 0]]), [1, 0]),  # one-hot
        (np.array([[2.0], [0.0]]), [2.0, 0.0]),
        (np.array(["b", "a"], dtype=object), ["b", "a"]),
        (np.array([True, False]), [True, False]),
    ],
)
def test_classes_are_one_label_per_example(y: Any, labels: list[Any]) -> None:
    assert targets.classes_of(y).tolist() == labels


@pytest.mark.parametrize(
    "y",
    [
        None,
        np.array([0.5, 1.25]),  # measured values
        np.arange(1000),  # a count, or a year: nearly every value is another
        np.array([[0.2, 0.3], [0.1, 0.1]]),
        np.float64(3.0),
        object(),
    ],
)
def test_numbers_that_are_no_classes_have_none(y: Any) -> None:
    assert targets.classes_of(y) is None


def test_the_most_frequent_class_is_the_baseline() -> None:
    assert targets.majority([0, 0, 1, 0]) == {"name": "majority class", "value": 0.75}
    assert targets.majority([0.5, 1.5]) is None
    assert targets.majority([]) is None


@pytest.mark.parametrize(
    ("metric", "value"),
    [("mae", 1.5), ("mse", 3.5), ("rmse", 3.5**0.5), ("root_mean_squared_error", 3.5**0.5)],
)
def test_the_mean_is_the_baseline_of_a_regression(metric: str, value: float) -> None:
    baseline = targets.constant_baseline([1.0, 2.0, 6.0, 3.0], metric)
    assert baseline == {"name": "mean", "value": pytest.approx(value)}


def test_a_metric_without_a_constant_model_has_no_baseline() -> None:
    assert targets.constant_baseline([1.0, 2.0], "r2") is None
    assert targets.constant_baseline(["a"], "mae") is None
    assert targets.constant_baseline(None, "mae") is None


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        (np.array([[0.1, 0.9], [0.8, 0.2]]), [1, 0]),
        (np.array([[0.7], [0.2]]), [1, 0]),
        (np.array([1.0, 0.0]), [1, 0]),
    ],
)
def test_outputs_become_labels_of_the_targets_type(output: Any, labels: list[int]) -> None:
    guessed = targets.guess(output, np.array([1, 0]))
    assert guessed.tolist() == labels
    assert guessed.dtype.kind == "i"


def test_labels_that_are_texts_are_compared_as_texts() -> None:
    assert targets.guess(np.array(["a", "b"], dtype=object), np.array(["a", "c"])).tolist() == [
        "a",
        "b",
    ]
