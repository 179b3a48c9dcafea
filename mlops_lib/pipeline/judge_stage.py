"""The stage judge: the verdict on a finished run, over one or several seeds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lib import atomic, event_log
from mlops_lib.errors import UsageError
from mlops_lib.gate import seeds, verdicts
from mlops_lib.gate.reasons import reason
from mlops_lib.pipeline.job import Job, prepared
from mlops_lib.records import (
    Remeasured,
    Verdict,
)
from mlops_lib.registry import champions
from mlops_lib.runner import protocol
from mlops_lib.training import (
    attempt_log,
    remeasurement,
)
from mlops_lib.tuning import argument_sweep, second_pass

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.pipeline.job import JobArguments


def judge(project: str | Path | Job, **settings: Unpack[JobArguments]) -> Verdict:
    """Judge the run's model against its bar.

    Args:
        project: the project or run.
        settings: any setting; `target` is the bar, in the metric's own unit (0.8 is 80 %).

    Returns:
        accepted, rejected or undecided, with the number, its 95 % interval, the number of examples
        that it was measured on, and the reasons.

    Raises:
        UsageError: the run has not finished.

    Example:
        >>> import mlops_lib as mlops
        >>> verdict = mlops.judge("model_repo/digits_tree", target=0.8)
        >>> verdict.verdict, verdict.metric, verdict.examples
        ('rejected', 'accuracy', 540)
        >>> low, high = verdict.interval
        >>> low < verdict.value < high < verdict.target
        True
    """
    job = prepared(project, **settings)
    if attempt_log.finished(job.directory, 1) is None:
        raise UsageError(
            "there is no finished training", where=str(job.run_dir), remedy="`mlops train` first."
        )
    return judge_job(job)


def judge_job(job: Job, *, is_alone: bool = False) -> Verdict:
    """Judge a finished run and write its verdict.

    Args:
        job: the run.
        is_alone: ignore the setting `seeds` and judge this run's seed only.
    """
    outcome = job.directory.search
    before = job.directory.verdict
    remeasured = _remeasured(job)
    verdict = _judged(job, before, remeasured)
    if job.settings["seeds"] > 1 and not is_alone:
        verdict = _over_seeds(job, verdict, before, remeasured)
    if outcome is not None and outcome.stopped == "refused" and verdict.verdict == "rejected":
        notes = tuple(reason("not searched", note=note) for note in outcome.notes)
        verdict = replace(verdict, reasons=(*verdict.reasons, *notes))
    # Verdicts are never lost: an earlier one explains a registration that it led to.
    if before is not None and before != verdict:
        event_log.append(job.run_dir / protocol.VERDICTS, before.to_json())
    atomic.write_json(job.run_dir / protocol.VERDICT, verdict.to_json())
    job.observer({"event": protocol.EVENT_VERDICT, "verdict": verdict.to_json()})
    return verdict


def _remeasured(job: Job) -> Remeasured | None:
    """Measure the saved model again in a process without the script."""
    remeasurement.sweep(job.run_dir)
    evaluation = verdicts.judged_evaluation(
        job.run_dir, metric=job.settings["metric"], mode=job.settings["mode"]
    )
    if evaluation is None:
        return None
    # The image may be one that was repaired while the run trained.
    spec = job.directory.spec or job.spec
    return remeasurement.measure(
        job.run_dir, spec, evaluation, engine=job.engine, observer=job.observer
    )


def _judged(
    job: Job, before: Verdict | None, remeasured: Remeasured | None, *, target: float | None = None
) -> Verdict:
    """Return the verdict on a run's own seed, against another target if one is given."""
    outcome = job.directory.search
    is_winner = outcome is not None and outcome.winner > 0
    return verdicts.judge(
        job.run_dir,
        target=job.settings["target"] if target is None else target,
        metric=job.settings["metric"],
        mode=job.settings["mode"],
        strict=job.settings["strict"] and target is None,
        beats=job.settings["beats"] if target is None else "",
        champion=champions.find(job.spec, job.run_dir, home=job.home) if target is None else None,
        selection="" if outcome is None or not outcome.trials else outcome.selection,
        is_winner=is_winner,
        best_of=_best_of(job),
        remeasured=remeasured,
        **_looks(job, before, is_changed=is_winner),
    )


def _over_seeds(
    job: Job, own: Verdict, before: Verdict | None, remeasured: Remeasured | None
) -> Verdict:
    """Return the verdict over all requested seeds."""
    count = int(job.settings["seeds"])
    repetitions = {repetition.seed: repetition for repetition in seeds.read(job.run_dir)}
    further_seeds = range(job.spec.seed + 1, job.spec.seed + count)
    untrained = [seed for seed in further_seeds if seed not in repetitions]
    if untrained:
        not_trained = reason("seeds missing", missing=len(untrained), count=count)
        return replace(
            own,
            verdict="undecided" if own.verdict == "accepted" else own.verdict,
            reasons=(not_trained, *own.reasons),
        )
    # Each seed is measured against a bar that any number meets: only the mean is judged.
    no_bar = -math.inf if own.mode == "max" else math.inf
    others: dict[int, Verdict | str] = {}
    run_dirs = {job.spec.seed: str(job.run_dir)}
    for seed, repetition in repetitions.items():
        run_dirs[seed] = str(repetition.run_dir)
    for seed in further_seeds:
        repetition = repetitions[seed]
        repeated = replace(
            job, run_dir=repetition.run_dir, origin=None, earlier_looks=own.looks - 1
        )
        is_winner = second_pass.last_pass(repetition.run_dir) > 1
        # Seeds are comparable only if all were trained in the same way, with or without a search.
        if repetition.failure or is_winner != (own.judged_pass > 1):
            others[seed] = repetition.failure or "it was not trained as this one was"
        else:
            others[seed] = _judged(repeated, None, _remeasured(repeated), target=no_bar)
    return seeds.combine(
        own,
        _judged(job, before, remeasured, target=no_bar),
        others,
        seed=job.spec.seed,
        run_dirs=run_dirs,
        strict=job.settings["strict"] or own.looks > protocol.MOST_LOOKS,
        must_beat=job.settings["beats"] == "champion",
    )


def _looks(job: Job, before: Verdict | None, *, is_changed: bool) -> dict[str, int]:
    """Return the number of models judged on these examples, and this one's pass.

    This model counts too, but judging it again does not. Runs of the same script with another
    argument share their examples, so each continues the count of the one before.
    """
    number = second_pass.last_pass(job.run_dir) if is_changed else 1
    earlier = job.earlier_looks if before is None else before.looks
    # Judging the same model again, as after a changed bar, is no further look at the examples.
    is_same = before is not None and before.judged_pass == number
    looks = earlier if is_same else earlier + 1
    return {"looks": max(looks, _best_of(job)), "judged_pass": number}


def _best_of(job: Job) -> int:
    """Return the number of arguments that competed by judged score; 0 for none."""
    return 0 if job.origin is None else argument_sweep.attempts_of(job.origin) + 1
