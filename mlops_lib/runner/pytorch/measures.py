"""Compute accuracy, r2, loss and perplexity from a model's outputs and targets.

All numbers are computed from outputs for the recorded calls, so that one function measures the
script's model and the one loaded from its file.
"""

import contextlib
import math
import sys
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.pytorch import readings, tensors
from mlops_lib.runner.pytorch.readings import ANSWERS, BINARY, CLASSES, KIND_OF_LOSS, VALUES
from mlops_lib.runner.pytorch.sessions import Loss, RecordedCall, Session
from mlops_lib.runner.pytorch.tensors import Path

MOST_CLASSES = 1000
IGNORED = -100
"""The target that `cross_entropy` ignores by default."""


class UnreadableError(Exception):
    """The comparison with targets is not known; the message explains it to people."""


class Reading(NamedTuple):
    """The interpretation of a session's outputs."""

    kind: str
    """`readings.CLASSES`, BINARY or VALUES."""
    answer: str
    """The function of `readings.ANSWERS` that gives predictions from the tensor at `path`.

    "" if the loss decides.
    """
    path: Path
    edge: Optional[float]
    is_language: bool
    is_of_loss: bool
    """Whether the targets are those of the loss function, else those of the comparison."""
    is_joint: bool = False
    """Whether an example is right only if all of its answers are."""


class Table(NamedTuple):
    """Targets and answers, one value an element."""

    truth: Any
    guess: Any
    example: Any
    """The index of the example that each element belongs to."""
    losses: List[Tuple[float, float]]
    """The mean loss and the weight of each call."""
    not_finite: int
    """The number of examples whose outputs hold NaN or infinities."""


class Numbers(NamedTuple):
    """The metrics of a session."""

    metric: str
    values: Dict[str, float]
    task: str
    baseline: Optional[Dict[str, Any]]


def reading_of(session: Session) -> Reading:
    """Return the reading of a session.

    Raises:
        UnreadableError: the script does not show it.
    """
    if session.problems or not session.calls:
        raise UnreadableError(session.problems[0] if session.problems else "no call of it is kept")
    answers = [call.answer for call in session.calls]
    losses = [call.loss for call in session.calls]
    is_language = _is_language(session)
    if all(call is not None for call in answers):
        names = frozenset.intersection(*(call.names for call in answers if call is not None))
        # A small batch may match several functions by chance; only those that match in all calls
        # count.
        first = readings.first_of(names)
        if not first:
            raise UnreadableError("its predictions are made of the outputs in different ways")
        assert answers[0] is not None
        kind = CLASSES if first.startswith("the highest") or first == "itself" else BINARY
        is_joint = any(call.is_joint for call in answers if call is not None)
        return Reading(
            kind,
            first,
            answers[0].path,
            None,
            is_language and losses[0] is not None,
            False,
            is_joint,
        )
    if any(call is None for call in losses):
        raise UnreadableError(
            "what its outputs are compared with could not be seen: neither a loss function of torch.nn.functional, nor a"
            " comparison with targets, nor a known metric function"
        )
    return _of_losses([call for call in losses if call is not None], is_language)


def _of_losses(losses: List[Loss], is_language: bool) -> Reading:
    names = sorted({loss.name for loss in losses})
    # Which of several losses is the one to judge by is the author's choice; the script does not
    # show it.
    if len(names) > 1:
        raise UnreadableError(
            f"its outputs are given to several loss functions ({', '.join(names)})"
        )
    kind = KIND_OF_LOSS[names[0]]
    edge = None
    if kind == BINARY:
        edge = readings.edges(names)
        if losses[0].scores.shape == "sigmoid":  # the scores are probabilities already
            edge = 0.5
        # Soft labels have no right answer.
        if any(not _is_yes_or_no(loss.target) for loss in losses):
            raise UnreadableError("its targets are neither 0 nor 1")
    return Reading(kind, "", losses[0].scores.path, edge, is_language, True)


def reading_by(habit: Any) -> Optional[Reading]:
    """Return the reading that a model's training shows; None if it is of a part only.

    Args:
        habit: the comparison in the training (`watch.Habit`).
    """
    if not habit.is_same_shape or habit.name not in KIND_OF_LOSS:
        return None
    kind = KIND_OF_LOSS[habit.name]
    edge = None
    if kind == BINARY:
        edge = 0.0 if habit.scores.shape == "sigmoid" else readings.edges([habit.name])
    return Reading(kind, "", habit.scores.path, edge, False, True)


