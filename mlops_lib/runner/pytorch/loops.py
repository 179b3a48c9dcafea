"""The loops of a script at run time: where it stands, what is kept at the top of an iteration, and
entering again.

A position is the path of the loops under way: site, and number of the entry within the parent's
iteration. The state at the top of an iteration is relative to the loop's entry: what the objects
held then is there again when a new process has executed the script up to that entry. So a restart
executes the script from its first line, silently; the outermost loop that was under way is brought
to its iteration; what leads to the next one within is executed; and so on. A training loop that was
over is brought to its end.
"""

import collections
import contextlib
import ctypes
import io
import operator
import os
import sys
import threading
import time
import types
import zlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.pytorch import graph, proof, snapshot, store
from mlops_lib.runner.pytorch.loaders import READINGS, ignore
from mlops_lib.runner.pytorch.output import Output
from mlops_lib.runner.pytorch.pickling import RefusedError
from mlops_lib.runner.pytorch.rebuild import SeveredError
from mlops_lib.runner.state import checkpoint, rng

FOLDER = "loops"
"""Below `fits/`: the state of the script's own loops."""
OF_BUDGET = 0.5
"""The share of the budget that checkpoints may take; the rest pays for what is observed."""


class Loop:
    """One entry of a loop.

    Attributes:
        n: the iteration under way, from 0; -1 before the first.
        table: the objects at the entry, None if the loop is not kept.
        record: what was kept at the top of this iteration.
        done: records of the loops that were over in this iteration, by path.
        trained: whether an optimizer has stepped within this entry.
        leads: whether it did so within another loop of this one.
        order: a checksum of the indices that its items drew.
        over: whether it was brought to its end.
        source: what a `for` was given, before its iterator was made.
        on_turn: called at the top of each iteration but the first, with its number.
    """

    def __init__(self, site: str, frame: Any, items: Any, path: str, depth: int) -> None:
        self.site = site
        self.frame = frame
        self.items = items
        self.source: Any = None
        self.on_turn: Optional[Callable[[int], None]] = None
        self.path = path
        self.depth = depth
        self.n = -1
        self.children: "collections.Counter[str]" = collections.Counter()
        self.table: Optional[graph.Table] = None
        self.shape: Any = None
        self.record: Optional[Dict[str, Any]] = None
        self.done: Dict[str, Dict[str, Any]] = {}
        self.trained = False
        self.leads = False
        self.order = 0
        self.over = False
        self.line = int(site.split(":")[-2]) if site else 0
        self.evaluations = 0
        self.began = self.turned = time.monotonic()
        self.iteration_s = 0.0


