"""The search around scikit-learn estimators: pipelines, scalers, regression, other estimators, and
what is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, make_classification
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlops_lib.records import SearchResult
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.search import estimator_usage
from mlops_lib.runner.search import sklearn as sklearn_search
from mlops_lib.runner.search.cross_validation import CrossValidation, cores, single_threaded
from mlops_lib.runner.search.estimator_candidates import OWN_TRIALS, Candidate
from mlops_lib.runner.search.estimator_description import describe
from mlops_lib.runner.search.estimator_portfolio import CLASSIFIERS
from mlops_lib.runner.search.estimator_spaces import SPACES
from mlops_lib.runner.search.local_search import LocalSearch

CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


class Fit:
    """What the adapter hands over."""

    def __init__(self, estimator: Any, x: Any, y: Any) -> None:
        self.estimator, self.x, self.y, self.number = estimator.fit(x, y), x, y, 1


def searched(
    folder: Path, estimator: Any, data: Any, *, needs_probabilities: bool = True, **request: Any
) -> tuple[SearchResult, Any]:
    fit = Fit(estimator, *data)
    journal = Journal(str(folder / "inside"), number_of_pass=2, attempt=1)
    asked = {
        "fit": 1,
        "metric": "accuracy",
        "mode": "max",
        "target": 2.0,
        "trials": 3,
        "minutes": 5,
        **request,
    }
    result = sklearn_search.Search(
        fit,
        asked,
        journal,
        folder=str(folder / "search"),
        seed=1,
        needs_probabilities=needs_probabilities,
    ).run()
    return SearchResult.from_json(result), fit.estimator


def test_a_pipelines_steps_and_scaler_are_searched(tmp_path: Path) -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", KNeighborsClassifier(40))])
    held = pipeline.named_steps["clf"]
    found, fitted = searched(tmp_path, pipeline, CANCER, trials=4)
    assert {"scale", "clf__n_neighbors"} <= set(found.trials[1].hyperparameters)
    assert found.winner > 0
    assert fitted.named_steps["clf"] is held, "references into the pipeline stay good"
    assert fitted.score(*CANCER) > 0.9


def test_an_error_is_made_smaller(tmp_path: Path) -> None:
    found, _ = searched(
        tmp_path, KNeighborsRegressor(1), DIABETES, metric="mae", mode="min", target=0.0, trials=4
    )
    scores = [trial.score for trial in found.trials if trial.state == "finished"]
    assert all(score is not None and score > 0 for score in scores)
    assert found.score == min(s for s in scores if s is not None)
    assert found.winner > 0


def test_boosting_stands_in_for_a_weak_tree(tmp_path: Path) -> None:
    found, _ = searched(
        tmp_path,
        DecisionTreeRegressor(max_depth=1, random_state=0),
        DIABETES,
        metric="r2",
        trials=5,
    )
    assert any(
        "HistGradientBoostingRegressor instead" in edit
        for trial in found.trials
        for edit in trial.edits
    )


def test_its_own_kind_where_that_is_asked(tmp_path: Path) -> None:
    found, fitted = searched(
        tmp_path,
        DecisionTreeClassifier(max_depth=1, random_state=0),
        CANCER,
        own_only=True,
        trials=6,
    )
    assert type(fitted) is DecisionTreeClassifier
    assert all("DecisionTreeClassifier with" in trial.edits[0] for trial in found.trials[1:])


def test_what_needs_scaling_is_tried_scaled_first(tmp_path: Path) -> None:
    found, _ = searched(tmp_path, KNeighborsClassifier(20), CANCER, trials=2)
    assert found.trials[1].edits == ("KNeighborsClassifier on scaled inputs",)
    assert "kneighborsclassifier__n_neighbors" in found.trials[2].hyperparameters, (
        "and its settings are varied so"
    )


def test_inputs_that_are_scaled_are_scaled_again_last(tmp_path: Path) -> None:
    scaled = StandardScaler().fit_transform(CANCER[0])
    found, _ = searched(
        tmp_path,
        KNeighborsClassifier(20),
        (scaled, CANCER[1]),
        trials=OWN_TRIALS + 1,
    )
    edits = [trial.edits for trial in found.trials[1:]]
    assert edits[-1] == ("KNeighborsClassifier on scaled inputs",)
    assert all("KNeighborsClassifier with" in edit for (edit,) in edits[:-1])


def test_early_stopping_is_the_rounds_it_came_to(tmp_path: Path) -> None:
    from xgboost import XGBClassifier

    model = XGBClassifier(
        n_estimators=80, early_stopping_rounds=3, eval_metric="error", max_depth=1
    )
    model.fit(*CANCER, eval_set=[CANCER], verbose=False)
    fresh = sklearn_search.unfitted(model)
    assert fresh.get_params()["n_estimators"] == model.best_iteration + 1 < 80
    assert fresh.fit(*CANCER).score(*CANCER) > 0.9, "no examples to watch are asked for"


def test_clusters_have_nothing_to_select_by(tmp_path: Path) -> None:
    found, _ = searched(tmp_path, KMeans(2, n_init=1), (CANCER[0], None))
    assert (found.stopped, found.winner) == ("refused", 0)
    assert "no targets" in found.notes[0]


def test_a_killed_search_repeats_nothing_and_ends_the_same(tmp_path: Path) -> None:
    first, _ = searched(
        tmp_path, DecisionTreeClassifier(max_depth=1, random_state=0), CANCER, trials=4
    )
    stamps = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "search/trials").glob("[0-2].json")
    }
    for number in (3, 4):
        (tmp_path / f"search/trials/{number}.json").unlink()
    again, _ = searched(
        tmp_path, DecisionTreeClassifier(max_depth=1, random_state=0), CANCER, trials=4
    )
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert [(t.edits, t.score) for t in first.trials] == [(t.edits, t.score) for t in again.trials]
    assert first.winner == again.winner


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_space_names_parameters_that_exist(name: str) -> None:
    import catboost
    import lightgbm
    import sklearn.utils
    import xgboost

    known = dict(sklearn.utils.all_estimators())
    known.update({n: getattr(xgboost, n) for n in ("XGBClassifier", "XGBRegressor")})
    known.update({n: getattr(lightgbm, n) for n in ("LGBMClassifier", "LGBMRegressor")})
    if name.startswith("CatBoost"):  # its `get_params` names only what was given
        made = getattr(catboost, name)(**dict.fromkeys(SPACES[name], 1))
        assert set(SPACES[name]) <= set(made.get_params())
        return
    assert set(SPACES[name]) <= set(known[name]().get_params())


def test_described_as_json() -> None:
    described = describe(
        Pipeline(
            [
                ("s", StandardScaler(with_mean=False)),
                ("t", DecisionTreeClassifier(max_depth=numpy.int64(3))),
            ]
        )
    )
    assert json.loads(json.dumps(described))["steps"][1][1]["parameters"] == {"max_depth": 3}
    assert described["steps"][0][1]["module"] == "sklearn.preprocessing"


def test_what_stands_in_gives_probabilities_where_the_developers_does(tmp_path: Path) -> None:
    found, _ = searched(tmp_path, KNeighborsClassifier(20), CANCER, trials=OWN_TRIALS + 5)
    assert not any("SVC" in edit for trial in found.trials for edit in trial.edits)


def test_a_winner_is_fitted_again_with_another_seed(tmp_path: Path) -> None:
    first, _ = searched(tmp_path / "first", DecisionTreeClassifier(max_depth=1), CANCER, trials=6)
    assert first.winner
    followed = [one.to_json() for one in first.trials]
    fit = Fit(DecisionTreeClassifier(max_depth=1), *CANCER)
    asked = {
        "fit": 1,
        "metric": "accuracy",
        "mode": "max",
        "target": 2.0,
        "trials": 6,
        "minutes": 5,
    }
    other = sklearn_search.Search(
        fit,
        {**asked, "followed": followed, "search_seed": 1},
        Journal(str(tmp_path / "inside"), number_of_pass=2, attempt=1),
        folder=str(tmp_path / "search"),
        seed=2,
    ).run()
    assert (other["winner"], other["score"]) == (first.winner, first.score)
    assert [one["edits"] for one in other["trials"]] == [list(one.edits) for one in first.trials]
    assert getattr(fit.estimator, "random_state", None) in (None, 2), (
        "what is drawn comes from this run's seed"
    )


def test_where_a_rare_class_counts_class_weights_and_thresholds_are_tried(tmp_path: Path) -> None:
    data = make_classification(
        600, 8, n_informative=4, weights=[0.93], class_sep=0.6, random_state=3
    )
    made = LogisticRegression(C=0.01, max_iter=200)
    found, fitted = searched(
        tmp_path, made, data, metric="balanced_accuracy", trials=OWN_TRIALS + 2
    )
    tried = [trial.hyperparameters for trial in found.trials]
    assert any("class_weight" in str(one) for one in tried)
    first, best = found.trials[0].score, found.trials[found.winner].score
    assert first is not None
    assert best is not None
    assert best > first + 0.1
    assert balanced_accuracy_score(data[1], fitted.predict(data[0])) > 0.7


def test_a_threshold_is_found_without_another_fit(tmp_path: Path) -> None:
    data = make_classification(
        600, 8, n_informative=4, weights=[0.93], class_sep=0.8, random_state=3
    )
    scaled = (StandardScaler().fit_transform(data[0]), data[1])
    found, fitted = searched(
        tmp_path,
        KNeighborsClassifier(25),
        scaled,
        metric="balanced_accuracy",
        trials=OWN_TRIALS + 1,
    )
    last = found.trials[-1]
    assert "threshold that is best for balanced_accuracy" in last.edits[0]
    assert found.winner == last.number
    assert type(fitted).__name__ == "FixedThresholdClassifier"
    # What was computed from stored predictions is what fits would give.
    folds = CrossValidation(*scaled, metric="balanced_accuracy", is_classifier=True, seed=1)
    assert last.score == pytest.approx(numpy.mean(folds.run(fitted).scores), abs=0.03)


class Recording(KNeighborsClassifier):  # type: ignore[misc]
    """Remembers the threads that its fits could have used."""

    threads: ClassVar[list[int]] = []

    def fit(self, x: Any, y: Any) -> Any:
        """Remember the limits, and fit."""
        from threadpoolctl import threadpool_info

        self.threads.extend(int(pool["num_threads"]) for pool in threadpool_info())
        return super().fit(x, y)


def test_a_fit_uses_one_thread(tmp_path: Path) -> None:
    Recording.threads.clear()
    folds = CrossValidation(*CANCER, metric="accuracy", is_classifier=True, seed=1)
    assert len(folds.run(Recording()).scores) == 5
    assert set(Recording.threads) == {1}


@pytest.mark.parametrize("asked", ["1", "2"])
def test_the_users_limit_of_threads_counts(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cores() <= int(asked)


def test_every_setting_of_threads_is_one() -> None:
    from catboost import CatBoostClassifier
    from sklearn.ensemble import RandomForestClassifier
    from xgboost import XGBClassifier

    vote = VotingClassifier(
        [
            ("forest", Pipeline([("last", RandomForestClassifier(n_jobs=-1))])),
            ("boosting", XGBClassifier()),
            ("cat", CatBoostClassifier(verbose=False)),
        ]
    )
    settings = single_threaded(vote).get_params()
    assert settings["n_jobs"] == settings["forest__last__n_jobs"] == 1
    assert settings["boosting__n_jobs"] == settings["cat__thread_count"] == 1
    assert vote.get_params()["forest__last__n_jobs"] == -1, "the winner keeps its own"


QUICK = ("LogisticRegression", "KNeighborsClassifier", "HistGradientBoostingClassifier")
TEXTS = [f"{'good fine' if i % 3 else 'bad poor'} word{i % 7} thing{i % 11}" for i in range(120)]


@pytest.mark.parametrize("wide", [False, True])
def test_sparse_inputs_lose_no_candidate(tmp_path: Path, wide: bool) -> None:
    words = [f"{text} rare{i} odd{i} new{i}" if wide else text for i, text in enumerate(TEXTS)]
    labels = numpy.array([i % 3 == 0 for i in range(len(TEXTS))])
    labels[::10] = ~labels[::10]
    made = Pipeline([("words", CountVectorizer()), ("clf", MultinomialNB())])
    found, _ = searched(tmp_path, made, (words, labels), trials=8, needs_probabilities=False)
    failed = [trial.message for trial in found.trials if trial.state == "failed"]
    assert failed == []
    names = " ".join(edit for trial in found.trials for edit in trial.edits)
    assert ("LinearSVC" in names) == wide
    assert "HistGradientBoostingClassifier" in names or wide


def test_missing_values_are_filled_for_those_that_cannot_take_them(tmp_path: Path) -> None:
    x = CANCER[0].copy()
    x[::7, 3] = numpy.nan
    found, _ = searched(
        tmp_path,
        DecisionTreeClassifier(max_depth=2),
        (x, CANCER[1]),
        trials=7,
        needs_probabilities=False,
    )
    assert [trial.message for trial in found.trials if trial.state == "failed"] == []
    assert any("SVC" in edit for trial in found.trials for edit in trial.edits), (
        "the script asks for no probabilities"
    )


def test_a_candidate_without_a_chance_is_given_up(tmp_path: Path) -> None:
    found, _ = searched(tmp_path, KNeighborsClassifier(9), CANCER, trials=8)
    stopped = [trial for trial in found.trials if trial.state == "stopped"]
    assert stopped
    assert all(trial.score is None and "given up" in trial.message for trial in stopped)


def test_proposals_repeat_nothing_and_differ_between_tables() -> None:
    space = {"depth": ("int", 1, 9), "rate": ("log", 0.01, 1.0), "kind": ("choice", "a", "b")}
    start = {"depth": 3, "rate": 0.1, "kind": "b"}
    first = {"depth": 5, "kind": "a"}

    def proposed(seed: str) -> list[dict[str, Any]]:
        search = LocalSearch(space, start, 0.5, first=[start, first], seed=seed)
        settings = []
        for _ in range(20):
            asked = search.ask()
            assert asked is not None
            search.tell(asked["rate"])
            settings.append(asked)
        return settings

    one = proposed("one")
    assert one[0] == {**start, **first}, "the settings in use are not tried again"
    assert len({repr(settings) for settings in one}) == 20
    assert start not in one
    assert one[1:] != proposed("other")[1:]
    assert one == proposed("one")
    assert all(float(f"{settings['rate']:.3g}") == settings["rate"] for settings in one)


def test_a_used_up_space_ends() -> None:
    search = LocalSearch({"kind": ("choice", 1, 2)}, {"kind": 1}, 0.5, seed="s")
    assert search.ask() == {"kind": 2}
    assert search.ask() is None


def test_of_equal_settings_the_first_is_kept(tmp_path: Path) -> None:
    """The one-standard-error rule: the last is better by less than chance explains."""
    fit = Fit(KNeighborsClassifier(20), *CANCER)
    journal = Journal(str(tmp_path / "inside"), number_of_pass=2, attempt=1)
    request = {"fit": 1, "metric": "accuracy", "mode": "max", "target": 2.0}
    search = sklearn_search.Search(fit, request, journal, folder=str(tmp_path / "s"), seed=1)
    scores = [[0.8, 0.8, 0.8, 0.8], [0.9, 0.92, 0.9, 0.9], [0.91, 0.9, 0.91, 0.92]]
    for number, each in enumerate(scores):
        hyperparameters = {"folds": each, "jackknife": each}
        trial = {"number": number, "score": sum(each) / 4, "hyperparameters": hyperparameters}
        search.log.trials.append(trial)
        search.log.candidates[number] = Candidate("own", fit.estimator, {}, str(number))
    assert search.log.trials[2]["score"] > search.log.trials[1]["score"]
    assert search.log.winner() == 1
    search.log.candidates[2].family = "another"
    assert search.log.winner() == 2


def test_a_vote_that_pays_is_the_winner_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = [family for family in CLASSIFIERS if family.name in QUICK]
    monkeypatch.setattr("mlops_lib.runner.search.estimator_portfolio.CLASSIFIERS", quick)
    # A smooth part, which neighbours find, and steps, which trees find.
    generator = numpy.random.default_rng(2)
    x = generator.normal(size=(400, 6))
    steps = numpy.sign(x[:, 3] * x[:, 4]) * 1.2 + generator.normal(size=400) * 0.3
    data = (x, (x[:, 0] + x[:, 1] - x[:, 2] + steps > 0).astype(int))

    def weak() -> DecisionTreeClassifier:
        return DecisionTreeClassifier(max_depth=2, random_state=0)

    found, fitted = searched(tmp_path, weak(), data, trials=8)
    votes = [trial for trial in found.trials if "a vote of" in " ".join(trial.edits)]
    assert votes
    for vote in votes:
        members = vote.hyperparameters["members"]
        best = max(found.trials[number].score or 0.0 for number in members)
        assert vote.score is not None
        assert vote.score > best
    for number in range(len(found.trials) // 2, len(found.trials)):
        (tmp_path / f"search/trials/{number}.json").unlink()
    again, _ = searched(tmp_path, weak(), data, trials=8)
    assert [(t.edits, t.score) for t in found.trials] == [(t.edits, t.score) for t in again.trials]
    assert fitted.score(*data) > 0.8


def test_what_a_script_calls_is_read_from_its_project(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(model.predict(x))\n")
    assert not estimator_usage.names(str(tmp_path), estimator_usage.PROBABILITIES)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "plot.py").write_text("p = model.predict_proba(x)\n")
    assert estimator_usage.names(str(tmp_path), estimator_usage.PROBABILITIES)


def test_the_scripts_configuration_holds_in_every_fold() -> None:
    class NamesAsked(KNeighborsClassifier):  # type: ignore[misc]
        def fit(self, x: Any, y: Any) -> Any:
            assert next(iter(x.columns)).startswith("x")
            return super().fit(x, y)

    import sklearn

    pipeline = Pipeline([("scale", StandardScaler()), ("last", NamesAsked())])
    with sklearn.config_context(transform_output="pandas"):
        folds = CrossValidation(*CANCER, metric="accuracy", is_classifier=True, seed=1)
        assert len(folds.run(pipeline).scores) == 5
