"""Examples that earlier fits leave out, so that the search can select on them.

A script that fits one model several times, without validation data, has trained it on every example
when the search begins. The script is then executed once more: its earlier fits train without the
examples that the search holds back.
"""

from __future__ import annotations

import os
from typing import Any, Dict, FrozenSet, Mapping, Optional

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search.examples import is_arrays, rows
from mlops_lib.runner.state import atomic

NAME = "held_back.json"


def note(directory: str, fit: int, hashes: FrozenSet[bytes]) -> None:
    """Hold these examples back from the fits before `fit` in the next execution."""
    content = {"schema": 1, "fit": fit, "examples": sorted(name.hex() for name in hashes)}
    atomic.write_json(os.path.join(directory, NAME), content)


def noted(directory: str, fit: int) -> FrozenSet[bytes]:
    """Return the hashes of examples that the fits before `fit` have to leave out."""
    content = atomic.read_json(os.path.join(directory, NAME))
    if not isinstance(content, dict) or content.get("fit") != fit:
        return frozenset()
    return frozenset(bytes.fromhex(text) for text in content.get("examples") or ())


def without(arguments: Mapping[str, Any], hashes: FrozenSet[bytes]) -> Optional[Dict[str, Any]]:
    """Return the arguments of a fit without these examples, or None.

    None if the fit has none of them, or its examples cannot be identified.
    """
    x = arguments.get("x")
    names = example_hashes.hashes(x) if x is not None and is_arrays(x) else None
    index = [i for i, name in enumerate(names or ()) if name not in hashes]
    # Nothing to leave out, or nothing would be left.
    if names is None or not index or len(index) == len(names):
        return None
    parts = {
        name: arguments[name]
        for name in ("x", "y", "sample_weight")
        if arguments.get(name) is not None
    }
    return {**arguments, **{name: rows(value, index) for name, value in parts.items()}}
