"""The champion is measured in the script's process, on the judged examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import pytest
from running import run_script
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from mlops_lib.gate import comparison
from mlops_lib.runner.metrics import example_hashes

X, Y = load_digits(return_X_y=True)

SKLEARN = """
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier
x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
model = DecisionTreeClassifier(max_depth=8, random_state=0).fit(x, y)
"""


def champion_of(tmp_path: Path, script: str, champion: Path) -> dict[str, Any]:
    inside, claims = run_script(
        tmp_path, script, champion={"path": str(champion), "version": 4, "digest": "d"}
    )
    claim: dict[str, Any] = claims["champion"]
    assert (claim["version"], claim["digest"]) == (4, "d")
    assert not (inside / "champion.loading").exists()
    return claim


@pytest.mark.parametrize(
    ("measure", "metric", "test"),
    [
        ("model.score(x_test, y_test)", "accuracy", "mcnemar"),
        ("f1_score(y_test, model.predict(x_test), average='macro')", "f1", "permutation"),
        ("(model.predict(x_test) == y_test).mean()", "accuracy", "mcnemar"),
    ],
)
def test_an_estimator_is_compared_example_by_example(
    tmp_path: Path, measure: str, metric: str, test: str
) -> None:
    champion = tmp_path / "model.joblib"
    joblib.dump(DecisionTreeClassifier(max_depth=4, random_state=0).fit(X[:900], Y[:900]), champion)
    claim = champion_of(tmp_path, f"{SKLEARN}print({measure})\n", champion)
    (one,) = claim["measurements"]
    assert (one["metric"], one["comparison"]["test"], one["note"]) == (metric, test, "")
    if test == "mcnemar":
        cells = one["comparison"]
        assert sum(cells[name] for name in ("both", "only_new", "only_champion", "neither")) == 450
        assert one["value"] == (cells["both"] + cells["only_champion"]) / 450


def test_examples_that_the_champion_was_trained_on_are_left_out_of_the_comparison(
    tmp_path: Path,
) -> None:
    champion, names = tmp_path / "model.joblib", tmp_path / "trained-on.bin"
    _, x_test, _, y_test = train_test_split(X, Y, random_state=0)
    joblib.dump(DecisionTreeClassifier(random_state=0).fit(x_test[:300], y_test[:300]), champion)
    names.write_bytes(b"".join(example_hashes.hashes(x_test[:300]) or ()))
    order = {"path": str(champion), "version": 4, "trained_on": str(names)}
    script = f"{SKLEARN}model.score(x_test, y_test)\n"
    inside, claims = run_script(tmp_path, script, champion=order)
    (one,) = claims["champion"]["measurements"]
    assert one["left_out"] == 300
    cells = one["comparison"]
    assert sum(cells[name] for name in ("both", "only_new", "only_champion", "neither")) == 150
    found = comparison.read(
        claims["champion"], version=4, evaluation=1, metric="accuracy", grows=True, measured=""
    )
    assert found.left_out == 300
    assert "on the same 150 examples, without 300 that it was trained on" in comparison.describe(
        found, metric="accuracy"
    )
    own = (inside / "trained-on.bin").read_bytes()
    assert {own[i : i + 12] for i in range(0, len(own), 12)} == set(
        example_hashes.hashes(train_test_split(X, random_state=0)[0]) or ()
    )
    names.write_bytes(b"".join(example_hashes.hashes(x_test[:430]) or ()))
    _, claims = run_script(tmp_path / "again", script, champion=order)
    assert "leaves too few" in claims["champion"]["measurements"][0]["note"]


@pytest.mark.parametrize(
    ("champion", "word"),
    [
        (DecisionTreeClassifier().fit(X[:300, :9], Y[:300]), "other inputs: 9, not 64"),
        (DecisionTreeClassifier().fit(X[Y < 8], Y[Y < 8]), "other classes: 8, not 10"),
        (b"no pickle", "cannot be loaded here"),
    ],
)
def test_unusable_champion_is_reported_with_the_reason(
    tmp_path: Path, champion: Any, word: str
) -> None:
    place = tmp_path / "model.joblib"
    place.write_bytes(champion) if isinstance(champion, bytes) else joblib.dump(champion, place)
    claim = champion_of(tmp_path, f"{SKLEARN}print(model.score(x_test, y_test))\n", place)
    assert claim["measurements"] == []
    assert word in claim["note"]


def test_champion_that_killed_the_process_is_not_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "champion.loading").touch()
    _, claims = run_script(
        tmp_path, f"{SKLEARN}model.score(x_test, y_test)\n", champion={"path": "/absent"}
    )
    assert "not tried again" in claims["champion"]["note"]


KERAS = """
import keras, numpy as np
keras.utils.set_random_seed({seed})
rng = np.random.default_rng(0)
x = rng.normal(size=(600, 8)).astype("float32")
y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype("int64")
scale = 2.0

class Twice(keras.layers.Layer):
    def call(self, inputs):
        return inputs * scale

def own_loss(truth, guess):
    return keras.losses.binary_crossentropy(truth, guess)

model = keras.Sequential([
    keras.Input((8,)), Twice(), keras.layers.Lambda(lambda v: v * 2.0), keras.layers.Dense({units}, "relu"),
    keras.layers.Dense(1, "sigmoid"),
])
model.compile("adam", loss=own_loss, metrics=[{metric}])
model.fit(x[:400], y[:400], epochs={epochs}, verbose=0)
print(model.evaluate(x[400:], y[400:], verbose=0))
"""


def test_a_network_with_parts_of_the_scripts_own_is_compared(tmp_path: Path) -> None:
    metric, test = "'accuracy'", "mcnemar"
    inside, claims = run_script(
        tmp_path / "before", KERAS.format(seed=1, units=2, epochs=1, metric=metric)
    )
    script = KERAS.format(seed=2, units=32, epochs=12, metric=metric)
    claim = champion_of(tmp_path, script, inside / "model.keras")
    own = next(one for one in claims["evaluations"] if one["source"] == "keras.evaluate")
    assert claim["note"] == ""
    one = next(one for one in claim["measurements"] if one["comparison"]["test"] == test)
    assert one["value"] == own["recomputed"], "the same file on the same examples"