class Loops:
    """What marked code calls.

    Attributes:
        training: what is observed of the trainings (`observation.Training`).
        unsaved: whether something was trained since the last checkpoint.
    """

    def __init__(self, run: Context, files: "set[str]") -> None:
        self.run = run
        self.training: Any = None
        self.before_taking: Callable[[], None] = lambda: None
        """Called before anything is kept: what is observed is brought to rest."""
        self.evaluated: Callable[[], bool] = bool
        """Whether an evaluation was seen in this process."""
        self.before_entry: Callable[[Loop], None] = lambda loop: None
        """Called before the objects at a loop's entry are noted."""
        self.judge: Any = None
        """What makes measurements of the script's evaluations (`evaluation.Judge`)."""
        self.forked_loop: Optional[Loop] = None
        """In a forked process of a search, the loop that it was forked at."""
        self.after_leave: Callable[[], None] = lambda: None
        """Called in such a process when that loop was left."""
        self._kept: Dict[str, Tuple[Callable[[], Any], Callable[[Any], None]]] = {}
        self._project = graph.Project(run.work, files)
        self._root = Loop("", None, None, "", -1)
        self._stack: List[Loop] = []
        self._thread = threading.get_ident()
        self._active = True
        self._walker: Optional[graph.Walker] = None
        self._store = store.Store(os.path.join(run.spec.inside, "fits", _folder(run)), run.work)
        self._budget = OF_BUDGET * run.spec.checkpoint_budget
        self._pace = checkpoint.Pace(self._budget, run.spec.mid_epoch_s)
        self._cost_s = 0.0
        self._walk_s = 0.0
        self._proof_s = 0.0
        """What a digest costs that follows a checkpoint."""
        self._durations: Dict[str, float] = {}
        self._plain: "set[str]" = set()
        """Sites of loops that were left without any training."""
        self._trained_sites: "set[str]" = set()
        self._leading_sites: "set[str]" = set()
        self._id = 0
        """Of the newest checkpoint."""
        self._begun_at = 0
        """The checkpoint that this process began at."""
        self._keeping = contextlib.ExitStack()
        self._is_keeping = False
        self.unsaved = False
        self._output = Output()
        self._proof = proof.LoopProof(self._store.folder, is_smaller=run.spec.smaller)
        self._target: Optional[Dict[str, Any]] = None
        self._load()
        os.register_at_fork(after_in_child=self._become_child)

    @property
    def replaying(self) -> bool:
        """Whether the script is being brought to where it stood."""
        return self._target is not None

    def include(self, name: str, take: Callable[[], Any], put: Callable[[Any], None]) -> None:
        """Keep something of the runner's own in every state.

        Args:
            name: names it.
            take: returns it, as plain values.
            put: restores it.
        """
        self._kept[name] = (take, put)

    @property
    def continues(self) -> bool:
        """Whether a loop is under way whose earlier iterations another process has executed."""
        return bool(self._begun_at) and bool(self._stack)

    def paths(self) -> List[str]:
        """Return the loops under way, outermost first."""
        return [loop.path for loop in self._stack]

    def _become_child(self) -> None:
        self._active = False

    def _is_ours(self) -> bool:
        return self._active and threading.get_ident() == self._thread and not self.run.nested

    # --- called by marked code

    def enter(self, site: str, items: Any) -> Any:
        """A `for` begins: its items."""
        iterator = iter(items)
        if not self._is_ours():
            return iterator
        loop = self._push(site, sys._getframe(1), iterator)
        loop.source = items
        return self._iterate(loop)

    def turn(self, site: str) -> bool:
        """A `while` is at its condition: whether to ask that."""
        frame = sys._getframe(1)
        if not self._is_ours():
            forked = self.forked_loop
            if forked is None or forked.frame is not frame or forked.site != site:
                return True
            self._top(forked)
            return not forked.over
        top = self._stack[-1] if self._stack else None
        if top is None or top.frame is not frame or top.site != site:
            top = self._push(site, frame, None)
        self._top(top)
        return not top.over

    def finish(self) -> None:
        """A loop has come to its end, or to a `break`."""
        if self._is_ours() and self._stack and self._stack[-1].frame is sys._getframe(1):
            with self.run.journal.guard("end of a training loop"):
                self._finish(self._stack[-1])

    def leave(self) -> None:
        """A loop was left, in any way."""
        frame = sys._getframe(1)
        if not self._is_ours():
            forked = self.forked_loop
            # The call stands at the line of its loop; loops within it are not followed.
            if forked is not None and forked.frame is frame and forked.line == frame.f_lineno:
                self.after_leave()
            return
        if any(one.frame is frame for one in self._stack):
            while self._stack[-1].frame is not frame:
                self._drop()
            self._drop()

    def generator(self, function: Any) -> Any:
        """A generator function is defined."""
        return READINGS.note_function(function)

    def begin_reading(self) -> None:
        """A generator begins."""
        READINGS.begin_generator(sys._getframe(1))

    def passing(self, value: Any) -> Any:
        """A generator yields."""
        READINGS.pass_on(sys._getframe(1))
        return value

    def end_reading(self) -> None:
        """A generator is over."""
        READINGS.end_generator(sys._getframe(1))

    # --- the stack

    def _push(self, site: str, frame: Any, items: Any) -> Loop:
        while self._stack and not _is_under_way(self._stack[-1].frame, frame):
            self._drop()
        parent = self._stack[-1] if self._stack else self._root
        number = parent.children[site]
        parent.children[site] += 1
        loop = Loop(site, frame, items, f"{parent.path}/{site}#{number}", len(self._stack))
        self._stack.append(loop)
        return loop

    def _drop(self) -> None:
        loop = self._stack.pop()
        if loop.n >= 0:
            self._durations[loop.site] = time.monotonic() - loop.began
            if loop.site in self._trained_sites:
                self._plain.discard(loop.site)
            else:
                self._plain.add(loop.site)
        if not self._stack:
            self._keeping.close()
            self._is_keeping = self.unsaved = False
        loop.frame = loop.table = loop.items = None

    def _iterate(self, loop: Loop) -> Iterator[Any]:
        readings = READINGS
        drawing = _Drawing(loop)
        while True:
            self._top(loop)
            if loop.over:
                return
            before, readings.drawing = readings.drawing, drawing
            try:
                value = next(loop.items)
            except StopIteration:
                return
            finally:
                readings.drawing = before
            yield value

    def _top(self, loop: Loop) -> None:
        """An iteration is over, or the loop begins."""
        while self._stack[-1] is not loop:
            self._drop()
        loop.n += 1
        if not loop.n:
            with self.run.journal.guard("enter a loop"):
                self.before_entry(loop)
            if self.forked_loop is not None:
                return  # nothing is kept in a trial
            with self.run.journal.guard("enter a loop"):
                self._enter(loop)
            return
        if loop.on_turn is not None:
            with self.run.journal.guard("turn of a training loop"):
                loop.on_turn(loop.n)
        if loop.children:
            loop.children.clear()
            loop.done.clear()
        if loop.table is not None and (loop.trained or loop.site in self._trained_sites):
            with self.run.journal.guard("top of a training loop"):
                self._at_boundary(loop)

    def _enter(self, loop: Loop) -> None:
        record = self._target["records"].get(loop.path) if self._target is not None else None
        if record is None and not self._is_worth_keeping(loop):
            return
        if "torch" not in sys.modules or not hasattr(sys.modules["torch"], "save"):
            return
        began = time.monotonic()
        try:
            loop.table = graph.Table(self._walker_now(), self._roots(loop))
            loop.shape = _shape(loop)
        except Exception:
            if record is not None:
                self._give_up(f"the objects around the loop at {loop.site} cannot be read")
            raise
        self._walk_s = time.monotonic() - began
        if not self._cost_s:  # a first checkpoint is about two walks
            self._pace.expect(2.0 * self._walk_s)
        if record is not None:
            self._restore(loop, record)
        loop.turned = time.monotonic()

    def _is_worth_keeping(self, loop: Loop) -> bool:
        """Whether the objects at a loop's entry are to be noted."""
        if self._target is not None or loop.site in self._plain:
            return False
        if not loop.depth:
            return True
        parent = self._stack[-2]
        if parent.table is None or (parent.n and parent.record is None):
            return False
        seconds = self._durations.get(loop.site)
        if seconds is None:
            return True
        spec = self.run.spec
        return seconds >= spec.mid_epoch_s and seconds * self._budget >= self._walk_s + self._cost_s

    def _walker_now(self) -> graph.Walker:
        if self._walker is None:
            torch = sys.modules["torch"]
            iterators = sys.modules["torch.utils.data.dataloader"]._BaseDataLoaderIter
            self._walker = graph.Walker(
                self._project,
                {
                    iterators: READINGS.read_position,
                    types.GeneratorType: READINGS.read_generator,
                    io.IOBase: lambda item: ("", []),
                },
            )
            self._reducers: Dict[type, Callable[[Any], Any]] = {
                iterators: READINGS.reduce_iterator,
                types.GeneratorType: READINGS.reduce_generator,
                io.TextIOWrapper: store.reduce_text,
            }
            del torch
        return self._walker

    def _roots(self, loop: Loop) -> List[Any]:
        frames = []
        frame = loop.frame
        while frame is not None:
            if (
                self._project.has_file(frame.f_code.co_filename)
                and frame.f_locals is not frame.f_globals
            ):
                frames.append(frame)
            frame = frame.f_back
        roots: List[Any] = list(self._project.modules())
        for one in reversed(frames):
            roots += one.f_locals.values()
        return roots

    # --- what trains

    def stepped(self, optimizer: Any = None) -> None:
        """An optimizer has made a step."""
        if not self._is_ours():
            return
        if not self._stack:
            from mlops_lib.runner.pytorch import resume

            resume.say_unmarked(self.run)
            return
        for loop in self._stack:
            if not loop.trained:
                loop.trained = True
                self._trained_sites.add(loop.site)
        for loop in self._stack[:-1]:
            if not loop.leads:
                loop.leads = True
                self._leading_sites.add(loop.site)
        if not self.unsaved:
            self.unsaved = True
            self._begin_keeping()

    def _begin_keeping(self) -> None:
        """Let a signal wait for the next boundary from now on."""
        if not self._is_keeping and not self.replaying:
            self._is_keeping = True
            self._keeping.enter_context(self.run.shutdown.waiting_for(self))
            self._pace.begin()

    # --- keeping

    def _at_boundary(self, loop: Loop) -> None:
        now = time.monotonic()
        loop.iteration_s = now - loop.turned
        loop.turned = now
        loop.record = None
        if self._target is not None or loop.table is None:
            return
        if self._proof.concerns(loop.path):
            self._check_proof(loop)
            self._proof_s = time.monotonic() - now
        self._consider(loop)

    def _consider(self, loop: Loop) -> None:
        reachable = all(one.n == 0 or one.record is not None for one in self._stack[:-1])
        asked = self.run.shutdown.requested
        leads = loop.site in self._leading_sites
        due = reachable and (asked or self._pace.is_due(within_epoch=not leads))
        if due or (reachable and leads and loop.iteration_s * self._budget >= self._cost_s):
            began = time.monotonic()
            loop.record = self._take(loop, over=False)
            self._cost_s = time.monotonic() - began
            if due and loop.record is not None:
                self._commit()
            elif loop.record is None:
                self._pace.record_write(self._cost_s)  # to find out costs as much each time
        if asked and not self.unsaved:
            self.run.writer.wait()
            self.run.shutdown.block_if_requested()

    def _finish(self, loop: Loop) -> None:
        """Keep the end of a training loop, so that a restart need not repeat it."""
        if self._target is not None or loop.over or not loop.trained or loop.table is None:
            return
        loop.over = True
        lasted = time.monotonic() - loop.began
        is_long = lasted * self._budget >= self._cost_s + self._walk_s
        due = self._pace.is_due() or (not loop.depth and is_long)
        if not due or not all(one.n == 0 or one.record is not None for one in self._stack[:-1]):
            return
        record = self._take(loop, over=True)
        if record is None:
            return
        parent = self._stack[-2] if loop.depth else self._root
        parent.done[loop.path] = record
        if (
            loop.depth or not self.evaluated()
        ):  # else the last evaluation is to be seen again: it may be judged
            self._commit(without=loop)

    def _take(self, loop: Loop, *, over: bool) -> Optional[Dict[str, Any]]:
        """What brings the loop back here; None if something cannot be brought back, which is said."""
        assert loop.table is not None
        self.before_taking()
        handles = fit_state.flush_handles(self.run.work)
        local = loop.frame.f_locals
        more = {
            "locals": None if local is loop.frame.f_globals else list(local.items()),
            "random": rng.capture_python(),
            "files": store.positions(handles, self.run.work),
            "modes": _modes(),
            "opened": READINGS.opened_by(loop.items),
            "kept": {name: take() for name, (take, _) in self._kept.items()},
            "shown": self._output.shown(),
        }
        readers = {"loader at": READINGS.position_of, "reading": READINGS.reading_of}
        try:
            content = snapshot.take(loop.table, more, self._reducers, readers)
        except RefusedError as error:
            self.run.journal.warn(
                f"the training loop at {loop.site} cannot be entered again: {error}; after a failure it is repeated from"
                " its last checkpoint or its beginning"
            )
            return None
        return {
            "path": loop.path,
            "n": loop.n,
            "over": over,
            "content": content,
            "shape": loop.shape,
            "order": loop.order,
            "leads": loop.leads,
            "files": self._store.snapshot_files(),
            "checksums": loop.table.last_checksums,
        }

    def _commit(self, without: Optional[Loop] = None) -> None:
        """Hand the records of all loops under way to the writer."""
        began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        stack = [loop for loop in self._stack if loop is not without]
        records = dict(self._root.done)
        for loop in stack:
            if loop.record is not None:
                records[loop.path] = loop.record
            elif loop.n == 0:
                records[loop.path] = {
                    "path": loop.path,
                    "n": 0,
                    "over": False,
                    "content": None,
                    "shape": loop.shape,
                }
            records.update(loop.done)
        last = (without or stack[-1]).path
        self._id += 1
        state = store.state_of(records, {"id": self._id, "last": last, "torch": _version()})
        self._proof.expect(self._id, last)
        fit = None if self.training is None else self.training.fit
        place = (
            {}
            if fit is None
            else {"fit": fit.number, "epoch": fit.epoch, "step": fit.steps_of_epoch}
        )

        def durable(size: int, seconds: float) -> None:
            self._pace.add_background(seconds)
            if size and place:
                self.run.journal.write(
                    protocol.EVENT_CHECKPOINT, **place, bytes=size, seconds=round(seconds, 4)
                )

        self.run.writer.submit(self._store, state, durable)
        self._cost_s += time.monotonic() - began
        self._pace.record_write(self._cost_s + self._proof_s)
        self.unsaved = False

    # --- entering again

    def _load(self) -> None:
        """Read the newest state that is whole, and was not found to be wrong."""
        journal = self.run.journal
        refuted = self._proof.refuted()
        self._store.before = self.run.start
        state = self._store.load_but(refuted, journal)
        self._id = max([0 if state is None else state["id"], *refuted])
        if state is None:
            if refuted:
                journal.warn(
                    "no checkpoint could be proven: the training loops are repeated from their beginning"
                )
            return
        self._target = state
        self._output.mute()

    def _restore(self, loop: Loop, record: Dict[str, Any]) -> None:
        """Bring a loop to where it was, at its entry."""
        assert self._target is not None
        assert loop.table is not None
        last = self._target["last"] == loop.path
        if self._target["torch"] != _version():
            self._give_up(f"the checkpoint is of PyTorch {self._target['torch']}")
            return
        if record["shape"] != loop.shape:
            self._give_up(f"the loop at {loop.site} is not what it was")
            return
        taken: Optional[Dict[str, Any]] = None
        if record["content"] is not None:
            try:
                taken = snapshot.read(loop.table, record["content"])
            except Exception as error:  # noqa: BLE001 - whatever unpickling meets: nothing has been changed yet
                READINGS.pending.clear()
                self._give_up(f"the loop at {loop.site} cannot be entered again: {error}")
                return
        if taken is not None:
            try:
                self._put(loop, record, taken)
            except Exception as error:  # noqa: BLE001 - half of it may have been put back
                self._refute(
                    f"the checkpoint could not be put back: {type(error).__name__}: {error}"
                )
        if last:
            self._arrive(loop)

    def _put(self, loop: Loop, record: Dict[str, Any], taken: Dict[str, Any]) -> None:
        assert loop.table is not None
        if loop.items is not None and not record["over"]:
            self._skip(loop, record["n"], taken["opened"])
            if loop.order != record["order"]:
                raise RefusedError("the order of the data does not repeat")
        pending, READINGS.pending = READINGS.pending, []
        writers = {
            "loader at": READINGS.advance,
            "reading": lambda item, content: READINGS.forward(item, content[0], content[1]),
        }
        snapshot.put(loop.table, taken["changes"], writers, pending)
        if taken["locals"] is not None:
            _put_locals(loop.frame, dict(taken["locals"]))
        if loop.table.checksums() != record["checksums"]:
            raise RefusedError("the numbers put back are not those that were kept")
        handles = fit_state.flush_handles(self.run.work)
        record["files"] = {**record["files"], "kept": self._target_files(record)}
        self._store.put_back(record["files"])
        store.put_positions(handles, taken["files"], self.run.work)
        self.before_taking()  # what the way here evaluated belongs to no epoch that is restored
        for name, value in taken["kept"].items():
            if name in self._kept:
                self._kept[name][1](value)
        self._output.put_shown(taken["shown"])
        _put_modes(taken["modes"])
        rng.restore_python(taken["random"])
        loop.n, loop.over = record["n"], record["over"]
        loop.trained, loop.leads = True, record["leads"]
        self._trained_sites.add(loop.site)
        loop.record = record
        if loop.over:
            parent = self._stack[-2] if loop.depth else self._root
            parent.done[loop.path] = record
            loop.record = None

    def _target_files(self, record: Dict[str, Any]) -> Dict[str, str]:
        assert self._target is not None
        return store.kept_of(self._target, record["path"])

    def _skip(self, loop: Loop, count: int, opened: List[Any]) -> None:
        """Pass over the items of the iterations before."""
        items = loop.items
        if type(items) in _INDEXED and hasattr(items, "__setstate__"):
            items.__setstate__(count)
            return
        READINGS.drawing = _Drawing(loop)
        try:
            with READINGS.ghostly(items), READINGS.opening_at(items, opened):
                for _ in range(count):
                    next(items)
        except StopIteration:
            raise RefusedError("the data is shorter than it was") from None
        finally:
            READINGS.drawing = ignore

    def _arrive(self, loop: Loop) -> None:
        """The script is where it was: it goes on aloud."""
        assert self._target is not None
        number = self._target["id"]
        self._target = None
        self._output.unmute()
        if self._stack and not loop.over:
            self._begin_keeping()
        fit = None if self.training is None else self.training.fit
        if fit is not None:
            self.run.journal.write(
                protocol.EVENT_FIT,
                fit=fit.number,
                framework="pytorch",
                state="resumed",
                epoch=fit.epoch,
            )
        self._pace.begin()
        self._proof.arrive(number, loop.path)
        self._begun_at = number
        self.run.journal.note(f"resumed at {loop.path}, iteration {loop.n}")

    def _give_up(self, why: str) -> None:
        """Go on from here without the rest of the state: what was put back so far is whole."""
        self._target = None
        self._output.unmute()
        self.run.journal.warn(f"{why}: the training is repeated from there")

    def _refute(self, why: str) -> None:
        """The state is not what it should be: another process goes on with the one before, or from
        the beginning.
        """
        self._output.unmute()
        first = self._begun_at if self._target is None else self._target["id"]
        self._proof.refute(*range(first, max(first, self._id) + 1))
        self.run.restart_process(why)

    def _check_proof(self, loop: Loop) -> None:
        """Compare with what the attempt before had here, or keep that for the next one."""
        assert loop.table is not None
        local = {} if loop.frame.f_locals is loop.frame.f_globals else loop.frame.f_locals
        digest = proof.digest(loop.table, local)
        if not self._proof.show(loop.path, loop.n, digest):
            if _is_exact():
                self._refute("the first boundary after the checkpoint is not what it was")
            self.run.journal.warn(
                "the computation on this device does not repeat: it is not guaranteed identical"
            )

    def end(self, error: Optional[BaseException]) -> None:
        """The script is over."""
        if self._target is not None:
            self._give_up("the script ended before it came to where it had been")
        self._output.unmute()
        self._active = False
        if isinstance(error, SeveredError):
            self._proof.refute(*range(self._id + 1))
            self.run.restart_process(
                "a gradient goes through a checkpoint: the training is repeated from its beginning"
            )


