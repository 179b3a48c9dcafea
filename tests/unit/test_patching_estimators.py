"""Patches of estimators: the patched source builds exactly the winner, and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy.sparse import csr_matrix
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from mlops_lib import patching
from mlops_lib.patching.sklearn import patched_files
from mlops_lib.patching.winner_record import UnpatchableError, Winner
from mlops_lib.runner.search.estimator_description import describe, import_module_of

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """from sklearn.tree import DecisionTreeClassifier

model = DecisionTreeClassifier()
"""


def _of_other_packages() -> dict[str, Any]:
    from catboost import CatBoostClassifier
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

    return {
        "catboost": CatBoostClassifier(iterations=7, verbose=False, allow_writing_files=False),
        "lightgbm": LGBMClassifier(num_leaves=7, verbosity=-1),
        "xgboost": XGBClassifier(learning_rate=0.1, n_estimators=7),
    }


WINNERS = {
    "boosting": HistGradientBoostingClassifier(learning_rate=0.0731, random_state=1),
    "scaled": make_pipeline(StandardScaler(), SVC(C=12.3)),
    "network": make_pipeline(StandardScaler(), MLPClassifier((100, 50), alpha=0.01)),
    "dense": make_pipeline(
        FunctionTransformer(csr_matrix.toarray, accept_sparse=True),
        HistGradientBoostingClassifier(),
    ),
    "reduced": make_pipeline(MaxAbsScaler(), TruncatedSVD(7, random_state=1), SVC()),
    "vote": VotingClassifier(
        [
            ("a", make_pipeline(StandardScaler(), LogisticRegression(C=0.3))),
            ("b", ExtraTreesClassifier(n_estimators=9)),
        ],
        voting="soft",
    ),
    "vote on numbers": VotingRegressor(
        [("a", Ridge(alpha=3.0)), ("b", HistGradientBoostingRegressor())]
    ),
    "threshold": FixedThresholdClassifier(
        LogisticRegression(class_weight="balanced"),
        threshold=0.123,
        response_method="predict_proba",
    ),
    "scaled target": TransformedTargetRegressor(
        make_pipeline(StandardScaler(), SVR()), transformer=StandardScaler()
    ),
    # Equal in single precision to 0.1, which is another number.
    "exact": LogisticRegression(C=0.10000000149011612, tol=1.2345678901234567e-05),
    **_of_other_packages(),
}


@pytest.mark.parametrize("name", WINNERS)
def test_the_patched_source_builds_exactly_the_winner(name: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SOURCE)
    after = json.loads(json.dumps(describe(WINNERS[name])))
    record = {"framework": "sklearn", "before": describe(DecisionTreeClassifier()), "after": after}
    patched = patched_files(Winner.read(record), project=tmp_path)["train.py"]
    built: dict[str, Any] = {}
    exec(compile(patched, "train.py", "exec"), built)
    steps = _without_labels(json.loads(json.dumps(describe(built["model"]))))
    assert steps == _without_labels(after)
    modules = {line.split()[1] for line in patched.splitlines() if line.startswith("from ")}
    assert not any("._" in module or module.endswith("boosting") for module in modules), patched


def _without_labels(described: Any) -> Any:
    """A description without the names of a pipeline's steps."""
    if isinstance(described, dict):
        return {
            key: [one[1] for one in value] if key == "steps" else _without_labels(value)
            for key, value in described.items()
        }
    return described


@pytest.mark.parametrize("function", ["os:system; x", "o-s:system", "os:1st", "os:a.class"])
def test_a_function_that_is_no_name_is_not_written(function: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SOURCE)
    after = describe(FunctionTransformer())
    after["parameters"]["func"] = {"function": function.split(":")}
    record = {"framework": "sklearn", "before": describe(DecisionTreeClassifier()), "after": after}
    with pytest.raises(UnpatchableError):
        patched_files(Winner.read(record), project=tmp_path)


def test_classes_are_imported_from_where_their_package_shows_them() -> None:
    for estimator in _of_other_packages().values():
        assert import_module_of(type(estimator)) == type(estimator).__module__.split(".")[0]
    assert import_module_of(HistGradientBoostingClassifier) == "sklearn.ensemble"


SCRIPT = """import numpy
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

x, y = make_classification(500, 10, n_informative=6, n_clusters_per_class=3, random_state=0)
x[:, 0] = numpy.where(x[:, 0] > 1, numpy.nan, x[:, 0])
x, x_test, y, y_test = train_test_split(x, y, random_state=0)
model = DecisionTreeClassifier(max_depth=2)
model.fit(x, y)
print("score", model.score(x_test, y_test))
"""


def test_the_patched_script_reaches_the_score_that_was_reported(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(SCRIPT)
    inside = tmp_path / "run" / "inside"
    search = {"fit": 1, "metric": "accuracy", "target": 2.0, "trials": 3, "minutes": 5}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MLOPS_STRICT": "1",
        "MLOPS_PROJECT": str(project),
        "MLOPS_INSIDE": str(inside),
        "MLOPS_SPEC": json.dumps({"search": search, "seed": 5}),
    }
    first = subprocess.run(
        [sys.executable, "-m", "mlops_lib.runner", "train.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=project,
    )
    reported = [line for line in first.stdout.splitlines() if line.startswith("score ")]
    winner = json.loads((inside / "search/winner.json").read_text())
    assert winner["after"]["class"] == "HistGradientBoostingClassifier"
    suggested = patching.suggest(tmp_path / "run", project=project)
    assert suggested is not None
    assert suggested.name == "suggested.patch"
    subprocess.run(["git", "apply", str(suggested)], cwd=project, check=True)
    again = subprocess.run(
        [sys.executable, "train.py"], capture_output=True, text=True, check=True, cwd=project
    )
    assert again.stdout.splitlines() == reported != []
