"""The search for Keras: from a trained model to one that meets the bar.

It runs in the script's own process, inside the call of `fit`. Every decision is written down before
it is acted upon, so a search that was killed continues with the same trials and the same winner.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import Any, Callable, Iterator, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.keras import data_order
from mlops_lib.runner.search import failures, holdout, past_searches, scores
from mlops_lib.runner.search.distributed import coordinator, worker
from mlops_lib.runner.search.distributed.dispatcher import TrialDispatcher
from mlops_lib.runner.search.examples import RefusedError, Selected, choose
from mlops_lib.runner.search.keras import facts as facts_of
from mlops_lib.runner.search.keras import graph, trial, user_space
from mlops_lib.runner.search.keras.blueprint import blueprint
from mlops_lib.runner.search.keras.candidates import Candidate
from mlops_lib.runner.search.keras.edit_space import Space
from mlops_lib.runner.search.keras.lineage import Lineage
from mlops_lib.runner.search.keras.memory_growth import Growth
from mlops_lib.runner.search.keras.oracle import ALONE, OwnSpace, Trials
from mlops_lib.runner.search.keras.proposer import Proposer, diagnosis_of
from mlops_lib.runner.search.keras.search_worker import SearchWorker
from mlops_lib.runner.search.keras.trial_runner import TrialRunner
from mlops_lib.runner.search.keras.trial_store import TrialStore
from mlops_lib.runner.search.keras.winner import WinnerInstaller
from mlops_lib.runner.search.keras.winner_report import gained_steps, patch_facts
from mlops_lib.runner.search.request import (
    Clock,
    FitCall,
    Outcome,
    SearchJournal,
    SearchRequest,
)
from mlops_lib.runner.state import atomic, objects, rng

DEFAULT_RATE = 1e-3
"""The learning rate around which the refinement looks if the developer's is a schedule."""


def improve(
    model: Any,
    call: FitCall,
    request: SearchRequest,
    journal: SearchJournal,
    *,
    leave: Optional[Callable[[str], None]] = None,
) -> Outcome:
    """Search around a trained model, and put the winner into it.

    Args:
        model: the judged model, as its fit left it: trial 0.
        call: that fit.
        request: metric, bar and budget. The search's state is in `request.directory`; a search that
            was killed continues from there.
        journal: gets a `trial` event for each trial that starts or ends, and progress.
        leave: ends the process with a reason, for a fresh one to continue the search. None if no
            other process would.

    Returns:
        The outcome. The model then is the winner, or unchanged if no trial was better.

    Raises:
        KeyboardInterrupt: after the best trial so far was put into the model.
    """
    # Trials of other architectures are no candidates any more.
    if request.failed_with:
        set_aside(request.directory)
    os.makedirs(os.path.join(request.directory, "trials"), exist_ok=True)
    os.makedirs(os.path.join(request.directory, "weights"), exist_ok=True)
    with untouched():
        try:
            if model.optimizer is None:
                raise RefusedError(
                    "its training step has optimizers of its own (as a GAN has):"
                    " they cannot be chosen for it"
                )
            selected = choose(call, request)
            is_contaminated = selected.kind == "contaminated"
            if is_contaminated and leave and not holdout.noted(request.directory, request.fit):
                # Only a new execution of the script can keep the examples from its earlier fits.
                holdout.note(request.directory, request.fit, selected.hashes)
                leave(
                    "fits before this one train again,"
                    " without the examples that the search selects on"
                )
            search = Search(model, call, request, journal, selected, leave=leave)
        except RefusedError as error:
            return refused(model, request, str(error))
        if request.worker:
            search.work()
            return Outcome({})
        return search.run()


