"""A killed run resumes to the same bits: real processes, real SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import os
import numpy as np
import keras
from keras import layers

os.mkdir("models")  # a second start in the same folder would fail here
rng = np.random.default_rng(0)
x = rng.random((256, 8, 8, 1), dtype="float32")
y = (x.mean(axis=(1, 2, 3)) > 0.5).astype("int32")
{seed}
model = keras.Sequential([
    {first}
    layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.4), layers.Flatten(),
    layers.Dense(2, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
callbacks = [
    keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True),
    keras.callbacks.ReduceLROnPlateau(patience=1),
    keras.callbacks.CSVLogger("log.csv"),
    keras.callbacks.ModelCheckpoint("models/best.weights.h5", save_best_only=True, save_weights_only=True),
    keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: __import__("time").sleep(0.15)),
]
first = model.fit(x, y, epochs=6, batch_size=32, validation_split=0.25, callbacks=callbacks, verbose=0)
model.layers[0].trainable = False
model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
second = model.fit({data}, epochs=4, verbose=0, callbacks=callbacks[-1:])
np.savez("result.npz", *model.get_weights())
open("history.txt", "w").write(repr((first.history, first.epoch, second.history, np.random.rand())))
print(model.evaluate(x, y, verbose=0))
"""

VARIANTS = {
    "arrays": {"seed": "", "first": "layers.Input((8, 8, 1)),", "data": "x, y, batch_size=32"},
    "unbuilt-and-seeded": {
        "seed": "keras.utils.set_random_seed(3)",
        "first": "",
        "data": "x, y, batch_size=32",
    },
    "tf-data-repeated": {
        "seed": "import tensorflow as tf",
        "first": "layers.Input((8, 8, 1)), layers.RandomFlip(),",
        "data": "tf.data.Dataset.from_tensor_slices((x, y)).shuffle(256).repeat().batch(32), steps_per_epoch=5",
    },
}


def start(project: Path, inside: Path, attempt: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_STRICT": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "MLOPS_SPEC": json.dumps({"seed": 5, "attempt": attempt, "checkpoint_budget": 10.0}),
    }
    inside.mkdir(parents=True, exist_ok=True)
    with (inside.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mlops_lib.runner", "train.py"],
            env=environment,
            stdout=log,
            stderr=log,
        )


def events(inside: Path) -> list[dict[str, object]]:
    path = inside / "events.jsonl"
    if not path.exists():
        return []
    return [
        json.loads(line)
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def kill_after(process: subprocess.Popen[bytes], inside: Path, *, epochs: int) -> None:
    """SIGKILL as soon as so many epochs are durable."""
    deadline = time.monotonic() + 120
    while sum(event["event"] == "epoch" for event in events(inside)) < epochs:
        assert process.poll() is None, (inside.parent / "log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["unbuilt-and-seeded", "tf-data-repeated"])
def test_a_killed_run_resumes_to_the_same_bits(variant: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT.format(**VARIANTS[variant]))
    alone, killed = tmp_path / "alone" / "inside", tmp_path / "killed" / "inside"
    assert start(project, alone, 1).wait() == 0, (alone.parent / "log.txt").read_text()
    for attempt, epochs in enumerate((2, 5, 8), start=1):
        kill_after(start(project, killed, attempt), killed, epochs=epochs)
    assert start(project, killed, 4).wait() == 0, (killed.parent / "log.txt").read_text()

    for name in ("history.txt", "log.csv"):
        assert (alone / "outputs" / name).read_text() == (killed / "outputs" / name).read_text()
    expected, found = (
        np.load(alone / "outputs" / "result.npz"),
        np.load(killed / "outputs" / "result.npz"),
    )
    for key in expected.files:
        np.testing.assert_array_equal(expected[key], found[key])
    epochs_seen = [(e["fit"], e["epoch"]) for e in events(killed) if e["event"] == "epoch"]
    assert len(epochs_seen) == len(set(epochs_seen)), "each epoch appears exactly once"
    assert epochs_seen == [(e["fit"], e["epoch"]) for e in events(alone) if e["event"] == "epoch"]
    claims = [json.loads((folder / "metrics.json").read_text()) for folder in (alone, killed)]
    assert claims[0]["evaluations"] == claims[1]["evaluations"]
    assert claims[0]["model"]["reloaded"]
    assert claims[0]["evaluations"][-1]["recomputed"] == claims[0]["evaluations"][-1]["value"]


@pytest.mark.slow
def test_damaged_checkpoint_falls_back_to_the_previous_one(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT.format(**VARIANTS["arrays"]))
    alone, killed = tmp_path / "alone" / "inside", tmp_path / "killed" / "inside"
    assert start(project, alone, 1).wait() == 0
    kill_after(start(project, killed, 1), killed, epochs=4)
    states = sorted((killed / "fits" / "1").glob("state.*"), key=lambda path: path.stat().st_mtime)
    newest = states[-1].read_bytes()
    states[-1].write_bytes(newest[: len(newest) // 2])
    assert start(project, killed, 2).wait() == 0, (killed.parent / "log.txt").read_text()
    assert (alone / "outputs" / "history.txt").read_text() == (
        killed / "outputs" / "history.txt"
    ).read_text()
