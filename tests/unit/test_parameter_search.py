"""The search around estimators that tune themselves: grid searches, alone, around a pipeline and
inside one.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from running import run_runner
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes HalvingGridSearchCV importable
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from mlops_lib import patching
from mlops_lib.records import SearchResult
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.search import failures
from mlops_lib.runner.search import sklearn as sklearn_search

DATA = make_classification(
    400, 20, n_informative=6, n_redundant=2, n_clusters_per_class=3, flip_y=0.03, random_state=5
)
X, Y = DATA[0] * numpy.logspace(0, 3, 20), DATA[1]
GRID = {"n_neighbors": [1, 3], "weights": ["uniform", "distance"]}
IN_PIPELINE = {f"clf__{name}": values for name, values in GRID.items()}
STEPS = [("scale", MinMaxScaler()), ("clf", KNeighborsClassifier())]
SEARCHES = {
    "grid": lambda: GridSearchCV(KNeighborsClassifier(), GRID, cv=3),
    "random": lambda: RandomizedSearchCV(
        KNeighborsClassifier(), GRID, n_iter=2, cv=3, random_state=0
    ),
    "halving": lambda: HalvingGridSearchCV(KNeighborsClassifier(), GRID, cv=3, random_state=0),
    "around a pipeline": lambda: GridSearchCV(Pipeline(STEPS), IN_PIPELINE, cv=3),
    "inside a pipeline": lambda: make_pipeline(
        MinMaxScaler(), GridSearchCV(KNeighborsClassifier(), GRID, cv=3)
    ),
    "without a refit": lambda: GridSearchCV(KNeighborsClassifier(), GRID, cv=3, refit=False),
}


class Fit:
    """What the adapter hands over."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator.fit(X, Y)
        self.x = X
        self.y = Y
        self.number = 1


def search(folder: Path, fit: Any, **request: Any) -> SearchResult:
    journal = Journal(str(folder / "inside"), number_of_pass=2, attempt=1)
    asked = {
        "fit": 1,
        "metric": "accuracy",
        "mode": "max",
        "target": 2.0,
        "trials": 6,
        "minutes": 5,
        **request,
    }
    result = sklearn_search.Search(fit, asked, journal, folder=str(folder / "search"), seed=1).run()
    return SearchResult.from_json(result)


@pytest.mark.parametrize("kind", SEARCHES)
def test_what_a_grid_chose_is_varied_and_the_winner_put_back(kind: str, tmp_path: Path) -> None:
    made = SEARCHES[kind]()
    fit = Fit(made)
    grid = made.steps[-1][1] if isinstance(made, Pipeline) else made
    names = set(grid.best_params_)
    found = search(tmp_path, fit)
    failed = [trial.message for trial in found.trials if trial.state == "failed"]
    assert failed == []
    assert found.winner > 0
    assert found.trials[found.winner].score > found.trials[0].score  # type: ignore[operator]
    assert fit.estimator is made
    assert set(grid.best_params_) == names, "a script hands them on to a constructor"
    clone(grid).fit(X, Y)  # the grid of another estimator would not fit
    if kind == "without a refit":
        assert not hasattr(grid, "best_estimator_")
        return
    assert made.score(X, Y) > 0.8
    loaded = pickle.loads(pickle.dumps(made))
    assert (loaded.predict(X) == made.predict(X)).all()


def test_a_search_whose_trials_all_fail_alike_stops_and_says_why(tmp_path: Path) -> None:
    fit = Fit(KNeighborsClassifier())
    fit.x = X[:10]
    found = search(tmp_path, fit, trials=12)
    assert found.stopped == "failed"
    assert len(found.trials) == 1 + failures.SAME_FAILURES
    assert "every trial failed for the same reason, IndexError" in found.notes[-1]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["no 1", "no 2", "no 3"], "no 3"),
        (["no 1", "no 2"], ""),
        (["no 1", "other", "no 3"], ""),
        (["no 1", "no 2", ""], ""),
    ],
)
def test_only_failures_by_one_cause_are_common(messages: list[str], expected: str) -> None:
    trials = [
        {"number": number, "state": "failed" if message else "finished", "message": message}
        for number, message in enumerate(messages, start=1)
    ]
    assert failures.common_failure([{"number": 0, "state": "finished"}, *trials]) == expected


SCRIPT = """import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier

X, y = make_classification(500, 20, n_informative=6, n_redundant=2, n_clusters_per_class=3, random_state=5)
X = X * np.logspace(0, 3, 20)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=42)
params = {"n_neighbors": [1, 3, 5], "weights": ["uniform", "distance"]}
grid = GridSearchCV(KNeighborsClassifier(), params, cv=3)
grid.fit(X_train, y_train)
print("SCORE", repr(grid.score(X_test, y_test)))
"""
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": [SCRIPT],
        }
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_the_patched_grid_gives_the_winners_number(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    (project / "explore.ipynb").write_text(
        json.dumps(NOTEBOOK)
    )  # makes the same estimator, and is not trained
    run_dir = tmp_path / "run"
    asked = {
        "fit": 1,
        "metric": "accuracy",
        "target": 2.0,
        "trials": 8,
        "minutes": 5,
        "judged_value": 0.5,
    }
    searched = run(project, run_dir, asked)
    suggested = patching.suggest(run_dir, project=project, entry="train.py")
    assert suggested is not None
    assert suggested.name == "suggested.patch", suggested.read_text()
    subprocess.run([shutil.which("git") or "git", "apply", str(suggested)], cwd=project, check=True)
    patched = subprocess.run(
        [sys.executable, "-W", "error", "train.py"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert patched.returncode == 0, patched.stderr
    assert patched.stdout.split() == searched.split()
    assert "explore" not in suggested.read_text()


def run(project: Path, run_dir: Path, asked: dict[str, Any]) -> str:
    run_dir.mkdir()
    done = run_runner(project, run_dir / "inside", search=asked)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(line for line in done.stdout.splitlines() if line.startswith("SCORE"))
