"""Scripts that take their tweak as an argument, and loops that are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib import config
from mlops_lib.errors import UsageError
from mlops_lib.events import Event, FitStarted, Metric
from mlops_lib.records import Verdict
from mlops_lib.tuning import argument_sweep, second_pass

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ("import sys\nn = int(sys.argv[1])\n", ("2",), ["3", "4", "5"]),
        (
            "import sys\nn = int(sys.argv[1]) if len(sys.argv) > 1 else 0\nprint(sys.argv[0])\n",
            (),
            ["1", "2", "3"],
        ),
        ("from sys import argv\nlayers = int(argv[1])\n", ("0",), ["1", "2", "3"]),
        ("import sys\nn, path = int(sys.argv[1]), sys.argv[2]\n", ("1",), []),
        ("import sys\nname = sys.argv[1]\n", ("1",), []),
        ("import sys\nn = int(sys.argv[1])\n", ("data.csv",), []),
        ("n = int('1')\n", (), []),
        ("n = = 1\n", (), []),
    ],
)
def test_which_scripts_are_tweaked_by_their_argument(
    text: str, args: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(text)
    assert list(argument_sweep.values(tmp_path, "train.py", args, count=3)) == [
        (one,) for one in expected
    ]


def attempt(
    value: float, *, verdict: str = "rejected", layers: int = 1, mode: str = "max"
) -> argument_sweep.Attempt:
    judged = Verdict.from_json(
        {"verdict": verdict, "metric": "accuracy", "value": value, "target": 0.8, "mode": mode}
    )
    return argument_sweep.Attempt(
        (str(layers),), judged, {"architecture": ["Dense"] * layers, "parameters": layers}, "run"
    )


def test_the_best_goes_on_and_an_argument_without_effect_is_seen(tmp_path: Path) -> None:
    tried = [attempt(0.5), attempt(0.85, verdict="accepted", layers=2), attempt(0.9, layers=3)]
    assert argument_sweep.best(tried) is tried[1]
    assert argument_sweep.best(
        [attempt(3.0, mode="min"), attempt(2.0, mode="min", layers=2)]
    ).args == ("2",)
    assert attempt(0.5).is_same(attempt(0.5))
    assert not attempt(0.5).is_same(attempt(0.5, layers=2))
    argument_sweep.remember(tmp_path, tried)
    assert argument_sweep.continued(tmp_path) == ("2",)
    assert argument_sweep.attempts_of(tmp_path) == 2
    found = argument_sweep.as_search(tried)
    assert (found.winner, found.selection, found.trials[1].edits) == (
        1,
        "contaminated",
        ("argument 2",),
    )


def test_cross_validation_is_left_alone() -> None:
    def fit(number: int, parameters: int = 100) -> list[Event]:
        return [
            FitStarted(fit=number, model="Sequential", parameters=parameters, number_of_pass=1),
            Metric(fit=number, source="keras.evaluate"),
        ]

    folds = [event for number in range(1, 6) for event in fit(number)]
    assert "5 times" in second_pass.repeated_fits(folds)
    others = [event for number in range(1, 6) for event in fit(number, parameters=number)]
    assert second_pass.repeated_fits(others) == ""
    tuned_in_steps = [event for number in (1, 2, 3) for event in fit(number)[:1]] + fit(3)[1:]
    assert second_pass.repeated_fits(tuned_in_steps) == "", (
        "several fits of one model, measured at the end"
    )


def test_the_search_table_is_checked(tmp_path: Path) -> None:
    (tmp_path / "mlops.toml").write_text('[search]\nwithout = ["augment"]\nepochs = 20\n')
    assert config.resolve(tmp_path, environ={})["search"] == {"without": ["augment"], "epochs": 20}
    (tmp_path / "mlops.toml").write_text("[search]\nepocs = 20\n")
    with pytest.raises(UsageError, match="search"):
        config.resolve(tmp_path, environ={})
