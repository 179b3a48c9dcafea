"""A number of the script's process beside the one of a process without the script."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_lib.gate.second_measurement import (
    BY_THE_SCRIPT,
    INDEPENDENTLY,
    SecondMeasurement,
    differ,
)
from mlops_lib.records import Remeasured

DIGEST = "ab" * 32


def compared(value: float | None = 0.9, **remeasured: Any) -> SecondMeasurement:
    fields = {"state": "measured", "value": 0.9, "examples": 100, "model_digest": DIGEST}
    return SecondMeasurement(
        Remeasured(**{**fields, **remeasured}),
        evaluation={"examples": 100},
        metric="accuracy",
        value=value,
        digest=DIGEST,
    )


def test_the_same_number_is_measured_independently() -> None:
    second = compared()
    assert (second.measured, second.value, second.doubts) == (INDEPENDENTLY, 0.9, [])


def test_one_example_more_or_less_is_another_number() -> None:
    second = compared(value=0.91)
    assert second.measured == BY_THE_SCRIPT
    assert len(second.doubts) == 1
    assert second.value == 0.91, "the number that is judged stays the script's"


def test_rounding_is_no_difference() -> None:
    assert not differ(0.9000001, 0.9, metric="accuracy", examples=1000)
    assert differ(0.901, 0.9, metric="accuracy", examples=1000)
    assert not differ(12.3451, 12.3450, metric="mae", examples=1000)
    assert differ(12.35, 12.34, metric="mae", examples=1000)


@pytest.mark.parametrize(
    ("change", "doubted"),
    [
        ({"model_digest": "cd" * 32}, True),  # the file was replaced after it was measured
        ({"examples": 99}, True),
        ({"state": "failed"}, True),
        ({"state": "missing"}, True),
        ({"state": "needs code"}, False),
        ({"state": "unkept"}, False),
        ({"state": "not run"}, False),
    ],
    ids=str,
)
def test_only_what_could_hide_a_forgery_is_a_doubt(change: dict[str, Any], doubted: bool) -> None:
    second = compared(**change)
    assert second.measured == BY_THE_SCRIPT
    assert bool(second.doubts) is doubted
    assert bool(second.reasons) is not doubted


def test_another_metric_of_the_second_measurement_is_not_compared() -> None:
    second = compared(all={"loss": 0.4, "f1": 0.9})
    assert (second.measured, second.doubts) == (BY_THE_SCRIPT, [])
    assert compared(all={"loss": 0.4, "accuracy": 0.9}).measured == INDEPENDENTLY


def test_without_a_second_measurement_or_a_number_nothing_is_said() -> None:
    none = SecondMeasurement(None, evaluation={}, metric="accuracy", value=0.9, digest=None)
    assert (none.measured, none.doubts, none.reasons) == (BY_THE_SCRIPT, [], [])
    assert compared(value=None).doubts == []
