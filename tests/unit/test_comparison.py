"""The paired comparison with the champion: exact p-values, forged claims, the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from mlops_lib import intervals
from mlops_lib.gate import comparison, verdicts
from mlops_lib.records import Comparison, ModelVersion, Verdict

CHAMPION = ModelVersion(
    name="demo", version=3, path="/v", model="/v/m", metric="accuracy", value=0.9
)


@pytest.mark.parametrize(
    ("won", "lost"), [(0, 0), (9, 1), (1, 9), (60, 30), (30, 60), (505, 495), (50_500, 49_500)]
)
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int) -> None:
    expected = 1.0 if won + lost == 0 else binomtest(won, won + lost, alternative="greater").pvalue
    assert comparison.mcnemar(won, lost) == pytest.approx(expected, rel=1e-6)


def test_forged_count_takes_no_time() -> None:
    assert comparison.mcnemar(1 << 39, 1 << 38) == pytest.approx(0.0)


def test_interval_of_the_difference_agrees_with_the_test() -> None:
    difference, (low, high) = intervals.paired_difference(60, 30, 600)
    assert difference == pytest.approx(0.05)
    assert 0 < low < difference < high
    assert intervals.paired_difference(0, 0, 600)[1][0] < 0


TABLE = {"test": "mcnemar", "both": 500, "only_new": 60, "only_champion": 30, "neither": 10}
PERMUTED = {
    "test": "permutation",
    "difference": 0.1,
    "interval": [0.02, 0.2],
    "p_value": 0.01,
    "examples": 600,
}


def claimed(compared: Any, **changes: Any) -> dict[str, Any]:
    one = {
        "evaluation": 7,
        "metric": "accuracy",
        "value": 0.885,
        "note": "",
        "comparison": compared,
    }
    return {"version": 3, "note": "", "measurements": [{**one, **changes}]}


def read(claim: Any) -> Comparison:
    return comparison.read(
        claim, version=3, evaluation=7, metric="accuracy", grows=True, measured=""
    )


def test_claim_is_parsed() -> None:
    found = read(claimed(TABLE))
    assert (found.better, found.examples, found.value, found.why) == (True, 600, 0.885, "")
    assert found.p_value == pytest.approx(0.00103, rel=1e-2)
    assert read(claimed(PERMUTED)).test == "paired permutation test"


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        (None, "not measured"),
        ([], "not measured"),
        ({}, "became the champion after"),
        ({"version": 3, "measurements": 4}, "not known"),
        (
            {"version": 3, "measurements": [], "note": "it has other inputs: 64, not 8"},
            "other inputs",
        ),
        (claimed(TABLE, metric="f1"), "by f1"),
        (claimed(TABLE, value="0.9"), "number"),
        (claimed(TABLE, value=float("nan")), "number"),
        (claimed(None), "example by example"),
        (claimed({**TABLE, "only_new": -1}), "example by example"),
        (claimed({**TABLE, "only_new": True}), "example by example"),
        (claimed({**TABLE, "only_new": 10**400}), "example by example"),
        (claimed({"test": "mcnemar"}), "example by example"),
        (claimed({**PERMUTED, "p_value": 0.0}), "example by example"),
        (claimed({**PERMUTED, "interval": [0.2, 0.1]}), "example by example"),
        (claimed({**PERMUTED, "test": "magic"}), "example by example"),
    ],
)
def test_malformed_comparison_decides_nothing(claim: Any, word: str) -> None:
    found = read(claim)
    assert found.better is None
    assert word in found.why


def judged(
    tmp_path: Path, claim: Any, *, champion: ModelVersion = CHAMPION, **changes: Any
) -> Verdict:
    settings = {"beats": "champion", "target": 0.8, **changes.pop("settings", {})}
    evaluation = {
        "id": 7,
        "metric": "accuracy",
        "value": 0.935,
        "recomputed": 0.935,
        "source": "sklearn.score",
        "examples": 600,
        "held_out": True,
        "higher_is_better": True,
        "fit": 1,
        **changes,
    }
    (tmp_path / "inside").mkdir(exist_ok=True)
    claims = {"evaluations": [evaluation], "model": {"reloaded": True}, "champion": claim}
    (tmp_path / "inside" / "metrics.json").write_text(json.dumps(claims))
    return verdicts.judge(tmp_path, champion=champion, **settings)


def test_the_champion_is_beaten_only_beyond_chance(tmp_path: Path) -> None:
    won = judged(tmp_path, claimed(TABLE))
    assert (won.verdict, won.champion) == ("accepted", 0.885)
    assert won.against is not None
    assert won.against.better
    assert any("more than chance" in reason for reason in won.reasons)
    by_luck = judged(tmp_path, claimed({**TABLE, "only_new": 36, "only_champion": 30}))
    assert by_luck.verdict == "rejected"
    assert "does not beat the champion" in by_luck.reasons[0]
    assert (
        judged(tmp_path, claimed({**TABLE, "only_new": 0, "only_champion": 0})).verdict
        == "rejected"
    )
    unasked = judged(
        tmp_path, claimed({**TABLE, "only_new": 30, "only_champion": 60}), settings={"beats": ""}
    )
    assert (unasked.verdict, unasked.champion) == ("accepted", 0.885)
    assert any("no more than chance" in reason for reason in unasked.reasons)


def test_unusable_champion_leaves_the_verdict_undecided_with_the_reason(tmp_path: Path) -> None:
    claim = {"version": 3, "note": "it knows other classes: 10, not 8", "measurements": []}
    verdict = judged(tmp_path, claim)
    assert (verdict.verdict, verdict.champion) == ("undecided", None)
    assert "other classes: 10, not 8" in verdict.reasons[0]
    assert "mlops registry champion" in verdict.reasons[0]
    unasked = judged(tmp_path, claim, settings={"beats": ""})
    assert unasked.verdict == "accepted"
    assert any("other classes" in reason for reason in unasked.reasons)


def test_champion_on_differently_prepared_inputs_is_not_beaten(tmp_path: Path) -> None:
    table = {**TABLE, "both": 60, "only_new": 500, "only_champion": 10, "neither": 30}
    guesses = claimed(table, value=0.117)
    verdict = judged(tmp_path, guesses, baseline={"name": "majority class", "value": 0.12})
    assert verdict.verdict == "undecided"
    assert "not prepared as it expects" in verdict.reasons[0]
    stale = claimed(table, value=0.3)  # the world has changed: it still knows something
    assert (
        judged(tmp_path, stale, baseline={"name": "majority class", "value": 0.12}).verdict
        == "accepted"
    )


def test_smaller_error_is_better(tmp_path: Path) -> None:
    error = {
        "metric": "mae",
        "value": 2.0,
        "recomputed": 2.0,
        "higher_is_better": False,
        "all": {"mae": 2.0},
    }
    settings = {"metric": "mae", "target": 2.5}
    smaller = claimed(
        {**PERMUTED, "difference": -0.5, "interval": [-0.9, -0.1]}, metric="mae", value=2.5
    )
    assert judged(tmp_path, smaller, settings=settings, **error).verdict == "accepted"
    larger = claimed(PERMUTED, metric="mae", value=1.9)
    assert judged(tmp_path, larger, settings=settings, **error).verdict == "rejected"
