"""PyTorch scripts as they are, killed with SIGKILL, end as if left alone; doubts are said.

A fixed sample of what `bench.pytorch_kills` does.
"""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_environment as environment

from bench import pytorch_kills as kills

CASES = kills.CASES
LOOP = """
import os, signal, sys, torch
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.Adam(model.parameters(), 0.1)
print("begins")
for epoch in range(4):
    for step in range(10):
        x = torch.randn(8, 3) + float(os.environ.get("DRIFT", "0"))
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch == 1 and step == 5 and "ENDS" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)
            del os.environ["ENDS"]
    print(epoch, loss.item(), flush=True)
    if epoch == int(os.environ.get("DIES", "-1")):
        os.kill(os.getpid(), signal.SIGKILL)
torch.save(model.state_dict(), "model.pt")
"""
SEVERED = """
import torch
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
other = torch.nn.Linear(3, 1)
fast = torch.optim.SGD(other.parameters(), 0.1)
slow = torch.optim.SGD(model.parameters(), 0.1)
total = 0
for step in range(40):
    total = total + model(torch.randn(4, 3)).square().mean()
    loss = other(torch.randn(4, 3)).square().mean()
    fast.zero_grad()
    loss.backward()
    fast.step()
total.backward()
slow.step()
torch.save([model.state_dict(), other.state_dict()], "model.pt")
"""
FAILS = """
import torch
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(3):
    for x in torch.utils.data.DataLoader(torch.randn(9, 3), 3):
        model(x).sum().backward()
        optimizer.step()
        if epoch == 1:
            raise RuntimeError(f"at {epoch}")
"""


@pytest.fixture(scope="module")
def runners() -> Iterator[kills.Runners]:
    served = kills.Runners(environment.interpreter())
    yield served
    served.close()


def pushed(folder: Path, text: str) -> Path:
    project = folder / "project"
    project.mkdir()
    (project / "train.py").write_text(text)
    return project


SHARED_STATE = """
import torch
torch.manual_seed(0)
SHARED = {}
class Lossy:
    def __init__(self, loader):
        self.iterator = iter(loader)
        self.seen = {"at": torch.zeros(2)}
        self.read = lambda: next(self.iterator)
        self.last = [torch.zeros(3)]
    def __getstate__(self):
        return {"seen": self.seen, "iterator": None, "last": self.last}
    def __setstate__(self, state):
        vars(self).update(state)
        self.read = lambda: next(self.iterator)
class Borg:
    _state = {}
    def __init__(self):
        self.__dict__ = self._state
class Global:
    def __init__(self):
        self.__dict__ = SHARED
data = torch.utils.data.DataLoader(torch.arange(24.0), 2, shuffle=True)
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.01)
seen = []
for epoch in range(2):
    lossy, borg, other = Lossy(data), Borg(), Global()
    for step in range(10):
        x = lossy.read()[:, None]
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        borg.count = getattr(Borg(), "count", 0) + 1
        Global().steps = getattr(other, "steps", 0) + len(x)
        seen.append((x.sum().item(), Borg().count, other.steps))
torch.save(seen, "seen.pt")
"""


def test_pytorch_objects_that_pickle_to_something_else_are_put_back_as_they_were(
    runners: kills.Runners, tmp_path: Path
) -> None:
    """A `__getstate__` that leaves iterators out, as Lightning has; attributes that several objects
    share, as Accelerate has.
    """
    project = pushed(tmp_path, SHARED_STATE)
    alone = kills.alone(runners, project, tmp_path)
    killed = kills.killed(runners, project, tmp_path, iter([5, 6, 4]))
    assert killed.resumed() == 3, killed.said()
    assert killed.said() == alone.said()
    assert kills.differences(alone, killed) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.py")))
