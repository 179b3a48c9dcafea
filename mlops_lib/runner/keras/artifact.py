"""Save a Keras model as a file that loads again and gives the same number."""

import functools
import importlib
import inspect
import os
import sys
from typing import Any, Dict, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.keras import lambdas
from mlops_lib.runner.state import atomic


def save(run: Context, model: Any, fit: Optional[int]) -> Dict[str, Any]:
    """Save the model, load it again, and repeat its evaluations on the loaded one.

    Returns the description of the artifact.
    """
    keras = keras_of(model)
    path = os.path.join(run.spec.inside, protocol.KERAS_MODEL)
    described: Dict[str, Any] = {
        "path": protocol.KERAS_MODEL,
        "framework": "keras",
        "fit": fit,
        "class": type(model).__name__,
    }
    described.update(
        reloaded=False, note="", architecture=architecture(model), parameters=_parameters(model)
    )
    temporary = os.path.join(run.spec.inside, ".model.keras")
    try:
        model.save(temporary)
        os.replace(temporary, path)
        described.update(bytes=os.path.getsize(path), sha256=atomic.digest(path))
    except Exception as error:  # noqa: BLE001 - a user's own layer may fail to serialise in any way
        described.update(
            path=None, note=f"the model cannot be saved: {type(error).__name__}: {error}"
        )
        _save_weights(run, model, described)
        return described
    try:
        loaded = load(run, keras, path, model)
    except Exception as error:  # noqa: BLE001 - as above
        described["note"] = f"the saved model cannot be loaded: {type(error).__name__}: {error}"[
            :1000
        ]
        _save_weights(run, model, described)
        return described
    described["reloaded"] = True
    run.evaluations.remeasure(loaded, model)
    return described


def load(run: Context, keras: Any, path: str, model: Any) -> Any:
    """Load the model from a file, with the custom objects of `model`.

    If it cannot be loaded otherwise, its layers take over the lambdas of `model`.
    """

    def load() -> Any:
        return keras.models.load_model(path, custom_objects=_custom_objects(model), safe_mode=False)

    try:
        return load()
    except Exception:
        holders = lambdas.holders(_parts(model)) if keras.__name__ == "keras" else {}
        if not holders:
            raise
        with lambdas.shared_functions(holders):
            loaded = load()
    run.journal.warn(
        "the saved model loads only with the script's own lambdas at hand (layers"
        f" {', '.join(sorted(holders))}): give them names with def, and it loads with"
        " custom_objects"
    )
    return loaded


def keras_of(model: Any) -> Any:
    """Return the module (keras or tf_keras) of a model's class, or None."""
    for name, module in (
        ("keras", "keras.src.models.model"),
        ("tf_keras", "tf_keras.src.engine.training"),
    ):
        if module in sys.modules and isinstance(model, sys.modules[module].Model):
            return importlib.import_module(name)
    return None


def _parameters(model: Any) -> Optional[int]:
    return int(model.count_params()) if model.built else None


def _save_weights(run: Context, model: Any, described: Dict[str, Any]) -> None:
    with run.journal.guard("save weights"):
        if not model.built:
            return  # the script never called it, and trains models inside it
        model.save_weights(os.path.join(run.spec.inside, "model.weights.h5"))
        described["weights"] = "model.weights.h5"


def architecture(model: Any) -> List[str]:
    """Return one line a layer: class, size and output shape."""
    lines = []
    for layer in getattr(model, "layers", []):
        try:
            shape = str(layer.output.shape).replace("None, ", "", 1)
        except (AttributeError, ValueError):
            shape = "?"
        size = next(
            (
                str(getattr(layer, name))
                for name in ("filters", "units", "rate", "pool_size")
                if hasattr(layer, name)
            ),
            "",
        )
        lines.append(f"{type(layer).__name__}({size}) → {shape}")
    return lines


def _custom_objects(model: Any) -> Dict[str, Any]:
    """Return the script's own objects that the saved model may name."""
    objects: Dict[str, Any] = {}
    for name, value in list(vars(sys.modules["__main__"]).items()):
        if inspect.isclass(value) or inspect.isfunction(value):
            objects[name] = value
    for item in _parts(model):
        objects.setdefault(type(item).__name__, type(item))
    compiled = model.__dict__.get("_mlops_compile", {})
    metrics = compiled.get("metrics")
    for value in (compiled.get("loss"), *(metrics if isinstance(metrics, (list, tuple)) else ())):
        if callable(value):
            objects.setdefault(getattr(value, "__name__", type(value).__name__), value)
    return {name: _revivable(value) for name, value in objects.items()}


def _parts(model: Any) -> List[Any]:
    """Return the model and all layers in it."""
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten()) if flatten is not None else [model, *getattr(model, "layers", [])]


def _revivable(value: Any) -> Any:
    """Return a class that can be created from its saved configuration.

    Keras saves the values of `Layer.get_config`, among them `trainable` and `dtype`. A constructor
    written as in Keras' own tutorials for subclassed models does not take these; it gets only the
    values that it takes.
    """
    layer_class = sys.modules["keras.src.layers.layer"].Layer
    if (
        not (inspect.isclass(value) and issubclass(value, layer_class))
        or value.__module__.split(".")[0] == "keras"
    ):
        return value
    return type(
        value.__name__,
        (value,),
        {"from_config": classmethod(functools.partial(_from_config, value))},
    )


def _from_config(original: Any, cls: Any, config: Dict[str, Any]) -> Any:
    try:
        return original.from_config(dict(config))
    except TypeError:
        parameters = inspect.signature(original.__init__).parameters
        return original(**{name: value for name, value in config.items() if name in parameters})
