"""Improving models in memory: what is judged, what stays the caller's, interrupts, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy
import pandas
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

import mlops_lib as mlops
from mlops_lib.errors import UsageError
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.tuning.in_memory import Improvement

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X, XV, Y, YV = train_test_split(*load_digits(return_X_y=True), random_state=0)
WEAK = {"max_depth": 4, "random_state": 0}


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Also where whoever started the tests ignores interrupts, as a shell does for what it runs in
    the background.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def network() -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_an_estimator_becomes_better_and_the_callers_stays_as_it_was() -> None:
    tree = DecisionTreeClassifier(**WEAK).fit(X, Y)
    events: list[dict[str, Any]] = []
    better = mlops.improve(
        tree, X, Y, validation_data=(XV, YV), target=0.7, trials=4, observer=events.append
    )
    assert better.met
    assert better.value == better.score(XV, YV) == better.model.score(XV, YV)
    assert better.before == tree.score(XV, YV) < 0.7
    assert better.interval is not None
    assert better.interval[0] < better.value < better.interval[1]
    assert (type(tree).__name__, tree.max_depth) == ("DecisionTreeClassifier", 4)
    assert sum(one["event"] == "trial" for one in events) == len(better.trials)
    winner = better.trials[better.trials["winner"]].iloc[0]
    assert winner["score"] == better.trials["score"].max()
    assert better.plot()._repr_png_().startswith(b"\x89PNG")
    assert winner["changed"].split()[0] in better._repr_html_()


def test_in_place_and_without_validation_data() -> None:
    tree = DecisionTreeClassifier(**WEAK)
    better = mlops.improve(tree, X, Y, target=0.7, trials=4, in_place=True)
    assert better.model is tree
    assert (better.before, better.examples) == (None, int(len(Y) * 0.2))
    assert better.value is not None
    assert better.value > 0.7


def test_what_meets_the_bar_is_left_alone_and_numbers_have_an_r2() -> None:
    done = mlops.improve(
        DecisionTreeClassifier(random_state=0), X, Y, validation_data=(XV, YV), target=0.5
    )
    assert (done.met, done.search, len(done.trials)) == (True, None, 0)
    assert done.plot() is not None
    x = numpy.arange(200.0)[:, None] + numpy.zeros((200, 3))
    y = x[:, 0] + numpy.random.default_rng(0).normal(size=200) * 0.1
    assert mlops.improve(Ridge(), x, y, validation_data=(x, y), target=0.9).metric == "r2"


def test_the_same_call_goes_on_and_finds_the_same(home: Path) -> None:
    def improved(trials: int) -> tuple[Improvement, list[str]]:
        events: list[dict[str, Any]] = []
        tree = DecisionTreeClassifier(**WEAK)
        better = mlops.improve(
            tree,
            X,
            Y,
            validation_data=(XV, YV),
            target=0.999,
            trials=trials,
            observer=events.append,
        )
        return better, [event["trial"]["number"] for event in events if event["event"] == "trial"]

    first, ran = improved(2)
    assert ran == [0, 1, 2]
    again, ran = improved(3)
    assert ran == [3], "the others were kept"
    # A trial that was given up has no score: not a number, which here equals itself.
    numpy.testing.assert_array_equal(again.trials["score"][:3], first.trials["score"])
    assert Path(first.folder).parent == home / "improve"


def test_an_interrupt_keeps_the_best_so_far() -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "trial" and event["trial"]["number"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    tree = DecisionTreeClassifier(**WEAK)
    better = mlops.improve(
        tree, X, Y, validation_data=(XV, YV), target=0.999, trials=50, observer=interrupt
    )
    assert better.search is not None
    assert better.search.stopped == "interrupted"
    assert 2 < len(better.trials) < 6
    assert "interrupted" in better.notes[0]


def test_a_network_becomes_better_on_examples_that_did_not_select_it() -> None:
    model = network()
    model.fit(X / 16, Y, epochs=2, verbose=0)
    before = [value.copy() for value in model.get_weights()]
    better = mlops.improve(model, X / 16, Y, validation_data=(XV / 16, YV), target=0.9, trials=3)
    assert better.search is not None
    assert better.search.selection == "half"
    assert better.examples == len(YV) - len(YV) // 2
    assert better.value is not None
    assert better.before is not None
    assert better.value > better.before
    chosen = json.loads((Path(better.folder) / "selected.json").read_text())
    apart = [
        i for i, name in enumerate(example_hashes.hashes(XV / 16) or []) if name.hex() not in chosen
    ]
    guess = model.predict(XV[apart] / 16, verbose=0).argmax(axis=-1)
    assert better.before == float((guess == YV[apart]).mean()), "on the same examples"
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True)), (
        "the caller's is as it was"
    )
    assert better.predict(XV[:2] / 16, verbose=0).shape == (2, 10)
    again = mlops.improve(model, X / 16, Y, validation_data=(XV / 16, YV), target=0.9, trials=3)
    assert (again.value, list(again.trials["score"])) == (
        better.value,
        list(better.trials["score"]),
    )


def test_pipelines_and_data_frames_are_read() -> None:
    import tensorflow

    training = tensorflow.data.Dataset.from_tensor_slices((X / 16, Y))
    held = tensorflow.data.Dataset.from_tensor_slices((XV / 16, YV)).batch(64)
    better = mlops.improve(
        network(), training.batch(50), validation_data=held, target=0.99, trials=1, epochs=1
    )
    assert better.examples == len(YV) - len(YV) // 2
    assert "read into memory" in better.notes[0]
    for spoiled, words in (
        (training, "batches"),
        (training.batch(50).repeat(), "no end"),
        (iter([1]), "only once"),
    ):
        with pytest.raises(UsageError, match=words):
            mlops.improve(network(), spoiled)

    frame, names = pandas.DataFrame(X), pandas.Series([f"digit {one}" for one in Y])
    tree = DecisionTreeClassifier(**WEAK).fit(frame, names)
    held_names = pandas.Series([f"digit {one}" for one in YV], index=range(7, 7 + len(YV)))
    better = mlops.improve(
        tree, frame, names, validation_data=(pandas.DataFrame(XV), held_names), target=0.7, trials=3
    )
    assert better.met
    assert mlops.improve(tree, frame, names, target=0.7, trials=1).examples == int(len(Y) * 0.2)


INTERRUPTED = """
import os, signal
import keras
from sklearn.datasets import load_digits
import mlops_lib as mlops
x, y = load_digits(return_X_y=True)
keras.utils.set_random_seed(0)
hidden, out = keras.layers.Dense(4, activation="relu"), keras.layers.Dense(10, activation="softmax")
model = keras.Sequential([keras.Input((64,)), hidden, out])
model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
def interrupt(event):
    if event["event"] == "trial" and event["trial"]["number"] == 2 and event["trial"]["state"] == "running":
        os.kill(os.getpid(), signal.SIGINT)
better = mlops.improve(model, x[:1000] / 16, y[:1000], validation_data=(x[1000:] / 16, y[1000:]), target=0.999, trials=9,
                       epochs=1, observer=interrupt)
print(better.search.stopped, better.value > better.before, better.search.winner)
"""


def test_an_interrupted_network_is_the_best_so_far(home: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(mlops.__file__).parents[1]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.stdout.split() == ["interrupted", "True", "1"], done.stderr[-2000:]


@pytest.mark.parametrize(
    ("model", "words"),
    [(object(), "cannot be improved"), (keras.Sequential([keras.layers.Dense(1)]), "not compiled")],
)
def test_what_is_no_model_is_refused(model: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mlops.improve(model, X, Y)
    with pytest.raises(UsageError, match="no targets"):
        mlops.improve(DecisionTreeClassifier(), X)
    with pytest.raises(UsageError, match="no metric"):
        mlops.improve(DecisionTreeClassifier(), X, Y, metric="beauty")
