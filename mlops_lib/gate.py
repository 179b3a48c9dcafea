"""The gate: does the model meet its bar, and how sure is that?

`judge` reads what the runner claims in `inside/metrics.json`, chooses the number the bar is about, and answers. A
rejected model is an answer, not an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_lib import durable
from mlops_lib.records import Baseline, ModelVersion, Verdict
from mlops_lib.runner import protocol

TOLERANCE = 1e-6
"""The reloaded artifact may differ from the live model by rounding."""
CLAIM_LIMIT = 8 << 20

NUMBERS_SHOWN = 8
"""How many numbers are listed where none is meant by the bar."""
_VALIDATION = "the script evaluates on no held-out examples of its own: the fit's validation metric is judged"
_OWN_METRIC = "the script's own metric object says so; on which examples is not known"
_TRAINING = "measured on examples the model was trained on: it says little about new ones"


def judge(
    run_dir: Path,
    *,
    target: float,
    metric: str = "",
    mode: str = "auto",
    strict: bool = False,
    beats: str = "",
    champion: ModelVersion | None = None,
    selection: str = "",
) -> Verdict:
    """Judge the run's model.

    Args:
        run_dir: the run directory, its training finished.
        target: the value the metric must reach.
        metric: which metric; "" takes what the script evaluated last on held-out data.
        mode: "max", "min" or "auto" (by the metric's name).
        strict: ask the interval's worse end to reach the target.
        beats: "champion" asks the model to be better than the champion too.
        champion: the version people use now.
        selection: after a search, how its selection examples relate to the judged ones.
    """
    claims = read_claims(run_dir)
    listed = claims.get("evaluations")
    choice = protocol.choose_judged(listed if isinstance(listed, list) else (), metric, mode=mode)
    chosen, notes = choice.evaluation, _notes(choice, metric)
    if chosen is None:
        return Verdict(
            verdict="undecided", target=target, metric=metric or None, selection=selection, reasons=tuple(notes),
            mode="min" if protocol.direction(metric, mode) == "min" else "max",
        )  # fmt: skip
    return _Judgement(
        chosen, model=claims.get("model"), target=target, strict=strict, beats=beats, champion=champion,
        selection=selection, notes=notes,
    ).verdict()  # fmt: skip


def read_claims(run_dir: Path) -> Mapping[str, Any]:
    """What the runner claims in metrics.json; empty where it claims nothing readable."""
    try:
        value = durable.read_json(run_dir / protocol.INSIDE / protocol.METRICS, inside=run_dir, limit=CLAIM_LIMIT)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _notes(choice: protocol.Choice, wanted: str) -> list[str]:
    """Return what is to be said of the number chosen, or why there is none."""
    best, among = choice.evaluation, choice.among
    if choice.problem == "nothing measured":
        return [
            "no number was found: let the script evaluate its model on held-out data, or say where the number is"
            " with the settings metric, metric_pattern or metrics_file"
        ]
    if choice.problem == "not measured":
        names = sorted({name[:40] for one in among for name in protocol.numbers(one)})
        return [f"nothing measured {wanted!r}: name what was measured in the setting metric: {', '.join(names)}"]
    if best is None:
        return _unnamed(among)
    of_examples = {"validation": [_VALIDATION], "training": [_TRAINING]}.get(choice.standing, [])
    own = [_OWN_METRIC] if best.get("source") == "keras.metrics" else []
    return [*of_examples, *own, *_others(among, best)]


def _others(evaluations: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> list[str]:
    """What the same measure gave for other models of the script."""
    same = {
        e.get("fit"): protocol.as_number(e.get("value")) for e in evaluations if e.get("source") == best.get("source")
    }
    values = [value for value in same.values() if value is not None]
    if len(values) < 2:
        return []
    which = "the one it saved" if best.get("saved") else "the last one"
    mean = sum(values) / len(values)
    return [
        f"the script measured {len(values)} models, {which} is judged (all: {min(values):.4g} to {max(values):.4g}, mean"
        f" {mean:.4g})"
    ]


def _unnamed(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    numbers = {
        name[:40]: number
        for one in evaluations
        for name, value in protocol.numbers(one).items()
        if (number := protocol.as_number(value)) is not None
    }
    shown = ", ".join(f"{name} {number:.4g}" for name, number in list(numbers.items())[-NUMBERS_SHOWN:])
    return [
        f"the script measures {shown or 'no finite number'}, not an accuracy: say what the bar is about with the settings"
        ' metric, target and, if it should shrink, mode = "min"'
    ]


class _Judgement:
    """One evaluation before the bar."""

    def __init__(
        self, evaluation: Mapping[str, Any], *, model: Any, target: float, strict: bool, beats: str,
        champion: ModelVersion | None, selection: str, notes: Sequence[str],
    ) -> None:  # fmt: skip
        self.evaluation, self.model, self.target, self.strict, self.beats = evaluation, model, target, strict, beats
        self.selection = selection
        self.metric = str(evaluation.get("metric", ""))[:100]
        self.mode = "max" if evaluation.get("higher_is_better", True) else "min"
        self.claimed = protocol.as_number(evaluation.get("value"))
        self.again = protocol.as_number(evaluation.get("recomputed"))
        self.value = self.claimed if self.again is None else self.again
        self.reasons = list(notes)
        self.champion = champion if champion is not None and champion.metric == self.metric else None
        if beats and champion is not None and self.champion is None:
            self.reasons.append(f"not compared with the champion: it was judged by {champion.metric}")
        unique, counted = evaluation.get("unique"), evaluation.get("examples")
        count = unique if isinstance(unique, int) else counted
        self.examples = count if isinstance(count, int) and 0 < count < 1 << 62 else None
        self.interval = self._interval()
        self.baseline = self._baseline()

    def verdict(self) -> Verdict:
        """The answer."""
        answer = self._answer()
        return Verdict(
            verdict=answer,  # type: ignore[arg-type]
            metric=self.metric, value=self.value, interval=self.interval, target=self.target,
            mode="max" if self.mode == "max" else "min", examples=self.examples,
            source=str(self.evaluation.get("source", ""))[:100], recomputed=self.again is not None,
            baseline=self.baseline, champion=None if self.champion is None else self.champion.value,
            selection=self.selection, judged_fit=self._fit(), reasons=tuple(self.reasons),
        )  # fmt: skip

    def _fit(self) -> int | None:
        fit = self.evaluation.get("fit")
        return fit if isinstance(fit, int) else None

    def _answer(self) -> str:
        invalid = self._invalid()
        if invalid:
            self.reasons.insert(0, invalid)
            return "undecided"
        doubts = self._doubts()
        assert self.value is not None
        decisive = self._worse_end() if self.strict else self.value
        passed = self._reaches(decisive, self.target)
        self.reasons.insert(0, self._sentence(decisive, passed=passed))
        if not passed:
            return "rejected"
        best = self.champion.value if self.beats == "champion" and self.champion is not None else None
        if best is not None and (self.value == best or not self._reaches(self.value, best)):
            self.reasons.insert(0, f"it does not beat the champion's {best:.4g}")
            return "rejected"
        if doubts:
            self.reasons[:0] = doubts
            return "undecided"
        return "accepted"

    def _invalid(self) -> str:
        if self.value is None:
            return f"{self.metric} is not a finite number ({self.evaluation.get('value')}): the training diverged"
        if protocol.is_in_unit_range(self.metric) and not 0.0 <= self.value <= 1.0:
            return f"{self.metric} cannot be {self.value:.4g}: the claim is not valid"
        return ""

    def _doubts(self) -> list[str]:
        """What keeps a number that reaches the bar from being accepted."""
        doubts = []
        if self.again is not None and self.claimed is not None and abs(self.again - self.claimed) > self._tolerance():
            if self.evaluation.get("source") == "fit.validation":
                # Early stopping may have put back the weights of an earlier epoch.
                self.reasons.append(
                    f"the fit's last epoch had {self.claimed:.6g}, the model it left gives {self.again:.6g}"
                )
            else:
                doubts.append(f"the script measured {self.claimed:.6g}, the saved model gives {self.again:.6g}")
        if isinstance(self.model, dict) and not self.model.get("reloaded"):
            doubts.append(f"the model cannot be loaded again: {str(self.model.get('note', ''))[:500]}")
        if self.again is None and isinstance(self.model, dict) and self.model.get("reloaded"):
            note = str(self.evaluation.get("recompute_note", ""))[:500]
            self.reasons.append(f"not recomputed on the saved model: {note}" if note else "not recomputed")
        if self.baseline is not None and self._includes_baseline():
            doubts.append(
                f"the {self.baseline.name} alone gives {self.baseline.value:.4g}: the model is not clearly better"
            )
        if self.selection == "contaminated":
            doubts.append("the search selected on examples that the gate judges on")
        return doubts

    def _tolerance(self) -> float:
        # Batches may be summed in another order; one example more or less is a different model.
        return max(
            TOLERANCE,
            0.5 / self.examples
            if self.examples and self.metric in protocol.EXACT_SHARES
            else 1e-4 * abs(self.value or 0),
        )

    def _reaches(self, value: float, target: float) -> bool:
        return protocol.reaches(value, target, self.mode)

    def _worse_end(self) -> float:
        assert self.value is not None
        if self.interval is None:
            self.reasons.append("strict needs an interval, and this metric has none: the point decides")
            return self.value
        return self.interval[0] if self.mode == "max" else self.interval[1]

    def _sentence(self, decisive: float, *, passed: bool) -> str:
        relation = "reaches" if passed else "misses"
        what = "the worse end of the interval" if self.strict and self.interval is not None else self.metric
        count = f" on {self.examples} examples" if self.examples else ""
        return f"{what} {decisive:.4g}{count} {relation} the bar of {self.target:g}"

    def _interval(self) -> tuple[float, float] | None:
        if (
            self.value is None
            or self.examples is None
            or not protocol.is_proportion(self.metric)
            or not 0 <= self.value <= 1
        ):
            return None
        return wilson(self.value, self.examples)

    def _baseline(self) -> Baseline | None:
        claimed = self.evaluation.get("baseline")
        if not isinstance(claimed, dict):
            return None
        value = protocol.as_number(claimed.get("value"))
        return None if value is None else Baseline(name=str(claimed.get("name", "baseline"))[:50], value=value)

    def _includes_baseline(self) -> bool:
        assert self.baseline is not None
        assert self.value is not None
        worse = self.value if self.interval is None else self.interval[0] if self.mode == "max" else self.interval[1]
        return worse <= self.baseline.value if self.mode == "max" else worse >= self.baseline.value


def wilson(share: float, examples: int, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 1927).

    Args:
        share: the observed proportion, 0 to 1.
        examples: how many were observed.
        z: the normal quantile; the default gives 95 %.
    """
    centre = share + z * z / (2 * examples)
    spread = z * math.sqrt(share * (1 - share) / examples + z * z / (4 * examples * examples))
    scale = 1 + z * z / examples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
