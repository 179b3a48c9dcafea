"""Evaluations of a script: calls of a model without training, and their targets.

A *call* is one of the outermost module. A *session* is the calls of one model over one pass of a
DataLoader, or, without one, from one place of the script with no training in between. The targets
are the tensors that the script compares an output with, right after the call. If they cannot be
determined the session has no number, and gives the reason.
"""

import os
import sys
import types
import weakref
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

from mlops_lib.runner.pytorch import readings, tensors
from mlops_lib.runner.pytorch.readings import Scores
from mlops_lib.runner.pytorch.tensors import Path

LIMIT_BYTES = 1 << 29
"""The most bytes of inputs and targets that one session keeps for a second measurement."""
UNREAD_BYTES = 1 << 26
"""The same for calls whose outputs no comparison was seen of, such as a sampling loop's."""
OUTPUT_BYTES = 1 << 28
"""The most bytes of outputs that one session keeps until it is measured."""
FRAMES = 60


class Compared(NamedTuple):
    """A loss function, a comparison or a difference that the script evaluated."""

    name: str
    """A function of torch.nn.functional, "equal" or "difference"."""
    left: Any
    right: Any
    options: Dict[str, Any]
    value: Any


class Loss(NamedTuple):
    """The scores and targets that a loss function was given."""

    name: str
    scores: Scores
    shape: Tuple[int, ...]
    target: Any
    options: Dict[str, Any]
    value: float
    is_function: bool = True
    """Whether it is a loss function, else a difference that the script computes itself."""


class Answer(NamedTuple):
    """A prediction that was compared with targets."""

    path: Path
    names: FrozenSet[str]
    target: Any
    result: Any = None
    """A weak reference to the comparison's result."""
    is_joint: bool = False
    """Whether an example is right only if all of its values are."""


class Rows:
    """Predictions of a batch that are compared with targets one by one."""

    def __init__(self, output: Any, target: Any) -> None:
        self.target = target
        self.path: Path = ()
        self.names: Dict[str, List[Any]] = {}
        """The functions of the output that give all predictions compared so far, with their values.
        """
        self._seen: Set[int] = set()
        for path, leaf in tensors.leaves(output):
            self.names = readings.all_answers(leaf, len(target))
            if self.names:
                self.path = path
                break

    def take(self, target: Any, row: int, value: Any) -> bool:
        """Take the prediction of a row; return whether it is one of the output."""
        if not tensors.shares(target, self.target) or not 0 <= row < len(self.target):
            return False
        self._seen.add(row)
        self.names = {name: values for name, values in self.names.items() if values[row] == value}
        return bool(self.names)

    @property
    def is_whole(self) -> bool:
        """Whether every row was compared."""
        return bool(self.names) and len(self._seen) == len(self.target)


