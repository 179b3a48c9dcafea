"""What is missing on this machine, and how to mend it: small checks, each with its finding and remedy."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlops_lib.errors import EngineError
from mlops_lib.records import Record

DISK_GIB = 10.0
MEMORY_GIB = 4.0


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """One check's answer."""

    name: str
    status: Literal["ok", "warning", "error"]
    finding: str
    remedy: str = ""


def checks(*, home: Path) -> list[Finding]:
    """All checks, in order; none changes anything.

    Args:
        home: folder of mlops' own files, whose disk is looked at.
    """
    small: tuple[Callable[[], Finding], ...] = (
        _python, _engine, _builder, lambda: _disk(home), _memory, _gpu, _git, _uv, _jenkins, _proxies,
    )  # fmt: skip
    return [check() for check in small]


def _python() -> Finding:
    return Finding(name="python", status="ok", finding=sys.version.split()[0])


def _engine() -> Finding:
    from mlops_lib.engine.docker import DockerEngine

    try:
        return Finding(name="engine", status="ok", finding=DockerEngine().check())
    except EngineError as error:
        return Finding(name="engine", status="warning", finding=error.what, remedy=error.remedy)


def _builder() -> Finding:
    from mlops_lib.engine.buildkit import client_program

    try:
        return Finding(name="builder", status="ok", finding=client_program())
    except EngineError as error:
        return Finding(name="builder", status="warning", finding=error.what, remedy=error.remedy)


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    low = free < DISK_GIB
    return Finding(
        name="disk", status="warning" if low else "ok", finding=f"{free:.1f} GiB free at {place}",
        remedy=f"An environment takes 2 GiB: free some space or set MLOPS_HOME elsewhere ({DISK_GIB:.0f} GiB is comfortable)."
        if low else "",
    )  # fmt: skip


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    low = total < MEMORY_GIB
    return Finding(
        name="memory", status="warning" if low else "ok", finding=f"{total:.1f} GiB",
        remedy="Deep models need more; use a larger machine." if low else "",
    )  # fmt: skip


def _gpu() -> Finding:
    there = shutil.which("nvidia-smi") is not None
    return Finding(name="gpu", status="ok", finding="NVIDIA driver found" if there else "none: trainings use the CPU")


def _program(name: str, program: str, remedy: str) -> Finding:
    path = shutil.which(program)
    if path:
        return Finding(name=name, status="ok", finding=path)
    return Finding(name=name, status="warning", finding=f"{program} is not on PATH", remedy=remedy)


def _git() -> Finding:
    return _program("git", "git", "Install git: runs are named by the commit.")


def _uv() -> Finding:
    path = shutil.which("uv")
    return Finding(name="uv", status="ok", finding=path or "not there: environments are made with venv and pip, slower")


def _jenkins() -> Finding:
    return _program("java", "java", "Only needed where a Jenkins controller or agent runs.")


def _proxies() -> Finding:
    names = [name for name in ("http_proxy", "https_proxy", "HTTPS_PROXY") if os.environ.get(name)]
    return Finding(name="proxies", status="ok", finding=", ".join(names) + " set" if names else "none set")
