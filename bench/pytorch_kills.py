"""PyTorch scripts killed again and again: does each end as the run that was left alone?

`python -m bench.pytorch_kills [--kills 20] [--corrupt 0] [--scripts NAME …] [--more] [--seed 0]`
(`python -m bench.chaos --framework pytorch` is the same.)

Every script of `tests/cases/pytorch_resume` runs once alone, and once killed with SIGKILL so many
times, at random moments after random checkpoints. Weights, files, epochs and what the last attempt
printed must be the same to the byte. `--corrupt` damages a checkpoint so many times between two
attempts (a moment of an optimizer, a word of a random state, an index, any byte), its outer checksum
made right again: the next attempt must notice and still end with the same result.

`--more` takes the scripts in `more/` instead: folds, LBFGS, SWA, streams, class state, exceptions,
policy gradients, checkpoints of the script's own.

MLOPS_TEST_PYTORCH names the interpreter that has PyTorch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.forked_runners import ROOT, ForkedRunners
from mlops_lib.runner import protocol
from mlops_lib.runner.state import atomic, checkpoint

CASES = ROOT / "tests" / "cases" / "pytorch_resume"
PATIENCE_S = 300.0
LOOK_S = 0.003
WHERE = "run"
"""Name of the folder of every run: frameworks' checkpoints hold the paths of their files."""
TIMED = ("early_stopping", "hf_trainer", "hf_checkpoints")
"""Scripts that print how long something took."""


class Runners(ForkedRunners):
    """Runners of PyTorch scripts.

    Args:
        interpreter: a Python that has PyTorch.
    """

    def __init__(self, interpreter: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PYTHON"))}
        environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PRELOAD": "numpy,torch",
            "OMP_NUM_THREADS": "1",
            "MLOPS_STRICT": "1",
        }
        super().__init__(interpreter, environment)

    def start(
        self,
        project: Path,
        inside: Path,
        number: int,
        log: Path,
        environment: dict[str, str],
        **orders: Any,
    ) -> int:
        """Start an attempt; return its process id."""
        # Every boundary is a checkpoint: what is tested is not how seldom they are taken.
        spec = {"seed": 5, "attempt": number, "checkpoint_budget": 1e6, "mid_epoch_s": 0.0}
        return self.fork(project, inside, log, {**spec, **orders}, environment)


@dataclass
class Run:
    """All attempts of one script."""

    inside: Path
    logs: list[Path] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """The events so far, of one kind or of all."""
        path = self.inside / protocol.EVENTS
        if not path.exists():
            return []
        lines = path.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if kind in ("", one["event"])]

    def checkpoints(self) -> int:
        """How many checkpoints were durable so far."""
        path = self.inside / protocol.EVENTS
        return path.read_bytes().count(b'"checkpoint"') if path.exists() else 0

    def outputs(self) -> dict[str, bytes]:
        """What the script wrote."""
        folder = self.inside / "outputs"
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def epochs(self) -> list[tuple[int, int, str]]:
        """The epochs with their numbers."""
        return [(e["fit"], e["epoch"], json.dumps(e["metrics"])) for e in self.events("epoch")]

    def resumed(self) -> int:
        """How many attempts went on within a training."""
        return sum("resumed at" in e["message"] for e in self.events("note"))

    def said(self) -> list[str]:
        """The warnings."""
        return [e["message"] for e in self.events("warning")]

    def printed(self) -> str:
        """What the last attempt printed."""
        return self.logs[-1].read_text()


def alone(runners: Runners, project: Path, folder: Path, **environment: str) -> Run:
    """Run a script that is left alone."""
    run = Run(folder / WHERE / "inside")
    attempt(runners, project, run, None, environment)
    (folder / WHERE).rename(folder / "alone")
    return Run(folder / "alone" / "inside", [folder / "alone" / "1.log"], run.codes)


def killed(
    runners: Runners,
    project: Path,
    folder: Path,
    pauses: Iterator[int],
    between: Callable[[Run], None] = lambda run: None,
    **environment: str,
) -> Run:
    """Run a script that is killed again and again.

    Args:
        runners: start it.
        project: the script's folder.
        folder: where to keep everything.
        pauses: for each kill, the number of checkpoints to wait for.
        between: called after each kill.
        environment: variables of every attempt.
    """
    run = Run(folder / WHERE / "inside")
    for pause in pauses:
        attempt(runners, project, run, run.checkpoints() + pause, environment)
        if run.codes[-1] == 0:
            return run
        between(run)
    while run.codes[-1:] != [0]:
        attempt(runners, project, run, None, environment)
        if run.codes[-1] not in (0, protocol.RECYCLE):
            break
    return run


