"""Runners, one at a time, forked from a process that has imported their framework already.

The import takes longer than most scripts; `tests/resume/forks.py` is the process that forks.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FORKS = ROOT / "tests" / "resume" / "forks.py"


class ForkedRunners:
    """Start runners, and read how they end.

    Args:
        interpreter: a Python that has the framework.
        environment: variables of the forking process and of every runner.
    """

    def __init__(self, interpreter: str | Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(interpreter), "-W", "ignore", str(FORKS)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.answer() == "ready"

    def answer(self) -> Any:
        """Return the next answer: a process id, or an exit code."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def fork(
        self,
        project: Path,
        inside: Path,
        log: Path,
        spec: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> int:
        """Start `train.py` of a project; return its process id.

        Args:
            project: the pushed project.
            inside: the container's part of the run directory; it is made.
            log: receives the script's output, appended.
            spec: the contents of MLOPS_SPEC.
            environment: further variables of this runner.
        """
        inside.mkdir(parents=True, exist_ok=True)
        order = {
            "environment": {
                "MLOPS_PROJECT": str(project),
                "MLOPS_INSIDE": str(inside),
                "MLOPS_SPEC": json.dumps(spec),
                **environment,
            },
            "log": str(log),
            "arguments": ["train.py"],
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self.answer())

    def close(self) -> None:
        """End the forking process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
