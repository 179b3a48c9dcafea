"""What past searches save: trials until a search is as good as it gets, with and without them.

`python -m bench.search_past [--tables cancer …] [--past similar|others] [--trials 12] [--minutes 1]`
searches every table of `bench.search_tables` twice: as a home's first search, and with what earlier
searches have left in the home. With `similar` that is one search of another half of the same table:
two projects of one kind. With `others` it is the searches of all other tables (leave one out). It
prints the number of trials and the seconds until the score is within one standard error of the best
that the first search has reached, and both final scores. With the same score at the end, fewer
trials are the gain.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench import search_tables
from mlops_lib.environments import images
from mlops_lib.records import Environment, RunSpec, SearchResult
from mlops_lib.runner.search.estimator_trials import deviation
from mlops_lib.runner.search.sklearn import Search
from mlops_lib.tuning import past_searches

SEED = 1


@dataclass(frozen=True)
class Sought:
    """One search, read from its result."""

    result: SearchResult
    sign: float

    @property
    def best(self) -> float:
        """The best signed score."""
        return max(
            self.sign * trial.score for trial in self.result.trials if trial.score is not None
        )

    @property
    def error(self) -> float:
        """The standard error of the best score over its folds."""
        best = max(
            (trial for trial in self.result.trials if trial.score is not None),
            key=lambda trial: self.sign * (trial.score or 0.0),
        )
        folds = [float(score) for score in best.hyperparameters.get("folds", ())]
        return deviation(folds) / len(folds) ** 0.5 if folds else 0.0

    def reaching(self, score: float) -> tuple[int | None, float]:
        """Return the number of the first trial with this signed score, and the seconds until then."""
        seconds = 0.0
        for trial in self.result.trials:
            seconds += trial.seconds
            if trial.score is not None and self.sign * trial.score >= score:
                return trial.number, seconds
        return None, seconds


def spec_of(name: str, table: search_tables.Table, *, digest: str) -> RunSpec:
    """The run that a home would have for this table."""
    environment = Environment(name="sklearn", framework="scikit-learn", family=table.first)
    return RunSpec(
        digest=digest,
        name=name,
        project="/p",
        entry="train.py",
        backend="process",
        image=images.plan(environment),
        framework="scikit-learn",
        family=table.first,
    )


def search(
    name: str, past: list[dict[str, Any]], *, part: int | None, trials: int, minutes: float
) -> Sought:
    """Search one table, or one half of it."""
    table = search_tables.TABLES[name]
    x, _, y, _ = search_tables.split(table, SEED)
    if part is not None:
        x, y = x.iloc[part::2], y[part::2]
    estimator = search_tables.developers(table, x).fit(x, y)
    mode = "min" if table.metric == "mae" else "max"
    request = {
        "fit": 1,
        "metric": table.metric,
        "mode": mode,
        "target": None,
        "trials": trials,
        "minutes": minutes,
        "past": past,
    }
    fit = SimpleNamespace(estimator=estimator, x=x, y=y, number=1)
    with tempfile.TemporaryDirectory() as folder:
        result = Search(
            fit,
            request,
            search_tables._Journal(),  # type: ignore[arg-type]
            folder=folder,
            seed=SEED,
            needs_probabilities=table.metric == "average_precision",
        ).run()
    return Sought(SearchResult.from_json(result), -1.0 if mode == "min" else 1.0)


def past_of(name: str, sought: dict[str, Sought], examples: int | None) -> list[dict[str, Any]]:
    """Return what a search of this table is told if these others came before, by their tables."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for place, (other, earlier) in enumerate(sought.items()):
            spec = spec_of(other, search_tables.TABLES[other], digest=f"earlier{place}")
            past_searches.remember(home, spec, earlier.result, examples=earlier.result.examples)
        table = search_tables.TABLES[name]
        return past_searches.similar(
            home, spec_of(name, table, digest="now"), metric=table.metric, examples=examples
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", default=list(search_tables.TABLES))
    parser.add_argument("--past", choices=("similar", "others"), default="similar")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=1.0)
    arguments = parser.parse_args()
    is_similar = arguments.past == "similar"
    budget = {"trials": arguments.trials, "minutes": arguments.minutes}
    budget["part"] = 1 if is_similar else None
    plain = {name: search(name, [], **budget) for name in arguments.tables}
    print(
        f"{'table':20} {'trials: first':>14} {'with past':>10} {'seconds: first':>15}"
        f" {'with past':>10} {'best: first':>12} {'with past':>10}"
    )
    totals = [0.0] * 4
    for name, first in plain.items():
        if is_similar:
            earlier = {name: search(name, [], **{**budget, "part": 0})}
        else:
            # The same data under another metric is not another project.
            earlier = {o: s for o, s in plain.items() if o.split("_")[0] != name.split("_")[0]}
        again = search(name, past_of(name, earlier, first.result.examples), **budget)
        wanted = first.best - first.error
        cells = (*first.reaching(wanted), *again.reaching(wanted))
        trials = [float(arguments.trials + 1 if n is None else n) for n in (cells[0], cells[2])]
        for place, value in enumerate((*trials, cells[1], cells[3])):
            totals[place] += value
        print(
            f"{name:20} {cells[0]!s:>14} {cells[2]!s:>10} {cells[1]:15.1f} {cells[3]:10.1f}"
            f" {first.best:12.4f} {again.best:10.4f}",
            flush=True,
        )
    print(f"{'all':20} {totals[0]:14.0f} {totals[1]:10.0f} {totals[2]:15.1f} {totals[3]:10.1f}")


if __name__ == "__main__":
    main()
