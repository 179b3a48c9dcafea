"""Loading of a model file without running code from it.

A `.keras` file is a zip of weights and a description. It is loaded in Keras' safe mode, and only if
every name in the description is Keras' own. A joblib file is a pickle, which may name any function
to call. It is opened by an unpickler that creates objects of known classes of scikit-learn,
XGBoost, LightGBM, numpy and scipy, and of nothing else (Python's documentation, "Restricting
Globals"). Any other file needs code, and is reported as such.
"""

import importlib
import json
import pickle
import re
import zipfile
from typing import Any, ClassVar, Dict, Iterator, Set, Tuple

CONFIG_BYTES = 64 << 20
KERAS_PACKAGES = ("keras", "tf_keras", "tensorflow")
RUNS_CODE = {
    "Lambda",
    "__lambda__",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "function",
}
"""Classes of Keras that contain code, or call a function by its name."""


class NeedsCodeError(Exception):
    """The file can only be loaded by running code that it contains or names."""


def load(path: str) -> Any:
    """Return the model in a file.

    Raises:
        NeedsCodeError: it cannot be loaded without running code.
        Exception: it is damaged.
    """
    if path.endswith(".pt"):
        raise NeedsCodeError("a PyTorch module is loaded by the code of its classes")
    return load_keras(path)[0] if path.endswith(".keras") else load_joblib(path)


def load_keras(path: str) -> Tuple[Any, bool]:
    """Return a Keras model, and whether it is compiled.

    It is not compiled if its loss or metrics need code.

    Raises:
        NeedsCodeError: a layer needs code, or the file does not have Keras' own format.
        Exception: it is damaged.
    """
    if not zipfile.is_zipfile(path):
        raise NeedsCodeError("it does not have Keras' own format (a zip)")
    with zipfile.ZipFile(path) as archive:
        config, metadata = (_json_in(archive, name) for name in ("config.json", "metadata.json"))
    compiled = config.pop("compile_config", None) if isinstance(config, dict) else None
    foreign = sorted(set(_foreign_names(config)))
    if foreign:
        raise NeedsCodeError(f"it needs the script's own {', '.join(foreign)[:200]}")
    compiles = compiled is not None and not set(_foreign_names(compiled))
    keras = _installed_keras(str(metadata.get("keras_version", "3")))
    return keras.models.load_model(path, compile=compiles, safe_mode=True), compiles


def _json_in(archive: Any, name: str) -> Any:
    with archive.open(name) as stream:
        content = stream.read(CONFIG_BYTES + 1)
    if len(content) > CONFIG_BYTES:
        raise NeedsCodeError(f"its {name} is larger than {CONFIG_BYTES >> 20} MB")
    return json.loads(content)


def _foreign_names(config: Any) -> Iterator[str]:
    """Iterate over the names in a description that are not Keras' own."""
    if isinstance(config, list):
        for item in config:
            yield from _foreign_names(item)
    elif isinstance(config, dict):
        if "class_name" in config:
            name = str(config["class_name"])
            module = config.get("module")
            # Keras' own marks (`__tuple__`) have neither module nor registered name; a script's
            # class has no module, but a registered name.
            is_mark = module is None and not config.get("registered_name")
            is_ours = is_mark or str(module).split(".")[0] in ("keras", "tf_keras", "builtins")
            if not is_ours or name in RUNS_CODE or ">" in str(config.get("registered_name") or ""):
                inner = config.get("config")
                yield str(inner) if name == "function" and isinstance(inner, str) else name
        for value in config.values():
            yield from _foreign_names(value)


def _installed_keras(version: str) -> Any:
    """Return the Keras that wrote a file: `tf_keras` or TensorFlow's for version 2."""
    major = version.split(".")[0]
    for name in KERAS_PACKAGES:
        try:
            package = importlib.import_module(name)
        except ImportError:
            continue
        keras: Any = package.keras if name == "tensorflow" else package
        if str(getattr(keras, "__version__", major)).split(".")[0] == major:
            return keras
    raise ImportError(f"no Keras {major} is installed here")


# --- Pickles of estimators

