"""The specification of a run that the host passes by environment variables.

Its format is described in docs/run-directory.md.
"""

import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional

from mlops_lib.runner import protocol


@dataclass(frozen=True)
class Spec:
    """The runner's input; the defaults let `docker run IMAGE ENTRY` train."""

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
    """Least time between two checkpoints within an epoch."""
    fits_bytes: int = 20 << 30
    """Disk space that the checkpoints of finished fits may take together."""
    search: Optional[Dict[str, Any]] = None
    shared: str = ""
    """`inside/` of the run for whose search this process is a worker; "" in the run's own process.
    """
    links: Dict[str, str] = field(default_factory=dict)
    """Data outside the project: its path relative to the project, to its location."""
    smaller: bool = False
    """The previous attempt ran out of memory: train with a smaller footprint."""
    strict: bool = False
    folder: str = ""
    """The project folder in which the entry runs."""
    before: List[Dict[str, Any]] = field(default_factory=list)
    """Scripts that run before the entry: script, args, folder."""
    after: List[Dict[str, Any]] = field(default_factory=list)
    champion: Dict[str, Any] = field(default_factory=dict)
    """The registered model to measure on the judged examples: path, version, digest; empty if none.
    """


def read(environment: Mapping[str, str] = os.environ) -> Spec:
    """Return the spec in the environment.

    Raises:
        ValueError: MLOPS_SPEC is not a JSON object.
    """
    values = json.loads(environment.get("MLOPS_SPEC") or "{}")
    if not isinstance(values, dict):
        raise ValueError("MLOPS_SPEC must hold a JSON object")
    # Unknown keys are ignored: the host may be newer than the image.
    return Spec(
        project=os.path.abspath(environment.get("MLOPS_PROJECT") or "."),
        inside=os.path.abspath(
            environment.get("MLOPS_INSIDE") or os.path.join(".mlops", protocol.INSIDE)
        ),
        seed=int(values.get("seed", 1)),
        attempt=int(values.get("attempt", 1)),
        number_of_pass=int(values.get("pass", 1)),
        input=[str(line) for line in values.get("input", [])],
        metric=str(values.get("metric", "")),
        metric_pattern=str(values.get("metric_pattern", "")),
        metrics_file=str(values.get("metrics_file", "")),
        checkpoint_budget=float(values.get("checkpoint_budget", 0.02)),
        mid_epoch_s=float(values.get("mid_epoch_s", 30.0)),
        fits_bytes=int(values.get("fits_bytes", 20 << 30)),
        search=values.get("search"),
        shared=environment.get("MLOPS_SHARED") or "",
        links={str(name): str(source) for name, source in values.get("links", {}).items()},
        smaller=values.get("smaller") is True,
        strict=environment.get("MLOPS_STRICT") == "1",
        folder=str(values.get("folder", "")),
        before=[dict(step) for step in values.get("before", [])],
        after=[dict(step) for step in values.get("after", [])],
        champion=dict(values.get("champion") or {}),
    )
