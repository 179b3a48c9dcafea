"""The gate's answers, from claims as a runner writes them."""

from __future__ import annotations

import ast
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import config, intervals
from mlops_lib.gate import verdicts
from mlops_lib.gate.reasons import REASONS
from mlops_lib.records import Shown, Verdict
from mlops_lib.runner import protocol


def judged(
    tmp_path: Path, *evaluations: dict[str, Any], model: Any = None, **settings: Any
) -> Verdict:
    usual = {
        "metric": "accuracy",
        "source": "keras.evaluate",
        "examples": 500,
        "unique": 500,
        "held_out": True,
        "higher_is_better": True,
        "fit": 1,
    }
    inside = tmp_path / "inside"
    inside.mkdir(exist_ok=True)
    claims = {
        "schema": 1,
        "evaluations": [{**usual, "recomputed": e.get("value"), **e} for e in evaluations],
        "model": model or {"reloaded": True},
    }
    (inside / "metrics.json").write_text(json.dumps(claims))
    return verdicts.judge(tmp_path, **{"target": 0.8, **settings})


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
    assert intervals.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_no_better_than_the_majority_is_undecided(tmp_path: Path) -> None:
    verdict = judged(
        tmp_path, {"value": 0.87, "baseline": {"name": "majority class", "value": 0.866}}
    )
    assert verdict.verdict == "undecided"
    assert "majority class" in verdict.reasons[0]


def test_what_the_script_evaluated_last_on_held_out_data_counts(tmp_path: Path) -> None:
    verdict = judged(
        tmp_path,
        {"value": 0.99, "source": "fit.validation"},
        {"value": 0.7},
        {"value": 0.95, "held_out": False},
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
def test_doubt_is_never_accepted(
    tmp_path: Path, evaluation: dict[str, Any], model: Any, word: str
) -> None:
    verdict = judged(tmp_path, evaluation, model=model)
    assert verdict.verdict != "accepted"
    assert word in " ".join(verdict.reasons)


def test_no_number_is_undecided_and_names_the_settings(tmp_path: Path) -> None:
    verdict = judged(tmp_path)
    assert verdict.verdict == "undecided"
    assert "metric_pattern" in verdict.reasons[0]


def test_another_metric_must_be_named(tmp_path: Path) -> None:
    error = {
        "metric": "mae",
        "value": 2.0,
        "higher_is_better": False,
        "all": {"mae": 2.0, "loss": 5.0},
    }
    assert judged(tmp_path, error).verdict == "undecided"
    assert judged(tmp_path, error, metric="mae", target=2.5).verdict == "accepted"
    assert judged(tmp_path, error, metric="mean_absolute_error", target=1.5).verdict == "rejected"
    unmeasured = judged(tmp_path, error, metric="rmse", target=1.5, mode="min")
    assert unmeasured.verdict == "undecided"
    assert unmeasured.mode == "min"
    assert "mae" in " ".join(unmeasured.reasons)
    squared = {**error, "all": {"mean_squared_error": 9.0}}
    assert judged(tmp_path, squared, metric="rmse", target=3.1).value == 3.0
    assert (
        judged(tmp_path, {**error, "metric": "rmse", "all": {}}, metric="mse", target=3.9).verdict
        == "rejected"
    )


def test_contaminated_selection_is_never_accepted(tmp_path: Path) -> None:
    assert judged(tmp_path, {"value": 0.9}, selection="contaminated").verdict == "undecided"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"evaluations": 3}', '{"evaluations": [3, null]}', '"x"']
)
def test_garbage_is_no_number(tmp_path: Path, content: str) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "metrics.json").write_text(content)
    assert verdicts.judge(tmp_path, target=0.8).verdict == "undecided"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    forged = {"evaluations": [{"metric": "accuracy", "value": 0.9, "source": "keras.evaluate"}]}
    (tmp_path / "elsewhere.json").write_text(json.dumps(forged))
    (tmp_path / "inside" / "metrics.json").symlink_to(tmp_path / "elsewhere.json")
    assert verdicts.judge(tmp_path, target=0.8).verdict == "undecided"


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


LAW = {
    "measured by the registered file": {"recomputed": None},
    "not trained on": {"held_out": None},
}


