"""Watching over runs: how each stands, who drives it, and going on with those whose program died.

A watchdog keeps no state of its own. `asked.json` in a run's directory says what somebody asked for and has not been
answered; the lock on its `drivers` says whether a living program sees to that. So any number of watchdogs may come and
go, on this home, and every unanswered run is taken over once: the run's lease decides between two that try.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

from mlops_lib import atomic, run_directory
from mlops_lib.errors import EngineLostError, MlopsError
from mlops_lib.records import Record, RunResult, RunSpec
from mlops_lib.runner import protocol
from mlops_lib.training import supervision

Observer = Callable[[dict[str, Any]], None]
Verb = Literal["run", "train", "search"]
TakeOver = Callable[[Path, "Asked", Observer, supervision.Stop], object]
LOOK_S = 0.5
TAKE_OVER_S = 2.0
"""A run whose program died is taken over after this."""
AGAIN_S = 10.0
"""… and after this, where the engine did not answer when it was tried."""
OLD_S = 30.0
"""What has not been renewed for so long tells nothing: there is no chief."""
SILENT_S = 10.0
"""A worker that has not been heard of for so long is shown as such; they call twice a second."""
MOST_SHOWN = 1000
WORKERS_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Asked(Record):
    """What somebody asked of a run: the contents of `asked.json`, there until it is answered."""

    schema: int = 1
    verb: Verb
    settings: Mapping[str, Any]
    """The settings that are not the default; never secrets, which are no settings."""
    time: float


@contextmanager
def asking(run_dir: Path, verb: Verb, settings: Mapping[str, Any]) -> Iterator[None]:
    """Drive a run, and leave word of what was asked until it is answered.

    An answer is a result, or an error that would come again. What an interrupt, a kill or a lost engine leaves
    unanswered is for a watchdog.
    """
    before, answered = asked(run_dir), False
    try:
        with run_directory.driven(run_dir):
            # Who trains a run that somebody else wants a verdict of does not answer him.
            if verb == "run" or before is None or before.verb != "run":
                atomic.write_json(
                    run_dir / protocol.ASKED, Asked(verb=verb, settings=settings, time=time.time()).to_json()
                )
            try:
                yield
                answered = True
            except MlopsError as error:
                answered = not isinstance(error, EngineLostError)
                raise
    finally:
        # While another program sees to the run, it is his to answer: he could be killed yet.
        if answered and not run_directory.is_driven(run_dir):
            _answer(run_dir, verb)


def asked(run_dir: Path) -> Asked | None:
    """What was asked of a run and is not answered."""
    return run_directory.read_record(run_dir / protocol.ASKED, Asked)


def _answer(run_dir: Path, verb: Verb) -> None:
    found = asked(run_dir)
    if found is not None and found.verb == verb:
        (run_dir / protocol.ASKED).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Standing(Record):
    """How a run stands now."""

    run_dir: str
    name: str = ""
    state: Literal["absent", "training", "searching", "deciding", "waiting", "stopped", "failed", "finished"]
    """"waiting": somebody asked for it and nobody sees to it."""
    attempt: int = 0
    fit: int | None = None
    epoch: int | None = None
    """From 0, as the script's framework counts."""
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    trial: int | None = None
    """Of a search: the candidate under way."""
    steps_per_s: float | None = None
    memory_bytes: int | None = None
    restarts: int = 0
    trouble: str = ""
    """The last decision that something was wrong led to, in words."""
    workers: tuple[Standing, ...] = ()
    """How the workers of its search stand, in their order: first those of this machine."""
    where: str = ""
    """Of a worker on another machine: its address, as the chief sees it."""
    silent_s: float | None = None
    """Of a worker on another machine: seconds since the chief heard of it."""


def standing(run_dir: Path) -> Standing:
    """Read how a run stands."""
    spec = run_directory.read_record(run_dir / protocol.SPEC, RunSpec)
    if spec is None:
        return Standing(run_dir=str(run_dir), state="absent")
    lines = run_directory.read_lines(run_dir / protocol.ATTEMPTS)
    state = _state(run_dir, lines, under_way=_is_under_way(lines))
    driven = run_directory.is_driven(run_dir)
    workers = tuple(_worker(place, driven=driven) for place in run_directory.workers(run_dir))
    if state == "searching":
        workers += elsewhere(run_dir)
    return replace(_shown(run_dir, lines), name=spec.name, state=state, workers=workers)


