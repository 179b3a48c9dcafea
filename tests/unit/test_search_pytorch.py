"""The search around a PyTorch script's own loop: what is selected on, and what the script is left with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytorch_environment
from pytorch_environment import run_runner

TENSORS = """
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(400, 6)
y = (x[:, 0] * x[:, 1] > 0).long()
x_train, y_train, x_test, y_test = x[:300].clone(), y[:300], x[300:].clone(), y[300:]
model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
seen = []
with open("log.txt", "w") as log:
    for epoch in range(12):
        order = torch.randperm(300)
        for start in range(0, 300, 50):
            rows = order[start : start + 50]
            loss = nn.functional.cross_entropy(model(x_train[rows]), y_train[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = (model(x_test).argmax(1) == y_test).float().mean().item()
        model.train()
        seen.append(right)
        log.write(f"{epoch} {right}\\n")
print("trained", len(seen), type(optimizer).__name__)
torch.save(model.state_dict(), "weights.pt")
"""


def _search(project: Path, inside: Path, **request: Any) -> subprocess.CompletedProcess[str]:
    """Run pass 1, unless it was, and pass 2."""
    if not (inside / "metrics.json").exists():
        done = run_runner(project, inside)
        assert done.returncode == 0, done.stderr
    asked = {"fit": 1, "metric": "accuracy", "target": 0.9, "pass": 2, **request}
    done = run_runner(project, inside, search=asked, **{"pass": 2})
    assert done.returncode == 0, done.stderr
    return done


def _trials(inside: Path) -> list[tuple[int, str]]:
    lines = (inside / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [(e["trial"]["number"], e["trial"]["state"]) for e in events if e["event"] == "trial"]


@pytest.fixture(name="tensors")
def _tensors(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(TENSORS)
    return project


def test_pytorch_search_killed_in_the_middle_leaves_the_winner_in_the_scripts_hands(
    tensors: Path,
) -> None:
    inside = tensors.parent / "inside"
    assert run_runner(tensors, inside).returncode == 0
    request = {"fit": 1, "metric": "accuracy", "target": 0.999, "trials": 2}
    assert _killed_at_trial(tensors, inside, request, number=2) == -signal.SIGKILL
    done = _search(tensors, inside, **request)
    ended = sorted(number for number, state in _trials(inside) if state != "running")
    assert ended == [0, 1, 2]  # none twice
    result = json.loads((inside / "search" / "result.json").read_text())
    assert (result["selection"], result["examples"]) == ("split", 75)
    assert result["winner"] in (1, 2)
    recipe = result["trials"][result["winner"]]["hyperparameters"]["recipe"]
    facts = json.loads((inside / "search" / "winner.json").read_text())
    assert (facts["optimizer"]["to"], facts["loop"]["epochs"]) == ("Adam", recipe["epochs"])
    # The script's own loop ran, over the winner's epochs, and nothing of the trials is left.
    assert done.stdout.splitlines()[-1] == f"trained {recipe['epochs']} Adam"
    assert len((inside / "outputs" / "log.txt").read_text().splitlines()) == recipe["epochs"]
    judged = json.loads((inside / "metrics.json").read_text())["evaluations"][-1]
    assert judged["examples"] == 100
    assert judged["measured_on"]["selected_on"] == 0
    assert judged["recomputed"] == judged["value"]


def _killed_at_trial(project: Path, inside: Path, request: dict[str, Any], *, number: int) -> int:
    """Start pass 2, kill its process when a trial has begun; return the exit code."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PYTHON"))},
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONHASHSEED": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps({"pass": 2, "search": request}),
    }
    command = [str(pytorch_environment.interpreter()), "-m", "mlops_lib.runner", "train.py"]
    with subprocess.Popen(command, env=environment, cwd=inside.parent) as process:
        while (number, "running") not in _trials(inside):
            assert process.poll() is None
        process.kill()
        return process.wait()
