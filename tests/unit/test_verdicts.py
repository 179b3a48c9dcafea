"""The number in a verdict is the registered file's, on the verdict's examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_digits

from bench import verdicts as matrix
from mlops_lib.gate import verdicts
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.metrics.evaluations import Evaluations, Measured
from mlops_lib.runner.script.conditions import Conditions, surroundings

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = [
    matrix.Case("ImageDataGenerator", evaluates=False),
    matrix.Case("tf.data", evaluates=True),
]
"""`python -m bench.verdicts` runs all of them."""


@pytest.mark.slow
@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_fresh_process_reproduces_the_verdicts_number(case: matrix.Case, tmp_path: Path) -> None:
    first, second = matrix.judgements(case, tmp_path)
    assert not first.faults()
    assert not second.faults()
    assert (first.verdict.selection, first.verdict.examples) == ("", 240)
    assert (second.verdict.selection, second.verdict.examples, second.verdict.left_out) == (
        "half",
        120,
        120,
    )


LAZY = """
import os
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Lazy(ClassifierMixin, BaseEstimator):
    \"\"\"Reads what it needs when it is asked, from where the script is then.\"\"\"

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, x):
        edge = np.loadtxt("/home/of/the/author/edge.txt") + np.loadtxt("second.txt") + float(os.environ["THIRD"])
        return (np.asarray(x)[:, 0] > edge).astype(int)

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 2))
y = (x[:, 0] > 0.6).astype(int)
np.random.seed(4)
os.environ["THIRD"] = "0.3"
os.makedirs("folder")
os.chdir("folder")
np.savetxt("second.txt", [0.2])
model = Lazy().fit(x[:100], y[:100])
model.score(x[100:], y[100:])
os.chdir("..")
del os.environ["THIRD"]
"""


def test_model_is_judged_under_the_conditions_of_its_measurement(
    tmp_path: Path,
) -> None:
    project, inside = tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    (project / "train.py").write_text(LAZY)
    (project / "edge.txt").write_text("0.1\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": "{}",
        "MLOPS_STRICT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib.runner", "train.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (inside / "events.jsonl").read_text().splitlines()]
    assert [one for one in events if one["event"] == "hook_error"] == []
    measured = [one for one in events if one["event"] == "measured"]
    assert [(one["recomputed"], one["examples"]) for one in measured] == [(1.0, 100)]
    assert measured[0]["measured_on"]["data"] == "what score was given"
    judged = json.loads((inside / "judged.json").read_text())
    names = [bytes.fromhex(one) for one in judged["examples"]]
    assert (
        example_hashes.Examples(names).digest == judged["digest"] == measured[0]["examples_digest"]
    )
    assert not (
        inside / "outputs" / "absolute"
    ).exists()  # what the runner writes is no output of the script


def test_conditions_are_restored_and_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    active: list[str] = []

    def install() -> object:
        active.append("in force")
        return active.clear

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    conditions = Conditions()
    conditions.activate(install)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        monkeypatch.setenv("OF_THE_CALL", "1")
        monkeypatch.chdir(tmp_path / "folder")
        at = surroundings()
    monkeypatch.delenv("OF_THE_CALL")
    monkeypatch.chdir(tmp_path)
    conditions.end()
    assert not active
    before = surroundings()
    with conditions.restored(), conditions.restored(at):
        assert active == ["in force"]
        assert (Path.cwd(), os.environ["OF_THE_CALL"]) == (tmp_path / "folder", "1")
        assert warnings.filters[0][2] is ResourceWarning
    assert not active
    assert surroundings() == before


class Model:
    """Right for every example whose number is even."""

    def right(self, names: list[bytes]) -> float:
        return sum(name[0] % 2 == 0 for name in names) / len(names)


def test_examples_of_the_selection_are_left_out_of_the_number(tmp_path: Path) -> None:
    evaluations = Evaluations(Journal(str(tmp_path), number_of_pass=1, attempt=1))
    names = [bytes([i]) for i in range(10)]

    def repeat(model: Model, without: frozenset[bytes]) -> Measured:
        rest = [one for one in names if one not in without]
        return Measured(model.right(rest), rest)

    model = Model()
    evaluations.add(
        metric="accuracy",
        value=0.5,
        source="test",
        fit=1,
        held_out=True,
        model=model,
        repeat=repeat,
    )
    evaluations.selected = frozenset(names[:3])  # two of them are right
    evaluations.remeasure(Model(), model)
    record = evaluations.records[0]
    assert (record["value"], record["recomputed"], record["examples"]) == (3 / 7, 3 / 7, 7)
    assert record["on_all"] == {
        "metric": "accuracy",
        "value": 0.5,
        "recomputed": 0.5,
        "examples": 10,
    }
    assert record["measured_on"]["left_out"] == 3
    assert record["examples_digest"] == example_hashes.Examples(names[3:]).digest
    evaluations.selected = frozenset(names)
    evaluations.remeasure(Model(), model)
    assert record["measured_on"]["selected_on"] == 10


GRID = """
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
x, y = load_digits(return_X_y=True)
grid = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]}, cv=3).fit(x[:500], y[:500])
open("best.txt", "w").write(repr(float(grid.best_score_)))
"""


def test_winner_of_a_grid_search_is_judged_on_held_out_examples(tmp_path: Path) -> None:
    project, inside = tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    (project / "train.py").write_text(GRID)

    def run(spec: dict[str, object]) -> float:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLOPS_PROJECT": str(project),
            "MLOPS_INSIDE": str(inside),
            "MLOPS_SPEC": json.dumps(spec),
            "MLOPS_STRICT": "1",
        }
        command = [sys.executable, "-m", "mlops_lib.runner", "train.py"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return float((inside / "outputs" / "best.txt").read_text())

    run({})
    first = verdicts.judge(tmp_path, target=0.6)
    assert (first.verdict, first.source, first.recomputed) == ("rejected", "fit.validation", False)
    asked = {
        "fit": 1,
        "metric": "accuracy",
        "target": 0.6,
        "trials": 6,
        "judged_digest": first.examples_digest,
    }
    best = run({"pass": 2, "search": asked})
    result = json.loads((inside / "search" / "result.json").read_text())
    assert best == result["score"]
    verdict = verdicts.judge(tmp_path, target=0.6, selection=result["selection"])
    assert (verdict.verdict, verdict.source, verdict.recomputed) == (
        "accepted",
        "search.judged",
        True,
    )
    assert verdict.examples == 100
    x, y = load_digits(return_X_y=True)
    place = {name: i for i, name in enumerate(example_hashes.hashes(x[:500]))}
    judged = [
        place[bytes.fromhex(one)]
        for one in json.loads((inside / "judged.json").read_text())["examples"]
    ]
    model = joblib.load(inside / "model.joblib")
    assert verdict.value == model.score(x[judged], y[judged])
