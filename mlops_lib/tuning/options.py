"""Options of a search: budget, workers, and execution of its trainings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lib.engine import Engine
from mlops_lib.events import Observer
from mlops_lib.records import RunResult, RunSpec
from mlops_lib.training import cancellation, supervision


def ignore(event: dict[str, Any]) -> None:
    """Discard an event."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The execution and supervision of the trainings of one run directory."""

    engine: Engine
    run_dir: Path
    home: Path
    """Folder of mlops' own files."""
    restarts: int = 5
    """Restarts without progress in between, after which a training has failed."""
    idle_minutes: float = supervision.IDLE_MINUTES
    """Minutes without any activity, after which a script that makes no steps counts as hung."""
    taking_over: bool = False
    """True if the process that drove this run before has died."""
    observer: Observer = ignore
    stopped: cancellation.Stop = field(default_factory=cancellation.Stop)

    def train(
        self,
        spec: RunSpec,
        *,
        request: dict[str, Any],
        number_of_pass: int,
        shared: Path | None = None,
    ) -> RunResult:
        """Run `supervision.train` for a pass with a search.

        Args:
            spec: the run.
            request: the search request.
            number_of_pass: 2 or higher.
            shared: `inside/` of the run that this worker belongs to; None for the run itself.
        """
        return supervision.train(
            spec,
            engine=self.engine,
            run_dir=self.run_dir,
            restarts=self.restarts,
            number_of_pass=number_of_pass,
            search=request,
            shared=shared,
            home=self.home,
            idle_minutes=self.idle_minutes,
            taking_over=self.taking_over,
            observer=self.observer,
            stopped=self.stopped,
        )


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits at which a search ends; counted over all workers."""

    trials: int
    minutes: float
    """Minutes of training."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of a search, and the machines that they are on."""

    count: int = 1
    ray_address: str = ""
    """Address of the Ray cluster that runs the workers; or "" for this machine."""

    @property
    def are_remote(self) -> bool:
        """Return whether the workers are on a Ray cluster."""
        return bool(self.ray_address)
