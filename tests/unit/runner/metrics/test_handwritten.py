"""`runner.metrics.handwritten`: comparisons and differences that a script averages itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mlops_lib.runner.metrics import handwritten, predictions

Y = np.array([0, 1, 1, 0])
OUTPUT = np.array([0.1, 0.9, 0.2, 0.3])


@pytest.fixture
def noted() -> Iterator[list[tuple[str, float]]]:
    """Numbers that the compiled sources report, with one prediction of the script remembered."""
    numbers: list[tuple[str, float]] = []
    handwritten.install(lambda of, y, p: numbers.append((of.__name__, of(y, p))))
    predictions.remember(model=object(), method="predict", x=None, output=OUTPUT, fit=0)
    yield numbers
    handwritten.install(lambda of, y, p: None)
    predictions._REMEMBERED.clear()


def run(expression: str) -> Any:
    """Evaluate an expression as the runner compiles it."""
    transformer = handwritten.MetricTransformer()
    tree = transformer.visit(ast.parse(expression, mode="eval"))
    names = {"np": np, "y": Y, "p": OUTPUT, "x": np.array([1, 2, 3, 4]), **handwritten.OPERATORS}
    return eval(compile(ast.fix_missing_locations(tree), "<test>", "eval"), names)


@pytest.mark.parametrize(
    ("expression", "number"),
    [
        ("np.mean(y == (p > 0.5))", ("accuracy_score", 0.75)),
        ("(y == (p > 0.5)).mean()", ("accuracy_score", 0.75)),
        ("1 - np.mean(y != (p > 0.5))", ("accuracy_score", 0.75)),
        ("sum((p > 0.5) == y) / len(y)", ("accuracy_score", 0.75)),
        ("np.mean((y - p) ** 2)", ("mean_squared_error", 0.1875)),
        ("np.sqrt(np.mean(np.square(y - p)))", ("mean_squared_error", 0.1875)),
        ("np.mean(np.abs(p - y))", ("mean_absolute_error", 0.325)),
    ],
)
def test_an_average_over_a_prediction_is_reported(
    noted: list[tuple[str, float]], expression: str, number: tuple[str, float]
) -> None:
    plain = eval(expression, {"np": np, "y": Y, "p": OUTPUT})
    assert run(expression) == plain
    assert noted == [(number[0], pytest.approx(number[1]))]


@pytest.mark.parametrize(
    "expression",
    [
        "np.mean(x == x)",  # no side is a prediction
        "np.mean(y == 1)",  # the share of a class
        "(y == (p > 0.5)).any()",  # not averaged
        "np.mean(list(map(lambda one: one == y, [p > 0.5])))",  # runs elsewhere
        "np.mean(y[:, None] == (p > 0.5))",  # four by four
    ],
)
def test_other_comparisons_are_not(noted: list[tuple[str, float]], expression: str) -> None:
    run(expression)
    assert noted == []


def test_a_script_with_many_unrelated_comparisons_pays_for_few(
    noted: list[tuple[str, float]],
) -> None:
    for _ in range(handwritten.MAX_UNTRACED + 1):
        run("np.mean(x == x)")
    run("np.mean(y == (p > 0.5))")
    assert noted == []