class Call:
    """One call of an outermost module."""

    def __init__(self, model: Any, args: Any, kwargs: Any, output: Any, *, grad: bool) -> None:
        self.model = model
        self.args = args
        self.kwargs = kwargs
        self.output = output
        self.grad = grad
        self.is_training_mode = bool(model.training)
        self.precision = precision()
        self.inside: List[Compared] = []
        """Loss functions that the module called itself."""
        self.losses: List[Loss] = []
        self.answers: List[Answer] = []
        self.guess: Optional[Loss] = None
        """Scores and targets by the model's training, if no comparison was seen."""
        self.rows: Optional[Rows] = None
        self.is_contested = False
        """Whether its targets were compared with a tensor that is not known to derive from its
        output.
        """
        self.batch: Any = None
        self.iterator: Optional[int] = None
        self.loader: Any = None
        self.place: Tuple[Any, ...] = ()
        self.frame: Optional[types.FrameType] = None

    def inputs(self) -> List[Tuple[Path, Any]]:
        """Return the tensors among its arguments, each with its path in (args, kwargs)."""
        return tensors.leaves((self.args, self.kwargs))

    def compare(self, comparison: Compared) -> bool:
        """Take a comparison if it is of this call's output; return whether it is."""
        if comparison.name == "equal":
            return self._answered(comparison)
        scores = readings.find_scores(self.output, comparison.left)
        target = comparison.right
        # Differences and regression losses are symmetric: scripts put the target first or second.
        if scores is None and comparison.name in (
            "difference",
            "mse_loss",
            "l1_loss",
            "smooth_l1_loss",
            "huber_loss",
        ):
            scores = readings.find_scores(self.output, comparison.right)
            target = comparison.left
        if scores is None:
            return False
        name = "mse_loss" if comparison.name == "difference" else comparison.name
        is_number = (
            comparison.name != "difference"
            and comparison.value is not None
            and comparison.value.numel() == 1
        )
        value = float(comparison.value) if is_number else float("nan")
        shape = tuple((comparison.left if target is comparison.right else comparison.right).shape)
        is_function = comparison.name != "difference"
        self.losses.append(
            Loss(name, scores, shape, target.detach(), comparison.options, value, is_function)
        )
        return True

    def _answered(self, comparison: Compared) -> bool:
        for prediction, target in (
            (comparison.left, comparison.right),
            (comparison.right, comparison.left),
        ):
            path, names = readings.find_answers(self.output, prediction)
            if names:
                # A script may compare the same prediction twice, for the count and for the share.
                if not any(answer.target is target for answer in self.answers):
                    self.answers.append(
                        Answer(path, names, target.detach(), _way_to(comparison.value))
                    )
                return True
        return self._answered_by_the_first(comparison) or self._answered_one(comparison)

    def _answered_by_the_first(self, comparison: Compared) -> bool:
        """Take the first of several guesses that are all compared with one target."""
        if comparison.left.dim() != 2 or comparison.left.shape != comparison.right.shape:
            return False
        for prediction, target in (
            (comparison.left, comparison.right),
            (comparison.right, comparison.left),
        ):
            for dim in (0, 1):
                # An expanded target has stride 0: `prediction.eq(target.view(1,
                # -1).expand_as(prediction))`.
                if target.stride(dim) == 0 and target.shape[dim] > 1:
                    first = prediction.select(dim, 0)
                    path, names = readings.find_answers(self.output, first)
                    if names:
                        self.answers.append(Answer(path, names, target.select(dim, 0).detach()))
                        return True
        return False

    def _answered_one(self, comparison: Compared) -> bool:
        """Take a comparison of one example, as a loop over a batch makes them."""
        if comparison.left.numel() != 1:
            return False
        for prediction, target in (
            (comparison.left, comparison.right),
            (comparison.right, comparison.left),
        ):
            leaf = next(
                (
                    candidate
                    for _, candidate in tensors.leaves(self.batch)
                    if _is_row(target, candidate)
                ),
                None,
            )
            if leaf is not None:
                # The place in memory tells which row of the batch the element is.
                row = (target.storage_offset() - leaf.storage_offset()) // leaf.stride(0)
                return self._take_row(leaf, row, prediction.item())
        return False

    def _take_row(self, target: Any, row: int, value: Any) -> bool:
        if self.rows is None:
            self.rows = Rows(self.output, target)
        return self.rows.take(target, row, value)

    def complete(self) -> None:
        """Take the answers to all examples that were compared one by one."""
        if not self.answers and self.rows is not None and self.rows.is_whole:
            self.answers.append(
                Answer(self.rows.path, frozenset(self.rows.names), self.rows.target.detach())
            )

    def join(self, result: Any) -> bool:
        """Note that the script requires all values of an example to be right.

        Args:
            result: the comparison that `all` was called on.

        Returns:
            Whether that comparison is one of this call.
        """
        for index, answer in enumerate(self.answers):
            if answer.result is not None and answer.result() is result:
                self.answers[index] = answer._replace(is_joint=True)
                return True
        return False


