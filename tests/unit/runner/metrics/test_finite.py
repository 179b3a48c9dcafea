"""`runner.metrics.finite`: predictions and inputs with values that are not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlops_lib.runner.metrics import finite


class Echo:
    """A model that predicts its input."""

    def predict(self, x: Any) -> Any:
        return x


def test_predictions_that_are_not_finite_are_counted_with_their_first_rows() -> None:
    outputs = np.ones((40, 3))
    outputs[[2, 7, 31], 1] = np.nan
    outputs[5, 0] = np.inf
    record: dict[str, Any] = {}
    finite.count(Echo(), (outputs, np.zeros(40)), record)
    assert record["not_finite"] == {"count": 4, "examples": 40, "rows": [2, 5, 7, 31]}


def test_a_record_of_finite_predictions_or_labels_stays_as_it_is() -> None:
    record: dict[str, Any] = {}
    finite.count(Echo(), (np.ones((4, 2)), np.zeros(4)), record)
    finite.count(Echo(), (np.array([1, 2, 3]), np.zeros(3)), record)
    assert record == {}


def test_only_the_first_rows_are_listed() -> None:
    record: dict[str, Any] = {}
    finite.count(Echo(), (np.full((50, 1), np.nan), np.zeros(50)), record)
    assert record["not_finite"]["count"] == 50
    assert record["not_finite"]["rows"] == list(range(finite.MAX_LISTED_ROWS))


def test_missing_values_of_a_data_frame_are_told_by_their_columns() -> None:
    frame = pd.DataFrame({"age": [1.0, None, None], "city": ["a", None, "c"], "n": [1, 2, 3]})
    assert finite.describe_missing(frame) == "column age in 2 of 3 rows, column city in 1 of 3 rows"


def test_many_columns_are_shortened() -> None:
    described = finite.describe_missing(np.full((2, 7), np.nan))
    assert described is not None
    assert described.endswith("column 4 in 2 of 2 rows and 2 more columns")


def test_what_is_no_table_of_numbers_has_no_missing_values() -> None:
    assert finite.describe_missing(np.full((2, 2, 2), np.nan)) is None
    assert finite.describe_missing(np.zeros((2, 2), dtype=int)) is None
    assert finite.describe_missing([["a"]]) is None
