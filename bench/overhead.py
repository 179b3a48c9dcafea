"""What the injected code costs: the same script bare and under the runner, side by side in one run.

`python -m bench.overhead [--pairs 3] [--epochs 12]` prints two ratios for several epoch lengths: the whole process
(start-up and shut-down included) and the time of one epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import json, time
import numpy as np
import keras

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.random(({examples}, 32, 32, 3), dtype="float32")
y = rng.integers(0, 10, {examples})
model = keras.Sequential([
    keras.layers.Input((32, 32, 3)), keras.layers.Conv2D({filters}, 3, activation="relu"), keras.layers.MaxPooling2D(),
    keras.layers.Flatten(), keras.layers.Dense({units}, activation="relu"), keras.layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

class Clock(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.marks = [time.perf_counter()]
    def on_epoch_begin(self, epoch, logs=None):
        self.marks.append(time.perf_counter())

clock = Clock()
model.fit(x, y, epochs={epochs}, batch_size={batch}, verbose=0, callbacks=[clock])
marks = clock.marks[2:] + [time.perf_counter()]
print("MARKS", json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""

SIZES = {
    "short epochs": {"examples": 1500, "filters": 8, "units": 16, "batch": 64},
    "many small steps": {"examples": 6000, "filters": 4, "units": 8, "batch": 8},
    "epochs of a second or more": {"examples": 6000, "filters": 16, "units": 64, "batch": 64},
    "a larger model": {"examples": 3000, "filters": 32, "units": 512, "batch": 64},
}


def measure(script: Path, folder: Path, *, injected: bool) -> tuple[float, float]:
    """Seconds of the whole process, and the median epoch, of one run."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(script)]
    if injected:
        inside = Path(tempfile.mkdtemp(dir=folder))
        environment.update(PYTHONPATH=str(ROOT), MLOPS_PROJECT=str(script.parent), MLOPS_INSIDE=str(inside))
        command = [sys.executable, "-m", "mlops_lib.runner", script.name]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=script.parent, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    marks = next(line for line in done.stdout.splitlines() if line.startswith("MARKS"))
    return seconds, statistics.median(json.loads(marks[6:]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument("--epochs", type=int, default=12)
    asked = parser.parse_args()
    print(f"{'':28} {'bare epoch':>10} {'epoch ratio':>22} {'process ratio':>22}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, values in SIZES.items():
            project = folder / size.replace(" ", "-")
            project.mkdir()
            script = project / "train.py"
            text = SCRIPT
            for key, value in {**values, "epochs": asked.epochs}.items():
                text = text.replace("{" + key + "}", str(value))
            script.write_text(text)
            bare, under = [], []
            for _ in range(asked.pairs):
                bare.append(measure(script, folder, injected=False))
                under.append(measure(script, folder, injected=True))
            epoch = [u[1] / b[1] for u, b in zip(under, bare, strict=True)]
            whole = [u[0] / b[0] for u, b in zip(under, bare, strict=True)]
            shown = [f"{statistics.median(r):.3f} ({min(r):.3f}-{max(r):.3f})" for r in (epoch, whole)]
            print(f"{size:28} {statistics.median(b[1] for b in bare):9.3f}s {shown[0]:>22} {shown[1]:>22}")


if __name__ == "__main__":
    main()