def _folder(run: Context) -> str:
    """Return the name of the folder of states: a search's own, since its loops train another model."""
    if run.spec.search is None:
        return FOLDER
    return os.path.join(f"pass-{run.spec.number_of_pass}", FOLDER)


class _Drawing:
    """Adds the indices drawn for a loop to its checksum."""

    __slots__ = ("_loop",)

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __call__(self, shown: bytes) -> None:
        self._loop.order = zlib.crc32(shown, self._loop.order)


_INDEXED: Tuple[type, ...] = (type(iter([])), type(iter(())), type(iter(range(0))))


def _is_under_way(frame: Any, at: Any) -> bool:
    while at is not None:
        if at is frame:
            return True
        at = at.f_back
    return False


def _shape(loop: Loop) -> Any:
    """What a loop goes over, and the whole numbers around it: a script that found a checkpoint of
    its own has others.
    """
    items = loop.items
    what = type(items).__name__
    if isinstance(items, type(iter(range(0)))):
        what = repr(items.__reduce__()[1])
    else:
        with contextlib.suppress(TypeError):
            what += str(operator.length_hint(items))
    local = loop.frame.f_locals
    if local is loop.frame.f_globals:
        local = {}
    numbers = sorted((k, v) for k, v in local.items() if type(v) in (int, bool))
    return what, repr(numbers)


def _put_locals(frame: Any, wanted: Dict[str, Any]) -> None:
    """Give a frame under way its local variables."""
    local = frame.f_locals
    for name in [name for name in local if name not in wanted]:
        del local[name]
    local.update(wanted)
    if sys.version_info < (3, 13):  # from then on the mapping writes through
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(1))


def _modes() -> Dict[str, Any]:
    torch = sys.modules["torch"]
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "folder": os.getcwd(),
    }


def _put_modes(modes: Dict[str, Any]) -> None:
    torch = sys.modules["torch"]
    torch.set_grad_enabled(modes["grad"])
    torch.set_default_dtype(modes["dtype"])
    os.chdir(modes["folder"])


def _version() -> str:
    with contextlib.suppress(AttributeError):
        return str(sys.modules["torch"].__version__)
    return ""


def _is_exact() -> bool:
    """Whether the computation must repeat to the bit: on the processor it does."""
    torch = sys.modules["torch"]
    return not torch.cuda.is_initialized() or torch.are_deterministic_algorithms_enabled()