@pytest.mark.parametrize("clause", LAW)
def test_a_searched_winner_is_accepted_only_if_the_law_is_shown(
    clause: str, tmp_path: Path
) -> None:
    assert judged(tmp_path, {"value": 0.9}, selection="half").verdict == "accepted"
    winner = judged(tmp_path, {"value": 0.9, **LAW[clause]}, selection="half")
    as_written = judged(tmp_path, {"value": 0.9, **LAW[clause]})
    assert (winner.verdict, as_written.verdict) == ("undecided", "accepted")
    for verdict in (winner, as_written):
        assert verdict.shown is not None
        assert not verdict.shown.all
        assert any(
            ("not shown" in reason and clause.split()[-1] in reason) or "file gives" in reason
            for reason in verdict.reasons
        )


@pytest.mark.parametrize("selection", ["contaminated", "unknown"])
def test_a_winner_of_an_unknown_selection_is_undecided(selection: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"value": 0.9}, selection=selection)
    assert verdict.verdict == "undecided"
    assert verdict.shown == Shown(measured_by_file=True, not_trained_on=True, not_selected_on=False)


@pytest.mark.parametrize("selection", verdicts.SELECTIONS)
def test_all_three_clauses_are_in_the_verdict(selection: str, tmp_path: Path) -> None:
    verdict = judged(tmp_path, {"value": 0.9}, selection=selection)
    assert verdict.to_json()["shown"] == {
        "measured_by_file": True,
        "not_trained_on": True,
        "not_selected_on": True,
    }
    assert not any("not shown" in reason for reason in verdict.reasons)


def test_what_may_have_been_selected_on_is_said(tmp_path: Path) -> None:
    validation = judged(tmp_path, {"value": 0.9, "source": "fit.validation"})
    chosen = judged(tmp_path, {"value": 0.9}, best_of=4)
    for verdict, why in ((validation, "early stopping"), (chosen, "the best of 4")):
        assert verdict.verdict == "accepted"
        assert verdict.shown is not None
        assert not verdict.shown.not_selected_on
        assert any(why in reason for reason in verdict.reasons)
    after_search = judged(tmp_path, {"value": 0.9, "source": "fit.validation"}, selection="half")
    assert (after_search.verdict, after_search.shown) == ("accepted", ALL_SHOWN)


def test_the_interval_allows_for_every_look(tmp_path: Path) -> None:
    first, third = (
        judged(tmp_path, {"value": 0.81}, selection="half", looks=looks) for looks in (1, 3)
    )
    assert first.interval is not None
    assert third.interval is not None
    assert third.interval[0] < first.interval[0] < 0.81 < first.interval[1] < third.interval[1]
    assert (first.looks, third.looks, third.verdict) == (1, 3, "accepted")
    assert any("judged 3 models" in reason for reason in third.reasons)


def test_after_too_many_looks_only_the_interval_decides(tmp_path: Path) -> None:
    looked = {"selection": "half", "looks": protocol.MOST_LOOKS + 1}
    assert judged(tmp_path, {"value": 0.81}, **looked).verdict == "undecided"
    assert judged(tmp_path, {"value": 0.9}, **looked).verdict == "accepted"
    error = {"metric": "mae", "value": 1.0, "all": {}}
    assert judged(tmp_path, error, metric="mae", target=2.0, **looked).verdict == "undecided", (
        "it has no interval"
    )


def test_looks_share_the_error(tmp_path: Path) -> None:
    """Of runs whose model is just below the bar, fewer than one in twenty end with an interval
    above it.
    """
    chance = random.Random(7)
    target, examples, wrong = 0.8, 300, 0
    for _ in range(2000):
        for looks in range(1, protocol.MOST_LOOKS + 1):
            hits = sum(chance.random() < target for _ in range(examples)) / examples
            if intervals.wilson(hits, examples, looks=looks)[0] > target:
                wrong += 1
                break
    assert wrong / 2000 <= 0.05


ALL_SHOWN = Shown(measured_by_file=True, not_trained_on=True, not_selected_on=True)


@pytest.mark.parametrize("kind", REASONS)
def test_every_reason_names_the_setting_or_step_that_changes_it(kind: str) -> None:
    named = re.findall(r"`([^`]+)`", REASONS[kind].remedy)
    steps = (
        "model.",
        "joblib.",
        "train_test_split",
        "score",
        "predict",
        "get_config",
        "clipnorm",
        "fit",
        "mlops ",
        "drop",
        "GroupShuffleSplit",
        "transform",
        "Pipeline",
    )
    assert [one for one in named if one in config.KNOWN or one.startswith(steps)] == named != []


