"""What the watchdog decides, and when a training stands still: pure functions, so every row of the
tables is tested.
"""

from __future__ import annotations

from typing import Any

import pytest

from mlops_lib.engine import Activity, Container
from mlops_lib.events import Decision, End, Event, Exit, from_json
from mlops_lib.runner import protocol
from mlops_lib.training import progress, restart_policy
from mlops_lib.training.restart_policy import Past, Situation

BUDGET = 3


def error(kind: str, *, line: int = 3, type: str = "Oops") -> dict[str, Any]:
    return {
        "exit_code": 1,
        "error": {"type": type, "message": "no", "file": "train.py", "line": line, "kind": kind},
    }


def situation(
    code: int | None = 137, *, end: dict[str, Any] | None = None, **more: Any
) -> Situation:
    about = {
        key: more.pop(key) for key in ("out_of_memory", "asked_to_end", "state") if key in more
    }
    container = Container(id="c", labels={}, exit_code=code, **{"state": "exited", **about})
    ended = None if end is None else from_json({"event": "end", **end})
    assert ended is None or isinstance(ended, End)
    return Situation(container=container, end=ended, budget=BUDGET, **more)


OUT_OF_BUDGET = Past(restarts=BUDGET)
PLACE = ("Oops", "train.py", 3)
CASES: dict[str, tuple[Situation, str, str | None]] = {
    "ended well": (situation(0, end={"exit_code": 0, "error": None}), "finish", None),
    "killed after its end": (situation(137, end={"exit_code": 0, "error": None}), "finish", None),
    "killed": (situation(), "restart", "crash"),
    "vanished": (situation(None, state="gone"), "restart", "crash"),
    "ended without a word": (situation(0), "restart", "crash"),
    "killed, no budget left": (situation(past=OUT_OF_BUDGET), "give up", "crash"),
    "mlops stop": (situation(asked_to_stop=True), "stay stopped", "stopped"),
    "docker stop": (situation(143, asked_to_end=True), "stay stopped", "stopped"),
    "docker stop of a script that ends well on SIGTERM": (
        situation(0, end={"exit_code": 0, "error": None}, asked_to_end=True),
        "finish",
        None,
    ),
    "SIGTERM that nobody asked the engine for": (situation(143), "restart", "crash"),
    "Ctrl-C in the script": (situation(130, end=error("stopped")), "stay stopped", "stopped"),
    "out of memory": (situation(out_of_memory=True), "restart", "oom"),
    "out of memory, an exception": (situation(1, end=error("oom")), "restart", "oom"),
    "a worker out of memory": (
        situation(1, end=error("crash"), out_of_memory=True),
        "restart",
        "oom",
    ),
    "out of memory again": (
        situation(out_of_memory=True, past=Past(smaller=True)),
        "give up",
        "oom",
    ),
    "hang": (situation(hung="it made no step for 30 s"), "restart", "hang"),
    "hang, no budget left": (situation(hung="no step", past=OUT_OF_BUDGET), "give up", "hang"),
    "disk, an exception": (situation(1, end=error("disk")), "give up", "disk"),
    "disk, nothing could be written": (situation(1, disk_full=True), "give up", "disk"),
    "import": (situation(1, end=error("import")), "give up", "import"),
    "a mistake": (situation(1, end=error("bug")), "give up", "bug"),
    "an exception": (situation(1, end=error("crash")), "restart", "exception"),
    "an exception before its first step": (
        situation(1, end=error("crash"), stepped=False),
        "give up",
        "early",
    ),
    "… after a kill": (
        situation(1, end=error("crash"), stepped=False, past=Past(restarts=1)),
        "restart",
        "exception",
    ),
    "… of the machine": (
        situation(1, end=error("crash", type="OSError"), stepped=False),
        "restart",
        "exception",
    ),
    "the same exception": (
        situation(1, end=error("crash"), past=Past(restarts=1, errors=(PLACE,))),
        "give up",
        "repeated",
    ),
    "one elsewhere": (
        situation(1, end=error("crash", line=9), past=Past(restarts=1, errors=(PLACE,))),
        "restart",
        "exception",
    ),
    "network": (situation(1, end=error("network")), "restart", "network"),
    "network, the same again": (
        situation(1, end=error("network"), past=Past(restarts=1, errors=(PLACE,))),
        "restart",
        "network",
    ),
    "network, no budget left": (
        situation(1, end=error("network"), past=OUT_OF_BUDGET),
        "give up",
        "network",
    ),
    "diverged": (
        situation(1, end=error("bug"), nan="the loss of fit 1 is no number"),
        "give up",
        "nan",
    ),
    "killed while diverged": (situation(nan="the loss of fit 1 is no number"), "restart", "crash"),
    "grown": (situation(protocol.RECYCLE), "restart", "grown"),
    "grown, and again without progress": (
        situation(protocol.RECYCLE, past=OUT_OF_BUDGET),
        "give up",
        "grown",
    ),
    "a script's own exit code": (situation(protocol.RECYCLE, end=error("bug")), "give up", "bug"),
    "bad start": (situation(protocol.BAD_START), "give up", "bad start"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_trouble_has_its_decision(name: str) -> None:
    given, do, trouble = CASES[name]
    action = restart_policy.decide(given)
    assert (action.do, action.trouble) == (do, trouble)
    assert action.why
    assert (action.failure is not None) == (do == "give up")
    assert action.smaller == (trouble == "oom" and do == "restart")


def test_a_failure_names_the_exception_and_its_place() -> None:
    failure = restart_policy.decide(
        situation(1, end=error("crash"), past=Past(errors=(PLACE,)), log="the end")
    ).failure
    assert failure is not None
    assert (failure.kind, failure.message, failure.where, failure.log) == (
        "bug",
        "Oops: no",
        "train.py:3",
        "the end",
    )


def test_the_first_restart_is_at_once_and_later_ones_back_off_up_to_a_cap() -> None:
    longest = [restart_policy.back_off(n, chance=lambda: 0.0) for n in range(8)]
    assert longest == [0.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert restart_policy.back_off(0, chance=lambda: 1.0) == 0.0
    assert restart_policy.back_off(2, chance=lambda: 0.5) == 3.0
    assert restart_policy.back_off(2, chance=lambda: 1.0) == 2.0


def attempt(number_of_pass: int = 1) -> Event:
    return from_json({"event": "attempt", "number_of_pass": number_of_pass})


def restart(progress: int, **more: Any) -> Event:
    return from_json({"event": "decision", "do": "restart", "progress": progress, **more})


def test_the_budget_refills_with_progress() -> None:
    lines = [attempt(), restart(0), attempt(), restart(0), attempt(), restart(4), attempt()]
    assert restart_policy.recall(lines, number_of_pass=1, progress=4).restarts == 1
    assert restart_policy.recall(lines, number_of_pass=1, progress=5).restarts == 0


def test_what_was_before_a_persons_new_start_or_another_pass_does_not_count() -> None:
    past = [attempt(), restart(0, smaller=True), attempt(), Decision(do="give up")]
    assert restart_policy.recall(past, number_of_pass=1, progress=0) == Past()
    assert restart_policy.recall([*past[:3], attempt(2)], number_of_pass=2, progress=0) == Past()
    stopped = [*past[:3], Decision(do="stay stopped")]
    assert restart_policy.recall(stopped, number_of_pass=1, progress=0) == Past(smaller=True), (
        "memory has not grown since"
    )


def test_places_and_hangs_are_remembered() -> None:
    place = {"type": "Oops", "file": "train.py", "line": 3}
    lines = [
        attempt(),
        Exit(error=place),
        restart(2),
        attempt(),
        Exit(),
        restart(2, trouble="hang"),
    ]
    past = restart_policy.recall(lines, number_of_pass=1, progress=2)
    assert (past.restarts, past.hangs, past.errors) == (2, 1, (PLACE,))


STEPPING = {"phase": "fit", "fit": 1, "epoch": 0, "step": 10, "steps": 100, "progress": 20}
FAST, SLOW = progress.Pace(step_s=0.01), progress.Pace(step_s=60.0)


@pytest.mark.parametrize(
    ("heartbeat", "learned", "seconds", "idle"),
    [
        (STEPPING, FAST, 30.0, False),
        (STEPPING, SLOW, 300.0, False),
        (STEPPING, progress.Pace(step_s=0.1, stride=500), 250.0, False),
        (STEPPING, progress.Pace(step_s=0.1, gap_s=50.0), 100.0, False),
        (STEPPING, None, 900.0, True),
        ({**STEPPING, "step": 0}, FAST, 900.0, True),
        ({**STEPPING, "step": 100}, FAST, 900.0, True),
        ({**STEPPING, "steps": None}, FAST, 900.0, True),
        ({"phase": "validation", "fit": 1, "step": 100}, FAST, 900.0, True),
        ({"phase": "checkpoint", "fit": 1, "step": 100}, FAST, 900.0, True),
        ({"phase": "evaluate"}, FAST, 900.0, True),
        ({"phase": "fit", "fit": 1}, None, 7200.0, True),
        ({"phase": "script", "step": None}, FAST, 7200.0, True),
        ({}, None, 900.0, True),
    ],
)
def test_what_a_phase_is_allowed(
    heartbeat: dict[str, Any], learned: progress.Pace | None, seconds: float, idle: bool
) -> None:
    assert progress.allowance(heartbeat, learned, idle_s=7200.0) == progress.Allowance(
        seconds=seconds, idle=idle
    )


def test_a_step_that_is_slow_every_time_is_not_killed_for_ever() -> None:
    allowed = [progress.allowance(STEPPING, FAST, hangs=n, idle_s=1.0).seconds for n in range(4)]
    assert allowed == [30.0, 60.0, 120.0, 240.0]


def test_pace_is_learned_from_heartbeats() -> None:
    first = progress.Pace().learn(
        {**STEPPING, "step": 0}, {**STEPPING, "step": 50, "progress": 21, "step_s": 0.2}, 40.0
    )
    assert first == progress.Pace(step_s=0.2, stride=50, gap_s=0.0), (
        "the first step traces: its time is no pause"
    )
    after = {**STEPPING, "step": 150, "steps": 1000, "progress": 23, "step_s": 0.3}
    second = first.learn({**STEPPING, "step": 50, "progress": 21}, after, 11.0)
    assert second == progress.Pace(step_s=0.3, stride=50, gap_s=11.0)


def test_signs_of_life() -> None:
    before = Activity(cpu_s=10.0, io_bytes=0, memory_bytes=1)
    assert not progress.is_busy(before, Activity(cpu_s=10.05, io_bytes=1000, memory_bytes=1), 5.0)
    assert progress.is_busy(before, Activity(cpu_s=10.5, io_bytes=0, memory_bytes=1), 5.0)
    assert progress.is_busy(before, Activity(cpu_s=10.0, io_bytes=1 << 20, memory_bytes=1), 5.0)
    assert progress.is_busy(before, Activity(cpu_s=2.0, io_bytes=0, memory_bytes=1), 5.0), (
        "a process of it ended"
    )


FATAL = """Epoch 3/6
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/mlops/inside/work/src/train.py", line 8 in on_epoch_end
  File "/usr/lib/python3.11/site-packages/keras/callbacks.py", line 91 in on_epoch_end
  File "/mlops/inside/work/src/train.py", line 11 in <module>
"""


def test_a_crash_in_native_code_is_placed_at_the_scripts_line() -> None:
    killed = situation(139, log=FATAL[-20:], crash=FATAL, past=Past(restarts=5))
    action = restart_policy.decide(killed)
    assert action.do == "give up"
    assert action.failure is not None
    assert action.failure.where == "src/train.py:8"
    assert "signal 11 (SIGSEGV" in action.failure.message
    assert "Segmentation fault in native code" in action.failure.message
    assert "container" not in action.failure.message
    assert restart_policy.native_crash("nothing of the kind") == ("", "")