def elsewhere(run_dir: Path) -> tuple[Standing, ...]:
    """The workers of other machines, as the search's chief has written down what it hears of them."""
    place = run_dir / protocol.INSIDE / protocol.SEARCH / protocol.SEARCH_WORKERS
    try:
        if time.time() - place.lstat().st_mtime > OLD_S:
            return ()
        found = atomic.read_json(place, inside=run_dir, limit=WORKERS_BYTES)["workers"][:MOST_SHOWN]
        own = {one.name for one in run_directory.workers(run_dir)}
        return tuple(_of_another_machine(one) for one in found if one["name"] not in own)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _of_another_machine(one: dict[str, Any]) -> Standing:
    whole = {key: one.get(key) if _is_whole(one.get(key)) else None for key in ("trial", "epoch", "epochs", "begun")}
    silent_s = float(one["silent_s"])
    return Standing(
        run_dir="", name=f"worker {str(one['name'])[:60]}", state="searching" if silent_s < SILENT_S else "waiting",
        trial=whole["trial"], epoch=whole["epoch"], epochs=whole["epochs"], where=str(one["where"])[:60], silent_s=silent_s,
        trouble="" if silent_s < SILENT_S else f"not heard of for {silent_s:.0f} s",
    )  # fmt: skip


def _worker(place: Path, *, driven: bool) -> Standing:
    """How a worker stands; its run's program sees to it."""
    lines = run_directory.read_lines(place / protocol.ATTEMPTS)
    state: Any = "finished" if supervision.given_up(lines) is None else "failed"
    if (place / supervision.STOP).exists():
        state = "stopped"
    elif _is_under_way(lines):
        state = "searching" if driven else "waiting"
    return replace(_shown(place, lines), name=f"worker {place.name}", state=state)


def _is_under_way(lines: list[dict[str, Any]]) -> bool:
    """Whether the last attempt has not ended."""
    known = [line["event"] for line in lines if line.get("event") in ("attempt", "exit")]
    return known[-1:] == ["attempt"]


def _shown(run_dir: Path, lines: list[dict[str, Any]]) -> Standing:
    """What its attempts and its heartbeat show."""
    starts = [line for line in lines if line.get("event") == "attempt"]
    under_way = _is_under_way(lines)
    heartbeat = run_directory.heartbeat(run_dir) if under_way else {}
    step_s = heartbeat.get("step_s")
    memory, epochs, trial = heartbeat.get("rss"), heartbeat.get("epochs"), heartbeat.get("trial")
    return Standing(
        run_dir=str(run_dir), state="deciding", trial=trial if _is_whole(trial) else None,
        attempt=int(starts[-1].get("attempt") or 0) if starts else 0, fit=heartbeat.get("fit"),
        epoch=heartbeat.get("epoch"), epochs=epochs if _is_whole(epochs) else None, step=heartbeat.get("step"),
        steps=heartbeat.get("steps"), steps_per_s=round(1 / step_s, 2) if step_s else None,
        memory_bytes=memory if _is_whole(memory) else None, restarts=supervision.count_restarts(run_dir),
        trouble=next((str(one.get("why")) for one in reversed(lines) if one.get("trouble")), ""),
    )  # fmt: skip


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _state(run_dir: Path, lines: list[dict[str, Any]], *, under_way: bool) -> Any:
    if (run_dir / supervision.STOP).exists():
        return "stopped"
    if not run_directory.is_driven(run_dir):
        if asked(run_dir) is not None:
            return "waiting"
        return "finished" if supervision.given_up(lines) is None else "failed"
    if not under_way:
        return "deciding"
    number = next((one.get("number_of_pass") for one in reversed(lines) if one.get("event") == "attempt"), 1)
    return "training" if number == 1 else "searching"


