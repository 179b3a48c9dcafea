"""Record the evaluations of a script, and repeat them on the saved model.

Each session becomes a measurement. Data that is evaluated again after more training is the
validation of its fit; all else is an evaluation of the script's own. The last session on each set
of examples counts.
"""

import functools
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Set

from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import example_hashes, predictions, recipes
from mlops_lib.runner.metrics.evaluations import Measured
from mlops_lib.runner.metrics.recipes import Recipe
from mlops_lib.runner.metrics.trainings import reference
from mlops_lib.runner.pytorch import artifact, measures, tensors, watch_hooks
from mlops_lib.runner.pytorch.examples import MANY, TrainingExamples
from mlops_lib.runner.pytorch.measures import Numbers, Reading, Table, UnreadableError
from mlops_lib.runner.pytorch.observation import Training
from mlops_lib.runner.pytorch.sessions import Session
from mlops_lib.runner.pytorch.watch import Watch
from mlops_lib.runner.pytorch.watch_hooks import Hook

ASKED_BYTES = 1 << 28
"""The most bytes of inputs that are concatenated to look for mistakes and leaks."""
NAMED_EXAMPLES = 16
"""The number of examples by whose content repeatedly evaluated data is recognized."""
REMEMBERED = 4
"""The number of last sessions to whose outputs a metric function is traced."""
MODES = ("Dropout", "BatchNorm", "InstanceNorm", "RReLU")
"""Prefixes of layers that behave differently in training mode."""


