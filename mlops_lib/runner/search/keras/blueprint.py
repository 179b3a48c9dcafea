"""A Keras model as data: classes, settings, inputs and places in the script."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any, Dict, List

from mlops_lib.runner.journal import plain
from mlops_lib.runner.script import call_sites
from mlops_lib.runner.search.keras import graph

LONGEST = 200
"""Settings with more values (the means of thousands of features) are not put into source code."""


def blueprint(model: Any) -> List[Dict[str, Any]]:
    """Return the layers of a model in order.

    Each is `{"class", "module", "name", "arguments": {setting: value that is not its default},
    "parameters": [names in the order of the constructor], "inputs": [names], "site"}`.

    Raises:
        UnclonableError: the architecture is code.
    """
    layers = list(graph.graph_of(model).layers)
    return [{**one_layer(layer), "inputs": _inputs(model, layer)} for layer in layers]


def one_layer(layer: Any) -> Dict[str, Any]:
    """Return a layer without its place in the graph."""
    kind = type(layer)
    description = {
        "class": kind.__name__,
        "module": kind.__module__.split(".")[0],
        "name": layer.name,
        "arguments": {},
        "parameters": _parameters(kind),
        "site": call_sites.of(layer),
        "known": True,
    }
    if kind.__name__ == "InputLayer":
        description["arguments"] = {
            "shape": plain(layer.batch_shape[1:]),
            "dtype": str(layer.dtype),
        }
    elif kind.__name__ == "Bidirectional":
        description["arguments"] = {"layer": one_layer(layer.forward_layer)}
    elif hasattr(layer, "layers"):
        description["known"] = False
        with contextlib.suppress(graph.UnclonableError):
            description["layers"] = blueprint(layer)
    elif kind.__name__ == "Lambda" or description["module"] != "keras":
        description["known"] = False
    else:
        description["arguments"] = _arguments(layer)
        description["known"] = all(
            len(str(value)) < LONGEST * 20 for value in description["arguments"].values()
        )
    return description


def _parameters(kind: Any) -> List[str]:
    names = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return [
        parameter.name
        for parameter in names
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY)
    ]


def _arguments(layer: Any) -> Dict[str, Any]:
    """Return the settings that differ from the class's defaults."""
    config = {
        k: v for k, v in layer.get_config().items() if k not in ("name", "trainable", "dtype")
    }
    required = {
        parameter.name: config[parameter.name]
        for parameter in inspect.signature(type(layer).__init__).parameters.values()
        if parameter.default is parameter.empty and parameter.name in config
    }
    try:
        usual = type(layer)(**required).get_config()
    except (TypeError, ValueError):
        usual = {}
    return {
        name: plain(value)
        for name, value in config.items()
        if name in required or name not in usual or plain(usual[name]) != plain(value)
    }


def _inputs(model: Any, layer: Any) -> List[str]:
    return [producer.name for producer in graph.producers(model, layer)]
