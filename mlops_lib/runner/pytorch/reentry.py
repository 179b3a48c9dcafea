"""Bring a restarted script back into the loops that were running.

The script is executed from its first line, muted. At the entry of each recorded loop the objects
are in the state of the first attempt's entry, so the record's snapshot fits: it is applied, and the
loop continues at the recorded iteration. A record that does not fit is given up before anything has
changed; a checkpoint that fails afterwards is refuted, and another process begins at the one
before.
"""

from typing import Any, Dict, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.pytorch import process_state, proof, snapshot, store
from mlops_lib.runner.pytorch.loaders import READINGS, ignore
from mlops_lib.runner.pytorch.loop import Drawing, Loop, LoopStack
from mlops_lib.runner.pytorch.loop_checkpoints import LoopCheckpoints
from mlops_lib.runner.pytorch.pickling import RefusedError
from mlops_lib.runner.state import rng

_INDEXED: Tuple[type, ...] = (type(iter([])), type(iter(())), type(iter(range(0))))
"""Iterators whose position can be set."""


class Reentry:
    """Restores loops at their entry, until the innermost recorded one is reached.

    Args:
        run: the run.
        stack: the running loops.
        checkpoints: the store, and the states of the runner's own.
    """

    def __init__(self, run: Context, stack: LoopStack, checkpoints: LoopCheckpoints) -> None:
        self.run = run
        self._stack = stack
        self._checkpoints = checkpoints
        self._target: Optional[Dict[str, Any]] = None
        self._load()

    @property
    def is_replaying(self) -> bool:
        """Return whether the script is still on its way to the recorded position."""
        return self._target is not None

    def record_of(self, loop: Loop) -> Optional[Dict[str, Any]]:
        """Return the record that an entered loop is to be restored from, if there is one."""
        if self._target is None:
            return None
        record: Optional[Dict[str, Any]] = self._target["records"].get(loop.path)
        return record

    def _load(self) -> None:
        """Read the newest intact checkpoint that is not refuted, and mute the script."""
        journal = self.run.journal
        checkpoints = self._checkpoints
        refuted = checkpoints.proof.refuted()
        checkpoints.store.before = self.run.start
        state = checkpoints.store.load_but(refuted, journal)
        # Numbers of refuted checkpoints are not given again.
        checkpoints.number = max([0 if state is None else state["id"], *refuted])
        checkpoints.proof.forget_after(checkpoints.number)
        if state is None:
            if refuted:
                journal.warn(
                    "no checkpoint could be proven: the training loops are repeated from their"
                    " beginning"
                )
            return
        self._target = state
        checkpoints.output.mute()

    def restore(self, loop: Loop, record: Dict[str, Any]) -> None:
        """Restore a loop at its entry."""
        assert self._target is not None
        assert loop.table is not None
        last = self._target["last"] == loop.path
        if self._target["torch"] != process_state.torch_version():
            self.give_up(f"the checkpoint is of PyTorch {self._target['torch']}")
            return
        if record["shape"] != loop.shape:
            self.give_up(
                f"the loop at {loop.site} has other items or counters than at the checkpoint"
            )
            return
        content: Optional[Dict[str, Any]] = None
        if record["content"] is not None:
            try:
                content = snapshot.read(loop.table, record["content"])
            except Exception as error:  # noqa: BLE001 - unpickling may raise anything; nothing has changed yet
                READINGS.pending.clear()
                self.give_up(f"the loop at {loop.site} cannot be entered again: {error}")
                return
        if content is not None:
            try:
                self._apply(loop, record, content)
            except Exception as error:  # noqa: BLE001 - a part of it may have been applied
                self.refute(
                    f"the checkpoint could not be restored: {type(error).__name__}: {error}"
                )
        if last:
            self._arrive(loop)

    def _apply(self, loop: Loop, record: Dict[str, Any], content: Dict[str, Any]) -> None:
        """Apply a snapshot to the objects, the files and the process.

        The order matters. Reading data draws random numbers and may change objects, so the items
        are passed over first. Files are restored after the objects that write them. The random
        states come last.
        """
        assert loop.table is not None
        checkpoints = self._checkpoints
        if loop.items is not None and not record["over"]:
            self._skip(loop, record["n"], content["opened"])
            if loop.order != record["order"]:
                raise RefusedError("the order of the data does not repeat")
        pending, READINGS.pending = READINGS.pending, []
        writers = {
            "loader at": READINGS.advance,
            "reading": lambda item, content: READINGS.forward(item, content[0], content[1]),
        }
        snapshot.put(loop.table, content["changes"], writers, pending)
        if content["locals"] is not None:
            process_state.assign_locals(loop.frame, dict(content["locals"]))
        if loop.table.checksums() != record["checksums"]:
            raise RefusedError("the restored tensors differ from those of the checkpoint")
        handles = fit_state.flush_handles(self.run.work)
        record["files"] = {**record["files"], "kept": self._files_of(record)}
        checkpoints.store.put_back(record["files"])
        store.put_positions(handles, content["files"], self.run.work)
        # What the replay has evaluated belongs to no epoch that is restored.
        checkpoints.before_taking()
        for name, state in content["kept"].items():
            if name in checkpoints.parts:
                checkpoints.parts[name][1](state)
        checkpoints.output.put_shown(content["shown"])
        process_state.restore_modes(content["modes"])
        rng.restore_python(content["random"])
        self._note_restored(loop, record)

    def _note_restored(self, loop: Loop, record: Dict[str, Any]) -> None:
        """Give the loop the position and the facts of its record."""
        loop.n, loop.over = record["n"], record["over"]
        # A step was made within this loop, hence within all loops around it. Their tops are
        # boundaries from now on, as they were in the attempt before, which left a digest there.
        self._stack.note_step()
        loop.leads = record["leads"]
        loop.record = record
        if loop.over:
            self._stack.parent(loop).done[loop.path] = record
            loop.record = None

    def _files_of(self, record: Dict[str, Any]) -> Dict[str, str]:
        assert self._target is not None
        return store.kept_of(self._target, record["path"])

    def _skip(self, loop: Loop, count: int, opened: List[Any]) -> None:
        """Pass over the items of the iterations before."""
        items = loop.items
        if type(items) in _INDEXED and hasattr(items, "__setstate__"):
            items.__setstate__(count)
            return
        READINGS.drawing = Drawing(loop)
        try:
            with READINGS.ghostly(items), READINGS.opening_at(items, opened):
                for _ in range(count):
                    next(items)
        except StopIteration:
            raise RefusedError("the data is shorter than it was") from None
        finally:
            READINGS.drawing = ignore

    def _arrive(self, loop: Loop) -> None:
        """End the replay: the script continues from here, with its output."""
        assert self._target is not None
        checkpoints = self._checkpoints
        number = self._target["id"]
        self._target = None
        checkpoints.output.unmute()
        if self._stack.running and not loop.over:
            checkpoints.begin_waiting()
        fit = None if checkpoints.training is None else checkpoints.training.fit
        if fit is not None:
            self.run.journal.write(
                protocol.EVENT_FIT,
                fit=fit.number,
                framework="pytorch",
                state="resumed",
                epoch=fit.epoch,
            )
        checkpoints.pace.begin()
        checkpoints.proof.arrive(number, loop.path)
        checkpoints.begun_at = number
        self.run.journal.note(f"resumed at {loop.path}, iteration {loop.n}")

    def give_up(self, why: str) -> None:
        """Continue from here without the rest of the checkpoint.

        The restored part is consistent: loops are restored from the outermost inwards.
        """
        self._target = None
        self._checkpoints.output.unmute()
        self.run.journal.warn(f"{why}: the training is repeated from that point")

    def refute(self, why: str) -> None:
        """Declare the checkpoint wrong; another process begins at the one before, or anew."""
        checkpoints = self._checkpoints
        checkpoints.output.unmute()
        # All checkpoints of this process continue the wrong one.
        first = checkpoints.begun_at if self._target is None else self._target["id"]
        checkpoints.proof.refute(*range(first, max(first, checkpoints.number) + 1))
        self.run.restart_process(why)

    def check_proof(self, loop: Loop) -> None:
        """Compare the boundary with the attempt before, or store it for the next one."""
        assert loop.table is not None
        local = {} if loop.frame.f_locals is loop.frame.f_globals else loop.frame.f_locals
        digest = proof.digest(loop.table, local)
        if not self._checkpoints.proof.show(loop.path, loop.n, digest):
            if process_state.is_deterministic():
                self.refute("the first boundary after the checkpoint is not what it was")
            self.run.journal.warn(
                "the computation on this device does not repeat: it is not guaranteed identical"
            )

    def end(self) -> None:
        """End the replay as the script ends."""
        if self._target is not None:
            self.give_up("the script ended before it reached the position of the checkpoint")
        self._checkpoints.output.unmute()