def _is_yes_or_no(target: Any) -> bool:
    return bool(((target == 0) | (target == 1)).all())


def _is_language(session: Session) -> bool:
    """Return whether the classes are the vocabulary of the model's inputs."""
    call = session.calls[0]
    loss = call.loss
    if loss is None or KIND_OF_LOSS[loss.name] != CLASSES:
        return False
    inputs = [tensors.at((call.args, call.kwargs), path) for path in call.inputs]
    words = [
        words_of_input
        for words_of_input in inputs
        if not words_of_input.is_floating_point() and words_of_input.numel()
    ]
    sizes = {
        words_of_input.num_embeddings
        for words_of_input in session.model.modules()
        if hasattr(words_of_input, "num_embeddings")
    }
    # An embedding as large as the number of classes: both are the vocabulary.
    classes = sizes & set(loss.shape[1:] or loss.shape)
    return bool(words) and any(
        max(int(words_of_input.max()) for words_of_input in words) < count for count in classes
    )


def answer(model: Any, call: RecordedCall) -> Any:
    """Return a model's output for a recorded call."""
    torch = sys.modules["torch"]
    # Mixed precision changes the numbers, so the second measurement uses it too.
    cast: Any = contextlib.nullcontext()
    if call.precision is not None:
        cast = torch.autocast(call.precision[0], call.precision[1])
    with torch.no_grad(), cast:
        return model(*call.args, **call.kwargs)


def names_of(calls: List[RecordedCall], *, first: Optional[int] = None) -> Optional[List[bytes]]:
    """Return the content hash of each example of some calls, None if there is none.

    Args:
        calls: the calls.
        first: how many examples of each call to name; None for all.
    """
    names: List[bytes] = []
    for call in calls:
        rows = tensors.rows(
            [tensors.at((call.args, call.kwargs), path) for path in call.inputs], call.size
        )
        some = None if first is None else range(min(first, call.size))
        hashes = None if rows is None else example_hashes.hashes(rows, some)
        if hashes is None:
            return None
        names += hashes
    return names


