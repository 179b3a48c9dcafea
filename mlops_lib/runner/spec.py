"""What the host tells the runner, by environment variables (docs/run-directory.md)."""

import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional

from mlops_lib.runner import protocol


@dataclass(frozen=True)
class Spec:
    """The runner's orders; every part has a default, so that a bare `docker run IMAGE ENTRY`
    trains.
    """

    project: str
    inside: str
    seed: int = 1
    attempt: int = 1
    number_of_pass: int = 1
    input: List[str] = field(default_factory=list)
    metric: str = ""
    """The metric that the bar is about; "" for an accuracy."""
    metric_pattern: str = ""
    metrics_file: str = ""
    checkpoint_budget: float = 0.02
    """Share of the training time that checkpoints may cost."""
    mid_epoch_s: float = 30.0
    """The least time between two checkpoints within an epoch."""
    fits_bytes: int = 20 << 30
    """What the checkpoints of finished fits may take on the disk together."""
    search: Optional[Dict[str, Any]] = None
    shared: str = ""
    """`inside/` of the run whose search this process is a worker of; "" where it is the run's own
    process.
    """
    links: Dict[str, str] = field(default_factory=dict)
    """Data that is not in the project: path relative to it, and where it is."""
    smaller: bool = False
    """The attempt before ran out of memory: train with a smaller footprint."""
    strict: bool = False
    folder: str = ""
    """The folder in the project that the entry runs in."""
    before: List[Dict[str, Any]] = field(default_factory=list)
    """Scripts that run before the entry: script, args, folder."""
    after: List[Dict[str, Any]] = field(default_factory=list)
    champion: Dict[str, Any] = field(default_factory=dict)
    """The registered model to measure on the judged examples too: path, version, digest; empty if
    there is none.
    """


def read(environment: Mapping[str, str] = os.environ) -> Spec:
    """The spec in the environment.

    Raises:
        ValueError: MLOPS_SPEC is not a JSON object.
    """
    given = json.loads(environment.get("MLOPS_SPEC") or "{}")
    if not isinstance(given, dict):
        raise ValueError("MLOPS_SPEC must hold a JSON object")
    return Spec(
        project=os.path.abspath(environment.get("MLOPS_PROJECT") or "."),
        inside=os.path.abspath(
            environment.get("MLOPS_INSIDE") or os.path.join(".mlops", protocol.INSIDE)
        ),
        seed=int(given.get("seed", 1)),
        attempt=int(given.get("attempt", 1)),
        number_of_pass=int(given.get("pass", 1)),
        input=[str(line) for line in given.get("input", [])],
        metric=str(given.get("metric", "")),
        metric_pattern=str(given.get("metric_pattern", "")),
        metrics_file=str(given.get("metrics_file", "")),
        checkpoint_budget=float(given.get("checkpoint_budget", 0.02)),
        mid_epoch_s=float(given.get("mid_epoch_s", 30.0)),
        fits_bytes=int(given.get("fits_bytes", 20 << 30)),
        search=given.get("search"),
        shared=environment.get("MLOPS_SHARED") or "",
        links={str(name): str(source) for name, source in given.get("links", {}).items()},
        smaller=given.get("smaller") is True,
        strict=environment.get("MLOPS_STRICT") == "1",
        folder=str(given.get("folder", "")),
        before=[dict(step) for step in given.get("before", [])],
        after=[dict(step) for step in given.get("after", [])],
        champion=dict(given.get("champion") or {}),
    )
