"""A project's own search space: `search_space.py` with an ordinary KerasTuner HyperModel, used as
it is.
"""

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
    """The HyperModel of a project, None where it has none.

    Args:
        folder: where the project is.

    Raises:
        RefusedError: the file has no HyperModel and no `build(hp)`.
    """
    path = os.path.join(folder, FILE)
    if not os.path.isfile(path):
        return None
    import keras_tuner

    names = runpy.run_path(path, run_name="search_space")
    for value in names.values():
        made_here = isinstance(value, type) and value.__module__ == "search_space"
        if made_here and issubclass(value, keras_tuner.HyperModel):
            return value()
    for name in FUNCTIONS:
        if callable(names.get(name)):
            return types.SimpleNamespace(build=names[name])
    raise RefusedError(f"{FILE} holds no HyperModel and no function build(hp)")


def known(hypermodel: Any) -> Any:
    """The HyperParameters that a build asks for."""
    import keras_tuner

    asked = keras_tuner.HyperParameters()
    hypermodel.build(asked)
    return asked


def candidate(values: Mapping[str, Any], *, epochs: int) -> Candidate:
    """A candidate that is built by the HyperModel."""
    return Candidate(
        0, (), Recipe("compiled", epochs=epochs), True, json.dumps(dict(values), sort_keys=True)
    )


def built(hypermodel: Any, own: str) -> Any:
    """The model, compiled by the HyperModel, for the values of a candidate."""
    import keras_tuner

    asked = keras_tuner.HyperParameters()
    values: Dict[str, Any] = json.loads(own)
    asked.values = values
    return hypermodel.build(asked)
