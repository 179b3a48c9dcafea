"""The folder of a search's state: the same call finds it again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mlops_lib import config
from mlops_lib.tuning.in_memory.task import Task


def search_folder(
    folder: str | Path, task: Task, model: Any, *, seed: int, epochs: int | None
) -> Path:
    """Return the search's folder; equal model, data and seed give the same one."""
    if folder:
        place = Path(folder).expanduser().absolute()
    else:
        from mlops_lib.runner.metrics import example_hashes

        parts = [
            repr(_identity(model)),
            task.metric,
            task.mode,
            str(seed),
            str(epochs),
            str(task.is_apart),
        ]
        for data in (task.x, task.y, task.judged_x, task.judged_y):
            hashes = example_hashes.hashes(data)
            parts.append(
                hashlib.sha256(b"".join(hashes) if hashes else repr(data).encode()).hexdigest()
            )
        name = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        place = config.resolve(None).home / "improve" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def _identity(model: Any) -> list[Any]:
    """Return the configuration and weights that distinguish one model from another."""
    if hasattr(model, "get_weights"):
        weights = hashlib.sha256(
            b"".join(value.tobytes() for value in model.get_weights())
        ).hexdigest()
        layers = [(type(layer).__name__, layer.name) for layer in getattr(model, "layers", [])]
        return [type(model).__name__, layers, str(model.optimizer.get_config()), weights]
    return [
        type(model).__name__,
        sorted((name, repr(value)) for name, value in model.get_params().items()),
    ]
