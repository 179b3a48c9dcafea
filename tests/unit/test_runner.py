"""The runner around a script: invisible to the script, accurate in its records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.runner.context import Context
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.spec import Spec

ROOT = Path(__file__).resolve().parents[2]


class Run:
    """One execution of an entry by the runner."""

    def __init__(
        self, folder: Path, entry: str, text: str, *args: str, spec: dict[str, Any] | None = None
    ) -> None:
        project = folder / "project"
        project.mkdir(exist_ok=True)
        (project / entry).write_text(text)
        self.inside = folder / "inside"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "1",
            "MLOPS_STRICT": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "MLOPS_PROJECT": str(project),
            "MLOPS_INSIDE": str(self.inside),
            "MLOPS_SPEC": json.dumps(spec or {}),
        }
        self.done = subprocess.run(
            [sys.executable, "-m", "mlops_lib.runner", entry, *args],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=project,
        )
        self.bare = (project, entry, args)

    def run_bare(self) -> subprocess.CompletedProcess[str]:
        """The same script without us."""
        project, entry, args = self.bare
        return subprocess.run(
            [sys.executable, entry, *args],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def events(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.inside / "events.jsonl").read_text().splitlines()
        ]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        assert self.done.returncode == 0, self.done.stderr
        claims: dict[str, Any] = json.loads((self.inside / "metrics.json").read_text())
        return list(claims["evaluations"])


LOOKS_AROUND = """
import os, sys
print(sys.argv, __file__, __name__, sys.path[0] == os.path.dirname(os.path.abspath(__file__)))
import helper
def fail(depth):
    if depth == 0:
        raise ValueError("ümlaut")
    fail(depth - 1)
try:
    fail(1)
except ValueError:
    pass
print(helper.__name__, os.path.basename(os.getcwd()) != "", sys.stdin.read())
"""


def test_script_behaves_as_without_the_runner(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "helper.py").write_text("")
    run = Run(tmp_path, "look.py", LOOKS_AROUND, "--flag", "a b", "ü")
    expected_output = run.done.stdout.replace(str(run.inside / "work"), str(tmp_path / "project"))
    assert (run.done.returncode, expected_output, run.done.stderr) == (0, run.run_bare().stdout, "")


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.exit(7)\n",
        "raise SystemExit('words')\n",
        "def inner():\n    open('absent.txt')\ninner()\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('second') from error\n",
        "import absent_module\n",
        "x = = 1\n",
    ],
)
def test_failing_script_fails_as_without_the_runner(text: str, tmp_path: Path) -> None:
    run = Run(tmp_path, "fail.py", text)
    bare = run.run_bare()
    assert run.done.returncode == bare.returncode
    expected_output = run.done.stderr.replace(str(run.inside / "work"), str(tmp_path / "project"))
    if "= = 1" in text:
        assert expected_output.splitlines()[-1] == bare.stderr.splitlines()[-1]
    else:
        assert without_paths(expected_output) == without_paths(bare.stderr)
    end = run.events[-1]
    assert (end["event"], end["exit_code"]) == ("end", bare.returncode)
    assert end["error"]["message"]


def test_failure_in_a_compiled_package_is_located_in_the_script(tmp_path: Path) -> None:
    run = Run(tmp_path, "fail.py", "import numpy\n\nnumpy.random.default_rng().choice([], 3)\n")
    assert "_generator.pyx" in run.done.stderr
    error = run.events[-1]["error"]
    assert (error["file"], error["line"]) == ("fail.py", 3)


def without_paths(text: str) -> list[str]:
    """Return a traceback without folders.

    Without the runner, Python shows the script's path as it was given.
    """
    return [
        line.replace(f"{Path(line.split(chr(34))[1]).parent}/", "")
        if line.startswith("  File")
        else line
        for line in text.splitlines()
    ]


def test_script_does_not_shadow_a_standard_module_of_its_name(tmp_path: Path) -> None:
    text = "import pdb, sys\nprint(sys.modules['code'].InteractiveConsole.__name__, __name__)\n"
    assert Run(tmp_path, "code.py", text).done.stdout == "InteractiveConsole __main__\n"


def test_input_returns_the_configured_answers(tmp_path: Path) -> None:
    text = "print(input('name? '), input())\n"
    assert "name? Ada\n" in Run(tmp_path, "ask.py", text, spec={"input": ["Ada", "2"]}).done.stdout
    refused = Run(tmp_path, "ask.py", text)
    assert refused.done.returncode == 1
    assert "setting `input`" in refused.done.stderr


def test_each_start_sees_the_pushed_folder_and_outputs_are_collected(tmp_path: Path) -> None:
    text = "import os\nos.mkdir('models')\nopen('models/a.txt', 'w').write('x')\nopen('log.txt', 'a').write('line\\n')\n"
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "log.txt").write_text("pushed\n")
    for _ in range(2):
        run = Run(tmp_path, "twice.py", text)
        assert run.done.returncode == 0, run.done.stderr
    assert (run.inside / "outputs" / "log.txt").read_text() == "pushed\nline\n"
    assert (run.inside / "outputs" / "models" / "a.txt").read_text() == "x"
    assert (tmp_path / "project" / "log.txt").read_text() == "pushed\n"
    assert not (run.inside / "work").exists()


def test_a_notebook_trains(tmp_path: Path) -> None:
    cells = [
        ("code", "%matplotlib inline\n!pip install something\nfrom sklearn.svm import SVC"),
        ("markdown", "not code ("),
        ("code", "%%time\nmodel = SVC().fit([[0], [1], [2], [3]], [0, 0, 1, 1])"),
        ("code", "!echo shell words\nmodel.score([[0.5], [2.5]], [0, 1])"),
    ]
    notebook = {
        "cells": [{"cell_type": kind, "source": text} for kind, text in cells],
        "nbformat": 4,
    }
    run = Run(tmp_path, "note book.ipynb", json.dumps(notebook))
    (evaluation,) = run.evaluations
    assert (evaluation["metric"], evaluation["value"], evaluation["recomputed"]) == (
        "accuracy",
        1.0,
        1.0,
    )
    assert "shell words" in run.done.stdout


SKLEARN = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
x, x_test, y, y_test = train_test_split(*load_iris(return_X_y=True), random_state=0)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
print(model.score(x, y))
print(accuracy_score(model.predict(x_test), y_test))
search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(x, y)
print(accuracy_score(y_test, search.predict(x_test)))
print(mean_absolute_error([1.0, 2.0], [1.5, 2.0]))
"""


