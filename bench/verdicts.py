"""Is the number in a verdict true? Every kind of validation data, with and without an evaluation of
the script's own.

    python -m bench.verdicts [WORD …]

Each case is a script that trains on small pictures. It is judged as it was written, and after a
search; each time the registered file is loaded in a fresh process and measured on the examples that
the verdict names, and the two numbers have to be equal to the bit. So has the last validation value
of the History in the script's hands, if the verdict is about the fit's validation data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib.gate import verdicts
from mlops_lib.records import Verdict
from mlops_lib.runner import protocol

ROOT = Path(__file__).resolve().parents[1]
LOW, HIGH = 0.2, 0.6
"""A bar that the script's own model meets, and one that it misses."""

DATA = """
import os
import numpy

def pictures(count, seed):
    random = numpy.random.default_rng(seed)
    y = random.integers(0, 3, size=count)
    x = random.integers(0, 90, size=(count, 8, 8, 1))
    for i, kind in enumerate(y):
        x[i, :, 1 + 2 * kind : 3 + 2 * kind] += 60
    return x.astype("uint8"), y

def folders(place, count, seed):
    from PIL import Image
    for i, (picture, kind) in enumerate(zip(*pictures(count, seed))):
        os.makedirs(f"{place}/class{kind}", exist_ok=True)
        Image.fromarray(picture[..., 0]).save(f"{place}/class{kind}/{i}.png")

train, held = pictures(400, 0), pictures(240, 1)
"""

SCRIPT = """
import json
import keras
import numpy as np
from data import held, train

(x, y), (x_test, y_test) = train, held
x, x_test = x.astype("float32") / 255, x_test.astype("float32") / 255
model = keras.Sequential([
    keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="relu"),
    keras.layers.Dense(3, activation="softmax"),
])
model.compile(keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy", metrics=["accuracy"])
%s
json.dump({name: [float(v) for v in values] for name, values in history.history.items()}, open("history.json", "w"))
"""

KINDS = {
    "arrays": (
        "history = model.fit(x, y, validation_data=(x_test, y_test), epochs=2, verbose=0)",
        "model.evaluate(x_test, y_test, verbose=0)",
    ),
    "validation_split": (
        "history = model.fit(x, y, validation_split=0.25, epochs=2, verbose=0)",
        "model.evaluate(x_test, y_test, verbose=0)",
    ),
    "tf.data": (
        """
import tensorflow as tf
train_data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(400).batch(32)
test_data = tf.data.Dataset.from_tensor_slices((x_test, y_test)).shuffle(240).batch(32)
history = model.fit(train_data, validation_data=test_data, epochs=2, verbose=0)
""",
        "model.evaluate(test_data, verbose=0)",
    ),
    "PyDataset": (
        """
class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, **more):
        super().__init__(**more)
        self.x, self.y = x, y
        self.order = np.arange(len(y))

    def __len__(self):
        return -(-len(self.y) // 32)

    def __getitem__(self, i):
        chosen = self.order[32 * i : 32 * i + 32]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        np.random.shuffle(self.order)

test_data = Batches(x_test, y_test)
history = model.fit(Batches(x, y), validation_data=test_data, epochs=2, verbose=0)
""",
        "model.evaluate(test_data, verbose=0)",
    ),
    "ImageDataGenerator": (
        """
from data import folders
from keras.src.legacy.preprocessing.image import ImageDataGenerator
folders("train_set", 400, 0)
folders("test_set", 240, 1)
shown = dict(target_size=(8, 8), color_mode="grayscale", class_mode="sparse", batch_size=32)
train_data = ImageDataGenerator(rescale=1 / 255, width_shift_range=0.05).flow_from_directory("train_set", **shown)
test_data = ImageDataGenerator(rescale=1 / 255).flow_from_directory("test_set", **shown)
history = model.fit(train_data, validation_data=test_data, epochs=2, verbose=0)
""",
        "model.evaluate(test_data, verbose=0)",
    ),
    "generator": (
        """
def forever(x, y):
    while True:
        for i in range(0, len(y), 40):
            yield x[i : i + 40], y[i : i + 40]

test_data = forever(x_test, y_test)
history = model.fit(
    forever(x, y), steps_per_epoch=10, validation_data=test_data, validation_steps=6, epochs=2, verbose=0
)
""",
        "model.evaluate(test_data, steps=6, verbose=0)",
    ),
}
"""Kind of validation data to the script's fit, and its own evaluation."""

FRESH = """
import json, sys
import numpy
import keras
sys.path.insert(0, sys.argv[1])
import data
from mlops_lib.runner.metrics import example_hashes
model = keras.models.load_model(sys.argv[2])
x = numpy.concatenate([data.held[0], data.train[0]]).astype("float32") / 255
if sys.argv[4] == "ImageDataGenerator":
    x = numpy.concatenate([data.held[0], data.train[0]]).astype("float32") * numpy.float32(1 / 255)
y = numpy.concatenate([data.held[1], data.train[1]])
place = {name: i for i, name in enumerate(example_hashes.hashes(x))}
named = json.load(open(sys.argv[3]))
chosen = [place[bytes.fromhex(one)] for one in named["examples"]]
logs = model.evaluate(x[chosen], y[chosen], verbose=0, return_dict=True)
names = example_hashes.Examples([bytes.fromhex(one) for one in named["examples"]])
print(json.dumps({"value": float(logs["accuracy"]), "digest": names.digest, "unique": names.unique}))
"""