def test_no_verdict_has_a_reason_of_another_making() -> None:
    """What is put into `reasons` comes from the table: no text of its own in the gate and the
    pipeline.
    """
    package = Path(verdicts.__file__).parents[1]
    for path in (package / "gate" / "verdicts.py", package / "pipeline" / "stages.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("reasons.append", "doubts.append")
            ):
                assert all(ast.unparse(one).startswith("reason(") for one in node.args), (
                    ast.unparse(node)
                )
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "reasons.insert":
                assert ast.unparse(node.args[1]).startswith(("reason(", "invalid")), ast.unparse(
                    node
                )
            if isinstance(node, ast.keyword) and node.arg == "reasons":
                texts = [
                    one
                    for one in ast.walk(node.value)
                    if isinstance(one, (ast.JoinedStr, ast.Constant))
                ]
                assert not [
                    one for one in texts if not isinstance(getattr(one, "value", None), int)
                ], path.name


def test_reasons_of_verdicts_end_with_their_remedy(tmp_path: Path) -> None:
    verdicts = [
        judged(tmp_path),
        judged(tmp_path, {"value": 0.9, "recomputed": 0.5}),
        judged(tmp_path, {"value": 0.9, "held_out": None}, selection="half", looks=4),
        judged(tmp_path, {"value": 0.7}, strict=True),
        judged(tmp_path, {"metric": "mae", "value": 0.7, "all": {}}, metric="f1"),
        judged(tmp_path, {"metric": "mae", "value": 0.7, "all": {}}, metric="mae", strict=True),
        judged(tmp_path, {"value": "nan"}),
    ]
    for verdict in verdicts:
        assert verdict.reasons
        for reason in verdict.reasons:
            assert reason.endswith(tuple(template.remedy for template in REASONS.values())), reason


@pytest.mark.parametrize("steered", [3, None])
def test_a_winner_judged_on_what_may_have_selected_it_is_undecided(
    steered: int | None, tmp_path: Path
) -> None:
    on = {"data": "what evaluate was given", "selected_on": steered}
    verdict = judged(tmp_path, {"value": 0.9, "measured_on": on}, selection="half")
    assert verdict.verdict == "undecided"
    assert verdict.shown is not None
    assert not verdict.shown.not_selected_on
    assert judged(tmp_path, {"value": 0.9, "measured_on": on}).verdict == "accepted"


def test_what_is_left_out_is_said_and_the_script_is_checked_on_all_of_it(tmp_path: Path) -> None:
    claim = {
        "value": 0.9,
        "recomputed": 0.9,
        "examples_digest": "d" * 64,
        "measured_on": {"data": "validation data of fit 1", "left_out": 500, "selected_on": 0},
        "on_all": {"metric": "accuracy", "value": 0.95, "recomputed": 0.95, "examples": 1000},
    }
    verdict = judged(tmp_path, claim, selection="half")
    assert (verdict.verdict, verdict.examples_digest, verdict.left_out) == (
        "accepted",
        "d" * 64,
        500,
    )
    assert verdict.measured_on == "validation data of fit 1"
    assert any(one.startswith("500 more of these examples selected") for one in verdict.reasons)
    claim["on_all"] = {"metric": "accuracy", "value": 0.95, "recomputed": 0.90, "examples": 1000}
    assert judged(tmp_path, claim, selection="half").verdict == "undecided"


@pytest.mark.parametrize(
    ("value", "share", "searched"),
    [(0.88, 0.87, True), (0.97, 0.87, False), (0.5, 0.87, False), (0.81, 0.3, False)],
)
def test_a_model_like_its_baseline_is_searched_for_a_metric_that_says_more(
    value: float, share: float, searched: bool, tmp_path: Path
) -> None:
    baseline = {"name": "majority class", "value": share}
    verdict = judged(
        tmp_path, {"value": value, "recomputed": value, "baseline": baseline, "examples": 500}
    )
    assert verdicts.is_no_better_than_its_baseline(verdict) is searched
    if searched:
        assert verdict.verdict == "undecided"
        assert "balanced_accuracy" in " ".join(verdict.reasons)
