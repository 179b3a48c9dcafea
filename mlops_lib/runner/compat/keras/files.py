"""Files that Keras 1 and 2 read and wrote under any name: HDF5."""

import functools
import os
from typing import Any, Callable

from mlops_lib.runner.compat.notes import Notes

KNOWN = (".keras", ".h5", ".hdf5")


def install(keras: Any, notes: Notes) -> None:
    """Let models be saved and loaded under the names that old scripts give."""
    model = keras.Model
    model.save = _save(model.save, notes)
    model.save_weights = _save_weights(model.save_weights, notes)
    model.load_weights = _load_weights(model.load_weights, notes)
    saving = keras.src.saving
    loading = _load(saving.load_model, notes)
    for module in _modules_with("load_model", saving.load_model):
        module.load_model = loading

    drawing = _plot(keras.utils.plot_model, notes)
    for module in _modules_with("plot_model", keras.utils.plot_model):
        module.plot_model = drawing

    getting = _get_file(keras.utils.get_file)
    for module in _modules_with("get_file", keras.utils.get_file):
        module.get_file = getting


def _get_file(original: Callable[..., Any]) -> Callable[..., Any]:
    """`mnist.load_data(path="/data/mnist.npz")`: a name with a folder in it."""

    @functools.wraps(original)
    def get_file(fname: Any = None, *args: Any, **kwargs: Any) -> Any:
        folder, name = os.path.split(os.fspath(fname)) if fname is not None else ("", "")
        if folder and name and "cache_subdir" not in kwargs and len(args) < 5:
            return original(name, *args, cache_subdir=os.path.join("datasets", folder), **kwargs)
        return original(fname, *args, **kwargs)

    return get_file


def _plot(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def plot_model(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except (ImportError, OSError) as error:
            notes.say(f"plot_model drew nothing: {str(error).splitlines()[0]}")
            return None

    return plot_model


def _modules_with(name: str, value: Any) -> Any:
    import sys

    return [
        item
        for item in list(sys.modules.values())
        if getattr(item, "__dict__", {}).get(name) is value
    ]


def is_hdf5(path: Any) -> bool:
    """Return whether a file has the signature of HDF5."""
    try:
        with open(path, "rb") as stream:
            return stream.read(8) == b"\x89HDF\r\n\x1a\n"
    except (OSError, TypeError):
        return False


def _save(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def save(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        text = os.fspath(filepath) if isinstance(filepath, (str, os.PathLike)) else ""
        if not text or text.endswith(KNOWN) or kwargs.get("zipped") is not None:
            kwargs = {key: value for key, value in kwargs.items() if key != "save_format"}
            return original(self, filepath, *args, **kwargs)
        from keras.src.legacy.saving import legacy_h5_format

        notes.say(
            f"model.save({text!r}) is written as HDF5: Keras 3 wants a name that ends in .keras"
        )
        os.makedirs(os.path.dirname(text) or ".", exist_ok=True)
        if text.endswith(os.sep):
            text = os.path.join(text, "model.h5")
        return legacy_h5_format.save_model_to_hdf5(self, text, overwrite=True)

    return save


def _save_weights(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def save_weights(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("save_format", None)
        text = os.fspath(filepath) if isinstance(filepath, (str, os.PathLike)) else ""
        if not text or text.endswith((".weights.h5", ".weights.json")):
            return original(self, filepath, *args, **kwargs)
        import h5py
        from keras.src.legacy.saving import legacy_h5_format

        notes.say(
            f"save_weights({text!r}) is written as HDF5: Keras 3 wants a name that ends in .weights.h5"
        )
        with h5py.File(text, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, self)
        return None

    return save_weights


def _load_weights(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_weights(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        text = os.fspath(filepath) if isinstance(filepath, (str, os.PathLike)) else ""
        if not text or not is_hdf5(text) or _is_keras_3_weights(text):
            return original(self, filepath, *args, **kwargs)
        import h5py
        from keras.src.legacy.saving import legacy_h5_format

        by_name = kwargs.get("by_name") or (
            args[0] if args and isinstance(args[0], bool) else False
        )
        load = (
            legacy_h5_format.load_weights_from_hdf5_group_by_name
            if by_name
            else legacy_h5_format.load_weights_from_hdf5_group
        )
        with h5py.File(text, "r") as file:
            load(
                file["model_weights"]
                if "layer_names" not in file.attrs and "model_weights" in file
                else file,
                self,
            )
        return None

    return load_weights


def _is_keras_3_weights(path: str) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        return "layer_names" not in file.attrs and "model_weights" not in file


def _load(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_model(
        filepath: Any, custom_objects: Any = None, compile: bool = True, **kwargs: Any
    ) -> Any:
        text = os.fspath(filepath) if isinstance(filepath, (str, os.PathLike)) else ""
        if text and os.path.isdir(text) and is_hdf5(os.path.join(text, "model.h5")):
            text = os.path.join(text, "model.h5")
        if not text or text.endswith(".keras") or not is_hdf5(text):
            return original(filepath, custom_objects=custom_objects, compile=compile, **kwargs)
        from keras.src.legacy.saving import legacy_h5_format

        objects = {**_short_names(), **(custom_objects or {})}
        model = legacy_h5_format.load_model_from_hdf5(text, custom_objects=objects, compile=compile)
        if compile:
            _give_optimizer_its_variables(model, text, notes)
        return model

    return load_model


def _give_optimizer_its_variables(model: Any, path: str, notes: Notes) -> None:
    """Let a model that was loaded from HDF5 be trained on.

    Keras 3.15 builds the optimizer of such a model for the variables of the outermost layer alone,
    which has none: the next `fit` fails with "Unknown variable". It also loses the optimizer's
    state.
    """
    optimizer = getattr(model, "optimizer", None)
    known_names = getattr(optimizer, "_trainable_variables", None)
    if (
        not getattr(optimizer, "built", False)
        or known_names is None
        or len(known_names) == len(model.trainable_variables)
    ):
        return
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    fresh = type(optimizer).from_config(optimizer.get_config())  # type: ignore[union-attr, attr-defined, unused-ignore]
    fresh.build(model.trainable_variables)
    with h5py.File(path, "r") as file:
        result = (
            legacy_h5_format.load_optimizer_weights_from_hdf5_group(file)
            if "optimizer_weights" in file
            else []
        )
        values = [value[()] for value in result]
    if [value.shape for value in values] == [tuple(item.shape) for item in fresh.variables]:
        for variable, value in zip(fresh.variables, values):
            variable.assign(value)
    model.optimizer = fresh
    notes.say(
        "the optimizer of a model loaded from HDF5 goes on where it was: Keras 3 loses its variables"
    )


def _short_names() -> "dict[str, Any]":
    """Register the short loss and metric names that HDF5 files of Keras 2 contain."""
    from keras import losses

    return {
        "mse": losses.mean_squared_error,
        "mae": losses.mean_absolute_error,
        "mape": losses.mean_absolute_percentage_error,
        "msle": losses.mean_squared_logarithmic_error,
    }
