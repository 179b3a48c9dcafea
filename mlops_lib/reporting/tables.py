"""The tables of a report: layers, classes and confusions, trials, workers, epochs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from mlops_lib.formatting import difference, metric_value
from mlops_lib.records import SearchResult, Trial
from mlops_lib.reporting.view import Fit
from mlops_lib.runner import protocol

LAYERS_SHOWN = 300
CLASSES_SHOWN = 20
TRIALS_SHOWN = 100
WORKERS_SHOWN = 100
EPOCHS_SHOWN = 60

Change = Literal["same", "added", "removed", "changed"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A line of an architecture."""

    name: str
    shape: str
    """Its output shape; "" if the line has none."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer before the search and its counterpart after it."""

    change: Change
    before: Layer | None
    after: Layer | None


def layer_rows(before: Sequence[str], after: Sequence[str]) -> tuple[LayerRow, ...]:
    """Return two architectures side by side, equal layers in one row.

    Layers are matched by name and settings, not by output shape: an inserted pooling layer changes
    the shapes of all layers below it, which is not a change of those layers.
    """
    old = [_layer(line) for line in _joined_lines(before)]
    new = [_layer(line) for line in _joined_lines(after)]
    matcher = SequenceMatcher(
        None, [layer.name for layer in old], [layer.name for layer in new], autojunk=False
    )
    rows: list[LayerRow] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            rows += [
                LayerRow(change="same", before=o, after=n)
                for o, n in zip(old[a:b], new[c:d], strict=True)
            ]
        elif tag == "replace":
            rows += _changed_rows(old[a:b], new[c:d])
        else:
            rows += [LayerRow(change="removed", before=layer, after=None) for layer in old[a:b]]
            rows += [LayerRow(change="added", before=None, after=layer) for layer in new[c:d]]
    return tuple(rows)


def _changed_rows(old: Sequence[Layer], new: Sequence[Layer]) -> list[LayerRow]:
    """Return the rows of a replaced section.

    A layer that was widened is one changed row; layers of different kinds are removed and added.
    """
    rows: list[LayerRow] = []
    remaining = list(new)
    for layer in old:
        place = next(
            (i for i, candidate in enumerate(remaining) if _kind(candidate) == _kind(layer)), None
        )
        if place is None:
            rows.append(LayerRow(change="removed", before=layer, after=None))
            continue
        rows += [
            LayerRow(change="added", before=None, after=candidate)
            for candidate in remaining[:place]
        ]
        rows.append(LayerRow(change="changed", before=layer, after=remaining[place]))
        del remaining[: place + 1]
    return rows + [
        LayerRow(change="added", before=None, after=candidate) for candidate in remaining
    ]


def _joined_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines, with a representation that spans several lines joined again.

    A line with an open bracket continues on the next one.
    """
    joined: list[str] = []
    for line in lines[:LAYERS_SHOWN]:
        if joined and joined[-1].count("(") > joined[-1].count(")") and len(joined[-1]) < 1000:
            joined[-1] = f"{joined[-1]} {line.strip()}"
        else:
            joined.append(line)
    return joined


def _layer(line: str) -> Layer:
    match = re.fullmatch(r"(.*?\S)\s+(?:→\s*)?(\((?:None|\d)[^()]*\))", line.strip())
    return Layer(name=match[1], shape=match[2]) if match else Layer(name=line.strip(), shape="")


def _kind(layer: Layer) -> str:
    return re.split(r"[\s(]", layer.name, maxsplit=1)[0]


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """The quality of the predictions for one class."""

    name: str
    precision: float | None
    """Share of the examples predicted as this class that belong to it."""
    recall: float | None
    """Share of the examples of this class that were predicted as it."""
    f1: float | None
    examples: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Examples of one class that were predicted as another."""

    true: str
    predicted: str
    examples: int


