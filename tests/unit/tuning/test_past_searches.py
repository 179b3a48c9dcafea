"""`tuning.past_searches`: the file of a home in which finished searches are kept."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.environments import images
from mlops_lib.records import Environment, RunSpec, SearchResult, Trial
from mlops_lib.tuning import past_searches

SPEC = RunSpec(
    digest="run1",
    name="fraud",
    project="/p",
    entry="train.py",
    backend="process",
    image=images.plan(Environment(name="sklearn", framework="scikit-learn", family="linear")),
    framework="scikit-learn",
    family="linear",
)


def outcome(*kinds: str, winner: int, **more: Any) -> SearchResult:
    trials = [Trial(number=0)]
    trials += [
        Trial(number=number, parent=0, kinds=(kind,)) for number, kind in enumerate(kinds, 1)
    ]
    return SearchResult(
        metric="accuracy", selection="disjoint", fit=1, trials=tuple(trials), winner=winner, **more
    )


def test_a_similar_search_is_told_what_helped(tmp_path: Path) -> None:
    past_searches.remember(tmp_path, SPEC, outcome("own", "SVC", winner=2), examples=100)
    (told,) = past_searches.similar(
        tmp_path, replace(SPEC, digest="run2"), metric="accuracy", examples=500
    )
    assert told == {"weight": 1.0, "diagnosis": [], "tried": ["own", "SVC"], "helped": ["SVC"]}


def test_less_alike_counts_less_and_another_framework_nothing(tmp_path: Path) -> None:
    past_searches.remember(tmp_path, SPEC, outcome("SVC", winner=1), examples=100)

    def weights(
        metric: str = "accuracy", examples: int | None = 100, **changes: Any
    ) -> list[float]:
        spec = replace(SPEC, digest="run2", **changes)
        found = past_searches.similar(tmp_path, spec, metric=metric, examples=examples)
        return [search["weight"] for search in found]

    assert weights(examples=100_000) == weights(examples=None) == [0.667]
    assert weights(family="trees", metric="f1") == [0.333]
    assert weights(framework="keras") == []


def test_a_search_that_continues_replaces_its_line(tmp_path: Path) -> None:
    for winner in (0, 1):
        past_searches.remember(tmp_path, SPEC, outcome("SVC", winner=winner), examples=9)
    (kept,) = past_searches.read(tmp_path)
    assert kept.helped == ("SVC",)
    assert past_searches.similar(tmp_path, SPEC, metric="accuracy", examples=9) == [], "its own"


def test_what_tried_nothing_is_not_kept(tmp_path: Path) -> None:
    past_searches.remember(tmp_path, SPEC, outcome(winner=0, stopped="refused"), examples=9)
    assert past_searches.read(tmp_path) == []


def test_a_container_cannot_write_anything_into_the_file(tmp_path: Path) -> None:
    evil = outcome(
        "SVC", "a\nb", "x" * 5000, "<b>", "../..", *[f"k{n}" for n in range(99)], winner=2
    )
    past_searches.remember(tmp_path, SPEC, evil, examples=9)
    (kept,) = past_searches.read(tmp_path)
    assert kept.helped == ()
    assert kept.tried[:2] == ("SVC", "k0")
    assert len(kept.tried) == past_searches.MOST_KINDS


def test_damaged_lines_cost_nothing_else(tmp_path: Path) -> None:
    past_searches.remember(tmp_path, SPEC, outcome("SVC", winner=1), examples=9)
    path = tmp_path / past_searches.NAME
    good = path.read_text()
    path.write_text('{"run": 1}\nnot json\n[]\n' + good + good[: len(good) // 2])
    assert [search.tried for search in past_searches.read(tmp_path)] == [("SVC",)]
    path.write_bytes(b"\xff\xfe\x00")
    assert past_searches.read(tmp_path) == []


def test_only_the_newest_searches_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_searches, "MOST_LINES", 3)
    for number in range(5):
        spec = replace(SPEC, digest=f"run{number}")
        past_searches.remember(tmp_path, spec, outcome("SVC", winner=1), examples=9)
    assert [search.run for search in past_searches.read(tmp_path)] == ["run2", "run3", "run4"]


def _remember(home: str, number: int) -> None:
    spec = replace(SPEC, digest=f"run{number}")
    past_searches.remember(Path(home), spec, outcome("SVC", winner=1), examples=9)


def test_searches_that_end_at_once_are_all_kept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_remember, args=(str(tmp_path), number)) for number in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert {search.run for search in past_searches.read(tmp_path)} == {
        f"run{number}" for number in range(8)
    }
