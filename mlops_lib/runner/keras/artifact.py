"""A Keras model as a file that was loaded again and gives the same number."""

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
    """Save the model into the run directory, load it again, and repeat its evaluations on what was
    loaded.
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
    """The model in a file, with the custom objects of `model` and, if it cannot be loaded
    otherwise, its lambdas.
    """

    def load() -> Any:
        return keras.models.load_model(path, custom_objects=_custom_objects(model), safe_mode=False)

    try:
        return load()
    except Exception:
        held = lambdas.holders(_parts(model)) if keras.__name__ == "keras" else {}
        if not held:
            raise
        with lambdas.lent(held):
            loaded = load()
    run.journal.warn(
        f"the saved model loads only where the script's own lambdas are at hand (layers {', '.join(sorted(held))}): give"
        " them names with def, and it loads with custom_objects"
    )
    return loaded


def keras_of(model: Any) -> Any:
    """The Keras (keras or tf_keras) that a model's class derives from; None for what is no Keras
    model.
    """
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
            return  # nobody called it: what it trains are models inside it
        model.save_weights(os.path.join(run.spec.inside, "model.weights.h5"))
        described["weights"] = "model.weights.h5"


def architecture(model: Any) -> List[str]:
    """One line a layer, as a person would name it."""
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
    """What the script defines itself and the saved model may name."""
    found: Dict[str, Any] = {}
    for name, value in list(vars(sys.modules["__main__"]).items()):
        if inspect.isclass(value) or inspect.isfunction(value):
            found[name] = value
    for item in _parts(model):
        found.setdefault(type(item).__name__, type(item))
    compiled = model.__dict__.get("_mlops_compile", {})
    metrics = compiled.get("metrics")
    for value in (compiled.get("loss"), *(metrics if isinstance(metrics, (list, tuple)) else ())):
        if callable(value):
            found.setdefault(getattr(value, "__name__", type(value).__name__), value)
    return {name: _revivable(value) for name, value in found.items()}


def _parts(model: Any) -> List[Any]:
    """The model and all layers in it."""
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten()) if flatten is not None else [model, *getattr(model, "layers", [])]


def _revivable(value: Any) -> Any:
    """A class of the script's own that can be made again although it has no `get_config`.

    Keras saves what `Layer.get_config` gives, among it `trainable` and `dtype`, which a constructor
    written as in Keras' own tutorials for subclassed models does not take. Such a class gets what
    it takes.
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
        taken = inspect.signature(original.__init__).parameters
        return original(**{name: value for name, value in config.items() if name in taken})
