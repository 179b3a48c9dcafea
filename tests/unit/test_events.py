"""Typed events: what the files and a hostile script may hold, and what comes of it."""

from __future__ import annotations

import dataclasses

import pytest

from mlops_lib import events
from mlops_lib.runner import protocol


@pytest.mark.parametrize("kind", [*protocol.RUNNER_EVENTS, *protocol.HOST_EVENTS])
def test_every_kind_in_the_files_has_a_class(kind: str) -> None:
    event = events.from_json({"event": kind, "time": 1.5, "attempt": 2})
    assert type(event) is events.CLASSES[kind]
    assert (event.kind, event.time, event.attempt) == (kind, 1.5, 2)
    assert dataclasses.replace(event, fields={}) == type(event)(time=1.5, attempt=2)


def test_an_unknown_kind_is_a_plain_event_with_its_fields() -> None:
    line = {"event": "of a newer release", "pass": 2, "answer": 42}
    event = events.from_json(line)
    assert type(event) is events.Event
    assert (event.kind, event.number_of_pass, event.fields["answer"]) == (line["event"], 2, 42)


@pytest.mark.parametrize("key", ["pass", "number_of_pass"])
def test_both_names_of_a_pass_are_read(key: str) -> None:
    assert events.from_json({"event": protocol.EVENT_ATTEMPT, key: 2}).number_of_pass == 2


@pytest.mark.parametrize(
    "value", [True, "7", 1.5, None, [], {}, 1 << 60, -(1 << 60), 10**400, float("nan")]
)
def test_a_malformed_number_reads_as_missing(value: object) -> None:
    line = {"event": protocol.EVENT_CHECKPOINT, "fit": value, "epoch": value, "step": value}
    event = events.from_json(line)
    assert isinstance(event, events.Checkpoint)
    assert (event.fit, event.epoch, event.step) == (None, None, None)


def test_malformed_fields_have_their_defaults_and_text_is_capped() -> None:
    line = {
        "event": protocol.EVENT_END,
        "time": float("inf"),
        "exit_code": [0],
        "error": "no object",
        "seconds": 10**400,
    }
    assert events.from_json(line) == events.End()
    long = events.from_json({"event": protocol.EVENT_NOTE, "message": "x" * (1 << 20)})
    assert isinstance(long, events.Note)
    assert len(long.message) == events.TEXT_LIMIT
    assert events.from_json({"event": ["fit"]}) == events.Event()


def test_written_events_read_back() -> None:
    assert events.from_json(events.warning("w")) == events.RunWarning(message="w")
    assert events.from_json(events.stage("train")) == events.Stage(stage="train")
    assert events.from_json(events.build_output("l")) == events.BuildOutput(line="l")
