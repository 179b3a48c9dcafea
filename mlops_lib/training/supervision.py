"""Training: one run through as many containers as it takes, until its terminal event.

`train` holds the run's lease, so that only one program starts containers for it. What is already
under way is adopted, what died is started again from its checkpoint, what had finished is returned
at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from mlops_lib import event_log, events, run_directory, run_lock
from mlops_lib.engine import (
    LABEL_ATTEMPT,
    LABEL_RUN,
    LABEL_RUN_DIR,
    Activity,
    Container,
    Engine,
    Launch,
    gpu,
)
from mlops_lib.errors import EngineLostError
from mlops_lib.events import Observer
from mlops_lib.project import trust
from mlops_lib.records import Failure, Mount, RunResult, RunSpec
from mlops_lib.registry import champions
from mlops_lib.runner import protocol
from mlops_lib.training import restart_policy
from mlops_lib.training.attempt_log import (
    STOP,
    attempt_number,
    count_restarts,
    finished,
    given_up,
    progress_position,
    reading,
    stopped_since,
    training_seconds,
)
from mlops_lib.training.cancellation import Interrupted, Stop
from mlops_lib.training.hang_detection import HangDetector

T = TypeVar("T")
LOOK_S = 0.25
"""How often events are read while a container runs; its death is noticed at once."""
GIVE_UP_S = 120.0
"""How long an engine that went away is waited for."""
RECONNECT_S = 0.2
RESTARTED_S = 2.0
"""How long after a person stopped a container he may start it again without ending its run."""
UNHOOKED_S = 60.0
"""A script that works for so long without a fit may train by a loop of its own."""
FULL_BYTES = 1 << 20
"""A disk with less room than this is full."""
IDLE_MINUTES = 120.0
MOST_SHOWN = 100_000
MOST_STEPS = 200_000
MOST_FITS = 100
"""Of a script's events, how many are passed on; how many of its steps of progress, and fits without
a loss, are noted.
"""
SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""TensorFlow takes the whole of a GPU's memory, and JAX three quarters, unless told otherwise."""
SMALLER = {**SHARED_GPU, "MALLOC_ARENA_MAX": "2", "LOKY_MAX_CPU_COUNT": "1"}
"""What makes a training's footprint smaller without changing its results: no memory reserved ahead,
fewer pools of free memory, one worker process (each has its own copy of the data).
"""
"""What was learned about each fit's steps, so that a restart need not learn it again."""
MOUNTS = "/mlops/mounts"
CRASH_BYTES = 256 << 10
"""The end of the log in which a crash is looked for: after its stack, all compiled modules are
listed.
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
    publish: str = "",
    home: Path,
    idle_minutes: float = IDLE_MINUTES,
    taking_over: bool = False,
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
        shared: `inside/` of the run that this is a worker of; None for the run itself.
        publish: ADDRESS:PORT at which its containers can be reached; "" for nowhere.
        home: folder of mlops' own files.
        idle_minutes: how long a script may do nothing at all where it makes no steps.
        taking_over: a watchdog asks, no person: a run that a person stopped stays stopped.
        observer: gets the runner's events and the host's decisions (`attempt`, `exit`, `decision`),
            as they come.
        stopped: set by whoever wants this to end.

    Raises:
        Interrupted: `stopped` was set.
        EngineLostError: the engine went away and did not come back.
        EngineError: the engine refused.
    """
    stopped = stopped or Stop()
    began = time.time()
    waiting = _Waiting(run_dir, observer, stopped)
    with run_lock.lease(run_dir, meanwhile=waiting):
        attendance = _Attendance(
            spec,
            engine=engine,
            run_dir=run_dir,
            budget=restarts,
            number_of_pass=number_of_pass,
            search=search,
            shared=shared,
            publish=publish,
            home=home,
            idle_s=idle_minutes * 60,
            observer=observer,
            stopped=stopped,
        )
        if stopped_since(run_dir, 0.0 if taking_over else began):
            return attendance.result("stopped")
        # What another program has just found out, or found out before it died, need not be tried
        # again.
        failure = (
            given_up(event_log.read_lines(run_dir / protocol.ATTEMPTS))
            if taking_over
            else waiting.failure()
        )
        if failure is not None:
            return attendance.result("failed", failure=failure)
        return attendance.run(taking_over=taking_over)


