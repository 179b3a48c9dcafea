"""The tables of a report: layers before and after, classes and their confusions, trials, epochs."""

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
    """The shape it gives, "" where the line names none."""


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer before and the one in its place after."""

    change: Change
    before: Layer | None
    after: Layer | None


def layer_rows(before: Sequence[str], after: Sequence[str]) -> tuple[LayerRow, ...]:
    """The two architectures side by side, equal layers in one row.

    Layers are matched by what they are, not by the shape that comes out of them: one inserted
    pooling changes the shape of everything below it, and none of that is a change somebody made.
    """
    old = [_layer(line) for line in _whole(before)]
    new = [_layer(line) for line in _whole(after)]
    matcher = SequenceMatcher(
        None, [one.name for one in old], [one.name for one in new], autojunk=False
    )
    rows: list[LayerRow] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            rows += [
                LayerRow(change="same", before=o, after=n)
                for o, n in zip(old[a:b], new[c:d], strict=True)
            ]
        elif tag == "replace":
            rows += _replaced(old[a:b], new[c:d])
        else:
            rows += [LayerRow(change="removed", before=one, after=None) for one in old[a:b]]
            rows += [LayerRow(change="added", before=None, after=one) for one in new[c:d]]
    return tuple(rows)


def _replaced(old: Sequence[Layer], new: Sequence[Layer]) -> list[LayerRow]:
    """A widened layer is one changed row; layers of another kind are removed and added."""
    rows: list[LayerRow] = []
    left = list(new)
    for one in old:
        place = next((i for i, other in enumerate(left) if _kind(other) == _kind(one)), None)
        if place is None:
            rows.append(LayerRow(change="removed", before=one, after=None))
            continue
        rows += [LayerRow(change="added", before=None, after=other) for other in left[:place]]
        rows.append(LayerRow(change="changed", before=one, after=left[place]))
        del left[: place + 1]
    return rows + [LayerRow(change="added", before=None, after=other) for other in left]


def _whole(lines: Sequence[str]) -> list[str]:
    """The lines, those joined again that a long representation was broken into: a bracket is open
    at their end.
    """
    found: list[str] = []
    for line in lines[:LAYERS_SHOWN]:
        if found and found[-1].count("(") > found[-1].count(")") and len(found[-1]) < 1000:
            found[-1] = f"{found[-1]} {line.strip()}"
        else:
            found.append(line)
    return found


def _layer(line: str) -> Layer:
    found = re.fullmatch(r"(.*?\S)\s+(?:→\s*)?(\((?:None|\d)[^()]*\))", line.strip())
    return Layer(name=found[1], shape=found[2]) if found else Layer(name=line.strip(), shape="")


def _kind(layer: Layer) -> str:
    return re.split(r"[\s(]", layer.name, maxsplit=1)[0]


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How well one class is told from the others."""

    name: str
    precision: float | None
    """Of the examples that were given this class, the share that has it."""
    recall: float | None
    """Of the examples that have this class, the share that was given it."""
    f1: float | None
    examples: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Examples of one class that were taken for another."""

    true: str
    predicted: str
    examples: int


def class_scores(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each class, the weakest first."""
    scores = []
    for i, row in enumerate(matrix):
        right = row[i]
        predicted = sum(other[i] for other in matrix)
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
    """The most frequent mistakes."""
    found = [
        Confusion(true=class_name(labels, i), predicted=class_name(labels, j), examples=cell)
        for i, row in enumerate(matrix)
        for j, cell in enumerate(row)
        if i != j and cell
    ]
    return tuple(sorted(found, key=lambda c: -c.examples)[:8])


def class_name(labels: Sequence[str], index: int) -> str:
    """The label, or the number where there is none."""
    return labels[index] if index < len(labels) and labels[index] else str(index)


