"""Old scripts run to their end, and what was adapted for them is said."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops_lib.runner.compat import source_idioms, symbolic_keras

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "cases" / "old_code"


class Ran:
    """One script by the runner."""

    def __init__(self, project: Path, inside: Path, entry: str = "train.py", **spec: Any) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "MPLBACKEND": "Agg",
            "MLOPS_STRICT": "1",
            "MLOPS_PROJECT": str(project),
            "MLOPS_INSIDE": str(inside),
            "MLOPS_SPEC": json.dumps(spec),
        }
        self.inside = inside
        self.done = subprocess.run(
            [sys.executable, "-m", "mlops_lib.runner", entry],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=inside.parent,
        )

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.inside / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    @property
    def warnings(self) -> list[str]:
        return [event["message"] for event in self.events("warning")]


PROBER = """
import scipy.signal

try:
    import google.colab
except ImportError:
    google = None
has_hamming = hasattr(scipy.signal, "hamming")
"""


def test_a_library_that_looks_for_old_names_is_not_the_scripts_matter(tmp_path: Path) -> None:
    library, project = tmp_path / "library", tmp_path / "project"
    for folder, file, text in (
        (library, "prober.py", PROBER),
        (project, "modern.py", "print(prober.google, prober.has_hamming)\n"),
        (project, "old.py", "import scipy.signal\nprint(len(scipy.signal.hamming(3)))\n"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    begin = f"import sys; sys.path.append({str(library)!r}); import prober\n"
    for name, printed, warnings in (
        ("modern", "None True", []),
        ("old", "3", ["old.py:3: scipy.signal.hamming is scipy.signal.windows.hamming"]),
    ):
        script = project / f"{name}.py"
        script.write_text(begin + script.read_text())
        (tmp_path / name).mkdir()
        ran = Ran(project, tmp_path / name / "inside", script.name)
        assert ran.done.returncode == 0, ran.done.stderr
        assert ran.done.stdout.strip() == printed
        assert ran.warnings == warnings


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir() if path.is_dir()))
def test_an_old_script_runs(case: str, tmp_path: Path) -> None:
    expected = json.loads((CASES / case / "expected.json").read_text())
    entry = expected.get("entry", "train.py")
    ran = Ran(CASES / case, tmp_path / "inside", entry, input=expected.get("input", []))
    assert ran.done.returncode == 0, ran.done.stderr
    lines = [line.strip() for line in ran.done.stdout.replace("name? ", "\n").splitlines()]
    for line in expected["printed"]:
        assert line in lines or any(one.endswith(line) for one in lines), ran.done.stdout
    for message in expected["warned"]:
        assert message in ran.warnings
    assert len(ran.warnings) == len(set(ran.warnings)), "each adaptation is said once"
    for name in expected["outputs"]:
        assert (tmp_path / "inside" / "outputs" / name).exists()
    if "metric" in expected:
        assert [event["source"] for event in ran.events("metric")][-1] == expected["metric"]
    assert not ran.events("hook_error")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from keras import backend as K\nK.gradients(a, b)\n", "K.gradients works on a graph"),
        (
            "import tensorflow as tf\ntf.keras.backend.get_session()\n",
            "K.get_session works on a graph",
        ),
        ("model.add_loss(x)\n", "add_loss of a tensor of the model"),
        (
            "class L(Layer):\n    def call(self, x):\n        self.add_loss(x)\n        return x\n",
            "",
        ),
        (
            "rate = 2\nx = Dense(1)(x)\ndef f(y, p):\n    return rate * (y - p)\nm.compile(loss=f)\n",
            "",
        ),
        ("import torch\ntorch.gradients(x)\n", ""),
    ],
)
def test_what_needs_a_graph_is_seen(text: str, said: str) -> None:
    found = symbolic_keras.use(ast.parse(text))
    assert (found[0] if found else "") == said


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("import torch\ntotal = loss.data[0]\n", {source_idioms.FIRST}),
        ("import torch\ntotal = loss.data[1]\n", set()),
        ("total = request.data[0]\n", set()),
        ("from scipy import stats\nm = stats.mode(x).mode[0]\n", {source_idioms.MODE}),
        ("m = table.mode()[0][0]\n", set()),
        ("rate = float(x)\nlayer = Lambda(lambda x: float(x))\n", {source_idioms.NUMBER}),
        ("print('%.2f' % loss, 7 % 2)\n", {source_idioms.SHOWN}),
    ],
)
def test_what_only_the_source_shows_is_seen(text: str, used: set[str]) -> None:
    tree = ast.parse(text)
    found = source_idioms.Idioms(tree)
    found.visit(tree)
    assert found.used == used


def test_a_number_is_read_from_what_has_no_dimensions() -> None:
    said: list[bool] = []
    assert source_idioms.first(np.array(2.5), say=lambda: said.append(True)) == 2.5
    assert source_idioms.first([4, 5], say=lambda: said.append(False)) == 4
    assert said == [True]


LENT = """
from mlops_lib.runner.compat import names, scipy_stack, tensorflow1
from mlops_lib.runner.compat.keras import names as keras_names

LEGACY_KERAS = ("tensorflow.compat.v1:layers", "tensorflow.compat.v1:nn.rnn_cell")
gone = {**keras_names.MODULES, **keras_names.PREPROCESSING, **scipy_stack.MODULES, **tensorflow1.MODULES}
tables = [*keras_names.NAMES.values(), *scipy_stack.NAMES.values(), *(table for _, table in gone.values())]
targets = {target for table in tables for target in table.values() if isinstance(target, str)}
targets |= {source for sources, _ in gone.values() for source in sources}
for target in sorted(targets):
    if target.partition(":")[0] not in gone and not target.startswith(LEGACY_KERAS):
        try:
            names.find(target)
        except (ImportError, AttributeError) as error:
            print(target, error)
"""


@pytest.mark.slow
def test_every_name_that_is_answered_for_leads_somewhere() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", LENT], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_package_that_asks_which_python_it_runs_on_is_not_misled(tmp_path: Path) -> None:
    library, project = tmp_path / "library", tmp_path / "project"
    library.mkdir()
    project.mkdir()
    (library / "asks.py").write_text(
        "import sys\ntry:\n    from itertools import izip\nexcept ImportError:\n    izip = None\nOLD = hasattr(sys, 'maxint')\n"
    )
    (project / "train.py").write_text(
        f"import sys\nsys.path.insert(0, {str(library)!r})\nimport asks\nimport itertools\n"
        "print(asks.OLD, asks.izip, list(itertools.izip('a', 'b')), sys.maxint)\n"
    )
    ran = Ran(project, tmp_path / "inside")
    assert ran.done.stdout == f"False None [('a', 'b')] {sys.maxsize}\n", ran.done.stderr
    assert ran.warnings == [
        "train.py:5: itertools.izip is builtins.zip",
        "train.py:5: sys.maxint is sys.maxsize",
    ]
