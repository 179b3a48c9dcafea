"""One verdict over several seeds.

The mean decides; the registered file is that of the run's own seed. A single training is a draw:
another seed may change a number by more than the difference that is tested (Bouthillier et al.,
"Accounting for variance in machine learning benchmarks", MLSys 2021). Each seed is a run of its
own. The file to register is fixed before any seed is measured, so that nothing is chosen by the
judged examples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlops_lib import atomic, intervals
from mlops_lib.gate.reasons import reason
from mlops_lib.records import Seeds, SeedValue, Verdict
from mlops_lib.runner import protocol


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """The same training with another seed."""

    seed: int
    run_dir: Path
    failure: str = ""
    """The reason why there is no model; "" if there is one."""


def remember(run_dir: Path, repetitions: Sequence[Repetition]) -> None:
    """Record in a run's directory the runs that repeat it with other seeds."""
    rows = [
        {"seed": repetition.seed, "run_dir": str(repetition.run_dir), "failure": repetition.failure}
        for repetition in repetitions
    ]
    atomic.write_json(run_dir / protocol.SEEDS, {"schema": 1, "repetitions": rows})


def read(run_dir: Path) -> list[Repetition]:
    """Return the runs that repeat a run with other seeds; empty if there are none."""
    try:
        record = atomic.read_json(run_dir / protocol.SEEDS)
    except (OSError, ValueError):
        return []
    rows = record.get("repetitions") if isinstance(record, dict) else None
    return [
        Repetition(
            seed=int(row["seed"]), run_dir=Path(row["run_dir"]), failure=str(row.get("failure", ""))
        )
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and "seed" in row and "run_dir" in row
    ]


def combine(
    own: Verdict,
    sound: Verdict,
    others: Mapping[int, Verdict | str],
    *,
    seed: int,
    run_dirs: Mapping[int, str],
    strict: bool,
    must_beat: bool,
) -> Verdict:
    """Return the verdict over all seeds.

    Args:
        own: the verdict on the run's own seed.
        sound: the same with a bar that every number reaches; not accepted if the number itself is
            in doubt.
        others: seed to such a verdict, or to the reason why there is none.
        seed: the run's own seed.
        run_dirs: seed to run directory.
        strict: require the worse end of the mean's interval to reach the bar.
        must_beat: whether the registered file must beat the champion.
    """
    doubts = (
        []
        if sound.verdict == "accepted"
        else [reason("seed doubted", seed=seed, why=_first(sound))]
    )
    values = {seed: own.value}
    for number, other in others.items():
        if isinstance(other, str) or other.value is None:
            why = other if isinstance(other, str) else _first(other)
            doubts.append(reason("seed failed", seed=number, why=why))
            continue
        values[number] = other.value
        if other.verdict != "accepted":
            doubts.append(reason("seed doubted", seed=number, why=_first(other)))
    doubts += _about_examples(
        own, [verdict for verdict in others.values() if isinstance(verdict, Verdict)]
    )
    numbers = [value for value in values.values() if value is not None]
    if len(numbers) < 2 or own.value is None:
        return replace(own, verdict="undecided", reasons=(*doubts, *own.reasons))
    combined = summary(values, own, seed=seed, run_dirs=run_dirs)
    passes, bar_reason = _bar(combined, own, seed=seed, strict=strict)
    answer: Literal["accepted", "rejected", "undecided"] = "accepted" if passes else "rejected"
    if passes and must_beat and own.against is not None and own.against.better is not True:
        answer = "rejected" if own.against.better is False else "undecided"
    if answer == "accepted" and doubts:
        answer = "undecided"
    first = [*doubts, bar_reason] if answer == "undecided" else [bar_reason, *doubts]
    return replace(own, verdict=answer, seeds=combined, reasons=(*first, *own.reasons))


def summary(
    values: Mapping[int, float | None], own: Verdict, *, seed: int, run_dirs: Mapping[int, str]
) -> Seeds:
    """Return mean, spread and interval of the seeds' numbers.

    The interval combines two uncertainties: the variation between seeds (Student's t), and that of
    the judged examples, which all seeds share.
    """
    numbers = [value for value in values.values() if value is not None]
    mean = statistics.fmean(numbers)
    spread = statistics.stdev(numbers)
    half = intervals.half_width_of_mean(spread, len(numbers))
    if own.interval is not None:
        # Independent uncertainties add in squares.
        half = math.hypot(half, (own.interval[1] - own.interval[0]) / 2)
    low = mean - half
    high = mean + half
    if protocol.is_in_unit_range(own.metric or ""):
        low, high = max(low, 0.0), min(high, 1.0)
    return Seeds(
        mean=mean,
        spread=spread,
        interval=(low, high),
        registered=seed,
        values=tuple(
            SeedValue(seed=number, value=value, run_dir=run_dirs.get(number, ""))
            for number, value in values.items()
            if value is not None
        ),
    )


def _bar(combined: Seeds, own: Verdict, *, seed: int, strict: bool) -> tuple[bool, str]:
    """Return whether the mean reaches the bar, and the reason that states it."""
    decisive = combined.interval[0 if own.mode == "max" else 1] if strict else combined.mean
    passes = protocol.reaches(decisive, own.target, own.mode)
    bar_reason = reason(
        "mean reaches" if passes else "mean misses",
        what="the worse end of the interval of the mean" if strict else "the mean",
        count=len(combined.values),
        metric=own.metric,
        decisive=decisive,
        spread=combined.spread,
        target=own.target,
        seed=seed,
        value=own.value,
    )
    return passes, bar_reason


def _about_examples(own: Verdict, others: Sequence[Verdict]) -> list[str]:
    """Return a doubt if the seeds were judged on different examples.

    A search's recipe may then have been selected on some of them.
    """
    if (
        all(other.examples_digest == own.examples_digest for other in others)
        or own.judged_pass == 1
    ):
        return []
    return [reason("seeds' examples differ")]


def _first(verdict: Verdict) -> str:
    """Return the verdict's first reason, without its remedy."""
    return (verdict.reasons[0] if verdict.reasons else "undecided").partition(": ")[0][:300]
