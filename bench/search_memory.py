"""Resident memory of a search, trial by trial: it has to stay flat.

`python -m bench.search_memory [--trials 40] [--examples 2000]` searches around a small
convolutional network, one short trial after the other in one process, none with more than 20,000
parameters,, and prints what the process holds after each.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from typing import Any


class Weigher:
    """A diary that weighs the process whenever a trial has ended."""

    def __init__(self) -> None:
        self.held: list[float] = []

    def write(self, event: str, **keys: Any) -> None:
        """Weigh after each finished trial."""
        if event == "trial" and keys["trial"]["state"] != "running":
            gc.collect()
            self.held.append(resident_mib())
            print(
                f"trial {len(self.held) - 1:3d}  {self.held[-1]:7.0f} MiB  {keys['trial']['state']}",
                flush=True,
            )

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        """Nothing."""


def resident_mib() -> float:
    """What this process holds."""
    with open("/proc/self/statm") as stream:  # noqa: PTH123 - a pseudo file
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Search, weigh, and print the growth from trial 5 to the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--examples", type=int, default=2000)
    given = parser.parse_args()
    import keras
    import numpy
    from keras import layers as kl

    from mlops_lib.runner.search.keras.search import improve
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    random = numpy.random.default_rng(0)
    x = random.random((given.examples, 16, 16, 3), dtype="float32")
    y = (x[:, :8].mean(axis=(1, 2, 3)) > x[:, 8:].mean(axis=(1, 2, 3))).astype("int64")
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            kl.Conv2D(4, 3, activation="relu"),
            kl.MaxPooling2D(),
            kl.Flatten(),
            kl.Dense(8, activation="relu"),
            kl.Dense(2, activation="softmax"),
        ]
    )
    compiled = {
        "optimizer": "adam",
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    }
    model.compile(**compiled)
    fit = {"x": x, "y": y, "epochs": 1, "batch_size": 64}
    initial = [variable.numpy() for variable in model.variables]
    history = model.fit(**fit, verbose=0)
    weigher = Weigher()
    with tempfile.TemporaryDirectory() as folder:
        request = SearchRequest(
            fit=1,
            directory=folder,
            target=2.0,
            trials=given.trials,
            minutes=600.0,
            judged_value=0.0,
            limits={"epochs": 2, "parameters": 20_000},
        )
        improve(
            model,
            FitCall(fit, compiled, history, initial),
            request,
            weigher,
            leave=lambda: print("  a run would go on in a fresh process from here"),
        )
    early, late = weigher.held[min(5, len(weigher.held) - 1)], weigher.held[-1]
    print(
        f"from trial 5 to trial {len(weigher.held) - 1}: {early:.0f} → {late:.0f} MiB, {late / early - 1:+.1%}"
    )


if __name__ == "__main__":
    main()
