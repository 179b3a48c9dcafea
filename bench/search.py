"""What it takes to reach a bar: our search against KerasTuner's and against training the same model again.

`python -m bench.search [--tasks cifar10 …] [--methods ours …] [--seeds 1] [--budget 420]` prints, for each task and
method, processor time and epochs until the best model so far (best on the method's own selection examples) reaches each
bar on the test set, and what it scores there when the budget is used up. Each cell is a process of its own and
time is its processor time (the machine may be shared), with what the bench itself measures left out. Every method
starts with the same training examples and holds back what it selects on out of them. Ours starts, as in use, from the
developer's trained model; that training is not counted, for nobody else could use it.

`--python PATH` adds AutoKeras from an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.search_tasks import TASKS, Data, Task

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("ours", "random", "hyperband", "bayesian", "again")
EPOCHS = 20
"""Epochs of a trial of the others."""
HELD_BACK = 0.1


class Enough(KeyboardInterrupt):
    """The budget is used up, or the highest bar is reached."""


class Meter:
    """Watches every training of a process: which model is best by selection, and what it scores on the test set."""

    def __init__(self, task: Task, data: Data, *, budget_s: float) -> None:
        self.task, self.data, self.budget_s = task, data, budget_s
        self.best, self.value, self.epochs = float("-inf"), float("nan"), 0
        self.marks: list[dict[str, float]] = []
        self.own_s = self.own_wall_s = 0.0
        self.began, self.began_wall = time.process_time(), time.monotonic()

    @property
    def spent_s(self) -> float:
        """Processor time of the method so far."""
        return time.process_time() - self.began - self.own_s

    @property
    def wall_s(self) -> float:
        """Wall time of the method so far."""
        return time.monotonic() - self.began_wall - self.own_wall_s

    def epoch(self, model: Any, logs: dict[str, Any], held: Any) -> None:
        """After each epoch of any training."""
        began, began_wall = time.process_time(), time.monotonic()
        self.epochs += 1
        score = score_of(self.task, model, *held[:2])
        logs[f"val_{self.task.metric}"] = score
        better = score > self.best
        if better:
            self.best, self.value = score, score_of(self.task, model, self.data.x_test, self.data.y_test)
        self.own_s += time.process_time() - began
        self.own_wall_s += time.monotonic() - began_wall
        if better:
            mark = {
                "cpu_s": self.spent_s,
                "wall_s": self.wall_s,
                "epochs": self.epochs,
                "held": score,
                "value": self.value,
            }
            self.marks.append({name: round(value, 4) for name, value in mark.items()})
        if self.spent_s > self.budget_s or self.value >= max(self.task.bars):
            raise Enough

    def finish(self, model: Any, held: float | None) -> None:
        """The model that a method ends with, where it trains it further."""
        mark = {"cpu_s": self.spent_s, "wall_s": self.wall_s, "epochs": self.epochs, "held": held}
        self.value = score_of(self.task, model, self.data.x_test, self.data.y_test)
        self.marks.append({**mark, "value": self.value})


def score_of(task: Task, model: Any, x: Any, y: Any) -> float:
    """The task's metric of a model's predictions, without Keras' own evaluation."""
    import numpy
    from sklearn import metrics

    output = numpy.concatenate([numpy.asarray(model(x[i : i + 500], training=False)) for i in range(0, len(x), 500)])
    guess = output.argmax(axis=1) if output.shape[1] > 1 else (output[:, 0] > 0.5).astype(int)
    return float(getattr(metrics, f"{task.metric}_score")(y, guess))


def metered(meter: Meter) -> None:
    """Let the meter watch every `fit` of this process."""
    import keras

    fit = keras.Model.fit

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self, held: Any) -> None:
            super().__init__()
            self.held = held

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            meter.epoch(self.model, logs, self.held)

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("validation_data") is not None:
            kwargs["callbacks"] = [Watch(kwargs["validation_data"]), *(kwargs.get("callbacks") or [])]
        return fit(self, *args, **kwargs)

    keras.Model.fit = watched


def split(data: Data, seed: int) -> tuple[Any, Any, Any, Any]:
    """What a method that knows no better holds back."""
    from sklearn.model_selection import train_test_split

    parts: tuple[Any, Any, Any, Any] = train_test_split(
        data.x, data.y, test_size=max(HELD_BACK, min(0.25, 200 / len(data.x))), random_state=seed, stratify=data.y
    )
    return parts


def ours(task: Task, data: Data, meter: Meter, seed: int, folder: str) -> None:
    """The developer's script runs, misses its bar, and is improved."""
    from mlops_lib.runner import digest
    from mlops_lib.runner.search.keras import improve
    from mlops_lib.runner.search.request import FitCall, SearchRequest

    model = task.build(data)
    compiled = {"optimizer": "adam", "loss": model.loss, "metrics": ["accuracy"]}
    fit = {"x": data.x, "y": data.y, "epochs": task.epochs, "batch_size": task.batch_size}
    initial = [variable.numpy() for variable in model.variables]
    history = model.fit(**fit, verbose=0)
    value = score_of(task, model, data.x_test, data.y_test)
    request = SearchRequest(
        fit=1, directory=folder, metric=task.metric, target=max(task.bars), trials=100, minutes=600.0, seed=seed,
        judged_digest=digest.examples(data.x_test).digest, judged_value=value,
    )  # fmt: skip
    meter.__init__(task, data, budget_s=meter.budget_s)  # type: ignore[misc]
    try:
        outcome = improve(model, FitCall(fit, compiled, history, initial), request, Silent())
        listed = outcome.result["trials"]
    finally:
        trials = [json.loads(path.read_text()) for path in sorted(Path(folder, "trials").glob("[0-9].json"))]
        for one in trials:
            log(
                f"  trial {one['number']} {one['state']} {one['score']} {one['seconds']:.0f} s {one['edits']} {one['message']}"
            )
    meter.finish(model, outcome.result["score"])
    log(f"  {len(listed)} trials, stopped by {outcome.result['stopped']}, first {value:.3f}")


