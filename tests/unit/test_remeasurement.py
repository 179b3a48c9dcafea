"""Measuring the saved file in a process without the script.

Honest runs agree with it, forged ones are undecided.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest
from running import ROOT, run_script
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlops_lib.engine import model_measurement
from mlops_lib.errors import EngineError, UsageError
from mlops_lib.gate import verdicts
from mlops_lib.records import Environment, Image, Limits, Remeasured, RunSpec, Verdict
from mlops_lib.registry import model_store
from mlops_lib.runner.metrics import loading, remeasure
from mlops_lib.runner.metrics.recipes import EVALUATE, Examples, Recipe
from mlops_lib.training import remeasurement

SPEC = RunSpec(
    digest="d",
    name="demo",
    project="/absent",
    entry="train.py",
    backend="process",
    image=Image(
        tag="mlops/python:1",
        environment=Environment(name="python", framework="sklearn", family="tree"),
    ),
)


class ThisPython:
    """The measuring part of an engine, with the tests' Python as environment."""

    name = "process"
    asked = 0
    failure: Exception | None = None

    def has(self, image: Image) -> bool:
        return True

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        command = [sys.executable, "-m", model_measurement.PROGRAM, folder]
        return model_measurement.in_process(command, {"PYTHONPATH": str(ROOT)}, timeout_s=timeout_s)


def judged(
    run_dir: Path, engine: ThisPython | None = None, **settings: Any
) -> tuple[Verdict, Remeasured]:
    evaluation = verdicts.judged_evaluation(run_dir, metric=settings.get("metric", ""))
    assert evaluation is not None
    found = remeasurement.measure(
        run_dir,
        SPEC,
        evaluation,
        engine=engine or ThisPython(),
        observer=lambda event: None,  # type: ignore[arg-type]
    )
    assert not list(run_dir.glob("measure-*"))
    return verdicts.judge(run_dir, **{"target": 0.3, **settings}, remeasured=found), found


TREE = """
import os
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier
x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
model = DecisionTreeClassifier(max_depth=8, random_state=0).fit(x, y)
print(model.score(x_test, y_test), f1_score(y_test, model.predict(x_test), average="macro"))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest run."""
    folder = tmp_path_factory.mktemp("trained")
    run_script(folder, TREE)
    return folder