def attempt(
    runners: Runners,
    project: Path,
    run: Run,
    until: int | None,
    environment: dict[str, str],
    **orders: Any,
) -> None:
    """Make one attempt of a run.

    Args:
        runners: start it.
        project: the script's folder.
        run: its attempts so far.
        until: kill it when the run has so many checkpoints; None to leave it alone.
        environment: its variables.
        orders: what the runner is told.
    """
    number = len(run.logs) + 1
    run.inside.mkdir(parents=True, exist_ok=True)
    run.logs.append(run.inside.parent / f"{number}.log")
    pid = runners.start(project, run.inside, number, run.logs[-1], environment, **orders)
    if until is not None:
        deadline = time.monotonic() + PATIENCE_S
        while run.checkpoints() < until and _runs(pid) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        if _runs(pid):
            os.kill(pid, signal.SIGKILL)
    run.codes.append(int(runners.answer()))


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def differences(one: Run, other: Run, *, timed: bool = False) -> list[str]:
    """What is not the same in two runs of a script.

    Args:
        one: the run that was left alone.
        other: the one that was killed.
        timed: whether the script prints times.
    """
    found = [] if other.codes[-1] == 0 else [f"it ended with {other.codes[-1]}"]
    ours, theirs = one.outputs(), other.outputs()
    found += [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    if one.epochs() != other.epochs():
        found.append("epochs")
    if not timed and not one.printed().endswith(other.printed()):
        found.append("what is printed")
    return found


def corrupt(run: Run, chosen: random.Random) -> str:
    """Damage the newest checkpoint; returns how, "" if there is none yet.

    The checksum of its file is made right again, except where any byte is flipped.
    """
    folder = run.inside / "fits" / "loops"
    states = atomic.Generations(str(folder), "state")
    found = next(states.read(), None)
    if found is None:
        return ""
    number, content = found
    path = Path(states.paths[number % 2])
    kind = chosen.choice(("moment", "random state", "index", "byte"))
    if kind == "byte":
        whole = bytearray(path.read_bytes())
        whole[chosen.randrange(len(whole))] ^= 1 << chosen.randrange(8)
        path.write_bytes(whole)
        return kind
    state = checkpoint._unpack(content)
    record = state["records"][state["last"]]
    if kind == "index" or record["content"] is None:
        record["n"] += chosen.choice((-1, 1))
        kind = "index"
    else:
        fingerprint, stream, storages = pickle.loads(record["content"])
        if kind == "moment" and any(len(data) for _, data in storages.values()):
            key = chosen.choice([key for key, (_, data) in storages.items() if data])
            storages[key] = (storages[key][0], _flipped(storages[key][1], chosen))
        else:
            stream = _flipped(stream, chosen)
        record["content"] = pickle.dumps((fingerprint, stream, storages), 5)
    for one in state["records"].values():
        if one["content"] is not None:
            one["content"] = pickle.PickleBuffer(bytes(one["content"]))
    pieces = atomic.seal(number.to_bytes(8, "big"), *checkpoint._pack(state))
    path.write_bytes(b"".join(bytes(piece) for piece in pieces))
    return kind


def _flipped(data: bytes, chosen: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chosen.randrange(len(changed))] ^= 1 << chosen.randrange(8)
    return bytes(changed)


def interpreter() -> Path:
    """The Python that has PyTorch, which MLOPS_TEST_PYTORCH names; else this one."""
    return Path(os.environ.get("MLOPS_TEST_PYTORCH") or sys.executable)


def main(arguments: list[str] | None = None) -> int:
    """Print a table; exit with 1 if a run differs or a damage was not noticed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--corrupt", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scripts", nargs="*", default=[])
    parser.add_argument("--more", action="store_true")
    asked = parser.parse_args(arguments)
    folder_of = CASES / "more" if asked.more else CASES
    asked.scripts = asked.scripts or sorted(path.stem for path in folder_of.glob("*.py"))
    runners = Runners(interpreter())
    right = 0
    try:
        for name in asked.scripts:
            with tempfile.TemporaryDirectory() as folder:
                right += _measure(runners, name, Path(folder), asked)
    finally:
        runners.close()
    print(f"{right} of {len(asked.scripts)} scripts as left alone")
    return 0 if right == len(asked.scripts) else 1


def _measure(runners: Runners, name: str, folder: Path, asked: argparse.Namespace) -> bool:
    project = folder / "project"
    project.mkdir()
    script = next(CASES.rglob(f"{name}.py"))
    shutil.copy(script, project / "train.py")
    first = alone(runners, project, folder)
    if first.codes != [0]:
        print(first.printed()[-2000:])
        return False
    chosen = random.Random(f"{asked.seed} {name}")
    most = max(1, first.checkpoints() // (asked.kills + 1))
    damages: list[str] = []

    def between(run: Run) -> None:
        if len(damages) < asked.corrupt:
            with contextlib.suppress(StopIteration):
                damages.extend(filter(None, [corrupt(run, chosen)]))

    pauses = iter([chosen.randint(1, most) for _ in range(asked.kills)])
    second = killed(runners, project, folder, pauses, between)
    wrong = differences(first, second, timed=name in TIMED)
    noticed = sum("passed over" in e["message"] for e in second.events("warning"))
    kills = second.codes.count(-signal.SIGKILL)
    print(
        f"{name:18} {kills:3} kills, {second.resumed():3} went on within the training, "
        f"{noticed} of {len(damages)} damages noticed, differs: {', '.join(wrong) or 'nothing'}",
        flush=True,
    )
    others = [said for said in second.said() if said not in first.said()]
    for said in sorted({one for one in others if "passed over" not in one}):
        print("   ", said)
    if wrong:
        print(second.printed()[-1500:])
    return not wrong and noticed >= len(damages)


if __name__ == "__main__":
    sys.exit(main())
