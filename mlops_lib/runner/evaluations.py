"""What the script measured, on which examples, and whether the saved model gives the number again."""

import contextlib
import os
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner import files
from mlops_lib.runner.digest import Examples
from mlops_lib.runner.journal import Journal, plain

LOWER_IS_BETTER = re.compile(r"loss|error|mae|mse|rmse|mape|msle|deviance|entropy|hinge|divergence", re.IGNORECASE)


def higher_is_better(metric: str) -> bool:
    """Whether a metric of this name should grow."""
    return LOWER_IS_BETTER.search(metric) is None


class Evaluations:
    """The evaluations in the order in which they happened, with the means to repeat each on the saved model."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.records: List[Dict[str, Any]] = []
        self._repeat: Dict[int, Callable[[Any], Any]] = {}
        self.models: Dict[int, Any] = {}
        """Evaluation id to the live model or estimator."""
        self.asked: Dict[int, Tuple[Any, Any]] = {}
        self.trained_on: List[Examples] = []
        self.model: Optional[Dict[str, Any]] = None
        self.printed: List[Dict[str, Any]] = []

    def add(
        self,
        *,
        metric: str,
        value: float,
        source: str,
        fit: Optional[int],
        examples: Optional[Examples] = None,
        count: Optional[int] = None,
        held_out: Optional[bool] = None,
        task: str = "unknown",
        baseline: Optional[Dict[str, Any]] = None,
        confusion: Optional[List[List[int]]] = None,
        labels: Optional[List[Any]] = None,
        everything: Optional[Dict[str, Any]] = None,
        model: Any = None,
        repeat: Optional[Callable[[Any], Any]] = None,
        asked: Optional[Tuple[Any, Any]] = None,
    ) -> int:
        """Record one evaluation; returns its id.

        Args:
            metric: its name, lower case.
            value: the number the script saw.
            source: which function gave it.
            fit: the fit whose model was evaluated.
            examples: the digests of the examples, where they could be taken.
            count: number of examples where they could not.
            held_out: whether the model had not been trained on them; decided from `examples` when None.
            task: classification, regression or unknown.
            baseline: what a model that looks at no input reaches.
            confusion: rows true, columns predicted.
            labels: the classes of `confusion`.
            everything: all numbers that the same call gave.
            model: the live model, so that it can be saved.
            repeat: gives the number again from the reloaded model.
            asked: the examples and their targets, to look at the mistakes at the end.
        """
        number = len(self.records) + 1
        if held_out is None and examples is not None:
            held_out = not any(examples.overlap(seen) > 0.5 for seen in self.trained_on)
        record = {
            "id": number,
            "metric": metric,
            "value": value,
            "task": task,
            "source": source,
            "fit": fit,
            "examples": examples.count if examples is not None else count,
            "unique": examples.unique if examples is not None else None,
            "held_out": held_out,
            "higher_is_better": higher_is_better(metric),
            "recomputed": None,
            "recompute_note": ""
            if repeat is not None
            else "the examples or the model behind this number are not known",
            "baseline": baseline,
            "confusion": confusion,
            "labels": labels,
            "examples_digest": examples.digest if examples is not None else None,
            "all": everything or {metric: value},
        }
        self.records.append(record)
        if repeat is not None:
            self._repeat[number] = repeat
        if model is not None:
            self.models[number] = model
        if asked is not None:
            self.asked[number] = asked
        self._journal.write("metric", **record)
        return number

    def repeat_on(self, model: Any, live: Any) -> None:
        """Fill in `recomputed` from the reloaded `model` for the evaluations of the object it was saved from."""
        for record in self.records:
            repeat = self._repeat.get(record["id"])
            if repeat is None:
                continue
            if self.models.get(record["id"]) is not live:
                record["recompute_note"] = "measured on another model than the one saved"
                continue
            try:
                record["recomputed"] = float(repeat(model))
            except Exception as error:  # noqa: BLE001 - a user's own metric may raise anything on a reloaded model
                record["recompute_note"] = f"the saved model could not be evaluated: {type(error).__name__}: {error}"

    def judged(self) -> Optional[Dict[str, Any]]:
        """The evaluation the gate will look at: the last on held-out examples, else the last one at all."""
        own = [r for r in self.records if not str(r["source"]).startswith("fit.")]
        held_out = [r for r in own if r["held_out"] is not False]
        for group in (held_out, own, self.records):
            if group:
                return group[-1]
        return None

    def add_written(self, work: str, pattern: str, output: str, metrics_file: str) -> None:
        """Add what the script printed or wrote, where the settings say which.

        Args:
            work: the working directory.
            pattern: a regular expression whose group is the number.
            output: the script's output.
            metrics_file: a file with a number, or JSON with numbers by name.
        """
        if pattern:
            found = re.findall(pattern, output)
            if found:
                last = found[-1] if isinstance(found[-1], str) else found[-1][0]
                self._add_number("accuracy" if "acc" in pattern.lower() else "metric", last, "printed")
        for name in [metrics_file] if metrics_file else ["metrics.json"]:
            with contextlib.suppress(OSError, ValueError):
                path = os.path.join(work, name)
                if os.path.getsize(path) < 1 << 20:
                    content = files.read_json(path)
                    if isinstance(content, dict):
                        for metric, value in content.items():
                            self._add_number(str(metric), value, "file")
                    else:
                        with open(path) as stream:
                            match = re.search(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?\s*%?", stream.read())
                        if match:
                            self._add_number("accuracy", match.group(), "file")

    def _add_number(self, metric: str, text: Any, source: str) -> None:
        with contextlib.suppress(TypeError, ValueError):
            percent = isinstance(text, str) and text.strip().endswith("%")
            value = float(text.strip().rstrip("%")) if isinstance(text, str) else float(text)
            if isinstance(text, bool):
                return
            if metric.startswith("acc") and (percent or 1 < value <= 100):
                value /= 100
            self.add(metric=metric, value=value, source=source, fit=None)

    def save(self, inside: str) -> None:
        """Write metrics.json."""
        files.write_json(
            os.path.join(inside, "metrics.json"),
            {"schema": 1, "evaluations": plain(self.records), "model": plain(self.model), "printed": self.printed},
        )
