"""The trials of a search on disk: what is kept, what is deleted, what a restart finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.trial_store import TrialStore
from mlops_lib.runner.search.request import SearchRequest, trial_record

OWN = [numpy.zeros(2)]


def store(folder: Path, **request: Any) -> TrialStore:
    for name in ("trials", "weights"):
        (folder / name).mkdir(exist_ok=True)
    asked = SearchRequest(fit=1, directory=str(folder), **request)
    return TrialStore(asked, own_weights=OWN, own_history={"loss": [1.0]})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def add(trials: TrialStore, number: int, score: float | None) -> None:
    values = Candidate(0).values()
    if trials.is_worth_keeping(number, score):
        trials.add_weights(number, [numpy.full(2, float(number))])
    trials.add(trial_record(number, state="finished", score=score, hyperparameters=values))
    trials.commit()


def test_only_the_weights_of_the_best_trial_and_of_parents_stay(tmp_path: Path) -> None:
    trials = store(tmp_path)
    for number, score in ((0, 0.5), (1, 0.7), (2, 0.6), (3, 0.8)):
        add(trials, number, score)
    assert trials.winner() == 3
    assert names(tmp_path / "weights") == ["0.npz", "3.npz"]
    trials.add_weights(4, [numpy.ones(2)])
    trials.add(trial_record(4, state="finished", score=0.9))
    trials.commit(lambda: [3])
    assert names(tmp_path / "weights") == ["0.npz", "3.npz", "4.npz"]


def test_a_restart_finds_records_whose_files_are_lost(tmp_path: Path) -> None:
    trials = store(tmp_path)
    for number, score in ((0, 0.5), (1, 0.7), (2, None)):
        add(trials, number, score)
    (tmp_path / "trials" / "1.json").unlink()
    again = store(tmp_path)
    assert again.records == trials.records
    assert again.winner() == 1
    assert again.candidate(1) == Candidate(0)
    assert (again.weights(1)[0] == 1.0).all()


def test_the_gates_value_stands_in_for_an_unscored_own_model(tmp_path: Path) -> None:
    trials = store(tmp_path, judged_value=0.9)
    add(trials, 0, None)
    assert (trials.weights(0)[0] == OWN[0]).all(), "its own weights, until it is trained again"
    add(trials, 1, 0.8)
    assert trials.score(0) == 0.9
    assert trials.winner() == 0
    trials.add(trial_record(0, state="finished", score=0.6))
    assert trials.winner() == 1, "trial 0, trained again, is worse than the gate's value"
    assert (trials.weights(1)[0] == 1.0).all()


def test_a_worker_records_nothing_in_the_ledger(tmp_path: Path) -> None:
    add(store(tmp_path), 0, 0.5)
    worker = store(tmp_path, worker="1")
    worker.add(trial_record(1, state="finished", score=0.9))
    assert worker.ledger is None
    assert sorted(store(tmp_path).records) == [0]


def test_a_followed_trial_wins_whatever_it_scores(tmp_path: Path) -> None:
    follow = tuple(trial_record(number) for number in (2, 5))
    trials = store(tmp_path, follow=follow)
    for number, score in ((0, 0.9), (2, 0.8)):
        add(trials, number, score)
    assert trials.winner() == 0, "the last one has no score yet"
    add(trials, 5, 0.1)
    assert trials.winner() == 5
    assert trials.has_weights(2)
