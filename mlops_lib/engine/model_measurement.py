"""Measure a saved model again, without its script and without a network.

The program is the runner's `metrics.remeasure`. The host prepares the folder that it reads, which
is mounted read-only. Its only product is its output, of which the end is returned.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from mlops_lib.records import Limits

PROGRAM = "mlops_lib.runner.metrics.remeasure"
FOLDER = "/mlops/measure"
"""Mount point of the folder in a container."""
UNPRIVILEGED = "65534:65534"
TEMPORARY_BYTES = 1 << 30
OUTPUT_LIMIT = 1 << 20
LINES = 50
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONHASHSEED": "1",
    "MPLBACKEND": "Agg",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
}


def in_container(
    client: Any, tag: str, folder: str, *, limits: Limits, timeout_s: float, gpu: Mapping[str, Any]
) -> str:
    """Run the program in a caged container of an image; return the end of its output.

    Args:
        client: the Docker client.
        tag: the image.
        folder: the folder's path on the engine's machine.
        limits: the training's limits, except its network.
        timeout_s: seconds after which it is killed.
        gpu: the options that grant it the training's GPU, if it had one.
    """
    import requests
    from docker.types import Mount

    mount = (
        {"mem_limit": limits.memory_bytes, "memswap_limit": limits.memory_bytes}
        if limits.memory_bytes
        else {}
    )
    container = client.containers.create(
        tag,
        [FOLDER],
        entrypoint=["python", "-m", PROGRAM],
        network_mode="none",
        cap_drop=["ALL"],
        read_only=True,
        security_opt=["no-new-privileges"],
        user=UNPRIVILEGED,
        init=True,
        pids_limit=limits.pids or None,
        use_config_proxy=False,
        nano_cpus=int(limits.cpus * 1e9) if limits.cpus else None,
        tmpfs={"/tmp": f"rw,exec,nosuid,size={TEMPORARY_BYTES},mode=1777"},
        environment={**QUIET, "HOME": "/tmp"},
        mounts=[Mount(FOLDER, folder, type="bind", read_only=True)],
        **mount,
        **gpu,
    )
    try:
        container.start()
        try:
            container.wait(timeout=timeout_s)
        except requests.RequestException:
            container.kill()
        output: bytes = container.logs(stdout=True, stderr=False, tail=LINES)
    finally:
        container.remove(force=True)
    return output[-OUTPUT_LIMIT:].decode(errors="replace")


def in_process(command: Sequence[str], variables: Mapping[str, str], *, timeout_s: float) -> str:
    """Run the program as a process in an empty folder; return the end of its output.

    Args:
        command: the environment's Python with the program and its folder.
        variables: the complete environment of the process.
        timeout_s: seconds after which it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-measure-") as empty:
        environment = {**variables, **QUIET, "HOME": empty, "TMPDIR": empty}
        try:
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=empty,
                env=environment,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as late:
            return (late.stdout or b"")[-OUTPUT_LIMIT:].decode(errors="replace")
    return result.stdout[-OUTPUT_LIMIT:].decode(errors="replace")
