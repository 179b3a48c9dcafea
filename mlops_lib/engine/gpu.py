"""Whether a training can be given a GPU, and how it is asked for."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from typing import Any, Literal

DRIVER_S = 20.0
CDI_ALL = "nvidia.com/gpu=all"
"""The Container Device Interface's name of all GPUs of a machine (NVIDIA Container Toolkit's documentation)."""


def driver() -> bool:
    """Whether NVIDIA's driver answers on this machine."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=DRIVER_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout


def offered(info: Mapping[str, Any]) -> Literal["", "nvidia", "cdi"]:
    """How an engine offers GPUs, by its `info`: through NVIDIA's runtime, by CDI, or not at all."""
    if "nvidia" in (info.get("Runtimes") or {}):
        return "nvidia"
    devices = info.get("DiscoveredDevices") or ()
    return "cdi" if any(str(device.get("ID", "")).startswith("nvidia.com/gpu") for device in devices) else ""


def request(offer: Literal["", "nvidia", "cdi"]) -> dict[str, Any]:
    """The options that give a container all GPUs, in Docker's terms; none where none are offered."""
    from docker.types import DeviceRequest

    if not offer:
        return {}
    if offer == "cdi":
        return {"device_requests": [DeviceRequest(driver="cdi", device_ids=[CDI_ALL])]}
    return {"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]}
