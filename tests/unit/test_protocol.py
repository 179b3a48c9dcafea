"""Metric names, directions and the choice of the judged number, on both sides."""

from __future__ import annotations

import ast
import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench import honesty_aa
from mlops_lib.gate import verdicts
from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics.evaluations import Evaluations
from mlops_lib.runner.search import scores
from mlops_lib.runner.search.request import SearchRequest

SHRINK = """
    loss val_loss error mae MAE rmse mse MeanSquaredError mean_squared_error mape msle log_loss
    logloss mlogloss merror binary_crossentropy cross_entropy hinge squared_hinge kl_divergence
    KLDivergence kullback_leibler_divergence kldiv mean_poisson_deviance poisson-nloglik perplexity
    wer cer fid brier_score_loss brier_score huber log_cosh logcosh poisson max_error
    median_absolute_error zero_one_loss hamming_loss hausdorff_distance nll negative_log_likelihood
    neg_log_likelihood out_mae mae_1 val_rmse rmsle smape error_rate false_positives
    false_negative_rate fpr ece l2 davies_bouldin_score inertia word_error_rate pinball_loss
    expected_calibration_error RootMeanSquaredError
"""
GROW = """
    accuracy acc val_accuracy BinaryAccuracy top_k_categorical_accuracy balanced_accuracy f1 f1_score
    precision recall auc AUC roc_auc pr_auc average_precision map ndcg r2 r2_score
    d2_absolute_error_score d2_log_loss_score explained_variance neg_mean_squared_error neg_log_loss
    mcc kappa iou MeanIoU dice bleu rouge cosine_similarity silhouette_score
    sensitivity_at_specificity recall_at_precision tpr_at_fpr psnr ssim score metric true_positives
    log_likelihood negative_predictive_value reward fbeta jaccard_score adjusted_rand_score
"""


@pytest.mark.parametrize(("metric_names", "grows"), [(SHRINK, False), (GROW, True)])
def test_direction_follows_from_the_metric_name(metric_names: str, grows: bool) -> None:
    names = metric_names.split()
    assert [name for name in names if protocol.higher_is_better(name) is not grows] == []
    mode = "max" if grows else "min"
    assert {SearchRequest.read({"metric": name}, directory="", seed=1).mode for name in names} == {
        mode
    }


@pytest.mark.parametrize(
    ("name", "usual", "proportion", "unit"),
    [
        ("val_sparse_categorical_accuracy", "accuracy", True, True),
        ("BinaryAccuracy", "accuracy", True, True),
        ("test_acc", "accuracy", True, True),
        ("train_acc", "train_acc", False, False),
        ("sparse_top_k_categorical_accuracy", "top_k_accuracy", True, True),
        ("top5_acc", "top5_acc", True, False),
        ("F1Score", "f1", True, True),
        ("f1_macro", "f1_macro", True, False),
        ("roc_auc_score", "roc_auc", False, True),
        ("average_precision", "average_precision", False, True),
        ("matthews_corrcoef", "mcc", False, False),
        ("mean-squared error", "mse", False, False),
        ("KLDivergence", "kl_divergence", False, False),
    ],
)
def test_a_metric_has_one_name(name: str, usual: str, proportion: bool, unit: bool) -> None:
    assert protocol.metric_name(name) == usual
    assert (protocol.is_proportion(name), protocol.is_in_unit_range(name)) == (proportion, unit)


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        ("accuracy", ["loss", "acc"], "acc"),
        ("accuracy", ["balanced_accuracy", "top_k_categorical_accuracy", "train_accuracy"], None),
        ("accuracy", ["digit_accuracy", "colour_accuracy"], None),
        ("accuracy", ["digit_loss", "digit_acc"], "digit_acc"),
        ("auc", ["loss", "auc_1"], "auc_1"),
        ("auc", ["auc_1", "auc_2"], None),
        ("mae", ["mean_absolute_error"], "mean_absolute_error"),
    ],
)
def test_metric_is_found_by_its_aliases(wanted: str, names: list[str], found: str | None) -> None:
    assert protocol.find_metric(wanted, names) == found
    assert scores.in_logs(wanted, dict.fromkeys([f"val_{name}" for name in names])) == (
        found and f"val_{found}"
    )


