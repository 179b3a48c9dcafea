"""The search around a training loop of the script's own.

At the entry of the loop each trial is a forked process: it changes the training, runs the script's
own loop, and reports the results of the script's own evaluation on the selection examples. The
parent, whose objects no trial has touched, then applies the winner's changes, and runs the loop
itself on all of the script's data: the rest of the script acts on the winner. docs/decisions/0070
gives the reason for forking.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Dict, FrozenSet, List

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.pytorch import artifact, store
from mlops_lib.runner.search import failures, judged_examples, outlook, scores
from mlops_lib.runner.search.pytorch import data, layers, processes, selection, winner_facts
from mlops_lib.runner.search.pytorch.forked import Probe, Trial
from mlops_lib.runner.search.pytorch.proposals import Candidate, Proposer
from mlops_lib.runner.search.pytorch.recipe import Trained
from mlops_lib.runner.search.pytorch.selection import RefusedError
from mlops_lib.runner.search.request import Clock, SearchRequest, trial_record
from mlops_lib.runner.state import atomic, rng

SILENCE_S = 120.0
"""A trial that gives no sign of life for so long is killed."""


class NotHereError(Exception):
    """The loop cannot be searched at this entry; perhaps at one within it."""


class LoopSearch:
    """Search at the entry of the judged training's loop, and apply the winner there.

    Args:
        run: the run; its spec has a search.
        paths: the loops that were under way when the judged training began, outermost first.
    """

    def __init__(self, run: Context, paths: List[str]) -> None:
        self.run = run
        self.paths = paths
        self.request = SearchRequest.read(
            run.spec.search or {},
            directory=run.search_folder,
            seed=run.spec.seed,
            judged=judged_examples.known(run.search_folder, run.spec.inside),
        )
        self.is_over = False
        self.reason = ""
        os.makedirs(os.path.join(run.search_folder, "trials"), exist_ok=True)

    def entered(self, loop: Any) -> None:
        """A loop was entered in the script's own process."""
        if self.is_over or loop.path not in self.paths:
            return
        state = rng.capture_python()
        self.run.nested += 1
        try:
            _Search(self, loop).run()
            self.is_over = self.run.searched = True
        except NotHereError as error:
            self.reason = str(error)
        except RefusedError as error:
            self.refuse(str(error))
        except _ContinueError:
            pass
        finally:
            self.run.nested -= 1
            rng.restore_python(state)

    def refuse(self, reason: str) -> None:
        """Write that there was no search."""
        self.is_over = self.run.searched = True
        self.run.journal.warn(f"no search: {reason}")
        result = self.request.refused(reason, [])
        atomic.write_json(os.path.join(self.request.directory, protocol.RESULT), result)

    def finish(self) -> None:
        """Say why nothing was searched, when the script is over."""
        if not self.is_over:
            self.refuse(
                self.reason
                or (
                    "the training is in no loop of the project that can be entered again (a"
                    " generator, a thread, or a library's loop that is not known)"
                    if not self.paths
                    else ""
                )
                or "the script did not come to the training loop that its judged model came from"
            )