@pytest.fixture
def run_dir(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(
    run_dir: Path, edit: Callable[[dict[str, Any]], None], name: str = "metrics.json"
) -> None:
    path = run_dir / "inside" / name
    claims = json.loads(path.read_text())
    edit(claims)
    path.write_text(json.dumps(claims))


def test_an_honest_run_is_measured_independently_and_once(run_dir: Path) -> None:
    engine = ThisPython()
    verdict, found = judged(run_dir, engine)
    assert (verdict.verdict, verdict.measured, found.examples) == ("accepted", "independently", 450)
    assert verdict.value == found.value
    assert verdict.model_digest == found.model_digest != ""
    by_f1, _ = judged(run_dir, engine, metric="f1")
    assert (by_f1.metric, by_f1.measured) == ("f1", "independently")
    assert engine.asked == 2
    assert judged(run_dir, engine, metric="f1")[0] == by_f1
    assert engine.asked == 2, "the same file on the same examples"


def claim_more(claims: dict[str, Any]) -> None:
    for one in claims["evaluations"]:
        one["examples"] = 9000


def raise_numbers(claims: dict[str, Any]) -> None:
    for one in claims["evaluations"]:
        one.update(value=0.99, recomputed=0.99)


@pytest.mark.parametrize(
    ("forge", "word"),
    [
        (lambda run: change(run, raise_numbers), "a process without the script measures"),
        (
            lambda run: change(run, lambda claims: claims["model"].pop("sha256")),
            "not the one that the runner saved",
        ),
        (lambda run: shutil.rmtree(run / "inside" / "examples"), "are missing"),
        (
            lambda run: change(
                run, lambda index: index["measures"].clear(), "examples/examples.json"
            ),
            "are missing",
        ),
        (lambda run: (run / "inside" / "examples" / "0.npz").write_bytes(b"x"), "cannot be read"),
        (
            lambda run: (run / "inside" / "model.joblib").write_bytes(b"x"),
            "not the one that the runner saved",
        ),
        (
            lambda run: change(run, claim_more),
            "450 examples are kept, but the number is claimed on 9000",
        ),
    ],
)
def test_a_forged_claim_is_undecided(
    run_dir: Path, forge: Callable[[Path], Any], word: str
) -> None:
    forge(run_dir)
    verdict, _ = judged(run_dir)
    assert verdict.measured != "independently"
    assert verdict.verdict == "undecided"
    assert word in " ".join(verdict.reasons[:2])


def test_link_in_place_of_stored_examples_is_not_followed(run_dir: Path, tmp_path: Path) -> None:
    kept = run_dir / "inside" / "examples" / "0.npz"
    kept.rename(tmp_path / "elsewhere.npz")
    kept.symlink_to(tmp_path / "elsewhere.npz")
    verdict, found = judged(run_dir)
    assert (verdict.verdict, found.state) == ("undecided", "missing")


def test_a_file_that_was_swapped_after_the_verdict_is_not_registered(
    run_dir: Path, tmp_path: Path
) -> None:
    verdict, _ = judged(run_dir)
    with (run_dir / "inside" / "model.joblib").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(UsageError, match="not the one that was judged"):
        model_store.register(run_dir, SPEC, verdict, home=tmp_path)


def test_failing_machinery_is_reported_and_decides_nothing(run_dir: Path) -> None:
    engine = ThisPython()
    engine.failure = EngineError("the engine is full")
    verdict, found = judged(run_dir, engine)
    assert (verdict.verdict, verdict.measured, found.state) == (
        "accepted",
        "by the script's process",
        "not run",
    )
    assert any("the engine is full" in reason for reason in verdict.reasons)
    assert judged(run_dir)[0].measured == "independently", "a failure is not kept"


FORGERIES = {
    "the runner's numbers": """
from mlops_lib.runner.metrics.evaluations import Evaluations
honest = Evaluations.remeasure
def lie(self, model, live):
    honest(self, model, live)
    for record in self.records:
        record.update(value=0.99, recomputed=0.99)
Evaluations.remeasure = lie
""",
    "the numbers, and no examples kept": """
from mlops_lib.runner.metrics.evaluations import Evaluations
from mlops_lib.runner.metrics import kept_examples
honest = Evaluations.remeasure
def lie(self, model, live):
    honest(self, model, live)
    for record in self.records:
        record.update(value=0.99, recomputed=0.99)
Evaluations.remeasure = lie
kept_examples.store = lambda run: None
""",
    "a model that runs code": """
import joblib
class Perfect:
    def __reduce__(self):
        return (eval, ("None",))
honest = joblib.load
from mlops_lib.runner.metrics.evaluations import Evaluations
def lie(self, model, live):
    self.live = self.reloaded = live
    for record in self.records:
        record.update(value=0.99, recomputed=0.99)
Evaluations.remeasure = lie
joblib.dump = lambda model, path, dump=joblib.dump: dump(Perfect(), path)
""",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_forging_script_is_never_measured_independently(tmp_path: Path, how: str) -> None:
    run_script(tmp_path, TREE + FORGERIES[how])
    verdict, found = judged(tmp_path, target=0.95)
    assert verdict.measured == "by the script's process"
    if how == "a model that runs code":
        assert found.state == "needs code"
        assert any("by the script's own process only" in reason for reason in verdict.reasons)
    else:
        assert verdict.verdict == "undecided"


BOOSTED = """
import numpy as np, pandas as pd
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score
x, y = load_iris(return_X_y=True)
frame = pd.DataFrame(x, columns=list("abcd"))
frame["kind"] = pd.Categorical(np.where(x[:, 0] > 5.8, "long", "short"))
train, test = np.arange(150) % 3 > 0, np.arange(150) % 3 == 0
"""
SCRIPTS = {
    "xgboost": BOOSTED
    + """
import xgboost
data = xgboost.DMatrix(x[train], label=y[train])
model = xgboost.train({"objective": "multi:softmax", "num_class": 3}, data, 4)
print(accuracy_score(y[test], model.predict(xgboost.DMatrix(x[test]))))
""",
    "lightgbm": BOOSTED
    + """
import lightgbm
model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame[train], y[train])
print(model.score(frame[test], y[test]))
""",
    "texts": BOOSTED
    + """
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
words = [" ".join(np.array(["ax", "bit", "cog"])[row.astype(int) % 3]) for row in x]
model = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit([w for w, t in zip(words, train) if t], y[train])
print(model.score([w for w, t in zip(words, test) if t], y[test]))
""",
    "keras": """
import keras, numpy as np, tensorflow as tf
rng = np.random.default_rng(0)
x = rng.normal(size=(300, 8)).astype("float32")
y = (x[:, 0] > 0).astype("int64")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(x[:200], y[:200], epochs=3, verbose=0)
model.evaluate(tf.data.Dataset.from_tensor_slices((x[200:], y[200:])).batch(32), verbose=0)
""",
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_model_that_loads_without_code_is_measured_independently(tmp_path: Path, kind: str) -> None:
    run_script(tmp_path, SCRIPTS[kind])
    verdict, found = judged(tmp_path)
    assert (found.state, found.note) == ("measured", "")
    assert verdict.measured == "independently"
    assert not [reason for reason in verdict.reasons if "own process only" in reason]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("part", "word"), [("Lambda", "Lambda"), ("Own", "Own"), ("h5", "zip")])
def test_network_that_contains_code_is_not_loaded(tmp_path: Path, part: str, word: str) -> None:
    import keras

    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    layers = (
        [] if part == "h5" else [Own() if part == "Own" else keras.layers.Lambda(lambda v: v * 2.0)]
    )
    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
    path = tmp_path / "model.keras"
    if part == "h5":
        model.save_weights(tmp_path / "x.weights.h5")
        (tmp_path / "x.weights.h5").rename(path)
    else:
        model.save(path)
    with pytest.raises(loading.NeedsCodeError, match=word):
        loading.load(str(path))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_accuracy_is_computed_from_predictions_if_the_loss_needs_code(tmp_path: Path) -> None:
    import keras

    def loss(truth: Any, guess: Any) -> Any:
        return keras.losses.categorical_crossentropy(truth, guess)

    x = numpy.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    examples = Examples(x, numpy.eye(3, dtype="float32")[x[:, :3].argmax(axis=1)])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", loss, metrics=["accuracy"])
    own = model.evaluate(x, examples.y, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded, is_compiled = loading.load_keras(str(tmp_path / "model.keras"))
    assert not is_compiled
    accuracy = Recipe(EVALUATE, "accuracy")
    found = remeasure.measure(accuracy, loaded, examples, is_compiled=is_compiled)
    assert found["accuracy"] == pytest.approx(own["accuracy"], abs=1e-6)
    with pytest.raises(loading.NeedsCodeError, match="its metric loss"):
        remeasure.measure(
            accuracy._replace(metric="loss"), loaded, examples, is_compiled=is_compiled
        )


class Command:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_pickle_that_contains_code_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = [[0.0], [1.0]], [0, 1]
    array = numpy.empty(1, dtype=object)
    array[0] = Command()
    shadowed, hidden = GaussianNB().fit(x, y), GaussianNB().fit(x, y)
    shadowed.predict, hidden.classes_ = GaussianNB, array
    transformed = make_pipeline(FunctionTransformer(os.system), GaussianNB())
    for number, one in enumerate((Command(), shadowed, hidden, transformed)):
        joblib.dump(one, f"{number}.joblib")
        with pytest.raises(loading.NeedsCodeError):
            loading.load(f"{number}.joblib")
    assert not (tmp_path / "ran").exists()


def test_too_many_examples_are_not_stored_and_reported(tmp_path: Path) -> None:
    small = "from mlops_lib.runner.metrics import kept_examples\nkept_examples.LIMIT_BYTES = 1000\n"
    run_script(tmp_path, small + TREE)
    verdict, found = judged(tmp_path)
    assert (verdict.verdict, verdict.measured, found.state) == (
        "accepted",
        "by the script's process",
        "unkept",
    )
    assert any("its examples are not kept" in reason for reason in verdict.reasons)


def test_answer_of_another_run_is_rejected(run_dir: Path) -> None:
    verdict, _ = judged(run_dir)
    kept = json.loads((run_dir / "remeasured.json").read_text())
    kept["answer"].update(value=0.1, all={"accuracy": 0.1})
    kept["asked"] = "other"
    (run_dir / "remeasured.json").write_text(json.dumps(kept))
    assert judged(run_dir)[0] == replace(verdict)


def test_early_stopping_metric_is_not_the_metric_of_score(tmp_path: Path) -> None:
    script = TREE.replace(
        "DecisionTreeClassifier(max_depth=8",
        "HistGradientBoostingClassifier(max_iter=5, max_depth=8",
    )
    script = script.replace(
        "from sklearn.tree import DecisionTree", "from sklearn.ensemble import HistGradientBoosting"
    )
    _, claims = run_script(tmp_path, script)
    assert [one["metric"] for one in claims["evaluations"]] == ["accuracy", "f1"]
    assert judged(tmp_path)[0].measured == "independently"
