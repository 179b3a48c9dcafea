"""What a script does with its model after the fit, when the search has put another one into its
hands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lib.runner.protocol import RECYCLE

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import os
import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers

EPOCHS = 3
random = np.random.default_rng(0)
y = random.integers(0, 3, size=600)
x = random.normal(size=(600, 12, 12, 1)).astype("float32") * 0.8
for i, kind in enumerate(y):
    x[i, 4 * kind : 4 * kind + 4] += 1.0
x_train, y_train, x_val, y_val, x_test, y_test = x[:300], y[:300], x[300:400], y[300:400], x[400:], y[400:]

model = keras.Sequential([
    keras.Input((12, 12, 1)),
    layers.Conv2D(2, 3, activation="relu", name="conv"),
    layers.MaxPooling2D(name="pool"),
    layers.Flatten(),
    layers.Dense(4, activation="relu", name="hidden"),
    layers.Dense(3, activation="softmax"),
])
features = keras.Model(model.inputs, model.get_layer("hidden").output)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
before = model.count_params()
history = model.fit(
    x_train, y_train, epochs=EPOCHS, validation_data=(x_val, y_val), verbose=0,
    callbacks=[keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True)],
)
changed = model.count_params() != before
os.makedirs("plots")
plt.plot(range(EPOCHS), history.history["accuracy"])
plt.plot(range(EPOCHS), history.history["val_loss"])
plt.savefig("plots/curves.png")

def same(one, other):
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-5))

best = keras.models.load_model("best.keras")
checks = {"changed": changed, "best.keras": same(best.predict(x_test, verbose=0), model.predict(x_test, verbose=0))}
again = keras.Model(model.inputs, model.get_layer("hidden").output)
checks["features"] = same(features.predict(x_test, verbose=0), again.predict(x_test, verbose=0))

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    grad_model = keras.Model(model.inputs, [model.get_layer("conv").output, model.layers[-1].output])
    with tf.GradientTape() as tape:
        maps, outputs = grad_model(x_test[:4])
        score = tf.reduce_max(outputs, axis=1)
    checks["grad-cam"] = bool(np.abs(tape.gradient(score, maps)).sum() > 0)

model.evaluate(x_test, y_test, verbose=0)

for layer in model.layers[:-1]:
    layer.trainable = False
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
kept, head = model.get_layer("conv").get_weights(), model.layers[-1].get_weights()
model.fit(x_train, y_train, epochs=1, verbose=0)
checks["frozen"] = all((a == b).all() for a, b in zip(kept, model.get_layer("conv").get_weights()))
checks["head trains"] = any((a != b).any() for a, b in zip(head, model.layers[-1].get_weights()))

outer = keras.Sequential([keras.Input((12, 12, 1)), layers.Rescaling(1.0), model])
checks["nested"] = same(outer.predict(x_test, verbose=0), model.predict(x_test, verbose=0))
model.pop()
model.add(layers.Dense(2, name="other"))
model.compile("adam", "mse")
checks["pop and add"] = model.predict(x_test, verbose=0).shape == (200, 2)
print(",".join(name for name, good in checks.items() if not good) or "all good")
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_a_script_does_after_its_fit_acts_on_the_winner(tmp_path: Path, backend: str) -> None:
    project, inside = tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    asked = {
        "fit": 1,
        "metric": "accuracy",
        "mode": "max",
        "target": 0.99,
        "trials": 1,
        "minutes": 5.0,
        "judged_digest": "another",
        "judged_value": 0.4,
        "limits": {"epochs": 6},
    }
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MPLBACKEND": "Agg",
        "MLOPS_STRICT": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps({"pass": 2, "search": asked}),
        "KERAS_BACKEND": backend,
    }
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib.runner", "train.py"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1:] == ["all good"], done.stderr
    result = json.loads((inside / "search" / "result.json").read_text())
    assert (result["winner"], result["selection"]) == (1, "disjoint")
    assert (inside / "outputs" / "plots" / "curves.png").is_file()


PHASES = """
import keras
import numpy as np
x = np.random.default_rng(0).normal(size=(240, 6)).astype("float32")
y = (x[:, 0] * x[:, 1] > 0).astype("int32")
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dense(2)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for rate in (0.01, 0.001):
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    history = model.fit(x[:160], y[:160], epochs=2, verbose=0)
print(model.evaluate(x[160:], y[160:], verbose=0))
"""


def test_phases_of_one_training_are_searched_on_examples_that_none_of_them_has_seen(
    tmp_path: Path,
) -> None:
    project, inside = tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    (project / "train.py").write_text(PHASES)
    asked = {
        "fit": 2,
        "metric": "accuracy",
        "mode": "max",
        "target": 2.0,
        "trials": 1,
        "minutes": 5.0,
        "judged_digest": "another",
        "judged_value": 0.0,
        "limits": {"epochs": 2},
    }
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MLOPS_STRICT": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps({"pass": 2, "search": asked}),
    }
    command = [sys.executable, "-m", "mlops_lib.runner", "train.py"]
    left, done = (
        subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        for _ in range(2)
    )
    assert (left.returncode, done.returncode) == (RECYCLE, 0), left.stderr + done.stderr
    result = json.loads((inside / "search" / "result.json").read_text())
    assert (result["selection"], result["winner"]) == ("split", 1)
    events = [json.loads(line) for line in (inside / "events.jsonl").read_text().splitlines()]
    fits = [
        (one["fit"], one["state"], one["steps"], one["continues"])
        for one in events
        if one["event"] == "fit"
    ]
    assert fits == [
        (1, "started", 5, None),
        (2, "started", 5, 1),
        (1, "started", 4, None),
        (2, "restored", None, 1),
    ]