class _Search:
    """One search, at the entry of a loop."""

    def __init__(self, owner: LoopSearch, loop: Any) -> None:
        self.run_ = owner.run
        self.request = owner.request
        self.loop = loop
        self.journal = owner.run.journal
        self.notes: List[str] = []
        self.records: Dict[int, Dict[str, Any]] = {}
        self.candidates: Dict[int, Candidate] = {}
        self.selected: FrozenSet[bytes] = frozenset()
        self.clock = Clock(0.0, self.request.minutes)
        self._anchors: Dict[int, Any] = {}
        self._cannot_fork()
        files = os.path.join(self.request.directory, "files")
        self._files = store.Store(files, self.run_.work)
        self._files.before = self.run_.start
        self._kept_files = self._files.snapshot_files()
        self.run_.search_judged = self.request.judged_hashes
        self._learn()
        self.before = artifact.architecture(self.trained.model)
        self.plan = layers.Plan(self.trained.model, self._example)
        self.proposer = Proposer(
            self.trained, self.plan, self.request, loss=self._loss, count=self._count
        )

    def _cannot_fork(self) -> None:
        torch = sys.modules["torch"]
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            raise RefusedError(
                "trials of a PyTorch loop are forked processes, which a GPU in use does not allow:"
                " train on the processor (CUDA_VISIBLE_DEVICES=-1), or search by hand"
            )

    # --- what is trained, and on what

    def _learn(self) -> None:
        """Let a probe find the objects of the training.

        Raises:
            NotHereError: they are made after this loop's entry.
            RefusedError: it cannot be searched.
        """
        example = os.path.join(self.request.directory, "example.pt")
        probed = self._probe(example)
        if "model" not in probed or not probed["optimizers"]:
            raise RefusedError("no training was seen in the loop")
        if len(probed["optimizers"]) > 1:
            raise RefusedError(
                "several optimizers take turns (as in a GAN): they cannot be chosen one by one"
            )
        torch = sys.modules["torch"]
        optimizer = selection.object_at(probed["optimizers"][0], torch.optim.Optimizer)
        model = selection.object_at(probed["model"], torch.nn.Module)
        if optimizer is None or model is None:
            raise NotHereError("the model and its optimizer are made within the training loop")
        # A model that is half trained gives a trial another beginning than the script had.
        if optimizer.state:
            raise RefusedError(
                "the optimizer has made steps before: there is no beginning to change"
            )
        training = data.source_at(probed.get("training") or {})
        self.selection = selection.choose(
            probed,
            training,
            seed=self.request.seed,
            models=self.run_.models.values(),
            metric=self.request.metric,
        )
        self._loss = str(probed.get("loss") or "")
        self._count = 0 if training is None else len(training)
        with open(example, "rb") as stream:
            self._example = torch.load(stream, weights_only=False)
        self.trained = Trained(
            self.loop, model, optimizer, None if training is None else training.dataset
        )

    def _probe(self, example: str) -> Dict[str, Any]:
        forked, reporter = processes.fork(self._log("probe"))
        if reporter is not None:
            Probe(self.run_, self.loop, reporter, metric=self.request.metric, example=example)
            raise _ContinueError
        assert forked is not None
        findings: Dict[str, Any] = {}
        error = ""
        for message in self._messages(forked):
            findings.update(message.get("found") or {})
            error = str(message.get("error") or error)
        code = self._end(forked)
        if "model" not in findings:
            why = error or f"its process ended with {code}"
            raise RefusedError(f"the loop could not be run on trial: {why}")
        return findings

    # --- the search

    def run(self) -> None:
        """Search, write the result, and change the training as the winner had it."""
        if self.request.follow:
            self._follow()
            return
        stopped = self._try_candidates()
        number = self._winner()
        self._conclude(number, stopped)

    def _follow(self) -> None:
        """Train another run's winner with this run's seed."""
        last = dict(self.request.follow[-1])
        candidate = Candidate.read(last["hyperparameters"])
        number = int(last["number"])
        self.records = {0: trial_record(0, state="finished"), number: last}
        self.candidates = {number: candidate}
        self._conclude(number, "trials")

    def _try_candidates(self) -> str:
        request = self.request
        number = 0
        while True:
            if self._is_reached():
                return "bar"
            if self.clock.left_s <= 0.0:
                return "minutes"
            message = failures.common_failure(self.records.values())
            if message:
                self.notes.append(failures.explanation(message))
                return "failed"
            if number >= request.trials:
                return "trials"
            candidate = self.proposer.next(self.records, self.candidates, self._winner())
            if candidate is None:
                return "exhausted"
            number += 1
            self._try(number, candidate)

    def _try(self, number: int, candidate: Candidate) -> None:
        self.candidates[number] = candidate
        path = os.path.join(self.request.directory, "trials", f"{number}.json")
        record = atomic.read_json(path)
        # A record with other values belongs to an earlier search with other settings.
        if isinstance(record, dict) and record.get("hyperparameters") == candidate.values():
            self.clock.count(float(record.get("seconds", 0.0)))
            self.selected |= frozenset(bytes.fromhex(name) for name in record.pop("names", ()))
            self.records[number] = record
            return
        record, names = self._run(number, candidate)
        self.records[number] = record
        self.selected |= frozenset(bytes.fromhex(name) for name in names)
        atomic.write_json(path, {**record, "names": names})
        self.journal.write(protocol.EVENT_TRIAL, trial=record)

    def _run(self, number: int, candidate: Candidate) -> Any:
        """Run one trial; return its record and the names of the examples that scored it."""
        record = trial_record(
            number,
            parent=candidate.parent if number else None,
            edits=candidate.words(),
            inherited="fresh" if candidate.edits else "exact" if number else "",
            hyperparameters=candidate.values(),
        )
        self.journal.write(protocol.EVENT_TRIAL, trial=record)
        self.journal.progress("search", trial=number)
        self.clock.start()
        began = time.monotonic()
        forked, reporter = processes.fork(self._log(str(number)))
        if reporter is not None:
            self._become_trial(candidate, reporter)
            raise _ContinueError
        assert forked is not None
        names = self._listen(forked, record, candidate)
        self.clock.stop()
        record["seconds"] = round(time.monotonic() - began, 3)
        return record, names

    def _become_trial(self, candidate: Candidate, reporter: Any) -> None:
        """Turn this forked process into a trial: change training and data."""
        try:
            self._apply(candidate)
            reporter.send(parameters=_count_of(self.trained.model))
            reads = self.selection.install()
            Trial(
                self.run_,
                self.loop,
                reporter,
                metric=self.request.metric,
                reads=reads,
                ends_after=self.selection.ends_after,
                on_turn=self.trained.on_turn,
            ).turned(0)
        except Exception as error:  # noqa: BLE001 - nothing of this process may go on as the script
            reporter.send(error=f"{type(error).__name__}: {error}"[:500], invalid=True)
            os._exit(0)

    def _apply(self, candidate: Candidate) -> None:
        """Change the model and the training."""
        state = rng.capture_python()
        sys.modules["torch"].manual_seed(self.request.seed)
        if candidate.edits:
            self._anchors = layers.graft(self.trained, self.plan, candidate.edits)
        self.trained.apply(candidate.recipe)
        rng.restore_python(state)

    def _listen(self, forked: Any, record: Dict[str, Any], candidate: Candidate) -> List[str]:
        curve: List[float] = []
        names: List[str] = []
        error = ""
        best = self.records.get(self._winner(), {}).get("score")
        epochs = candidate.recipe.epochs or self.trained.epochs or 0
        for message in self._messages(forked):
            names = list(message.get("names") or names)
            record["parameters"] = message.get("parameters", record["parameters"])
            if message.get("invalid"):
                record["state"] = "invalid"
            error = str(message.get("error") or error)
            if "epoch" in message:
                record["epochs"] = int(message["epoch"])
                self.journal.progress("search", trial=record["number"], epoch=record["epochs"])
            if "score" not in message:
                continue
            curve.append(float(message["score"]))
            stop = self._stop(curve, epochs, best, record["number"])
            if stop:
                record.update(state="stopped", message=stop)
                forked.kill()
                break
        code = self._end(forked)
        record["curve"] = curve
        record["epochs"] = max(record["epochs"], len(curve))
        if error:
            if record["state"] != "invalid":
                record["state"] = "failed"
            record["message"] = error
        elif not curve:
            record.update(state="failed", message=f"its process ended with {code} and no score")
        elif curve[-1] != curve[-1]:
            record.update(state="invalid", message="the score is not a number")
        else:
            record["score"] = curve[-1]
            if record["state"] == "running":
                record["state"] = "finished"
        return names

    def _stop(self, curve: List[float], epochs: int, best: Any, number: int) -> str:
        if number == 0:
            return ""
        if self.clock.left_s <= 0.0:
            return "the time is used up"
        finished = [
            list(record["curve"])
            for key, record in self.records.items()
            if key and record["state"] == "finished"
        ]
        if outlook.is_hopeless(curve, epochs, best, mode=self.request.mode, finished=finished):
            return "cannot become the best any more"
        return ""

    def _messages(self, forked: Any) -> Any:
        return forked.messages(
            silence_s=SILENCE_S, while_waiting=lambda: self.journal.progress("search")
        )

    def _end(self, forked: Any) -> int:
        """Wait for a forked process; put back the files that it changed."""
        code: int = forked.wait()
        handles = fit_state.flush_handles(self.run_.work)
        self._files.put_back(self._kept_files)
        store.put_positions(handles, store.positions(handles, self.run_.work), self.run_.work)
        return code

    def _log(self, name: str) -> str:
        return os.path.join(self.request.directory, "trials", f"{name}.log")

    # --- scores

    def _bar(self) -> float:
        count = len(self.selected) or self.selection.held_count
        return scores.bar(self.request, count)

    def _winner(self) -> int:
        """Return the number of the best trial so far, 0 if none has a score."""
        best = 0
        for number, record in self.records.items():
            mine = record["score"]
            if number and self.request.better(mine, self.records.get(best, {}).get("score")):
                best = number
        return best

    def _is_reached(self) -> bool:
        winner = self._winner()
        score = self.records[winner]["score"] if winner else None
        return score is not None and not self.request.better(self._bar(), score)

    # --- the end

    def _conclude(self, number: int, stopped: str) -> None:
        # A winner below the bar must at least beat the script's own training on the same examples.
        if number and stopped not in ("bar",) and not self.request.follow:
            self._try(0, Candidate())
            if not self.request.better(self.records[number]["score"], self.records[0]["score"]):
                number = 0
        if 0 not in self.records:
            message = "as the script trained it; it has seen the selection examples"
            self.records[0] = trial_record(
                0,
                state="finished",
                parameters=_count_of(self.trained.model),
                message=message,
            )
        steps = self._steps(number)
        after = self.before
        if number:
            with self.journal.guard("places of layers"):
                before = winner_facts.Before(self.trained.model)
            own = {"optimizer": self.proposer.own_optimizer, "rate": self.proposer.own_rate}
            self._apply(self.candidates[number])
            with self.journal.guard("facts for a patch"):
                self._write_facts(number, before, own, after=artifact.architecture)
            self.loop.on_turn = self._turned
            self._turned(0)
            after = artifact.architecture(self.trained.model)
            if self.selection.kind == "split":
                self.notes.append(
                    "the winner was trained again on all of the script's training data"
                )
            self.run_.evaluations.selected |= self.selected
        result = {
            **self.request.result_head(self.selection.kind),
            "trials": [self.records[n] for n in sorted(self.records)],
            "winner": number,
            "score": self.records[number]["score"],
            "stopped": stopped,
            "before": self.before,
            "examples": len(self.selected) or None,
            "after": after,
            "notes": [*self.notes, *steps],
        }
        atomic.write_json(os.path.join(self.request.directory, protocol.RESULT), result)
        for note in self.notes:
            self.journal.note(note)
        for step in steps:
            self.journal.note(step)

    def _turned(self, number: int) -> None:
        for follow in self.trained.on_turn:
            follow(number)

    def _steps(self, number: int) -> List[str]:
        """Return the winner's gain over its parent, in words."""
        if not number:
            return []
        record = self.records[number]
        parent = int(record["parent"] or 0)
        before = self.records.get(parent, {}).get("score")
        change = "; ".join(record["edits"])
        if before is None:
            return [f"trial {number} scored {record['score']:.3f}: {change}"]
        gain = scores.gain_in_words(
            number,
            parent,
            score=record["score"],
            before=before,
            request=self.request,
            examples=len(self.selected) or None,
            trials=list(self.records.values()),
        )
        return [f"{gain}: {change}"]

    def _write_facts(self, number: int, before: Any, own: Dict[str, Any], *, after: Any) -> None:
        """Write winner.json, from which the host suggests a patch."""
        candidate = self.candidates[number]
        facts: Dict[str, Any] = {"schema": 1, "framework": "pytorch", "words": candidate.words()}
        facts["after"] = after(self.trained.model)
        facts.update(winner_facts.training_changes(self.trained, candidate.recipe, own))
        try:
            facts["layers"] = before.changes(self.trained.model, self._anchors)
        except ValueError as error:
            facts["unpatchable"] = str(error)
        atomic.write_json(os.path.join(self.request.directory, protocol.WINNER), facts)


class _ContinueError(Exception):
    """Raised in a forked process to continue the script."""


def _count_of(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