class Watch:
    """Looks at runs, tells what is decided about them, and takes over those that nobody sees to.

    Args:
        places: the run directories to look at, asked again each time: new ones come.
        take_over: goes on with a run; runs in a thread of its own, one for each run.
        observer: gets every decision about these runs as a line of `attempts.jsonl` with its `run_dir`, whoever took it.
    """

    def __init__(self, places: Callable[[], list[Path]], *, take_over: TakeOver, observer: Observer) -> None:
        self._places, self._take_over, self._observer = places, take_over, observer
        self._resting: dict[Path, float] = {}
        """Since when nobody sees to a run."""
        self._later: dict[Path, float] = {}
        """When a run may be tried again."""
        self._broken: dict[Path, Asked] = {}
        """What was asked of runs that cannot be gone on with."""
        self._told: dict[Path, int] = {}
        self._workers: dict[Path, tuple[threading.Thread, supervision.Stop]] = {}

    def look(self) -> list[Path]:
        """Look at every run once; returns those that are not answered."""
        pending, places = [], self._places()
        self._observer({"event": "look", "run_dirs": [str(place) for place in places]})
        for run_dir in places:
            self._tell(run_dir)
            wanted = asked(run_dir)
            if wanted is None or (run_dir / supervision.STOP).exists():
                continue
            pending.append(run_dir)
            if run_directory.is_driven(run_dir):
                self._resting.pop(run_dir, None)
            elif self._is_due(run_dir, wanted):
                self._begin(run_dir, wanted)
        return [one for one in pending if one not in self._broken]

    def _is_due(self, run_dir: Path, wanted: Asked) -> bool:
        now = time.monotonic()
        since = self._resting.setdefault(run_dir, now)
        worker = self._workers.get(run_dir)
        at_work = worker is not None and worker[0].is_alive()
        return (
            not at_work
            and now - since > TAKE_OVER_S
            and now > self._later.get(run_dir, 0.0)
            and self._broken.get(run_dir) != wanted
        )

    def _begin(self, run_dir: Path, wanted: Asked) -> None:
        why = f"nobody sees to `{wanted.verb}`, which was asked and is not answered"
        self._observer({"event": "decision", "do": "take over", "why": why, "run_dir": str(run_dir)})
        stopped = supervision.Stop(leaves=True)
        thread = threading.Thread(
            target=self._work, args=(run_dir, wanted, stopped), name=f"mlops-{run_dir.name}", daemon=True
        )
        self._workers[run_dir] = (thread, stopped)
        thread.start()

    def _work(self, run_dir: Path, wanted: Asked, stopped: supervision.Stop) -> None:
        try:
            self._take_over(run_dir, wanted, self._observer, stopped)
        except supervision.Interrupted:
            return
        except EngineLostError as error:
            self._later[run_dir] = time.monotonic() + AGAIN_S
            self._warn(run_dir, error.what)
        except MlopsError as error:
            self._warn(run_dir, str(error))
            self._leave_alone(run_dir)
        except Exception as error:  # noqa: BLE001 - one run's trouble must not end the watch over the others
            self._leave_alone(run_dir)
            self._warn(run_dir, f"a bug of ours: {type(error).__name__}: {error}")

    def _leave_alone(self, run_dir: Path) -> None:
        """Until somebody asks for it anew."""
        unanswered = asked(run_dir)
        if unanswered is not None:
            self._broken[run_dir] = unanswered

    def _warn(self, run_dir: Path, message: str) -> None:
        self._observer({"event": "warning", "message": message, "run_dir": str(run_dir)})

    def _tell(self, run_dir: Path) -> None:
        """What was decided since the last look, by whoever drives the run; not what was decided before the first."""
        lines = run_directory.read_lines(run_dir / protocol.ATTEMPTS)
        for line in lines[self._told.get(run_dir, len(lines)) :]:
            self._observer({**line, "run_dir": str(run_dir)})
        self._told[run_dir] = len(lines)

    @property
    def at_work(self) -> bool:
        """Whether it goes on with any run."""
        return any(thread.is_alive() for thread, _ in self._workers.values())

    def let_go(self) -> None:
        """Leave the runs to the next watchdog; their containers go on."""
        for _, stopped in self._workers.values():
            stopped.set()
        for thread, _ in self._workers.values():
            thread.join(timeout=5.0)


def result(run_dir: Path) -> RunResult | None:
    """How the run's training ended, None if it has not."""
    return run_directory.read_record(run_dir / protocol.TRAINING, RunResult)