@dataclass(frozen=True)
class Case:
    """One script."""

    kind: str
    evaluates: bool

    @property
    def name(self) -> str:
        """What the case is called."""
        return f"{self.kind}, {'evaluated' if self.evaluates else 'not evaluated'} by the script"

    @property
    def script(self) -> str:
        """Its text."""
        fit, evaluate = KINDS[self.kind]
        return SCRIPT % (fit + ("\n" + evaluate if self.evaluates else ""))


@dataclass(frozen=True)
class Found:
    """What came of one judgement of a case."""

    case: Case
    verdict: Verdict
    fresh: dict[str, Any]
    """What the registered file gives in a fresh process on the examples that the verdict names."""
    history: dict[str, list[float]]
    hook_errors: list[str]

    @property
    def is_said(self) -> bool:
        """Whether the verdict says that Keras' own number is another one than the file's.

        Keras gives the first two batches of a Python generator again in every epoch: its last
        validation saw some examples twice, and others not at all.
        """
        is_keras_own = self.case.kind == "generator" and not self.verdict.selection
        return is_keras_own and any("last epoch had" in one for one in self.verdict.reasons)

    def faults(self) -> list[str]:
        """Return what is false of the verdict; nothing if it is true."""
        verdict, fresh, faults = self.verdict, self.fresh, list(self.hook_errors)
        if (verdict.verdict, verdict.recomputed) != ("accepted", True):
            faults.append(f"{verdict.verdict}: {'; '.join(verdict.reasons)}")
        if (verdict.value, verdict.examples_digest, verdict.examples) != (
            fresh.get("value"),
            fresh.get("digest"),
            fresh.get("unique"),
        ):
            faults.append(f"{verdict.value} on {verdict.examples}; a fresh process says {fresh}")
        if (
            not self.case.evaluates
            and self.history["val_accuracy"][-1] != verdict.value
            and not self.is_said
        ):
            faults.append(
                f"the History says {self.history['val_accuracy'][-1]}, the verdict {verdict.value}"
            )
        if verdict.selection not in ("", "half", "disjoint"):
            faults.append(f"selection: {verdict.selection}")
        return faults


def judgements(case: Case, folder: Path) -> Iterator[Found]:
    """Run a case, and judge it as it was written and after a search."""
    project = folder / "project"
    project.mkdir(parents=True)
    (project / "data.py").write_text(DATA)
    (project / "train.py").write_text(case.script)
    _run(folder, {})
    first = verdicts.judge(folder, target=LOW)
    yield _found(case, folder, first)
    asked = {
        "fit": 1,
        "metric": first.metric,
        "mode": "max",
        "target": HIGH,
        "trials": 4,
        "minutes": 5.0,
        "pass": 2,
        "judged_digest": first.examples_digest,
        "judged_value": first.value,
        "limits": {"epochs": 6},
    }
    _run(folder, {"pass": 2, "search": asked})
    result = json.loads((folder / "inside" / "search" / "result.json").read_text())
    yield _found(case, folder, verdicts.judge(folder, target=HIGH, selection=result["selection"]))


def _run(folder: Path, spec: dict[str, Any]) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MLOPS_STRICT": "0",
        "MLOPS_PROJECT": str(folder / "project"),
        "MLOPS_INSIDE": str(folder / "inside"),
        "MLOPS_SPEC": json.dumps(spec),
    }
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib.runner", "train.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


def _found(case: Case, folder: Path, verdict: Verdict) -> Found:
    inside = folder / "inside"
    named = inside / protocol.JUDGED
    fresh: dict[str, Any] = {}
    if named.is_file():
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                FRESH,
                str(folder / "project"),
                str(inside / protocol.KERAS_MODEL),
                str(named),
                case.kind,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        fresh = (
            json.loads(done.stdout.splitlines()[-1])
            if not done.returncode
            else {"error": done.stderr[-500:]}
        )
    events = [json.loads(line) for line in (inside / "events.jsonl").read_text().splitlines()]
    errors = [f"{one['hook']}: {one['message']}" for one in events if one["event"] == "hook_error"]
    history = json.loads((inside / "outputs" / "history.json").read_text())
    return Found(case, verdict, fresh, history, errors)


CASES = [Case(kind, evaluates) for kind in KINDS for evaluates in (False, True)]


def main(words: list[str]) -> int:
    """Print every case with its verdicts; 1 if any of them is not true."""
    failed = 0
    for case in CASES:
        if words and not any(word in case.name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for found in judgements(case, Path(folder)):
                faults, verdict = found.faults(), found.verdict
                failed += bool(faults)
                when = (
                    f"after a search ({verdict.selection})" if verdict.selection else "as written"
                )
                told = "; ".join(faults) or f"{verdict.value} on {verdict.examples} examples"
                print(f"{'FALSE' if faults else 'true '}  {case.name}, {when}: {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
