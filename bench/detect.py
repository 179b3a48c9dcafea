"""What looking at code costs: whole processes, as ratios to `python -c pass` in the same run,
beside pipreqs.

`python -m bench.detect [REPOSITORY] [--runs 7] [--pipreqs PATH]` looks at one script, and at a
repository of 1,000 Python files with 10,000 data files beside them (made here from a few templates
unless a folder is given).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "model_repo" / "digits_cnn" / "train.py"
FILES, DATA = 1000, 10_000

TRAINS = '''"""Part {n} of a large repository."""

import argparse

import numpy as np
from keras import layers, models

from part{other} import prepared


def build(width: int) -> models.Sequential:
    model = models.Sequential()
    for depth in range(4):
        model.add(layers.Conv2D(width * 2 ** depth, 3, activation="relu", padding="same"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(10, activation="softmax"))
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default={n})
    asked = parser.parse_args()
    x, y = prepared(np.zeros((10, 32, 32, 3)))
    model = build(8)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=asked.epochs)
'''
PREPARES = '''"""Part {n}: prepares tables."""

import json
from pathlib import Path

import pandas as pd


class Table{n}:
    """A table with its columns checked."""

    def __init__(self, path):
        self.frame = pd.read_csv(path)

    def checked(self, columns):
        missing = [name for name in columns if name not in self.frame]
        if missing:
            raise ValueError(json.dumps(missing))
        return self.frame[columns].dropna().reset_index(drop=True)


def prepared(rows, limit={n}):
    """The first rows, twice."""
    return rows[:limit], rows[:limit].mean(axis=(1, 2, 3))


def written(frame, folder):
    Path(folder).mkdir(exist_ok=True)
    frame.to_csv(Path(folder) / "part{n}.csv")
'''


def make_repository(folder: Path) -> None:
    """1,000 Python files of which one in ten trains, an entry among them, and 10,000 data files."""
    for n in range(FILES - 1):
        text = (TRAINS if n % 10 == 0 else PREPARES).format(n=n, other=n + 1)
        place = folder / f"package{n // 50}"
        place.mkdir(exist_ok=True)
        (place / f"part{n}.py").write_text(text + "\n" * 3)
    (folder / "train.py").write_text(TRAINS.format(n=FILES, other=1))
    (folder / "pictures").mkdir()
    for n in range(DATA):
        (folder / "pictures" / f"{n}.png").touch()


def seconds(command: list[str], runs: int) -> list[float]:
    """Wall-clock seconds of whole processes."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLOPS_")}
    environment["PYTHONPATH"] = str(ROOT)
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=False)
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "repository", nargs="?", help="a folder to look at instead of the one made here"
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--pipreqs",
        default=shutil.which("pipreqs") or "",
        help="the pipreqs program, if there is one",
    )
    asked = parser.parse_args()
    python = [sys.executable, "-c", "pass"]
    detect = [sys.executable, "-m", "mlops_lib", "detect", "--json"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(asked.repository) if asked.repository else Path(name)
        if not asked.repository:
            make_repository(folder)
        alone = Path(name) / "alone"
        alone.mkdir()
        shutil.copy(SCRIPT, alone)
        rows = [
            ("one script", [*detect, str(alone / SCRIPT.name)]),
            ("a repository", [*detect, str(folder)]),
        ]
        if asked.pipreqs:
            rows += [
                ("one script, pipreqs", [asked.pipreqs, "--print", "--use-local", str(alone)]),
                ("a repository, pipreqs", [asked.pipreqs, "--print", "--use-local", str(folder)]),
            ]
        bare = seconds(python, asked.runs)
        unit = statistics.median(bare)
        print(f"{'python -c pass':24} {unit * 1000:8.1f} ms {1.0:8.1f} x")
        for title, command in rows:
            took = seconds(command, max(3, asked.runs if "script" in title else asked.runs // 2))
            middle = statistics.median(took)
            print(
                f"{title:24} {middle * 1000:8.1f} ms {middle / unit:8.1f} x  (best {min(took) * 1000:.1f} ms)"
            )


if __name__ == "__main__":
    main()
