"""Training: one run through as many containers as it takes, until its terminal event.

`train` holds the run's lease, so that only one program starts containers for it. What is already under way is adopted,
what died is started again from its checkpoint, what had finished is returned at once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_lib import rundir, watchdog
from mlops_lib.engine import LABEL_ATTEMPT, LABEL_RUN, LABEL_RUN_DIR, Container, Engine, Launch
from mlops_lib.records import Failure, RunResult, RunSpec

Observer = Callable[[dict[str, Any]], None]
LOOK_S = 0.25
"""How often events are read while a container runs; its death is noticed at once."""
ATTEMPTS = "attempts.jsonl"
STOP = "stop"
"""Marker in the run directory: a person stopped this run."""


class Interrupted(Exception):  # noqa: N818 - not an error: a person stopped it
    """The program was asked to end; the container is stopped and the run stays resumable."""


def train(
    spec: RunSpec,
    *,
    engine: Engine,
    run_dir: Path,
    restarts: int = 5,
    number_of_pass: int = 1,
    search: dict[str, Any] | None = None,
    home: Path,
    observer: Observer = lambda event: None,
    stopped: threading.Event | None = None,
) -> RunResult:
    """Train until the run's script has ended.

    Args:
        spec: what was asked.
        engine: where containers run.
        run_dir: the run's directory; its spec is written.
        restarts: how often a broken container is started again without progress in between.
        number_of_pass: 1, or 2 for the pass with the search.
        search: pass 2's orders.
        home: folder of mlops' own files.
        observer: gets the runner's events and the host's decisions (`attempt`, `exit`, `decision`), as they come.
        stopped: set by whoever wants this to end.

    Raises:
        Interrupted: `stopped` was set.
        EngineError: the engine failed.
    """
    with rundir.lease(run_dir):
        return _Attendance(
            spec, engine=engine, run_dir=run_dir, budget=restarts, number_of_pass=number_of_pass, search=search,
            home=home, observer=observer, stopped=stopped or threading.Event(),
        ).run()  # fmt: skip


def finished(run_dir: Path, number_of_pass: int) -> dict[str, Any] | None:
    """The terminal event of a pass that has ended well, None if it has not."""
    ends = [e for e in rundir.Events(run_dir).new() if e["event"] == "end" and e.get("pass") == number_of_pass]
    return ends[-1] if ends and ends[-1].get("exit_code") == 0 else None


class _Attendance:
    """Everything around one run while this program holds its lease."""

    def __init__(
        self, spec: RunSpec, *, engine: Engine, run_dir: Path, budget: int, number_of_pass: int,
        search: dict[str, Any] | None, home: Path, observer: Observer, stopped: threading.Event,
    ) -> None:  # fmt: skip
        self.spec, self.engine, self.run_dir, self.budget = spec, engine, run_dir, budget
        self.number_of_pass, self.search, self.home = number_of_pass, search, home
        self.observer, self.stopped = observer, stopped
        self.events = rundir.Events(run_dir)
        self.end: dict[str, Any] | None = None
        self.progress = 0
        self.smaller = False
        self.labels = {LABEL_RUN: spec.digest, LABEL_RUN_DIR: str(run_dir)}

    def run(self) -> RunResult:
        """Until the terminal event of this pass."""
        (self.run_dir / STOP).unlink(missing_ok=True)
        for event in self.events.new():
            self.observer({**event, "past": True})
        if finished(self.run_dir, self.number_of_pass) is not None:
            return self._result("finished", exit_code=0)
        restarts = 0
        container = self._adopt() or self._start()
        while True:
            before = self.progress
            ended = self._attend(container)
            self._note("exit", container=ended.id, exit_code=ended.exit_code, out_of_memory=ended.out_of_memory)
            restarts = 0 if self.progress > before and self._has_checkpoint() else restarts
            action = watchdog.decide(self._situation(ended, restarts))
            self._note("decision", do=action.do, why=action.why, delay_s=round(action.delay_s, 2))
            self.engine.remove(ended.id)
            if action.do == "finish":
                return self._result("finished", exit_code=0)
            if action.do == "stay stopped":
                if self.stopped.is_set():
                    raise Interrupted
                return self._result("stopped", exit_code=ended.exit_code, failure=action.failure)
            if action.do == "give up":
                return self._result("failed", exit_code=ended.exit_code, failure=action.failure)
            self.smaller = self.smaller or action.smaller
            if self.stopped.wait(action.delay_s):
                raise Interrupted
            restarts += 1
            container = self._start()

    def _adopt(self) -> Container | None:
        """A container that an earlier program started for this run and that still trains."""
        for container in self.engine.find({LABEL_RUN: self.spec.digest, LABEL_RUN_DIR: str(self.run_dir)}):
            if container.state == "running":
                self._note("decision", do="adopt", why="a training of this run is already under way")
                return container
            self.engine.remove(container.id)
        return None

    def _start(self) -> Container:
        attempt = 1 + sum(line.get("event") == "attempt" for line in rundir.read_lines(self.run_dir / ATTEMPTS))
        self.end = None
        orders: dict[str, Any] = {
            "seed": self.spec.seed, "attempt": attempt, "pass": self.number_of_pass, "input": list(self.spec.input),
            "metric_pattern": self.spec.metric_pattern, "metrics_file": self.spec.metrics_file, "search": self.search,
        }  # fmt: skip
        variables = {"MLOPS_SPEC": json.dumps(orders), "PYTHONHASHSEED": str(self.spec.seed % 2**32)}
        if self.smaller:
            variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        container = self.engine.start(
            Launch(
                image=self.spec.image,
                project=self.spec.project,
                inside=str(self.run_dir / "inside"),
                entry=self.spec.entry,
                args=self.spec.args,
                variables=variables,
                mounts=self.spec.mounts,
                caches=str(self.home / "caches"),
                limits=self.spec.limits,
                labels={**self.labels, LABEL_ATTEMPT: str(attempt)},
                log=str(self.run_dir / "log.txt"),
            )
        )
        self._note("attempt", attempt=attempt, number_of_pass=self.number_of_pass, container=container.id)
        return container

    def _attend(self, container: Container) -> Container:
        """Follow a container until it has ended; kill it if it hangs."""
        seen, since = -1, time.monotonic()
        while True:
            now = self.engine.wait(container.id, timeout_s=LOOK_S)
            self._read_events()
            if now.state != "running":
                self._read_events()
                return now
            if self.stopped.is_set() or (self.run_dir / STOP).exists():
                (self.run_dir / STOP).touch()
                self.engine.stop(container.id)
                continue
            heartbeat = rundir.heartbeat(self.run_dir)
            self.observer({"event": "heartbeat", **heartbeat})
            progress = heartbeat.get("progress")
            if progress != seen:
                seen, since = progress, time.monotonic()  # type: ignore[assignment]
            elif time.monotonic() - since > watchdog.quiet_allowed_s(heartbeat):
                quiet = time.monotonic() - since
                self._note(
                    "decision", do="kill", why=f"no progress for {quiet:.0f} s in phase {heartbeat.get('phase')}"
                )
                self.engine.kill(container.id)

    def _read_events(self) -> None:
        for event in self.events.new():
            if event["event"] == "checkpoint":
                self.progress += 1
            if event["event"] == "end" and event.get("pass") == self.number_of_pass:
                self.end = event
            self.observer(event)

    def _has_checkpoint(self) -> bool:
        return (self.run_dir / "inside" / "fits").is_dir()

    def _situation(self, ended: Container, restarts: int) -> watchdog.Situation:
        return watchdog.Situation(
            container=ended, end=self.end, restarts=restarts, budget=self.budget,
            asked_to_stop=(self.run_dir / STOP).exists(), out_of_memory_before=self.smaller,
            log=rundir.log_tail(self.run_dir),
        )  # fmt: skip

    def _note(self, event: str, **keys: Any) -> None:
        line = {"event": event, "time": round(time.time(), 3), **keys}
        rundir.append(self.run_dir / ATTEMPTS, line)
        self.observer(line)

    def _result(self, state: str, *, exit_code: int | None, failure: Failure | None = None) -> RunResult:
        lines = rundir.read_lines(self.run_dir / ATTEMPTS)
        restarts = sum(line.get("event") == "decision" and line.get("do") == "restart" for line in lines)
        result = RunResult(
            run_dir=str(self.run_dir), state=state, exit_code=exit_code, restarts=restarts,  # type: ignore[arg-type]
            seconds=_seconds(lines), failure=failure,
        )  # fmt: skip
        return result


def _seconds(lines: list[dict[str, Any]]) -> float:
    """Time between starts and exits."""
    total, began = 0.0, None
    for line in lines:
        if line.get("event") == "attempt":
            began = line.get("time")
        elif line.get("event") == "exit" and began is not None:
            total += float(line.get("time", began)) - float(began)
            began = None
    return round(total, 3)


def stop(run_dir: Path, spec: RunSpec, *, engine: Engine) -> int:
    """Stop a run's containers; the run stays resumable. Returns how many were running."""
    running = [c for c in engine.find({LABEL_RUN: spec.digest}) if c.state == "running"]
    if running:
        (run_dir / STOP).touch()
    for container in running:
        engine.stop(container.id)
    return len(running)