def test_metrics_are_traced_to_the_model_that_made_them(tmp_path: Path) -> None:
    train, swapped, cross_validated, grid, foreign = Run(tmp_path, "train.py", SKLEARN).evaluations
    assert (train["source"], train["held_out"], train["fit"]) == ("sklearn.score", False, 1)
    assert (swapped["held_out"], swapped["fit"], swapped["examples"]) == (True, 1, 38)
    assert (cross_validated["source"], cross_validated["fit"]) == ("fit.validation", 2)
    assert (grid["held_out"], grid["fit"], grid["recomputed"]) == (True, 2, grid["value"])
    assert grid["baseline"]["name"] == "majority class"
    assert sum(map(sum, grid["confusion"])) == 38
    assert (foreign["metric"], foreign["fit"], foreign["higher_is_better"]) == ("mae", None, False)
    assert foreign["recompute_note"]


def test_fitting_a_scaler_is_no_training(tmp_path: Path) -> None:
    text = "from sklearn.preprocessing import StandardScaler\nprint(StandardScaler().fit_transform([[1.0], [3.0]]).ravel())\n"
    run = Run(tmp_path, "train.py", text)
    assert run.done.stdout == "[-1.  1.]\n"
    assert not [event for event in run.events if event["event"] in ("warning", "fit")]


SEEDED = """
import hashlib
import keras, numpy
keras.utils.set_random_seed(5)
x = numpy.random.normal(size=(200, 8)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int64")
model = keras.Sequential([
    keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.4), keras.layers.Dense(2, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=3, validation_split=0.2, verbose=0)
print(hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest(), model.evaluate(x, y, verbose=0))
"""


def test_script_with_own_seed_trains_to_the_same_bits_as_without_the_runner(tmp_path: Path) -> None:
    run = Run(tmp_path, "train.py", SEEDED)
    assert run.done.returncode == 0, run.done.stderr
    assert run.done.stdout == run.run_bare().stdout


def test_a_finished_fit_is_not_repeated(tmp_path: Path) -> None:
    first = Run(tmp_path, "train.py", SKLEARN)
    second = Run(tmp_path, "train.py", SKLEARN)
    assert [e["state"] for e in second.events if e["event"] == "fit"] == ["started"] * 2 + [
        "restored"
    ] * 2
    assert first.done.stdout == second.done.stdout


KERAS = """
import numpy as np
import tensorflow as tf
from tensorflow import keras
rng = np.random.default_rng(0)
x = rng.random((200, 4), dtype="float32")
y = (x.sum(axis=1) > 2).astype(int)
inputs = keras.Input((4,))
model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
model.compile("adam", "binary_crossentropy", metrics=["acc"])
history = model.fit(x[:120], y[:120], validation_data=(x[120:160], y[120:160]), epochs=2, verbose=0)
print(sorted(history.history), len(history.epoch), model.history is history)
print(model.evaluate(x[:50], y[:50], verbose=0))
print(model.evaluate(x[160:], y[160:], verbose=0, return_dict=True))
"""


@pytest.mark.slow
def test_keras_calls_within_fit_are_no_evaluations_of_the_script(tmp_path: Path) -> None:
    run = Run(tmp_path, "train.py", KERAS)
    training, validation, evaluations, held_out = run.evaluations
    assert (training["source"], training["held_out"]) == ("fit.training", False)
    assert (validation["source"], validation["held_out"], validation["examples"]) == (
        "fit.validation",
        True,
        40,
    )
    assert (evaluations["source"], evaluations["held_out"]) == ("keras.evaluate", False)
    assert (held_out["metric"], held_out["held_out"], held_out["examples"]) == (
        "accuracy",
        True,
        40,
    )
    assert held_out["recomputed"] == pytest.approx(held_out["value"])
    assert "['acc', 'loss', 'val_acc', 'val_loss'] 2 True" in run.done.stdout
    assert [(e["fit"], e["epoch"]) for e in run.events if e["event"] == "epoch"] == [(1, 0), (1, 1)]


def test_fits_after_the_search_are_trained_again(tmp_path: Path) -> None:
    spec = Spec(project=str(tmp_path), inside=str(tmp_path), number_of_pass=3, search={"fit": 2})
    journal = Journal(str(tmp_path), number_of_pass=3, attempt=1)
    run = Context(spec, journal, str(tmp_path))
    assert run.fit_folder(2) == str(tmp_path / "fits" / "2")
    assert run.fit_folder(3) == str(tmp_path / "fits" / "pass-3" / "3")
    assert run.loop_folder(1) == str(tmp_path / "fits" / "candidates-1")
    run.searched = True
    assert run.loop_folder(2) == str(tmp_path / "fits" / "pass-3" / "candidates-2")
    journal.resumed_epochs = {(2, 0), (3, 0)}
    journal.forget_epochs_after(2)
    assert journal.resumed_epochs == {(2, 0)}
