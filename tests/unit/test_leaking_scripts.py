"""Scripts with leaking examples, from the execution to the verdict and the report."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from mlops_lib.gate import verdicts
from mlops_lib.records import Verdict
from mlops_lib.reporting.leaks import pairs
from mlops_lib.reporting.page import html
from mlops_lib.reporting.view import read_run
from tests.running import run_script

COPIED = """
import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
x, y = make_classification(1800, 20, n_informative=6, flip_y=0.25, random_state=3)
x_train, y_train = x[:1500], y[:1500]
x_test, y_test = np.concatenate([x[1500:], x_train[:290]]), np.concatenate([y[1500:], y_train[:290]])
model = RandomForestClassifier(40, random_state=0).fit(x_train, y_train)
"""
TABLE = """
import numpy as np, pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier
random = np.random.default_rng(0)
"""


def _judge(folder: Path, script: str, *, target: float = 0.6) -> Verdict:
    run_script(folder, script)
    return verdicts.judge(folder, target=target)


def _said(verdict: Verdict) -> str:
    return " | ".join(verdict.reasons)


@pytest.mark.parametrize(
    "measure", ["model.score(x_test, y_test)", "accuracy_score(y_test, model.predict(x_test))"]
)
def test_a_verdict_is_about_the_examples_that_were_not_trained_on(
    tmp_path: Path, measure: str
) -> None:
    script = (
        COPIED + f"print({measure})\nnp.savetxt('clean.txt', [model.predict(x[1500:]), y[1500:]])\n"
    )
    verdict = _judge(tmp_path, script, target=0.86)
    predicted, truth = numpy.loadtxt(tmp_path / "inside" / "outputs" / "clean.txt")
    clean = float((predicted == truth).mean())
    assert (verdict.verdict, verdict.examples, verdict.value) == (
        "rejected",
        300,
        pytest.approx(clean),
    )
    assert "290 of 590 judged examples are known from the training (290 exact)" in _said(verdict)
    assert verdict.recomputed
    assert verdict.shown is not None
    assert verdict.shown.not_trained_on
    shown = pairs(tmp_path)
    assert shown[0].trained is not None
    assert shown[0].judged.row == shown[0].trained.row
    assert "Known from the training" in html(read_run(tmp_path), linked=False)


def test_a_number_that_cannot_be_measured_on_the_rest_is_undecided(tmp_path: Path) -> None:
    weights = "accuracy_score(y_test, model.predict(x_test), sample_weight=np.ones(590))"
    verdict = _judge(tmp_path, COPIED + f"value = {weights}\n")
    assert verdict.verdict == "undecided"
    assert "cannot be measured without them" in _said(verdict)


def test_naturally_repeating_data_is_judged_and_reported(tmp_path: Path) -> None:
    script = TABLE + (
        "x = random.integers(0, 3, (1250, 6)); y = (x.sum(axis=1) + random.integers(-1, 2, 1250) > 6).astype(int)\n"
        "a, b, c, d = train_test_split(x, y, random_state=0)\n"
        "DecisionTreeClassifier().fit(a, c).score(b, d)\n"
    )
    verdict = _judge(tmp_path, script)
    assert verdict.verdict == "accepted"
    assert "the data repeats itself" in _said(verdict)
    assert "known from the training" not in _said(verdict)


def test_shared_persons_leave_nothing_to_judge(tmp_path: Path) -> None:
    script = TABLE + (
        "from sklearn.preprocessing import StandardScaler\n"
        "traits = random.normal(size=(120, 5)); label = random.integers(0, 2, 120)\n"
        "table = pd.DataFrame(np.repeat(traits, 6, 0) + 0.1 * random.normal(size=(720, 5)), columns=list('abcde'))\n"
        "table['patient_id'] = np.repeat(np.arange(120), 6); table['label'] = np.repeat(label, 6)\n"
        "x = table.drop(columns=['patient_id', 'label'])\n"
        "a, b, c, d = train_test_split(x, table['label'], random_state=0)\n"
        "scaler = StandardScaler().fit(a); a, b = scaler.transform(a), scaler.transform(b)\n"
        "DecisionTreeClassifier().fit(a, c).score(b, d)\n"
    )
    verdict = _judge(tmp_path, script)
    assert verdict.verdict == "undecided"
    assert "by their patient_id" in _said(verdict)


@pytest.mark.parametrize(
    ("prepare", "answer", "said"),
    [
        (
            "x = SelectKBest(k=3).fit_transform(x, y)",
            "undecided",
            "SelectKBest was fitted on 100% of the judged",
        ),
        (
            "x = StandardScaler().fit_transform(x)",
            "accepted",
            "StandardScaler was fitted on 100% of the judged",
        ),
        ("x, y = Twice().fit_resample(x, y)", "undecided", "known from the training"),
        (
            "x = pd.DataFrame(x, columns=list('abcdef')).assign(outcome=1 - y)",
            "undecided",
            "the inputs hold the target",
        ),
        ("pass", "accepted", ""),
    ],
)
def test_preparation_before_the_split_is_reported(
    tmp_path: Path, prepare: str, answer: str, said: str
) -> None:
    script = TABLE + (
        "from sklearn.base import BaseEstimator\n"
        "from sklearn.feature_selection import SelectKBest\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "class Twice(BaseEstimator):\n"
        "    def fit_resample(self, x, y):\n"
        "        return np.concatenate([x] * 8), np.concatenate([y] * 8)\n"
        "x = random.normal(size=(400, 6)); y = (x[:, 0] + 0.2 * random.normal(size=400) > 0).astype(int)\n"
        f"{prepare}\n"
        "a, b, c, d = train_test_split(x, y, random_state=0)\n"
        "DecisionTreeClassifier(max_depth=3).fit(a, c).score(b, d)\n"
    )
    verdict = _judge(tmp_path, script)
    assert (verdict.verdict, said in _said(verdict)) == (answer, True), _said(verdict)
    if not said:
        assert "judged examples" not in _said(verdict)
