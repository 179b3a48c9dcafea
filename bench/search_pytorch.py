"""What it takes to reach a bar with a PyTorch script: `python -m bench.search --framework pytorch`.

The script is the developer's first network of the task, as PyTorch has it. Pass 1 trains it as it
is; pass 2 searches and trains the winner. What is counted is the processor time of all of pass 2,
imports and the winner's training included; `--equal-budget` and `--methods` have no meaning here.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy

from bench.search_tasks import TASKS, Data

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path.home() / ".cache" / "mlops-ci" / "pytorch" / "bin" / "python"
NETWORKS = {
    "cifar10": (
        "nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),"
        " nn.Linear(16 * 15 * 15, 32), nn.ReLU(), nn.Linear(32, 10)"
    ),
    "mnist": (
        "nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(),"
        " nn.Linear(4 * 7 * 7, 10)"
    ),
    "digits": (
        "nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(),"
        " nn.Linear(4 * 2 * 2, 10)"
    ),
}
"""The networks of `bench.search_tasks`, layer for layer."""
SCRIPT = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed({seed})
stored = np.load("data.npz")
x, y, x_test, y_test = (torch.from_numpy(stored[name]) for name in ("x", "y", "x_test", "y_test"))
train_loader = DataLoader(TensorDataset(x, y), batch_size={batch}, shuffle=True)
test_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=500)
model = nn.Sequential({layers})
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters())
for epoch in range({epochs}):
    model.train()
    for inputs, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for inputs, labels in test_loader:
            correct += (model(inputs).argmax(1) == labels).sum().item()
    print(epoch, correct / len(y_test), flush=True)
"""


def interpreter(python: str | None) -> str:
    """Return an interpreter that has PyTorch."""
    return python or os.environ.get("MLOPS_TEST_PYTORCH") or str(CACHE)


def write_project(folder: Path, name: str, data: Data, seed: int) -> None:
    """Write the script of a task and its data."""
    task = TASKS[name]
    folder.mkdir()
    x, x_test = (numpy.moveaxis(part, -1, 1).copy() for part in (data.x, data.x_test))
    numpy.savez(
        folder / "data.npz",
        x=x,
        x_test=x_test,
        y=data.y.astype("int64").ravel(),
        y_test=data.y_test.astype("int64").ravel(),
    )
    values = {"seed": seed, "batch": task.batch_size, "epochs": task.epochs}
    (folder / "train.py").write_text(SCRIPT.format(**values, layers=NETWORKS[name]))


def execute(python: str, project: Path, inside: Path, **orders: Any) -> float:
    """Run one pass; return its processor seconds, those of its trials included.

    Raises:
        subprocess.CalledProcessError: the script failed.
    """
    inside.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PYTHON"))}
    environment = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps(orders),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [python, "-m", "mlops_lib.runner", "train.py"]
    subprocess.run(
        command, env=environment, cwd=inside.parent, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def judged(inside: Path) -> float:
    """Return what the script's last evaluation on the test examples gave."""
    found = json.loads((inside / "metrics.json").read_text())["evaluations"][-1]
    return float(found["value"])


def cell(name: str, bar: float, seed: int, python: str) -> dict[str, float]:
    """Measure one search that ends at a bar."""
    with tempfile.TemporaryDirectory() as folder:
        project, inside = Path(folder, "project"), Path(folder, "inside")
        write_project(project, name, TASKS[name].load(), seed)
        execute(python, project, inside, seed=seed)
        first = judged(inside)
        search = {"fit": 1, "metric": "accuracy", "target": bar, "trials": 40, "minutes": 600.0}
        began = time.monotonic()
        cpu_s = execute(python, project, inside, seed=seed, search=search, **{"pass": 2})
        result = json.loads((inside / "search" / "result.json").read_text())
        trials = sum(one["number"] > 0 for one in result["trials"])
        wall_s = time.monotonic() - began
        return {
            "first": first,
            "value": judged(inside),
            "cpu_s": cpu_s,
            "wall_s": wall_s,
            "trials": trials,
        }


def table(names: list[str], seeds: int, python: str | None) -> None:
    """Measure and print the tasks that have a network in PyTorch, a line a bar and seed."""
    for name in [one for one in names if one in NETWORKS]:
        for bar in TASKS[name].bars:
            for seed in range(1, seeds + 1):
                found = cell(name, bar, seed, interpreter(python))
                sys.stdout.write(
                    f"{name} {bar:g} seed {seed}: {found['cpu_s']:.0f} s of processor time,"
                    f" {found['wall_s']:.0f} s, {found['trials']:.0f} trials,"
                    f" {found['first']:.3f} -> {found['value']:.3f}\n"
                )
                sys.stdout.flush()
