"""What the injected code costs a PyTorch script: `python -m bench.overhead --framework pytorch`.

The same script trains bare and under the runner, in turn. What is compared is the processor time of
all threads of the training (all epochs but the first; checkpoints, digests and evaluations
included), which other load on the machine disturbs less than the clock. A pair is one run of each
kind, one after the other; the table has the median of the pairs' ratios and their range. Garbage is
collected before the clock starts: a full collection takes 0.2 s in any process that has PyTorch, and
whether one falls into a short training is chance.

MLOPS_TEST_PYTORCH names the interpreter that has PyTorch.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.forked_runners import ROOT

SCRIPT = """
import gc, json, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
generator = torch.Generator().manual_seed(1)
x = torch.rand({examples}, {channels}, {side}, {side}, generator=generator)
y = torch.randint(0, 10, ({examples},), generator=generator)
kept = {examples} // 6
train = DataLoader(TensorDataset(x[kept:], y[kept:]), batch_size={batch}, shuffle=True)
test = DataLoader(TensorDataset(x[:kept], y[:kept]), batch_size=256)
model = {model}
optimizer = torch.optim.Adam(model.parameters())
criterion = nn.CrossEntropyLoss()
for epoch in range({epochs}):
    if epoch == 1:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
    model.train()
    for inputs, labels in train:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for inputs, labels in test:
            correct += (model(inputs).argmax(1) == labels).sum().item()
print("TRAINED", json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""

CONVOLUTIONS = (
    "nn.Sequential(nn.Conv2d(3, {filters}, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),"
    " nn.Linear({filters} * 15 * 15, {units}), nn.ReLU(), nn.Linear({units}, 10))"
)
DENSE = "nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))"
PICTURES = {"channels": 3, "side": 32, "model": CONVOLUTIONS}

SIZES = {
    "small steps (0.3 ms)": {
        "examples": 6000,
        "channels": 1,
        "side": 8,
        "model": DENSE,
        "batch": 16,
        "epoch_s": 0.12,
    },
    "short epochs": {
        **PICTURES,
        "examples": 1500,
        "filters": 8,
        "units": 16,
        "batch": 64,
        "epoch_s": 0.2,
    },
    "epochs of a second": {
        **PICTURES,
        "examples": 6000,
        "filters": 16,
        "units": 64,
        "batch": 64,
        "epoch_s": 1.3,
    },
    "3.7 million parameters": {
        **PICTURES,
        "examples": 3000,
        "filters": 32,
        "units": 512,
        "batch": 64,
        "epoch_s": 2.0,
    },
}
"""The scripts; `epoch_s` is about how long an epoch takes on one core."""


def source(values: dict[str, object], epochs: int) -> str:
    """Return the text of a script."""
    text = SCRIPT.replace("{model}", str(values["model"]))
    for key, value in {**values, "epochs": epochs}.items():
        text = text.replace("{" + key + "}", str(value))
    return text


def measure(python: str, script: Path, folder: Path, *, is_injected: bool) -> tuple[float, float]:
    """Run the script once; return the seconds of its training by the clock and of all threads."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PYTHON"))}
    environment = {**kept, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    command = [python, str(script)]
    if is_injected:
        inside = Path(tempfile.mkdtemp(dir=folder))
        environment |= {
            "PYTHONPATH": str(ROOT),
            "MLOPS_PROJECT": str(script.parent),
            "MLOPS_INSIDE": str(inside),
        }
        command = [python, "-m", "mlops_lib.runner", script.name]
    done = subprocess.run(
        command, env=environment, cwd=script.parent, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("TRAINED"))
    wall, cpu = json.loads(line.removeprefix("TRAINED"))
    return wall, cpu


def table(pairs: int, seconds: float, names: list[str]) -> None:
    """Measure and print a line for each size of script."""
    python = os.environ.get("MLOPS_TEST_PYTORCH") or sys.executable
    print(f"{'':26} {'bare':>7} {'of the clock':>21} {'of processor time':>21}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in names or SIZES:
            values: dict[str, object] = dict(SIZES[size])
            epochs = max(3, round(seconds / float(str(values["epoch_s"])))) + 1
            project = folder / str(time.monotonic_ns())
            project.mkdir()
            script = project / "train.py"
            script.write_text(source(values, epochs))
            bare, under = [], []
            for number in range(pairs):
                # In turn the first one and the second one, against a drift of the machine's load.
                for is_injected in (number % 2 == 1, number % 2 == 0):
                    timing = measure(python, script, folder, is_injected=is_injected)
                    (under if is_injected else bare).append(timing)
            print(
                f"{size:26} {min(cpu for _, cpu in bare):6.1f}s"
                f" {_compared(under, bare, 0):>21} {_compared(under, bare, 1):>21}",
                flush=True,
            )


def _compared(under: list[tuple[float, float]], bare: list[tuple[float, float]], which: int) -> str:
    ratios = [one[which] / other[which] for one, other in zip(under, bare, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
