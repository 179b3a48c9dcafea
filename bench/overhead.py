"""What the injected code costs: the same script bare and under the runner, side by side in one run.

`python -m bench.overhead [--pairs 3] [--seconds 20] [--framework pytorch]` prints for several epoch lengths and model
sizes the ratio of the training time (all epochs but the first, which compiles; checkpoints
included) by the clock and by the processor time of all threads, which a busy machine disturbs less,
and what a process pays once (start-up, the check of the saved model). Each is taken from the
fastest run of its kind; the range over the pairs says how noisy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import overhead_pytorch

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
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

clock = Clock()
model.fit(x, y, epochs={epochs}, batch_size={batch}, verbose=0, callbacks=[clock])
print("TRAINED", json.dumps([time.perf_counter() - clock.wall, time.process_time() - clock.cpu]))
"""

SIZES = {
    "short epochs": {"examples": 1500, "filters": 8, "units": 16, "batch": 64, "epoch_s": 0.12},
    "many small steps": {"examples": 6000, "filters": 4, "units": 8, "batch": 8, "epoch_s": 1.4},
    "epochs of half a second": {
        "examples": 6000,
        "filters": 16,
        "units": 64,
        "batch": 64,
        "epoch_s": 0.6,
    },
    "3.7 million parameters": {
        "examples": 3000,
        "filters": 32,
        "units": 512,
        "batch": 64,
        "epoch_s": 1.2,
    },
}
"""The scripts; `epoch_s` is about how long an epoch takes on two cores."""


@dataclass(frozen=True)
class Timing:
    """One run, in seconds: the training, by the clock and of all threads; and what the process took
    beside it.
    """

    wall: float
    cpu: float
    beside: float


def measure(script: Path, folder: Path, *, injected: bool) -> Timing:
    """Run the script once."""
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONHASHSEED": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [sys.executable, str(script)]
    if injected:
        inside = Path(tempfile.mkdtemp(dir=folder))
        environment.update(
            PYTHONPATH=str(ROOT), MLOPS_PROJECT=str(script.parent), MLOPS_INSIDE=str(inside)
        )
        command = [sys.executable, "-m", "mlops_lib.runner", script.name]
    began = time.perf_counter()
    done = subprocess.run(
        command, env=environment, cwd=script.parent, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    line = next(line for line in done.stdout.splitlines() if line.startswith("TRAINED"))
    wall, cpu = json.loads(line.removeprefix("TRAINED"))
    return Timing(wall=wall, cpu=cpu, beside=seconds - wall)


def compared(under: list[float], bare: list[float]) -> str:
    """The ratio of the fastest runs, which other load disturbed least, and the range over the
    pairs.
    """
    ratios = [u / b for u, b in zip(under, bare, strict=True)]
    return f"{min(under) / min(bare):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="about how long a bare run trains"
    )
    parser.add_argument("--framework", choices=("keras", "pytorch"), default="keras")
    parser.add_argument("--sizes", nargs="*", default=[], help="of PyTorch: only these scripts")
    asked = parser.parse_args()
    if asked.framework == "pytorch":
        overhead_pytorch.table(asked.pairs, asked.seconds, asked.sizes)
        return
    print(
        f"{'':26} {'bare':>7} {'training, clock':>21} {'training, processor':>21} {'once a process':>15}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, values in SIZES.items():
            project = folder / size.replace(" ", "-")
            project.mkdir()
            script = project / "train.py"
            text = SCRIPT
            epochs = max(3, round(asked.seconds / values["epoch_s"])) + 1
            for key, value in {**values, "epochs": epochs}.items():
                text = text.replace("{" + key + "}", str(value))
            script.write_text(text)
            bare, under = [], []
            for _ in range(asked.pairs):
                bare.append(measure(script, folder, injected=False))
                under.append(measure(script, folder, injected=True))
            wall = compared([one.wall for one in under], [one.wall for one in bare])
            cpu = compared([one.cpu for one in under], [one.cpu for one in bare])
            once = min(one.beside for one in under) - min(one.beside for one in bare)
            print(
                f"{size:26} {min(one.wall for one in bare):6.1f}s {wall:>21} {cpu:>21} {once:+14.2f}s",
                flush=True,
            )


if __name__ == "__main__":
    main()
