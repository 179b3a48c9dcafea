"""What a search says about data that are the limit, and when it stops spending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from mlops_lib.environments import images
from mlops_lib.records import Environment, RunSpec
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.search import sklearn as sklearn_search
from mlops_lib.runner.search.cross_validation import CrossValidation
from mlops_lib.runner.search.estimator_candidates import Candidate
from mlops_lib.runner.search.estimator_limits import (
    Curve,
    doubted_labels,
    in_words,
    learning_curve,
)
from mlops_lib.training.launch_plan import LaunchPlan

CLEAN = make_classification(
    600, 6, n_informative=5, n_redundant=0, class_sep=3.0, flip_y=0.0, random_state=1
)


def folds_of(x: Any, y: Any) -> CrossValidation:
    return CrossValidation(x, y, metric="accuracy", is_classifier=True, seed=1)


def test_wrong_labels_are_found_and_clean_ones_left_alone() -> None:
    wrong = numpy.random.default_rng(0).permutation(600)[:60]
    labels = CLEAN[1].copy()
    labels[wrong] = 1 - labels[wrong]
    estimator = KNeighborsClassifier(15)
    for y, fewest, most in ((labels, 45, 80), (CLEAN[1], 0, 25)):
        probabilities = cross_val_predict(estimator, CLEAN[0], y, method="predict_proba")
        doubted = doubted_labels(folds_of(CLEAN[0], y), probabilities)
        assert fewest <= len(doubted) <= most
        if y is labels:
            assert len(set(doubted) & set(wrong.tolist())) >= 45
            (note,) = in_words(None, doubted, folds_of(CLEAN[0], y), target=0.99)
            assert f"{len(doubted)} of 600 labels" in note


def test_a_flat_curve_says_that_examples_would_not_help() -> None:
    folds = folds_of(*CLEAN)
    curve = learning_curve(folds, LogisticRegression(), 1.0)
    assert curve is not None
    assert curve.examples == 480
    flat = Curve([0.8, 0.81, 0.81], 0.01, 480)
    assert flat.needed(0.9) is None
    assert "would bring little" in in_words(flat, [], folds, target=0.9)[0]


@pytest.mark.parametrize(("target", "needed"), [(0.845, 960), (0.87, 0), (0.99, None)])
def test_a_rising_curve_says_how_many_more_are_needed(target: float, needed: int | None) -> None:
    rising = Curve([0.72, 0.78, 0.82], 0.001, 480)
    if target == 0.87:
        needed = rising.needed(0.87)
        assert needed is not None
        assert needed > 960
    assert rising.needed(target) == needed
    (note,) = in_words(rising, [], folds_of(*CLEAN), target=target)
    assert ("more may reach the bar" in note) == (needed is not None)


def test_spending_stops_where_the_bar_is_far_and_settings_bring_nothing(tmp_path: Path) -> None:
    fit = type("Fit", (), {})()
    fit.estimator, fit.x, fit.y, fit.number = LogisticRegression().fit(*CLEAN), *CLEAN, 1
    journal = Journal(str(tmp_path / "inside"), number_of_pass=2, attempt=1)
    request = {"fit": 1, "metric": "accuracy", "mode": "max", "target": 0.95}
    search = sklearn_search.Search(fit, request, journal, folder=str(tmp_path / "s"), seed=1)
    for number in range(4 + sklearn_search.PATIENCE):
        folds = [0.70, 0.71, 0.72, 0.71, 0.70]
        trial = {"number": number, "score": 0.708, "hyperparameters": {"folds": folds}}
        search.log.candidates[number] = Candidate("own", fit.estimator, {}, "")
        assert not search._has_stalled()
        search.log.trials.append(trial)
        if number == 3:
            search._refined_from = 4
    assert search._has_stalled()
    search.request["target"] = 0.715
    assert not search._has_stalled(), "the bar is near"


def test_the_users_number_of_threads_reaches_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.plan(Environment(name="python", framework="none", family="none"))
    spec = RunSpec(
        digest="0" * 32,
        name="test",
        project=str(tmp_path),
        entry="train.py",
        backend="process",
        image=image,
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    plan = LaunchPlan(spec=spec, run_dir=tmp_path / "run", home=tmp_path / "home")
    variables = plan.launch(attempt=1, smaller=False).variables
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in variables
