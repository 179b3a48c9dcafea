"""Whether a training can be given a GPU, and how it is asked for."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any, Literal

from mlops_lib.engine import programs

DRIVER_S = 20.0
CDI = "nvidia.com/gpu={}"
"""The Container Device Interface's name of a GPU, or of "all" of a machine (NVIDIA Container
Toolkit's documentation).
"""


def driver() -> bool:
    """Whether NVIDIA's driver answers on this machine."""
    return bool(_there())


def _there() -> list[str]:
    """The indices of this machine's GPUs, as NVIDIA's driver says."""
    program = programs.find("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False, timeout=DRIVER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", done.stdout, re.MULTILINE) if done.returncode == 0 else []


def _lent(visible: str | None) -> list[str]:
    return [one.strip() for one in (visible or "").split(",") if one.strip()]


def for_worker(number: int, visible: str | None = None) -> str:
    """The GPU of one of several workers, who take turns; "" where there are no two to choose from.

    Args:
        number: the worker's, from 0.
        visible: `CUDA_VISIBLE_DEVICES` of who asks; None is all of the machine's.
    """
    found = _there() if visible is None else _lent(visible)
    return found[number % len(found)] if len(found) > 1 else ""


def offered(info: Mapping[str, Any]) -> Literal["", "nvidia", "cdi"]:
    """How an engine offers GPUs, by its `info`: through NVIDIA's runtime, by CDI, or not at all."""
    if "nvidia" in (info.get("Runtimes") or {}):
        return "nvidia"
    devices = info.get("DiscoveredDevices") or ()
    return (
        "cdi"
        if any(str(device.get("ID", "")).startswith("nvidia.com/gpu") for device in devices)
        else ""
    )


def request(offer: Literal["", "nvidia", "cdi"], visible: str | None = None) -> dict[str, Any]:
    """The options that give a container GPUs, in Docker's terms; none where none are offered.

    Args:
        offer: how the engine offers them.
        visible: `CUDA_VISIBLE_DEVICES` of who asks: a scheduler (Ray, Slurm) has lent it only
            these; None is all.
    """
    from docker.types import DeviceRequest

    if not offer:
        return {}
    ids = _lent(visible)
    if visible is not None and (not ids or "-1" in ids):
        return {}
    if offer == "cdi":
        return {
            "device_requests": [
                DeviceRequest(driver="cdi", device_ids=[CDI.format(one) for one in ids or ["all"]])
            ]
        }
    which = {"device_ids": ids} if ids else {"count": -1}
    return {"device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}
