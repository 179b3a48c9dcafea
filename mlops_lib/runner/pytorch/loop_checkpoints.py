"""Checkpoints of the running loops: their pace, their records, their writing.

A checkpoint holds a record for each running loop, since a restart enters them from the outermost
inwards. A record is made at the top of an iteration (`take`); `commit` hands the records to the
writer's thread. The time that both take stays within a share of the training time.
"""

import contextlib
import sys
import time
from typing import Any, Callable, Dict, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.pytorch import process_state, proof, snapshot, store
from mlops_lib.runner.pytorch.loaders import READINGS
from mlops_lib.runner.pytorch.loop import Loop, LoopStack
from mlops_lib.runner.pytorch.output import Output
from mlops_lib.runner.pytorch.pickling import RefusedError
from mlops_lib.runner.pytorch.reachable import ReachableObjects
from mlops_lib.runner.state import checkpoint, rng

OF_BUDGET = 0.5
"""The share of the budget that checkpoints may take; the rest pays for the observation."""


class LoopCheckpoints:
    """Writes the checkpoints of a script's own loops.

    Args:
        run: the run.
        stack: the running loops.
        objects: the objects that the project's code can reach.

    Attributes:
        training: the observed trainings (`observation.Training`).
        before_taking: called before anything is read: brings the observation to rest.
        evaluated: returns whether an evaluation was seen in this process.
        parts: states of the runner's own, by name: functions that return and restore them.
        unsaved: whether something was trained since the last checkpoint.
        number: the number of the newest checkpoint.
        begun_at: the number of the checkpoint that this process began at; 0 if it began anew.
    """

    def __init__(self, run: Context, stack: LoopStack, objects: ReachableObjects) -> None:
        self.run = run
        self.training: Any = None
        self.before_taking: Callable[[], None] = lambda: None
        self.evaluated: Callable[[], bool] = bool
        self.parts: Dict[str, Tuple[Callable[[], Any], Callable[[Any], None]]] = {}
        self.unsaved = False
        self.number = 0
        self.begun_at = 0
        self.store = store.Store(store.folder_of(run), run.work)
        self.proof = proof.LoopProof(self.store.folder, is_smaller=run.spec.smaller)
        self.output = Output()
        self._stack = stack
        self._objects = objects
        self._budget = OF_BUDGET * run.spec.checkpoint_budget
        self.pace = checkpoint.Pace(self._budget, run.spec.mid_epoch_s)
        self.proof_s = 0.0
        """The time that the digest after a checkpoint takes."""
        self._cost_s = 0.0
        self._walk_s = 0.0
        self._waiting = contextlib.ExitStack()
        self._is_waiting = False

    def include(self, name: str, take: Callable[[], Any], restore: Callable[[Any], None]) -> None:
        """Add a state of the runner's own to every checkpoint.

        Args:
            name: its name.
            take: returns it, as plain values.
            restore: restores it.
        """
        self.parts[name] = (take, restore)

    def note_step(self, *, is_replaying: bool) -> None:
        """Note that there is something to save; a signal waits for it from now on."""
        if not self.unsaved:
            self.unsaved = True
            if not is_replaying:
                self.begin_waiting()

    def begin_waiting(self) -> None:
        """Let a signal wait for the next boundary from now on."""
        if not self._is_waiting:
            self._is_waiting = True
            self._waiting.enter_context(self.run.shutdown.waiting_for(self))
            self.pace.begin()

    def end_waiting(self) -> None:
        """Let a signal end the process at once: no loop is running."""
        self._waiting.close()
        self._is_waiting = self.unsaved = False

    def note_walk(self, seconds: float) -> None:
        """Note the time of a walk over all objects, which a checkpoint takes at least."""
        self._walk_s = seconds
        if not self._cost_s:
            # A first checkpoint is about two walks: one compares, one pickles.
            self.pace.expect(2.0 * seconds)

    def is_worth(self, seconds: float) -> bool:
        """Return whether a loop that takes so many seconds pays for its checkpoints."""
        is_long = seconds >= self.run.spec.mid_epoch_s
        return is_long and seconds * self._budget >= self._walk_s + self._cost_s

    def consider(self, loop: Loop) -> None:
        """Make the record of a boundary if it is due, and a checkpoint of all records."""
        is_reachable = self._stack.is_reachable
        is_requested = self.run.shutdown.requested
        leads = loop.site in self._stack.leading_sites
        due = is_reachable and (is_requested or self.pace.is_due(within_epoch=not leads))
        # A loop around a training loop (epochs) is recorded whenever that is cheap: no checkpoint
        # of the inner loop is possible without a record of this iteration.
        if due or (is_reachable and leads and loop.iteration_s * self._budget >= self._cost_s):
            began = time.monotonic()
            loop.record = self.take(loop, over=False)
            self._cost_s = time.monotonic() - began
            if due and loop.record is not None:
                self.commit()
            elif loop.record is None:
                self.pace.record_write(self._cost_s)  # a refusal costs as much each time
        if is_requested and not self.unsaved:
            self.run.writer.wait()
            self.run.shutdown.block_if_requested()

    def finish(self, loop: Loop) -> None:
        """Save the end of a training loop, so that a restart need not repeat it."""
        loop.over = True
        seconds = time.monotonic() - loop.began
        is_long = seconds * self._budget >= self._cost_s + self._walk_s
        due = self.pace.is_due() or (not loop.depth and is_long)
        if not due or not self._stack.is_reachable:
            return
        record = self.take(loop, over=True)
        if record is None:
            return
        self._stack.parent(loop).done[loop.path] = record
        # After an evaluation nothing is written: a restart that skips the loop would not see that
        # evaluation, which may be the one to be judged.
        if loop.depth or not self.evaluated():
            self.commit(without=loop)

    def take(self, loop: Loop, *, over: bool) -> Optional[Dict[str, Any]]:
        """Return a record that restores the loop here.

        None if an object cannot be restored; the journal has a warning about it.
        """
        assert loop.table is not None
        self.before_taking()
        handles = fit_state.flush_handles(self.run.work)
        local = loop.frame.f_locals
        more = {
            "locals": None if local is loop.frame.f_globals else list(local.items()),
            "random": rng.capture_python(),
            "files": store.positions(handles, self.run.work),
            "modes": process_state.modes(),
            "opened": READINGS.opened_by(loop.items),
            "kept": {name: take() for name, (take, _) in self.parts.items()},
            "shown": self.output.shown(),
        }
        readers = {"loader at": READINGS.position_of, "reading": READINGS.reading_of}
        try:
            content = snapshot.take(loop.table, more, self._objects.reducers, readers)
        except RefusedError as error:
            self.run.journal.warn(
                f"the training loop at {loop.site} cannot be entered again: {error}; after a"
                " failure it is repeated from its last checkpoint or its beginning"
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
            "files": self.store.snapshot_files(),
            "checksums": loop.table.last_checksums,
        }

    def commit(self, without: Optional[Loop] = None) -> None:
        """Hand the records of all running loops to the writer.

        Args:
            without: the innermost loop, if it has ended.
        """
        began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        records, last = self._records(without)
        self.number += 1
        version = process_state.torch_version()
        state = store.state_of(records, {"id": self.number, "last": last, "torch": version})
        self.proof.expect(self.number, last)
        fit = None if self.training is None else self.training.fit
        place = {}
        if fit is not None:
            place = {"fit": fit.number, "epoch": fit.epoch, "step": fit.steps_of_epoch}

        def durable(size: int, seconds: float) -> None:
            self.pace.add_background(seconds)
            if size and place:
                self.run.journal.write(
                    protocol.EVENT_CHECKPOINT, **place, bytes=size, seconds=round(seconds, 4)
                )

        self.run.writer.submit(self.store, state, durable)
        self._cost_s += time.monotonic() - began
        self.pace.record_write(self._cost_s + self.proof_s)
        self.unsaved = False

    def _records(self, without: Optional[Loop]) -> Tuple[Dict[str, Dict[str, Any]], str]:
        """Return the records of the running loops by path, and the path of the innermost."""
        running = [loop for loop in self._stack.running if loop is not without]
        records = dict(self._stack.root.done)
        for loop in running:
            if loop.record is not None:
                records[loop.path] = loop.record
            elif loop.n == 0:
                # The first iteration's top is the entry itself: there is nothing to restore.
                records[loop.path] = {
                    "path": loop.path,
                    "n": 0,
                    "over": False,
                    "content": None,
                    "shape": loop.shape,
                }
            records.update(loop.done)
        return records, (without or running[-1]).path
