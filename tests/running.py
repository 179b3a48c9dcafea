"""One execution of a script by the runner, as a process of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def run_runner(
    project: Path, inside: Path, entry: str = "train.py", *args: str, **orders: Any
) -> subprocess.CompletedProcess[str]:
    """Run an entry of a project by the runner in this environment, and wait for its end.

    Args:
        project: the pushed project.
        inside: the container's part of the run directory.
        entry: the script, relative to the project.
        args: its arguments.
        orders: what MLOPS_SPEC tells the runner.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return run_runner_of(sys.executable, environment, project, inside, entry, *args, **orders)


def run_runner_of(
    interpreter: str | Path,
    environment: Mapping[str, str],
    project: Path,
    inside: Path,
    entry: str,
    *args: str,
    **orders: Any,
) -> subprocess.CompletedProcess[str]:
    """Run an entry as `run_runner` does, with another interpreter and these variables."""
    variables = {
        **environment,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MLOPS_STRICT": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps(orders),
    }
    inside.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [str(interpreter), "-m", "mlops_lib.runner", entry, *args],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=inside.parent,
    )


def run_script(folder: Path, text: str, **orders: Any) -> tuple[Path, dict[str, Any]]:
    """Run `text` as `train.py` of a project in `folder`; returns its `inside/` and metrics.json.

    Args:
        folder: where project and `inside/` are made.
        text: the script.
        orders: what MLOPS_SPEC tells the runner.
    """
    project, inside = folder / "project", folder / "inside"
    project.mkdir(parents=True, exist_ok=True)
    (project / "train.py").write_text(text)
    done = run_runner(project, inside, **orders)
    assert done.returncode == 0, done.stderr
    claims: dict[str, Any] = json.loads((inside / "metrics.json").read_text())
    return inside, claims
