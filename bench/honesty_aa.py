"""A search among candidates that differ by their seed alone must not claim to have found something
better.

`python -m bench.honesty_aa [--simulated 200] [--real 20]` counts in how many searches a claim is
made: a sentence that a trial *brought* something, or a winner that is called clearly better than
the developer's model on examples that selected nothing (`Improvement.gained`). Simulated searches
draw who gets which example right; real ones train the developer's own network again and again, with
other seeds, on digits and on pima. Then it counts how often the last verdict of a run lies, with
its whole interval, above what the model truly reaches, though the gate looked three times.

Both rates have a limit of 5 %. Few searches leave a rate uncertain: its own 95 % interval stands
beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.search_tasks import TASKS
from mlops_lib import intervals
from mlops_lib.runner import protocol

LIMIT = 0.05
TRIALS = 8
SPACE = """
from bench.search_tasks import TASKS

task = TASKS[{name!r}]
data = task.load()


def build(hp):
    hp.Int("nothing", 0, 100_000)  # a candidate differs from another by its seed alone
    return task.build(data)
"""


def simulated(chance: random.Random) -> bool:
    """Return whether a search of equal candidates claims a gain: each one's true accuracy is drawn
    around one value.
    """
    examples, epochs = chance.choice([100, 300, 1000, 4000]), chance.choice([5, 20])
    level, spread = chance.uniform(0.6, 0.97), chance.choice([0.0, 0.005, 0.01])

    def curve() -> list[float]:
        own, hits = level + chance.gauss(0, spread), None
        values = []
        for _ in range(epochs):
            share = min(max(own + chance.gauss(0, spread), 0.0), 1.0)
            # From one epoch to the next half of the answers are given anew.
            fresh = sum(
                chance.random() < share for _ in range(examples if hits is None else examples // 2)
            )
            hits = fresh if hits is None else hits - round(hits / 2) + fresh
            values.append(min(hits / examples, 1.0))
        return values

    first = curve()[-1]
    curves = [curve() for _ in range(TRIALS)]
    trials = [{"number": number, "curve": one} for number, one in enumerate(curves, 1)]
    best = max(map(max, curves))
    found = protocol.gain(
        best, first, metric="accuracy", mode="max", examples=examples, trials=trials
    )
    return found.is_clear


def real(name: str, seed: int) -> tuple[bool, str]:
    """Return whether a real search of equal candidates claims a gain, and what it says."""
    import keras

    import mlops_lib

    task = TASKS[name]
    data = task.load()
    keras.utils.set_random_seed(seed)
    model = task.build(data)
    model.fit(data.x, data.y, epochs=task.epochs, batch_size=task.batch_size, verbose=0)
    with _space(name) as folder:
        found = mlops_lib.improve(
            model,
            data.x,
            data.y,
            validation_data=(data.x_test, data.y_test),
            target=2.0,
            metric=task.metric,
            trials=TRIALS,
            minutes=10.0,
            seed=seed,
            folder=folder,
            observer=lambda event: None,
        )
    said = [note for note in found.notes if note.startswith("trial ")]
    clear = found.gained is not None and found.gained.is_clear
    gained = "" if found.gained is None else f" ({found.gained.words()})"
    told = f"before {found.before:.3f}, after {found.value or 0:.3f}{gained}; {'; '.join(said) or 'kept as it was'}"
    return clear or any(" brought " in note for note in said), told


@contextlib.contextmanager
def _space(name: str) -> Iterator[str]:
    """A working directory with a search space in which nothing differs."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "search_space.py").write_text(SPACE.format(name=name))
        os.chdir(folder)
        try:
            yield str(Path(folder, "search"))
        finally:
            os.chdir(before)


def above_the_truth(chance: random.Random) -> bool:
    """Return whether a run's last verdict has its interval above what its model truly reaches.

    Each model of the run misses the bar by a hair; the gate judges until it accepts one, or has
    looked three times.
    """
    examples, bar = chance.choice([50, 200, 1000]), chance.uniform(0.6, 0.95)
    for looks in range(1, protocol.MOST_LOOKS + 1):
        share = sum(chance.random() < bar for _ in range(examples)) / examples
        if share >= bar or looks == protocol.MOST_LOOKS:
            return intervals.wilson(share, examples, looks=looks)[0] > bar
    raise AssertionError("unreachable")


def _show(what: str, claims: int, of: int) -> bool:
    """Print a rate with its interval; return whether it keeps the limit."""
    if not of:
        return True
    low, high = intervals.wilson(claims / of, of)
    kept = claims / of <= LIMIT
    print(
        f"{what}: {claims} of {of} ({claims / of:.1%}, 95 % interval {low:.1%} to {high:.1%}; limit {LIMIT:.0%}"
        f"{'' if kept else ': NOT KEPT'})",
        flush=True,
    )
    return kept


def main() -> int:
    """Print the rates; return 1 if one is above its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulated", type=int, default=200)
    parser.add_argument("--real", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    claims = sum(simulated(chance) for _ in range(asked.simulated))
    kept = [_show("simulated searches that claim a gain", claims, asked.simulated)]
    wrong = sum(above_the_truth(chance) for _ in range(10 * asked.simulated))
    kept.append(
        _show("last verdicts with their interval above the truth", wrong, 10 * asked.simulated)
    )
    found: list[bool] = []
    for number in range(asked.real):
        name = ("digits", "pima")[number % 2]
        is_claim, told = real(name, asked.seed + number)
        found.append(is_claim)
        print(
            f"  {name}, seed {asked.seed + number}: {'CLAIM' if is_claim else 'no claim'}: {told}",
            flush=True,
        )
    kept.append(_show("real searches that claim a gain", sum(found), len(found)))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
