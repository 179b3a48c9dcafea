"""Checks of this machine, each with its finding and its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from mlops_lib.engine import gpu, package_index, programs
from mlops_lib.errors import EngineError
from mlops_lib.records import Record

DISK_GIB = 10.0
MEMORY_GIB = 4.0
CLOCK_S = 30.0
INDEX_S = 20


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """The result of one check."""

    name: str
    status: Literal["ok", "warning", "error"]
    finding: str
    remedy: str = ""


def checks(*, home: Path) -> list[Finding]:
    """Run all checks in order; none changes anything.

    Args:
        home: folder of mlops' own files, whose disk is checked.
    """
    engine, about = _engine()
    small: tuple[Callable[[], Finding], ...] = (
        _python,
        lambda: engine,
        _builder,
        lambda: _disk(home, about),
        lambda: _environments(home),
        lambda: _memory(about),
        lambda: _gpu(about),
        lambda: _clock(about),
        _index,
        _proxies,
        _uv,
        lambda: _shadowed(os.get_exec_path()),
        _jenkins,
    )
    return [check() for check in small]


def _python() -> Finding:
    return Finding(name="python", status="ok", finding=sys.version.split()[0])


def _engine() -> tuple[Finding, Mapping[str, Any]]:
    """Check that the engine answers.

    Return also its description, {} without an answer.
    """
    from mlops_lib.engine.docker import DockerEngine

    engine = DockerEngine()
    try:
        return Finding(name="engine", status="ok", finding=engine.check()), engine.about()
    except EngineError as error:
        return Finding(name="engine", status="warning", finding=error.what, remedy=error.remedy), {}


def _builder() -> Finding:
    from mlops_lib.engine.buildkit import client_program

    try:
        return Finding(name="builder", status="ok", finding=f"{client_program()}, with BuildKit")
    except EngineError as error:
        return Finding(name="builder", status="warning", finding=error.what, remedy=error.remedy)


def _disk(home: Path, about: Mapping[str, Any]) -> Finding:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    engine = Path(str(about.get("DockerRootDir") or place))
    places = dict.fromkeys([place, engine] if engine.exists() else [place])
    free = {where: shutil.disk_usage(where).free / 2**30 for where in places}
    low = min(free.values()) < DISK_GIB
    return Finding(
        name="disk",
        status="warning" if low else "ok",
        finding=", ".join(f"{amount:.1f} GiB free at {where}" for where, amount in free.items()),
        remedy="An environment takes 2 GiB: `mlops images --prune` removes what no run needs, or"
        " set MLOPS_HOME elsewhere"
        f" ({DISK_GIB:.0f} GiB is comfortable)."
        if low
        else "",
    )


def _environments(home: Path) -> Finding:
    """Report the size of this home's virtual environments, and of those no run needs."""
    from mlops_lib.engine.process import ProcessEngine
    from mlops_lib.provisioning import cache

    environments, _ = cache.list_and_prune(ProcessEngine(home=str(home)), home=home)
    if not environments:
        return Finding(name="environments", status="ok", finding="none yet")
    in_use, idle = (
        sum(stored.bytes for stored in part) / 2**30
        for part in (environments, [stored for stored in environments if not stored.runs])
    )
    many = idle > DISK_GIB / 2
    return Finding(
        name="environments",
        status="warning" if many else "ok",
        finding=f"{len(environments)} hold {in_use:.1f} GiB, {idle:.1f} GiB of it for no run",
        remedy="`mlops images --backend process --prune` removes what no run needs."
        if many
        else "",
    )


def _memory(about: Mapping[str, Any]) -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    engine = (
        float(about.get("MemTotal") or 0) / 2**30
    )  # of its own virtual machine, on some systems
    least = min(total, engine or total)
    return Finding(
        name="memory",
        status="warning" if least < MEMORY_GIB else "ok",
        finding=f"{total:.1f} GiB"
        + (f", {engine:.1f} GiB of them the engine's" if engine and engine < total * 0.9 else ""),
        remedy="Deep models need more; use a larger machine, or give the engine more of this one."
        if least < MEMORY_GIB
        else "",
    )


