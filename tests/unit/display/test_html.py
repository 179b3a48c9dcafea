"""`display.html`: records of any kind as HTML for a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_lib.display import html
from mlops_lib.records import SearchResult, Trial, Verdict


@dataclass(frozen=True)
class Plain:
    """Any record."""

    name: str
    empty: str = ""
    ratio: float = 1 / 3


def test_any_record_is_a_table_without_empty_fields() -> None:
    shown = html.record_html(Plain("x"))
    assert "<strong>Plain</strong>" in shown
    assert ">ratio</th>" in shown
    assert "0.333333" in shown
    assert ">empty</th>" not in shown


def test_what_a_stranger_wrote_is_escaped() -> None:
    shown = html.record_html(Plain("<script>alert(1)</script>\x1b[31m"))
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "&lt;script&gt;" in shown


def test_a_verdict_comes_first_with_its_number_and_bar() -> None:
    shown = html.record_html(Verdict(verdict="accepted", metric="accuracy", value=0.91, target=0.8))
    assert html.COLOURS["accepted"] in shown
    assert "accuracy 0.91, bar 0.8" in shown


def trials(*scores: float | None, mode: Any = "max") -> str:
    result = SearchResult(
        metric="accuracy",
        mode=mode,
        selection="disjoint",
        fit=1,
        trials=tuple(
            Trial(number=number, score=score, curve=(0.1, float("nan"), 0.3))
            for number, score in enumerate(scores)
        ),
    )
    return html.record_html(result)


def _bold(shown: str) -> str:
    return shown.partition("font-weight:bold")[2].partition("</td>")[0][-1:]


def test_the_best_trial_is_marked_in_either_direction() -> None:
    assert _bold(trials(0.5, 0.9, 0.7, None)) == "1"
    assert _bold(trials(0.5, 0.9, 0.3, None, mode="min")) == "2"


def test_of_many_trials_the_best_and_the_last_are_shown() -> None:
    shown = trials(*[number / 100 for number in range(60, 0, -1)])
    assert shown.count("<polyline") == html.TRIALS
    assert "0.6000" in shown
    assert "0.0100" in shown
    assert "0.3000" not in shown


def test_a_meter_stays_within_its_frame() -> None:
    assert "width:100%" in html.meter(7.0)
    assert "width:0%" in html.meter(-1.0)
