"""Leak detection: findings among judged examples, and cases without findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

from bench import honesty_leaks as bench
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import columns, example_rows, leaks, preparation

SETS = {data.name: data for data in bench.data_sets()}


class _Model:
    """A model that can be identified."""


def _radar(folder: Path) -> leaks.LeakDetector:
    return leaks.LeakDetector(Journal(str(folder), number_of_pass=1, attempt=1, strict=True))


def _look(folder: Path, x: Any, y: Any, judged: Any, truth: Any) -> leaks.Findings:
    radar, model = _radar(folder), _Model()
    radar.record_training(model, x, y)
    findings = radar.examine(model, judged, truth)
    assert findings is not None
    return findings


@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer", "pima", "moons", "sms_spam"])
def test_copies_of_every_kind_are_found(name: str) -> None:
    if name not in SETS:
        pytest.skip("the data beside the checkout is missing")
    data = SETS[name]
    small = data._replace(x_train=data.x_train[:1500], y_train=data.y_train[:1500])
    for copy in bench.copies_of(data):
        findings = bench.recall(small, copy)
        least = 1.0 if copy == "exact" else 0.9
        assert findings.found >= least * findings.planted, (copy, findings)


@pytest.mark.parametrize("name", sorted(set(SETS) - {"mnist_10k", "cifar10_12k"}))
def test_clean_data_set_has_no_findings(name: str) -> None:
    warns, copies, _ = bench.is_false_alarm(SETS[name])
    assert not warns, copies


def test_naturally_repeating_rows_are_distinguished_from_copies(tmp_path: Path) -> None:
    random = numpy.random.default_rng(0)
    table = random.integers(0, 4, (1600, 5))
    labels = (table.sum(axis=1) + random.integers(-1, 2, 1600) > 7).astype(int)
    findings = _look(tmp_path, table[:1200], labels[:1200], table[1200:], labels[1200:])
    assert not findings.leaking.any()
    assert findings.repeated is not None
    assert findings.repeated.mean() > 0.5
    fine = random.normal(size=(1600, 5))
    findings = _look(
        tmp_path,
        fine[:1200],
        labels[:1200],
        numpy.concatenate([fine[1200:], fine[:200]]),
        labels[:600],
    )
    assert findings.leaking.sum() == 200


def test_rows_copied_before_the_split_are_no_natural_repetition(tmp_path: Path) -> None:
    random = numpy.random.default_rng(0)
    fine = random.normal(size=(800, 6))
    copied = random.permutation(numpy.concatenate([fine, fine[:400]]))
    labels = (copied[:, 0] > 0).astype(int)
    findings = _look(tmp_path, copied[:900], labels[:900], copied[900:], labels[900:])
    assert 0.4 < findings.leaking.mean() < 0.7


def test_rows_scaled_by_another_scaler_are_found(tmp_path: Path) -> None:
    data = SETS["breast_cancer"]
    judged = numpy.concatenate([data.x_train[:70], data.x_test[:70]])
    scaled = (judged - judged.mean(axis=0)) / judged.std(axis=0)
    own = (data.x_train - data.x_train.mean(axis=0)) / data.x_train.std(axis=0)
    findings = _look(tmp_path, own, data.y_train, scaled, numpy.zeros(140))
    assert findings.leaking[:70].mean() > 0.9
    assert not findings.leaking[70:].any()


@pytest.mark.parametrize("kind", ["array", "list", "frame", "sparse", "several", "tensor-like"])
def test_exact_copies_are_found_in_every_kind_of_input(tmp_path: Path, kind: str) -> None:
    import pandas
    import scipy.sparse

    rows = numpy.random.default_rng(0).normal(size=(90, 4)).round(3)
    make: Any = {
        "array": lambda x: x,
        "list": lambda x: x.tolist(),
        "frame": lambda x: pandas.DataFrame(x, columns=list("abcd")).assign(
            e=[f"{v:.3f}!" for v in x[:, 0]]
        ),
        "sparse": scipy.sparse.csr_matrix,
        "several": lambda x: {"one": x[:, :2], "two": x[:, 2:].astype("float32")},
        "tensor-like": lambda x: x.astype("float32"),
    }[kind]
    findings = _look(tmp_path, make(rows[:60]), None, make(rows[40:]), None)
    assert findings.leaking.tolist() == [True] * 20 + [False] * 30


def test_target_among_the_inputs_is_reported() -> None:
    import pandas

    random = numpy.random.default_rng(0)
    frame = pandas.DataFrame({"a": random.normal(size=60), "b": random.integers(0, 2, 60)})
    target = pandas.Series(random.integers(0, 3, 60)).map({0: "x", 1: "y", 2: "z"})
    assert columns.target_columns(frame, target) == []
    frame["code"] = target.map({"x": 7, "y": 1, "z": 3})
    assert columns.target_columns(frame, target) == ["code"]
    numbers = random.normal(size=(200, 3))
    assert columns.target_columns(numbers, numbers[:, 1].astype("float32")) == ["column 1"]
    assert columns.target_columns(numbers, 2 * numbers[:, 1] + random.normal(size=200)) == []


def test_shared_persons_are_found_by_a_column_outside_the_inputs() -> None:
    import pandas

    random = numpy.random.default_rng(0)
    table = pandas.DataFrame(
        {"patient_id": numpy.repeat(numpy.arange(50), 4), "a": random.normal(size=200)}
    )
    order = random.permutation(200)
    inputs = table[["a"]]
    trained, judged = inputs.iloc[order[:150]], inputs.iloc[order[150:]]
    space = {"table": table}
    groups = columns.groups_on_both_sides(
        columns.Frame(trained), columns.Frame(judged), space=space
    )
    assert [group.column for group in groups] == ["patient_id"]
    assert groups[0].rows.mean() > 0.8
    keys = [example_rows.number_keys(part.to_numpy()) for part in (trained, judged)]
    assert [group.column for group in columns.groups_by_content(*keys, 1, space=space)] == [
        "patient_id"
    ]
    by_group = columns.Frame(inputs.iloc[:160]), columns.Frame(inputs.iloc[160:])
    assert columns.groups_on_both_sides(*by_group, space=space) == []
    renumbered = (
        columns.Frame(trained.reset_index(drop=True)),
        columns.Frame(judged.reset_index(drop=True)),
    )
    assert columns.groups_on_both_sides(*renumbered, space=space) == []


class _Scaler:
    """A transformer as far as the radar sees one."""


@pytest.mark.parametrize(
    ("fitted", "found"), [(slice(0, 100), 1), (slice(0, 70), 0), (slice(70, 100), 1)]
)
def test_transformer_fitted_on_judged_rows_is_reported(fitted: slice, found: int) -> None:
    rows = numpy.random.default_rng(0).normal(size=(100, 3))
    preparations, scaler = preparation.Preparations(), _Scaler()
    preparations.record_fit(scaler, rows[fitted], None)
    preparations.record_transform(scaler, rows, 2 * rows)
    judged = 2 * rows[70:]
    judged_rows = example_rows.read(judged)
    assert judged_rows is not None
    findings = preparations.find_fitted_on(judged, judged_rows, numpy.ones(30, dtype=bool))
    assert [(finding["name"], finding["supervised"]) for finding in findings] == [
        ("_Scaler", False)
    ] * found