class _Waiting:
    """Another program has the lease: show what it does, until it lets go."""

    def __init__(self, run_dir: Path, observer: Observer, stopped: Stop) -> None:
        self.run_dir = run_dir
        self.observer = observer
        self.stopped = stopped
        self.events = event_log.Events(run_dir)
        self.rounds = 0
        self.seen = 0
        """Lines of attempts.jsonl when the waiting began."""

    def __call__(self) -> None:
        self.rounds += 1
        if self.rounds == 1:  # perhaps somebody only looks whether the lease is free
            self.seen = len(event_log.read_lines(self.run_dir / protocol.ATTEMPTS))
        elif self.rounds == 2:
            self.events.new()
            self.observer(
                {
                    "event": protocol.EVENT_DECISION,
                    "do": protocol.DO_WAIT,
                    "why": "another program trains this run already",
                }
            )
        for event in self.events.new() if self.rounds > 2 else ():
            self.observer(event)
        if self.stopped.wait(LOOK_S):
            raise Interrupted

    def failure(self) -> Failure | None:
        """Why the program that was waited for gave the run up, None if it did not."""
        return (
            given_up(event_log.read_lines(self.run_dir / protocol.ATTEMPTS)[self.seen :])
            if self.rounds
            else None
        )


class _Attendance:
    """Everything around one run while this program holds its lease."""

    def __init__(
        self,
        spec: RunSpec,
        *,
        engine: Engine,
        run_dir: Path,
        budget: int,
        number_of_pass: int,
        search: dict[str, Any] | None,
        shared: Path | None,
        publish: str,
        home: Path,
        idle_s: float,
        observer: Observer,
        stopped: Stop,
    ) -> None:
        self.spec = spec
        self.engine = engine
        self.run_dir = run_dir
        self.budget = budget
        self.shared = shared
        self.publish = publish
        self.number_of_pass = number_of_pass
        self.search = search
        self.home = home
        self.idle_s = idle_s
        self.observer = observer
        self.stopped = stopped
        self.events = event_log.Events(run_dir)
        self.attempt = 0
        self.end: dict[str, Any] | None = None
        self.progress: set[tuple[Any, ...]] = set()
        """Every checkpoint and trial there ever was: one that is made again is no progress."""
        self.losses: dict[Any, Any] = {}
        """By fit: its epoch and loss, where the last one was no number."""
        self.troubled = False
        """Whether it was restarted and has not made progress since."""
        self.shown = self.warned = 0
        """Events that the observer was given; warnings of a loss that is no number."""
        self.hung = ""
        self.fitted = False
        """Whether the attempt under way has begun a fit."""
        self.labels = {LABEL_RUN: spec.digest, LABEL_RUN_DIR: str(run_dir)}

    def run(self, *, taking_over: bool) -> RunResult:
        """Until the terminal event of this pass."""
        (self.run_dir / STOP).unlink(missing_ok=True)
        if finished(self.run_dir, self.number_of_pass) is not None and not self._asked_anew():
            self._read_events(past=True)
            return self.result("finished", exit_code=0)
        self.stopped.attended = True
        try:
            return self._until_the_end(taking_over=taking_over)
        except KeyboardInterrupt:
            if (
                not self.stopped.leaves
            ):  # a notebook's interrupt too: nothing may train on unattended
                with contextlib.suppress(EngineLostError):
                    stop(self.run_dir, self.spec, engine=self.engine)
            raise
        finally:
            self.stopped.attended = False

    def _asked_anew(self) -> bool:
        """Whether the finished script is to be run once more, because settings say anew where its
        number is.
        """
        lines = event_log.read_lines(self.run_dir / protocol.ATTEMPTS)
        asked = [
            line.get("reading") for line in lines if line.get("event") == protocol.EVENT_ATTEMPT
        ]
        return (
            self.number_of_pass == 1 and bool(asked) and asked[-1] not in (None, reading(self.spec))
        )

    def _until_the_end(self, *, taking_over: bool) -> RunResult:
        container = self._patiently(lambda: self._adopt(ended_too=taking_over))
        self._read_events(past=True)
        self.troubled = self._past().restarts > 0
        if container is None:
            container = self._start()
        while True:
            ended = self._attend(container)
            action = self._decide(ended)
            again = self._started_again(ended) if action.do == "stay stopped" else None
            if again is not None:
                container = again
                continue
            if action.do == "restart":
                container = self._again(ended, action)
                if container is not None:
                    continue
                action = restart_policy.Action(
                    do=protocol.DO_STAY_STOPPED, why="stopped by a person"
                )
            self._remove(ended)
            return self._finish(action, ended)

    def _started_again(self, ended: Container) -> Container | None:
        """The same container, where somebody who stopped it starts it (`docker restart`); None
        where nobody does.
        """
        deadline = time.monotonic() + RESTARTED_S
        while time.monotonic() < deadline and not (
            self.stopped.is_set() or (self.run_dir / STOP).exists()
        ):
            now = self._patiently(lambda: self.engine.get(ended.id))
            if now.state == "running":
                self._note(
                    protocol.EVENT_DECISION,
                    do=protocol.DO_ADOPT,
                    why="somebody has started its container again",
                )
                return now
            if self.stopped.wait(RECONNECT_S):
                break
        return None

    def _remove(self, ended: Container) -> None:
        self._patiently(lambda: self.engine.remove(ended.id))

    def _decide(self, ended: Container) -> restart_policy.Action:
        error = self.end.get("error") if self.end is not None else None
        self._note(
            protocol.EVENT_EXIT,
            container=ended.id,
            exit_code=ended.exit_code,
            out_of_memory=ended.out_of_memory,
            error=None
            if not isinstance(error, dict)
            else {key: error.get(key) for key in ("type", "file", "line", "kind")},
        )
        action = restart_policy.decide(self._situation(ended))
        self._note(
            protocol.EVENT_DECISION,
            do=action.do,
            why=action.why,
            trouble=action.trouble,
            delay_s=round(action.delay_s, 2),
            smaller=action.smaller,
            progress=len(self.progress),
            **({} if action.failure is None else {"failure": action.failure.to_json()}),
        )
        return action

    def _again(self, ended: Container, action: restart_policy.Action) -> Container | None:
        """The next container, once it is time; None if the run is stopped before."""
        if self._stopped_within(action.delay_s):
            if self.stopped.is_set() and self.stopped.leaves:
                raise Interrupted
            return None
        started = self._start()
        self._remove(ended)  # only now: what is to be put away must not keep the training waiting
        self.troubled = action.trouble != "grown"
        return started

    def _finish(self, action: restart_policy.Action, ended: Container) -> RunResult:
        if action.do == "finish":
            return self.result("finished", exit_code=0)
        if action.do == "give up":
            return self.result("failed", exit_code=ended.exit_code, failure=action.failure)
        with contextlib.suppress(OSError):
            (self.run_dir / STOP).touch()
        if self.stopped.is_set():
            raise Interrupted
        return self.result("stopped", exit_code=ended.exit_code, failure=action.failure)

    def _stopped_within(self, delay_s: float) -> bool:
        deadline = time.monotonic() + delay_s
        while not (self.stopped.is_set() or (self.run_dir / STOP).exists()):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.stopped.wait(min(left, LOOK_S))
        return True

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the engine; one that went away may come back."""
        lost: float | None = None
        while True:
            try:
                return ask()
            except EngineLostError as error:
                if lost is None:
                    lost = time.monotonic()
                    self._note(
                        protocol.EVENT_DECISION, do=protocol.DO_WAIT_FOR_ENGINE, why=error.what
                    )
                if time.monotonic() - lost > GIVE_UP_S:
                    raise
                if self.stopped.wait(RECONNECT_S):
                    raise Interrupted from None

    def _adopt(self, *, ended_too: bool = False) -> Container | None:
        """A container that an earlier program started for this run and that still trains.

        Args:
            ended_too: also one that ended while nobody watched, so that somebody decides about it.
        """
        found = sorted(
            self.engine.find(self.labels),
            key=lambda one: (one.state == "running", attempt_number(one)),
        )
        newest = found.pop() if found else None
        if (
            newest is not None
            and newest.state != "running"
            and not (ended_too and self._is_undecided(newest))
        ):
            found, newest = [*found, newest], None
        for container in found:
            self.engine.kill(container.id)
            self.engine.remove(container.id)
        if newest is not None:
            self.attempt = attempt_number(newest)
            ended = newest.state != "running"
            why = (
                "a training of this run ended while nobody watched"
                if ended
                else "a training of this run is already under way"
            )
            self._note(protocol.EVENT_DECISION, do=protocol.DO_ADOPT, why=why)
        return newest

    def _is_undecided(self, container: Container) -> bool:
        """Whether it ran and nobody has noted its end."""
        lines = event_log.read_lines(self.run_dir / protocol.ATTEMPTS)
        noted = any(
            line.get("event") == protocol.EVENT_EXIT and line.get("container") == container.id
            for line in lines
        )
        return container.exit_code is not None and not noted

    def _start(self) -> Container:
        before = event_log.read_lines(self.run_dir / protocol.ATTEMPTS)
        starts = [
            line.get("attempt") for line in before if line.get("event") == protocol.EVENT_ATTEMPT
        ]
        self.attempt = 1 + max((number for number in starts if isinstance(number, int)), default=0)
        self.end = None
        self.hung = ""
        self.fitted = False
        launch = self._launch(smaller=self._past(before).smaller)
        container = self._patiently(lambda: self._start_once(launch))
        self._note(
            protocol.EVENT_ATTEMPT,
            attempt=self.attempt,
            number_of_pass=self.number_of_pass,
            container=container.id,
            reading=reading(self.spec),
            log_from=self.log_from,
        )
        return container

    def _start_once(self, launch: Launch) -> Container:
        """Start it unless the engine did so before it went away."""
        labels = {**self.labels, LABEL_ATTEMPT: str(self.attempt)}
        for container in self.engine.find(labels):
            if container.state == "running":
                return container
            self.engine.remove(container.id)
        return self.engine.start(launch)

    def _launch(self, *, smaller: bool) -> Launch:
        mounts = _places(self.spec)
        champion, lent = (
            champions.lend(self.spec, home=self.home) if self.shared is None else ({}, ())
        )
        orders: dict[str, Any] = {
            "seed": self.spec.seed,
            "attempt": self.attempt,
            "pass": self.number_of_pass,
            "input": list(self.spec.input),
            "metric": self.spec.metric,
            "metric_pattern": self.spec.metric_pattern,
            "metrics_file": self.spec.metrics_file,
            "search": self.search,
            "smaller": smaller,
            "links": {name: mount.target for name, mount in mounts if name},
            "champion": champion,
            **self.spec.around,
        }
        variables = {
            "MLOPS_SPEC": json.dumps(orders),
            "PYTHONHASHSEED": str(self.spec.seed % 2**32),
            # Idle OpenMP threads that spin cost the others of a busy machine their turn: ten times
            # slower, measured with a boosting of scikit-learn on two cores under a load of 14.
            "OMP_WAIT_POLICY": "PASSIVE",
            # No key reaches a training: without this, wandb.init asks for one and fails. What it
            # logs is kept in the run.
            "WANDB_MODE": "offline",
        }
        if smaller:
            variables.update(SMALLER)
        if (self.search or {}).get("token"):  # there may be others on the same GPU
            variables.update(SHARED_GPU)
        log = self.run_dir / protocol.LOG
        self.log_from = log.stat().st_size if log.exists() else 0
        return Launch(
            image=self.spec.image,
            project=self.spec.project,
            inside=str(self.run_dir / protocol.INSIDE),
            shared="" if self.shared is None else str(self.shared),
            publish=self.publish,
            entry=self.spec.entry,
            args=self.spec.args,
            variables=variables,
            mounts=(*(mount for _, mount in mounts), *lent),
            caches=str(self.home / "downloads" / self._cache()),
            limits=self.spec.limits,
            gpu=self._gpu(),
            labels={**self.labels, LABEL_ATTEMPT: str(self.attempt)},
            log=str(log),
        )

    def _cache(self) -> str:
        """Return the name of the download cache; a spec of an older release has none, so the run
        gets one of its own.
        """
        return (
            self.spec.cache
            if trust.is_cache_name(self.spec.cache)
            else f"run-{self.spec.digest[:16]}"
        )

    def _gpu(self) -> str:
        """The GPU of this worker of a search, where the machine has several; the chief, which
        trains nothing, takes the first.
        """
        search = self.search or {}
        number = str(search.get("worker", "1"))
        if not (self.spec.limits.gpus and search.get("token") and number.isdigit()):
            return ""
        return gpu.for_worker(int(number) - 1, os.environ.get("CUDA_VISIBLE_DEVICES"))

    def _attend(self, container: Container) -> Container:
        """Follow a container until it has ended; kill it if it hangs, or if its script has ended
        and it has not.
        """
        vigil = HangDetector(
            self.run_dir, attempt=self.attempt, hangs=self._past().hangs, idle_s=self.idle_s
        )

        def activity() -> Activity | None:
            return self._patiently(lambda: self.engine.activity(container.id))

        while True:
            now = self._patiently(lambda: self.engine.wait(container.id, timeout_s=LOOK_S))
            self._read_events()
            if now.state != "running":
                self._read_events()
                vigil.keep()
                return now
            if self.stopped.is_set() and self.stopped.leaves:
                raise Interrupted
            if self.stopped.is_set() or (self.run_dir / STOP).exists():
                (self.run_dir / STOP).touch()
                self._patiently(lambda: self.engine.stop(container.id))
                continue
            self.observer({"event": protocol.EVENT_HEARTBEAT, **vigil.look(now)})
            if self.end is not None:
                if vigil.outlives_its_script(activity):
                    self._patiently(lambda: self.engine.stop(container.id))
                continue
            self.hung = vigil.hangs_because(activity)
            if self.hung:
                self._note(protocol.EVENT_DECISION, do=protocol.DO_KILL, why=self.hung)
                self._patiently(lambda: self.engine.kill(container.id))

    def _read_events(self, *, past: bool = False) -> None:
        before = None
        while before != self.events.offset:
            before = self.events.offset
            for event in self.events.new():
                self._read_event(event, past=past)

    def _read_event(self, event: dict[str, Any], *, past: bool) -> None:
        kind = event["event"]
        if (
            kind in (protocol.EVENT_CHECKPOINT, protocol.EVENT_TRIAL)
            and len(self.progress) < MOST_STEPS
        ):
            known = len(self.progress)
            self.progress.add(progress_position(event))
            if self.troubled and len(self.progress) > known:
                self.troubled = False
                self._note(
                    protocol.EVENT_DECISION, do=protocol.DO_RECOVERED, why="it makes progress again"
                )
        if kind == protocol.EVENT_EPOCH:
            self._watch_loss(event, past=past)
        if kind == protocol.EVENT_FIT and event.get("attempt") == self.attempt:
            self.fitted = True
        if kind == protocol.EVENT_END and (event.get("pass"), event.get("attempt")) == (
            self.number_of_pass,
            self.attempt,
        ):
            self.end = event
        self._show({**event, "past": True} if past else event)

    def _show(self, event: dict[str, Any]) -> None:
        """Pass an event of the script's on, unless there were too many to be of use to anybody."""
        self.shown += 1
        if self.shown <= MOST_SHOWN or event["event"] == protocol.EVENT_END:
            self.observer(event)
        elif self.shown == MOST_SHOWN + 1:
            self.observer(
                events.warning(f"the script has reported {MOST_SHOWN} events: no more are shown")
            )

    def _watch_loss(self, event: dict[str, Any], *, past: bool) -> None:
        fit = event.get("fit")
        loss = (event.get("metrics") or {}).get("loss")
        diverged = loss in ("nan", "inf", "-inf")
        if diverged and fit not in self.losses and len(self.losses) < MOST_FITS:
            self.losses[fit] = event.get("epoch")
            self.warned += 1
            if not past and self.warned <= MOST_FITS:
                self._note(
                    protocol.EVENT_DECISION,
                    do=protocol.DO_WARN,
                    why=f"{self._diverged()}; it is left to end by itself",
                    trouble="nan",
                )
        elif not diverged:
            self.losses.pop(fit, None)

    def _diverged(self) -> str:
        """Where the newest loss is no number."""
        if not self.losses:
            return ""
        fit, epoch = list(self.losses.items())[-1]
        return f"the loss of fit {fit} is no number since epoch {int(epoch or 0) + 1}"

    def _past(self, lines: list[dict[str, Any]] | None = None) -> restart_policy.Past:
        lines = event_log.read_lines(self.run_dir / protocol.ATTEMPTS) if lines is None else lines
        return restart_policy.recall(
            lines, number_of_pass=self.number_of_pass, progress=len(self.progress)
        )

    def _situation(self, ended: Container) -> restart_policy.Situation:
        lines = event_log.read_lines(self.run_dir / protocol.ATTEMPTS)
        starts = [
            line.get("log_from") for line in lines if line.get("event") == protocol.EVENT_ATTEMPT
        ]
        start = starts[-1] if starts and isinstance(starts[-1], int) else 0
        return restart_policy.Situation(
            container=ended,
            end=self.end,
            past=self._past(lines),
            budget=self.budget,
            asked_to_stop=(self.run_dir / STOP).exists(),
            hung=self.hung,
            nan=self._diverged(),
            disk_full=_takes_nothing(self.run_dir),
            stepped=self._has_stepped(lines),
            log=run_directory.log_tail(self.run_dir, start=start),
            crash=run_directory.log_tail(self.run_dir, start=start, limit=CRASH_BYTES),
        )

    def _has_stepped(self, lines: list[dict[str, Any]]) -> bool:
        """Return whether the attempt began a fit, or worked so long that it may train without one
        that is known.
        """
        begun = next(
            (
                line.get("time")
                for line in reversed(lines)
                if line.get("event") == protocol.EVENT_ATTEMPT
            ),
            None,
        )
        return self.fitted or begun is None or time.time() - float(begun) > UNHOOKED_S

    def _note(self, event: str, **keys: Any) -> None:
        line = {"event": event, "time": round(time.time(), 3), **keys}
        try:
            event_log.append(self.run_dir / protocol.ATTEMPTS, line)
        except (
            OSError
        ) as error:  # a full disk: the container must not go on unattended because of it
            self.observer(
                events.warning(f"{protocol.ATTEMPTS} cannot be written: {error.strerror}")
            )
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
            run_dir=str(self.run_dir),
            state=state,
            exit_code=exit_code,
            restarts=count_restarts(self.run_dir),
            seconds=training_seconds(event_log.read_lines(self.run_dir / protocol.ATTEMPTS)),
            failure=failure,
        )