class RecordedCall(NamedTuple):
    """The part of a call that is kept, so that it can be repeated."""

    args: Any
    kwargs: Any
    inputs: Tuple[Path, ...]
    """The paths in (args, kwargs) of tensors with one row an example, without targets."""
    size: int
    """The number of examples."""
    loss: Optional[Loss]
    answer: Optional[Answer]
    guess: Optional[Loss] = None
    """The loss by the habit of the model's training."""
    precision: Optional[Tuple[str, Any]] = None
    """The device type and dtype of the autocast that it ran under."""


class Session:
    """The calls of one model that belong together."""

    def __init__(self, call: Call, steps: int) -> None:
        self.model, self.steps = call.model, steps
        self.iterator, self.loader, self.place = call.iterator, call.loader, call.place
        self.frame = call.frame
        self.calls: List[RecordedCall] = []
        self.outputs: Optional[List[Any]] = []
        self.losses: List[Tuple[float, int]] = []
        self.grad = call.grad
        self.is_training_mode = call.is_training_mode
        self.bytes = self.output_bytes = 0
        self.examples = 0
        self.is_over = False
        self.reading: Any = None
        """The reading of its outputs (measures.Reading), once it is over; None if it is not known.
        """
        self.not_finite = 0
        """The number of examples whose outputs hold NaN or infinities."""
        self.numbers: Any = None
        """The numbers measured (measures.Numbers)."""
        self.unread = ""
        """The reason why it has no number of its own, if it is kept for a metric function."""
        self.is_remembered = False
        self.is_guessed = False
        """Whether it is read by the habit of the model's training alone."""
        self.problems: List[str] = []
        """The reasons why there is no number, or none that can be repeated."""
        self.is_contested = False
        self.is_several = False
        """Whether the model is called several times for a batch."""
        self.beside: List["Session"] = []
        """Sessions of other models on the same data at the same time."""
        self._batch: Any = None
        self.trained_on: Any = None
        """Whether its data is training data of the model; None if that is not known."""
        self.is_mixed = False
        """Whether less than half of its data is training data."""
        self.is_repeated = False
        """Whether the same data was evaluated before, with a training in between."""

    @property
    def data(self) -> Any:
        """A key of the data: the data set and its part, or the place of the call."""
        if self.loader is None:
            return "place", self.place
        sampler = getattr(self.loader, "sampler", None)
        part = id(sampler) if picks_part(sampler) else 0
        return "data", id(self.loader.dataset), part

    def takes(self, call: Call, steps: int) -> bool:
        """Return whether a call continues this session."""
        if self.is_over or call.iterator != self.iterator:
            return False
        if self.iterator is not None:
            return True
        return self.steps == steps and self.place == call.place

    def add(self, call: Call) -> None:
        """Add a call; its output is dropped as soon as it is not needed any more."""
        # Beside a loss function a difference is a term of its own, such as a divergence.
        functions = [entry for entry in call.losses if entry.is_function] or call.losses
        loss = functions[-1] if functions else self._of_inside(call)
        answer = call.answers[-1] if call.answers else None
        if self.calls and self.iterator is None and not self._goes_on(call):
            self._doubt(
                "its batches come from no DataLoader, so that it is not known which of them belong together"
            )
        targets = [entry.target for entry in (loss, answer) if entry is not None]
        count, inputs = examples_of(call, targets)
        # NaN differs from itself.
        if loss is not None and loss.value == loss.value:
            self.losses.append(
                (loss.value / (count if loss.options.get("reduction") == "sum" else 1), count)
            )
        self.examples += count
        self.is_training_mode |= call.is_training_mode
        self.is_contested |= call.is_contested
        self.is_several |= call.batch is not None and call.batch is self._batch
        self._batch = call.batch
        self._keep(
            RecordedCall(
                call.args, call.kwargs, inputs, count, loss, answer, call.guess, call.precision
            ),
            targets,
            call.output,
        )

    def gave_inputs_of(self, call: Call) -> bool:
        """Return whether a call's input is the output of this session's last call."""
        last = self.outputs[-1:] if self.outputs else []
        return any(
            tensors.shares(leaf_, leaf)
            for output in last
            for _, leaf in tensors.leaves(output)
            for _, leaf_ in call.inputs()
        )

    def settle(self) -> None:
        """End the session; without any comparison its calls are read as in the training."""
        self.is_over = True
        self.frame = None
        self._batch = None
        unread = all(call.loss is None and call.answer is None for call in self.calls)
        if self.is_contested:
            self.problems.append(
                "what is compared with its targets is made of its outputs in a way that is not known"
            )
        elif unread and not self.is_several:
            self.calls = [call._replace(loss=call.guess, guess=None) for call in self.calls]
            self.is_guessed = True

    def _goes_on(self, call: Call) -> bool:
        """Return whether a call without a DataLoader continues this session.

        Its input is the next part of the same tensor, or the same function is still running.
        """
        if self.frame is not None and self.frame is call.frame:
            return True
        last = self.calls[-1]
        # Slices of one tensor share its memory.
        before = {tensors.place(tensors.at((last.args, last.kwargs), path)) for path in last.inputs}
        return bool(before & {tensors.place(tensor) for _, tensor in call.inputs()} - {0})

    def _of_inside(self, call: Call) -> Optional[Loss]:
        """Return the loss that the module itself computed of its output, if any."""
        for comparison in reversed(call.inside):
            if call.compare(comparison):
                return call.losses[-1]
        return None

    def _keep(self, recorded_call: RecordedCall, targets: List[Any], output: Any) -> None:
        # An input may occur several times; each tensor counts once.
        leaves = [
            leaf for _, leaf in tensors.leaves((recorded_call.args, recorded_call.kwargs))
        ] + targets
        self.bytes += sum(
            leaf.numel() * leaf.element_size()
            for leaf in {id(leaf): leaf for leaf in leaves}.values()
        )
        is_unread = (
            recorded_call.loss is None
            and recorded_call.answer is None
            and recorded_call.guess is None
        )
        if self.bytes > (UNREAD_BYTES if is_unread else LIMIT_BYTES):
            self._doubt(f"the examples take more than {LIMIT_BYTES >> 20} MB")
            self.calls = []
            self.outputs = None
            return
        self.calls.append(recorded_call)
        if self.outputs is None:
            return
        self.output_bytes += sum(
            leaf.numel() * leaf.element_size() for _, leaf in tensors.leaves(output)
        )
        self.outputs.append(_detached(output))
        # Without outputs the calls are repeated when the session is measured.
        if self.output_bytes > OUTPUT_BYTES:
            self.outputs = None

    def compare(self, comparison: Compared) -> bool:
        """Take a comparison of the concatenated outputs; return whether it is one."""
        if self.outputs is None or not self.calls or len(self.outputs) != len(self.calls):
            return False
        import torch

        joined = self._whole_output()
        if joined is None or comparison.left.numel() < self.examples:
            return False
        call = Call(self.model, (), {}, joined, grad=False)
        if not call.compare(comparison):
            return False
        target = call.answers[-1].target if call.answers else call.losses[-1].target
        if not len(target.shape) or len(target) != self.examples:
            return False
        # The targets of the whole session are cut at the calls' sizes, so that each call can be
        # repeated.
        parts = torch.split(target, [one.size for one in self.calls])
        for index, part in enumerate(parts):
            answer = call.answers[-1]._replace(target=part) if call.answers else None
            loss = None
            if call.losses and call.losses[-1].scores.view is None:
                loss = call.losses[-1]._replace(
                    target=part, shape=(len(part), *call.losses[-1].shape[1:])
                )
            old = self.calls[index]
            self.calls[index] = old._replace(answer=answer or old.answer, loss=loss or old.loss)
        return True

    def _whole_output(self) -> Any:
        """Return the concatenated outputs, None unless each has one row an example."""
        import torch

        assert self.outputs is not None
        parts = [[leaf for _, leaf in tensors.leaves(output)][:1] for output in self.outputs]
        if any(
            not part or part[0].dim() == 0 or len(part[0]) != call.size
            for part, call in zip(parts, self.calls)
        ):
            return None
        if len(parts) == 1:
            return self.outputs[0]
        path = tensors.leaves(self.outputs[0])[0][0]
        joined = torch.cat([part[0] for part in parts])
        for step in reversed(path):
            # The nesting is rebuilt, so that the same path leads to the joined tensor.
            joined = {step: joined}
        return joined

    def _doubt(self, why: str) -> None:
        if why not in self.problems:
            self.problems.append(why)


