"""The marked loops at run time: the methods that marked code calls.

`Loops` follows the entries, iterations and ends of the marked loops (`loop`). At an entry it notes
the reachable objects (`reachable`) and restores the loop if a checkpoint has a record of it
(`reentry`); at the top of an iteration it makes a checkpoint if one is due (`loop_checkpoints`).
"""

import os
import sys
import threading
import time
from typing import Any, Callable, Iterator, List, Optional

from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import graph
from mlops_lib.runner.pytorch.loaders import READINGS
from mlops_lib.runner.pytorch.loop import Drawing, Loop, LoopStack, shape_of
from mlops_lib.runner.pytorch.loop_checkpoints import LoopCheckpoints
from mlops_lib.runner.pytorch.reachable import ReachableObjects
from mlops_lib.runner.pytorch.rebuild import SeveredError
from mlops_lib.runner.pytorch.reentry import Reentry


class Loops:
    """The object that marked code calls.

    Only the thread and the process that began the run are followed: a loop in another one cannot
    be re-entered.

    Args:
        run: the run.
        files: marked files of libraries.

    Attributes:
        checkpoints: writes the checkpoints of the loops.
        before_entry: called before the objects at a loop's entry are noted.
        judge: makes measurements of the script's evaluations (`evaluation.Judge`).
        forked_loop: in a forked process of a search, the loop that it was forked at.
        after_leave: called in such a process when that loop was left.
    """

    def __init__(self, run: Context, files: "set[str]") -> None:
        self.run = run
        self.before_entry: Callable[[Loop], None] = lambda loop: None
        self.judge: Any = None
        self.forked_loop: Optional[Loop] = None
        self.after_leave: Callable[[], None] = lambda: None
        self._thread = threading.get_ident()
        self._active = True
        self._objects = ReachableObjects(graph.Project(run.work, files))
        self._stack = LoopStack(lambda: self.checkpoints.end_waiting())
        self.checkpoints = LoopCheckpoints(run, self._stack, self._objects)
        self._reentry = Reentry(run, self._stack, self.checkpoints)
        os.register_at_fork(after_in_child=self._become_child)

    def paths(self) -> List[str]:
        """Return the running loops, outermost first."""
        return [loop.path for loop in self._stack.running]

    def _become_child(self) -> None:
        self._active = False

    def _is_followed(self) -> bool:
        """Return whether a call comes from the script's own first thread and process."""
        return self._active and threading.get_ident() == self._thread and not self.run.nested

    # --- called by marked code; the caller's frame identifies the loop

    def enter(self, site: str, items: Any) -> Any:
        """Begin a `for`; return an iterator over its items."""
        iterator = iter(items)
        if not self._is_followed():
            return iterator
        loop = self._stack.push(site, sys._getframe(1), iterator)
        loop.source = items
        return self._iterate(loop)

    def turn(self, site: str) -> bool:
        """Begin an iteration of a `while`; return whether to evaluate its condition."""
        frame = sys._getframe(1)
        if not self._is_followed():
            forked = self.forked_loop
            if forked is None or forked.frame is not frame or forked.site != site:
                return True
            self._top(forked)
            return not forked.over
        running = self._stack.running
        top = running[-1] if running else None
        if top is None or top.frame is not frame or top.site != site:
            top = self._stack.push(site, frame, None)
        self._top(top)
        return not top.over

    def finish(self) -> None:
        """Note that a loop has come to its end, or to a `break`."""
        running = self._stack.running
        if self._is_followed() and running and running[-1].frame is sys._getframe(1):
            with self.run.journal.guard("end of a training loop"):
                self._finish(running[-1])

    def leave(self) -> None:
        """Note that a loop was left, in any way."""
        frame = sys._getframe(1)
        if not self._is_followed():
            forked = self.forked_loop
            # The call stands at the line of its loop; loops within it are not followed.
            if forked is not None and forked.frame is frame and forked.line == frame.f_lineno:
                self.after_leave()
            return
        running = self._stack.running
        if any(loop.frame is frame for loop in running):
            # Inner loops whose own `leave` was not followed end with this one.
            while running[-1].frame is not frame:
                self._stack.pop()
            self._stack.pop()

    def generator(self, function: Any) -> Any:
        """Note a generator function as it is defined; return it."""
        return READINGS.note_function(function)

    def begin_reading(self) -> None:
        """Note that a generator begins."""
        READINGS.begin_generator(sys._getframe(1))

    def passing(self, value: Any) -> Any:
        """Note that a generator yields `value`; return it."""
        READINGS.pass_on(sys._getframe(1))
        return value

    def end_reading(self) -> None:
        """Note that a generator is over."""
        READINGS.end_generator(sys._getframe(1))

    # --- iterations

    def _iterate(self, loop: Loop) -> Iterator[Any]:
        readings = READINGS
        drawing = Drawing(loop)
        while True:
            self._top(loop)
            if loop.over:
                return
            # Indices that a loader draws while this loop takes an item belong to this loop's order.
            before, readings.drawing = readings.drawing, drawing
            try:
                value = next(loop.items)
            except StopIteration:
                return
            finally:
                readings.drawing = before
            yield value

    def _top(self, loop: Loop) -> None:
        """Note the top of an iteration; the first one is the entry."""
        while self._stack.running[-1] is not loop:
            self._stack.pop()
        loop.n += 1
        if not loop.n:
            with self.run.journal.guard("enter a loop"):
                self.before_entry(loop)
            if self.forked_loop is not None:
                return  # a trial writes no checkpoints
            with self.run.journal.guard("enter a loop"):
                self._enter(loop)
            return
        if loop.on_turn is not None:
            with self.run.journal.guard("turn of a training loop"):
                loop.on_turn(loop.n)
        if loop.children:
            loop.children.clear()
            loop.done.clear()
        is_training = loop.trained or loop.site in self._stack.trained_sites
        if loop.table is not None and is_training:
            with self.run.journal.guard("top of a training loop"):
                self._at_boundary(loop)

    def _enter(self, loop: Loop) -> None:
        """Note the objects at a loop's entry, and restore it if there is a record of it."""
        record = self._reentry.record_of(loop)
        if record is None and not self._is_worth_noting(loop):
            return
        # A module that is being imported has no attributes yet.
        if "torch" not in sys.modules or not hasattr(sys.modules["torch"], "save"):
            return
        began = time.monotonic()
        try:
            loop.table = self._objects.table(loop.frame)
            loop.shape = shape_of(loop)
        except Exception:
            if record is not None:
                self._reentry.give_up(f"the objects around the loop at {loop.site} cannot be read")
            raise
        self.checkpoints.note_walk(time.monotonic() - began)
        if record is not None:
            self._reentry.restore(loop, record)
        loop.turned = time.monotonic()

    def _is_worth_noting(self, loop: Loop) -> bool:
        """Return whether to note the objects at a loop's entry, which costs a walk."""
        if self._reentry.is_replaying or loop.site in self._stack.untrained_sites:
            return False
        if not loop.depth:
            return True
        parent = self._stack.running[-2]
        if parent.table is None or (parent.n and parent.record is None):
            return False  # a restart could not reach it
        seconds = self._stack.durations.get(loop.site)
        return seconds is None or self.checkpoints.is_worth(seconds)

    def _at_boundary(self, loop: Loop) -> None:
        """Prove the resume or make a checkpoint at the top of a training iteration."""
        now = time.monotonic()
        loop.iteration_s = now - loop.turned
        loop.turned = now
        loop.record = None
        if self._reentry.is_replaying or loop.table is None:
            return
        if self.checkpoints.proof.concerns(loop.path):
            self._reentry.check_proof(loop)
            self.checkpoints.proof_s = time.monotonic() - now
        self.checkpoints.consider(loop)

    def _finish(self, loop: Loop) -> None:
        is_saved = self._reentry.is_replaying or loop.over
        if not is_saved and loop.trained and loop.table is not None:
            self.checkpoints.finish(loop)

    # --- called by the observation

    def stepped(self, optimizer: Any = None) -> None:
        """Note that an optimizer has made a step."""
        if not self._is_followed():
            return
        if not self._stack.running:
            from mlops_lib.runner.pytorch import resume

            resume.say_unmarked(self.run)
            return
        self._stack.note_step()
        self.checkpoints.note_step(is_replaying=self._reentry.is_replaying)

    def end(self, error: Optional[BaseException]) -> None:
        """Note that the script has ended.

        Args:
            error: the exception that ended it, None if it came to its end.
        """
        self._reentry.end()
        self._active = False
        if isinstance(error, SeveredError):
            self.checkpoints.proof.refute(*range(self.checkpoints.number + 1))
            self.run.restart_process(
                "a gradient goes through a checkpoint: the training is repeated from its beginning"
            )