class Judge:
    """Makes measurements of sessions."""

    def __init__(self, run: Context, training: Training, watch: Watch) -> None:
        self.run = run
        self.training = training
        self.watch = watch
        self.examples = TrainingExamples(run, watch)
        self._recorded: List[Session] = []
        self._validation: Set[Any] = set()
        """Keys of model and data that were evaluated while the model was trained."""
        self._seen: Dict[Any, int] = {}
        """Keys of model and data to the number of steps at the last evaluation."""
        watch.on_session.append(self.ended)

    def ended(self, session: Session) -> None:
        """Measure a session that is over, while its outputs are still there."""
        keys = self._keys(session)
        # Evaluated before, with steps in between: a validation of the training.
        if any(self._seen.get(key, session.steps) != session.steps for key in keys):
            self._validation.update(keys)
        session.is_repeated = not self._validation.isdisjoint(keys)
        self._seen.update(dict.fromkeys(keys, session.steps))
        share = self.examples.share_of(session)
        session.trained_on = None if share is None else share > MANY
        if session.loader is None and any(
            "train" in str(text) for text in session.place[:-1] if len(text) == 2
        ):
            session.trained_on = True  # a variable of the script says so
        session.is_mixed = share is not None and 0 < share <= MANY
        try:
            reading = measures.reading_of(session)
            outputs = session.outputs
            # Outputs were dropped to save memory: the calls are repeated.
            if outputs is None or len(outputs) != len(session.calls):
                outputs = self._again(session.model, session)
            table = measures.table(session, reading, outputs)
            numbers = measures.numbers(table, reading, session)
        except UnreadableError as error:
            self._note_unread(session, str(error))
            return
        session.reading, session.numbers = reading, numbers
        session.not_finite = table.not_finite
        self.watch.let_go(session)
        # One readable evaluation clears a model of the suspicion that it acts or samples.
        self.watch.fruitless.pop(id(session.model), None)
        # `let_go` has emptied the earlier sessions on the same data.
        self._recorded = [recorded for recorded in self._recorded if recorded.calls]
        self._recorded.append(session)
        artifact.of(session.model).learn(session, reading)
        if self.training.fit is not None:
            self._note_epoch(session, numbers)

    def _keys(self, session: Session) -> List[Any]:
        """Return keys of an evaluation: the model, and three keys of its data.

        The data is named by identity, by place, and by content. Only the last two are the same in
        another process.
        """
        fit = self._fit_of(session.model)
        hashes = measures.names_of(session.calls[:1], first=NAMED_EXAMPLES) or [b""]
        first = (fit, "content", session.examples, b"".join(hashes))
        return [(fit, session.data), (fit, "place", session.place), first]

    def state(self) -> Dict[str, Any]:
        """Return the facts about evaluations that a resumed process must know."""
        return {
            "seen": {key: steps for key, steps in self._seen.items() if len(key) > 2},
            "validation": [key for key in self._validation if len(key) > 2],
            "examples": self.examples.state(self.training.models),
        }

    def restore(self, state: Dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._seen.update(state["seen"])
        self._validation.update(state["validation"])
        self.examples.restore(state["examples"])

    def _note_unread(self, session: Session, why: str) -> None:
        """Keep a session without any comparison, if the training shows its reading.

        A metric function may be given values derived from its outputs later.
        """
        habits = self.watch.habits.get(session.model) or []
        reading = measures.reading_by(habits[-1]) if habits and not session.problems else None
        if reading is None or not session.calls:
            self._cannot(session, why)
            return
        self._count_fruitless(session)
        session.reading, session.unread = reading, why
        unread = [recorded for recorded in self._recorded if recorded.unread][1 - REMEMBERED :]
        self._recorded = [
            recorded for recorded in self._recorded if not recorded.unread or recorded in unread
        ]
        self._recorded.append(session)

    def _count_fruitless(self, session: Session) -> None:
        key = id(session.model)
        self.watch.fruitless[key] = self.watch.fruitless.get(key, 0) + 1

    def _cannot(self, session: Session, why: str) -> None:
        self._count_fruitless(session)
        if session.calls or session.problems:
            name = type(session.model).__name__
            self.run.journal.warn(f"an evaluation of {name} has no number of its own: {why}")

    def _again(self, model: Any, session: Session) -> List[Any]:
        with artifact.evaluating(model):
            return [measures.answer(model, call) for call in session.calls]

    def _note_epoch(self, session: Session, numbers: Numbers) -> None:
        fit = self.training.fit
        assert fit is not None
        if session.trained_on is not True:
            # The first set evaluated within a fit is its validation; a test set usually follows at
            # the end.
            if fit.validated_on is None:
                fit.validated_on = session.data
            if fit.validated_on != session.data:
                return  # another set, such as the one that is tested on at the end
        prefix = "train" if session.trained_on else "val"
        for name, value in numbers.values.items():
            fit.validation[f"{prefix}_{name}"] = value

    def remember_predictions(self) -> None:
        """End the open sessions and register their outputs for tracing.

        A metric function is about to be traced to the predictions that it is given.
        """
        if self.watch.busy:
            return
        self.watch.end_sessions()
        for session in self._recorded[-REMEMBERED:]:
            with self.run.journal.guard("remember predictions"):
                self._remember(session)

    def _remember(self, session: Session) -> None:
        outputs = session.outputs
        if outputs is None or len(outputs) != len(session.calls) or session.is_remembered:
            return
        session.is_remembered = True
        model = artifact.of(session.model)
        reading = session.reading
        x = inputs_of(session)
        # A model that takes more than its inputs cannot be called by the metric's tracing.
        if x is None or not measures.is_plain(session):
            return
        model.learn(session, reading)
        raw = [tensors.at(part, reading.path) for part in outputs]
        fit = self._fit_of(session.model)
        # A metric function may be given labels, probabilities or raw scores.
        for method, parts in (
            ("predict", [model.answers(part) for part in raw]),
            ("predict_proba", [model.shares(part) for part in raw]),
            ("decision_function", raw),
        ):
            output = tensors.joined([tensors.array(part) for part in parts])
            if output is not None:
                predictions.remember(model=model, method=method, x=x, output=output, fit=fit)

    def finish(self) -> None:
        """Record all evaluations as the script ends."""
        self.watch.end_sessions()
        self.training.end_fit()
        self.examples.finish()
        self._mark_validations()
        for number, module in sorted(self.training.models.items()):
            self.run.models[number] = artifact.of(module)
        for session in self._recorded:
            if session.calls:
                with self.run.journal.guard("record a session"):
                    self._record(session)

    def _mark_validations(self) -> None:
        """Mark measurements on validation examples by a metric function as such."""
        names_of_each = [
            measures.names_of(session.calls)
            for session in self._recorded
            if session.is_repeated and session.calls
        ]
        digests = {
            example_hashes.Examples(names).digest for names in names_of_each if names is not None
        }
        for record in self.run.evaluations.records:
            if record["examples_digest"] in digests:
                record["source"] = "fit.validation"

    def _record(self, session: Session) -> None:
        """Record a session, unless the script itself has a number for it."""
        if session.unread:
            if not session.is_remembered:
                self._cannot(session, session.unread)
            return
        model = artifact.of(session.model)
        model.learn(session, session.reading)
        names = measures.names_of(session.calls)
        hashes = None if names is None else example_hashes.Examples(names)
        if self._is_known(model, hashes, session.numbers):
            return
        numbers = self._without_doubtful(session, session.numbers)
        if numbers.metric not in numbers.values:
            self._cannot(session, f"the script has another {numbers.metric} for as many examples")
            return
        if session.is_mixed:
            self.run.journal.warn(
                "a part of the data that is evaluated is of the data set's training part"
            )
        self._warn_of_mode(session)
        # Unless all training examples are known, it is not known either whether these are others.
        is_decidable = session.trained_on or self.examples.of(session.model) is not None
        examples = hashes if is_decidable and not session.is_mixed else None
        self._add(session, numbers, examples)

    def _add(
        self, session: Session, numbers: Numbers, examples: Optional[example_hashes.Examples]
    ) -> None:
        """Add a session to the evaluations of the run.

        Args:
            session: the session.
            numbers: its metrics.
            examples: the hashes of its examples, None if they decide nothing.
        """
        run = self.run
        reading = session.reading
        x = inputs_of(session)
        y = targets_of(session, reading)
        is_askable = x is not None and y is not None and measures.is_plain(session)
        is_chained = any(neighbour.reading is None for neighbour in session.beside)
        confusion, labels = self._confusion(session, reading)
        run.evaluations.add(
            metric=numbers.metric,
            value=numbers.values[numbers.metric],
            source="fit.validation" if session.is_repeated else "compared",
            fit=self._fit_of(session.model),
            examples=examples,
            count=session.examples,
            # None: the examples' hashes decide.
            held_out=False if session.trained_on else None,
            task=numbers.task,
            baseline=numbers.baseline,
            everything=dict(numbers.values),
            model=artifact.of(session.model),
            repeat=None if is_chained else functools.partial(self._repeat, session, reading),
            xy=(x, y) if is_askable else None,
            confusion=confusion,
            labels=labels,
            recipe=self._recipe(session, reading, numbers, x, y) if is_askable else None,
            data="what the model was called with without training",
        )
        record = run.evaluations.records[-1]
        if session.not_finite:
            record["not_finite"] = {
                "count": session.not_finite,
                "examples": session.examples,
                "rows": [],
            }
        if is_chained:
            record["recompute_note"] = (
                "several models are called one after the other, and only the last of them is saved"
            )

    def _without_doubtful(self, session: Session, numbers: Numbers) -> Numbers:
        """Drop metrics for which the script itself has another value.

        The script may have measured other values than the outputs: rescaled, averaged, or cut at a
        threshold.
        """
        logged = {
            str(record["metric"]): float(record["value"])
            for record in self.run.evaluations.records
            if record["examples"] == session.examples
            and self.run.evaluations.models.get(record["id"]) is None
        }
        values = {
            name: value
            for name, value in numbers.values.items()
            if name not in logged or abs(logged[name] - value) <= 1e-5 * max(1.0, abs(value))
        }
        return numbers._replace(values=values)

    def _is_known(
        self, model: Any, examples: Optional[example_hashes.Examples], numbers: Numbers
    ) -> bool:
        """Return whether a metric function of the script measured the same examples."""
        if examples is None:
            return False
        return any(
            record["examples_digest"] == examples.digest
            and record["metric"] == numbers.metric
            and self.run.evaluations.models.get(record["id"]) is model
            for record in self.run.evaluations.records
        )

    def _warn_of_mode(self, session: Session) -> None:
        layers = sorted(
            {
                type(module).__name__
                for module in session.model.modules()
                if type(module).__name__.startswith(MODES)
            }
        )
        if session.is_training_mode and layers:
            self.run.journal.warn(
                f"{type(session.model).__name__} is evaluated in training mode, in which {', '.join(layers)} answer"
                " otherwise: call model.eval() first. The saved model is measured in evaluation mode"
            )

    def _fit_of(self, model: Any) -> Optional[int]:
        fits = [
            number
            for number, module in self.training.models.items()
            if module is artifact.plain(model)
        ]
        return max(fits, default=max(self.training.models, default=None))

    def _confusion(self, session: Session, reading: Reading) -> Any:
        from mlops_lib.runner.sklearn import evaluation

        if not measures.is_labels(session, reading) or session.outputs is None:
            return None, None
        table: Table = measures.table(session, reading, session.outputs)
        return evaluation._confusion(table.truth, table.guess)

    def _recipe(self, session: Session, reading: Reading, numbers: Numbers, x: Any, y: Any) -> Any:
        is_plain = measures.is_labels(session, reading) or numbers.metric == "r2"
        if not is_plain:
            return None
        return Recipe(recipes.COMPARED, numbers.metric), recipes.Examples(x, y)

    def _repeat(
        self, session: Session, reading: Reading, model: Any, without: FrozenSet[bytes]
    ) -> Measured:
        model.learn(session, reading)
        outputs = self.watch_off(self._again, model.module, session)
        names = measures.names_of(session.calls)
        mask = measures.mask_of(names, without)
        numbers = measures.numbers(
            measures.table(session, reading, outputs), reading, session, mask
        )
        x = inputs_of(session)
        y = targets_of(session, reading)
        xy = None
        if mask is not None:
            names = [name for name, is_out in zip(names or (), mask) if not is_out]
            if x is not None and y is not None and not isinstance(x, tuple):
                xy = (x[~mask], y[~mask])
        metric = numbers.metric
        return Measured(numbers.values[metric], names, dict(numbers.values), numbers.baseline, xy)

    def model_of(self, item: Any) -> Any:
        """Return the model in an object that the script saves: itself, or by its weights."""
        # A state dict has no link to its module; the memory of the weights has.
        models = [
            *self.training.models.values(),
            *(session.model for session in self.watch.sessions),
        ]
        parts = list(item.values()) if isinstance(item, Mapping) else [item]
        for part in [item, *parts]:
            if hasattr(part, "named_modules"):
                return part
            weights = {tensors.place(leaf) for _, leaf in tensors.leaves(part)} - {0}
            for model in models:
                own = next(model.parameters(), None)
                if own is not None and tensors.place(own) in weights:
                    return model
        return None

    def watch_off(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function whose use of the model must not be observed."""
        # All observers ignore calls while `nested` is positive.
        self.run.nested += 1
        try:
            return function(*args)
        finally:
            self.run.nested -= 1


def inputs_of(session: Session) -> Any:
    """Return the inputs of a session's examples as an array, or a tuple of several.

    None if they are too large, or differ in shape.
    """
    if session.bytes > ASKED_BYTES:
        return None
    parts = [
        tensors.rows(
            [tensors.at((call.args, call.kwargs), path) for path in call.inputs], call.size
        )
        for call in session.calls
    ]
    return tensors.joined(parts)


def targets_of(session: Session, reading: Reading) -> Any:
    """Return the targets of a session's examples as an array; None if shapes differ."""
    parts = []
    for call in session.calls:
        pair = call.loss if reading.is_of_loss else call.answer
        if pair is None or pair.target.numel() % max(1, call.size):
            return None
        value = tensors.array(pair.target)
        parts.append(value if len(value) == call.size else value.reshape(call.size, -1))
    targets = tensors.joined(parts)
    return targets.ravel() if targets is not None and targets.size == session.examples else targets


def install(run: Context, training: Training) -> Dict[str, Hook]:
    """Return the import hooks that observe evaluations."""
    watch = Watch(run, training)
    if run.marked_loops is not None:
        run.marked_loops.checkpoints.include("watch", watch.state, watch.restore)
        run.marked_loops.checkpoints.before_taking = watch.end_sessions
        run.marked_loops.checkpoints.evaluated = lambda: bool(watch.sessions or watch.open)
    judge = Judge(run, training, watch)
    if run.marked_loops is not None:
        run.marked_loops.judge = judge
        run.marked_loops.checkpoints.include("evaluations", judge.state, judge.restore)

    def serialization(module: Any) -> None:
        # PyTorch is imported now: only then is there anything to trace or to record. What is
        # evaluated is recorded before the numbers that are only logged.
        predictions.before_trace.append(judge.remember_predictions)
        run.before_end.insert(0, judge.finish)
        module.save = _watched_save(run, judge, module.save)

    return {**watch_hooks.hooks(watch), "torch.serialization": serialization}


def _watched_save(run: Context, judge: Judge, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def save(item: Any, *args: Any, **kwargs: Any) -> Any:
        if not run.nested:
            with run.journal.guard("saved model"):
                model = judge.model_of(item)
                if model is not None:
                    run.evaluations.saved = reference(artifact.of(model))
        return plain(item, *args, **kwargs)

    return save