def picks_part(sampler: Any) -> bool:
    """Return whether a sampler reads only a part of a data set, the same in each pass."""
    return type(sampler).__name__ == "SubsetRandomSampler" and hasattr(sampler, "indices")


def _detached(output: Any) -> Any:
    return tensors.replaced(output, {path: leaf.detach() for path, leaf in tensors.leaves(output)})


def _is_same(first: Any, second: Any) -> bool:
    """Return whether two tensors are the same part of the same memory."""
    if first is second:
        return True
    is_alike = first.numel() == second.numel() and first.storage_offset() == second.storage_offset()
    return is_alike and tensors.shares(first, second)


def _is_row(element: Any, vector: Any) -> bool:
    """Return whether a tensor of one element is a row of a vector of examples."""
    return bool(vector.dim() == 1 and len(vector) > 1 and tensors.shares(element, vector))


def _way_to(result: Any) -> Any:
    return weakref.ref(result) if tensors.is_tensor(result) else None


def examples_of(call: Call, targets: List[Any]) -> Tuple[int, Tuple[Path, ...]]:
    """Return the number of a call's examples, and the paths of their tensors.

    Args:
        call: the call.
        targets: tensors that are no inputs.
    """
    inputs = [
        (path, tensor)
        for path, tensor in call.inputs()
        if tensor.dim() and not any(_is_same(tensor, target) for target in targets)
    ]
    # an autoencoder's target is its input
    inputs = inputs or [(path, tensor) for path, tensor in call.inputs() if tensor.dim()]
    if not inputs:
        return (len(targets[0]) if targets and targets[0].dim() else 0), ()
    count = len(inputs[0][1])
    target_ = next((tensor for tensor in targets if tensor.dim()), None)
    lengths = {len(tensor) for _, tensor in inputs}
    if target_ is not None and target_.numel() % max(1, count) and len(target_) in lengths:
        return len(target_), ()  # bags of words that follow one another: a row is no example
    return count, tuple(path for path, tensor in inputs if len(tensor) == count)


