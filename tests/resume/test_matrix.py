"""Scripts that are killed again and again end with identical results.

Each folder of tests/cases/resume is one script: its `begin.py`, or the one beside the folders, then
every other file in it. It runs once undisturbed, and once with several SIGKILLs over its life:
after an epoch, within an epoch, while a checkpoint is being written. The output of both must be the
same to the bit. `MLOPS_RESUME_KILLS=all` kills within every fit. `MLOPS_RESUME_BACKEND=torch` lets
the group `jax` compute with PyTorch, and with `MLOPS_RESUME_GPUS=0` it does so on a GPU.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.forked_runners import ROOT, ForkedRunners

CASES = ROOT / "tests" / "cases" / "resume"
BEGIN = CASES / "begin.py"
KILLS = os.environ.get("MLOPS_RESUME_KILLS", "4")
PRELOAD = {
    "legacy": "numpy,tensorflow,tf_keras",
    "estimators": "numpy,scipy.sparse,pandas",
    "jax": "numpy,tensorflow,jax,scipy.sparse",
}
VARIABLES = {
    "legacy": {"TF_USE_LEGACY_KERAS": "1"},
    "jax": {"KERAS_BACKEND": os.environ.get("MLOPS_RESUME_BACKEND", "jax")},
}
SPEC = {"epochs": {"mid_epoch_s": 0.0}, "jax": {"mid_epoch_s": 0.0}}
EXPECTED_OUTPUT = {
    "models": "a loop of its own (GradientTape)",
    "data": "the data ran out: 8 of the 10 batches",
    "jax": "the data ran out: 6 of the 7 batches",
}
"""Expected output of the runs of a group."""
DEADLINE_S = 240
TIME_DEPENDENT_SUFFIXES = (".keras", ".v2")
"""Suffixes of files that contain the time.

