"""Training: one run through as many containers as it takes, until its terminal event.

`train` holds the run's lease, so that only one program starts containers for it. What is already under way is adopted,
what died is started again from its checkpoint, what had finished is returned at once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mlops_lib import rundir, watchdog
from mlops_lib.engine import LABEL_ATTEMPT, LABEL_RUN, LABEL_RUN_DIR, Container, Engine, Launch
from mlops_lib.records import Failure, Mount, RunResult, RunSpec

Observer = Callable[[dict[str, Any]], None]
LOOK_S = 0.25
"""How often events are read while a container runs; its death is noticed at once."""
ATTEMPTS = "attempts.jsonl"
MOUNTS = "/mlops/mounts"
STOP = "stop"
"""Marker in the run directory: a person stopped this run."""


class Interrupted(KeyboardInterrupt):
    """The program was asked to end; the container is stopped and the run stays resumable.

    A KeyboardInterrupt, so that no library in between takes it for a failure of its own.
    """


class Stop(threading.Event):
    """The wish that a job ends: what attends a container ends it in order, anything else is interrupted at once."""

    def __init__(self) -> None:
        super().__init__()
        self.attended = False

    def ask(self) -> None:
        """Ask for the end; what a signal handler calls.

        Raises:
            Interrupted: nothing attends to a container right now.
        """
        self.set()
        if not self.attended:
            raise Interrupted


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
    stopped: Stop | None = None,
) -> RunResult:
    """Train until the run's script has ended; waits for a program that trains the same run already.

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
    stopped = stopped or Stop()
    waiting = _Waiting(run_dir, observer, stopped)
    with rundir.lease(run_dir, meanwhile=waiting):
        attendance = _Attendance(
            spec, engine=engine, run_dir=run_dir, budget=restarts, number_of_pass=number_of_pass, search=search,
            home=home, observer=observer, stopped=stopped,
        )  # fmt: skip
        if waiting.since is not None and stopped_since(run_dir, waiting.since):
            return attendance.result("stopped")
        return attendance.run()


class _Waiting:
    """Another program has the lease: show what it does, until it lets go."""

    def __init__(self, run_dir: Path, observer: Observer, stopped: Stop) -> None:
        self.run_dir, self.observer, self.stopped = run_dir, observer, stopped
        self.events = rundir.Events(run_dir)
        self.since: float | None = None

    def __call__(self) -> None:
        if self.since is None:
            self.since = time.time()
            self.events.new()
            self.observer({"event": "decision", "do": "wait", "why": "another program trains this run already"})
        for event in self.events.new():
            self.observer(event)
        if self.stopped.wait(LOOK_S):
            raise Interrupted


def stopped_since(run_dir: Path, moment: float) -> bool:
    """Whether a person stopped the run after that moment (Unix time)."""
    try:
        return (run_dir / STOP).stat().st_mtime >= moment
    except OSError:
        return False


def reading(spec: RunSpec) -> list[str]:
    """What says where the script's number is; a change of it alone asks for the finished script once more."""
    return [spec.metric_pattern, spec.metrics_file]


def finished(run_dir: Path, number_of_pass: int) -> dict[str, Any] | None:
    """The terminal event of a pass that has ended well, None if it has not."""
    ends = [e for e in rundir.Events(run_dir).new() if e["event"] == "end" and e.get("pass") == number_of_pass]
    return ends[-1] if ends and ends[-1].get("exit_code") == 0 else None


