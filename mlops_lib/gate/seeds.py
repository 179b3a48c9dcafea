"""One verdict over several seeds: the mean decides, and the file of the run's own seed is the one
registered.

A single training is a draw: another seed may change a number by more than what is being compared
(Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021). Each
seed is a run of its own. Which file is registered is settled before any of them is measured, so
that nothing is chosen by the judged examples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlops_lib import atomic
from mlops_lib.gate.reasons import reason
from mlops_lib.records import Seeds, SeedValue, Verdict
from mlops_lib.runner import protocol

STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
"""Two-sided 95 % quantiles of Student's t with 1, 2, … degrees of freedom."""


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """The same training with another seed."""

    seed: int
    run_dir: Path
    failure: str = ""
    """Why it has no model; "" if it has one."""


def remember(run_dir: Path, repetitions: Sequence[Repetition]) -> None:
    """Note in a run's directory which runs repeat it with other seeds."""
    listed = [
        {"seed": one.seed, "run_dir": str(one.run_dir), "failure": one.failure}
        for one in repetitions
    ]
    atomic.write_json(run_dir / protocol.SEEDS, {"schema": 1, "repetitions": listed})


def read(run_dir: Path) -> list[Repetition]:
    """Return the runs that repeat a run with other seeds; none if it was not repeated."""
    try:
        found = atomic.read_json(run_dir / protocol.SEEDS)
    except (OSError, ValueError):
        return []
    listed = found.get("repetitions") if isinstance(found, dict) else None
    return [
        Repetition(
            seed=int(one["seed"]), run_dir=Path(one["run_dir"]), failure=str(one.get("failure", ""))
        )
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and "seed" in one and "run_dir" in one
    ]


def over_all(
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
        sound: the same with a bar that anything reaches: accepted if nothing speaks against the
            number.
        others: seed to such a verdict, or to why there is none.
        seed: the run's own.
        run_dirs: seed to run.
        strict: ask the worse end of the mean's interval to reach the bar.
        must_beat: whether the registered file must beat the champion.
    """
    doubts = (
        []
        if sound.verdict == "accepted"
        else [reason("seed doubted", seed=seed, why=_first(sound))]
    )
    values = {seed: own.value}
    for number, found in others.items():
        if isinstance(found, str) or found.value is None:
            why = found if isinstance(found, str) else _first(found)
            doubts.append(reason("seed failed", seed=number, why=why))
            continue
        values[number] = found.value
        if found.verdict != "accepted":
            doubts.append(reason("seed doubted", seed=number, why=_first(found)))
    doubts += _about_examples(own, [one for one in others.values() if isinstance(one, Verdict)])
    numbers = [value for value in values.values() if value is not None]
    if len(numbers) < 2 or own.value is None:
        return replace(own, verdict="undecided", reasons=(*doubts, *own.reasons))
    summed = summary(values, own, seed=seed, run_dirs=run_dirs)
    passed, told = _bar(summed, own, seed=seed, strict=strict)
    answer: Literal["accepted", "rejected", "undecided"] = "accepted" if passed else "rejected"
    if passed and must_beat and own.against is not None and own.against.better is not True:
        answer = "rejected" if own.against.better is False else "undecided"
    if answer == "accepted" and doubts:
        answer = "undecided"
    first = [*doubts, told] if answer == "undecided" else [told, *doubts]
    return replace(own, verdict=answer, seeds=summed, reasons=(*first, *own.reasons))


def summary(
    values: Mapping[int, float | None], own: Verdict, *, seed: int, run_dirs: Mapping[int, str]
) -> Seeds:
    """Return mean, spread and interval of the seeds' numbers.

    The interval has two parts: what the seeds differ by (Student's t), and what the judged examples
    leave uncertain, which they share.
    """
    numbers = [value for value in values.values() if value is not None]
    mean = statistics.fmean(numbers)
    spread = statistics.stdev(numbers)
    freedom = len(numbers) - 1
    quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96
    half = quantile * spread / math.sqrt(len(numbers))
    if own.interval is not None:
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


def _bar(found: Seeds, own: Verdict, *, seed: int, strict: bool) -> tuple[bool, str]:
    """Return whether the mean reaches the bar, and what is said of it."""
    decisive = found.interval[0 if own.mode == "max" else 1] if strict else found.mean
    passed = protocol.reaches(decisive, own.target, own.mode)
    told = reason(
        "mean reaches" if passed else "mean misses",
        what="the worse end of the interval of the mean" if strict else "the mean",
        count=len(found.values),
        metric=own.metric,
        decisive=decisive,
        spread=found.spread,
        target=own.target,
        seed=seed,
        value=own.value,
    )
    return passed, told


def _about_examples(own: Verdict, others: Sequence[Verdict]) -> list[str]:
    """Say that the seeds were judged on different examples; a winner's recipe may have been
    selected on some of them.
    """
    if all(one.examples_digest == own.examples_digest for one in others) or own.judged_pass == 1:
        return []
    return [reason("seeds' examples differ")]


def _first(verdict: Verdict) -> str:
    """Return the first reason, without its remedy."""
    return (verdict.reasons[0] if verdict.reasons else "undecided").partition(": ")[0][:300]
