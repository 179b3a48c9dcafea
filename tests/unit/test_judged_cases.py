"""Which number of a script is judged, and how: each folder of tests/cases/judged is a script and
what is expected of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lib.gate import verdicts

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted((ROOT / "tests" / "cases" / "judged").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_number_that_counts(case: Path, tmp_path: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    inside = tmp_path / "inside"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "MLOPS_STRICT": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MLOPS_PROJECT": str(case),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": "{}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib.runner", "train.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    verdict = verdicts.judge(tmp_path, **{"target": 0.8, **expected.pop("settings", {})})
    model, baseline = expected.pop("model", None), expected.pop("baseline", None)
    assert {name: getattr(verdict, name) for name in expected} == expected, verdict
    if model is not None:
        assert (inside / model).is_file()
    if baseline is not None:
        assert verdict.baseline is not None
        assert verdict.baseline.name == baseline
