"""A forked process: the script's own loop, observed for the search.

A *probe* runs a few batches and an evaluation, to learn which objects are trained on which data. A
*trial* runs the changed training, and reports the results of the script's own evaluation on the
examples that the search selects on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Dict, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import artifact, measures, tensors
from mlops_lib.runner.pytorch.measures import UnreadableError
from mlops_lib.runner.pytorch.sessions import Call, Session
from mlops_lib.runner.search import scores
from mlops_lib.runner.search.pytorch import data
from mlops_lib.runner.search.pytorch.processes import Reporter, alive

BATCHES = 4
"""Batches that a probe reads of a DataLoader."""
EXAMPLE_ROWS = 4


class Fork:
    """The script in a forked process, from the entry of a loop on.

    Args:
        run: the run; its journal is silenced.
        loop: the entered loop.
        reporter: the way to the parent.
    """

    def __init__(self, run: Context, loop: Any, reporter: Reporter) -> None:
        self.run = run
        self.loop = loop
        self.reporter = reporter
        self.judge = run.marked_loops.judge
        self.watch = self.judge.watch
        self.has_left = False
        self._silence()
        loops = run.marked_loops
        loops.forked_loop = loop
        loops.after_leave = self.left
        loop.on_turn = self.turned
        run.forked = self
        self.watch.on_session.append(self.evaluated)

    def _silence(self) -> None:
        """Keep this process from writing the parent's journal and event files."""
        journal: Any = self.run.journal
        journal.write = lambda event, **keys: self._note(event, keys)
        journal.progress = self.reporter.beat
        # An error in a hook must not end the trial: it would look like a bad candidate.
        journal.strict = False
        self.watch.process = os.getpid()
        # Which examples are trained on is known from the parent; naming them takes time.
        self.watch.on_trained.clear()
        self.watch.wants_inputs.clear()
        # A thread that does not live on here would have to empty the writers' queues.
        for module_name, module in list(sys.modules.items()):
            if module_name.endswith("tensorboard.writer") and hasattr(module, "SummaryWriter"):
                for method in [name for name in vars(module.SummaryWriter) if name[:4] == "add_"]:
                    setattr(module.SummaryWriter, method, lambda *args, **keys: None)

    def _note(self, event: str, keys: Dict[str, Any]) -> None:
        if event == protocol.EVENT_HOOK_ERROR:
            sys.stderr.write(f"{keys.get('hook')}: {keys.get('traceback')}\n")

    def turned(self, number: int) -> None:
        """An iteration of the loop begins."""

    def left(self) -> None:
        """The loop was left."""

    def evaluated(self, session: Session) -> None:
        """An evaluation is over."""

    def end(self, error: Optional[BaseException] = None) -> None:
        """The script has ended; so does this process."""
        self.reporter.send(error="" if error is None else f"{type(error).__name__}: {error}"[:500])
        self.exit()

    def exit(self) -> None:
        """End this process, without whatever the script or a library does at its exit."""
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(0)