def _takes_nothing(run_dir: Path) -> bool:
    """Whether the disk under a run's container is full or read-only."""
    try:
        found = os.statvfs(run_dir / protocol.INSIDE)
    except OSError:
        return False
    if found.f_flag & os.ST_RDONLY:
        return True
    return found.f_bavail * found.f_frsize < FULL_BYTES or found.f_favail == 0 < found.f_files


def _places(spec: RunSpec) -> list[tuple[str, Mount]]:
    """The mounts as the engine is to make them; a target within the project with the name it has
    there.

    The project is mounted read-only, so nothing can be mounted into it: the runner links to a place
    beside it.
    """
    found = []
    for number, mount in enumerate(spec.mounts):
        name = "" if mount.target.startswith("/") else mount.target
        beside = f"{MOUNTS}/{number}" if spec.backend == "docker" else mount.source
        found.append((name, replace(mount, target=beside) if name else mount))
    return found


def stop(run_dir: Path, spec: RunSpec, *, engine: Engine) -> int:
    """Stop a run's containers; the run stays resumable. Returns how many were running."""
    # Also where nothing runs: whoever attends may be about to restart. The next start removes the
    # marker.
    for place in (run_dir, *run_directory.workers(run_dir)):
        (place / STOP).touch()
    running = [c for c in engine.find({LABEL_RUN: spec.digest}) if c.state == "running"]
    for container in running:
        engine.stop(container.id)
    return len(running)
