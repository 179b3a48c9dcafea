"""Measure the champion where the new model is judged: the same examples, the same call, the
script's own conditions.

The host lends the champion's file read-only (`champion` of MLOPS_SPEC). It is loaded here and
nowhere else, after everything about the new model has been written down, with the custom objects
and lambdas that the script's own model uses. What cannot be loaded or measured is a claim with the
reason.
"""

import contextlib
import os
from typing import Any, Dict, FrozenSet, List

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.metrics import comparison, kept_examples, recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe

MOST = 4
"""So many evaluations of the saved model, the last ones, are repeated with the champion."""
NOTE_LENGTH = 500
LEAST = 30
"""Examples that the champion was not trained on, below which nothing is compared."""
NAME_BYTES = 12
"""Of an example's name (digest.py)."""


def measure(run: Context) -> Dict[str, Any]:
    """Return the claim about the champion: which one, and its numbers or why there are none."""
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
        return dict(
            claim, note="the process ended while it was loaded or measured; not tried again"
        )
    with open(mark, "w"):
        pass
    try:
        champion = _load(run, str(order.get("path", "")))
        why = different(champion, run.evaluations.reloaded)
        if not why:
            claim["measurements"] = _measurements(run, champion, trained_on)
    except Exception as error:  # noqa: BLE001 - somebody's model of another day may raise anything
        why = f"it cannot be loaded here: {type(error).__name__}: {error}"
    os.remove(mark)
    return dict(claim, note=why[:NOTE_LENGTH])


def _load(run: Context, path: str) -> Any:
    """The champion, with what the script's own model needs to be loaded."""
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


def different(champion: Any, model: Any) -> str:
    """Return why the champion cannot answer for the examples of this model, or "" if nothing speaks
    against it.
    """
    for what, names in (
        ("inputs", ("input_shape", "n_features_in_")),
        ("outputs", ("output_shape",)),
    ):
        for name in names:
            its = _shape(champion, name)
            own = _shape(model, name)
            if its is not None and own is not None and not _fit(its, own):
                return f"it has other {what}: {_shown(its)}, not {_shown(own)}"
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
    except Exception:  # noqa: BLE001 - a property of a model that was never called, or of several inputs
        return None
    if hasattr(shape, "item") and not hasattr(shape, "__len__"):
        shape = shape.item()
    if isinstance(shape, int):
        return (shape,)
    return (
        shape
        if isinstance(shape, tuple) and all(isinstance(one, (int, type(None))) for one in shape)
        else None
    )


def _fit(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one, other)
    )


def _shown(shape: Any) -> str:
    return " x ".join(str(one) for one in shape if one is not None) or "any"


def _classes(model: Any) -> Any:
    classes = getattr(model, "classes_", None)
    try:
        return None if classes is None else [str(one) for one in classes]
    except TypeError:
        return None


def _trained_on(path: str) -> FrozenSet[bytes]:
    """The names of the examples that the champion was trained on; none if they are not known."""
    if not path:
        return frozenset()
    with open(path, "rb") as stream:
        content = stream.read(protocol.TRAINED_ON_BYTES)
    return frozenset(content[i : i + NAME_BYTES] for i in range(0, len(content), NAME_BYTES))


def _measurements(
    run: Context, champion: Any, trained_on: FrozenSet[bytes]
) -> List[Dict[str, Any]]:
    """The champion's number for each evaluation of the saved model."""
    found: List[Dict[str, Any]] = []
    for record in reversed(run.evaluations.records):
        known = run.evaluations.recipes.get(record["id"])
        if known is None or record["recomputed"] is None or len(found) >= MOST:
            continue
        with run.evaluations.original_conditions(record["id"]):
            found.append(_against(run, champion, record, *known, trained_on))
    return found


def _against(
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
    value = record["recomputed"]
    leaking = run.evaluations.names_of(record["id"]) & trained_on
    if leaking:
        # What the champion was trained on says nothing about it: both are measured on the rest.
        count = record["examples"] or 0
        try:
            rest = run.evaluations.measure_without(record["id"], run.evaluations.reloaded, leaking)
        except Exception as error:  # noqa: BLE001 - a script's own data may raise anything
            return dict(
                claim, note=f"it was trained on examples that are judged: {error}"[:NOTE_LENGTH]
            )
        left = len(rest.names or ())
        if left < LEAST or rest.xy is None or rest.xy[1] is None:
            return dict(
                claim,
                note=f"it was trained on {count - left} of the {count} examples, which leaves too few",
            )
        examples = Examples(*rest.xy, rest.weight)
        value = rest.value
        claim["left_out"] = count - left
    with contextlib.suppress(
        kept_examples.UnstorableError
    ):  # a pipeline has no order to pair its examples by
        examples = kept_examples.materialize(examples, record["examples"])
    try:
        every = recipes.measure(recipe, champion, examples)
        claim.update(value=every[recipe.metric], all=every)
    except Exception as error:  # noqa: BLE001 - it was made for other examples, perhaps
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
