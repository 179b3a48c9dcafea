"""The suggested patch: applied by git, the script builds the search's winner layer by layer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import patching
from mlops_lib.patching import best_model_script
from mlops_lib.patching import keras as keras_patch
from mlops_lib.patching.notebooks import open_source
from mlops_lib.patching.source import Source, with_arguments
from mlops_lib.patching.winner_record import Site, UnpatchableError, Winner, literal

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "model_repo"

ADDED = """
import numpy as np
from tensorflow.keras.models import Sequential
from tensorflow.keras.layers import (
    Conv2D,  # the eyes
    Dense, Flatten,
)
rng = np.random.default_rng(0)
x, y = rng.random((300, 12, 12, 1), dtype="float32"), rng.integers(0, 3, 300)

m = Sequential()
m.add(Conv2D(4, 3, activation='relu', input_shape=(12, 12, 1)))   # first
m.add(Flatten())
# the decision
m.add(Dense(3, activation='softmax'))
m.compile('sgd', 'sparse_categorical_crossentropy', metrics=['accuracy'])
m.fit(x, y, 32, 2)
print(m.evaluate(x, y))
"""
BRANCHES = """
import keras, numpy as np
from keras import layers as L
rng = np.random.default_rng(0)
x, y = (rng.random((300, 8)) * 100).astype("float32"), rng.integers(0, 2, 300)
N = 2
def block(t, n):
    return L.Dense(n, "relu")(t)
a = keras.Input((8,))
b = L.Dense(16, activation="relu", name="left")(a)
both = L.Concatenate()([b, L.Dense(4, "relu")(a)])
out = L.Dense(1, activation="sigmoid")(both)
model = keras.Model(a, out)
model.compile(loss="binary_crossentropy", metrics=["accuracy"], optimizer=keras.optimizers.SGD(0.01))
model.fit(x, y, epochs=N, class_weight=None)
print(model.evaluate(x, y), [0] * N)
"""
SENTENCES = """
import numpy as np, tensorflow as tf
rng = np.random.default_rng(0)
x, y = rng.integers(1, 50, (300, 10)), rng.integers(0, 2, 300)
x[:, 6:] = 0
text = tf.keras.Input(shape=(10,))
net = tf.keras.layers.Embedding(50, 8)(text)
net = tf.keras.layers.LSTM(8)(net)
model = tf.keras.Model(text, tf.keras.layers.Dense(1, activation="sigmoid")(net))
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=1)
print(model.evaluate(x, y))
"""
PRICES = """
import numpy as np
from tensorflow import keras
rng = np.random.default_rng(0)
x = rng.normal(size=(300, 5)).astype("float32")
y = 200 + 50 * x[:, 0] + rng.normal(size=300)
model = keras.Sequential([
    keras.layers.Input((5,)),
    keras.layers.Dense(8, activation="relu"),
    keras.layers.Dense(1),
])
model.compile(optimizer="adam", loss="mse", metrics=["mae"])
model.fit(x, y, epochs=2)
print(model.evaluate(x, y))
"""
TEXTS = {"added": ADDED, "branches": BRANCHES, "sentences": SENTENCES, "prices": PRICES}
NETWORKS = {
    "digits_cnn": "train.py",
    "digits_layers": "mlcode.py",
    "digits_lstm": "digits_lstm.py",
    "wine_dense": "wine.py",
}
ESTIMATORS = {"cancer_pipeline": "train.py", "digits_tree": "tree.py"}

BUILDS = """
import json, runpy, sys
import keras
from mlops_lib.runner.search.keras.blueprint import blueprint
class Built(Exception): pass
def fit(self, *args, **kwargs):
    if not self.built:
        self.build(args[0].shape if args else kwargs["x"].shape)
    print("BUILT", json.dumps(blueprint(self)))
    raise Built
keras.Model.fit = fit
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except Built:
    pass
"""


def searched(project: Path, entry: str, *, trials: int = 1) -> Path:
    """One run with a search in it, which takes its first candidate whatever it scores; the run
    directory.
    """
    run_dir = project.parent / "run"
    search = {
        "fit": 1,
        "metric": "accuracy",
        "target": 2.0,
        "trials": trials,
        "minutes": 5,
        "judged_value": -1.0,
        "limits": {"epochs": 1},
    }
    if 'metrics=["mae"]' in (project / entry).read_text():
        search.update(metric="mae", target=0.0, judged_value=1e9)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "1",
        "MLOPS_STRICT": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(run_dir / "inside"),
        "MLOPS_SPEC": json.dumps({"search": search}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib.runner", entry],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=project,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return run_dir


def bare(project: Path, entry: str) -> list[dict[str, Any]]:
    """The layers that the script, run without us, has when it calls `fit`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", BUILDS, entry],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("BUILT ")), None)
    assert line is not None, done.stderr[-3000:]
    layers: list[dict[str, Any]] = json.loads(line[6:])
    return layers


