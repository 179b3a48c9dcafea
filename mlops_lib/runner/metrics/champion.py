"""Measure the champion on the new model's judged examples.

The measurement has the same conditions as the new model's. The host provides the champion's file
read-only (`champion` in MLOPS_SPEC). It is loaded here only, after everything about the new model
has been written, with the custom objects and lambdas of the script's own model. If it cannot be
loaded or measured, the claim contains the reason.
"""

import contextlib
import os
from typing import Any, Dict, FrozenSet, List, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import comparison, kept_examples, recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe

MAX_EVALUATIONS = 4
"""Number of the saved model's last evaluations that are repeated with the champion."""
NOTE_LENGTH = 500
MIN_EXAMPLES = 30
"""Fewer examples that the champion was not trained on are not compared."""
NAME_BYTES = 12
"""Length of an example's hash (`example_hashes`)."""


def measure(run: Context) -> Dict[str, Any]:
    """Return the claim about the champion: its version and numbers, or the problem."""
    order = run.spec.champion
    claim: Dict[str, Any] = {
        "version": order.get("version"),
        "digest": order.get("digest"),
        "note": "",
    }
    claim["measurements"] = []
    trained_on = _trained_on(str(order.get("trained_on") or ""))
    mark = os.path.join(run.spec.inside, protocol.CHAMPION_MARK)
    if os.path.exists(mark):
        return dict(claim, note="the process died while loading or measuring it; not tried again")
    with open(mark, "w"):
        pass
    try:
        champion = _load(run, str(order.get("path", "")))
        why = incompatibility(champion, run.evaluations.reloaded)
        if not why:
            claim["measurements"] = _measure_all(run, champion, trained_on)
    except Exception as error:  # noqa: BLE001 - an older model may raise anything
        why = f"it cannot be loaded here: {type(error).__name__}: {error}"
    os.remove(mark)
    return dict(claim, note=why[:NOTE_LENGTH])


def _load(run: Context, path: str) -> Any:
    """Return the champion, loaded with the custom objects of the script's own model."""
    if path.endswith(".keras"):
        from mlops_lib.runner.keras import artifact as keras_artifact

        live = run.evaluations.live
        keras = keras_artifact.keras_of(live) if live is not None else None
        if keras is None:
            raise ValueError("it is a Keras model, and the script's model is none")
        return keras_artifact.load(run, keras, path, live)
    if path.endswith(".pt"):
        from mlops_lib.runner.pytorch import artifact

        live = run.evaluations.live
        if not isinstance(live, artifact.Model):
            raise ValueError("it is a PyTorch model, and the script's model is none")
        return artifact.load(path).as_read(live)
    import joblib

    return joblib.load(path)


def incompatibility(champion: Any, model: Any) -> str:
    """Return why the champion cannot predict this model's examples, or ""."""
    for what, names in (
        ("inputs", ("input_shape", "n_features_in_")),
        ("outputs", ("output_shape",)),
    ):
        for name in names:
            its = _shape(champion, name)
            own = _shape(model, name)
            if its is not None and own is not None and not _are_compatible(its, own):
                return f"it has other {what}: {_format_shape(its)}, not {_format_shape(own)}"
    its = _classes(champion)
    own = _classes(model)
    if its is not None and own is not None and set(its) != set(own):
        return (
            f"it knows other classes: {len(its)}, not {len(own)}"
            if len(its) != len(own)
            else "it knows other classes"
        )
    return ""


def _shape(model: Any, name: str) -> Any:
    shape: Any = None
    try:
        shape = getattr(model, name, None)
    except Exception:  # noqa: BLE001 - raised for models never called, or with several inputs
        return None
    if hasattr(shape, "item") and not hasattr(shape, "__len__"):
        shape = shape.item()
    if isinstance(shape, int):
        return (shape,)
    return (
        shape
        if isinstance(shape, tuple) and all(isinstance(side, (int, type(None))) for side in shape)
        else None
    )


def _are_compatible(first: Any, second: Any) -> bool:
    return len(first) == len(second) and all(
        a == b or a is None or b is None for a, b in zip(first, second)
    )


def _format_shape(shape: Any) -> str:
    return " x ".join(str(side) for side in shape if side is not None) or "any"