class Silent:
    """A diary nobody reads."""

    def write(self, event: str, **keys: Any) -> None:
        """Nothing."""

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        """Nothing."""


def tuned(task: Task, data: Data, seed: int, folder: str, tuner: str) -> None:
    """KerasTuner over the hand-written space."""
    import keras_tuner

    common: dict[str, Any] = {
        "objective": keras_tuner.Objective(f"val_{task.metric}", "max"), "seed": seed, "directory": folder,
        "project_name": tuner, "overwrite": True, "max_retries_per_trial": 0, "max_consecutive_failed_trials": 1000,
    }  # fmt: skip

    def build(hp: Any) -> Any:
        return task.space(hp, data)

    if tuner == "hyperband":
        made = keras_tuner.Hyperband(build, max_epochs=EPOCHS, factor=3, hyperband_iterations=100, **common)
    else:
        kind = keras_tuner.RandomSearch if tuner == "random" else keras_tuner.BayesianOptimization
        made = kind(build, max_trials=1000, **common)
    x, held_x, y, held_y = split(data, seed)
    made.search(x, y, epochs=EPOCHS, batch_size=task.batch_size, validation_data=(held_x, held_y), verbose=0)


def again(task: Task, data: Data, seed: int) -> None:
    """Five times the same model from scratch: what a pipeline without a search can do."""
    import keras

    x, held_x, y, held_y = split(data, seed)
    for number in range(5):
        keras.utils.set_random_seed(seed * 100 + number)
        task.build(data).fit(
            x, y, epochs=task.epochs, batch_size=task.batch_size, validation_data=(held_x, held_y), verbose=0
        )


def log(text: str) -> None:
    """On stderr; the result alone is on stdout."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def child(name: str, method: str, seed: int, budget_s: float) -> None:
    """One cell of the table, in this process."""
    import keras

    task = TASKS[name]
    data = task.load()
    keras.utils.set_random_seed(seed)
    meter = Meter(task, data, budget_s=budget_s)
    metered(meter)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if method == "ours":
                ours(task, data, meter, seed, folder)
            elif method == "again":
                again(task, data, seed)
            else:
                tuned(task, data, seed, folder, method)
        except Enough:
            log(f"  {name} {method} {seed}: enough")
    result = {
        "marks": meter.marks,
        "cpu_s": meter.spent_s,
        "wall_s": meter.wall_s,
        "epochs": meter.epochs,
        "value": meter.value,
    }
    sys.stdout.write(json.dumps(result) + "\n")


def measured(name: str, method: str, seed: int, budget_s: float) -> dict[str, Any]:
    """One cell, in a process of its own."""
    command = [sys.executable, "-m", "bench.search", "--child", name, method, str(seed), str(budget_s)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def reached(result: dict[str, Any], bar: float) -> dict[str, float] | None:
    """The first mark at which the best model so far passes the bar on the test set."""
    return next((mark for mark in result["marks"] if mark["value"] >= bar), None)


def row(task: Task, results: list[dict[str, Any]]) -> str:
    """The medians over the seeds, as one line."""
    cells = []
    for bar in task.bars:
        marks = [reached(one, bar) for one in results]
        found = [mark for mark in marks if mark is not None]
        if 2 * len(found) > len(marks):
            cpu, wall, epochs = (statistics.median(m[key] for m in found) for key in ("cpu_s", "wall_s", "epochs"))
            cells.append(f"{cpu:6.0f} s {wall:5.0f} s {epochs:4.0f} ep ({len(found)}/{len(marks)})")
        else:
            cells.append(f"not reached ({len(found)}/{len(marks)})")
    value = statistics.median(one["value"] for one in results)
    cells.append(f"{value:.3f} after {statistics.median(one['cpu_s'] for one in results):.0f} s")
    return " | ".join(f"{cell:30s}" for cell in cells)


def main() -> None:
    """Measure the cells asked for and print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--budget", type=float, default=600.0, help="processor seconds a cell")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, method, seed, budget = given.child
        child(name, method, int(seed), float(budget))
        return
    for name in given.tasks:
        task = TASKS[name]
        print(f"\n{name} ({task.metric}): processor time, wall time, epochs to the bar")
        print(f"{'':10s} | " + " | ".join(f"{bar:<30}" for bar in task.bars) + " | best so far at the end")
        for method in given.methods:
            results = [measured(name, method, seed, given.budget) for seed in range(1, given.seeds + 1)]
            print(f"{method:10s} | {row(task, results)}", flush=True)


if __name__ == "__main__":
    main()
