"""One verdict over several seeds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.gate import seeds
from mlops_lib.records import SearchResult, Shown, Trial, Verdict
from mlops_lib.tuning.second_pass import lineage


def verdict(value: float | None, kind: str = "accepted", **changes: Any) -> Verdict:
    given: dict[str, Any] = {
        "metric": "accuracy",
        "target": 0.8,
        "examples": 500,
        "interval": (0.77, 0.84),
        "examples_digest": "a",
        "shown": Shown(measured_by_file=True, not_trained_on=True, not_selected_on=True),
        "reasons": ("it is so: mend",),
    }
    return Verdict(verdict=kind, value=value, **{**given, **changes})  # type: ignore[arg-type]


def over(
    own: Verdict, *others: Verdict | str, sound: Verdict | None = None, **asked: Any
) -> Verdict:
    return seeds.combine(
        own,
        sound or verdict(own.value),
        dict(enumerate(others, 2)),
        seed=1,
        run_dirs={1: "one"},
        **{"strict": False, "must_beat": False, **asked},
    )


def test_the_mean_decides_and_the_file_keeps_its_number() -> None:
    found = over(verdict(0.78, "rejected"), verdict(0.83), verdict(0.85))
    assert (found.verdict, found.value) == ("accepted", 0.78)
    assert found.seeds is not None
    assert found.seeds.mean == pytest.approx(0.82)
    assert found.seeds.spread == pytest.approx(statistics.stdev([0.78, 0.83, 0.85]))
    assert [(one.seed, one.value) for one in found.seeds.values] == [
        (1, 0.78),
        (2, 0.83),
        (3, 0.85),
    ]
    assert (found.seeds.registered, found.seeds.values[0].run_dir) == (1, "one")
    assert "the mean of 3 seeds" in found.reasons[0]
    assert "the file of seed 1, which gives 0.78" in found.reasons[0]
    assert over(verdict(0.81), verdict(0.78), verdict(0.79)).verdict == "rejected"
    assert Verdict.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_strict_asks_the_worse_end_of_the_means_interval() -> None:
    assert over(verdict(0.82), verdict(0.82), verdict(0.83), strict=True).verdict == "rejected"
    assert over(verdict(0.92), verdict(0.92), verdict(0.93), strict=True).verdict == "accepted"


@pytest.mark.parametrize(
    ("others", "sound", "word"),
    [
        (["it broke", verdict(0.9)], None, "seed 2 has no number: it broke"),
        ([verdict(0.9, "undecided")], None, "the number of seed 2 is in doubt: it is so"),
        ([verdict(0.9)], verdict(0.9, "undecided"), "the number of seed 1 is in doubt"),
        (["a", "b"], None, "seed 3 has no number: b"),
    ],
)
def test_a_seed_in_doubt_is_never_accepted(
    others: list[Any], sound: Verdict | None, word: str
) -> None:
    found = over(verdict(0.9), *others, sound=sound)
    assert found.verdict == "undecided"
    assert any(word in reason for reason in found.reasons)


def test_a_winners_seeds_are_judged_on_the_same_examples() -> None:
    apart = verdict(0.9, examples_digest="b")
    assert over(verdict(0.9), apart).verdict == "accepted", (
        "a script that splits anew is judged as it splits"
    )
    assert over(verdict(0.9, judged_pass=2, selection="half"), apart).verdict == "undecided"


def test_what_repeats_a_run_is_remembered(tmp_path: Path) -> None:
    noted = [
        seeds.Repetition(seed=2, run_dir=tmp_path / "two"),
        seeds.Repetition(seed=3, run_dir=tmp_path, failure="x"),
    ]
    seeds.remember(tmp_path, noted)
    assert seeds.read(tmp_path) == noted
    assert seeds.read(tmp_path / "none") == []
    (tmp_path / "seeds.json").write_text('{"repetitions": [3, {}]}')
    assert seeds.read(tmp_path) == []


def test_the_lineage_of_a_winner_leaves_out_what_led_elsewhere() -> None:
    trials = tuple(Trial(number=n, parent=parent) for n, parent in enumerate((None, 0, 0, 1, 3)))
    found = SearchResult(metric="accuracy", selection="half", fit=1, trials=trials, winner=4)
    assert [one.number for one in lineage(found)] == [1, 3, 4]
