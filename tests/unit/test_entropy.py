"""Random and time-based names repeat after a restart; trackers continue one run."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from running import run_runner

from mlops_lib.runner.state import clock, entropy

DIES = """
import os, signal
def die_once(name, text=""):
    marker = os.path.join(os.environ["MLOPS_CHECKPOINT_DIR"], name)
    if not os.path.exists(marker):
        with open(marker, "w") as stream:
            stream.write(text)
        os.kill(os.getpid(), signal.SIGKILL)
"""
NAMES = (
    DIES
    + """
import datetime, random, secrets, time, uuid
import numpy
from datetime import datetime as moment
from sklearn.tree import DecisionTreeClassifier
import project_module

names = [str(uuid.uuid4()), secrets.token_hex(4), random.Random().random(), str(moment.now()), time.time()]
names += [numpy.random.default_rng().random(), time.strftime("%H:%M:%S"), datetime.date.today().isoformat()]
names += [project_module.NAME, datetime.datetime.now(datetime.timezone.utc).isoformat(), time.localtime()[:6]]
os.makedirs("runs/" + moment.now().strftime("%H%M%S.%f"))
DecisionTreeClassifier(max_depth=1).fit([[0], [1]], [0, 1])
names.append(uuid.uuid4().hex)
began = time.time()
die_once("first", repr(names))
assert time.time() - began < 60
child = os.fork()
if child == 0:
    open("child.txt", "w").write(uuid.uuid4().hex)
    os._exit(0)
os.waitpid(child, 0)
names.append(open("child.txt").read() != uuid.uuid4().hex)
open("names.txt", "w").write(repr(names))
"""
)
MLFLOW = (
    DIES
    + """
import mlflow
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

mlflow.set_experiment("digits")
mlflow.sklearn.autolog(log_models=False)
X, y = (part[:400] for part in load_digits(return_X_y=True))
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
with mlflow.start_run() as run:
    model = LogisticRegression(C=1e-6, max_iter=200)
    model.fit(X_train, y_train)
    die_once("fitted")
    accuracy = accuracy_score(y_test, model.predict(X_test))
    mlflow.log_metric("test_accuracy", accuracy)
    mlflow.log_param("note", "baseline")
print("RUN", run.info.run_id)
"""
)


def run(
    folder: Path, source: str, *, attempt: int = 1, search: dict[str, Any] | None = None
) -> tuple[int, str]:
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "train.py").write_text(source)
    (project / "project_module.py").write_text("import time\nNAME = f'model-{time.time_ns()}'\n")
    spec = {"seed": 5, "attempt": attempt, "pass": 1 if search is None else 2, "search": search}
    process = run_runner(project, folder / "inside", **spec)
    return process.returncode, process.stdout + process.stderr


def test_random_and_time_based_names_repeat_after_a_restart(tmp_path: Path) -> None:
    code, output = run(tmp_path, NAMES)
    assert code == -signal.SIGKILL, output
    before = eval((tmp_path / "inside" / "kept" / "first").read_text())
    code, output = run(tmp_path, NAMES, attempt=2)
    assert code == 0, output
    after = eval((tmp_path / "inside" / "outputs" / "names.txt").read_text())
    assert after == [*before, True]
    assert len(list((tmp_path / "inside" / "outputs").glob("runs/*"))) <= 1
    another, _ = run(
        tmp_path / "project", "import uuid\nopen('name.txt', 'w').write(uuid.uuid4().hex)"
    )
    assert another == 0


@pytest.mark.slow
def test_tracker_continues_one_run_after_a_kill_and_in_a_search(tmp_path: Path) -> None:
    code, output = run(tmp_path, MLFLOW)
    assert code == -signal.SIGKILL, output
    code, output = run(tmp_path, MLFLOW, attempt=2)
    assert code == 0, output
    assert "no such table" not in output
    assert tracked(tmp_path) == [output.partition("RUN ")[2].split()[0]]
    before = metrics(tmp_path)
    search = {
        "fit": 1,
        "metric": "accuracy",
        "target": 2.0,
        "trials": 3,
        "minutes": 5,
        "judged_value": 0.5,
    }
    code, output = run(tmp_path, MLFLOW, search=search)
    assert code == 0, output
    assert len(tracked(tmp_path)) == 1
    after = metrics(tmp_path)
    assert after["test_accuracy"] > before["test_accuracy"], "the winner's number"


def tracked(folder: Path) -> list[str]:
    database = sqlite3.connect(folder / "inside" / "outputs" / "mlflow.db")
    rows = [
        run
        for run, status in database.execute("select run_uuid, status from runs")
        if status == "FINISHED"
    ]
    database.close()
    return rows


def metrics(folder: Path) -> dict[str, float]:
    database = sqlite3.connect(folder / "inside" / "outputs" / "mlflow.db")
    rows = dict(database.execute("select key, value from metrics"))
    database.close()
    return rows


def test_stream_position_never_moves_back() -> None:
    stream = entropy.Stream(b"key")
    names = [stream.read(8, "a") for _ in range(3)]
    stream.skip_to({"a": 1})
    assert stream.read(8, "a") not in names


def test_draws_of_one_module_do_not_shift_those_of_another() -> None:
    quiet, busy = entropy.Stream(b"key"), entropy.Stream(b"key")
    busy.read(8, "a library that fills a cache")
    assert quiet.read(8, "a tracker") == busy.read(8, "a tracker")
    assert quiet.read(8, "a tracker") != quiet.read(8, "another")


def test_incomplete_line_of_the_clock_is_dropped(tmp_path: Path) -> None:
    first = clock.Clock(str(tmp_path))
    noted = [first.read(), first.read()]
    with (tmp_path / clock.FILE).open("a") as stream:
        stream.write("17")
    again = clock.Clock(str(tmp_path))
    assert [again.read(), again.read()] == noted
    third = again.read()
    assert clock.Clock(str(tmp_path))._recorded == [*noted, third]


def test_durations_exclude_the_pause_between_attempts(tmp_path: Path) -> None:
    hour_ns = 3600 * 10**9
    first = clock.Clock(str(tmp_path))
    began = first.read_for_duration() - hour_ns
    (tmp_path / clock.FILE).write_text(f"{began}\n")
    again = clock.Clock(str(tmp_path))
    assert again.read_for_duration() == began
    assert again.read_for_duration() - began < hour_ns / 2
