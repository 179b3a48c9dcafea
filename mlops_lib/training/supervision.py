"""Supervision of one run through its containers, until the script has ended.

`train` holds the run's lease, so that only one program starts containers for it. It adopts a
container that is under way, restarts from its checkpoint one that died, and returns at once if the
run had finished.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from mlops_lib import event_log, run_directory, run_lock
from mlops_lib.engine import LABEL_RUN, Activity, Container, Engine, Launch
from mlops_lib.errors import EngineLostError
from mlops_lib.events import Attempt, Exit, Observer
from mlops_lib.records import Failure, RunResult, RunSpec
from mlops_lib.retry import RetryPolicy
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import restart_policy
from mlops_lib.training.attempt_log import (
    STOP,
    AttemptJournal,
    attempt_number,
    count_restarts,
    finished,
    given_up,
    reading,
    stopped_since,
    training_seconds,
)
from mlops_lib.training.cancellation import Interrupted, Stop
from mlops_lib.training.event_follower import EventFollower
from mlops_lib.training.hang_detection import HangDetector
from mlops_lib.training.launch_plan import LaunchPlan

T = TypeVar("T")
LOOK_S = 0.25
"""Interval at which events are read while a container runs; its death is noticed at once."""
RECONNECT_S = 0.2
"""Interval between two attempts to reach an engine that went away."""
RECONNECT = RetryPolicy(first_s=RECONNECT_S, longest_s=RECONNECT_S, limit_s=120.0, jitter=0.0)
"""A daemon that is restarted is back within seconds: every moment without it is one in which a dead
training is not noticed, and a local socket needs no protection from one more call.
"""
RESTARTED_S = 2.0
"""Time in which a person may start a container again that they stopped, without ending its run."""
UNHOOKED_S = 60.0
"""A script that works for this long without a fit may train by a loop of its own."""
FULL_BYTES = 1 << 20
"""A disk with less free space than this is full."""
IDLE_MINUTES = 120.0
CRASH_BYTES = 256 << 10
"""The end of the log in which a crash is looked for: `faulthandler` lists all compiled modules after
its stack.
"""


def train(
    spec: RunSpec,
    *,
    engine: Engine,
    run_dir: Path,
    restarts: int = 5,
    number_of_pass: int = 1,
    search: dict[str, Any] | None = None,
    shared: Path | None = None,
    home: Path,
    idle_minutes: float = IDLE_MINUTES,
    taking_over: bool = False,
    observer: Observer = lambda event: None,
    stopped: Stop | None = None,
) -> RunResult:
    """Train until the run's script has ended.

    If another program already trains the same run, wait for it.

    Args:
        spec: the run.
        engine: the engine that runs its containers.
        run_dir: the run's directory; its spec has been written.
        restarts: the number of restarts of a broken container without progress in between.
        number_of_pass: 1, or 2 and higher for a pass with the search.
        search: the orders of a pass with the search.
        shared: `inside/` of the run that this is a worker of; None for the run itself.
        home: folder of mlops' own files.
        idle_minutes: the time that a script may be idle while it makes no steps.
        taking_over: the caller is a watchdog: a run that a person stopped stays stopped.
        observer: gets the runner's events and the host's (`attempt`, `exit`, `decision`) as they
            come.
        stopped: set from outside to end this.

    Raises:
        Interrupted: `stopped` was set.
        EngineLostError: the engine went away and did not come back.
        EngineError: the engine refused.
    """
    stopped = stopped or Stop()
    began = time.time()
    run = RunDirectory(run_dir)
    waiting = _LeaseWait(run, observer, stopped)
    with run_lock.lease(run_dir, meanwhile=waiting):
        plan = LaunchPlan(
            spec=spec,
            run_dir=run_dir,
            home=home,
            number_of_pass=number_of_pass,
            search=search,
            shared=shared,
        )
        supervisor = RunSupervisor(
            plan,
            engine=engine,
            run=run,
            budget=restarts,
            idle_s=idle_minutes * 60,
            observer=observer,
            stopped=stopped,
        )
        if stopped_since(run_dir, 0.0 if taking_over else began):
            return supervisor.result("stopped")
        # What another program has just found out, or found out before it died, need not be tried
        # again.
        failure = given_up(run.attempts) if taking_over else waiting.failure()
        if failure is not None:
            return supervisor.result("failed", failure=failure)
        return supervisor.run_to_end(taking_over=taking_over)


def stop(run_dir: Path, spec: RunSpec, *, engine: Engine) -> int:
    """Stop a run's containers; the run stays resumable.

    Returns:
        The number of containers that were running.
    """
    # The marker is made even if nothing runs: a supervisor may be about to restart a container. The
    # next start of the run removes it.
    for place in (run_dir, *run_directory.workers(run_dir)):
        (place / STOP).touch()
    running = [c for c in engine.find({LABEL_RUN: spec.digest}) if c.state == "running"]
    for container in running:
        engine.stop(container.id)
    return len(running)


class _LeaseWait:
    """Called repeatedly while another program has the run's lease; shows its events."""

    def __init__(self, run: RunDirectory, observer: Observer, stopped: Stop) -> None:
        self._run = run
        self._observer = observer
        self._stopped = stopped
        self._events = event_log.Events(run.path)
        self._rounds = 0
        self._known = 0
        # Number of attempts' events when the wait began.

    def __call__(self) -> None:
        self._rounds += 1
        # In the first round another program may merely be checking whether the lease is free.
        if self._rounds == 1:
            self._known = len(self._run.attempts)
        elif self._rounds == 2:
            self._events.new()
            self._observer(
                {
                    "event": protocol.EVENT_DECISION,
                    "do": protocol.DO_WAIT,
                    "why": "another program trains this run already",
                }
            )
        else:
            for event in self._events.new():
                self._observer(event)
        if self._stopped.wait(LOOK_S):
            raise Interrupted

    def failure(self) -> Failure | None:
        """Return why the other program gave the run up; None if it did not."""
        return given_up(self._run.attempts[self._known :]) if self._rounds else None


