"""A PyTorch training that ran out of memory goes on by parts of its batches.

The allocations fail for real: the script limits its own address space.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import pytorch_environment as environment

from mlops_lib.runner import protocol

SCRIPT = """
import os, resource, sys, torch
from torch import nn
torch.manual_seed(0)
width = 256
layers = [one for _ in range(8) for one in (nn.Linear(width, width), nn.Tanh())]
model = nn.Sequential(nn.Linear(64, width), *layers, nn.Linear(width, 1))
x, y = torch.randn(16384, 64), torch.randn(16384, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 16384, shuffle=True)
(model(x[:8]).sum() * 0).backward()
if sys.argv[1:]:
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (int(sys.argv[1]) << 20),) * 2)
for a, b in (*loader, *loader):
    loss = nn.functional.mse_loss(model(a), b)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.4f}", flush=True)
"""
OUTPUTS = """
import torch
from torch import nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.head = nn.Linear(8, 3)
    def forward(self, x, labels):
        scores = self.head(self.body(x))
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}
class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 1)
    def forward(self, x):
        return self.head(x - x.mean(0))
for model, given in (
    (Net(), (torch.randn(10, 6), torch.arange(10) % 3)),
    (Mixing(), (torch.randn(10, 6),)),
    (nn.GRU(6, 5), (torch.randn(10, 10, 6),)),
):
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(3):
        made = model(*given)
        loss = made["loss"] if isinstance(made, dict) else made[0].sum()
        loss.backward()
        optimizer.step()
counted = model = None
torch.save([int(step)], "steps.pt")
"""


def pushed(folder: Path, text: str) -> Path:
    project = folder / "project"
    project.mkdir()
    (project / "train.py").write_text(text)
    return project


def warnings(inside: Path) -> list[str]:
    lines = (inside / "events.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert not [one for one in found if one["event"] == "hook_error"]
    return [one["message"] for one in found if one["event"] == "warning"]


def in_parts(project: Path, inside: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run the script by parts of its batches, in a fresh process whenever it wants one.

    How much memory the allocator needs differs a little from process to process: four parts may not
    fit either, and then a fresh process takes more of them.
    """
    processes: list[subprocess.CompletedProcess[str]] = []
    while not processes or (processes[-1].returncode == protocol.RECYCLE and len(processes) < 4):
        attempt = len(processes) + 1
        processes.append(
            environment.run_runner(
                project, inside, "train.py", "220", seed=5, smaller=True, attempt=attempt
            )
        )
    return processes


def test_pytorch_batches_are_computed_in_parts_after_a_failed_allocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    project = pushed(tmp_path, SCRIPT)
    whole = environment.run_runner(project, tmp_path / "whole", seed=5)
    limited = environment.run_runner(project, tmp_path / "limited", "train.py", "220", seed=5)
    parts = in_parts(project, tmp_path / "parts")
    assert whole.returncode == 0, whole.stderr
    assert limited.returncode == 1
    last = (tmp_path / "limited" / "events.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["error"]["kind"] == "oom"
    assert parts[-1].returncode == 0, parts[-1].stderr
    # A fresh process may repeat the step in which the memory was not enough.
    printed = "".join(process.stdout for process in parts).split()
    assert list(dict.fromkeys(printed)) == whole.stdout.split(), "the same updates"
    said = [one for one in warnings(tmp_path / "parts") if "memory was not enough before" in one]
    assert len(said) == len(parts)
    assert "computed in 4 parts" in said[0]
    assert "same effective batch" in said[0]


def test_pytorch_batches_whose_examples_depend_on_one_another_stay_whole(tmp_path: Path) -> None:
    project = pushed(tmp_path, OUTPUTS)
    shown = environment.run_runner(project, tmp_path / "inside", smaller=True)
    assert shown.returncode == 0, shown.stderr
    said = "\n".join(warnings(tmp_path / "inside"))
    assert "batch of Net is computed in 4 parts" in said
    assert "batch normalization sees each part" in said
    assert "depends on the others" in said
    assert "of Mixing" not in said
    assert "of GRU" not in said
