"""What it takes to reach a bar: our search against KerasTuner's, AutoKeras, and training the same
model again.

`python -m bench.search [--tasks cifar10 …] [--methods ours …] [--seeds 3] [--equal-budget]` prints,
for each task and method, processor time, wall time and epochs until the best model so far (best on
the method's own selection examples) reaches each bar on the test set, and what it scores there at
the end: when it passes the highest bar, or with `--equal-budget` when the budget is used up. Each
cell is a process of its own, and the budget is its processor time (the machine may be shared), with
what the bench itself measures left out. Every method starts with the same training examples and
holds back what it selects on out of them. Ours starts, as in use, from the developer's trained
model; that training is not counted, for nobody else could use it.

The method `cost` lets our search end by itself at each bar and compares all it took with training
its winner once from scratch. AutoKeras does not run beside the newest Keras: it gets an environment
of its own, made when it is first needed, or the one that `--python` names.

Each cell is written to `--results` as it comes; run it again and only what is missing is measured.
A method that fails says why.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import search_pytorch
from bench.search_tasks import TASKS, Data, Task

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("ours", "cost", "random", "hyperband", "bayesian", "again", "autokeras")
AUTOKERAS = ("autokeras==3.0.0", "keras==3.6.0", "tensorflow-cpu==2.18.1", "scikit-learn")
CACHE = Path.home() / ".cache" / "mlops-bench"
EPOCHS = 20
"""Epochs of a trial of the others."""
HELD_BACK = 0.1
NEVER = 2.0
"""A bar that no accuracy passes."""
PATIENCE = 8.0
"""How many times its budget a cell may take by the clock."""


class Enough(KeyboardInterrupt):
    """The budget is used up, or the highest bar is reached."""


class Meter:
    """Watches every training of a process: which model is best by selection, and what it scores on
    the test set.
    """

    def __init__(self, task: Task, data: Data, *, budget_s: float, bar: float) -> None:
        self.task, self.data, self.budget_s, self.bar = task, data, budget_s, bar
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
            self.best, self.value = (
                score,
                score_of(self.task, model, self.data.x_test, self.data.y_test),
            )
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
        if self.spent_s > self.budget_s or self.value >= self.bar:
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

    parts = (x[i : i + 500] for i in range(0, len(x), 500))
    output = numpy.concatenate(
        [numpy.asarray(model(_tensor(part), training=False)) for part in parts]
    )
    guess = output.argmax(axis=1) if output.shape[1] > 1 else (output[:, 0] > 0.5).astype(int)
    return float(getattr(metrics, f"{task.metric}_score")(y, guess))


def _tensor(x: Any) -> Any:
    """Text as a tensor; arrays of numbers as they are."""
    if x.dtype.kind != "U":
        return x
    import tensorflow

    return tensorflow.constant(x)


def metered(meter: Meter, held: Any = None) -> None:
    """Let the meter watch every `fit` of this process, on what it selects on unless `held` says so."""
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
            watch = Watch(held or kwargs["validation_data"])
            kwargs["callbacks"] = [watch, *(kwargs.get("callbacks") or [])]
        return fit(self, *args, **kwargs)

    keras.Model.fit = watched


def split(data: Data, seed: int) -> tuple[Any, Any, Any, Any]:
    """What a method that knows no better holds back."""
    from sklearn.model_selection import train_test_split

    parts: tuple[Any, Any, Any, Any] = train_test_split(
        data.x,
        data.y,
        test_size=max(HELD_BACK, min(0.25, 200 / len(data.x))),
        random_state=seed,
        stratify=data.y,
    )
    return parts


def ours(task: Task, data: Data, meter: Meter, seed: int, folder: str, bar: float) -> None:
    """The developer's script runs, misses its bar, and is improved."""
    from mlops_lib.runner.metrics import example_hashes
    from mlops_lib.runner.search.keras.search import improve
    from mlops_lib.runner.search.request import SearchRequest

    model, call, value = developed(task, data)
    request = SearchRequest(
        fit=1,
        directory=folder,
        metric=task.metric,
        target=bar,
        trials=100,
        minutes=600.0,
        seed=seed,
        judged_digest=example_hashes.examples(data.x_test).digest,
        judged_value=value,
    )
    meter.__init__(task, data, budget_s=meter.budget_s, bar=meter.bar)  # type: ignore[misc]
    outcome = improve(model, call, request, Loud())
    meter.finish(model, outcome.result["score"])
    log(
        f"  {len(outcome.result['trials'])} trials, stopped by {outcome.result['stopped']}, first {value:.3f}"
    )