def _gpu(about: Mapping[str, Any]) -> Finding:
    offer = gpu.offered(about)
    driver = gpu.driver()
    if offer:
        return Finding(name="gpu", status="ok", finding=f"the engine offers GPUs ({offer})")
    if driver and about:
        return Finding(
            name="gpu",
            status="warning",
            finding="NVIDIA's driver answers, but the engine offers no GPU",
            remedy="Install NVIDIA's container toolkit and restart the engine; until then"
            " containers train on the processor.",
        )
    return Finding(
        name="gpu",
        status="ok",
        finding="NVIDIA's driver answers" if driver else "none: trainings use the processor",
    )


def _clock(about: Mapping[str, Any]) -> Finding:
    text = str(about.get("SystemTime") or "")
    if not text:
        return Finding(name="clock", status="ok", finding="nothing to compare it with")
    # Nanoseconds are more than Python 3.10 reads.
    engine = (
        datetime.fromisoformat(text[:19] + "+00:00").timestamp()
        if text.endswith("Z")
        else time.time()
    )
    off = abs(engine - time.time())
    return Finding(
        name="clock",
        status="warning" if off > CLOCK_S else "ok",
        finding=f"{off:.0f} s off the engine's",
        remedy="Set the clocks by NTP: certificates and the order of events depend on them."
        if off > CLOCK_S
        else "",
    )


def _index() -> Finding:
    """Ask pip for its own versions, with the settings of this machine."""
    command = [
        sys.executable,
        "-I",  # no module from the folder that this is started in
        "-m",
        "pip",
        "index",
        "versions",
        "pip",
        "--retries",
        "0",
        "--timeout",
        str(INDEX_S // 2),
    ]
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=INDEX_S,
            stdin=subprocess.DEVNULL,
            cwd=programs.FOLDER,
        )
    except (OSError, subprocess.TimeoutExpired):
        return _unreachable("it does not answer in time")
    if "No module named pip" in result.stderr:
        return Finding(
            name="index", status="ok", finding="not asked: there is no pip beside this program"
        )
    if result.returncode == 0:
        source = (
            "the one in pip's settings"
            if package_index.settings().get("index-url")
            else "pip's default"
        )
        return Finding(name="index", status="ok", finding=f"{source} answers")
    reasons = {
        "SSL": "its certificate is not trusted",
        "ProxyError": "the proxy refuses",
        "401": "it asks for a password",
    }
    return _unreachable(
        next(
            (text for sign, text in reasons.items() if sign in result.stderr), "it does not answer"
        )
    )


def _unreachable(reason: str) -> Finding:
    return Finding(
        name="index",
        status="error",
        finding=f"the package index cannot be used: {reason}",
        remedy="Set http_proxy/https_proxy, PIP_INDEX_URL or PIP_CERT for this user; builds take"
        " them over.",
    )


def _program(name: str, program: str, remedy: str) -> Finding:
    path = programs.find(program)
    if path:
        return Finding(name=name, status="ok", finding=path)
    return Finding(name=name, status="warning", finding=f"{program} is not on PATH", remedy=remedy)


def _uv() -> Finding:
    path = programs.find("uv")
    return Finding(
        name="uv",
        status="ok",
        finding=path or "not there: environments are made with venv and pip, slower",
    )


def _shadowed(folders: list[str]) -> Finding:
    """Report several docker commands on PATH, as they may use different engines."""
    programs = list(
        dict.fromkeys(
            str(Path(path).resolve())
            for folder in folders
            if (path := shutil.which("docker", path=folder))
        )
    )
    many = len(programs) > 1
    return Finding(
        name="docker command",
        status="warning" if many else "ok",
        finding=", ".join(programs) if programs else "none on PATH",
        remedy="Only the first that builds with BuildKit is used; remove the others if that"
        " surprises."
        if many
        else "",
    )


def _jenkins() -> Finding:
    return _program("java", "java", "Only needed where a Jenkins controller or agent runs.")


def _proxies() -> Finding:
    names = [name for name in package_index.PROXIES if os.environ.get(name)]
    return Finding(
        name="proxies", status="ok", finding=", ".join(names) + " set" if names else "none set"
    )
