"""Detection of GPUs, and the options that grant them to a training."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any, Literal

from mlops_lib.engine import programs

DRIVER_S = 20.0
CDI = "nvidia.com/gpu={}"
"""Name of a GPU, or of "all" of a machine, in the Container Device Interface.

Source: documentation of the NVIDIA Container Toolkit.
"""


def driver() -> bool:
    """Return whether NVIDIA's driver answers on this machine."""
    return bool(_indices())


def _indices() -> list[str]:
    """Return the indices of this machine's GPUs, as NVIDIA's driver reports them."""
    program = programs.find("nvidia-smi")
    if program is None:
        return []
    try:
        result = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False, timeout=DRIVER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", result.stdout, re.MULTILINE) if result.returncode == 0 else []


def cuda_version() -> str:
    """Return the newest CUDA release that the driver supports, such as "12.6"; else ""."""
    program = programs.find("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run(
            [program], capture_output=True, text=True, check=False, timeout=DRIVER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"CUDA Version:\s*(\d+\.\d+)", result.stdout)
    return match[1] if match and result.returncode == 0 else ""


def _visible(visible: str | None) -> list[str]:
    return [part.strip() for part in (visible or "").split(",") if part.strip()]


def for_worker(number: int, visible: str | None = None) -> str:
    """Return the GPU of one of several workers, assigned in turn.

    It is "" if there are fewer than two GPUs.

    Args:
        number: the worker's number, from 0.
        visible: the caller's `CUDA_VISIBLE_DEVICES`; None stands for all GPUs of the machine.
    """
    devices = _indices() if visible is None else _visible(visible)
    return devices[number % len(devices)] if len(devices) > 1 else ""


def offered(info: Mapping[str, Any]) -> Literal["", "nvidia", "cdi"]:
    """Return how an engine offers GPUs by its `info`: NVIDIA's runtime, CDI, or ""."""
    if "nvidia" in (info.get("Runtimes") or {}):
        return "nvidia"
    devices = info.get("DiscoveredDevices") or ()
    return (
        "cdi"
        if any(str(device.get("ID", "")).startswith("nvidia.com/gpu") for device in devices)
        else ""
    )


def request(offer: Literal["", "nvidia", "cdi"], visible: str | None = None) -> dict[str, Any]:
    """Return Docker's options that grant a container GPUs.

    They are empty if the engine offers none.

    Args:
        offer: how the engine offers them.
        visible: the caller's `CUDA_VISIBLE_DEVICES`: a scheduler (Ray, Slurm) may have assigned
            only some of the GPUs to it. None stands for all.
    """
    from docker.types import DeviceRequest

    if not offer:
        return {}
    ids = _visible(visible)
    if visible is not None and (not ids or "-1" in ids):
        return {}
    if offer == "cdi":
        return {
            "device_requests": [
                DeviceRequest(
                    driver="cdi", device_ids=[CDI.format(part) for part in ids or ["all"]]
                )
            ]
        }
    which = {"device_ids": ids} if ids else {"count": -1}
    return {"device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}
