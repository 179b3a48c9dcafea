"""The numbers of an evaluation: accuracy, r2, loss and perplexity from a model's outputs and their
targets.

Everything is computed from the outputs that a model gives for the calls that were kept, so that the
same function measures the script's model and the one that was loaded from the file.
"""

import contextlib
import math
import sys
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.pytorch import readings, tensors
from mlops_lib.runner.pytorch.readings import ANSWERS, BINARY, CLASSES, KIND_OF_LOSS, VALUES
from mlops_lib.runner.pytorch.sessions import Kept, Loss, Session
from mlops_lib.runner.pytorch.tensors import Path

MOST_CLASSES = 1000
IGNORED = -100
"""The target that `cross_entropy` leaves out if it is told nothing else."""


class UnreadableError(Exception):
    """What the script compares with targets is not known; the reason is for people."""


class Reading(NamedTuple):
    """How the outputs of a session become a number."""

    kind: str
    """`readings.CLASSES`, BINARY or VALUES."""
    answer: str
    """The function of `readings.ANSWERS` that makes predictions of the tensor at `path`; "" by the
    loss.
    """
    path: Path
    edge: Optional[float]
    is_language: bool
    is_of_loss: bool
    """Whether targets are those of the loss function, else those of the comparison."""
    is_joint: bool = False
    """Whether an example is right if all of its answers are."""


class Table(NamedTuple):
    """Targets beside what a model answers, one value an element."""

    truth: Any
    guess: Any
    example: Any
    """The example that each element is of, by its place."""
    losses: List[Tuple[float, float]]
    """Mean loss and weight of each call."""
    not_finite: int
    """Examples whose outputs hold no numbers."""


class Numbers(NamedTuple):
    """What was measured."""

    metric: str
    values: Dict[str, float]
    task: str
    baseline: Optional[Dict[str, Any]]


def reading_of(session: Session) -> Reading:
    """Return how a session is to be read.

    Raises:
        UnreadableError: the script does not show it.
    """
    if session.problems or not session.kept:
        raise UnreadableError(session.problems[0] if session.problems else "no call of it is kept")
    answers = [one.answer for one in session.kept]
    losses = [one.loss for one in session.kept]
    is_language = _is_language(session)
    if all(one is not None for one in answers):
        names = frozenset.intersection(*(one.names for one in answers if one is not None))
        first = readings.first_of(names)
        if not first:
            raise UnreadableError("its predictions are made of the outputs in different ways")
        assert answers[0] is not None
        kind = CLASSES if first.startswith("the highest") or first == "itself" else BINARY
        is_joint = any(one.is_joint for one in answers if one is not None)
        return Reading(
            kind,
            first,
            answers[0].path,
            None,
            is_language and losses[0] is not None,
            False,
            is_joint,
        )
    if any(one is None for one in losses):
        raise UnreadableError(
            "what its outputs are compared with could not be seen: neither a loss function of torch.nn.functional, nor a"
            " comparison with targets, nor a known metric function"
        )
    return _of_losses([one for one in losses if one is not None], is_language)


def _of_losses(losses: List[Loss], is_language: bool) -> Reading:
    names = sorted({one.name for one in losses})
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
        if any(not _is_yes_or_no(one.target) for one in losses):
            raise UnreadableError("its targets are neither 0 nor 1")
    return Reading(kind, "", losses[0].scores.path, edge, is_language, True)


def reading_by(habit: Any) -> Optional[Reading]:
    """Return how the training of a model reads its output, None if that is of a part of it.

    Args:
        habit: what the training shows (`watch.Habit`).
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
    """Return whether the classes are the words that the model's inputs are written in."""
    kept = session.kept[0]
    loss = kept.loss
    if loss is None or KIND_OF_LOSS[loss.name] != CLASSES:
        return False
    given = [tensors.at((kept.args, kept.kwargs), path) for path in kept.inputs]
    words = [one for one in given if not one.is_floating_point() and one.numel()]
    sizes = {
        one.num_embeddings for one in session.model.modules() if hasattr(one, "num_embeddings")
    }
    classes = sizes & set(loss.shape[1:] or loss.shape)
    return bool(words) and any(max(int(one.max()) for one in words) < count for count in classes)


def answer(model: Any, kept: Kept) -> Any:
    """Return what a model gives for a call that was kept."""
    torch = sys.modules["torch"]
    cast: Any = contextlib.nullcontext()
    if kept.precision is not None:
        cast = torch.autocast(kept.precision[0], kept.precision[1])
    with torch.no_grad(), cast:
        return model(*kept.args, **kept.kwargs)


