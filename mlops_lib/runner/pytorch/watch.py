"""Group a script's calls of its models into sessions, with the targets of each.

`watch_hooks` reports the calls of outermost modules, batches of data loaders, loss functions and
comparisons. A call without training is added to a session when its targets can no longer come. From
calls with training it is learned how the model's output is compared (`Habit`), until that is known.
"""

import os
import sys
import weakref
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional

from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import artifact, readings, tensors
from mlops_lib.runner.pytorch.observation import Training
from mlops_lib.runner.pytorch.readings import Scores
from mlops_lib.runner.pytorch.sessions import Call, Compared, Loss, Session, place_of
from mlops_lib.runner.pytorch.tensors import Path

OPEN_CALLS = 16
BATCHES = 3
"""The number of batches that are remembered: frameworks read one or two ahead of their work."""
LEARNED_FROM = 3
"""The number of training batches that show how a model's output is compared."""
FRUITLESS = 200
"""The most unreadable evaluations of a model.

After these it counts as called for another purpose, such as acting or sampling.
"""
MODELS = 8
"""The number of models whose evaluations are remembered, the last ones."""


class Batch(NamedTuple):
    """A batch of a DataLoader."""

    iterator: int
    loader: Any
    data: Any


class Habit(NamedTuple):
    """The comparison of a training model's output with a part of the batch."""

    name: str
    scores: Scores
    target: Optional[Path]
    """The path of the targets in the batch; None if they are not part of it."""
    options: Dict[str, Any]
    is_same_shape: bool
    """Whether the scores are the whole tensor of the output."""


