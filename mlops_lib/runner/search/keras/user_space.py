"""A project's own search space: `search_space.py` with a KerasTuner HyperModel."""

from __future__ import annotations

import json
import os
import runpy
import types
from typing import Any, Dict, Mapping, Optional

from mlops_lib.runner.search.examples import RefusedError
from mlops_lib.runner.search.keras.candidates import Candidate, Recipe

FILE = "search_space.py"
FUNCTIONS = ("build", "build_model", "build_hypermodel")


def load(folder: str) -> Optional[Any]:
    """Return the HyperModel of a project, or None if it has none.

    Args:
        folder: the project's folder.

    Raises:
        RefusedError: the file has no HyperModel and no `build(hp)`.
    """
    path = os.path.join(folder, FILE)
    if not os.path.isfile(path):
        return None
    import keras_tuner

    # Another name than `__main__`: the file may train under `if __name__ == "__main__"`.
    names = runpy.run_path(path, run_name="search_space")
    for value in names.values():
        # Not a class that the file has only imported, such as HyperModel itself.
        made_here = isinstance(value, type) and value.__module__ == "search_space"
        if made_here and issubclass(value, keras_tuner.HyperModel):
            return value()
    for name in FUNCTIONS:
        if callable(names.get(name)):
            return types.SimpleNamespace(build=names[name])
    raise RefusedError(f"{FILE} holds no HyperModel and no function build(hp)")


def known(hypermodel: Any) -> Any:
    """Return the HyperParameters that a HyperModel's build declares."""
    import keras_tuner

    hyperparameters = keras_tuner.HyperParameters()
    hypermodel.build(hyperparameters)
    return hyperparameters


def candidate(values: Mapping[str, Any], *, epochs: int) -> Candidate:
    """Return a candidate that the HyperModel builds."""
    return Candidate(
        0, (), Recipe("compiled", epochs=epochs), True, json.dumps(dict(values), sort_keys=True)
    )


def built(hypermodel: Any, own: str) -> Any:
    """Return the model for a candidate's values, compiled by the HyperModel."""
    import keras_tuner

    hyperparameters = keras_tuner.HyperParameters()
    values: Dict[str, Any] = json.loads(own)
    hyperparameters.values = values
    return hypermodel.build(hyperparameters)