def test_pytorch_script_killed_ends_as_if_left_alone(
    runners: kills.Runners, tmp_path: Path, name: str
) -> None:
    project = pushed(tmp_path, (CASES / f"{name}.py").read_text())
    alone = kills.alone(runners, project, tmp_path)
    assert alone.codes == [0], alone.printed()[-3000:]
    most = alone.checkpoints() // 3
    killed = kills.killed(runners, project, tmp_path, iter([most // 2 + 3, most]))
    assert killed.codes.count(-signal.SIGKILL) == 2, killed.codes
    assert killed.resumed(), killed.said()
    assert kills.differences(alone, killed, timed=name in kills.TIMED) == []


@pytest.mark.slow
def test_pytorch_checkpoint_that_is_damaged_is_noticed(
    runners: kills.Runners, tmp_path: Path
) -> None:
    project = pushed(tmp_path, LOOP)
    alone = kills.alone(runners, project, tmp_path)
    chosen = random.Random(3)
    damages: list[str] = []
    killed = kills.killed(
        runners,
        project,
        tmp_path,
        iter([6, 4, 5, 4]),
        lambda run: damages.append(kills.corrupt(run, chosen)),
    )
    assert len(damages) == 4
    assert sum("passed over" in one for one in killed.said()) == 4
    assert kills.differences(alone, killed) == []


def test_pytorch_resume_that_is_not_proven_is_not_used(
    runners: kills.Runners, tmp_path: Path
) -> None:
    """What a step computes has changed since the checkpoint: no attempt goes on there."""
    project = pushed(tmp_path, LOOP.replace("range(4)", "range(20)"))
    run = kills.Run(tmp_path / "inside")
    # One checkpoint, which the signal makes due, soon after epoch 1; the attempt that begins there
    # leaves the digest of the next boundary long before it dies.
    kills.attempt(runners, project, run, None, {"ENDS": "1"}, checkpoint_budget=1e-9)
    kills.attempt(runners, project, run, None, {"DIES": "19"}, checkpoint_budget=1e-9)
    assert run.codes[-1] == -signal.SIGKILL
    while run.codes[-1] != 0:
        kills.attempt(runners, project, run, None, {"DRIFT": "1"})
        assert run.codes[-1] in (75, 0), run.printed()
    drifted = kills.alone(runners, project, tmp_path, DRIFT="1")
    assert run.outputs() == drifted.outputs()
    assert any("first boundary after the checkpoint" in one for one in run.said())
    assert any("from their beginning" in one for one in run.said())


def test_pytorch_gradient_through_a_checkpoint_is_not_silently_wrong(
    runners: kills.Runners, tmp_path: Path
) -> None:
    project = pushed(tmp_path, SEVERED)
    alone = kills.alone(runners, project, tmp_path)
    killed = kills.killed(runners, project, tmp_path, iter([9]))
    assert kills.differences(alone, killed) == []
    assert any("a gradient goes through a checkpoint" in one for one in killed.said())


def test_pytorch_script_asked_to_end_keeps_its_state_and_goes_on(
    runners: kills.Runners, tmp_path: Path
) -> None:
    project = pushed(tmp_path, LOOP)
    run = kills.Run(tmp_path / "inside")
    kills.attempt(runners, project, run, None, {"ENDS": "1"}, checkpoint_budget=1e-9)
    kills.attempt(runners, project, run, None, {})
    alone = kills.alone(runners, project, tmp_path)
    assert run.codes == [76, 0]
    assert run.resumed() == 1
    printed = "".join(log.read_text() for log in run.logs)
    assert printed == alone.printed(), "each line once"
    assert run.outputs() == alone.outputs()


def test_pytorch_error_of_a_script_keeps_its_traceback(
    runners: kills.Runners, tmp_path: Path
) -> None:
    project = pushed(tmp_path, FAILS)
    plain = subprocess.run(
        [environment.interpreter(), "train.py"], cwd=project, capture_output=True, text=True
    )
    shown = environment.run_runner(project, tmp_path / "inside")
    assert shown.returncode == 1
    wanted = plain.stderr.replace(str(project), str(tmp_path / "inside" / "work"))
    assert shown.stderr.splitlines()[-4:] == wanted.splitlines()[-4:]
    assert len(shown.stderr.splitlines()) == len(wanted.splitlines())