class _Attendance:
    """Everything around one run while this program holds its lease."""

    def __init__(
        self, spec: RunSpec, *, engine: Engine, run_dir: Path, budget: int, number_of_pass: int,
        search: dict[str, Any] | None, home: Path, observer: Observer, stopped: Stop,
    ) -> None:  # fmt: skip
        self.spec, self.engine, self.run_dir, self.budget = spec, engine, run_dir, budget
        self.number_of_pass, self.search, self.home = number_of_pass, search, home
        self.observer, self.stopped = observer, stopped
        self.events = rundir.Events(run_dir)
        self.attempt = 0
        self.end: dict[str, Any] | None = None
        self.steps: set[tuple[Any, ...]] = set()
        """Every checkpoint and trial there ever was: one that is made again is no progress."""
        self.smaller = False
        self.hung = ""
        self.labels = {LABEL_RUN: spec.digest, LABEL_RUN_DIR: str(run_dir)}

    def run(self) -> RunResult:
        """Until the terminal event of this pass."""
        (self.run_dir / STOP).unlink(missing_ok=True)
        if finished(self.run_dir, self.number_of_pass) is not None and not self._asked_anew():
            self._read_events(past=True)
            return self.result("finished", exit_code=0)
        self.stopped.attended = True
        try:
            return self._until_the_end()
        except KeyboardInterrupt:  # a notebook's interrupt: nothing may train on unattended
            (self.run_dir / STOP).touch()
            stop(self.run_dir, self.spec, engine=self.engine)
            raise
        finally:
            self.stopped.attended = False

    def _asked_anew(self) -> bool:
        """Whether the finished script is to be run once more, because settings say anew where its number is."""
        lines = rundir.read_lines(self.run_dir / ATTEMPTS)
        asked = [line.get("reading") for line in lines if line.get("event") == "attempt"]
        return self.number_of_pass == 1 and bool(asked) and asked[-1] not in (None, reading(self.spec))

    def _until_the_end(self) -> RunResult:
        restarts = 0
        container = self._adopt()
        self._read_events(past=True)
        container = container or self._start()
        while True:
            before = len(self.steps)
            ended = self._attend(container)
            self._note("exit", container=ended.id, exit_code=ended.exit_code, out_of_memory=ended.out_of_memory)
            restarts = 0 if len(self.steps) > before else restarts
            action = watchdog.decide(self._situation(ended, restarts))
            self._note("decision", do=action.do, why=action.why, delay_s=round(action.delay_s, 2))
            self.engine.remove(ended.id)
            if action.do == "finish":
                return self.result("finished", exit_code=0)
            if action.do == "stay stopped":
                if self.stopped.is_set():
                    raise Interrupted
                return self.result("stopped", exit_code=ended.exit_code, failure=action.failure)
            if action.do == "give up":
                return self.result("failed", exit_code=ended.exit_code, failure=action.failure)
            self.smaller = self.smaller or action.smaller
            if self._stopped_within(action.delay_s):
                (self.run_dir / STOP).touch()
                if self.stopped.is_set():
                    raise Interrupted
                return self.result("stopped", exit_code=ended.exit_code)
            restarts += 1
            container = self._start()

    def _stopped_within(self, delay_s: float) -> bool:
        deadline = time.monotonic() + delay_s
        while not (self.stopped.is_set() or (self.run_dir / STOP).exists()):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.stopped.wait(min(left, LOOK_S))
        return True

    def _adopt(self) -> Container | None:
        """A container that an earlier program started for this run and that still trains."""
        for container in self.engine.find({LABEL_RUN: self.spec.digest, LABEL_RUN_DIR: str(self.run_dir)}):
            if container.state == "running":
                self.attempt = int(container.labels.get(LABEL_ATTEMPT, 0))
                self._note("decision", do="adopt", why="a training of this run is already under way")
                return container
            self.engine.remove(container.id)
        return None

    def _start(self) -> Container:
        before = rundir.read_lines(self.run_dir / ATTEMPTS)
        self.attempt = attempt = 1 + sum(line.get("event") == "attempt" for line in before)
        self.end, self.hung = None, ""
        mounts = _places(self.spec)
        orders: dict[str, Any] = {
            "seed": self.spec.seed, "attempt": attempt, "pass": self.number_of_pass, "input": list(self.spec.input),
            "metric_pattern": self.spec.metric_pattern, "metrics_file": self.spec.metrics_file, "search": self.search,
            "links": {name: mount.target for name, mount in mounts if name},
        }  # fmt: skip
        variables = {
            "MLOPS_SPEC": json.dumps(orders), "PYTHONHASHSEED": str(self.spec.seed % 2**32),
            # Idle OpenMP threads that spin cost the others of a busy machine their turn: ten times slower, measured with
            # a boosting of scikit-learn on two cores under a load of 14.
            "OMP_WAIT_POLICY": "PASSIVE",
        }  # fmt: skip
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
                mounts=tuple(mount for _, mount in mounts),
                caches=str(self.home / "caches"),
                limits=self.spec.limits,
                labels={**self.labels, LABEL_ATTEMPT: str(attempt)},
                log=str(self.run_dir / "log.txt"),
            )
        )
        self._note(
            "attempt", attempt=attempt, number_of_pass=self.number_of_pass, container=container.id,
            reading=reading(self.spec),
        )  # fmt: skip
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
                phase = heartbeat.get("phase", "start")
                self.hung = f"it made no progress for {time.monotonic() - since:.0f} s in phase {phase}"
                self._note("decision", do="kill", why=self.hung)
                self.engine.kill(container.id)
                since = time.monotonic()

    def _read_events(self, *, past: bool = False) -> None:
        for event in self.events.new():
            if event["event"] in ("checkpoint", "trial"):
                self.steps.add(_step(event))
            if event["event"] == "end" and (event.get("pass"), event.get("attempt")) == (
                self.number_of_pass,
                self.attempt,
            ):
                self.end = event
            self.observer({**event, "past": True} if past else event)

    def _situation(self, ended: Container, restarts: int) -> watchdog.Situation:
        return watchdog.Situation(
            container=ended, end=self.end, restarts=restarts, budget=self.budget,
            asked_to_stop=(self.run_dir / STOP).exists(), out_of_memory_before=self.smaller, hung=self.hung,
            log=rundir.log_tail(self.run_dir),
        )  # fmt: skip

    def _note(self, event: str, **keys: Any) -> None:
        line = {"event": event, "time": round(time.time(), 3), **keys}
        rundir.append(self.run_dir / ATTEMPTS, line)
        self.observer(line)

    def result(
        self,
        state: Literal["finished", "failed", "stopped"],
        *,
        exit_code: int | None = None,
        failure: Failure | None = None,
    ) -> RunResult:
        """The run as it stands now, over all of its attempts."""
        return RunResult(
            run_dir=str(self.run_dir), state=state, exit_code=exit_code, restarts=count_restarts(self.run_dir),
            seconds=_seconds(rundir.read_lines(self.run_dir / ATTEMPTS)), failure=failure,
        )  # fmt: skip


