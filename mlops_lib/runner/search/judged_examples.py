"""The examples that the gate has judged on before a search; none may select."""

from __future__ import annotations

import os
from typing import FrozenSet

from mlops_lib.runner.protocol import JUDGED
from mlops_lib.runner.state import atomic


def known(directory: str, inside: str) -> FrozenSet[bytes]:
    """Return the hashes of all examples judged in earlier passes; remember them.

    After a search with `selection: half`, a pass judges on half of the examples that were judged
    before it, so the first set stays.

    Args:
        directory: the search's state.
        inside: the container's part of the run directory.
    """
    place = os.path.join(directory, JUDGED)
    hashes = _read(place)
    merged = hashes | _read(os.path.join(inside, JUDGED))
    if merged != hashes:
        os.makedirs(directory, exist_ok=True)
        atomic.write_json(place, {"schema": 1, "examples": sorted(name.hex() for name in merged)})
    return merged


def _read(path: str) -> FrozenSet[bytes]:
    content = atomic.read_json(path)
    is_known = isinstance(content, dict) and content.get("same_again") is not False
    names = content.get("examples") if is_known else None
    return frozenset(bytes.fromhex(str(name)) for name in names or ())