def precision() -> Optional[Tuple[str, Any]]:
    """Return device type and dtype of the active autocast, None without one."""
    torch = sys.modules["torch"]
    # `get_autocast_dtype` exists since PyTorch 2.4.
    for kind in ("cuda", "cpu") if hasattr(torch, "get_autocast_dtype") else ():
        if torch.is_autocast_enabled(kind):
            return kind, torch.get_autocast_dtype(kind)
    return None


def place_of(work: str) -> Tuple[Tuple[Any, ...], Optional[types.FrameType]]:
    """Return the place of a model's call in the project, and its innermost frame.

    Strings among that frame's variables are part of the place: in a loop over `["train", "val"]`
    they name the measured data.
    """
    frame: Optional[types.FrameType] = sys._getframe(1)
    place: List[Any] = []
    innermost: Optional[types.FrameType] = None
    # A deep recursion must not make each call expensive.
    for _ in range(FRAMES):
        if frame is None:
            break
        name = frame.f_code.co_filename
        is_own = not os.path.isabs(name) or name.startswith(work)
        # Code of `exec` has no file; it belongs to its caller.
        if is_own and not name.startswith("<"):
            if innermost is None:
                innermost = frame
                place += [(key, value) for key, value in sorted(_texts(frame))]
            place.append((name, frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back
    return tuple(place), innermost


def _texts(frame: types.FrameType) -> Set[Tuple[str, str]]:
    # Of a module all constants are global; none of them names the measured data.
    if frame.f_code.co_name == "<module>":
        return set()
    values = frame.f_locals.items()
    return {(key, value) for key, value in values if isinstance(value, str) and len(value) < 40}
