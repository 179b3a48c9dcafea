"""The gate's reasons from leaks that the runner claims, forged claims included."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_lib.gate import leakage


def reasons(leaks: Any, *, target: float = 0.8, **evaluation: Any) -> leakage.LeakReasons:
    return leakage.reasons(
        {"leaks": leaks, **evaluation}, metric="accuracy", target=target, mode="max"
    )


def test_examples_that_were_left_out_are_a_remark_with_both_numbers() -> None:
    notes, doubts = reasons(
        {
            "examples": 100,
            "left_out": 30,
            "fate": "left out",
            "kinds": {"exact": 20, "mirrored": 10},
            "value_of_all": 0.95,
        }
    )
    assert doubts == ()
    (note,) = notes
    assert "20 exact, 10 mirrored" in note
    assert "0.95" in note


@pytest.mark.parametrize("fate", ["too few left", "not measured", "", None, 7])
def test_copies_that_stayed_in_the_number_are_a_doubt(fate: object) -> None:
    notes, doubts = reasons({"examples": 100, "left_out": 30, "fate": fate})
    assert (len(notes), len(doubts)) == (0, 1)


@pytest.mark.parametrize(
    ("rest", "is_doubt"), [(0.75, True), (0.85, False), (None, False)], ids=str
)
def test_repeats_are_a_doubt_only_if_they_decide(rest: float | None, is_doubt: bool) -> None:
    claimed = {"examples": 100, "repeated": 20, "value_of_rest": rest}
    notes, doubts = reasons(claimed, value=0.9)
    assert (len(notes), len(doubts)) == ((0, 1) if is_doubt else (1, 0))


def test_few_repeats_are_not_worth_a_remark() -> None:
    assert reasons({"examples": 100, "repeated": 2}, value=0.9) == leakage.LeakReasons()
    assert reasons({"examples": 10_000, "repeated": 50}, value=0.9) == leakage.LeakReasons()


def test_a_transformer_that_saw_judged_targets_is_a_doubt_and_any_other_a_remark() -> None:
    scaler = {"name": "StandardScaler", "supervised": False, "share": 0.5}
    selector = {"name": "SelectKBest", "supervised": True, "share": 7.0}
    notes, doubts = reasons({"prepared": [scaler, scaler, selector]})
    assert len(notes) == len(doubts) == 1
    assert "50%" in notes[0]
    assert "100%" in doubts[0], "a share above 1 is a forged one"


def test_targets_among_the_inputs_come_first() -> None:
    _, doubts = reasons({"examples": 9, "left_out": 3, "targets": ["price", "x" * 500]})
    assert "price" in doubts[0]
    assert all(len(doubt) < 1000 for doubt in doubts)


@pytest.mark.parametrize(
    "claim", [None, 3, [], "leaks", {"kinds": [], "groups": 3, "prepared": {}}]
)
def test_a_claim_of_any_type_is_read(claim: Any) -> None:
    assert reasons(claim) == leakage.LeakReasons()


@pytest.mark.parametrize("count", [-1, True, 1e9, "30", 1 << 60])
def test_an_impossible_count_counts_as_none(count: Any) -> None:
    assert reasons({"examples": 100, "left_out": count}) == leakage.LeakReasons()