def _places(spec: RunSpec) -> list[tuple[str, Mount]]:
    """The mounts as the engine is to make them; a target within the project with the name it has there.

    The project is mounted read-only, so nothing can be mounted into it: the runner links to a place beside it.
    """
    found = []
    for number, mount in enumerate(spec.mounts):
        name = "" if mount.target.startswith("/") else mount.target
        beside = f"{MOUNTS}/{number}" if spec.backend == "docker" else mount.source
        found.append((name, replace(mount, target=beside) if name else mount))
    return found


def _step(event: dict[str, Any]) -> tuple[Any, ...]:
    trial = event.get("trial")
    if isinstance(trial, dict):
        return (event.get("pass"), "trial", str(trial.get("number")), str(trial.get("state")))
    return (event.get("pass"), event.get("fit"), trial, event.get("epoch"), event.get("step"))


def count_restarts(run_dir: Path) -> int:
    """How often the run's containers were restarted, in all passes."""
    lines = rundir.read_lines(run_dir / ATTEMPTS)
    return sum(line.get("event") == "decision" and line.get("do") == "restart" for line in lines)


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
    # Also where nothing runs: whoever attends may be about to restart. The next start removes the marker.
    (run_dir / STOP).touch()
    running = [c for c in engine.find({LABEL_RUN: spec.digest}) if c.state == "running"]
    for container in running:
        engine.stop(container.id)
    return len(running)
