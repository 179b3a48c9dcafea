"""The champion in a training: its version, and its file as a mount of the run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mlops_lib import atomic
from mlops_lib.records import ModelVersion, Mount, RunSpec
from mlops_lib.registry import model_store
from mlops_lib.runner import protocol

PLACE = "/mlops/champion"
"""Folder of the champion's file in a container."""
CHUNK = 1 << 20


def find(spec: RunSpec, run_dir: Path, *, home: Path) -> ModelVersion | None:
    """Return the champion to compare the run's model with, or None if there is none.

    If the champion is the run's present model itself, this is the champion before it.
    """
    champion = model_store.champion(spec.name, home=home)
    # A run that is judged again after its registration must not be compared with itself.
    if (
        champion is None
        or champion.run != spec.digest
        or champion.model_digest != model_digest(run_dir)
    ):
        return champion
    return model_store.champion_before(champion, home=home)


def lend(spec: RunSpec, *, home: Path) -> tuple[dict[str, Any], tuple[Mount, ...]]:
    """Return the runner's instructions for the champion, and mounts of its files.

    The mounts are read-only. Both are empty if there is no champion.
    """
    champion = model_store.champion(spec.name, home=home)
    if champion is None or not Path(champion.model).is_file():
        return {}, ()
    source = str(Path(champion.model).resolve())
    target = f"{PLACE}/{Path(source).name}" if spec.backend == "docker" else source
    order = {"path": target, "version": champion.version, "digest": champion.model_digest}
    mounts = [Mount(source=source, target=target)]
    names = Path(source).with_name(protocol.TRAINED_ON)
    if names.is_file():
        order["trained_on"] = f"{PLACE}/{names.name}" if spec.backend == "docker" else str(names)
        mounts.append(Mount(source=str(names), target=str(order["trained_on"])))
    return order, tuple(mounts)


def model_file(run_dir: Path) -> Path | None:
    """Return the model file that the run's container left, or None; it is not opened."""
    places = (run_dir / protocol.INSIDE / name for name in protocol.MODELS)
    return next((place for place in places if place.is_file() and not place.is_symlink()), None)


def model_digest(run_dir: Path) -> str:
    """Return the sha256 of the run's model file, or "" if it is missing or unreadable."""
    place = model_file(run_dir)
    if place is None:
        return ""
    digest = hashlib.sha256()
    try:
        with atomic.open_regular(place, inside=run_dir / protocol.INSIDE) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
