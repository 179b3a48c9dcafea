"""`runner.search.combinations`: votes and thresholds, scored without a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlops_lib.runner.search import combinations
from mlops_lib.runner.search.cross_validation import CrossValidation, Outcome

X, Y = make_classification(120, weights=[0.8], random_state=0)


def folds(metric: str = "accuracy") -> CrossValidation:
    return CrossValidation(X, Y, metric=metric, is_classifier=True, seed=1)


def outcome(positive: Any) -> Outcome:
    """Predictions of a candidate, by its probabilities of class 1."""
    probabilities = np.stack([1 - positive, positive], axis=1)
    return Outcome([0.0], (positive >= 0.5).astype(int), probabilities)


def wrong_at(*rows: int) -> Outcome:
    positive = np.where(Y == 1, 0.9, 0.1)
    positive[list(rows)] = np.where(Y[list(rows)] == 1, 0.4, 0.6)
    return outcome(positive)


def test_candidates_with_other_mistakes_vote_together() -> None:
    outcomes = {1: wrong_at(*range(10)), 2: wrong_at(*range(5, 15)), 3: wrong_at(*range(50, 60))}
    vote = combinations.best_vote(folds(), outcomes, [1, 2, 3])
    assert vote is not None
    assert vote.members[:2] == (1, 3), "the second makes the mistakes of the first"
    assert vote.score == 1.0


def test_one_candidate_or_none_with_predictions_is_no_vote() -> None:
    assert combinations.best_vote(folds(), {1: wrong_at(1)}, [1, 2]) is None
    unknown = Outcome([0.0], Y, None)
    assert combinations.best_vote(folds(), {1: unknown, 2: unknown}, [1, 2]) is None


def test_a_vote_of_regressors_is_their_mean() -> None:
    x, y = make_regression(60, random_state=0)
    parts = CrossValidation(x, y, metric="r2", is_classifier=False, seed=1)
    outcomes = {1: Outcome([0.0], y + 1, None), 2: Outcome([0.0], y - 1, None)}
    labels, probabilities = combinations.joint(parts, outcomes, (1, 2))
    assert np.allclose(labels, y)
    assert probabilities is None


def test_members_of_one_kind_get_names_of_their_own() -> None:
    tree = DecisionTreeClassifier()
    members = [tree, make_pipeline(StandardScaler(), LogisticRegression()), tree]
    vote = combinations.voting(members, is_classifier=True)
    assert [name for name, _ in vote.estimators] == [
        "decisiontreeclassifier",
        "logisticregression",
        "decisiontreeclassifier_2",
    ]
    assert vote.fit(X, Y).predict(X).shape == Y.shape


def test_a_rare_class_gets_a_lower_threshold() -> None:
    positive = np.where(Y == 1, 0.3, 0.1) + np.linspace(0, 0.05, len(Y))
    threshold, labels = combinations.threshold_labels(
        folds("balanced_accuracy"), outcome(positive).probabilities
    )
    assert 0.1 < threshold <= 0.3
    assert (labels == Y).mean() > 0.95
