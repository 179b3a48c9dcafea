"""The champion's crown: how often equal models swap it, and how often a better one wins it.

    python -m bench.honesty_champion [--pairs 4000] [--json]

Pairs of models are simulated by their answers and go through what a run goes through: the
comparison in the runner, its claim, and the host's reading of it. Two models that answer alike
disagree on few examples, two that were made independently on many; the power depends on that, so
both are shown. Ends with 1 if equal models swap the crown in more than 5 % of the pairs, beyond
what so many pairs can tell, or if 5 points more on 600 examples win in less than 80 % with a
disagreement of up to 15 %.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy

from mlops_lib.gate import comparison as host
from mlops_lib.runner.metrics import comparison, recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe

MOST_SWAPS, LEAST_POWER = 0.05, 0.80
USUAL_DISAGREEMENT = 0.15
"""Two networks trained on the same data with other seeds disagree on about so many examples, or
fewer.
"""
COSTLY = 10
"""A metric that is a function of all answers is compared for so many times fewer pairs."""


class Answers:
    """A model that answers what it was made with."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def predict(self, x: Any) -> Any:
        return self.answers

    def score(self, x: Any, y: Any) -> float:
        return float((self.answers == y).mean())


class Row(NamedTuple):
    """One kind of pair, and how often the new model won the crown."""

    what: str
    metric: str
    examples: int
    pairs: int
    won: int
    kept: bool
    """Whether its limit is kept; True if there is none."""

    @property
    def rate(self) -> float:
        return self.won / self.pairs


def wins(recipe: Recipe, metric: str, truth: Any, new: Any, champion: Any) -> bool:
    """Return whether the new answers win the crown, as a run and its host decide it."""
    examples, models = Examples(numpy.empty(len(truth)), truth), (Answers(new), Answers(champion))
    mine, its = (recipes.measure(recipe, one, examples)[recipe.metric] for one in models)
    grows = metric not in ("mae", "mse")
    compared = comparison.compare(recipe, *models, examples, values=(mine, its), grows=grows)
    one = {
        "evaluation": 1,
        "metric": metric,
        "value": its,
        "all": {recipe.metric: its},
        "comparison": compared,
    }
    claim = json.loads(json.dumps({"version": 1, "measurements": [one]}))
    found = host.read(claim, version=1, evaluation=1, metric=metric, grows=grows, measured="")
    assert found.better is not None, found.why
    return found.better


def right_and_wrong(
    draws: Any, count: int, accuracy: float, gain: float, disagreement: float
) -> tuple[Any, Any, Any]:
    """Return targets and two models' answers, of which the first is better by `gain`."""
    only_new, only_champion = (disagreement + gain) / 2, (disagreement - gain) / 2
    shares = [accuracy - only_champion, only_new, only_champion]
    cells = draws.choice(4, count, p=[*shares, 1 - sum(shares)])
    truth = draws.integers(0, 5, count)
    wrong = (truth + 1 + draws.integers(0, 4, count)) % 5
    return truth, numpy.where(cells < 2, truth, wrong), numpy.where(cells % 2 == 0, truth, wrong)


def errors(draws: Any, count: int, ratio: float, correlation: float) -> tuple[Any, Any, Any]:
    """Return targets and two models' predictions; the first one's errors are `ratio` times the
    other's.
    """
    common, own, other = draws.normal(size=(3, count))
    a, b = math.sqrt(correlation), math.sqrt(1 - correlation)
    return numpy.zeros(count), ratio * (a * common + b * own), a * common + b * other


def rows(pairs: int) -> Iterator[Row]:
    """Yield every kind of pair."""
    draws = numpy.random.default_rng(0)
    accuracy = Recipe(recipes.SCORE, "accuracy")
    f1 = Recipe(recipes.FUNCTION, "f1_score", "f1_score", {"average": "macro"})
    mae = Recipe(recipes.FUNCTION, "mean_absolute_error", "mean_absolute_error")

    def row(
        what: str, recipe: Recipe, metric: str, count: int, number: int, draw: Any, limit: Any
    ) -> Row:
        won = sum(wins(recipe, metric, *draw()) for _ in range(number))
        return Row(what, metric, count, number, won, limit(won / number, number))

    def swaps(rate: float, number: int) -> bool:
        return rate <= MOST_SWAPS + 2 * math.sqrt(MOST_SWAPS * (1 - MOST_SWAPS) / number)

    def strong(rate: float, number: int) -> bool:
        return rate >= LEAST_POWER

    def free(rate: float, number: int) -> bool:
        return True

    for count in (192, 600, 2000):
        for apart in (0.05, 0.15, 0.30):
            what = f"equal, {apart:.0%} disagreement"
            draw = lambda c=count, d=apart: right_and_wrong(draws, c, 0.8, 0.0, d)  # noqa: E731
            yield row(what, accuracy, "accuracy", count, pairs, draw, swaps)
    for apart in (0.08, 0.15, 0.20, 0.30):
        what = f"+5 points, {apart:.0%} disagreement"
        draw = lambda d=apart: right_and_wrong(draws, 600, 0.8, 0.05, d)  # noqa: E731
        yield row(
            what,
            accuracy,
            "accuracy",
            600,
            pairs,
            draw,
            strong if apart <= USUAL_DISAGREEMENT else free,
        )
    fewer = max(pairs // COSTLY, 1)
    for count in (192, 600):
        yield row(
            "equal", mae, "mae", count, fewer, lambda c=count: errors(draws, c, 1.0, 0.5), swaps
        )
    yield row(
        "10 % smaller errors", mae, "mae", 600, fewer, lambda: errors(draws, 600, 0.9, 0.5), free
    )
    few = max(pairs // COSTLY // 4, 1)
    yield row(
        "equal", f1, "f1", 192, few, lambda: right_and_wrong(draws, 192, 0.8, 0.0, 0.15), swaps
    )
    yield row(
        "+5 points", f1, "f1", 600, few, lambda: right_and_wrong(draws, 600, 0.8, 0.05, 0.15), free
    )


def main() -> int:
    """Print the table; return 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for one in rows(options.pairs):
        found.append(one)
        if not options.json:
            mark = "" if one.kept else "   LIMIT NOT KEPT"
            print(
                f"{one.metric:9} {one.examples:5} examples  {one.what:28} {one.won:5} of {one.pairs:5} crowned"
                f" ({100 * one.rate:.1f} %){mark}",
                flush=True,
            )
    if options.json:
        print(json.dumps([{**one._asdict(), "rate": one.rate} for one in found]))
    return 0 if all(one.kept for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
