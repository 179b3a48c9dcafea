"""The search for Keras: from the developer's trained model to one that meets the bar, in the
script's own process.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import os
import time
from dataclasses import asdict, replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.keras import data_order
from mlops_lib.runner.keras.examples import Reading, of_validation
from mlops_lib.runner.search import failures, holdout, scores
from mlops_lib.runner.search.distributed import coordinator, worker
from mlops_lib.runner.search.distributed.dispatcher import Desk, Order
from mlops_lib.runner.search.examples import RefusedError, Selected, choose
from mlops_lib.runner.search.keras import (
    architecture_edits,
    graph,
    initial_weights,
    trial,
    user_space,
)
from mlops_lib.runner.search.keras import facts as facts_of
from mlops_lib.runner.search.keras.blueprint import blueprint
from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
from mlops_lib.runner.search.keras.diagnosis import Diagnosis, diagnose
from mlops_lib.runner.search.keras.edit_space import Space, next_candidate
from mlops_lib.runner.search.keras.graft import graft
from mlops_lib.runner.search.keras.memory_growth import Growth, forgotten_gradients
from mlops_lib.runner.search.keras.oracle import ALONE, Own, Trials
from mlops_lib.runner.search.keras.oracle_log import Ledger
from mlops_lib.runner.search.request import (
    Clock,
    Diary,
    FitCall,
    Outcome,
    SearchRequest,
    trial_record,
)
from mlops_lib.runner.state import atomic, objects, rng

REFIT_SHARE = 0.15
"""Share of the winner's epochs that it trains on, on all examples, where some had been held back;
of the minutes it may use no more than this share on top.
"""


def improve(
    model: Any,
    call: FitCall,
    request: SearchRequest,
    journal: Diary,
    *,
    leave: Optional[Callable[[str], None]] = None,
) -> Outcome:
    """Search around a trained model, and put the winner into it.

    Args:
        model: the judged model, as its fit left it: trial 0.
        call: that fit.
        request: metric, bar and budget; the search's state is in `request.directory`, and a search
            that was killed goes on from there.
        journal: gets a `trial` event for each trial that starts or ends, and progress.
        leave: ends the process, for the search to go on in a fresh one; is told why. None where
            nobody would start it.

    Returns:
        what was found. The model then is the winner; without a better one it is as it was.

    Raises:
        KeyboardInterrupt: after the best so far was put into the model.
    """
    if request.failed_with:
        set_aside(request.directory)
    os.makedirs(os.path.join(request.directory, "trials"), exist_ok=True)
    os.makedirs(os.path.join(request.directory, "weights"), exist_ok=True)
    with untouched():
        try:
            if model.optimizer is None:
                raise RefusedError(
                    "its training step has optimizers of its own (as a GAN has): they cannot be chosen for it"
                )
            selected = choose(call, request)
            if (
                selected.kind == "contaminated"
                and leave
                and not holdout.noted(request.directory, request.fit)
            ):
                holdout.note(request.directory, request.fit, selected.hashes)
                leave(
                    "fits before this one train again, without the examples that the search selects on"
                )
            search = Search(model, call, request, journal, selected)
            search.leave = leave
        except RefusedError as error:
            return refused(model, request, str(error))
        if request.worker:
            search.work()
            return Outcome({})
        return search.run()


def set_aside(directory: str) -> None:
    """Put what was searched among other architectures aside, once: their trials are no way to train
    the developer's.
    """
    aside = os.path.join(directory, "architectures")
    if os.path.exists(os.path.join(aside, "complete")):
        return
    os.makedirs(aside, exist_ok=True)
    for name in (protocol.LEDGER, "trials", "weights", protocol.WINNER, protocol.RESULT):
        if os.path.exists(os.path.join(directory, name)):
            os.replace(os.path.join(directory, name), os.path.join(aside, name))
    atomic.write_atomic(os.path.join(aside, "complete"), b"")


def refused(model: Any, request: SearchRequest, reason: str) -> Outcome:
    """The outcome where nothing could be tried."""
    result = {
        "schema": 1,
        "metric": request.metric,
        "mode": request.mode,
        "selection": "contaminated",
        "fit": request.fit,
        "trials": [],
        "winner": 0,
        "score": None,
        "stopped": "refused",
        "before": graph.describe(model),
        "after": graph.describe(model),
        "notes": [reason],
    }
    if not request.worker:
        atomic.write_json(os.path.join(request.directory, protocol.RESULT), result)
    return Outcome(result, notes=[f"no search: {reason}"])


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Leave random states and the counters of automatic names as the script has them."""
    state = rng.capture()
    names = facts_of.names_used()
    try:
        yield
    finally:
        rng.restore(state)
        facts_of.put_names_back(names)