def set_aside(directory: str) -> None:
    """Move the state of a search among architectures into a folder of its own, once.

    The script failed with another architecture. Only the way it trains is searched from then on,
    and trials of other architectures are no candidates for that.
    """
    aside = os.path.join(directory, "architectures")
    if os.path.exists(os.path.join(aside, "complete")):
        return
    os.makedirs(aside, exist_ok=True)
    for name in (protocol.LEDGER, "trials", "weights", protocol.WINNER, protocol.RESULT):
        if os.path.exists(os.path.join(directory, name)):
            os.replace(os.path.join(directory, name), os.path.join(aside, name))
    # Written last: a kill between two moves continues with the rest.
    atomic.write_atomic(os.path.join(aside, "complete"), b"")


def refused(model: Any, request: SearchRequest, reason: str) -> Outcome:
    """Return, and write, the outcome of a search that could not try anything."""
    result = request.refused(reason, graph.describe(model))
    if not request.worker:
        atomic.write_json(os.path.join(request.directory, protocol.RESULT), result)
    return Outcome(result, notes=[f"no search: {reason}"])


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Restore random states and the counters of automatic layer names on exit.

    Otherwise the script would draw other numbers after a search, and its next layers would get
    other names than without one.
    """
    state = rng.capture()
    names = facts_of.names_used()
    try:
        yield
    finally:
        rng.restore(state)
        facts_of.put_names_back(names)


class Search:
    """The loop of one search: propose a candidate, run it, record it.

    It ends at the bar or with the budget.

    Args:
        model: the developer's trained model.
        call: the fit that trained it.
        request: the search.
        journal: gets events and progress.
        selected: the selection examples.
        leave: ends the process, for a fresh one to continue the search; None if none would.

    Raises:
        RefusedError: no score can be computed, or the model cannot be searched.
    """

    def __init__(
        self,
        model: Any,
        call: FitCall,
        request: SearchRequest,
        journal: SearchJournal,
        selected: Selected,
        *,
        leave: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.model = model
        self.call = call
        self.request = request
        self.journal = journal
        self.selected = selected
        self.leave = leave
        self.notes = list(selected.notes)
        self.growth = Growth()
        self.own_weights = model.get_weights()
        self.store = TrialStore(
            request, own_weights=self.own_weights, own_history=dict(call.history.history)
        )
        root = self._editable_copy()
        self.written = blueprint(model) if root is not None else []
        self.clock = self._training_clock()
        self.context = self._trial_context(in_place=root is None)
        self.facts = facts_of.gather(model, call, request, selected)
        self.diagnosis = diagnosis_of(0, request, self.store)
        self.hypermodel = user_space.load(os.getcwd())
        if self.hypermodel is not None and root is None:
            raise RefusedError("the winner of search_space.py could not be put into this model")
        self.lineage = Lineage(model, call, self.store, root=root, hypermodel=self.hypermodel)
        self.runner = TrialRunner(model, self.context, self.store, self.lineage)
        space = Space(
            root,
            self.facts,
            self.diagnosis,
            inheritable=not selected.is_split,
            past=request.past,
        )
        self.proposer = Proposer(request, self.store, self.lineage, space)
        if past_searches.in_words(request.past):
            self.notes.append(past_searches.in_words(request.past))
        left_out = trial.left_out(call.arguments.get("callbacks"))
        if left_out:
            self.notes.append(f"callbacks that do not run in trials: {', '.join(left_out)}")

    def _editable_copy(self) -> Any:
        """Return a copy of the model, or None if only its training may be searched."""
        if self.request.failed_with:
            self.notes.append(
                "only the way it trains was searched: else the script failed"
                f" ({self.request.failed_with})"
            )
            return None
        try:
            root = graph.rebuild(self.model, graph.Plan())
            root.set_weights(self.own_weights)
            return root
        except graph.UnclonableError as error:
            self.notes.append(f"only the way it trains was searched: {error}")
            return None

    def _training_clock(self) -> Clock:
        # Trial 0 cost the search nothing, unless it was trained again without the selection
        # examples.
        used_s = sum(
            record["seconds"]
            for number, record in self.store.records.items()
            if number or self.selected.is_split
        )
        # The chief counts the time of all workers; a worker of its own would end too late.
        return Clock(used_s, math.inf if self.request.worker else self.request.minutes)

    def _trial_context(self, *, in_place: bool) -> trial.TrialContext:
        context = trial.TrialContext(
            self.call,
            self.request,
            self.selected,
            self.journal,
            self.clock,
            self.model.optimizer,
            scores.bar(self.request, self.selected.count),
            self._sure_score(),
            in_place=in_place,
        )
        x = self.selected.training["x"]
        if data_order.is_stateful(x):
            context.pipeline, _ = objects.capture(objects.find_places([("x", x)]), {})
        return context

    def _sure_score(self) -> float:
        """Return the score at which a trial may stop before its end.

        After a rejection by the gate it is out of reach: the rejected winner had stopped early.
        """
        if self.request.rejected:
            return math.inf if self.request.mode == "max" else -math.inf
        return scores.bar(self.request, self.selected.count, 2.5)

    def run(self) -> Outcome:
        """Run trials until the bar is reached or the budget is used up.

        Then the winner is installed.

        Raises:
            KeyboardInterrupt: after the best trial so far was installed.
        """
        self.runner.score_own_model()
        if self.request.follow:
            return self._finish(self._follow())
        assert self.store.ledger is not None  # only workers have none
        trials = Trials(
            self.request,
            self.store.ledger,
            base_rate=float(self.facts.learning_rate or DEFAULT_RATE),
            propose=self._propose,
            refine=self.proposer.refinement,
            own=self._own_space(),
        )
        interrupt: Optional[KeyboardInterrupt] = None
        try:
            stopped = self._serve(trials) if self.request.has_chief else self._loop(trials)
            if self._needs_own_score(stopped):
                self.runner.retrain_own_model()
        except KeyboardInterrupt as error:
            interrupt = error
            stopped = "interrupted"
        if stopped == "failed":
            message = failures.common_failure(self.store.records.values())
            self.notes.append(failures.explanation(message))
        outcome = self._finish(stopped)
        if interrupt is not None:
            raise interrupt
        return outcome

    def _needs_own_score(self, stopped: str) -> bool:
        """Return whether the winner is yet to be compared with the developer's own model."""
        return (
            self.selected.is_split
            and stopped != "bar"
            and self.store.winner() != 0
            and self.request.judged_value is None
        )

    def _propose(self, tried: List[Any]) -> Optional[Candidate]:
        # With a search space of the project's own, the oracle draws all candidates from it.
        return None if self.hypermodel is not None else self.proposer.next_edit(tried)

    def _own_space(self) -> Optional[OwnSpace]:
        if self.hypermodel is None:
            return None
        epochs = min(self.facts.epochs, self.facts.limits.epochs or self.facts.epochs)
        return user_space.known(self.hypermodel), lambda values: user_space.candidate(
            values, epochs=epochs
        )

    def _follow(self) -> str:
        """Run the trials that led to another run's winner again, under this run's seed."""
        chain = [
            (int(record["number"]), Candidate.read(record["hyperparameters"]))
            for record in self.request.follow
        ]
        self.store.candidates.update(chain)
        # Weights pass from parent to child, so trials before the last one that started from fresh
        # weights contribute only their architecture: they need not train.
        # A trial of fresh weights, or of the project's own HyperModel, inherits nothing.
        starts = [
            place for place, (_, candidate) in enumerate(chain) if candidate.fresh or candidate.own
        ]
        for number, candidate in chain[max(starts, default=0) :]:
            if number not in self.store.records:
                self.runner.run(number, candidate)
        return "trials"

    def _loop(self, trials: Trials) -> str:
        """Run trials in this process; return the reason for the end."""
        # Left by an earlier attempt that had workers.
        for other in set(trials.under_way()) - {ALONE}:
            trials.release(other)
        while True:
            if self._is_bar_reached():
                return "bar"
            if self.clock.left_s <= 0.0:
                return "minutes"
            # KerasTuner takes a maximum of no trials for no maximum.
            oracle_trial = trials.ask() if self.request.trials > 0 else None
            if oracle_trial is None:
                # The oracle does not say which of the two ended it.
                spent = len(self.store.candidates) >= self.request.trials
                return "trials" if spent else "exhausted"
            number = trials.number(oracle_trial)
            candidate = trials.candidate(oracle_trial)
            self.store.candidates[number] = candidate
            # A kill between the record and the oracle's line leaves a trial that is done already.
            record = self.store.records.get(number)
            if record is None:
                record = self.runner.run(number, candidate)
            trials.tell(oracle_trial, record["score"], record["message"])
            if failures.common_failure(self.store.records.values()):
                return "failed"
            self.growth.weigh()
            if self.leave is not None and self.growth.is_too_large:
                self.leave("the process has grown")

    def _is_bar_reached(self) -> bool:
        winner = self.store.winner()
        best = self.store.records.get(winner, {}).get("score")
        return winner != 0 and best is not None and not self.request.better(self.context.bar, best)

    def _serve(self, trials: Trials) -> str:
        """Dispatch trials to workers; return the reason for the end."""
        store = self.store
        dispatcher = TrialDispatcher(
            trials,
            self.request,
            store.records,
            on_start=lambda record: self.journal.write(protocol.EVENT_TRIAL, trial=record),
            record=self.runner.record,
            winner=store.winner,
            is_bar_reached=self._is_bar_reached,
            # A record that a worker has sent carries the worker's name.
            is_own_training_due=lambda: (
                self.selected.is_split and not store.records[0].get("worker")
            ),
        )

        def commit() -> None:
            store.commit(lambda: [candidate.parent for candidate in trials.unfinished()])

        stopped = coordinator.serve(dispatcher, self.request, self.journal, commit=commit)
        winner = store.winner()
        if self.request.remote and winner:
            # A remote worker reports the end of a trial while its weights are still on the way.
            self._await_weights(winner)
        return stopped

    def _await_weights(self, number: int) -> None:
        while not self.store.has_weights(number):
            self.journal.progress("search")
            time.sleep(worker.RETRY_S)

    def work(self) -> None:
        """Run the trials that the chief assigns, until it reports the end of the search."""
        SearchWorker(self.context, self.store, self.runner).work()

    def _finish(self, stopped: str) -> Outcome:
        """Install the winner into the caller's model and write the result."""
        number = self.store.winner()
        before = graph.describe(self.model)
        installer = WinnerInstaller(self.model, self.context, self.store, self.lineage, self.facts)
        steps: List[str] = []
        history = None
        if number:
            steps = gained_steps(number, self.context, self.store)
            history = installer.install(number, was_interrupted=stopped == "interrupted")
        elif self.lineage.root is None:
            installer.restore_own(self.own_weights)
        steps += installer.steps
        self.notes += installer.notes
        records = self.store.records
        result = {
            **self.request.result_head(self.selected.kind),
            "trials": [records[n] for n in sorted(records)],
            "winner": number,
            "score": records[number]["score"],
            "stopped": stopped,
            "before": before,
            "examples": self.selected.count,
            "after": graph.describe(self.model),
            "notes": [*self.notes, *steps],
            "diagnosis": list(self.diagnosis.findings),
        }
        if number:
            self._write_patch_facts(number)
        self.store.write_result(result)
        return Outcome(
            result,
            history,
            bool(number),
            self.selected.hashes,
            list(self.notes),
            steps,
            installer.reading,
        )

    def _write_patch_facts(self, number: int) -> None:
        content = patch_facts(
            number,
            model=self.model,
            written=self.written,
            context=self.context,
            lineage=self.lineage,
            facts=self.facts,
        )
        atomic.write_json(self.store.path(protocol.WINNER), content)
