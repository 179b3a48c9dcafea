"""What helped in the earlier searches of this home, to order the first trials of the next one.

The file `past-searches.jsonl` in the home has a line for each finished search: the kind of its
training, the size of its data, the findings on the script's own training, and the kinds of changes
that were tried and that led to the winner. It holds neither code nor data, and never leaves the home.

A search only gets the lines that are similar to it. It uses them for the order of its candidates
(`mlops_lib.runner.search.past_searches`): a line can cost trials, but never change a score.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlops_lib import atomic, file_lock
from mlops_lib.records import RunSpec, SearchResult
from mlops_lib.tuning import second_pass

NAME = "past-searches.jsonl"
MOST_LINES = 200
"""Older searches are forgotten."""
MOST_SENT = 20
"""The largest number of earlier searches in a request."""
MOST_KINDS = 30
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")


@dataclass(frozen=True, kw_only=True)
class PastSearch:
    """One finished search."""

    run: str
    """Digest of the run, by which a search that continues replaces its line."""
    framework: str
    family: str
    metric: str
    examples: int | None
    """The number of examples that the developer's model was judged on; None if unknown."""
    diagnosis: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    """Kinds of changes that were tried."""
    helped: tuple[str, ...] = ()
    """Those between the developer's model and the winner."""

    def similarity(self, other: PastSearch) -> float:
        """Return how much another search's experience counts for this one, from 0 to 1.

        Nothing of another framework counts. The family, the metric and the size of the data (within
        a factor of ten) count a third each.

        >>> a = PastSearch(run="a", framework="keras", family="cnn", metric="accuracy", examples=100)
        >>> b = PastSearch(run="b", framework="keras", family="cnn", metric="accuracy", examples=900)
        >>> a.similarity(b)
        1.0
        """
        if self.framework != other.framework:
            return 0.0
        near = False
        if self.examples and other.examples:
            near = abs(math.log10(self.examples / other.examples)) <= 1
        return ((self.family == other.family) + (self.metric == other.metric) + near) / 3


def read(home: Path) -> list[PastSearch]:
    """Return the searches of this home, oldest first; damaged lines are skipped."""
    searches: list[PastSearch] = []
    try:
        lines = (home / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines[-MOST_LINES:]:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            searches.append(_from_json(json.loads(line)))
    return searches


def remember(home: Path, spec: RunSpec, outcome: SearchResult, *, examples: int | None) -> None:
    """Write a finished search into the file; nothing if it has tried nothing.

    Args:
        home: folder of mlops' own files.
        spec: the run.
        outcome: its search.
        examples: the number of examples that its model was judged on before, or None.

    Raises:
        OSError: the home cannot be written.
    """
    search = _of(spec, outcome, examples)
    if not search.tried:
        return
    home.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(home / f"{NAME}.lock"):
        others = [past for past in read(home) if past.run != search.run]
        lines = [json.dumps(asdict(past)) for past in (*others, search)[-MOST_LINES:]]
        atomic.write_bytes(home / NAME, ("\n".join(lines) + "\n").encode())


def similar(
    home: Path, spec: RunSpec, *, metric: str, examples: int | None
) -> list[dict[str, Any]]:
    """Return the similar searches of this home as the runner reads them, the most similar first.

    Args:
        home: folder of mlops' own files.
        spec: the run that is about to be searched; its own earlier search is left out.
        metric: the searched metric.
        examples: the number of examples that its model was judged on, or None.
    """
    now = PastSearch(
        run=spec.digest,
        framework=spec.framework,
        family=spec.family,
        metric=metric,
        examples=examples,
    )
    weighed = [
        (now.similarity(past), place, past)
        for place, past in enumerate(read(home))
        if past.run != now.run
    ]
    # The newest first among equally similar ones.
    ordered = sorted((w for w in weighed if w[0] > 0), key=lambda w: (-w[0], -w[1]))
    return [
        {
            "weight": round(weight, 3),
            "diagnosis": list(past.diagnosis),
            "tried": list(past.tried),
            "helped": list(past.helped),
        }
        for weight, _, past in ordered[:MOST_SENT]
    ]


def _of(spec: RunSpec, outcome: SearchResult, examples: int | None) -> PastSearch:
    trials = [trial for trial in outcome.trials if trial.number]
    helped = _kinds(kind for trial in second_pass.lineage(outcome) for kind in trial.kinds)
    return PastSearch(
        run=spec.digest,
        framework=spec.framework,
        family=spec.family,
        metric=outcome.metric,
        examples=examples,
        diagnosis=_kinds(outcome.diagnosis),
        tried=_kinds(kind for trial in trials for kind in trial.kinds),
        helped=helped,
    )


def _kinds(kinds: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    """Return each kind once. A container wrote them: anything but a plain name is dropped."""
    names = dict.fromkeys(kind for kind in kinds if isinstance(kind, str) and _KIND.fullmatch(kind))
    return tuple(names)[:MOST_KINDS]


def _from_json(value: Any) -> PastSearch:
    if not isinstance(value, dict):
        raise TypeError("a past search is an object")
    examples = value.get("examples")
    return PastSearch(
        run=str(value["run"]),
        framework=str(value["framework"]),
        family=str(value["family"]),
        metric=str(value["metric"]),
        examples=examples if isinstance(examples, int) and examples > 0 else None,
        diagnosis=_kinds(value.get("diagnosis") or ()),
        tried=_kinds(value.get("tried") or ()),
        helped=_kinds(value.get("helped") or ()),
    )