def _any_claims(chance: random.Random) -> list[dict[str, Any]]:
    claims = []
    for number in range(chance.randrange(8)):
        names = chance.sample(
            ["accuracy", "acc", "mse", "mean_absolute_error", "f1", "loss", "auc_1"], 3
        )
        everything = {name: round(chance.random(), 3) for name in names}
        claims.append(
            {
                "id": number + 1,
                "metric": names[0],
                "value": everything[names[0]],
                "all": everything,
                "fit": 1,
                "source": chance.choice(
                    ["keras.evaluate", "sklearn.score", "fit.validation", "fit.training", "printed"]
                ),
                "held_out": chance.choice([True, False, None]),
                "saved": chance.random() < 0.2,
                "recomputed": None,
                "examples": 100,
            }
        )
    return claims


def test_runner_and_gate_judge_the_same_evaluation(tmp_path: Path) -> None:
    chance = random.Random(17)
    (tmp_path / "inside").mkdir()
    journal = Journal(str(tmp_path / "inside"), number_of_pass=1, attempt=1, strict=True)
    decided = 0
    for _ in range(400):
        claims, metric = (
            _any_claims(chance),
            chance.choice(["", "", "mse", "rmse", "f1", "accuracy", "auc"]),
        )
        (tmp_path / "inside" / "metrics.json").write_text(json.dumps({"evaluations": claims}))
        verdict = verdicts.judge(tmp_path, target=0.5, metric=metric)
        evaluations = Evaluations(journal, metric=metric)
        evaluations.records[:] = claims
        record = evaluations.judged_record()
        if verdict.value is None:
            assert record is None or metric or record["metric"] not in ("accuracy", "acc")
            continue
        decided += 1
        assert record is not None
        value = protocol.metric_value(protocol.metric_values(record), verdict.metric or "")
        assert (record["source"], value) == (verdict.source, verdict.value)
    assert decided > 100


def test_validation_accuracy_does_not_replace_the_scripts_measurement(
    tmp_path: Path,
) -> None:
    claims = [
        {
            "id": 1,
            "metric": "accuracy",
            "value": 0.91,
            "source": "fit.validation",
            "held_out": True,
            "fit": 1,
        },
        {
            "id": 2,
            "metric": "mse",
            "value": 0.3,
            "source": "sklearn.metrics.mean_squared_error",
            "held_out": True,
        },
    ]
    choice = protocol.choose_judged(claims)
    assert (choice.evaluation, choice.problem) == (None, "no accuracy")
    assert choice.subject == claims[1]


def test_direction_is_the_settings_or_the_names() -> None:
    claims = [{"metric": "my_score", "value": 3.0, "source": "printed", "higher_is_better": True}]
    assert protocol.choose_judged(claims, "my_score", mode="min").evaluation == {
        **claims[0],
        "higher_is_better": False,
    }


def test_protocol_parses_in_old_pythons() -> None:
    ast.parse(Path(protocol.__file__).read_text(), feature_version=(3, 8))


def test_improve_minimizes_a_divergence() -> None:
    import numpy

    from mlops_lib.tuning.in_memory.task import Task

    x, y = numpy.zeros((100, 3)), numpy.arange(100) % 2
    assert Task("sklearn", x, y, None, metric="kl_divergence", target=0.1, seed=1).mode == "min"


def test_a_gain_is_clear_only_beyond_chance() -> None:
    trials = [{"number": number, "curve": [0.7, 0.8, 0.81, 0.8]} for number in range(9)]
    of = {"metric": "accuracy", "mode": "max", "trials": trials}
    small, large = (protocol.gain(0.82, 0.8, examples=count, **of) for count in (200, 100_000))
    assert (small.is_clear, large.is_clear) == (False, False), "another seed changes as much"
    assert protocol.gain(0.95, 0.6, examples=200, **of).is_clear
    assert not protocol.gain(0.6, 0.95, examples=200, **of).is_clear, "it is a loss"
    assert protocol.gain(
        0.1, 0.5, examples=200, **{**of, "metric": "error_rate", "mode": "min"}
    ).is_clear
    unknown = protocol.gain(3.0, 9.0, examples=200, **{**of, "metric": "mae", "mode": "min"})
    assert (unknown.margin, unknown.is_clear) == (None, False)
    assert "chance" in unknown.words()


def test_searches_of_equal_candidates_claim_nothing() -> None:
    """`python -m bench.honesty_aa` counts more of them, and real ones."""
    chance = random.Random(3)
    assert sum(honesty_aa.simulated(chance) for _ in range(100)) <= 5
    assert sum(honesty_aa.above_the_truth(chance) for _ in range(500)) <= 25
