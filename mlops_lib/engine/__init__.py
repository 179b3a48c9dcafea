"""Engines run trainings: Docker, or plain processes behind the same interface."""

from __future__ import annotations

from typing import Literal

from mlops_lib.engine.interface import (
    LABEL_ATTEMPT,
    LABEL_RUN,
    LABEL_RUN_DIR,
    Activity,
    Container,
    Engine,
    Launch,
)

__all__ = [
    "LABEL_ATTEMPT",
    "LABEL_RUN",
    "LABEL_RUN_DIR",
    "Activity",
    "Container",
    "Engine",
    "Launch",
    "choose",
]


def choose(backend: Literal["auto", "docker", "process"], *, home: str) -> Engine:
    """Return the engine for `backend`; "auto" prefers Docker if it answers.

    Args:
        backend: the engine's name, or "auto".
        home: folder of mlops' own files; the process engine keeps its environments and state there.

    Raises:
        EngineError: `backend` is "docker", which does not answer.
    """
    from mlops_lib.engine.docker import DockerEngine
    from mlops_lib.engine.process import ProcessEngine
    from mlops_lib.errors import EngineError

    if backend == "process":
        return ProcessEngine(home=home)
    docker = DockerEngine(home=home)
    try:
        docker.check()
    except EngineError:
        if backend == "docker":
            raise
        return ProcessEngine(home=home)
    return docker