class Watch:
    """Follows the script's calls and groups its evaluations."""

    def __init__(self, run: Context, training: Training) -> None:
        self.run = run
        self.training = training
        self.process = os.getpid()
        self.depth = 0
        self.busy = False
        self.open: List[Call] = []
        self.inside: List[Compared] = []
        """Loss functions that the running module has called itself."""
        self.wants_inside = False
        self.batches: Deque[Batch] = deque(maxlen=BATCHES)
        self.sessions: List[Session] = []
        self.current: Dict[int, Session] = {}
        """The open session of each model, by the model's id."""
        self.habits: "weakref.WeakKeyDictionary[Any, List[Habit]]" = weakref.WeakKeyDictionary()
        self.on_trained: List[Callable[[Call], None]] = []
        """Called with each call whose output went backward."""
        self.wants_inputs: List[Callable[[Any], bool]] = []
        """Return whether the training inputs of a model are still of interest."""
        self.on_session: List[Callable[[Session], None]] = []
        """Called with each session when it is over."""
        self.fruitless: Dict[int, int] = {}
        """The number of a model's evaluations that could not be read, by its id."""
        self._iterators = 0
        self._settled: Dict[int, Callable[[], Any]] = {}
        """References to models of whose training nothing more is to be learned, by id."""
        self._repeated: Optional[Call] = None
        """The last call of such a model, which stands for the next one too."""
        training.after_backward.append(self.backward)
        training.after_step.append(self.stepped)
        training.before_epoch_ends.append(self.end_sessions)

    def state(self) -> Dict[str, Any]:
        """Return the state that a restart within a training restores."""
        training = self.training
        return {
            "iterators": self._iterators,
            "iterator": training.iterator,
            "is_of_loader": training.is_of_loader,
            "reading": None if training.fit is None else training.fit.reading,
        }

    def restore(self, state: Dict[str, Any]) -> None:
        """Restore what `state` returned, after the training's own state."""
        self._iterators = state["iterators"]
        self.training.iterator, self.training.is_of_loader = (
            state["iterator"],
            state["is_of_loader"],
        )
        if self.training.fit is not None:
            self.training.fit.reading = state["reading"]

    @property
    def is_looking(self) -> bool:
        """Whether a comparison made now may show how an output is read."""
        if not self.open or self.depth or self.busy or self.run.nested:
            return False
        # The output of a training of which nothing more is to be learned is not kept.
        with_output = [call for call in self.open if call.output is not None]
        return any(self._is_wanted(call.model, grad=call.grad) for call in with_output)

    def _is_wanted(self, model: Any, *, grad: bool) -> bool:
        """Return whether comparisons of a call's output are of interest."""
        return not (grad and model.training) or not self._is_learned(model)

    def quietly(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function whose own use of PyTorch must not be observed."""
        if self.busy:
            return None
        self.busy = True
        try:
            with self.run.journal.guard("watch PyTorch"), _no_grad():
                return function(*args)
        finally:
            self.busy = False

    # --- What happens

    def calls(self, model: Any, *, grad: bool) -> None:
        """Prepare for a call of an outermost module."""
        self.depth = 1
        self.inside = []
        is_training = grad and model.training
        self.wants_inside = not (is_training and self.is_settled(model)) and self._is_wanted(
            model, grad=grad
        )

    def called(self, model: Any, args: Any, kwargs: Any, output: Any, grad: bool) -> None:
        """Note a call of an outermost module."""
        if (
            os.getpid() != self.process
            or next(model.parameters(), None) is None
            or not tensors.leaves(output)
        ):
            return
        # A policy that acts or a generator that samples would fill the memory with calls of no use.
        if self.fruitless.get(id(model), 0) > FRUITLESS and not (grad and model.training):
            return
        for previous in [previous for previous in self.open if previous.model is model]:
            self._close(previous)
        call = Call(model, args, kwargs, output, grad=grad)
        call.inside, self.inside = self.inside, []
        self._find_batch(call)
        if not (grad and call.is_training_mode):
            call.place, call.frame = place_of(self.run.work)
        if grad and call.is_training_mode and self._is_learned(model):
            call.output = None  # its graph must not live longer than the script lets it
            if not any(wants(model) for wants in self.wants_inputs):
                call.args, call.kwargs = (), {}
        self.open.append(call)
        # Without a backward pass nothing ends a training call.
        del self.open[:-OPEN_CALLS]

    def is_settled(self, model: Any) -> bool:
        """Return whether nothing more is to be learned from a model's training."""
        reference = self._settled.get(id(model))
        if reference is not None and reference() is model:
            return True
        if not self._is_learned(model) or any(wants(model) for wants in self.wants_inputs):
            return False
        self._settled[id(model)] = weakref.ref(model)
        return True

    def called_again(self, model: Any) -> None:
        """Note a training call from which nothing more is to be learned; keep no tensor."""
        if self.open:
            self.open = [
                previous
                for previous in self.open
                if previous.model is not model or not previous.grad
            ]
        call = self._repeated
        if call is None or call.model is not model:
            call = self._repeated = Call(model, (), {}, None, grad=True)
        call.iterator = call.loader = None
        if self.batches and self.training.is_of_loader:
            call.iterator, call.loader = self.batches[-1].iterator, self.batches[-1].loader
        self.open.append(call)
        del self.open[:-OPEN_CALLS]

    def _find_batch(self, call: Call) -> None:
        """Find the batch of a call's inputs.

        It is found by memory or values, else it is the last batch of as many examples.
        """
        inputs = [leaf for _, leaf in call.inputs() if leaf.dim()]
        # Memory first: inputs that were moved to a device or cast have memory of their own, and are
        # found by their number of examples.
        for batch in reversed(self.batches):
            if any(
                tensors.shares(leaf, input_)
                for _, leaf in tensors.leaves(batch.data)
                for input_ in inputs
            ):
                return self._is_of(call, batch)
        for batch in reversed(self.batches):
            sizes = {len(leaf) for _, leaf in tensors.leaves(batch.data) if leaf.dim()}
            if inputs and len(inputs[0]) in sizes:
                return self._is_of(call, batch)

    def _is_of(self, call: Call, batch: Batch) -> None:
        call.batch, call.iterator, call.loader = batch.data, batch.iterator, batch.loader
        self.training.is_of_loader = True

    def gave(self, iterator: int, loader: Any, data: Any) -> None:
        """Note a batch of a DataLoader; evaluations of the batch before are complete."""
        for call in list(self.open) if self.open else ():
            if (call.iterator is not None and call.iterator != iterator) or not call.grad:
                self._close(call)
        self.batches.append(Batch(iterator, loader, data))
        self.training.iterator = iterator

    def ended(self, iterator: int) -> None:
        """Note that a DataLoader's iterator has no more batches: close its calls.

        Their sessions stay open for a comparison after the loop.
        """
        for call in [candidate for candidate in self.open if candidate.iterator == iterator]:
            self._close(call)

    def compared(
        self, name: str, left: Any, right: Any, options: Dict[str, Any], value: Any
    ) -> None:
        """Note a loss function, a comparison or a difference."""
        if not (tensors.is_tensor(left) and tensors.is_tensor(right)) or not left.numel():
            return
        # A comparison with a constant, or by broadcasting, concerns no pair of prediction and
        # target.
        if name in ("equal", "difference") and left.numel() != right.numel():
            return
        comparison = Compared(name, left, right, options, value)
        if self.depth:  # within a module
            if name not in ("equal", "difference"):
                self.inside.append(comparison)
            return
        for call in reversed(self.open):
            if (
                call.grad
                and call.is_training_mode
                and (name == "equal" or self._is_learned(call.model))
            ):
                continue  # what is right in training is not asked
            if call.compare(comparison):
                return
        # A script may collect outputs and compare them after its loop.
        for session in reversed(self.sessions[-2:]):
            if not session.is_over and session.compare(comparison):
                return
        if name == "equal":
            self._contest(left, right)

    def _contest(self, left: Any, right: Any) -> None:
        """Note that targets are compared with a tensor of unknown origin."""
        for call in self.open:
            if call.grad and call.is_training_mode:
                continue
            of_batch = [leaf for _, leaf in tensors.leaves(call.batch)]
            if any(tensors.shares(leaf, side) for leaf in of_batch for side in (left, right)):
                call.is_contested = True
        for session in self.sessions[-2:]:
            if (
                not session.is_over
                and len(session.calls) > 1
                and session.examples in (left.numel(), right.numel())
            ):
                session.is_contested = True

    def _is_learned(self, model: Any) -> bool:
        return len(self.habits.get(model, ())) >= LEARNED_FROM

    def backward(self, tensor: Any) -> None:
        """Note that the open calls with gradients belong to a training."""
        calls = [candidate for candidate in self.open if candidate.grad]
        if not calls:
            return
        self.open = [candidate for candidate in self.open if not candidate.grad]
        for call in calls:
            self._forget_session(call.model)
            if self.training.last_trained() is not call.model:
                self.training.last_trained = weakref.ref(call.model)
            self.training.is_of_loader = call.iterator is not None
            self.training.iterator = call.iterator
            if call.output is None:
                for follow in self.on_trained:
                    follow(call)
                continue
            self.quietly(self._learn, call)
            for follow in self.on_trained:
                self.quietly(follow, call)

    def _forget_session(self, model: Any) -> None:
        """Drop an apparent evaluation that was a part of the training."""
        session = self.current.get(id(model))
        if session is not None and session.grad:
            session.calls, session.outputs, session.is_over = [], None, True
            self.sessions.remove(session)
            del self.current[id(model)]

    def stepped(self, optimizer: Any) -> None:
        """Note a step: later calls see another state of the model."""
        for session in self.current.values():
            if session.iterator is None:
                self.quietly(self._end, session)
        self.current = {key: one for key, one in self.current.items() if not one.is_over}

    def _learn(self, call: Call) -> None:
        if self._is_learned(call.model):
            return
        losses = call.losses or self._losses_inside(call)
        losses = [one for one in losses if one.is_function] or losses
        for loss in losses[-1:]:
            target = _path_in(call.batch, loss.target)
            is_same_shape = loss.scores.view is None and loss.scores.shape in readings.SHAPES
            habit = Habit(loss.name, loss.scores, target, loss.options, is_same_shape)
            self.habits.setdefault(call.model, []).append(habit)

    def _losses_inside(self, call: Call) -> List[Loss]:
        for comparison in reversed(call.inside):
            if call.compare(comparison):
                break
        return call.losses

    # --- Sessions

    def _close(self, call: Call) -> None:
        """End a call: it belongs to an evaluation, or to no known purpose."""
        if call in self.open:
            self.open.remove(call)
        if call.grad and call.is_training_mode:
            return
        self._add(call)

    def _add(self, call: Call) -> None:
        session = self.current.get(id(call.model))
        if session is None or not session.takes(call, self.training.passes):
            if session is not None:
                self._end(session)
            session = Session(call, self.training.passes)
            self.current[id(call.model)] = session
            self.sessions.append(session)
            self._forget_models()
        self._stand_beside(session, call)
        call.complete()
        self._apply_habit(call)
        session.add(call)

    def _stand_beside(self, session: Session, call: Call) -> None:
        """Note the other models that are called for the same data.

        They read the same DataLoader, or one gets the other's output.
        """
        for neighbour in self.current.values():
            if neighbour.is_over or neighbour.model is session.model or neighbour in session.beside:
                continue
            is_same = session.iterator == neighbour.iterator
            if is_same and (session.iterator is not None or neighbour.gave_inputs_of(call)):
                session.beside.append(neighbour)
                neighbour.beside.append(session)

    def _apply_habit(self, call: Call) -> None:
        """Guess the loss of a call by the model's training, if no comparison was seen."""
        habits = self.habits.get(call.model) or []
        if call.losses or call.answers or call.inside or call.batch is None or not habits:
            return
        habit = habits[-1]
        if (
            habit.target is None
            or not habit.is_same_shape
            or any(candidate.target != habit.target for candidate in habits)
        ):
            return
        try:
            target = tensors.at(call.batch, habit.target)
            leaf = tensors.at(call.output, habit.scores.path)
        except (LookupError, AttributeError, TypeError):
            return
        if not tensors.is_tensor(target) or not target.dim() or len(target) != len(leaf):
            return
        shape = tuple(target.shape if leaf.numel() == target.numel() else leaf.shape)
        is_second = leaf.shape[:1] + leaf.shape[2:] == target.shape  # as the loss function wants
        if leaf.dim() == target.dim() + 1 > 2 and leaf.shape[:-1] == target.shape and not is_second:
            # The classes come last, as in a tagger: the training has flattened both, which is all
            # that its loss function takes.
            shape = (target.numel(), int(leaf.shape[-1]))
            target = target.reshape(-1)
        call.guess = Loss(
            habit.name, habit.scores, shape, target.to(leaf.device), habit.options, float("nan")
        )

    def let_go(self, session: Session) -> None:
        """Drop the tensors of earlier sessions on the same data.

        Only the last session that can be read is measured again.
        """
        for earlier in self.sessions:
            is_same = earlier.model is session.model and earlier.data == session.data
            if earlier is not session and is_same and earlier.is_over:
                earlier.calls, earlier.outputs = [], None

    def _forget_models(self) -> None:
        """Drop all but the last models, and sessions without calls."""
        # A script of many short-lived models (a hyperparameter search) must not keep them all
        # alive.
        models = list(
            {id(session.model): session.model for session in reversed(self.sessions)}.values()
        )
        for model in models[MODELS:]:
            artifact.forget(model)
        model_ids = {id(model) for model in models[:MODELS]}
        self.sessions = [
            session
            for session in self.sessions
            if id(session.model) in model_ids and (session.calls or not session.is_over)
        ]

    def _end(self, session: Session) -> None:
        if session.is_over:
            return
        session.settle()
        for follow in self.on_session:
            with self.run.journal.guard("measure a session"):
                follow(session)

    def end_sessions(self) -> None:
        """End all sessions: later calls belong to none of them."""
        self.quietly(self._end_sessions)

    def _end_sessions(self) -> None:
        for call in list(self.open):
            if not call.grad or not call.is_training_mode:
                self._close(call)
        for session in list(self.current.values()):
            self._end(session)
        self.current.clear()
        self._repeated = None

    def next_iterator(self) -> int:
        """Return a number for an iterator over a DataLoader."""
        self._iterators += 1
        return self._iterators


def _path_in(batch: Any, target: Any) -> Optional[Path]:
    """Return the path of targets in a batch, None if they are not part of it."""
    leaves = tensors.leaves(batch)
    for path, leaf in leaves:
        if tensors.shares(leaf, target):
            return path
    for path, leaf in leaves:
        if leaf.numel() == target.numel() and tensors.same_values(leaf, target):
            return path
    return None


def _no_grad() -> Any:
    return sys.modules["torch"].no_grad()