def class_scores(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """Return precision, recall and F1 of each class, the weakest first."""
    scores = []
    for i, row in enumerate(matrix):
        right = row[i]
        predicted = sum(matrix_row[i] for matrix_row in matrix)
        actual = sum(row)
        precision = right / predicted if predicted else None
        recall = right / actual if actual else None
        total = predicted + actual
        scores.append(
            ClassScore(
                name=class_name(labels, i),
                precision=precision,
                recall=recall,
                f1=2 * right / total if total else None,
                examples=actual,
            )
        )
    return tuple(sorted(scores, key=lambda s: (s.f1 is None, s.f1 or 0.0)))


def worst_confusions(
    matrix: Sequence[Sequence[int]], labels: Sequence[str]
) -> tuple[Confusion, ...]:
    """Return the most frequent confusions."""
    confusions = [
        Confusion(true=class_name(labels, i), predicted=class_name(labels, j), examples=cell)
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell
    ]
    return tuple(sorted(confusions, key=lambda c: -c.examples)[:8])


def class_name(labels: Sequence[str], index: int) -> str:
    """Return a class's label, or its number if it has none."""
    return labels[index] if index < len(labels) and labels[index] else str(index)


def shade(row: Sequence[int], column: int) -> int:
    """Return a cell's darkness, 0 to 9: its share of the row."""
    return min(9, round(9 * row[column] / sum(row))) if sum(row) else 0


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as a row of the table."""

    trial: Trial
    winner: bool
    changed: tuple[str, ...]
    score: str
    gain: str
    """The gain over trial 0, with its margin of chance."""
    is_clear: bool
    """Whether the gain exceeds chance."""


def trial_rows(search: SearchResult) -> tuple[TrialRow, ...]:
    """Return the trials in order; of a long search the best ones and trial 0."""
    first = next((t for t in search.trials if t.number == 0), None)
    trials = list(search.trials)
    if len(trials) > TRIALS_SHOWN:
        sign = -1 if search.mode == "max" else 1
        best = sorted(trials, key=lambda t: (t.score is None, sign * (t.score or 0.0)))[
            :TRIALS_SHOWN
        ]
        trials = [t for t in trials if t in best or t.number in (0, search.winner)]
    return tuple(_trial_row(t, search, first) for t in trials)


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """One worker's part in a search."""

    name: str
    trials: tuple[int, ...]
    seconds: float
    """Its training time."""
    share: float | None
    """Training time as a share of the search's duration; None if that is unknown."""


def worker_rows(search: SearchResult, took_s: float | None) -> tuple[WorkerRow, ...]:
    """Return each worker's trials and load; empty if a single process ran all trials.

    Args:
        search: the search.
        took_s: seconds from the start of its first trial to the end of its last one.
    """
    names = sorted(
        {trial.worker for trial in search.trials if trial.worker},
        key=lambda name: (len(name), name),
    )
    rows = []
    for name in names[:WORKERS_SHOWN]:
        own = [trial for trial in search.trials if trial.worker == name]
        seconds = sum(trial.seconds for trial in own)
        share = min(1.0, seconds / took_s) if took_s else None
        rows.append(
            WorkerRow(name=name, trials=tuple(t.number for t in own), seconds=seconds, share=share)
        )
    return tuple(rows)


def _trial_row(trial: Trial, search: SearchResult, first: Trial | None) -> TrialRow:
    gain = gain_over(first, trial, search)
    changed = trial.edits[:12]
    if not changed:
        changed = ("as the script has it",) if trial.number == 0 else _settings(trial)
    return TrialRow(
        trial=trial,
        winner=trial.number == search.winner,
        changed=changed,
        score="–" if trial.score is None else metric_value(search.metric, trial.score),
        gain="" if gain is None else _with_margin(search.metric, gain),
        is_clear=gain is not None and gain.is_clear,
    )


def gain_over(reference: Trial | None, trial: Trial, search: SearchResult) -> protocol.Gain | None:
    """Return a trial's gain over another one; None if one of them has no score."""
    if reference is None or reference.score is None or trial.score is None or trial.number == 0:
        return None
    return protocol.gain(
        trial.score,
        reference.score,
        metric=search.metric,
        mode=search.mode,
        examples=search.examples,
        trials=[{"number": other.number, "curve": other.curve} for other in search.trials],
    )


def _with_margin(metric: str, gain: protocol.Gain) -> str:
    text = difference(metric, gain.difference)
    if gain.margin is None:
        return f"{text} (uncertain)"
    margin = difference(metric, gain.margin).lstrip("+±")
    within_chance = "" if abs(gain.difference) > gain.margin else ", within chance"
    return f"{text.removesuffix(' points')} ± {margin}{within_chance}"


def _settings(trial: Trial) -> tuple[str, ...]:
    settings = [
        f"{name} = {value}" for name, value in trial.hyperparameters.items() if name != "jackknife"
    ]
    return tuple(settings[:12])


def epoch_table(
    fit: Fit,
) -> tuple[tuple[str, ...], tuple[tuple[int, tuple[float | None, ...]], ...]]:
    """Return the metrics' names, and per epoch (from 1) their values.

    A long fit is sampled in equal steps, its last epoch included.
    """
    names = tuple(list(fit.series)[:8])
    by_name = {name: dict(fit.series[name]) for name in names}
    epochs = sorted({epoch for points in by_name.values() for epoch in points})
    step = max(1, -(-len(epochs) // EPOCHS_SHOWN))
    rows = (
        [*epochs[::step], *epochs[-1:]] if epochs and (len(epochs) - 1) % step else epochs[::step]
    )
    return names, tuple(
        (epoch + 1, tuple(by_name[name].get(epoch) for name in names)) for epoch in rows
    )