class Search:
    """One search.

    Raises:
        RefusedError: the score cannot be computed.
    """

    def __init__(
        self, model: Any, call: FitCall, request: SearchRequest, diary: Diary, selected: Selected
    ) -> None:
        self.model = model
        self.call = call
        self.request = request
        self.diary = diary
        self.selected = selected
        self.notes = list(selected.notes)
        self.steps: List[str] = []
        self.leave: Optional[Callable[[str], None]] = None
        self.growth = Growth()
        self.reading: Optional[Reading] = None
        """What the winner reaches on the script's own validation data."""
        self.is_tidy = True
        """Whether nothing was recorded since files that nobody needs were dropped."""
        self.ledger = None if request.worker else Ledger(request.directory)
        self._best: Optional[Tuple[int, Any]] = None
        self.records: Dict[int, Dict[str, Any]] = self._read_records()
        self.candidates: Dict[int, Candidate] = {}
        self.histories: Dict[int, Dict[str, List[float]]] = {0: dict(call.history.history)}
        self.own_weights = model.get_weights()
        self.root = self._root()
        self.written = blueprint(model) if self.root is not None else []
        used_s = sum(r["seconds"] for n, r in self.records.items() if n or self._is_split)
        self.clock = Clock(
            used_s, math.inf if request.worker else request.minutes
        )  # the chief counts for all
        self.lab = trial.Lab(
            call,
            request,
            selected,
            diary,
            self.clock,
            model.optimizer,
            self._bar(1.0),
            self._sure(),
        )
        self.lab.in_place = self.root is None
        if data_order.is_stateful(selected.training["x"]):
            self.lab.pipeline, _ = objects.capture(
                objects.find_places([("x", selected.training["x"])]), {}
            )
        self.facts = facts_of.gather(model, call, request, selected)
        diagnosis = self._diagnosis(0)
        self.hypermodel = user_space.load(os.getcwd())
        if self.hypermodel is not None and self.root is None:
            raise RefusedError("the winner of search_space.py could not be put into this model")
        self.space = Space(self.root, self.facts, diagnosis, inheritable=not self._is_split)
        left = trial.left_out(call.arguments.get("callbacks"))
        if left:
            self.notes.append(f"callbacks that do not run in trials: {', '.join(left)}")

    @property
    def _is_split(self) -> bool:
        return self.selected.everything is not None

    def _bar(self, errors: float) -> float:
        """The target, and a margin of so many standard errors because the gate judges on other
        examples.

        What the gate has rejected must be beaten too: of the gate's examples no more than that
        comes back to here.
        """
        asked = self.request
        sign = 1.0 if self.request.mode == "max" else -1.0
        margin = scores.margin(
            asked.metric, asked.target, self.selected.count, errors, len(asked.rejected)
        )
        beaten = [sign * score + 1e-9 for score in asked.rejected]
        return sign * max([sign * asked.target + margin, *beaten])

    def _sure(self) -> float:
        """The score at which a trial stops at once; never, where the gate has rejected what had
        stopped so.
        """
        if self.request.rejected:
            return math.inf if self.request.mode == "max" else -math.inf
        return self._bar(2.5)

    def _root(self) -> Any:
        """A copy of the developer's architecture; None where only the way it trains may be
        searched.
        """
        if self.request.failed_with:
            self.notes.append(
                f"only the way it trains was searched: else the script failed ({self.request.failed_with})"
            )
            return None
        try:
            root = graph.rebuild(self.model, graph.Plan())
            root.set_weights(self.own_weights)
            return root
        except graph.UnclonableError as error:
            self.notes.append(f"only the way it trains was searched: {error}")
            return None

    def _read_records(self) -> Dict[int, Dict[str, Any]]:
        """The trials that an earlier attempt had finished; the ledger knows those whose files a
        power failure took.
        """
        folder = os.path.join(self.request.directory, "trials")
        found: Dict[int, Dict[str, Any]] = {} if self.ledger is None else self.ledger.records()
        for name in sorted(os.listdir(folder)):
            record = atomic.read_json(os.path.join(folder, name)) if name[:-5].isdigit() else None
            if isinstance(record, dict) and record.get("state") != "running":
                found[int(name[:-5])] = record
        return found

    def run(self) -> Outcome:
        """Try candidates until the bar or the end of the budget."""
        self._judge_own()
        if self.request.follow:
            return self._finish(self._follow())
        assert self.ledger is not None  # only workers have none
        trials = Trials(
            self.request,
            self.ledger,
            base_rate=trial_rate(self.facts),
            propose=self._propose,
            refine=lambda rate, epochs: self._refined(rate, epochs),
            own=self._own_space(),
        )
        interrupted: Optional[KeyboardInterrupt] = None
        try:
            stopped = self._serve(trials) if self.request.has_chief else self._loop(trials)
            if (
                self._is_split
                and stopped != "bar"
                and self.winner() != 0
                and self.request.judged_value is None
            ):
                self._retrain_own()
        except KeyboardInterrupt as error:
            interrupted = error
            stopped = "interrupted"
        if stopped == "failed":
            self.notes.append(failures.explanation(failures.common_failure(self.records.values())))
        outcome = self._finish(stopped)
        if interrupted is not None:
            raise interrupted
        return outcome

    def _follow(self) -> str:
        """Train the trials that led to another run's winner, as they were there; what is drawn
        comes from this seed.
        """
        chain = [
            (int(one["number"]), Candidate.read(one["hyperparameters"]))
            for one in self.request.follow
        ]
        self.candidates.update(chain)
        # What is before a trial that starts afresh only says what architecture it has.
        first = max(
            (place for place, (_, one) in enumerate(chain) if one.fresh or one.own), default=0
        )
        for number, candidate in chain[first:]:
            if number not in self.records:
                self._try(number, candidate)
        return "trials"

    @property
    def _followed(self) -> List[int]:
        return [int(one["number"]) for one in self.request.follow]

    def _own_space(self) -> Optional[Own]:
        if self.hypermodel is None:
            return None
        epochs = min(self.facts.epochs, self.facts.limits.epochs or self.facts.epochs)
        return user_space.known(self.hypermodel), lambda values: user_space.candidate(
            values, epochs=epochs
        )

    def _serve(self, trials: Trials) -> str:
        """Let the workers try what this process decides."""
        desk = Desk(
            trials,
            self.request,
            self.records,
            begun=lambda record: self.diary.write("trial", trial=record),
            record=self._record,
            winner=self.winner,
            reached=self._bar_reached,
            # What a worker has trained carries its name.
            owes_own=lambda: self._is_split and not self.records[0].get("worker"),
        )

        def commit() -> None:
            self._commit(lambda: [candidate.parent for candidate in trials.unfinished()])

        stopped = coordinator.serve(desk, self.request, self.diary, commit=commit)
        if self.request.listen and self.winner():
            # A worker says that its trial has ended when its weights are on the way.
            self._await(lambda: os.path.exists(self._path("weights", f"{self.winner()}.npz")))
        return stopped

    def _commit(self, parents: Callable[[], List[int]] = list) -> None:
        """Return once what was recorded is on the disk for good; then drop what nobody will ask for
        any more.

        Args:
            parents: gives the trials that others build on, besides trial 0 and the best.
        """
        assert self.ledger is not None  # only workers have none
        self.ledger.commit()
        if self.is_tidy:
            return
        self.is_tidy = True
        for folder, ending, kept in (
            ("weights", ".npz", {0, self.winner(), *self._followed, *parents()}),
            ("trials", trial.Saved.ENDING, {0}),
        ):
            for name in os.listdir(self._path(folder)):
                number = name[: -len(ending)]
                if (
                    name.endswith(ending)
                    and number.isdigit()
                    and int(number) in self.records.keys() - kept
                ):
                    os.unlink(self._path(folder, name))

    def work(self) -> None:
        """Try what the chief hands out, until it says that the search is over."""
        worker.work(worker.Line(self.request, self.diary), self.lab, self._attempt, self._forget)

    def _attempt(self, order: Order) -> Dict[str, Any]:
        candidate = order.candidate
        self.records = self._read_records()
        if candidate is None:
            record = self._retrain_own()
        else:
            self._await(functools.partial(self._is_ready, candidate))
            self.candidates[order.number] = candidate
            record = self._try(order.number, candidate)
        name = f"{order.number}.npz"
        if self.request.mirrored and os.path.exists(self._path("weights", name)):
            self._await(lambda: os.path.exists(self._path("given", name)))
        return record

    def _is_ready(self, candidate: Candidate) -> bool:
        """Whether what a candidate builds on is here: another worker may not have trained it yet,
        or not sent it.
        """
        self.records = self._read_records()
        parent = candidate.parent
        if parent not in self.records or candidate.fresh or candidate.own:
            return parent in self.records
        if parent == 0:
            return not self._is_split or self._has_own() or bool(self.records[0].get("worker"))
        return os.path.exists(self._path("weights", f"{parent}.npz"))

    def _has_own(self) -> bool:
        return os.path.exists(self._path("weights", "0.npz"))

    def _await(self, condition: Callable[[], bool]) -> None:
        """Until it holds, or nobody needs it any more."""
        while not condition() and not self.lab.told_to_end():
            self.diary.progress("search")
            time.sleep(worker.AGAIN_S)

    def _loop(self, trials: Trials) -> str:
        for other in set(trials.under_way()) - {ALONE}:
            trials.release(other)
        while True:
            if self._bar_reached():
                return "bar"
            if self.clock.left_s <= 0.0:
                return "minutes"
            # To KerasTuner no trials at all means no limit.
            asked = trials.ask() if self.request.trials > 0 else None
            if asked is None:
                return "trials" if len(self.candidates) >= self.request.trials else "exhausted"
            number = trials.number(asked)
            candidate = trials.candidate(asked)
            self.candidates[number] = candidate
            record = self.records.get(number)
            if record is None:
                record = self._try(number, candidate)
            trials.tell(asked, record["score"], record["message"])
            if failures.common_failure(self.records.values()):
                return "failed"
            self.growth.weigh()
            if self.leave is not None and self.growth.is_too_large:
                self.leave("the process has grown")

    def _bar_reached(self) -> bool:
        best = self.records.get(self.winner(), {}).get("score")
        return (
            self.winner() != 0 and best is not None and not self.request.better(self.lab.bar, best)
        )

    def winner(self) -> int:
        """The best trial so far; of those that follow another run's, the last one."""
        if self.request.follow:
            last = self._followed[-1]
            return last if self.records.get(last, {}).get("score") is not None else 0
        best = 0
        for number, record in sorted(self.records.items()):
            if number and self.request.better(record["score"], self._score(best)):
                best = number
        return best

    def _score(self, number: int) -> Optional[float]:
        score = self.records[number]["score"] if number in self.records else None
        if number == 0 and score is None:
            return self.request.judged_value
        return float(score) if score is not None else None

    def _judge_own(self) -> None:
        """Trial 0 on the selection examples; where it has trained on them, the gate's own number
        stands in.
        """
        if 0 in self.records:
            return
        epochs = len(self.call.history.epoch)
        score = (
            None
            if self._is_split
            else trial.Scorer(self.request, self.selected).evaluate(self.model)
        )
        if score is None and not self._is_split:
            raise RefusedError(
                f"{self.request.metric} cannot be computed on the selection examples"
            )
        message = "as the script trained it" + (
            "; it has seen the selection examples" if self._is_split else ""
        )
        self._record(
            trial_record(
                0,
                state="finished",
                score=score,
                epochs=epochs,
                parameters=self.model.count_params(),
                message=message,
            )
        )

    def _try(self, number: int, candidate: Candidate) -> Dict[str, Any]:
        """Run one trial and record it."""
        import keras

        if (
            candidate.parent == 0
            and not candidate.fresh
            and self._is_split
            and not self.request.worker
        ):
            self._retrain_own()
        keras.utils.set_random_seed((self.request.seed * 7919 + number) % 2**31)
        model, grade = self._build(candidate)
        record = trial_record(
            number,
            parent=candidate.parent,
            edits=candidate.words() + candidate.recipe.words(),
            inherited=grade,
            hyperparameters=candidate.values(),
            parameters=model.count_params(),
        )
        self.diary.write("trial", trial=record)
        self.lab.best = self._score(self.winner())
        with forgotten_gradients():
            run = trial.train(self.lab, model, candidate.recipe, number)
        self._close(record, run)
        del model
        gc.collect()
        return record

    def _close(self, record: Dict[str, Any], run: trial.Run) -> None:
        """Record how a trial ended; its weights are kept while it is the best."""
        number = int(record["number"])
        state = run.state if run.state != "finished" or not run.out_of_time else "stopped"
        usable = run.score if state in ("finished", "stopped") else None
        record.update(
            state=state,
            score=usable,
            epochs=len(run.curve),
            seconds=math.ceil(1000 * run.seconds) / 1000,
            curve=run.curve,
            message=run.message,
        )
        # Among the trials alone: trial 0 may yet turn out to be worse than the gate's number that
        # stands in for it.
        others = [one["score"] for n, one in self.records.items() if n and n != number]
        is_best = usable is not None and (
            number in (0, *self._followed)
            or all(self.request.better(usable, one) for one in others)
        )
        if run.weights is not None and is_best and self.lab.is_ours():
            self._keep_weights(number, run.weights)
        atomic.write_json(self._path("trials", f"{number}.history.json"), run.history)
        self.histories[number] = run.history
        self._record(record)
        if not self.request.worker:
            self._commit()
            self._forget(number)

    def _record(self, record: Dict[str, Any]) -> None:
        self.records[int(record["number"])] = record
        if self.ledger is not None:  # what counts is what the chief has heard
            self.ledger.add(record=record)
            atomic.write_json(
                self._path("trials", f"{record['number']}.json"), record, lasting=False
            )
            self.is_tidy = False
        self.diary.write("trial", trial=record)

    def _forget(self, number: int) -> None:
        """Drop the checkpoint of a trial whose end is written down."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path("trials", f"{number}{trial.Saved.ENDING}"))

    def _path(self, *parts: str) -> str:
        return os.path.join(self.request.directory, *parts)

    def _keep_weights(self, number: int, values: List[Any]) -> None:
        """Store a trial's weights."""
        import io

        import numpy

        stream = io.BytesIO()
        numpy.savez(stream, *values)
        atomic.write_atomic(self._path("weights", f"{number}.npz"), stream.getvalue())

    def _weights(self, number: int) -> List[Any]:
        """The weights of trial 0 or of the best trial."""
        import numpy

        path = self._path("weights", f"{number}.npz")
        if number == 0 and not os.path.exists(path):
            return list(self.own_weights)
        with numpy.load(path, allow_pickle=False) as stored:
            return [stored[f"arr_{i}"] for i in range(len(stored.files))]

    def _architecture(self, number: int) -> Any:
        """The model of a trial, with fresh weights or whatever its edits made of them."""
        if self.root is None:
            return None
        if number == 0:
            return self.root
        candidate = self._candidate(number)
        if candidate.own:
            return user_space.built(self.hypermodel, candidate.own)
        model, _ = architecture_edits.apply_all(
            self._architecture(candidate.parent), list(candidate.edits)
        )
        return model

    def _candidate(self, number: int) -> Candidate:
        if number not in self.candidates:
            self.candidates[number] = Candidate.read(self.records[number]["hyperparameters"])
        return self.candidates[number]

    def _build(self, candidate: Candidate) -> Tuple[Any, str]:
        """The candidate's model with the weights it inherits, and how well they fit."""
        if candidate.own:
            return user_space.built(self.hypermodel, candidate.own), "fresh"
        if self.root is None:
            fresh = candidate.fresh and self._initial() is not None
            self.model.set_weights(self._initial() if fresh else self._weights(candidate.parent))
            return self.model, "fresh" if fresh else "exact"
        parent = self._architecture(candidate.parent)
        if not candidate.fresh:
            parent.set_weights(self._weights(candidate.parent))
        model, grade = architecture_edits.apply_all(parent, list(candidate.edits))
        if candidate.fresh:
            model = graph.rebuild(model, graph.Plan())
            self._begin_again(model)
            return model, "fresh"
        return model, grade

    def _begin_again(self, model: Any) -> None:
        """Give layers that no edit changed the weights they had before the developer's fit: they
        may be pretrained.

        Where those are not known, what the fit cannot have changed is taken from the trained model.
        """
        initial = self._initial()
        if initial is not None:
            before = graph.rebuild(self.root, graph.Plan())
            before.set_weights(initial)
        sources = {one.name: one for one in (self.root if initial is None else before).layers}
        for layer in model.layers:
            own = sources.get(layer.name)
            if own is None or not own.weights or (initial is None and own.trainable_weights):
                continue
            values = own.get_weights()
            if [v.shape for v in values] == [tuple(w.shape) for w in layer.weights]:
                layer.set_weights(values)

    def _initial(self) -> Optional[List[Any]]:
        return initial_weights.initial(self.model, self.call)

    def _retrain_own(self) -> Dict[str, Any]:
        """Trial 0 once more, from its initial weights and without the selection examples; its
        record.
        """
        import keras

        if self._has_own():
            return self.records[0]
        keras.utils.set_random_seed(self.request.seed * 7919 % 2**31)
        model = self.model if self.root is None else graph.rebuild(self.root, graph.Plan())
        initial = self._initial()
        if initial is not None:
            model.set_weights(initial)
        recipe = Recipe(
            epochs=len(self.call.history.epoch) or int(self.call.arguments.get("epochs") or 1)
        )
        record = trial_record(
            0,
            parameters=model.count_params(),
            message="trained again without the selection examples",
        )
        self.diary.write("trial", trial=record)
        self.lab.best = None
        self._close(record, trial.train(self.lab, model, recipe, 0))
        return record

    def _propose(self, tried: List[Mapping[str, Any]]) -> Optional[Candidate]:
        if self.hypermodel is not None:
            return None
        best = self.winner()
        own = self._candidate(best) if best else None
        polished = own is not None and not own.edits and not own.fresh
        return next_candidate(
            self.space, best, self._looked_at, self._diagnosis, tried, polished=polished
        )

    def _looked_at(self, number: int) -> Any:
        """The architecture of the best trial, which stays the same over several proposals; nothing
        trains this copy.
        """
        if self._best is None or self._best[0] != number:
            self._best = (number, self._architecture(number))
        return self._best[1]

    def _refined(self, rate: float, epochs: int) -> Candidate:
        recipe = Recipe("adam", float(f"{rate:.3g}"), "cosine", epochs=epochs)
        return Candidate(self.winner(), (), recipe)

    def _diagnosis(self, number: int) -> Diagnosis:
        history = self.histories.get(number)
        if history is None:
            history = atomic.read_json(self._path("trials", f"{number}.history.json")) or {}
        request = self.request
        return diagnose(
            history,
            metric=request.metric,
            mode=request.mode,
            target=request.target,
            held_out=self._score(number),
        )

    def _finish(self, stopped: str) -> Outcome:
        """Put the winner into the caller's model and write what was found."""
        number = self.winner()
        before = graph.describe(self.model)
        history = None
        if number:
            self.steps = self._way(number)
            history = self._install(number, stopped)
        elif self.root is None:
            self.model.set_weights(self.own_weights)
            trial.compile_as_given(self.model, self.call, self._plain_optimizer())
        result = {
            "schema": 1,
            "metric": self.request.metric,
            "mode": self.request.mode,
            "selection": self.selected.kind,
            "fit": self.request.fit,
            "trials": [self.records[n] for n in sorted(self.records)],
            "winner": number,
            "score": self.records[number]["score"],
            "stopped": stopped,
            "before": before,
            "examples": self.selected.count,
            "after": graph.describe(self.model),
            "notes": [*self.notes, *self.steps],
        }
        if number:
            self._write_down(number)
        atomic.write_json(self._path(protocol.RESULT), result)
        selected_on = self.selected.hashes
        return Outcome(
            result, history, bool(number), selected_on, list(self.notes), self.steps, self.reading
        )

    def _way(self, number: int) -> List[str]:
        """What each change on the way to the winner scored against what was before it, in words."""
        lines: List[str] = []
        while number:
            record = self.records[number]
            parent = self._candidate(number).parent
            before = self._score(parent)
            score = self._score(number)
            what = "; ".join(self._candidate(number).words() or record["edits"])
            if before is not None and score is not None:
                lines.insert(0, f"{self._gained(number, parent, score, before)}: {what}")
            number = parent
        return lines

    def _gained(self, number: int, parent: int, score: float, before: float) -> str:
        """Say what a trial scored against its parent; that it brought something only beyond what
        chance explains.
        """
        found = protocol.gain(
            score,
            before,
            metric=self.request.metric,
            mode=self.request.mode,
            examples=self.selected.count,
            trials=list(self.records.values()),
        )
        if found.is_clear:
            return f"trial {number} brought {found.words()} over trial {parent}"
        return f"trial {number} scored {score:.3f}, trial {parent} {before:.3f} ({found.words()}: no clear difference)"

    def _write_down(self, number: int) -> None:
        """What the host needs to suggest a patch: the architectures before and after, and how the
        winner trained.
        """
        winner = blueprint(self._architecture(number)) if self.root is not None else []
        chain = [self._candidate(number)]
        while chain[0].parent and not chain[0].fresh:
            chain.insert(0, self._candidate(chain[0].parent))
        # A bare script trains from scratch: as the first of the line did, for as long as all of it.
        recipe = replace(chain[0].recipe, epochs=sum(one.recipe.epochs for one in chain))
        x = (
            self.selected.everything["x"]
            if self.selected.everything
            else self.selected.training["x"]
        )
        batch = recipe.batch_size or trial.batch_size(self.call)
        given = self.call.arguments
        atomic.write_json(
            self._path(protocol.WINNER),
            {
                "schema": 1,
                "framework": "keras",
                "before": self.written,
                "after": winner,
                "recipe": asdict(recipe),
                "learning_rate": recipe.learning_rate or self.facts.learning_rate,
                "batch_size": batch,
                "given": {"epochs": given.get("epochs"), "batch_size": given.get("batch_size")},
                "steps": trial.steps_an_epoch(self.call, x, batch),
                "sites": self.call.sites,
                "class_weight": trial.rarity(given.get("y")) if recipe.balanced else None,
                "sequential": type(self.model).__name__ == "Sequential",
            },
        )

    def _install(self, number: int, stopped: str) -> Any:
        candidate = self._candidate(number)
        winner = self.model if self.root is None else self._architecture(number)
        winner.set_weights(self._weights(number))
        if self._is_split and stopped != "interrupted" and not candidate.own:
            self._refit(winner, candidate, number)
        if self.root is not None:
            winner = architecture_edits.without_augmentation(winner)
        weights = winner.get_weights()
        edited = self.root is not None and self._lineage(number)
        optimizer = self._plain_optimizer()
        if edited:
            self.notes += graft(self.model, winner)
        else:
            self.model.set_weights(weights)
        trial.compile_as_given(self.model, self.call, optimizer)
        # With its variables, as after any fit: else saving and loading the model would warn.
        optimizer.build(self.model.trainable_variables)
        self.notes.append("the optimizer starts afresh: what a later fit inherits is the weights")
        return self._rewrite_history(number)

    def _lineage(self, number: int) -> bool:
        """Whether any edit lies between the developer's architecture and this trial's."""
        while number:
            candidate = self._candidate(number)
            if candidate.edits or candidate.own:
                return True
            number = candidate.parent
        return False

    def _plain_optimizer(self) -> Any:
        return trial.optimizer_for(self.lab.optimizer, Recipe(), 1)

    def _refit(self, winner: Any, candidate: Candidate, number: int) -> None:
        """Train the winner a little on all examples, those it was selected on too, at a small and
        falling rate.
        """
        everything = self.selected.everything or {}
        rate = (candidate.recipe.learning_rate or self.facts.learning_rate or 1e-3) / 3
        epochs = max(1, round(REFIT_SHARE * candidate.recipe.epochs))
        recipe = replace(candidate.recipe, epochs=epochs, learning_rate=rate, schedule="cosine")
        before = winner.get_weights()
        steps = trial.steps_an_epoch(
            self.call, everything["x"], recipe.batch_size or trial.batch_size(self.call)
        )
        trial.compile_as_given(
            winner, self.call, trial.optimizer_for(self.lab.optimizer, recipe, steps)
        )
        scorer = trial.Scorer(self.request, self.selected)
        held = scorer.evaluate(winner)
        batch = recipe.batch_size or trial.batch_size(self.call)
        clock = Clock(0.0, max(self.clock.left_s / 60.0, REFIT_SHARE * self.request.minutes))
        pulse = trial.pulse(self.diary, clock, number)()
        clock.start()
        winner.fit(
            **everything,
            **trial.passed_on(self.call, everything["x"], batch),
            epochs=epochs,
            verbose=0,
            callbacks=[pulse],
        )
        spent = clock.stop()
        if self.request.better(held, scorer.evaluate(winner)):
            winner.set_weights(before)
            self.notes.append("training the winner on all examples made it worse, and was undone")
        else:
            self.steps.append(
                f"the winner trained {epochs} more epochs on all examples ({spent:.0f} s)"
            )

    def _curve(self, number: int, name: str) -> List[float]:
        """A curve over the winner's whole training: that of the trials whose weights it inherited
        comes first.
        """
        values = (
            self.histories.get(number)
            or atomic.read_json(self._path("trials", f"{number}.history.json"))
            or {}
        )
        candidate = self._candidate(number) if number else None
        inherited = candidate is not None and not candidate.fresh
        before = self._curve(candidate.parent, name) if candidate is not None and inherited else []
        return [*before, *values.get(name, [])]

    def _rewrite_history(self, number: int) -> Any:
        """The caller's History: its own keys and length, the winner's values."""
        given = self.call.history
        count = len(given.epoch)
        for name in [name for name in given.history if not name.startswith("val_")]:
            curve = self._curve(number, name)
            if curve:
                given.history[name] = stretched(curve, count)
            else:
                self.notes.append(f"history['{name}'] is trial 0's: the winner has no such curve")
        self._measure_history(given)
        self.model.history = given
        given.set_model(self.model)
        return given

    def _measure_history(self, given: Any) -> None:
        """Give the History's validation keys what the winner, as the script holds it, reaches on
        the script's own data.

        The trials' curves are scores that the winner was selected by. Examples that it was selected
        on are left out if the gate judges the others (half).
        """
        names = [name for name in given.history if name.startswith("val_")]
        source = of_validation(self.call.arguments)
        if not names or source is None:
            return
        left_out = self.selected.hashes if self.selected.kind == "half" else frozenset()
        try:
            self.reading = source.without(left_out).in_memory().evaluate(self.model)
        except Exception as error:  # noqa: BLE001 - the script's own pipeline may fail in any way when it is read again
            self.notes.append(
                f"the winner could not be measured on the validation data: {type(error).__name__}: {error}"
            )
        logs = {} if self.reading is None else self.reading.logs
        for name in names:
            given.history[name] = [float(logs.get(name[4:], math.nan))] * len(given.history[name])
        if self.reading is not None:
            which = "the half of it that did not select" if left_out else "all of it"
            self.steps.append(
                f"the History's validation values are the winner's, measured once on {which}"
            )


def stretched(curve: List[float], count: int) -> List[float]:
    """A curve of `count` values: the same beginning and end, values between repeated or left out
    evenly.
    """
    if count <= 1 or len(curve) == 1:
        return [curve[-1]] * count
    return [curve[round(i * (len(curve) - 1) / (count - 1))] for i in range(count)]


def trial_rate(facts: Any) -> float:
    """The learning rate around which the refinement looks."""
    return float(facts.learning_rate or 1e-3)
