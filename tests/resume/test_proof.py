"""A Keras fit or a boosting that goes on after a kill proves it by its first numbers."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import running

DIE = """
import glob, os, signal, time
def die_once_a_checkpoint_is_there():
    deadline = time.monotonic() + 60
    while not glob.glob("../fits/1/state.*") and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""
KERAS = """
import numpy, keras
keras.utils.set_random_seed(3)
drift = float(os.environ.get("DRIFT", "0"))
x = numpy.random.rand(64, 4) + drift
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dropout(0.2), keras.layers.Dense(1)])
model.compile("adam", "mse")
class Dies(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2 and "DIES" in os.environ:
            die_once_a_checkpoint_is_there()
history = model.fit(x, x.sum(1), epochs=4, batch_size=16, verbose=0, callbacks=[Dies()])
print([f"{one:.7f}" for one in history.history["loss"]])
"""
BOOSTING = """
import numpy, xgboost
rng = numpy.random.default_rng(0)
drift = float(os.environ.get("DRIFT", "0"))
x = rng.random((80, 4))
data = xgboost.DMatrix(x, x[:, 0] * x[:, 1] + drift * x[:, 2])
class Dies(xgboost.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        if epoch == 6 and "DIES" in os.environ:
            die_once_a_checkpoint_is_there()
found = {}
xgboost.train({"nthread": 1}, data, 10, evals=[(data, "train")], evals_result=found,
              verbose_eval=False, callbacks=[Dies()])
print(found["train"]["rmse"])
"""


def attempt(folder: Path, inside: Path, number: int, **orders: Any) -> Any:
    return running.run_runner(
        folder / "project", inside, "train.py", seed=5, attempt=number, mid_epoch_s=0.0, **orders
    )


def said(inside: Path) -> str:
    lines = (inside / "events.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines if line]
    assert not [one for one in found if one["event"] == "hook_error"]
    return "\n".join(one["message"] for one in found if one["event"] == "warning")


@pytest.mark.parametrize(("text", "boundary"), [(KERAS, "first step"), (BOOSTING, "first round")])
def test_resume_whose_first_numbers_differ_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, boundary: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(DIE + text)
    monkeypatch.setenv("DIES", "1")
    # One checkpoint: what follows it has left its numbers by the time of the kill.
    killed = attempt(tmp_path, tmp_path / "same", 1, checkpoint_budget=1e-9)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.copytree(tmp_path / "same", tmp_path / "other")
    monkeypatch.delenv("DIES")
    same = attempt(tmp_path, tmp_path / "same", 2)
    assert same.returncode == 0, same.stderr
    assert '"state": "resumed"' in (tmp_path / "same" / "events.jsonl").read_text()
    assert "not what it was" not in said(tmp_path / "same")
    monkeypatch.setenv("DRIFT", "1")
    codes = []
    for number in range(2, 6):
        other = attempt(tmp_path, tmp_path / "other", number)
        codes.append(other.returncode)
        if codes[-1] != 75:
            break
    assert codes[0] == 75, "the first attempt notices"
    assert codes[-1] == 0, other.stderr
    assert f"{boundary} after the checkpoint is not what it was" in said(tmp_path / "other")
    assert "trained from its beginning" in said(tmp_path / "other")
    assert other.stdout != same.stdout


@pytest.mark.parametrize("text", [KERAS, BOOSTING])
def test_a_training_that_does_not_repeat_itself_goes_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    project, inside = tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    wait = DIE.replace("not glob", "len(glob").replace('.*")', '.*")) < 2', 1)
    (project / "train.py").write_text(wait + text)
    monkeypatch.setenv("DIES", "1")
    killed = attempt(tmp_path, inside, 1, checkpoint_budget=1e9)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    monkeypatch.delenv("DIES")
    monkeypatch.setenv("DRIFT", "1")
    assert attempt(tmp_path, inside, 2).returncode == 75, "the newest checkpoint is refuted"
    other = attempt(tmp_path, inside, 3)
    assert other.returncode == 0, other.stderr
    assert "does not repeat itself" in said(inside)
    assert "from its beginning" not in said(inside)
