"""What untouched PyTorch scripts print is what the runner judges, and what the reloaded model gives again.

Each folder of tests/cases/pytorch is a case: a script, or the sample project that `case.json` names,
and there the patterns of what it prints.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pytorch_environment import interpreter, run_runner

from bench import pytorch_judged
from mlops_lib.runner import protocol

CASES = Path(__file__).parents[1] / "cases" / "pytorch"
SAMPLES = Path(__file__).parents[2] / "model_repo"
ROUNDING = 1e-5
"""Scripts print six digits, and add up in 32 bits."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_pytorch_the_number_of_a_script_is_judged(name: str, tmp_path: Path) -> None:
    case = json.loads((CASES / name / "case.json").read_text())
    project = SAMPLES / case["sample"] if "sample" in case else CASES / name
    entry = [case.get("entry", "train.py"), *case.get("args", ())]
    done = run_runner(project, tmp_path / "inside", *entry, metric=case.get("metric", ""))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "inside" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    _check_events(case, events)
    claims = json.loads((tmp_path / "inside" / "metrics.json").read_text())
    judged = protocol.choose_judged(claims["evaluations"], case.get("metric", "")).evaluation
    if not case["prints"]:
        assert judged is None, "no number is better than a wrong one"
        return
    assert judged is not None
    assert judged["source"] == case["source"]
    assert judged["held_out"] is case.get("held_out", True)
    for metric, pattern in case["prints"].items():
        printed = _printed(
            pattern, done.stdout, percent=case.get("percent", False) and metric == "accuracy"
        )
        assert judged["all"][metric] == pytest.approx(printed, rel=ROUNDING, abs=ROUNDING)
        _check_again(case, judged, metric, printed)
    assert claims["model"]["path"] == "model.pt"
    assert claims["model"]["reloaded"] is True


def _check_events(case: dict[str, Any], events: list[dict[str, Any]]) -> None:
    kinds = [event["event"] for event in events]
    assert "hook_error" not in kinds
    assert kinds.count("fit") == kinds.count("fit_end") == 1
    epochs = [event for event in events if event["event"] == "epoch"]
    assert all(event["metrics"]["loss"] > 0 for event in epochs)
    if "epochs" in case:
        assert len(epochs) == case["epochs"]
        assert any(name.startswith("val_") for name in epochs[-1]["metrics"])
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    if "warns" in case:
        assert any(case["warns"] in message for message in warnings)


def _check_again(case: dict[str, Any], judged: dict[str, Any], metric: str, printed: float) -> None:
    wanted = case.get("recomputed", True)
    if wanted is False:
        assert judged["recomputed"] is None
        assert case["note"] in judged["recompute_note"]
        return
    again = judged["all_recomputed"][metric]
    if wanted == "another":
        assert again != pytest.approx(printed, rel=ROUNDING, abs=ROUNDING)
    else:
        assert again == pytest.approx(printed, rel=ROUNDING, abs=ROUNDING)


def _printed(pattern: str, output: str, *, percent: bool) -> float:
    """Return the number that the script printed last."""
    found = re.findall(pattern, output)
    assert found, output[-2000:]
    return float(found[-1]) / (100 if percent else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sentiment", "tabular_whole", "timm_shape"])
def test_pytorch_a_script_as_people_write_it_has_its_number(name: str) -> None:
    """A fixed sample of what `bench.pytorch_judged` runs."""
    case = json.loads((pytorch_judged.SCRIPTS / "cases.json").read_text())[name]
    outcome = pytorch_judged.run(interpreter(), pytorch_judged.SCRIPTS / f"{name}.py", case)
    assert outcome.faults(case) == []
    assert outcome.is_recomputed


@pytest.mark.slow
def test_pytorch_every_way_to_compare_is_read(tmp_path: Path) -> None:
    done = run_runner(CASES.parent / "pytorch_comparisons", tmp_path / "inside")
    assert done.returncode == 0, done.stderr
    printed = {int(line.split()[0]): float(line.split()[1]) for line in done.stdout.splitlines()}
    claims = json.loads((tmp_path / "inside" / "metrics.json").read_text())
    found = {one["examples"]: one for one in claims["evaluations"]}
    assert {count: one["value"] for count, one in found.items()} == pytest.approx(printed, abs=1e-6)
    assert {count: one["recomputed"] for count, one in found.items()} == pytest.approx(
        printed, abs=1e-6
    )
    assert {one["held_out"] for one in found.values()} == {True}


@pytest.mark.slow
def test_pytorch_the_sample_misses_its_bar(tmp_path: Path) -> None:
    done = run_runner(SAMPLES / "cancer_pytorch", tmp_path / "inside")
    assert done.returncode == 0, done.stderr
    claims = json.loads((tmp_path / "inside" / "metrics.json").read_text())
    judged = protocol.choose_judged(claims["evaluations"]).evaluation
    assert judged is not None
    assert judged["recomputed"] < 0.8