LIBRARIES = ("sklearn", "xgboost", "lightgbm", "catboost")
"""Libraries whose classes are all allowed; of their functions, only those that rebuild compiled
objects.
"""
REBUILD_FUNCTIONS = re.compile(r"newObj|__pyx_unpickle_\w+")
ALLOWED: Dict[str, Set[str]] = {
    "builtins": {
        "set",
        "frozenset",
        "bytearray",
        "complex",
        "slice",
        "range",
        "int",
        "float",
        "str",
        "bool",
        "list",
        "dict",
        "tuple",
        "bytes",
        "object",
    },
    "collections": {"OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor"},
    "copy_reg": {"_reconstructor"},
    "_codecs": {"encode"},
    "joblib.numpy_pickle": {"NumpyArrayWrapper"},
    "numpy": {"ndarray", "dtype", "str_", "bool_", "bytes_", "void"},
    "numpy.random._pickle": {"__randomstate_ctor", "__bit_generator_ctor", "__generator_ctor"},
    "numpy.ma.core": {"_mareconstruct", "MaskedArray", "MaskedConstant"},
    "numpy.ma": {"MaskedArray"},
    "sklearn.feature_selection._univariate_selection": {
        "f_classif",
        "f_regression",
        "f_oneway",
        "chi2",
        "r_regression",
    },
    "sklearn.feature_selection._mutual_info": {"mutual_info_classif", "mutual_info_regression"},
}
NUMPY_PARTS = re.compile(r"numpy\.(_?core)(\.multiarray|\.numeric)")
NUMPY_REBUILDS = ("_reconstruct", "scalar", "_frombuffer")
CLASS_MODULES = re.compile(r"scipy\.(sparse|interpolate)(\..*)?|numpy\.random\..*")
"""Modules of which every class is allowed, and functions that rebuild a compiled object."""


def load_joblib(path: str) -> Any:
    """Return the estimator or booster in a joblib file.

    Raises:
        NeedsCodeError: it names something that is not known to be harmless.
        Exception: it is damaged.
    """
    from joblib import numpy_pickle, numpy_pickle_utils

    safe = _unpickler(numpy_pickle)
    with open(path, "rb") as stream:
        opened = numpy_pickle_utils._validate_fileobject_and_memmap(stream, path, None)
        with opened as (file, _):
            return safe(path, file, True).load()


def _find_class(module: str, name: str) -> Any:
    """Return the object that a pickle names, if it runs no code of the pickle.

    Raises:
        NeedsCodeError: it is not known to be harmless.
    """
    is_library = module.split(".")[0] in LIBRARIES
    # A dotted name walks attributes, which would lead from an allowed class to any object.
    if "." in name or not (is_library or _is_allowed(module, name)):
        raise NeedsCodeError(f"it needs {module}.{name}"[:200])
    result = getattr(importlib.import_module(module), name)
    if (
        is_library
        and not isinstance(result, type)
        and not REBUILD_FUNCTIONS.fullmatch(name)
        and not _is_allowed(module, name)
    ):
        raise NeedsCodeError(f"it needs {module}.{name}"[:200])
    return result


def _is_allowed(module: str, name: str) -> bool:
    if name in ALLOWED.get(module, ()) or (
        NUMPY_PARTS.fullmatch(module) and name in NUMPY_REBUILDS
    ):
        return True
    if module in ("numpy", "numpy.dtypes"):
        import numpy

        result = getattr(importlib.import_module(module), name, None)
        is_type = isinstance(result, type) and issubclass(result, (numpy.generic, numpy.dtype))
        return is_type or isinstance(result, numpy.ufunc)
    if CLASS_MODULES.fullmatch(module):
        result = getattr(importlib.import_module(module), name, None)
        return isinstance(result, type) or REBUILD_FUNCTIONS.fullmatch(name) is not None
    return False


def _restricted(base: Any) -> Any:
    """Return a subclass of the Python unpickler `base` that allows known names only."""

    class Restricted(base):  # type: ignore[misc]
        dispatch: ClassVar[Dict[int, Any]] = dict(base.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            return _find_class(module, name)

        def load_build(self) -> None:
            _check_state(self.stack[-2], self.stack[-1])
            base.load_build(self)

        dispatch[pickle.BUILD[0]] = load_build

    return Restricted


def _unpickler(numpy_pickle: Any) -> Any:
    """Return joblib's own unpickler, restricted to the known names.

    Pickles of object arrays within the file are restricted as well.
    """
    wrapper = numpy_pickle.NumpyArrayWrapper
    read_array = wrapper.read_array
    python: Any = pickle
    # The unpickler in Python: unlike the one in C, it reads no byte beyond its pickle.
    plain = _restricted(python._Unpickler)

    def read(self: Any, unpickler: Any, *args: Any) -> Any:
        if self.dtype.hasobject:
            return plain(unpickler.file_handle).load()
        return read_array(self, unpickler, *args)

    if not hasattr(wrapper, "is_restricted"):
        wrapper.is_restricted = True
        wrapper.read_array = read
    return _restricted(numpy_pickle.NumpyUnpickler)


def _check_state(instance: Any, state: Any) -> None:
    """Refuse a state that would change a class, or replace a method of an object.

    Raises:
        NeedsCodeError: the state does so.
    """
    if isinstance(instance, type):
        raise NeedsCodeError(f"it changes the class {instance.__name__}")
    parts = state if isinstance(state, tuple) else (state,)
    for part in parts:
        if isinstance(part, dict):
            for name in part:
                if isinstance(name, str) and callable(getattr(type(instance), name, None)):
                    raise NeedsCodeError(f"it replaces {type(instance).__name__}.{name}"[:200])
