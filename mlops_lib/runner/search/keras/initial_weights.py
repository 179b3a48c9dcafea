"""The weights of a model before the developer's fit."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from mlops_lib.runner.search.request import FitCall

OFFSETS = ("bias", "beta", "moving_mean")
"""Variables that all common initialisers set to zero, and that training moves away from it."""


def initial(model: Any, call: FitCall) -> Optional[List[Any]]:
    """Return the weights before the fit in the order of `get_weights`, or None.

    None if they were not recorded, or do not fit the model any more.
    """
    if call.initial is None:
        return None
    seeds = {id(v) for v in model.variables} - {id(v) for v in model.weights}
    metrics = {id(v) for v in getattr(model, "metrics_variables", [])}
    order = [v for v in model.variables if id(v) not in metrics]
    values = [value for v, value in zip(order, call.initial) if id(v) not in seeds]
    shapes = [tuple(v.shape) for v in model.weights]
    return values if [tuple(v.shape) for v in values] == shapes else None


def is_untrained(layers: List[Any], model: Any, call: FitCall) -> bool:
    """Return whether these layers began the fit without pretrained weights."""
    values = initial(model, call)
    if values is None:
        return False
    initial_by_id: Dict[int, Any] = {id(v): value for v, value in zip(model.weights, values)}
    offsets = [v for layer in layers for v in layer.weights if v.path.rsplit("/", 1)[-1] in OFFSETS]
    return bool(offsets) and all(
        id(v) in initial_by_id and not initial_by_id[id(v)].any() for v in offsets
    )
