"""Start of a run's containers: orders for the runner, variables, mounts, GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lib.engine import LABEL_ATTEMPT, LABEL_RUN, LABEL_RUN_DIR, Launch, gpu
from mlops_lib.project import trust
from mlops_lib.records import Mount, RunSpec
from mlops_lib.registry import champions
from mlops_lib.runner import protocol

SHARED_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""By default TensorFlow takes all of a GPU's memory, and JAX three quarters."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
"""Variables by which the caller limits the threads of a training; they reach the container."""
SMALLER = {
    **SHARED_GPU,
    "MALLOC_ARENA_MAX": "2",
    "LOKY_MAX_CPU_COUNT": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}
"""Variables that reduce a training's memory footprint without changing its results: no memory
reserved ahead, fewer pools of free memory, one worker process (each has its own copy of the data), no
fragments of PyTorch's memory on a GPU.
"""
MOUNTS = "/mlops/mounts"
"""Folder in a container for mounts whose target is in the project."""


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """The parts of a container's start that are the same for every attempt."""

    spec: RunSpec
    run_dir: Path
    home: Path
    number_of_pass: int = 1
    search: Mapping[str, Any] | None = None
    """The orders of a pass with the search."""
    shared: Path | None = None
    """`inside/` of the run that this one is a worker of; None for the run itself."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all containers of the run."""
        return {LABEL_RUN: self.spec.digest, LABEL_RUN_DIR: str(self.run_dir)}

    def attempt_labels(self, attempt: int) -> dict[str, str]:
        """Return the labels of one attempt's container."""
        return {**self.labels, LABEL_ATTEMPT: str(attempt)}

    @property
    def log(self) -> Path:
        """File with the script's output."""
        return self.run_dir / protocol.LOG

    def launch(self, *, attempt: int, smaller: bool) -> Launch:
        """Return the order to start one attempt.

        Args:
            attempt: its number.
            smaller: reduce the memory footprint.
        """
        mounts = _mounts(self.spec)
        champion, champion_mounts = (
            champions.lend(self.spec, home=self.home) if self.shared is None else ({}, ())
        )
        orders: dict[str, Any] = {
            "seed": self.spec.seed,
            "attempt": attempt,
            "pass": self.number_of_pass,
            "input": list(self.spec.input),
            "metric": self.spec.metric,
            "metric_pattern": self.spec.metric_pattern,
            "metrics_file": self.spec.metrics_file,
            "search": self.search,
            "smaller": smaller,
            "links": {name: mount.target for name, mount in mounts if name},
            "champion": champion,
            **self.spec.around,
        }
        return Launch(
            image=self.spec.image,
            project=self.spec.project,
            inside=str(self.run_dir / protocol.INSIDE),
            shared="" if self.shared is None else str(self.shared),
            entry=self.spec.entry,
            args=self.spec.args,
            variables={"MLOPS_SPEC": json.dumps(orders), **self._variables(smaller=smaller)},
            mounts=(*(mount for _, mount in mounts), *champion_mounts),
            caches=str(self.home / "downloads" / self._cache()),
            limits=self.spec.limits,
            gpu=self._gpu(),
            labels=self.attempt_labels(attempt),
            log=str(self.log),
        )

    def _variables(self, *, smaller: bool) -> dict[str, str]:
        variables = {
            "PYTHONHASHSEED": str(self.spec.seed % 2**32),
            # Idle OpenMP threads that spin cost the others of a busy machine their turn: ten times
            # slower, measured with a boosting of scikit-learn on two cores under a load of 14.
            "OMP_WAIT_POLICY": "PASSIVE",
            # No key reaches a training: without this, wandb.init asks for one and fails. What it
            # logs is kept in the run.
            "WANDB_MODE": "offline",
            **{name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)},
        }
        if smaller:
            variables.update(SMALLER)
        if self._is_in_parallel_search:
            variables.update(SHARED_GPU)  # other workers may be on the same GPU
        return variables

    @property
    def _is_in_parallel_search(self) -> bool:
        """Return whether several workers search; only these need a token for one another."""
        return bool((self.search or {}).get("token"))

    def _cache(self) -> str:
        """Return the name of the download cache.

        A spec of an older release names none, so the run gets one of its own.
        """
        if trust.is_cache_name(self.spec.cache):
            return self.spec.cache
        return f"run-{self.spec.digest[:16]}"

    def _gpu(self) -> str:
        """Return the GPU of this worker of a search, "" for all.

        The chief, which trains nothing, shares the first with worker 1.
        """
        worker = str((self.search or {}).get("worker", "1"))
        if not (self.spec.limits.gpus and self._is_in_parallel_search and worker.isdigit()):
            return ""
        return gpu.for_worker(int(worker) - 1, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _mounts(spec: RunSpec) -> list[tuple[str, Mount]]:
    """Return the mounts for the engine, each with its name in the project or "".

    The project is mounted read-only, so nothing can be mounted into it: such a mount is made beside
    it, and the runner links to it.
    """
    mounts = []
    for number, mount in enumerate(spec.mounts):
        name = "" if mount.target.startswith("/") else mount.target
        beside = f"{MOUNTS}/{number}" if spec.backend == "docker" else mount.source
        mounts.append((name, replace(mount, target=beside) if name else mount))
    return mounts