class RunSupervisor:
    """Drive one run while this program holds its lease.

    Args:
        plan: the start of its containers.
        engine: the engine that runs them.
        run: the run's directory.
        budget: the number of restarts without progress in between.
        idle_s: the time that a script may be idle while it makes no steps, in seconds.
        observer: gets all events.
        stopped: set from outside to end this.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        *,
        engine: Engine,
        run: RunDirectory,
        budget: int,
        idle_s: float,
        observer: Observer,
        stopped: Stop,
    ) -> None:
        self._plan = plan
        self._spec = plan.spec
        self._pass = plan.number_of_pass
        self._engine = engine
        self._run = run
        self._budget = budget
        self._idle_s = idle_s
        self._observer = observer
        self._stopped = stopped
        self._stop_marker = run.path / STOP
        self._journal = AttemptJournal(run.path, observer)
        self._events = EventFollower(
            run.path, journal=self._journal, observer=observer, number_of_pass=self._pass
        )
        self._attempt = 0
        self._hang_reason = ""

    def run_to_end(self, *, taking_over: bool) -> RunResult:
        """Supervise until this pass has ended, or the run is given up or stopped."""
        # The marker stops one start of the run. To start it again means that it is to train.
        self._stop_marker.unlink(missing_ok=True)
        if finished(self._run, self._pass) is not None and not self._must_read_again():
            self._events.read(past=True)
            return self.result("finished", exit_code=0)
        self._stopped.is_supervised = True
        try:
            return self._supervise(taking_over=taking_over)
        except KeyboardInterrupt:
            # An interrupt in a notebook arrives here too: nothing may train on without supervision,
            # unless another program is to take over.
            if not self._stopped.detaches:
                with contextlib.suppress(EngineLostError):
                    stop(self._run.path, self._spec, engine=self._engine)
            raise
        finally:
            self._stopped.is_supervised = False

    def result(
        self,
        state: Literal["finished", "failed", "stopped"],
        *,
        exit_code: int | None = None,
        failure: Failure | None = None,
    ) -> RunResult:
        """Return the run's present state, over all of its attempts."""
        return RunResult(
            run_dir=str(self._run.path),
            state=state,
            exit_code=exit_code,
            restarts=count_restarts(self._run.attempts),
            seconds=training_seconds(self._run.attempts),
            failure=failure,
        )

    def _must_read_again(self) -> bool:
        """Return whether the finished script must run once more to read its number.

        That is so if the settings that locate the number have changed.
        """
        starts = self._starts()
        last_reading = starts[-1].reading if starts else None
        return self._pass == 1 and last_reading not in (None, tuple(reading(self._spec)))

    def _starts(self) -> list[Attempt]:
        return [event for event in self._run.attempts if isinstance(event, Attempt)]

    # --- The loop over containers

    def _supervise(self, *, taking_over: bool) -> RunResult:
        # Only a watchdog decides about a container that ended unattended. If a person starts the
        # run again, its end is history.
        container = self._retry_while_engine_down(lambda: self._adopt(ended_too=taking_over))
        self._events.read(past=True)
        self._events.recovering = self._past().restarts > 0
        if container is None:
            container = self._start()
        while True:
            ended = self._attend(container)
            action = self._decide(ended)
            if action.do == protocol.DO_STAY_STOPPED:
                restarted = self._restarted_by_person(ended)
                if restarted is not None:
                    container = restarted
                    continue
            if action.do == protocol.DO_RESTART:
                next_container = self._restart(ended, action)
                if next_container is not None:
                    container = next_container
                    continue
                action = restart_policy.Action(
                    do=protocol.DO_STAY_STOPPED, why="stopped by a person"
                )
            self._remove(ended)
            return self._conclude(action, ended)

    def _decide(self, ended: Container) -> restart_policy.Action:
        """Journal the end of a container and the decision about it."""
        error = None if self._events.end is None else self._events.end.error
        self._journal.write(
            protocol.EVENT_EXIT,
            container=ended.id,
            exit_code=ended.exit_code,
            out_of_memory=ended.out_of_memory,
            error=None
            if error is None
            else {key: error.get(key) for key in ("type", "file", "line", "kind")},
        )
        # The exit is in the journal before the decision: a program that takes over in between must
        # find it, or it would decide about the same end a second time.
        action = restart_policy.decide(self._situation(ended))
        self._journal.decision(
            action.do,
            why=action.why,
            trouble=action.trouble,
            delay_s=round(action.delay_s, 2),
            smaller=action.smaller,
            progress=self._events.progress,
            **({} if action.failure is None else {"failure": action.failure.to_json()}),
        )
        return action

    def _restarted_by_person(self, ended: Container) -> Container | None:
        """Return the container if the person who stopped it starts it again, else None."""
        deadline = time.monotonic() + RESTARTED_S
        while time.monotonic() < deadline and not self._is_to_stop():
            now = self._retry_while_engine_down(lambda: self._engine.get(ended.id))
            if now.state == "running":
                why = "a person has started its container again"
                self._journal.decision(protocol.DO_ADOPT, why=why)
                return now
            if self._stopped.wait(RECONNECT_S):
                break
        return None

    def _restart(self, ended: Container, action: restart_policy.Action) -> Container | None:
        """Start the next container after the delay; None if the run is stopped before."""
        if self._is_stopped_within(action.delay_s):
            if self._stopped.is_set() and self._stopped.detaches:
                raise Interrupted
            return None
        started = self._start()
        self._remove(ended)  # only now, so that the removal does not delay the training
        self._events.recovering = action.trouble != "grown"
        return started

    def _conclude(self, action: restart_policy.Action, ended: Container) -> RunResult:
        if action.do == protocol.DO_FINISH:
            return self.result("finished", exit_code=0)
        if action.do == protocol.DO_GIVE_UP:
            return self.result("failed", exit_code=ended.exit_code, failure=action.failure)
        with contextlib.suppress(OSError):
            self._stop_marker.touch()
        if self._stopped.is_set():
            raise Interrupted
        return self.result("stopped", exit_code=ended.exit_code, failure=action.failure)

    def _is_to_stop(self) -> bool:
        return self._stopped.is_set() or self._stop_marker.exists()

    def _is_stopped_within(self, delay_s: float) -> bool:
        deadline = time.monotonic() + delay_s
        while not self._is_to_stop():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._stopped.wait(min(left_s, LOOK_S))
        return True

    def _retry_while_engine_down(self, call: Callable[[], T]) -> T:
        """Return the result of `call`, repeated for a while if the engine is away."""
        is_recorded = False

        def is_engine_lost(error: Exception) -> bool:
            nonlocal is_recorded
            if not isinstance(error, EngineLostError):
                return False
            if not is_recorded:
                self._journal.decision(protocol.DO_WAIT_FOR_ENGINE, why=error.what)
                is_recorded = True
            return True

        def sleep(pause_s: float) -> None:
            if self._stopped.wait(pause_s):
                raise Interrupted from None

        return RECONNECT.call(call, is_temporary=is_engine_lost, sleep=sleep)

    # --- Starting and adopting containers

    def _adopt(self, *, ended_too: bool) -> Container | None:
        """Return the container of this run that an earlier program started, None if none.

        All other containers of the run are removed.

        Args:
            ended_too: also return one that ended unattended, so that it is decided about.
        """
        containers = sorted(
            self._engine.find(self._plan.labels),
            # A running container wins over a newer one that has ended: two at once would write one
            # run directory.
            key=lambda container: (container.state == "running", attempt_number(container)),
        )
        newest = containers.pop() if containers else None
        is_ended = newest is not None and newest.state != "running"
        if newest is not None and is_ended and not (ended_too and self._is_undecided(newest)):
            containers.append(newest)
            newest = None
        for container in containers:
            self._engine.kill(container.id)
            self._engine.remove(container.id)
        if newest is not None:
            self._attempt = attempt_number(newest)
            self._events.adopt_attempt(self._attempt)
            why = (
                "a training of this run is already under way"
                if newest.state == "running"
                else "a training of this run ended without supervision"
            )
            self._journal.decision(protocol.DO_ADOPT, why=why)
        return newest

    def _is_undecided(self, container: Container) -> bool:
        """Return whether the container ran and its end is not in the journal."""
        is_journaled = any(
            isinstance(event, Exit) and event.container == container.id
            for event in self._run.attempts
        )
        # A container without an exit code was created and never started, so nothing of the run
        # happened in it.
        return container.exit_code is not None and not is_journaled

    def _start(self) -> Container:
        numbers = [event.attempt for event in self._starts() if event.attempt is not None]
        # Attempts are numbered over all passes: containers and heartbeats are matched by the
        # number.
        self._attempt = 1 + max(numbers, default=0)
        self._events.begin_attempt(self._attempt)
        self._hang_reason = ""
        log = self._plan.log
        # All attempts append to one log. A reason must be looked for in the present attempt's part
        # only.
        log_from = log.stat().st_size if log.exists() else 0
        launch = self._plan.launch(attempt=self._attempt, smaller=self._past().smaller)
        # The engine may have started the container and gone away before it answered.
        container = self._retry_while_engine_down(lambda: self._start_once(launch))
        self._journal.write(
            protocol.EVENT_ATTEMPT,
            attempt=self._attempt,
            number_of_pass=self._pass,
            container=container.id,
            reading=reading(self._spec),
            log_from=log_from,
        )
        return container

    def _start_once(self, launch: Launch) -> Container:
        """Start the container, unless the engine did so before it went away."""
        for container in self._engine.find(self._plan.attempt_labels(self._attempt)):
            if container.state == "running":
                return container
            self._engine.remove(container.id)
        return self._engine.start(launch)

    def _remove(self, ended: Container) -> None:
        self._retry_while_engine_down(lambda: self._engine.remove(ended.id))

    # --- Watching one container

    def _attend(self, container: Container) -> Container:
        """Follow a container until it has ended.

        It is killed if it hangs, and stopped if its script has ended and it has not.
        """
        detector = HangDetector(
            self._run.path,
            attempt=self._attempt,
            hangs=self._past().hangs,
            idle_s=self._idle_s,
        )

        def activity() -> Activity | None:
            return self._retry_while_engine_down(lambda: self._engine.activity(container.id))

        def wait() -> Container:
            return self._engine.wait(container.id, timeout_s=LOOK_S)

        while True:
            now = self._retry_while_engine_down(wait)
            self._events.read()
            if now.state != "running":
                self._events.read()  # what came between the first reading and the end
                detector.save_paces()
                return now
            if self._stopped.is_set() and self._stopped.detaches:
                raise Interrupted
            if self._is_to_stop():
                self._stop_marker.touch()
                self._stop_container(container)
                continue
            self._observer({"event": protocol.EVENT_HEARTBEAT, **detector.observe(now)})
            # The script has ended: from here on no progress is expected, and no hang can be
            # diagnosed.
            if self._events.end is not None:
                if detector.lingers_after_exit(activity):
                    self._stop_container(container)
                continue
            self._hang_reason = detector.hang_reason(activity)
            if self._hang_reason:
                self._journal.decision(protocol.DO_KILL, why=self._hang_reason)
                self._retry_while_engine_down(lambda: self._engine.kill(container.id))

    def _stop_container(self, container: Container) -> None:
        self._retry_while_engine_down(lambda: self._engine.stop(container.id))

    # --- The situation that decisions are taken in

    def _past(self) -> restart_policy.Past:
        return restart_policy.recall(
            self._run.attempts, number_of_pass=self._pass, progress=self._events.progress
        )

    def _situation(self, ended: Container) -> restart_policy.Situation:
        starts = self._starts()
        log_from = starts[-1].log_from or 0 if starts else 0
        return restart_policy.Situation(
            container=ended,
            end=self._events.end,
            past=self._past(),
            budget=self._budget,
            asked_to_stop=self._stop_marker.exists(),
            hung=self._hang_reason,
            nan=self._events.divergence,
            disk_full=disk_full_or_read_only(self._run.path),
            stepped=self._has_stepped(),
            log=run_directory.log_tail(self._run.path, start=log_from),
            crash=run_directory.log_tail(self._run.path, start=log_from, limit=CRASH_BYTES),
        )

    def _has_stepped(self) -> bool:
        """Return whether the attempt began a fit, or worked long enough to train without."""
        starts = self._starts()
        began = starts[-1].time if starts else None
        return self._events.fitted or began is None or time.time() - began > UNHOOKED_S


def disk_full_or_read_only(run_dir: Path) -> bool:
    """Return whether the disk under a run's container takes no more files or bytes."""
    try:
        status = os.statvfs(run_dir / protocol.INSIDE)
    except OSError:
        return False
    # The kernel remounts a file system read-only after an error of the device.
    if status.f_flag & os.ST_RDONLY:
        return True
    # File systems without a fixed number of inodes report 0 of 0.
    no_inodes_left = status.f_files > 0 and status.f_favail == 0
    # `f_bavail`, not `f_bfree`: the blocks reserved for root are of no use to a training.
    return status.f_bavail * status.f_frsize < FULL_BYTES or no_inodes_left
