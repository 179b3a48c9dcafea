"""The cage around a training in a Docker container.

It runs as the caller (never as root: a caller who is root uses another user), without new
privileges or capabilities, with a read-only root, a `/tmp` in memory and resource limits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_lib.engine import logs
from mlops_lib.engine.ownership import Owner
from mlops_lib.errors import EngineError
from mlops_lib.records import Limits

UNPRIVILEGED = 65534
MEMORY_FILES_BYTES = 1 << 30
"""Size of `/tmp`, and of the shared memory that data loaders use.

Both count as memory of the container.
"""


def owner_of(project: Path, *, caller: tuple[int, int], rootless: bool = False) -> Owner:
    """Return a user for a container whose files its caller can read and remove.

    It is the caller. A caller who is root can read anything, so no process in the container needs
    to be root: it runs as the project's owner, or as the user nobody if that is root too. In a
    rootless engine the container's root is the caller.

    Args:
        project: the pushed project, which the owner must be able to read.
        caller: user and group of this process.
        rootless: whether the engine itself runs without privileges.

    Raises:
        EngineError: only root can read the project.
    """
    if rootless:
        return Owner(0, 0)
    if caller[0] != 0:
        return Owner(*caller)
    status = project.stat()
    # The project's owner can read it, whatever its permissions are.
    if status.st_uid != 0:
        return Owner(status.st_uid, status.st_gid)
    if status.st_mode & 0o005 != 0o005:
        raise EngineError(
            "only root can read the project, and no training runs as root",
            where=str(project),
            remedy=f"Run mlops as another user, or open the folder: chmod -R o+rX {project}",
        )
    return Owner(UNPRIVILEGED, UNPRIVILEGED)


def cage(limits: Limits) -> dict[str, Any]:
    """Return the options of a container that restrict its training."""
    from docker.types import LogConfig

    options: dict[str, Any] = {
        # The docker client hands the caller's proxy settings to the container. A stranger's code
        # may have them only if they hold no password.
        "use_config_proxy": proxies_are_public(),
        # An init process reaps children that a script leaves behind, and passes SIGTERM on: a
        # process with number 1 that installs no handler ignores it.
        "init": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        # Also for the honest script: what it writes outside of the mounted folders would be lost at
        # a restart, so it has to fail at once.
        "read_only": True,
        "network_mode": limits.network,
        # `exec`, because packages compile and load kernels there; `nosuid`, because nothing may
        # gain a user.
        "tmpfs": {"/tmp": f"rw,exec,nosuid,size={MEMORY_FILES_BYTES},mode=1777"},
        # Docker's 64 MiB break PyTorch's data loaders, which pass batches through shared memory.
        "shm_size": MEMORY_FILES_BYTES,
        "log_config": LogConfig(type="json-file", config=logs.ENGINE_LOG),
    }
    if limits.memory_bytes:
        # The same number for both means no swap: a training that swaps would look like one that
        # hangs.
        options.update(mem_limit=limits.memory_bytes, memswap_limit=limits.memory_bytes)
    if limits.cpus:
        options["nano_cpus"] = int(limits.cpus * 1e9)
    if limits.pids:
        options["pids_limit"] = limits.pids
    return options


def proxies_are_public() -> bool:
    """Return whether the docker command's proxy settings contain no password.

    Containers get these settings.
    """
    from docker.utils.config import load_general_config

    return "@" not in json.dumps(load_general_config().get("proxies") or {})
