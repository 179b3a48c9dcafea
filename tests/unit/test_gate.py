"""The gate's answers, from claims as a runner writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import gate
from mlops_lib.records import Verdict


def judged(tmp_path: Path, *evaluations: dict[str, Any], model: Any = None, **settings: Any) -> Verdict:
    usual = {"metric": "accuracy", "source": "keras.evaluate", "examples": 500, "unique": 500, "held_out": True,
             "higher_is_better": True, "fit": 1}  # fmt: skip
    inside = tmp_path / "inside"
    inside.mkdir(exist_ok=True)
    claims = {
        "schema": 1,
        "evaluations": [{**usual, "recomputed": e.get("value"), **e} for e in evaluations],
        "model": model or {"reloaded": True},
    }
    (inside / "metrics.json").write_text(json.dumps(claims))
    return gate.judge(tmp_path, **{"target": 0.8, **settings})


def test_accepted_and_rejected_by_the_point(tmp_path: Path) -> None:
    accepted = judged(tmp_path, {"value": 0.81})
    assert accepted.verdict == "accepted"
    assert accepted.recomputed
    assert accepted.interval is not None
    assert accepted.interval[0] < 0.8 < accepted.interval[1]
    assert judged(tmp_path, {"value": 0.79}).verdict == "rejected"
    assert judged(tmp_path, {"value": 0.81}, strict=True).verdict == "rejected"


def test_wilson_interval() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    assert gate.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_no_better_than_the_majority_is_undecided(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"value": 0.87, "baseline": {"name": "majority class", "value": 0.866}})
    assert verdict.verdict == "undecided"
    assert "majority class" in verdict.reasons[0]


def test_what_the_script_evaluated_last_on_held_out_data_counts(tmp_path: Path) -> None:
    verdict = judged(
        tmp_path, {"value": 0.99, "source": "fit.validation"}, {"value": 0.7}, {"value": 0.95, "held_out": False}
    )
    assert (verdict.value, verdict.verdict) == (0.7, "rejected")


def test_a_training_metric_carries_a_warning(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"value": 0.95, "source": "fit.training", "held_out": False})
    assert any("trained on" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("evaluation", "model", "word"),
    [
        ({"value": "nan"}, None, "diverged"),
        ({"value": 1.7}, None, "cannot be"),
        ({"value": 0.9, "recomputed": 0.5}, None, "bar"),
        ({"value": 0.9}, {"reloaded": False, "note": "no such layer"}, "no such layer"),
    ],
)
def test_doubt_is_never_accepted(tmp_path: Path, evaluation: dict[str, Any], model: Any, word: str) -> None:
    verdict = judged(tmp_path, evaluation, model=model)
    assert verdict.verdict != "accepted"
    assert word in " ".join(verdict.reasons)


def test_no_number_is_undecided_and_names_the_settings(tmp_path: Path) -> None:
    verdict = judged(tmp_path)
    assert verdict.verdict == "undecided"
    assert "metric_pattern" in verdict.reasons[0]


def test_another_metric_must_be_named(tmp_path: Path) -> None:
    error = {"metric": "mae", "value": 2.0, "higher_is_better": False, "all": {"mae": 2.0, "loss": 5.0}}
    assert judged(tmp_path, error).verdict == "undecided"
    assert judged(tmp_path, error, metric="mae", target=2.5).verdict == "accepted"
    assert judged(tmp_path, error, metric="mean_absolute_error", target=1.5).verdict == "rejected"
    unmeasured = judged(tmp_path, error, metric="rmse", target=1.5, mode="min")
    assert unmeasured.verdict == "undecided"
    assert unmeasured.mode == "min"
    assert "mae" in " ".join(unmeasured.reasons)
    squared = {**error, "all": {"mean_squared_error": 9.0}}
    assert judged(tmp_path, squared, metric="rmse", target=3.1).value == 3.0
    assert judged(tmp_path, {**error, "metric": "rmse", "all": {}}, metric="mse", target=3.9).verdict == "rejected"


def test_contaminated_selection_is_never_accepted(tmp_path: Path) -> None:
    assert judged(tmp_path, {"value": 0.9}, selection="contaminated").verdict == "undecided"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"evaluations": 3}', '{"evaluations": [3, null]}', '"x"'])
def test_garbage_is_no_number(tmp_path: Path, content: str) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "metrics.json").write_text(content)
    assert gate.judge(tmp_path, target=0.8).verdict == "undecided"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    forged = {"evaluations": [{"metric": "accuracy", "value": 0.9, "source": "keras.evaluate"}]}
    (tmp_path / "elsewhere.json").write_text(json.dumps(forged))
    (tmp_path / "inside" / "metrics.json").symlink_to(tmp_path / "elsewhere.json")
    assert gate.judge(tmp_path, target=0.8).verdict == "undecided"


def test_where_no_accuracy_was_measured_all_numbers_are_named(tmp_path: Path) -> None:
    r2 = {"metric": "r2", "value": 0.4312345, "source": "sklearn.metrics.r2_score"}
    mae = {
        "metric": "mae",
        "value": 64.04,
        "source": "sklearn.metrics.mae",
        "all": {"mae": 64.04, "loss": float("inf")},
    }
    (reason,) = judged(tmp_path, r2, mae).reasons
    assert "measures r2 0.4312, mae 64.04, not an accuracy" in reason
