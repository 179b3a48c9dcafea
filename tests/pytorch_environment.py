"""An interpreter that has PyTorch: the suite's own environment does not hold its several gigabytes.

`.ci/pytorch` makes one below the user's cache directory; MLOPS_TEST_PYTORCH names another one.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import running

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
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PYTHON"))}
    environment = {**kept, "OMP_NUM_THREADS": "1"}
    return running.run_runner_of(
        interpreter(), environment, project, inside, entry, *args, **orders
    )
