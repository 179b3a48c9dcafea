"""Locks of the catalog's rows: one tag stands for one content.

A row requests series of releases, or a distribution in any release. Its lock lists every installed
file by its hash, for the two layers that rows share and for each processor. `make locks` (which
runs mlops_lib.provisioning.lock_refresh) creates them anew with uv, from the index of pip's
settings. A test compares them with the catalog.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mlops_lib.catalog import FOLDER
from mlops_lib.environments import requirement

LOCKS = Path(FOLDER, "locks")
PYTHON = "3.11"
"""The only Python version with locks: that of the usual base image."""
MACHINES = {"x86_64": "x86_64-manylinux_2_28", "aarch64": "aarch64-manylinux_2_28"}
"""Processors: the name of `uname -m` to that of uv."""
LAYERS = ("framework", "family")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def path(layer: str, lines: Sequence[str], machine: str = "") -> Path:
    """Return the file of a lock, named by its inputs, so that equal layers share it.

    Args:
        layer: "framework" or "family".
        lines: the layer's requirements, including those of the layer below.
        machine: the processor; "" for a lock that applies to all.
    """
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
    return LOCKS / f"{layer}-{digest}{machine and '.' + machine}.txt"


def texts(layer: str, lines: Sequence[str]) -> dict[str, str]:
    """Return the locks of a layer by processor.

    Empty if it has none. Arguments as for `path`.
    """
    lock_texts = {}
    for machine in MACHINES:
        place = next(
            (one for one in (path(layer, lines, machine), path(layer, lines)) if one.is_file()),
            None,
        )
        if place is not None:
            lock_texts[machine] = _read(place)
    return lock_texts


@cache
def _read(place: Path) -> str:
    return place.read_text(encoding="utf-8")


def versions(text: str) -> dict[str, str]:
    """Return the releases in a lock, by normalised name."""
    return {requirement.normal(name): version for name, version in _PIN.findall(text)}
