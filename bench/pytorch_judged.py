"""PyTorch scripts in the shapes that people write: is the number judged that they print?

`python -m bench.pytorch_judged [--scripts NAME …]`

Each script of `tests/cases/pytorch_scripts` runs untouched and with no setting. Its case in
`cases.json` says what it prints: `prints` has the pattern of each number, of which the first must be
the one that is judged (another one if `judges` names it; R2 beside the numbers of a regression).
`says` has a part of the reason if there is no number. A number is wrong if it is judged and is not
the one that the script prints.

MLOPS_TEST_PYTORCH names the interpreter that has PyTorch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.forked_runners import ROOT
from mlops_lib.runner import protocol

SCRIPTS = ROOT / "tests" / "cases" / "pytorch_scripts"
TOLERANCE = 2e-5
"""Scripts print six digits, and add up in 32 bits."""


@dataclass(frozen=True)
class Outcome:
    """What was judged of one script.

    Attributes:
        judged: the evaluation that is judged, None if there is no number.
        numbers: the last value of each metric that was measured, those of the judged one first.
        printed: the numbers that the script printed, by metric.
        said: the warnings and notes of the run.
        failure: the end of what a script printed that failed.
    """

    judged: dict[str, Any] | None
    numbers: dict[str, float]
    printed: dict[str, float]
    said: tuple[str, ...]
    failure: str = ""

    def faults(self, case: dict[str, Any]) -> list[str]:
        """Return what is wrong."""
        if self.failure:
            return [self.failure]
        if self.judged is None:
            wanted = case.get("says")
            if wanted is None:
                return ["no number"]
            is_said = not wanted or any(wanted in one for one in self.said)
            return [] if is_said else [f"not said: {wanted}"]
        if not case.get("prints"):
            return [f"a number where there is none: {self.judged['metric']}"]
        found = []
        wanted = case.get("judges") or next(iter(case["prints"]))
        if self.judged["metric"] not in (wanted, "r2"):
            found.append(f"{self.judged['metric']} is judged, not {wanted}")
        for metric, value in self.printed.items():
            ours = self.numbers.get(metric, math.nan)
            if not math.isclose(ours, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                found.append(f"{metric} is {ours}, the script prints {value}")
        if self.judged["held_out"] is not case.get("held_out", True):
            found.append(f"held_out is {self.judged['held_out']}")
        return found

    @property
    def is_recomputed(self) -> bool:
        """Return whether the reloaded model gives the number."""
        again = None if self.judged is None else self.judged["recomputed"]
        return again is not None and math.isclose(
            again, self.judged["value"], rel_tol=TOLERANCE, abs_tol=TOLERANCE
        )


def run(interpreter: Path, script: Path, case: dict[str, Any]) -> Outcome:
    """Run a script by the runner; return what is judged."""
    with tempfile.TemporaryDirectory() as folder:
        project, inside = Path(folder) / "project", Path(folder) / "inside"
        project.mkdir()
        shutil.copy(script, project / "train.py")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PYTHON"))}
        done = subprocess.run(
            [str(interpreter), "-m", "mlops_lib.runner", "train.py"],
            cwd=folder,
            env={
                **kept,
                "PYTHONPATH": str(ROOT),
                "PYTHONHASHSEED": "7",
                "OMP_NUM_THREADS": "1",
                "MLOPS_PROJECT": str(project),
                "MLOPS_INSIDE": str(inside),
                "MLOPS_SPEC": json.dumps({"seed": 7}),
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return Outcome(None, {}, {}, (), (done.stdout + done.stderr)[-1500:])
        lines = (inside / protocol.EVENTS).read_text().splitlines()
        events = [json.loads(line) for line in lines]
        if any(one["event"] == "hook_error" for one in events):
            failure = next(str(one) for one in events if one["event"] == "hook_error")
            return Outcome(None, {}, {}, (), failure)
        claims = json.loads((inside / "metrics.json").read_text())
    said = [one["message"] for one in events if one["event"] in ("warning", "note")]
    choice = protocol.choose_judged(claims["evaluations"])
    # Without an accuracy the verdict shows the numbers and asks for the metric.
    shown = choice.evaluation or next(iter(reversed(choice.among)), None)
    return Outcome(
        None if shown is None else dict(shown),
        {
            **{one["metric"]: one["value"] for one in claims["evaluations"]},
            **({} if shown is None else shown["all"]),
        },
        {
            metric: float(re.findall(pattern, done.stdout)[-1])
            / (100 if metric in case.get("percent", ()) else 1)
            for metric, pattern in case.get("prints", {}).items()
        },
        (*said, *(str(one) for one in claims.get("reasons", ()))),
    )


def main(arguments: list[str] | None = None) -> int:
    """Print a table; exit with 1 if a number is wrong or missing without its reason."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--scripts", nargs="*", default=[])
    asked = parser.parse_args(arguments)
    cases: dict[str, dict[str, Any]] = json.loads((SCRIPTS / "cases.json").read_text())
    interpreter = Path(os.environ.get("MLOPS_TEST_PYTORCH") or sys.executable)
    numbers = again = wrong = 0
    for name in asked.scripts or sorted(cases):
        outcome = run(interpreter, SCRIPTS / f"{name}.py", cases[name])
        faults = outcome.faults(cases[name])
        numbers += outcome.judged is not None
        again += outcome.is_recomputed
        wrong += bool(faults)
        judged = outcome.judged or {}
        again_or_why = "again" if outcome.is_recomputed else judged.get("recompute_note") or ""
        print(
            f"{name:20} {judged.get('metric', '-'):11} {judged.get('value', math.nan):9.6f} "
            f"{judged.get('source', ''):30} {again_or_why:6} {'; '.join(faults) or 'right'}",
            flush=True,
        )
        if faults:
            print("   ", *outcome.said, sep="\n    ")
    count = len(asked.scripts or cases)
    print(f"{numbers} of {count} have a number, {again} measured again, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
