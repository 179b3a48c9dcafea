"""`runner.search.estimator_trials`: which trial clears the bar, and which one is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_lib.runner.search.estimator_candidates import Candidate
from mlops_lib.runner.search.estimator_trials import TrialLog


def log(folder: Path, *scores: tuple[str, float, float], **request: Any) -> TrialLog:
    """A log of trials: family, mean score and distance of the folds from it."""
    made = TrialLog(request, folder=str(folder))
    for number, (family, score, spread) in enumerate(scores):
        folds = [score - spread, score, score + spread]
        made.candidates[number] = Candidate(family, None, {}, family)
        made.trials.append(
            {
                "number": number,
                "score": score,
                "seconds": 1.0,
                "hyperparameters": {"folds": folds, "jackknife": folds},
            }
        )
    return made


@pytest.mark.parametrize(
    ("mode", "target", "scores", "clears"),
    [
        ("max", 0.8, (0.5, 0.81, 0.0), True),
        ("max", 0.8, (0.5, 0.81, 0.1), False),  # not by two standard errors
        ("max", 0.8, (0.9, 0.85, 0.0), False),  # not better than the first
        ("min", 2.0, (9.0, 1.9, 0.0), True),
        ("min", 2.0, (9.0, 2.1, 0.0), False),
        ("min", 2.0, (9.0, 1.9, 0.5), False),
        ("min", 2.0, (1.0, 1.9, 0.0), False),
    ],
)
def test_a_trial_clears_the_bar_in_either_direction(
    tmp_path: Path, mode: str, target: float, scores: tuple[float, float, float], clears: bool
) -> None:
    first, score, spread = scores
    made = log(tmp_path, ("own", first, 0.0), ("SVC", score, spread), mode=mode, target=target)
    assert made.clears(made.trials[1]) is clears


def test_a_rejected_winner_raises_the_bar(tmp_path: Path) -> None:
    made = log(
        tmp_path, ("own", 9.0, 0.0), ("SVC", 1.9, 0.0), mode="min", target=2.0, rejected=[1.8]
    )
    assert not made.clears(made.trials[1])


def test_without_a_bar_nothing_clears_it(tmp_path: Path) -> None:
    made = log(tmp_path, ("own", 0.1, 0.0), ("SVC", 0.99, 0.0), target=None)
    assert not made.clears(made.trials[1])


def test_the_best_wins_in_either_direction_and_the_first_stays_if_none_is_better(
    tmp_path: Path,
) -> None:
    scores = ("own", 3.0, 0.0), ("SVC", 2.0, 0.0), ("Ridge", 4.0, 0.0)
    assert log(tmp_path, *scores, mode="max").winner() == 2
    assert log(tmp_path, *scores, mode="min").winner() == 1
    assert log(tmp_path, ("own", 3.0, 0.0), ("SVC", 2.0, 0.0), mode="max").winner() == 0


def test_of_one_family_the_earliest_within_one_standard_error_is_kept(tmp_path: Path) -> None:
    own = ("own", 0.5, 0.0)
    near = log(tmp_path, own, ("SVC", 0.90, 0.05), ("SVC", 0.91, 0.03), mode="max")
    assert near.winner() == 1
    far = log(tmp_path, own, ("SVC", 0.70, 0.001), ("SVC", 0.91, 0.001), mode="max")
    assert far.winner() == 2
    other = log(tmp_path, own, ("SVC", 0.90, 0.05), ("trees", 0.91, 0.03), mode="max")
    assert other.winner() == 2