def shade(row: Sequence[int], column: int) -> int:
    """How dark a cell is drawn, 0 to 9: its share of the row."""
    return min(9, round(9 * row[column] / sum(row))) if sum(row) else 0


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as a row of the table."""

    trial: Trial
    winner: bool
    changed: tuple[str, ...]
    score: str
    gain: str
    """Against trial 0, with what chance alone may make of it."""
    is_clear: bool
    """Whether it is a gain beyond that."""


def trial_rows(search: SearchResult) -> tuple[TrialRow, ...]:
    """The trials in order; of a long search the best ones and trial 0."""
    first = next((t for t in search.trials if t.number == 0), None)
    chosen = list(search.trials)
    if len(chosen) > TRIALS_SHOWN:
        sign = -1 if search.mode == "max" else 1
        best = sorted(chosen, key=lambda t: (t.score is None, sign * (t.score or 0.0)))[
            :TRIALS_SHOWN
        ]
        chosen = [t for t in chosen if t in best or t.number in (0, search.winner)]
    return tuple(_trial_row(t, search, first) for t in chosen)


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """What one worker of a search did."""

    name: str
    trials: tuple[int, ...]
    seconds: float
    """Its training time."""
    share: float | None
    """… as a share of the time that the search took; None where that is not known."""


def worker_rows(search: SearchResult, took_s: float | None) -> tuple[WorkerRow, ...]:
    """Who tried what, and how busy each was; nothing where one process tried all.

    Args:
        search: the search.
        took_s: seconds from its first trial's begin to its last one's end.
    """
    names = sorted(
        {one.worker for one in search.trials if one.worker}, key=lambda name: (len(name), name)
    )
    found = []
    for name in names[:WORKERS_SHOWN]:
        own = [one for one in search.trials if one.worker == name]
        seconds = sum(one.seconds for one in own)
        share = min(1.0, seconds / took_s) if took_s else None
        found.append(
            WorkerRow(name=name, trials=tuple(t.number for t in own), seconds=seconds, share=share)
        )
    return tuple(found)


def _trial_row(trial: Trial, search: SearchResult, first: Trial | None) -> TrialRow:
    gained = _gained(trial, search, first)
    changed = trial.edits[:12]
    if not changed:
        changed = ("as the script has it",) if trial.number == 0 else _settings(trial)
    return TrialRow(
        trial=trial,
        winner=trial.number == search.winner,
        changed=changed,
        score="–" if trial.score is None else metric_value(search.metric, trial.score),
        gain="" if gained is None else _with_margin(search.metric, gained),
        is_clear=gained is not None and gained.is_clear,
    )


def _gained(trial: Trial, search: SearchResult, first: Trial | None) -> protocol.Gain | None:
    if first is None or first.score is None or trial.score is None or trial.number == 0:
        return None
    return protocol.gain(
        trial.score,
        first.score,
        metric=search.metric,
        mode=search.mode,
        examples=search.examples,
        trials=[{"number": one.number, "curve": one.curve} for one in search.trials],
    )


def _with_margin(metric: str, gained: protocol.Gain) -> str:
    told = difference(metric, gained.difference)
    if gained.margin is None:
        return f"{told} (uncertain)"
    margin = difference(metric, gained.margin).lstrip("+±")
    return (
        f"{told.removesuffix(' points')} ± {margin}{'' if gained.is_clear else ', within chance'}"
    )


def _settings(trial: Trial) -> tuple[str, ...]:
    return tuple(f"{name} = {value}" for name, value in list(trial.hyperparameters.items())[:12])


def epoch_table(
    fit: Fit,
) -> tuple[tuple[str, ...], tuple[tuple[int, tuple[float | None, ...]], ...]]:
    """The names of the metrics, and of each epoch (from 1) their values; a long fit is shown in
    equal steps.
    """
    names = tuple(list(fit.series)[:8])
    by_name = {name: dict(fit.series[name]) for name in names}
    epochs = sorted({epoch for points in by_name.values() for epoch in points})
    step = max(1, -(-len(epochs) // EPOCHS_SHOWN))
    shown = (
        [*epochs[::step], *epochs[-1:]] if epochs and (len(epochs) - 1) % step else epochs[::step]
    )
    return names, tuple(
        (epoch + 1, tuple(by_name[name].get(epoch) for name in names)) for epoch in shown
    )
