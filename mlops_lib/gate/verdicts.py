"""The gate: judge a run's model against its bar.

`judge` reads the claims that the runner wrote to `inside/metrics.json`, chooses the number that the
bar is about, and returns a `Verdict`. A rejected model is an answer, not an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

from mlops_lib import atomic, intervals
from mlops_lib.gate import comparison, leakage, second_measurement
from mlops_lib.gate.reasons import reason
from mlops_lib.records import Baseline, Comparison, ModelVersion, Remeasured, Shown, Verdict
from mlops_lib.runner import protocol

CLAIM_LIMIT = 8 << 20

NUMBERS_SHOWN = 8
"""Most numbers listed in a reason if none of them is an accuracy."""
SELECTIONS = ("disjoint", "half", "split")
"""Relations of selection examples to judged ones that keep the two apart."""


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
    is_winner: bool = True,
    best_of: int = 0,
    looks: int = 1,
    judged_pass: int = 1,
    remeasured: Remeasured | None = None,
) -> Verdict:
    """Judge the run's model.

    Args:
        run_dir: the run directory; its training has finished.
        target: the value the metric must reach.
        metric: the metric's name; "" takes what the script evaluated last on held-out data.
        mode: "max", "min" or "auto" (by the metric's name).
        strict: require the interval's worse end to reach the target.
        beats: "champion" also requires the model to beat the champion in a paired test on the same
            examples.
        champion: the current champion; its number is shown in any case if the run measured it.
        selection: after a search, the relation of its selection examples to the judged ones.
        is_winner: whether the search changed the model.
        best_of: number of candidates of which this model had the best value on these very examples;
            0 if it was not chosen so.
        looks: number of models, this one included, that have been judged on these examples.
        judged_pass: the pass that made the model.
        remeasured: the measurement by a process without the script
            (mlops_lib/training/remeasurement.py); None if there was none.
    """
    claims = read_claims(run_dir)
    choice = _choose(claims, metric=metric, mode=mode)
    evaluation = choice.evaluation
    notes = _notes(choice, metric)
    if evaluation is None:
        return Verdict(
            verdict="undecided",
            target=target,
            metric=metric or None,
            selection=selection,
            reasons=tuple(notes),
            looks=looks,
            judged_pass=judged_pass,
            mode="min" if protocol.direction(metric, mode) == "min" else "max",
        )
    return _Judgement(
        evaluation,
        model=claims.get("model"),
        target=target,
        strict=strict,
        beats=beats,
        champion=champion,
        search=_Search(
            selection, is_winner=is_winner, best_of=best_of, looks=looks, judged_pass=judged_pass
        ),
        standing=choice.standing,
        notes=notes,
        against=claims.get("champion"),
        remeasured=remeasured,
    ).verdict()


@dataclass(frozen=True)
class _Search:
    """The origin of the model, and how often the judged examples were used on the way."""

    selection: str
    _: KW_ONLY
    is_winner: bool
    best_of: int
    looks: int
    judged_pass: int

    @property
    def made_model(self) -> bool:
        """Return whether the search made the model."""
        return bool(self.selection) and self.is_winner


def read_claims(run_dir: Path) -> Mapping[str, Any]:
    """Return the runner's claims from metrics.json; empty if missing or unreadable."""
    try:
        value = atomic.read_json(
            run_dir / protocol.INSIDE / protocol.METRICS, inside=run_dir, limit=CLAIM_LIMIT
        )
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def judged_evaluation(
    run_dir: Path, *, metric: str = "", mode: str = "auto"
) -> Mapping[str, Any] | None:
    """Return the evaluation that `judge` judges, or None if there is none."""
    return _choose(read_claims(run_dir), metric=metric, mode=mode).evaluation


def _choose(claims: Mapping[str, Any], *, metric: str, mode: str) -> protocol.Choice:
    evaluations = claims.get("evaluations")
    candidates = evaluations if isinstance(evaluations, list) else ()
    return protocol.choose_judged(candidates, metric, mode=mode)


def _notes(choice: protocol.Choice, metric: str) -> list[str]:
    """Return the remarks on the chosen number, or the reason why there is none."""
    best = choice.evaluation
    among = choice.among
    if choice.problem == "nothing measured":
        return [reason("no number")]
    if choice.problem == "not measured":
        names = sorted(
            {name[:40] for evaluation in among for name in protocol.metric_values(evaluation)}
        )
        return [reason("not measured", wanted=metric[:80], names=", ".join(names) or "no numbers")]
    if best is None:
        return [reason("no accuracy", shown=_listed(among))]
    of_examples = [reason(choice.standing)] if choice.standing in ("validation", "training") else []
    own = [reason("own metric object")] if best.get("source") == "keras.metrics" else []
    return [*of_examples, *own, *_others(among, best)]


def _others(evaluations: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> list[str]:
    """Return a remark if the same measure was taken of several models of the script."""
    by_fit = {
        e.get("fit"): protocol.as_number(e.get("value"))
        for e in evaluations
        if e.get("source") == best.get("source")
    }
    values = [value for value in by_fit.values() if value is not None]
    if len(values) < 2:
        return []
    note = reason(
        "several models",
        count=len(values),
        which="the one it saved" if best.get("saved") else "the last one",
        least=min(values),
        most=max(values),
        mean=sum(values) / len(values),
    )
    return [note]


def _listed(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Return the last measured numbers by name, for a reason."""
    numbers = {
        name[:40]: number
        for evaluation in evaluations
        for name, value in protocol.metric_values(evaluation).items()
        if (number := protocol.as_number(value)) is not None
    }
    parts = [f"{name} {number:.4g}" for name, number in list(numbers.items())[-NUMBERS_SHOWN:]]
    return ", ".join(parts) or "no finite number"


class _Judgement:
    """One evaluation compared with the bar."""

    def __init__(
        self,
        evaluation: Mapping[str, Any],
        *,
        model: Any,
        target: float,
        strict: bool,
        beats: str,
        champion: ModelVersion | None,
        search: _Search,
        standing: str,
        notes: Sequence[str],
        against: Any = None,
        remeasured: Remeasured | None = None,
    ) -> None:
        self.evaluation = evaluation
        self.target = target
        self.strict = strict
        self.beats = beats
        self.model: Mapping[str, Any] = model if isinstance(model, dict) else {}
        self.search = search
        self.standing = standing
        self.metric = str(evaluation.get("metric", ""))[:100]
        self.mode = "max" if evaluation.get("higher_is_better", True) else "min"
        self.claimed = protocol.as_number(evaluation.get("value"))
        self.again = protocol.as_number(evaluation.get("recomputed"))
        # Claims are the script's and may be forged: each is bounded and of the expected type.
        # The saved file's own number precedes the live model's, for the file is what is registered.
        self.value = self.claimed if self.again is None else self.again
        self.reasons = list(notes)
        self.remeasured = remeasured
        # Copies of an example add no information: the interval counts each of them once.
        unique = evaluation.get("unique")
        total = evaluation.get("examples")
        count = unique if isinstance(unique, int) else total
        self.examples = count if isinstance(count, int) and 0 < count < 1 << 62 else None
        on = evaluation.get("measured_on")
        self.measured_on: Mapping[str, Any] = on if isinstance(on, dict) else {}
        out = self.measured_on.get("left_out")
        self.left_out = out if isinstance(out, int) and 0 < out < 1 << 62 else 0
        self.second = second_measurement.SecondMeasurement(
            remeasured,
            evaluation=evaluation,
            metric=self.metric,
            value=self.value,
            digest=self.model.get("sha256"),
        )
        self.value = self.second.value
        self.interval = self._interval()
        self.baseline = self._baseline()
        self.shown = self._shown()
        self.against = None if champion is None else self._against(champion, against)

    def _against(self, champion: ModelVersion, claim: Any) -> Comparison:
        """Return the paired comparison with the champion, or the reason why there is none."""
        compared = comparison.read(
            claim,
            version=champion.version,
            evaluation=self.evaluation.get("id"),
            metric=self.metric,
            grows=self.mode == "max",
            measured=second_measurement.BY_THE_SCRIPT,
        )
        return comparison.discard_on_input_mismatch(
            compared, champion, metric=self.metric, baseline=self.baseline, mode=self.mode
        )

    def verdict(self) -> Verdict:
        """Return the verdict."""
        answer = self._answer()
        return Verdict(
            verdict=answer,
            metric=self.metric,
            value=self.value,
            interval=self.interval,
            target=self.target,
            mode="max" if self.mode == "max" else "min",
            examples=self.examples,
            source=str(self.evaluation.get("source", ""))[:100],
            measured_on=str(self.measured_on.get("data", ""))[:200],
            examples_digest=self._digest(),
            left_out=self.left_out,
            recomputed=self.again is not None,
            measured=self.second.measured,
            model_digest="" if self.remeasured is None else self.remeasured.model_digest,
            baseline=self.baseline,
            champion=None if self.against is None else self.against.value,
            against=self.against,
            selection=self.search.selection,
            shown=self.shown,
            looks=self.search.looks,
            judged_pass=self.search.judged_pass,
            judged_fit=self._fit(),
            reasons=tuple(self.reasons),
        )

    def _digest(self) -> str | None:
        digest = self.evaluation.get("examples_digest")
        return digest[:64] if isinstance(digest, str) else None

    def _fit(self) -> int | None:
        fit = self.evaluation.get("fit")
        return fit if isinstance(fit, int) else None

    def _answer(self) -> Literal["accepted", "rejected", "undecided"]:
        invalid = self._invalid()
        # An impossible number (an accuracy of 1.7, a NaN) says nothing about the model: it neither
        # reaches nor misses a bar.
        if invalid:
            self.reasons.insert(0, invalid)
            return "undecided"
        doubts = self._doubts()
        assert self.value is not None
        # A number that misses the bar is rejected however doubtful it is; doubts only prevent
        # acceptance.
        passes = self._passes(self.value)
        self.reasons += self._beside_the_champion()
        if not passes:
            return "rejected"
        # Only a comparison that was made can reject; one that is missing is a doubt.
        if self._must_beat() and self.against is not None and self.against.better is False:
            self.reasons.insert(0, reason("not above the champion", comparison=self._compared()))
            return "rejected"
        if doubts:
            self.reasons[:0] = doubts
            return "undecided"
        return "accepted"

    def _must_beat(self) -> bool:
        return self.beats == "champion"

    def _compared(self) -> str:
        assert self.against is not None
        return comparison.describe(self.against, metric=self.metric)

    def _beside_the_champion(self) -> list[str]:
        """Return the comparison with the champion as a remark, if it did not decide."""
        if self.against is None or (self._must_beat() and not self.against.better):
            return []
        return [reason("beside the champion", comparison=self._compared())]

    def _passes(self, value: float) -> bool:
        """Return whether the deciding number reaches the bar; the first reason states it."""
        decisive = value
        what = ""
        if self.strict and self.interval is None:
            self.reasons.append(reason("no interval", metric=self.metric))
        elif self.strict:
            decisive = self._worse_end(value)
            what = "worse end "
        passes = protocol.reaches(decisive, self.target, self.mode)
        on = f" on {self.examples} examples" if self.examples else ""
        kind = f"{what}{'reaches' if passes else 'misses'}"
        self.reasons.insert(
            0, reason(kind, metric=self.metric, value=decisive, on=on, target=self.target)
        )
        return passes

    def _invalid(self) -> str:
        if self.value is None:
            return reason(
                "not finite", metric=self.metric, value=str(self.evaluation.get("value"))[:40]
            )
        if protocol.is_in_unit_range(self.metric) and not 0.0 <= self.value <= 1.0:
            return reason("out of range", metric=self.metric, value=self.value)
        return ""

    def _doubts(self) -> list[str]:
        """Return the reasons not to accept a number that reaches the bar."""
        doubts = [
            *self._doubts_about_the_file(),
            *self._doubts_about_the_search(),
            *self._not_finite(),
        ]
        leaks = leakage.reasons(
            self.evaluation, metric=self.metric, target=self.target, mode=self.mode
        )
        self.reasons += leaks.notes
        doubts += leaks.doubts
        if self._must_beat() and self.against is not None and self.against.better is None:
            doubts.append(reason("champion unknown", comparison=self._compared()))
        if self.baseline is not None and self._includes_baseline():
            doubts.append(reason("baseline", name=self.baseline.name, value=self.baseline.value))
        return doubts

    def _not_finite(self) -> list[str]:
        """Return doubts about predictions and further measures that are not finite."""
        doubts = []
        claimed = self.evaluation.get("not_finite")
        predictions = claimed if isinstance(claimed, dict) else {}
        count = protocol.as_number(predictions.get("count"))
        examples = protocol.as_number(predictions.get("examples"))
        if count:
            indexes = predictions.get("rows")
            rows = (
                [row for row in indexes if isinstance(row, int)]
                if isinstance(indexes, list)
                else []
            )
            values = {
                "count": int(count),
                "examples": int(examples or count),
                "rows": ", ".join(map(str, rows[:10])),
            }
            doubts.append(reason("predictions not finite", **values))
        names = [
            name[:40]
            for name, value in protocol.metric_values(self.evaluation).items()
            if value in protocol.NOT_FINITE and name != self.metric
        ]
        if names:
            doubts.append(reason("measures not finite", names=", ".join(names[:5])))
        return doubts

    def _doubts_about_the_file(self) -> list[str]:
        doubts = []
        claimed, again = self._check()
        if self._differs(claimed, again):
            numbers = {"claimed": claimed, "again": again}
            if self.evaluation.get("source") == "fit.validation":
                # Early stopping may have put back the weights of an earlier epoch.
                self.reasons.append(reason("last epoch differs", **numbers))
            else:
                doubts.append(reason("file differs", **numbers))
        doubts += self.second.doubts
        self.reasons += self.second.reasons
        # What is registered is the file. A model that lives in the script's memory only cannot be
        # handed to anybody.
        if self.model and not self.model.get("reloaded"):
            doubts.append(reason("not reloaded", note=str(self.model.get("note", ""))[:500]))
        return doubts

    def _doubts_about_the_search(self) -> list[str]:
        """Return the doubts that follow from the gate's law and from the number of looks.

        If no search made the model, an unproven clause is only a remark.
        """
        unproven = self._not_shown()
        # The developer's own model may be accepted with an unproven clause, because the developer
        # chose the measurement. For a winner of the search the gate answers itself.
        is_blocked = self.search.made_model and not self.shown.all
        doubts = [*unproven, reason("winner not shown")] if is_blocked else []
        if not self.search.made_model:
            self.reasons += unproven
        if self.search.selection == "contaminated":
            doubts.append(reason("contaminated"))
        if self.left_out:
            self.reasons.append(reason("left out", count=self.left_out))
        looks = self.search.looks
        if looks > protocol.MOST_LOOKS and self.search.made_model:
            assert self.value is not None
            # Each further look at the same examples raises the chance that a lucky model passes.
            # From then on the interval has to clear the bar, not only the point.
            if self.interval is None or not protocol.reaches(
                self._worse_end(self.value), self.target, self.mode
            ):
                doubts.append(reason("looked too often", looks=looks, most=protocol.MOST_LOOKS))
        elif looks > 1:
            self.reasons.append(reason("looks", looks=looks))
        return doubts

    def _shown(self) -> Shown:
        # Identity, not truth: the claim is JSON of any type, and None means that the runner could
        # not tell.
        is_held_out = self.evaluation.get("held_out") is True and self.standing != "training"
        return Shown(
            measured_by_file=bool(self.model.get("reloaded")) and self.again is not None,
            not_trained_on=is_held_out,
            not_selected_on=not self._selected_by(),
        )

    def _selected_by(self) -> str:
        """Return the selection that may have used the judged examples; "" if none did."""
        if self.search.best_of > 1:
            return f"the best of {self.search.best_of} was chosen by them"
        if self.search.made_model:
            # Counted by the runner; None if it cannot tell.
            selected = self.measured_on.get("selected_on", 0)
            if isinstance(selected, int) and selected > 0:
                return f"the search selected on {selected} of them"
            is_known = selected is not None and self.search.selection in SELECTIONS
            return "" if is_known else "the search cannot tell them from its own"
        return "early stopping and checkpoints see them" if self.standing == "validation" else ""

    def _not_shown(self) -> list[str]:
        shown = self.shown
        note = str(self.evaluation.get("recompute_note") or "")[:500]
        # A file that cannot be loaded at all has a reason of its own ("not reloaded").
        is_unloadable = bool(self.model) and not self.model.get("reloaded")
        unproven = []
        if not shown.measured_by_file and not is_unloadable:
            unproven.append(reason("not shown: measured", note=f" ({note})" if note else ""))
        if not shown.not_trained_on:
            unproven.append(reason("not shown: trained"))
        if not shown.not_selected_on:
            unproven.append(reason("not shown: selected", why=self._selected_by()))
        return unproven

    def _check(self) -> tuple[float | None, float | None]:
        """Return the script's number and the saved model's, left-out examples included."""
        on_all = self.evaluation.get("on_all")
        if (
            not isinstance(on_all, dict)
            or protocol.metric_name(str(on_all.get("metric"))) != self.metric
        ):
            return self.claimed, self.again
        return protocol.as_number(on_all.get("value")), protocol.as_number(on_all.get("recomputed"))

    def _differs(self, claimed: float | None, again: float | None) -> bool:
        if again is None or claimed is None:
            return False
        return second_measurement.differ(again, claimed, metric=self.metric, examples=self.examples)

    def _worse_end(self, value: float) -> float:
        return value if self.interval is None else self.interval[0 if self.mode == "max" else 1]

    def _interval(self) -> tuple[float, float] | None:
        if (
            self.value is None
            or self.examples is None
            or not protocol.is_proportion(self.metric)
            or not 0 <= self.value <= 1
        ):
            return None
        return intervals.wilson(self.value, self.examples, looks=self.search.looks)

    def _baseline(self) -> Baseline | None:
        claimed = self.evaluation.get("baseline")
        if not isinstance(claimed, dict):
            return None
        value = protocol.as_number(claimed.get("value"))
        return (
            None
            if value is None
            else Baseline(name=str(claimed.get("name", "baseline"))[:50], value=value)
        )

    def _includes_baseline(self) -> bool:
        assert self.baseline is not None
        assert self.value is not None
        return not protocol.is_better(self._worse_end(self.value), self.baseline.value, self.mode)


def is_searched(verdict: Verdict) -> bool:
    """Return whether a search may change the answer."""
    return verdict.verdict == "rejected" or is_no_better_than_its_baseline(verdict)


def is_no_better_than_its_baseline(verdict: Verdict) -> bool:
    """Return whether only the majority-class baseline prevents acceptance.

    The accuracy reaches the bar, but the most frequent class alone may do as well. The search then
    optimizes a metric in which every class counts the same.
    """
    if verdict.verdict != "undecided" or verdict.metric != "accuracy" or verdict.baseline is None:
        return False
    if verdict.value is None or not protocol.reaches(verdict.value, verdict.target, verdict.mode):
        return False
    worse = verdict.value if verdict.interval is None else verdict.interval[0]
    return not protocol.is_better(worse, verdict.baseline.value, verdict.mode)