def developed(task: Task, data: Data) -> tuple[Any, Any, float]:
    """The developer's model as their script leaves it, its fit, and what it scores."""
    from mlops_lib.runner.search.request import FitCall

    model = task.build(data)
    compiled = {"optimizer": "adam", "loss": model.loss, "metrics": ["accuracy"]}
    fit = {"x": data.x, "y": data.y, "epochs": task.epochs, "batch_size": task.batch_size}
    initial = [variable.numpy() for variable in model.variables]
    history = model.fit(**fit, verbose=0)
    return (
        model,
        FitCall(fit, compiled, history, initial),
        score_of(task, model, data.x_test, data.y_test),
    )


def cost(task: Task, data: Data, seed: int, folder: str, bar: float) -> dict[str, float]:
    """All that our search takes until it ends by itself, beside training its winner once from
    scratch.
    """
    import keras

    from mlops_lib.runner.search.keras import architecture_edits, trial
    from mlops_lib.runner.search.keras.candidates import Candidate, Recipe

    meter = Meter(task, data, budget_s=float("inf"), bar=NEVER)
    metered(meter)
    keras.utils.set_random_seed(seed)
    twin = keras.models.clone_model(task.build(data))
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    ours(task, data, meter, seed, folder, bar)
    total, value = meter.spent_s, meter.value
    records = [
        json.loads(path.read_text())
        for path in sorted(Path(folder, "trials").glob("[0-9]*.json"))
        if path.stem.isdigit()
    ]
    number = json.loads(Path(folder, "result.json").read_text())["winner"]
    line: list[Candidate] = []
    while number:
        line.insert(
            0, Candidate.read(next(r for r in records if r["number"] == number)["hyperparameters"])
        )
        number = line[0].parent
    for one in line:
        twin, _ = architecture_edits.apply_all(twin, list(one.edits))
    recipe = line[0].recipe if line else Recipe(epochs=task.epochs)
    batch = recipe.batch_size or task.batch_size
    optimizer = trial.optimizer_for(keras.optimizers.Adam(), recipe, -(-len(data.x) // batch))
    twin.compile(optimizer=optimizer, loss=task.build(data).loss, metrics=["accuracy"])
    began = time.process_time()
    twin.fit(data.x, data.y, epochs=recipe.epochs, batch_size=batch, verbose=0)
    once = time.process_time() - began
    return {
        "bar": bar,
        "search_cpu_s": total,
        "value": value,
        "once_cpu_s": once,
        "ratio": total / once,
        "once_value": score_of(task, twin, data.x_test, data.y_test),
    }


class Loud:
    """A diary that says how trials go."""

    def write(self, event: str, **keys: Any) -> None:
        """Each trial that has ended."""
        one = keys.get("trial")
        if event == "trial" and one["state"] != "running":
            curve = " ".join(f"{v:.3f}" for v in one["curve"])
            log(
                f"  trial {one['number']} {one['state']} {one['score']} {one['seconds']:.0f} s"
                f" {one['edits']} {one['message']} [{curve}]"
            )

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        """Nothing."""


def tuned(task: Task, data: Data, seed: int, folder: str, tuner: str) -> None:
    """KerasTuner over the hand-written space."""
    import keras_tuner

    common: dict[str, Any] = {
        "objective": keras_tuner.Objective(f"val_{task.metric}", "max"),
        "seed": seed,
        "directory": folder,
        "project_name": tuner,
        "overwrite": True,
        "max_retries_per_trial": 0,
        "max_consecutive_failed_trials": 1000,
    }

    def build(hp: Any) -> Any:
        return task.space(hp, data)

    if tuner == "hyperband":
        made = keras_tuner.Hyperband(
            build, max_epochs=EPOCHS, factor=3, hyperband_iterations=100, **common
        )
    else:
        kind = keras_tuner.RandomSearch if tuner == "random" else keras_tuner.BayesianOptimization
        made = kind(build, max_trials=1000, **common)
    x, held_x, y, held_y = split(data, seed)
    made.search(
        x, y, epochs=EPOCHS, batch_size=task.batch_size, validation_data=(held_x, held_y), verbose=0
    )


def again(task: Task, data: Data, seed: int) -> None:
    """Five times the same model from scratch: what a pipeline without a search can do."""
    import keras

    x, held_x, y, held_y = split(data, seed)
    for number in range(5):
        keras.utils.set_random_seed(seed * 100 + number)
        task.build(data).fit(
            x,
            y,
            epochs=task.epochs,
            batch_size=task.batch_size,
            validation_data=(held_x, held_y),
            verbose=0,
        )


def autokeras(task: Task, data: Data, meter: Meter, seed: int, folder: str) -> None:
    """AutoKeras with its own space and defaults, by the class that fits the data."""
    import autokeras

    if data.x.dtype.kind == "i":
        data = meter.data = dataclasses.replace(
            data, x=as_text(data.x), x_test=as_text(data.x_test)
        )
        kind = autokeras.TextClassifier
    else:
        kind = autokeras.ImageClassifier if data.x.ndim == 4 else autokeras.StructuredDataClassifier
    x, held_x, y, held_y = split(data, seed)
    metered(meter, (held_x, held_y))
    made = kind(max_trials=1000, seed=seed, directory=folder, overwrite=True)
    made.fit(x, y, validation_data=(held_x, held_y), batch_size=task.batch_size, verbose=0)


def as_text(x: Any) -> Any:
    """Sequences of word numbers as text, for who makes its own."""
    import numpy

    return numpy.array([" ".join(f"w{word}" for word in row if word) for row in x])


def log(text: str) -> None:
    """On stderr; the result alone is on stdout."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def child(name: str, method: str, seed: int, budget_s: float, past_the_bar: bool) -> dict[str, Any]:
    """One cell of the table, in this process."""
    import keras

    task = TASKS[name]
    data = task.load()
    keras.utils.set_random_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        if method == "cost":
            return {"costs": [cost(task, data, seed, folder, min(task.bars))]}
        meter = Meter(task, data, budget_s=budget_s, bar=NEVER if past_the_bar else max(task.bars))
        if method != "autokeras":
            metered(meter)
        try:
            if method == "ours":
                ours(task, data, meter, seed, folder, meter.bar)
            elif method == "again":
                again(task, data, seed)
            elif method == "autokeras":
                autokeras(task, data, meter, seed, folder)
            else:
                tuned(task, data, seed, folder, method)
        except Enough:
            log(f"  {name} {method} {seed}: enough")
    return {
        "marks": meter.marks,
        "cpu_s": meter.spent_s,
        "wall_s": meter.wall_s,
        "epochs": meter.epochs,
        "value": meter.value,
    }


def environment(python: str | None) -> str:
    """The interpreter that AutoKeras runs in; its environment is made where it is missing.

    Raises:
        subprocess.CalledProcessError: it cannot be made.
    """
    if python:
        return python
    place = CACHE / "autokeras"
    made = place / "bin" / "python"
    if not (place / "complete").exists():
        log(f"making an environment for AutoKeras in {place}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        install = [str(made), "-m", "pip", "install", "--quiet", *AUTOKERAS]
        subprocess.run(install, check=True, stdout=sys.stderr)
        (place / "complete").touch()
    return str(made)


def measured(
    name: str, method: str, seed: int, budget_s: float, *, past_the_bar: bool, python: str | None
) -> dict[str, Any]:
    """One cell, in a process of its own; what failed says why."""
    variables = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(ROOT),
    }
    try:
        interpreter = environment(python) if method == "autokeras" else sys.executable
        command = [
            interpreter,
            "-m",
            "bench.search",
            "--child",
            name,
            method,
            str(seed),
            str(budget_s),
        ]
        command += ["--equal-budget"] if past_the_bar else []
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=variables,
            timeout=PATIENCE * budget_s + 300,
        )
    except (subprocess.SubprocessError, OSError) as error:
        return {"error": str(error)}
    log("\n".join(line for line in done.stderr.splitlines() if line.startswith("  ")))
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        return {"error": f"exit code {done.returncode}: {' '.join(last)[:300]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def reached(result: dict[str, Any], bar: float) -> dict[str, float] | None:
    """The first mark at which the best model so far passes the bar on the test set."""
    return next((mark for mark in result["marks"] if mark["value"] >= bar), None)


def row(task: Task, results: list[dict[str, Any]]) -> str:
    """The medians over the seeds, as one line; a seed that did not reach a bar took longer than any
    that did.
    """
    failed = [one["error"] for one in results if "error" in one]
    if failed:
        return f"failed: {failed[0]}"
    if "costs" in results[0]:
        costs = [one for result in results for one in result["costs"]]
        middle = {key: statistics.median(one[key] for one in costs) for key in costs[0]}
        return (
            f"bar {middle['bar']:g}: {middle['search_cpu_s']:.0f} s in all, the winner once from scratch"
            f" {middle['once_cpu_s']:.0f} s ({middle['ratio']:.2f} times), {middle['value']:.3f} against"
            f" {middle['once_value']:.3f}"
        )
    cells = []
    for bar in task.bars:
        found = [mark for mark in (reached(one, bar) for one in results) if mark is not None]
        place = (len(results) - 1) // 2
        if place < len(found):
            cpu, wall, epochs = (
                sorted(m[key] for m in found)[place] for key in ("cpu_s", "wall_s", "epochs")
            )
            cells.append(
                f"{cpu:6.0f} s {wall:5.0f} s {epochs:4.0f} ep ({len(found)}/{len(results)})"
            )
        else:
            cells.append(f"not reached ({len(found)}/{len(results)})")
    value = statistics.median(one["value"] for one in results)
    cells.append(f"{value:.3f} after {statistics.median(one['cpu_s'] for one in results):.0f} s")
    return " | ".join(f"{cell:30s}" for cell in cells)


class Kept:
    """Cells that were measured, in a file of JSON lines."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        known = [json.loads(line) for line in lines]
        self._cells = {
            self._key(one): one["result"] for one in known if "error" not in one["result"]
        }

    @staticmethod
    def _key(one: dict[str, Any]) -> tuple[Any, ...]:
        return (one["task"], one["method"], one["seed"], one["budget_s"], one["past_the_bar"])

    def cell(self, measure: Callable[[], dict[str, Any]], **which: Any) -> dict[str, Any]:
        """A cell from the file, else measured and appended; one that failed is tried again."""
        key = self._key(which)
        if key not in self._cells:
            self._cells[key] = measure()
            with self._path.open("a") as stream:
                stream.write(json.dumps({**which, "result": self._cells[key]}) + "\n")
        return self._cells[key]


def table(name: str, given: argparse.Namespace, kept: Kept) -> None:
    """Measure and print one task, a line a method."""
    task = TASKS[name]
    print(
        f"\n{name} ({task.metric}): processor time, wall time, epochs to the bar; medians, and how many seeds reached it"
    )
    print(
        f"{'':10s} | "
        + " | ".join(f"{bar:<30}" for bar in task.bars)
        + " | best so far at the end",
        flush=True,
    )
    budget_s = given.budget or task.budget_s
    for method in given.methods:
        results = []
        for seed in range(1, given.seeds + 1):
            which = {"budget_s": budget_s, "past_the_bar": given.equal_budget}
            measure = functools.partial(measured, name, method, seed, python=given.python, **which)
            results.append(kept.cell(measure, task=name, method=method, seed=seed, **which))
        print(f"{method:10s} | {row(task, results)}", flush=True)


def main() -> None:
    """Measure the cells asked for and print the table as it grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument(
        "--budget", type=float, help="processor seconds a cell, instead of the task's own"
    )
    parser.add_argument(
        "--equal-budget",
        action="store_true",
        help="go on after the highest bar, until the budget's end",
    )
    parser.add_argument(
        "--results", type=Path, default=CACHE / "search.jsonl", help="where cells are kept"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the cells that were kept")
    parser.add_argument("--python", help="an interpreter that has AutoKeras, or PyTorch")
    parser.add_argument("--framework", choices=("keras", "pytorch"), default="keras")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, method, seed, budget = given.child
        sys.stdout.write(
            json.dumps(child(name, method, int(seed), float(budget), given.equal_budget)) + "\n"
        )
        return
    if given.framework == "pytorch":
        search_pytorch.table(given.tasks, given.seeds, given.python)
        return
    kept = Kept(given.results, fresh=given.fresh)
    for name in given.tasks:
        table(name, given, kept)


if __name__ == "__main__":
    main()