def same(layers: list[dict[str, Any]]) -> list[Any]:
    """Layers without their names and places: class, settings, and which layers they read."""
    number = {layer["name"]: i for i, layer in enumerate(layers)}
    return [
        [one["class"], plain(one["arguments"]), [number[n] for n in one["inputs"]]]
        for one in layers
    ]


def plain(arguments: Any) -> Any:
    if isinstance(arguments, dict):
        return {
            k: plain(v) for k, v in arguments.items() if k not in ("name", "site", "parameters")
        }
    if isinstance(arguments, list):
        return [plain(one) for one in arguments]
    return float(f"{arguments:.4g}") if isinstance(arguments, float) else arguments


def apply(project: Path, patch: Path) -> None:
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=project, check=True)
    subprocess.run(["git", "apply", str(patch)], cwd=project, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, *TEXTS])
def test_the_patched_script_builds_the_winner(name: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    if name in NETWORKS:
        shutil.copytree(SAMPLES / name, project)
    else:
        project.mkdir()
        (project / "train.py").write_text(TEXTS[name])
    entry = NETWORKS.get(name, "train.py")
    run_dir = searched(project, entry)
    suggested = patching.suggest(run_dir, project=project)
    assert suggested is not None
    assert suggested.name == "suggested.patch", suggested.read_text()
    before = (project / entry).read_text()
    apply(project, suggested)
    winner = json.loads((run_dir / "inside/search/winner.json").read_text())
    assert same(bare(project, entry)) == same(winner["after"])
    after = (project / entry).read_text()
    kept = set(before.splitlines()) & set(after.splitlines())
    assert len(kept) >= len(set(before.splitlines())) - 10, "formatting and all other lines stay"
    assert "CosineDecay" in after
    assert ("from tensorflow import keras" in after) or name != "added", (
        "not another Keras than the source's own"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_patched_estimator_is_the_winner(name: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(SAMPLES / name, project)
    if name == "cancer_pipeline":  # as pushed it leaves little to find
        weak = project / "cancer/model.py"
        weak.write_text(weak.read_text().replace("components=10", "components=1"))
    run_dir = searched(project, ESTIMATORS[name], trials=3 if name == "cancer_pipeline" else 2)
    suggested = patching.suggest(run_dir, project=project)
    assert suggested is not None
    assert suggested.name == "suggested.patch"
    apply(project, suggested)
    code = (
        "import json, runpy, sys, sklearn.base as b\n"
        "from mlops_lib.runner.search.estimator_description import describe\n"
        "class Built(Exception): pass\n"
        "def stop(self, *a, **k):\n    print('BUILT', json.dumps(describe(self)))\n    raise Built\n"
        "from sklearn.pipeline import Pipeline\nfrom sklearn.tree import DecisionTreeClassifier\n"
        "import sklearn.ensemble as e, sklearn.svm as s\n"
        "for c in (Pipeline, DecisionTreeClassifier, s.SVC, e.HistGradientBoostingClassifier, e.ExtraTreesClassifier):\n"
        "    c.fit = stop\n"
        "sys.path.insert(0, '.')\n"
        "try:\n    runpy.run_path(sys.argv[1], run_name='__main__')\nexcept Built:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ESTIMATORS[name]],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("BUILT ")), None)
    assert line is not None, done.stderr[-3000:]
    winner = json.loads((run_dir / "inside/search/winner.json").read_text())
    assert without_random_state(json.loads(line[6:])) == without_random_state(winner["after"])


def without_random_state(described: Any) -> Any:
    if isinstance(described, dict):
        return {k: without_random_state(v) for k, v in described.items() if k != "random_state"}
    if isinstance(described, list):
        return [without_random_state(one) for one in described]
    return float(f"{described:.6g}") if isinstance(described, float) else described


CLEVER = """
import keras
model = keras.Sequential([keras.Input((4,))] + [keras.layers.Dense(n) for n in (3, 2)])
"""


def winner(**more: Any) -> Winner:
    site = {"file": "train.py", "line": 3, "column": None, "end_line": None, "end_column": None}
    layers: list[dict[str, Any]] = [
        {"class": "InputLayer", "name": "i", "arguments": {"shape": [4], "dtype": "float32"}},
        {"class": "Dense", "name": "a", "arguments": {"units": 3}, "inputs": ["i"], "site": site},
        {"class": "Dense", "name": "b", "arguments": {"units": 2}, "inputs": ["a"], "site": site},
    ]
    layers = [{"known": True, "parameters": ["units"], **layer} for layer in layers]
    wide = [layers[0], {**layers[1], "arguments": {"units": 9}}, layers[2]]
    return Winner.read(
        {"framework": "keras", "before": layers, "after": wide, "sequential": True, **more}
    )


def test_a_clever_source_gets_a_script_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CLEVER)
    with pytest.raises(UnpatchableError, match="makes several layers"):
        keras_patch.patched_files(winner(), project=tmp_path)
    text = best_model_script.script(
        winner(recipe={"epochs": 3, "schedule": "cosine", "optimizer": "adam"}), reason="it says so"
    )
    made: dict[str, Any] = {}
    exec(compile(text, "best_model.py", "exec"), made)
    assert [type(one).__name__ for one in made["build_model"]().layers] == ["Dense", "Dense"]
    assert made["build_model"]().layers[0].units == 9
    assert made["FIT"]["epochs"] == 3


OLD_IMPORTS = """
from keras.models import Sequential
from keras.layers import Dense
from keras.layers.normalization import BatchNormalization
model = Sequential([Dense(3), Dense(2)])
"""


def test_a_layer_that_the_source_imports_from_where_it_was_is_not_imported_twice(
    tmp_path: Path,
) -> None:
    (tmp_path / "train.py").write_text(OLD_IMPORTS)
    site = {"file": "train.py", "line": 5, "column": 20, "end_line": 5, "end_column": 28}
    dense = {"class": "Dense", "known": True, "parameters": ["units"], "inputs": []}
    before = [
        {**dense, "name": "a", "arguments": {"units": 3}, "site": site},
        {**dense, "name": "b", "arguments": {"units": 2}, "inputs": ["a"]},
    ]
    more = {**dense, "class": "BatchNormalization", "name": "c", "arguments": {}, "inputs": ["a"]}
    found = Winner.read(
        {"framework": "keras", "before": before, "after": [before[0], more, before[1]]}
    )
    (text,) = keras_patch.patched_files(found, project=tmp_path).values()
    assert text == OLD_IMPORTS.replace("Dense(3), ", "Dense(3), BatchNormalization(), ")


def test_other_layers_are_not_looked_for_where_preprocessing_ones_were(tmp_path: Path) -> None:
    made = "layers.experimental.preprocessing.Rescaling(2)"
    text = f"from tensorflow.keras import layers, Sequential\nmodel = Sequential([{made}])\n"
    (tmp_path / "train.py").write_text(text)
    site = {
        "file": "train.py",
        "line": 2,
        "column": 20,
        "end_line": 2,
        "end_column": 20 + len(made),
    }
    layer = {"known": True, "parameters": ["scale"], "inputs": []}
    first = {**layer, "class": "Rescaling", "name": "a", "arguments": {"scale": 2}, "site": site}
    flat = {**layer, "class": "Flatten", "name": "b", "arguments": {}, "inputs": ["a"]}
    found = Winner.read({"framework": "keras", "before": [first], "after": [first, flat]})
    assert keras_patch.patched_files(found, project=tmp_path)["train.py"] == text.replace(
        made, f"{made}, layers.Flatten()"
    )


@pytest.mark.parametrize(
    "value",
    [
        {"class_name": "system", "module": "os", "config": {}},
        {"class_name": "x); import os", "module": "keras", "config": {}},
    ],
)
def test_a_claim_cannot_write_code(value: Any) -> None:
    with pytest.raises(UnpatchableError):
        literal(value)


def test_a_claim_cannot_name_other_files(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "secret.py").write_text("password = 1\n")
    (tmp_path / "project/link.py").symlink_to(tmp_path / "secret.py")
    for name in ("../secret.py", "link.py", "/etc/passwd", "absent.py"):
        with pytest.raises(UnpatchableError):
            patching.read_source(tmp_path / "project", name)


def test_a_value_that_is_text_stays_text() -> None:
    assert eval(literal('"); import os; ("')) == '"); import os; ("'
    assert literal([3, 3]) == "(3, 3)"
    assert literal(1e-4) == "0.0001"


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ("f(1, b=2,  c = 3)", {"b": "5"}, "f(1, b=5,  c = 3)"),
        ("f(1, 2)", {"b": "5", "d": "x"}, "f(1, 5, d=x)"),
        ("f(\n    1,\n    c=3,\n)", {"d": "4"}, "f(\n    1,\n    c=3,\n    d=4,\n)"),
        ("f(1, c=3)", {"c": None}, "f(1)"),
        ("f()", {"a": "1"}, "f(a=1)"),
    ],
)
def test_arguments_change_and_the_layout_stays(
    before: str, wanted: dict[str, str | None], after: str
) -> None:
    source = Source(before + "\n")
    call = source.nodes(source.cst.Call)[0]
    source.change(call, lambda made: with_arguments(source, made, wanted, ("a", "b", "c")))
    assert source.patched_text() == after + "\n"


CELLS: list[dict[str, Any]] = [
    {"cell_type": "markdown", "metadata": {}, "source": ["# Größe\n", "of a network"]},
    {
        "cell_type": "code",
        "metadata": {},
        "source": ["%matplotlib inline\n", "!ls\n", "from keras.layers import Dense"],
    },
    {"cell_type": "code", "metadata": {}, "source": ["%%bash\n", "echo no Python here"]},
    {"cell_type": "code", "metadata": {}, "source": []},
    {
        "cell_type": "code",
        "metadata": {},
        "source": ["# ä\n", "made = [\n", "    Dense(2),\n", "    Dense(3)]\n"],
    },
]


@pytest.mark.parametrize("indent", [1, 2])
def test_a_notebook_is_patched_in_its_cells(indent: int, tmp_path: Path) -> None:
    place = tmp_path / "lesson.ipynb"
    text = (
        json.dumps({"cells": CELLS, "nbformat": 4}, indent=indent, ensure_ascii=indent == 1) + "\n"
    )
    place.write_text(text, encoding="utf-8")
    source = open_source(tmp_path, "lesson.ipynb")
    assert source.patched_text() == text
    # As the runner counts: three lines, two, one of the empty cell, and the third of the last one.
    call = source.call(Site("lesson.ipynb", 9, 4, 9, 12), ())
    source.change(call, lambda made: with_arguments(source, made, {"units": "8"}, ("units",)))
    patch = patching.difference(tmp_path, {"lesson.ipynb": source.patched_text()})
    assert [line for line in patch.splitlines() if line[0] in "+-"][2:] == [
        f'-{" " * 4 * indent}"    Dense(2),\\n",',
        f'+{" " * 4 * indent}"    Dense(8),\\n",',
    ]
    apply(tmp_path, write(tmp_path / "suggested.patch", patch))
    assert json.loads(place.read_text(encoding="utf-8"))["cells"][:4] == CELLS[:4]


def write(place: Path, text: str) -> Path:
    place.write_text(text, encoding="utf-8")
    return place


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "\ufefffrom x import f\r\nm = f(1)\r\n", id="a mark and the line ends of Windows"
        ),
        pytest.param("from x import f\n\x0c\nm = f(1)  # \u2028\n", id="a form feed"),
        pytest.param("from x import f\nm = f(1)", id="no end of the last line"),
    ],
)
def test_git_applies_a_change_of_one_line_whatever_the_file_is_like(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_bytes(text.encode())
    source = open_source(tmp_path, "train.py")
    (call,) = source.nodes(source.cst.Call)
    source.change(call, lambda made: with_arguments(source, made, {"a": "2"}, ("a",)))
    patch = patching.difference(tmp_path, {"train.py": source.patched_text()})
    assert [line[0] for line in patch.split("\n")[2:] if line[:1] in "-+" and line] == ["-", "+"]
    (tmp_path / "suggested.patch").write_bytes(patch.encode())
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "suggested.patch"], cwd=tmp_path, check=True)
    assert (tmp_path / "train.py").read_bytes() == text.replace("f(1)", "f(2)").encode()


def test_an_argument_that_is_compared_as_text_gets_a_patch(tmp_path: Path) -> None:
    project, run_dir = tmp_path / "project", tmp_path / "run"
    project.mkdir()
    run_dir.mkdir()
    script = "import sys\ni = sys.argv[1]\nif i == 1:\n    print('deeper')\n"
    (project / "mlcode.py").write_text(script)
    found = patching.fix_argument(run_dir, project=project, entry="mlcode.py")
    assert found is not None
    assert (
        found[0]
        == "the argument has no effect: it is text, compared with a number at line 3 (`i == 1`)"
    )
    apply(project, found[1])
    done = subprocess.run(
        [sys.executable, "mlcode.py", "1"], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout == "deeper\n"
    assert patching.fix_argument(run_dir, project=project, entry="mlcode.py") is None
