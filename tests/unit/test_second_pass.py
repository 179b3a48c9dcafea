"""A search goes on when the gate rejects what had cleared the bar where it was selected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.records import Verdict
from mlops_lib.runner import protocol
from mlops_lib.tuning import second_pass

REQUEST = {
    "fit": 1,
    "metric": "accuracy",
    "mode": "max",
    "target": 0.8,
    "trials": 12,
    "minutes": 30.0,
    "pass": 2,
}
TRIALS = [{"number": n, "score": score, "seconds": 20.0} for n, score in enumerate((0.5, 0.84))]
RESULT = {
    "schema": 1,
    "metric": "accuracy",
    "selection": "split",
    "fit": 1,
    "winner": 1,
    "score": 0.84,
    "stopped": "bar",
}


def searched(
    folder: Path, *, request: dict[str, Any] | None = None, result: dict[str, Any] | None = None
) -> Path:
    """A run directory whose second pass is over."""
    inside = folder / "inside" / "search"
    inside.mkdir(parents=True)
    (folder / "search.json").write_text(json.dumps({**REQUEST, **(request or {})}))
    (inside / "result.json").write_text(json.dumps({**RESULT, "trials": TRIALS, **(result or {})}))
    end = {"event": "end", "exit_code": 0, "pass": 2, "attempt": 1}
    (inside.parent / "events.jsonl").write_text(json.dumps(end) + "\n")
    return folder


def verdict(kind: str = "rejected", selection: str = "split", looks: int = 2) -> Verdict:
    given = {
        "verdict": kind,
        "metric": "accuracy",
        "value": 0.78,
        "target": 0.8,
        "selection": selection,
        "looks": looks,
    }
    return Verdict.from_json(given)


def test_what_the_gate_rejected_is_searched_further(tmp_path: Path) -> None:
    run_dir = searched(tmp_path)
    assert second_pass.can_continue(run_dir, verdict())
    assert second_pass.last_pass(run_dir) == 2
    assert not second_pass.can_continue(run_dir, verdict("accepted"))
    assert not second_pass.can_continue(run_dir, verdict(selection="")), (
        "this verdict is about the model before the search"
    )


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        ({}, {"stopped": "trials"}),
        ({"trials": 1}, {}),
        ({"minutes": 0.3}, {}),
        ({"rejected": [0.81], "pass": 3}, {}),
    ],
    ids=["budget used up", "no trials left", "no time left", "going on already"],
)
def test_when_it_does_not_go_on(
    request_: dict[str, Any], result: dict[str, Any], tmp_path: Path
) -> None:
    assert not second_pass.can_continue(
        searched(tmp_path, request=request_, result=result), verdict()
    )


def test_the_gate_looks_at_its_examples_three_times_at_most(tmp_path: Path) -> None:
    run_dir = searched(tmp_path)
    assert second_pass.can_continue(run_dir, verdict(looks=protocol.MOST_LOOKS - 1))
    assert not second_pass.can_continue(run_dir, verdict(looks=protocol.MOST_LOOKS))


@pytest.mark.parametrize(
    ("same_again", "expected"), [(True, "judged"), (None, "judged"), (False, "")]
)
def test_examples_that_are_others_at_every_reading_have_no_name_for_the_search(
    same_again: bool | None, expected: str, tmp_path: Path
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    listed = [
        {
            "source": "fit.validation",
            "examples_digest": name,
            "measured_on": {"same_again": same_again},
        }
        for name in ("judged", "of a later fit")
    ]
    (inside / "metrics.json").write_text(json.dumps({"evaluations": listed}))
    verdict = Verdict(
        verdict="rejected", target=0.8, source="fit.validation", examples_digest="judged"
    )
    assert second_pass._judged_digest(tmp_path, verdict) == expected