class Probe(Fork):
    """Find the trained objects, their data, and the evaluations."""

    def __init__(
        self, run: Context, loop: Any, reporter: Reporter, *, metric: str, example: str
    ) -> None:
        super().__init__(run, loop, reporter)
        self.metric = metric
        self.example = example
        torch = sys.modules["torch"]
        self._tensors = data.Tensors(alive(torch.Tensor))
        self._found: Dict[str, Any] = {"optimizers": [], "evaluations": []}
        self._training: Optional[data.Source] = None
        self._steps = 0
        self.watch.on_trained.append(self._trained)
        # First, so that the step counts before anything that may end the process.
        self.judge.training.after_step.insert(0, self._stepped)
        self._cut_short()

    def _cut_short(self) -> None:
        base = sys.modules["torch.utils.data.dataloader"]._BaseDataLoaderIter
        plain = base.__next__

        def __next__(iterator: Any) -> Any:  # noqa: N807 - what Python calls
            iterator._mlops_read = getattr(iterator, "_mlops_read", 0) + 1
            # Not before a step was made: a loop may read many batches for one step, or look at its
            # data first.
            if iterator._mlops_read > BATCHES and self._steps:
                number, _ = getattr(iterator, "_mlops_pass", (None, None))
                if number is not None:
                    self.watch.quietly(self.watch.ended, number)
                raise StopIteration
            return plain(iterator)

        base.__next__ = __next__

    def turned(self, number: int) -> None:
        if number and self._steps:
            self.loop.over = True

    def left(self) -> None:
        self.watch.end_sessions()
        self.has_left = True
        if any(
            evaluation["metric"] and evaluation["judged"]
            for evaluation in self._found["evaluations"]
        ):
            self.end()

    def _stepped(self, optimizer: Any) -> None:
        self._steps += 1
        if id(optimizer) not in self._found["optimizers"]:
            self._found["optimizers"].append(id(optimizer))

    def _trained(self, call: Call) -> None:
        if "model" in self._found:
            return
        model = artifact.plain(call.model)
        self._found["model"] = id(model)
        inputs = [leaf for _, leaf in call.inputs() if leaf.dim()]
        if call.loader is not None:
            self._training = data.Source(call.loader.dataset)
        elif inputs and call.losses:
            self._training = self._tensors.source(inputs[0].detach(), call.losses[-1].target)
        if self._training is not None:
            self._found["training"] = self._training.address()
        size = len(inputs[0]) if inputs else 0
        # A few rows show all shapes, and keep the file small.
        few = {
            path: leaf.detach()[:EXAMPLE_ROWS].clone()
            for path, leaf in call.inputs()
            if leaf.dim() and len(leaf) == size
        }
        self._found["loss"] = call.losses[-1].name if call.losses else ""
        sys.modules["torch"].save(tensors.replaced((call.args, call.kwargs), few), self.example)

    def evaluated(self, session: Session) -> None:
        source = None
        if session.loader is not None:
            source = data.Source(session.loader.dataset)
        elif session.calls:
            source = self._tensors.source(*_first_pair(session))
        names = measures.names_of(session.calls)
        judged_names = self.run.search_judged
        own_names = set(names or ())
        self._found["evaluations"].append(
            {
                "model": id(artifact.plain(session.model)),
                "source": None if source is None else source.address(),
                "metric": score_of(session, self.metric) is not None,
                "judged": not judged_names
                or names is None
                or not own_names.isdisjoint(judged_names),
                "apart": bool(judged_names)
                and names is not None
                and own_names.isdisjoint(judged_names),
                "trained": self._training is not None
                and source is not None
                and _same(source, self._training),
                "after": self.has_left,
                "count": len(source) if source is not None else session.examples,
            }
        )

    def end(self, error: Optional[BaseException] = None) -> None:
        self.watch.end_sessions()
        self.reporter.send(found=self._found)
        super().end(error)


class Trial(Fork):
    """Report the scores of a changed training.

    Args:
        metric: the judged metric.
        reads: the source that the selecting evaluations read: a data set, or a tensor.
        ends_after: whether an evaluation after the loop gives the score.
    """

    def __init__(
        self,
        run: Context,
        loop: Any,
        reporter: Reporter,
        *,
        metric: str,
        reads: Any,
        ends_after: bool,
        on_turn: List[Any],
    ) -> None:
        super().__init__(run, loop, reporter)
        self.metric = metric
        self.reads = reads
        self.ends_after = ends_after
        self._on_turn = on_turn
        self._score: Optional[float] = None
        self._named = 0
        """Examples of the longest evaluation whose examples were reported."""

    def turned(self, number: int) -> None:
        for follow in self._on_turn:
            follow(number)
        if number:
            self.watch.end_sessions()
            self.reporter.send(epoch=number)

    def left(self) -> None:
        self.watch.end_sessions()
        self.has_left = True
        if not self.ends_after:
            self.end()

    def evaluated(self, session: Session) -> None:
        if session.loader is not None:
            ours = session.loader.dataset is self.reads
        else:
            pair = _first_pair(session) if session.calls else (None, None)
            ours = pair[0] is not None and tensors.shares(pair[0], self.reads)
        if not ours:
            return
        score = score_of(session, self.metric)
        if score is None:
            return
        self._score = score
        names: List[str] = []
        if session.examples > self._named:  # a framework may look at a few examples first
            self._named = session.examples
            names = sorted({name.hex() for name in measures.names_of(session.calls) or ()})
        self.reporter.send(score=score, names=names)
        if self.has_left:
            self.end()

    def end(self, error: Optional[BaseException] = None) -> None:
        if self._score is None or (error is None and not self.has_left):
            self.watch.end_sessions()
        super().end(error)


def _first_pair(session: Session) -> Any:
    """Return inputs and targets of the first call of a session."""
    call = session.calls[0]
    compared = call.answer or call.loss or call.guess
    inputs = [tensors.at((call.args, call.kwargs), path) for path in call.inputs]
    return (inputs[0] if inputs else None), (None if compared is None else compared.target)


def _same(source: data.Source, other: data.Source) -> bool:
    return source.dataset is other.dataset and source.x is other.x


def score_of(session: Session, metric: str) -> Optional[float]:
    """Return the judged metric of an evaluation, None if it cannot be computed."""
    measured_values = session.numbers
    if measured_values is None:
        return None
    name = protocol.find_metric(metric, list(measured_values.values))
    if name is not None:
        return float(measured_values.values[name])
    measure = scores.from_predictions(metric)
    if measure is None or session.outputs is None or len(session.outputs) != len(session.calls):
        return None
    try:
        table = measures.table(session, session.reading, session.outputs)
        return float(measure(table.truth, table.guess))
    except (UnreadableError, ValueError, TypeError):
        return None
