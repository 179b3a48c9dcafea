"""Translation of paths to those of the engine's machine.

A caller may run in a container itself and drive the engine through its socket, as Jenkins agents
usually do. Then its paths differ from the engine's, which resolves the sources of mounts on its own
machine. The engine knows the mounts of the caller's container, so the translation needs no setting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mlops_lib.errors import EngineError

_OWN_FILES = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}
_CONTAINER = re.compile(r"containers/([0-9a-f]{64})/")


def own_container(mountinfo: str) -> str | None:
    """Return the id of the container that this program runs in, or None.

    Engines mount a file of their own folder for the container over /etc/hostname. Its path contains
    the id, also with cgroup namespaces, under which /proc/self/cgroup shows none.

    Args:
        mountinfo: contents of /proc/self/mountinfo.
    """
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _OWN_FILES:
            match = _CONTAINER.search(fields[3])
            if match:
                return match[1]
    return None


def mountinfo() -> str:
    """Return this process's mount table; "" on systems that have none."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def translate(path: str, mounts: Sequence[tuple[str, str]]) -> str:
    """Return the path on the engine's machine of a path in this container.

    Args:
        path: an absolute path in this container.
        mounts: this container's mounts: (folder in it, folder on the engine's machine).

    Raises:
        EngineError: no mount contains the path, so the engine cannot see it.
    """
    real = PurePosixPath(Path(path).resolve())
    for target, source in sorted(mounts, key=lambda mount: len(mount[0]), reverse=True):
        if real.is_relative_to(target):
            return str(PurePosixPath(source) / real.relative_to(target))
    raise EngineError(
        "the engine cannot see this folder: it is in this container only",
        where=path,
        remedy="Mount it into this container from the engine's machine (such as -v"
        " /srv/mlops:/srv/mlops) and set "
        "MLOPS_HOME to a folder in it, or use --backend process.",
    )
