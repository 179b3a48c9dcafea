"""The search around scikit-learn estimators: pipelines, scalers, regression, other estimators, and
what is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlops_lib.records import SearchResult
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.search import sklearn as sklearn_search

CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


class Fit:
    """What the adapter hands over."""

    def __init__(self, estimator: Any, x: Any, y: Any) -> None:
        self.estimator, self.x, self.y, self.number = estimator.fit(x, y), x, y, 1


def searched(folder: Path, estimator: Any, data: Any, **request: Any) -> tuple[SearchResult, Any]:
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
    result = sklearn_search.Search(fit, asked, journal, folder=str(folder / "search"), seed=1).run()
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
    scores = [trial.score for trial in found.trials]
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
        trials=sklearn_search.OWN_TRIALS + 1,
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


@pytest.mark.parametrize("name", sorted(sklearn_search.SPACES))
def test_every_space_names_parameters_that_exist(name: str) -> None:
    import lightgbm
    import sklearn.utils
    import xgboost

    known = dict(sklearn.utils.all_estimators())
    known.update({n: getattr(xgboost, n) for n in ("XGBClassifier", "XGBRegressor")})
    known.update({n: getattr(lightgbm, n) for n in ("LGBMClassifier", "LGBMRegressor")})
    assert set(sklearn_search.SPACES[name]) <= set(known[name]().get_params())


def test_described_as_json() -> None:
    described = sklearn_search.describe(
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
    found, _ = searched(
        tmp_path, KNeighborsClassifier(20), CANCER, trials=sklearn_search.OWN_TRIALS + 5
    )
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
        tmp_path, made, data, metric="balanced_accuracy", trials=sklearn_search.OWN_TRIALS + 2
    )
    tried = [trial.hyperparameters for trial in found.trials]
    assert any("class_weight" in str(one) for one in tried)
    assert any(
        "threshold that is best for balanced_accuracy" in edit
        for trial in found.trials
        for edit in trial.edits
    )
    first, best = found.trials[0].score, found.trials[found.winner].score
    assert first is not None
    assert best is not None
    assert best > first + 0.1
    assert balanced_accuracy_score(data[1], fitted.predict(data[0])) > 0.7
