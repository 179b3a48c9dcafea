"""Docker's descriptions of containers, converted to the engine interface's records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlops_lib.engine.interface import Activity, Container

RUNNING = ("running", "paused", "restarting")


def container_of(inspection: Any) -> Container:
    """Convert the SDK's container."""
    state = inspection.attrs["State"]
    running = state.get("Status") in RUNNING
    started = time_of(state.get("StartedAt"))
    return Container(
        id=inspection.id,
        labels=dict(inspection.attrs["Config"].get("Labels") or {}),
        state="running" if running else "exited",
        # Created and never started: its caller died in between. It has no exit code, least of all
        # 0.
        exit_code=None if running or started is None else int(state.get("ExitCode", 0)),
        out_of_memory=bool(state.get("OOMKilled")),
        paused=state.get("Status") == "paused",
        started=started or 0.0,
        ended=None if running else time_of(state.get("FinishedAt")),
    )


def activity_of(statistics: Mapping[str, Any]) -> Activity | None:
    """Convert the engine's statistics; None for an ended container, which has none."""
    cpu = statistics.get("cpu_stats") or {}
    memory = statistics.get("memory_stats") or {}
    nanoseconds = (cpu.get("cpu_usage") or {}).get("total_usage")
    if not nanoseconds:
        return None
    blocks = (statistics.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    networks = (statistics.get("networks") or {}).values()
    transferred = sum(
        int(entry.get("value", 0))
        for entry in blocks
        if str(entry.get("op")).lower() in ("read", "write")
    )
    transferred += sum(
        int(entry.get("rx_bytes", 0)) + int(entry.get("tx_bytes", 0)) for entry in networks
    )
    # The page cache is the kernel's to take back: as `docker stats` does.
    cached = (memory.get("stats") or {}).get(
        "inactive_file", (memory.get("stats") or {}).get("total_inactive_file", 0)
    )
    memory_bytes = max(0, int(memory.get("usage") or 0) - int(cached))
    return Activity(cpu_s=nanoseconds / 1e9, io_bytes=transferred, memory_bytes=memory_bytes)


def time_of(text: str | None) -> float | None:
    """Convert the engine's RFC 3339 text to Unix time; None for its zero time."""
    match = re.fullmatch(r"([0-9T:-]+)(\.\d+)?(Z|[+-]\d\d:\d\d)", text or "")
    if match is None or match[1].startswith("0001"):
        return None
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.fromisoformat(match[1] + zone).timestamp() + float(match[2] or 0)
