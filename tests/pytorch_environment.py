"""An interpreter that has PyTorch: the suite's own environment does not hold its several gigabytes.

`.ci/pytorch` makes one below the user's cache directory; MLOPS_TEST_PYTORCH names another one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
INTERPRETER = Path(
    os.environ.get("MLOPS_TEST_PYTORCH") or CACHE / "mlops-ci" / "pytorch" / "bin" / "python"
)


def interpreter() -> Path:
    """Return the interpreter; the test that asks skips if there is none, which in CI is a failure."""
    if not INTERPRETER.is_file():
        pytest.skip(
            "no PyTorch: run .ci/pytorch, or name an interpreter that has it by MLOPS_TEST_PYTORCH"
        )
    return INTERPRETER


def run_runner(
    project: Path, inside: Path, entry: str = "train.py", *args: str, **orders: Any
) -> subprocess.CompletedProcess[str]:
    """Run an entry of a project by the runner in the environment with PyTorch, and wait for its end.

    Args:
        project: the pushed project.
        inside: the container's part of the run directory.
        entry: the script, relative to the project.
        args: its arguments.
        orders: what MLOPS_SPEC tells the runner.
    """
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLOPS_", "PYTHON"))
        },
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MLOPS_STRICT": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps(orders),
    }
    inside.parent.mkdir(parents=True, exist_ok=True)
    command = [str(interpreter()), "-m", "mlops_lib.runner", entry, *args]
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=inside.parent,
    )