The content of a saved model is compared by loading it (case `callbacks`).
"""


class Forks(ForkedRunners):
    """Runners of the scripts of a group."""

    def __init__(self, group: str) -> None:
        environment = {
            **os.environ,
            **VARIABLES.get(group, {}),
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "1",
            "PRELOAD": PRELOAD.get(group, "numpy,tensorflow,keras"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": os.environ.get("MLOPS_RESUME_GPUS", "-1"),
            "MLOPS_STRICT": "1",
        }
        self.group = group
        super().__init__(sys.executable, environment)

    def start(self, project: Path, inside: Path, attempt: int, **more: str) -> int:
        spec = {
            "seed": 5,
            "attempt": attempt,
            "checkpoint_budget": 10.0,
            **SPEC.get(self.group, {}),
        }
        return self.fork(project, inside, inside.parent / "log.txt", spec, more)


@pytest.fixture
def forks(request: pytest.FixtureRequest) -> Iterator[Forks]:
    served = Forks(request.param)
    yield served
    served.close()


def events(inside: Path) -> list[dict[str, Any]]:
    path = inside / "events.jsonl"
    if not path.exists():
        return []
    return [
        json.loads(line)
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


Moment = Callable[[Path], bool]


def after_checkpoint(fit: int, epoch: int, step: int) -> Moment:
    """Return a condition: the fit has a durable checkpoint from there or later."""

    def reached(inside: Path) -> bool:
        checkpoints = (e for e in events(inside) if e["event"] == "checkpoint" and e["fit"] == fit)
        return any((e["epoch"], e.get("step", 0)) >= (epoch, step) for e in checkpoints)

    return reached


def while_writing(fit: int, epoch: int) -> Moment:
    """Return a condition: a checkpoint after that epoch is being written."""
    later = after_checkpoint(fit, epoch, 0)

    def reached(inside: Path) -> bool:
        folder = inside / "fits" / str(fit)
        return later(inside) and any(
            path.name.startswith(".tmp-") for path in folder.glob(".tmp-*")
        )

    return reached


def after_candidates(count: int) -> Moment:
    """Return a condition: results of `count` candidates are on disk."""
    return lambda inside: len(list(inside.glob("fits/**/candidates-*/[0-9]*"))) >= count


def moments(alone: Path, group: str) -> list[Moment]:
    """Return the conditions for kills, spread over the fits of the undisturbed run."""
    generator = random.Random(7)
    epochs: dict[int, list[int]] = {}
    for event in events(alone):
        if event["event"] == "epoch":
            epochs.setdefault(event["fit"], []).append(event["epoch"])
    fits = sorted(fit for fit, of in epochs.items() if len(of) > 1)
    if KILLS != "all":
        fits = sorted(generator.sample(fits, min(int(KILLS), len(fits))))
    conditions: list[Moment] = []
    for i, fit in enumerate(fits):
        epoch = generator.choice(epochs[fit][:-1])
        if SPEC.get(group):
            conditions += [
                after_checkpoint(fit, epochs[fit][0] - 1, 4),
                after_checkpoint(fit, epochs[fit][0], 9),
            ]
        else:
            conditions.append(
                while_writing(fit, epochs[fit][0]) if i % 2 else after_checkpoint(fit, epoch, 0)
            )
    return (
        [*conditions, after_candidates(6), after_candidates(20)]
        if group == "estimators"
        else conditions
    )


def kill(forks: Forks, pid: int, inside: Path, moment: Moment) -> int:
    """Kill the runner once the condition holds; return its exit code.

    The code is another one if the runner ended before.
    """
    deadline = time.monotonic() + DEADLINE_S
    while not moment(inside) and _runs(pid):
        assert time.monotonic() < deadline, (inside.parent / "log.txt").read_text()[-3000:]
        time.sleep(0.002)
    if _runs(pid):
        os.kill(pid, signal.SIGKILL)
    return int(forks.answer())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def script(group: str) -> str:
    own = CASES / group / "begin.py"
    parts = sorted(path for path in (CASES / group).glob("*.py") if path != own)
    return "\n".join(path.read_text() for path in [own if own.exists() else BEGIN, *parts])


def outputs(inside: Path) -> dict[str, bytes]:
    folder = inside / "outputs"
    files = {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        str(path): content
        for path, content in files.items()
        if path.suffix not in TIME_DEPENDENT_SUFFIXES
    }


def epochs(inside: Path) -> list[tuple[int, int, str]]:
    return [
        (e["fit"], e["epoch"], json.dumps(e["metrics"]))
        for e in events(inside)
        if e["event"] == "epoch"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "forks", sorted(path.name for path in CASES.iterdir() if path.is_dir()), indirect=True
)
def test_killed_run_ends_like_an_undisturbed_one(forks: Forks, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(script(forks.group))
    alone, killed = tmp_path / "alone" / "inside", tmp_path / "killed" / "inside"
    forks.start(project, alone, 1)
    assert forks.answer() == 0, (alone.parent / "log.txt").read_text()[-3000:]

    codes = []
    for moment in moments(alone, forks.group):
        codes.append(kill(forks, forks.start(project, killed, len(codes) + 1), killed, moment))
        assert codes[-1] in (0, -signal.SIGKILL), (killed.parent / "log.txt").read_text()[-3000:]
    assert -signal.SIGKILL in codes
    forks.start(project, killed, len(codes) + 1)
    assert forks.answer() == 0, (killed.parent / "log.txt").read_text()[-3000:]

    results = [
        (inside / "outputs" / "results.txt").read_text().splitlines() for inside in (alone, killed)
    ]
    assert results[1] == results[0]
    assert outputs(killed) == outputs(alone)
    assert epochs(killed) == epochs(alone), "one history: every epoch exactly once"
    assert any(event["event"] == "fit" and event["state"] == "resumed" for event in events(killed))
    said = [event["message"] for event in events(alone) if event["event"] == "warning"]
    assert [one for one in said if EXPECTED_OUTPUT.get(forks.group, "nothing") in one] == said