def _classes(model: Any) -> Any:
    classes = getattr(model, "classes_", None)
    try:
        return None if classes is None else [str(label) for label in classes]
    except TypeError:
        return None


def _trained_on(path: str) -> FrozenSet[bytes]:
    """Return the hashes of the champion's training examples; empty if unknown."""
    if not path:
        return frozenset()
    with open(path, "rb") as stream:
        content = stream.read(protocol.TRAINED_ON_BYTES)
    return frozenset(content[i : i + NAME_BYTES] for i in range(0, len(content), NAME_BYTES))


def _measure_all(run: Context, champion: Any, trained_on: FrozenSet[bytes]) -> List[Dict[str, Any]]:
    """Return the champion's number for each evaluation of the saved model."""
    measurements: List[Dict[str, Any]] = []
    for record in reversed(run.evaluations.records):
        recipe_and_examples = run.evaluations.recipes.get(record["id"])
        if (
            recipe_and_examples is None
            or record["recomputed"] is None
            or len(measurements) >= MAX_EVALUATIONS
        ):
            continue
        with run.evaluations.original_conditions(record["id"]):
            measurements.append(
                _measure_one(run, champion, record, *recipe_and_examples, trained_on)
            )
    return measurements


class _TooFewError(Exception):
    """The champion was trained on judged examples, and the others do not suffice."""


def _measure_rest(
    run: Context, evaluation: int, leaking: FrozenSet[bytes], *, count: int
) -> Tuple[float, Examples, int]:
    """Measure the new model on the examples that the champion was not trained on.

    Training examples of the champion overrate it, so both models are measured on the rest.

    Args:
        run: the execution.
        evaluation: the judged evaluation's id.
        leaking: the hashes of judged examples that the champion was trained on.
        count: the number of judged examples.

    Returns:
        The number, the examples, and how many they are.

    Raises:
        _TooFewError: the rest cannot be measured, or is too small.
    """
    try:
        rest = run.evaluations.measure_without(evaluation, run.evaluations.reloaded, leaking)
    except Exception as error:
        raise _TooFewError(f"it was trained on examples that are judged: {error}") from error
    remaining = len(rest.names or ())
    if remaining < MIN_EXAMPLES or rest.xy is None or rest.xy[1] is None:
        raise _TooFewError(
            f"it was trained on {count - remaining} of the {count} examples, which leaves too few"
        )
    return rest.value, Examples(*rest.xy, rest.weight), remaining


def _measure_one(
    run: Context,
    champion: Any,
    record: Dict[str, Any],
    recipe: Recipe,
    examples: Examples,
    trained_on: FrozenSet[bytes],
) -> Dict[str, Any]:
    claim: Dict[str, Any] = {
        "evaluation": record["id"],
        "metric": record["metric"],
        "value": None,
        "note": "",
    }
    # The new model's own number, unless both have to be measured on fewer examples.
    value = record["recomputed"]
    leaking = run.evaluations.hashes_of(record["id"]) & trained_on
    if leaking:
        count = record["examples"] or 0
        try:
            value, examples, remaining = _measure_rest(run, record["id"], leaking, count=count)
        except _TooFewError as error:
            return dict(claim, note=str(error)[:NOTE_LENGTH])
        claim["left_out"] = count - remaining
    # A pipeline that cannot be materialized has no order to pair its examples by.
    with contextlib.suppress(kept_examples.UnstorableError):
        examples = kept_examples.materialize(examples, record["examples"])
    try:
        numbers = recipes.measure(recipe, champion, examples)
        claim.update(value=numbers[recipe.metric], all=numbers)
    except Exception as error:  # noqa: BLE001 - the champion may not fit these examples
        return dict(
            claim, note=f"it cannot be measured here: {type(error).__name__}: {error}"[:NOTE_LENGTH]
        )
    try:
        claim["comparison"] = comparison.compare(
            recipe,
            run.evaluations.reloaded,
            champion,
            examples,
            values=(value, claim["value"]),
            grows=record["higher_is_better"],
        )
    except Exception as error:  # noqa: BLE001 - as above
        claim["note"] = f"it cannot be compared example by example: {error}"[:NOTE_LENGTH]
    return claim