def names_of(kept: List[Kept], *, first: Optional[int] = None) -> Optional[List[bytes]]:
    """Return the name of each example of some calls, None if their inputs have no names.

    Args:
        kept: the calls.
        first: how many examples of each call to name; None for all.
    """
    names: List[bytes] = []
    for one in kept:
        given = tensors.rows(
            [tensors.at((one.args, one.kwargs), path) for path in one.inputs], one.size
        )
        some = None if first is None else range(min(first, one.size))
        found = None if given is None else example_hashes.hashes(given, some)
        if found is None:
            return None
        names += found
    return names


def table(session: Session, reading: Reading, outputs: List[Any]) -> Table:
    """Return targets and answers of all kept calls, for what a model gave.

    Args:
        session: with the calls.
        reading: how they are read.
        outputs: what the model gave for each of them.
    """
    import numpy

    truths: List[Any] = []
    guesses: List[Any] = []
    examples: List[Any] = []
    losses: List[Tuple[float, float]] = []
    start = bad = 0
    for kept, output in zip(session.kept, outputs):
        truth, guess, raw = _pair(kept, output, reading)
        size = truth.numel()
        each: Any = numpy.repeat(numpy.arange(kept.size) + start, size // max(1, kept.size))
        if size != len(each):
            raise UnreadableError(
                f"{size} targets do not belong to {kept.size} examples one by one"
            )
        truths.append(tensors.array(truth.reshape(-1)))
        guesses.append(tensors.array(guess.reshape(-1)))
        examples.append(each)
        bad += _not_finite(raw, kept.size)
        if kept.loss is not None:
            losses += _loss(kept.loss, output, size)
        start += kept.size
    whole = [numpy.concatenate(parts) for parts in (truths, guesses, examples)]
    return Table(whole[0], whole[1], whole[2], losses, bad)


def _not_finite(raw: Any, count: int) -> int:
    if not raw.is_floating_point() or not count or len(raw) != count:
        return 0
    return int((~raw.isfinite()).reshape(count, -1).any(dim=1).sum())


def _pair(kept: Kept, output: Any, reading: Reading) -> Tuple[Any, Any, Any]:
    """Return targets, answers and the raw tensor of one call."""
    if not reading.is_of_loss:
        assert kept.answer is not None
        raw = tensors.at(output, reading.path)
        target = kept.answer.target
        made = ANSWERS[reading.answer](raw)
        return target, made.to(target.device).reshape(target.shape), raw
    assert kept.loss is not None
    loss = kept.loss
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
    options = {
        name: one
        for name, one in loss.options.items()
        if name not in ("size_average", "reduce", "reduction")
    }
    ignored = options.get("ignore_index", IGNORED)
    counted = int((loss.target != ignored).sum()) if KIND_OF_LOSS[loss.name] == CLASSES else size
    if not counted:
        return []
    return [(float(function(scores, loss.target, **options)), counted)]


def numbers(found: Table, reading: Reading, session: Session, without: Any = None) -> Numbers:
    """Return the numbers of a table.

    Args:
        found: targets and answers.
        reading: what they are.
        session: what they are of.
        without: a mask of examples to leave out; None leaves out none.

    Raises:
        UnreadableError: nothing is left.
    """
    import numpy

    truth = found.truth
    guess = found.guess
    wanted = numpy.ones(len(truth), bool) if without is None else ~without[found.example]
    if reading.kind == CLASSES and truth.dtype.kind in "iu":
        wanted &= truth != _ignored(session)
    truth, guess = truth[wanted], guess[wanted]
    if not len(truth):
        raise UnreadableError("no target is left to compare with")
    values: Dict[str, float] = {}
    weight = sum(weight for _, weight in found.losses)
    if weight and without is None:
        values["loss"] = sum(value * of for value, of in found.losses) / weight
    if reading.kind == VALUES:
        return _regression(truth, guess, values)
    if _is_multi_label(session, reading):
        return _labels(truth, guess, found.example[wanted], values, reading)
    return _classification(truth, guess, values, reading, session)


def _ignored(session: Session) -> int:
    loss = session.kept[0].loss
    return int(loss.options.get("ignore_index", IGNORED)) if loss is not None else IGNORED


def _regression(truth: Any, guess: Any, values: Dict[str, float]) -> Numbers:
    import numpy

    actual = truth.astype("float64")
    made = guess.astype("float64")
    errors = actual - made
    spread = float(numpy.square(actual - actual.mean()).sum())
    measured = {
        "mae": float(numpy.abs(errors).mean()),
        "mse": float(numpy.square(errors).mean()),
        "rmse": float(numpy.sqrt(numpy.square(errors).mean())),
    }
    if not spread:
        return Numbers("mse", {**measured, **values}, "regression", None)
    measured = {"r2": 1.0 - float(numpy.square(errors).sum()) / spread, **measured}
    return Numbers("r2", {**measured, **values}, "regression", {"name": "mean", "value": 0.0})


def _classification(
    truth: Any, guess: Any, values: Dict[str, float], reading: Reading, session: Session
) -> Numbers:
    import numpy

    accuracy = float((truth == guess).mean())
    if reading.is_language:
        language: Dict[str, float] = {}
        if "loss" in values:
            language = {"perplexity": math.exp(min(values["loss"], 700.0)), "loss": values["loss"]}
        every = {**language, "accuracy": accuracy}
        return Numbers(next(iter(every)), every, "classification", None)
    classes, counts = numpy.unique(truth, return_counts=True)
    recalls = [float((guess[truth == one] == one).mean()) for one in classes[:MOST_CLASSES]]
    every = {"accuracy": accuracy, **values}
    if len(recalls) == len(classes):
        every["balanced_accuracy"] = sum(recalls) / len(recalls)
    baseline = {"name": "majority class", "value": float(counts.max() / counts.sum())}
    if _is_picture(session):
        every.update(_overlaps(truth, guess, classes))
    return Numbers("accuracy", every, "classification", baseline)


def _is_multi_label(session: Session, reading: Reading) -> bool:
    """Return whether each example has several answers of yes or no, or of classes, that are no
    picture and no text.
    """
    kept = session.kept[0]
    pair = kept.loss if reading.is_of_loss else kept.answer
    several = pair is not None and pair.target.dim() == 2 and pair.target.shape[1] > 1
    return several and reading.kind == BINARY


def _labels(
    truth: Any, guess: Any, example: Any, values: Dict[str, float], reading: Reading
) -> Numbers:
    """Return the numbers of several independent answers an example.

    Which of them people call the accuracy is shown by the script only: of all answers (as Keras
    does), or of the examples of which all answers are right (as scikit-learn does).
    """
    import numpy

    right = truth == guess
    joint: Any = numpy.ones(int(example.max()) + 1, bool)
    numpy.logical_and.at(joint, example, right)
    subset = float(joint[numpy.unique(example)].mean())
    each = float(right.mean())
    hits = float(((truth == 1) & (guess == 1)).sum())
    asked = float((truth == 1).sum() + (guess == 1).sum())
    every = {
        "hamming_loss": 1.0 - each,
        "subset_accuracy": subset,
        "f1_micro": 2 * hits / asked if asked else 0.0,
    }
    if reading.answer:
        every = {"accuracy": subset if reading.is_joint else each, **every}
    every.update(values)
    baseline = None
    if reading.answer and not reading.is_joint:
        share = float((truth == 1).mean())
        baseline = {"name": "majority class", "value": max(share, 1.0 - share)}
    return Numbers(next(iter(every)), every, "classification", baseline)


def _is_picture(session: Session) -> bool:
    """Return whether there is a target for each pixel."""
    kept = session.kept[0]
    pair = kept.answer or kept.loss
    return pair is not None and pair.target.dim() >= 3


def _overlaps(truth: Any, guess: Any, classes: Any) -> Dict[str, float]:
    """Return intersection over union, and Dice's coefficient, as means over the classes of the
    targets.
    """
    import numpy

    shares: List[float] = []
    dices: List[float] = []
    for one in classes:
        actual = truth == one
        made = guess == one
        both = int((actual & made).sum())
        either = int((actual | made).sum())
        shares.append(both / either if either else 1.0)
        dices.append(2 * both / (int(actual.sum()) + int(made.sum()) or 1))
    return {"mean_iou": float(numpy.mean(shares)), "mean_dice": float(numpy.mean(dices))}


def is_labels(session: Session, reading: Reading) -> bool:
    """Return whether each example has one class, so that a table of confusions says something."""
    kept = session.kept[0]
    pair = kept.loss if reading.is_of_loss else kept.answer
    return reading.kind != VALUES and pair is not None and pair.target.numel() == kept.size


def is_plain(session: Session) -> bool:
    """Return whether the model is called with nothing that belongs to the examples but their
    inputs.
    """
    return all(
        path in one.inputs or not tensor.dim() or len(tensor) != one.size
        for one in session.kept
        for path, tensor in tensors.leaves((one.args, one.kwargs))
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