def table(session: Session, reading: Reading, outputs: List[Any]) -> Table:
    """Return targets and answers of all recorded calls.

    Args:
        session: the session of the calls.
        reading: the interpretation of the outputs.
        outputs: the model's output for each call.
    """
    import numpy

    truths: List[Any] = []
    guesses: List[Any] = []
    examples: List[Any] = []
    losses: List[Tuple[float, float]] = []
    start = bad = 0
    for call, output in zip(session.calls, outputs):
        truth, guess, raw = _pair(call, output, reading)
        size = truth.numel()
        # An example may have several targets, such as one a pixel.
        each: Any = numpy.repeat(numpy.arange(call.size) + start, size // max(1, call.size))
        if size != len(each):
            raise UnreadableError(
                f"{size} targets do not belong to {call.size} examples one by one"
            )
        truths.append(tensors.array(truth.reshape(-1)))
        guesses.append(tensors.array(guess.reshape(-1)))
        examples.append(each)
        bad += _not_finite(raw, call.size)
        if call.loss is not None:
            # Computed from the outputs: the script's own value may be averaged over unequal
            # batches.
            losses += _loss(call.loss, output, size)
        start += call.size
    columns = [numpy.concatenate(parts) for parts in (truths, guesses, examples)]
    return Table(columns[0], columns[1], columns[2], losses, bad)


def _not_finite(raw: Any, count: int) -> int:
    if not raw.is_floating_point() or not count or len(raw) != count:
        return 0
    return int((~raw.isfinite()).reshape(count, -1).any(dim=1).sum())


def _pair(call: RecordedCall, output: Any, reading: Reading) -> Tuple[Any, Any, Any]:
    """Return targets, answers and the raw tensor of one call."""
    if not reading.is_of_loss:
        assert call.answer is not None
        raw = tensors.at(output, reading.path)
        target = call.answer.target
        predicted = ANSWERS[reading.answer](raw)
        return target, predicted.to(target.device).reshape(target.shape), raw
    assert call.loss is not None
    loss = call.loss
    raw = tensors.at(output, loss.scores.path)
    scores = loss.scores.of(output, loss.shape)
    target = loss.target
    if reading.kind == VALUES:
        if scores.numel() != target.numel():
            raise UnreadableError(
                f"outputs of shape {tuple(scores.shape)} meet targets of shape {tuple(target.shape)}"
            )
        return target, scores.to(target.device).reshape(target.shape), raw
    if reading.kind == BINARY:
        return (
            target,
            (scores > reading.edge).to(target.device).reshape(target.shape).to(target.dtype),
            raw,
        )
    if target.is_floating_point():  # shares of the classes
        if target.shape != scores.shape:
            raise UnreadableError(
                f"outputs of shape {tuple(scores.shape)} meet targets of shape {tuple(target.shape)}"
            )
        dim = 1 if target.dim() > 1 else 0
        return target.argmax(dim), scores.argmax(dim).to(target.device), raw
    dimension = readings.class_dim(scores, target)
    if dimension is None:
        raise UnreadableError(
            f"outputs of shape {tuple(scores.shape)} meet targets of shape {tuple(target.shape)}"
        )
    return target, scores.argmax(dimension).to(target.device), raw


def _loss(loss: Loss, output: Any, size: int) -> List[Tuple[float, float]]:
    function = getattr(sys.modules["torch"].nn.functional, loss.name)
    scores = loss.scores.of(output, loss.shape)
    # Deprecated arguments and the reduction: the mean is taken here, with weights.
    options = {
        name: option
        for name, option in loss.options.items()
        if name not in ("size_average", "reduce", "reduction")
    }
    ignored = options.get("ignore_index", IGNORED)
    weight = int((loss.target != ignored).sum()) if KIND_OF_LOSS[loss.name] == CLASSES else size
    if not weight:
        return []
    return [(float(function(scores, loss.target, **options)), weight)]


def numbers(data: Table, reading: Reading, session: Session, without: Any = None) -> Numbers:
    """Return the metrics of a table.

    Args:
        data: targets and answers.
        reading: the interpretation of the outputs.
        session: the session that they belong to.
        without: a mask of examples to leave out; None leaves out none.

    Raises:
        UnreadableError: nothing is left.
    """
    import numpy

    truth = data.truth
    guess = data.guess
    mask = numpy.ones(len(truth), bool) if without is None else ~without[data.example]
    # Targets that the loss ignores (padding) count in no metric.
    if reading.kind == CLASSES and truth.dtype.kind in "iu":
        mask &= truth != _ignored(session)
    truth, guess = truth[mask], guess[mask]
    if not len(truth):
        raise UnreadableError("no target is left to compare with")
    values: Dict[str, float] = {}
    weight = sum(weight for _, weight in data.losses)
    if weight and without is None:
        values["loss"] = sum(value * of for value, of in data.losses) / weight
    if reading.kind == VALUES:
        return _regression(truth, guess, values)
    if _is_multi_label(session, reading):
        return _labels(truth, guess, data.example[mask], values, reading)
    return _classification(truth, guess, values, reading, session)


def _ignored(session: Session) -> int:
    loss = session.calls[0].loss
    return int(loss.options.get("ignore_index", IGNORED)) if loss is not None else IGNORED


def _regression(truth: Any, guess: Any, values: Dict[str, float]) -> Numbers:
    import numpy

    actual = truth.astype("float64")
    predicted = guess.astype("float64")
    errors = actual - predicted
    spread = float(numpy.square(actual - actual.mean()).sum())
    metrics = {
        "mae": float(numpy.abs(errors).mean()),
        "mse": float(numpy.square(errors).mean()),
        "rmse": float(numpy.sqrt(numpy.square(errors).mean())),
    }
    # r2 is undefined if all targets are equal.
    if not spread:
        return Numbers("mse", {**metrics, **values}, "regression", None)
    metrics = {"r2": 1.0 - float(numpy.square(errors).sum()) / spread, **metrics}
    return Numbers("r2", {**metrics, **values}, "regression", {"name": "mean", "value": 0.0})


def _classification(
    truth: Any, guess: Any, values: Dict[str, float], reading: Reading, session: Session
) -> Numbers:
    import numpy

    accuracy = float((truth == guess).mean())
    if reading.is_language:
        language: Dict[str, float] = {}
        if "loss" in values:
            # exp(710) exceeds a float.
            language = {"perplexity": math.exp(min(values["loss"], 700.0)), "loss": values["loss"]}
        metrics = {**language, "accuracy": accuracy}
        return Numbers(next(iter(metrics)), metrics, "classification", None)
    classes, counts = numpy.unique(truth, return_counts=True)
    recalls = [float((guess[truth == label] == label).mean()) for label in classes[:MOST_CLASSES]]
    metrics = {"accuracy": accuracy, **values}
    # With more classes than MOST_CLASSES the mean would leave some out.
    if len(recalls) == len(classes):
        metrics["balanced_accuracy"] = sum(recalls) / len(recalls)
    baseline = {"name": "majority class", "value": float(counts.max() / counts.sum())}
    if _is_picture(session):
        metrics.update(_overlaps(truth, guess, classes))
    return Numbers("accuracy", metrics, "classification", baseline)


def _is_multi_label(session: Session, reading: Reading) -> bool:
    """Return whether each example has several yes-or-no answers."""
    call = session.calls[0]
    pair = call.loss if reading.is_of_loss else call.answer
    several = pair is not None and pair.target.dim() == 2 and pair.target.shape[1] > 1
    return several and reading.kind == BINARY


def _labels(
    truth: Any, guess: Any, example: Any, values: Dict[str, float], reading: Reading
) -> Numbers:
    """Return the metrics of several independent answers an example.

    Only the script shows what its author calls accuracy: the share of all answers (as Keras does),
    or of the examples whose answers are all right (as scikit-learn does).
    """
    import numpy

    right = truth == guess
    # `logical_and.at` is unbuffered: an index may occur several times.
    joint: Any = numpy.ones(int(example.max()) + 1, bool)
    numpy.logical_and.at(joint, example, right)
    subset = float(joint[numpy.unique(example)].mean())
    each = float(right.mean())
    hits = float(((truth == 1) & (guess == 1)).sum())
    total = float((truth == 1).sum() + (guess == 1).sum())
    metrics = {
        "hamming_loss": 1.0 - each,
        "subset_accuracy": subset,
        "f1_micro": 2 * hits / total if total else 0.0,
    }
    if reading.answer:
        metrics = {"accuracy": subset if reading.is_joint else each, **metrics}
    metrics.update(values)
    baseline = None
    if reading.answer and not reading.is_joint:
        share = float((truth == 1).mean())
        baseline = {"name": "majority class", "value": max(share, 1.0 - share)}
    return Numbers(next(iter(metrics)), metrics, "classification", baseline)


def _is_picture(session: Session) -> bool:
    """Return whether there is a target for each pixel."""
    call = session.calls[0]
    pair = call.answer or call.loss
    return pair is not None and pair.target.dim() >= 3


def _overlaps(truth: Any, guess: Any, classes: Any) -> Dict[str, float]:
    """Return intersection over union and Dice's coefficient, averaged over classes."""
    import numpy

    shares: List[float] = []
    dices: List[float] = []
    for label in classes:
        actual = truth == label
        predicted = guess == label
        both = int((actual & predicted).sum())
        either = int((actual | predicted).sum())
        shares.append(both / either if either else 1.0)
        dices.append(2 * both / (int(actual.sum()) + int(predicted.sum()) or 1))
    return {"mean_iou": float(numpy.mean(shares)), "mean_dice": float(numpy.mean(dices))}


def is_labels(session: Session, reading: Reading) -> bool:
    """Return whether each example has one class, so that a confusion table applies."""
    call = session.calls[0]
    pair = call.loss if reading.is_of_loss else call.answer
    return reading.kind != VALUES and pair is not None and pair.target.numel() == call.size


def is_plain(session: Session) -> bool:
    """Return whether a model takes no tensors of the examples besides its inputs."""
    return all(
        path in call.inputs or not tensor.dim() or len(tensor) != call.size
        for call in session.calls
        for path, tensor in tensors.leaves((call.args, call.kwargs))
    )


def mask_of(names: Optional[List[bytes]], apart: FrozenSet[bytes]) -> Any:
    """Return a mask of the examples of these names.

    Raises:
        ValueError: the examples have no names.
    """
    import numpy

    if not apart:
        return None
    if names is None:
        raise ValueError("its examples have no names, so that none can be left out")
    return numpy.array([name in apart for name in names], bool)
