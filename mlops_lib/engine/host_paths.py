"""Where the caller's folders lie on the engine's machine.

A caller that runs in a container itself and drives the engine by its socket (a Jenkins agent,
usually) sees other paths than the engine does, and the engine resolves the sources of mounts on its
own machine. The engine knows what the caller's container has mounted from where, so the translation
needs no setting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mlops_lib.errors import EngineError

_OWN_FILES = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"}
_CONTAINER = re.compile(r"containers/([0-9a-f]{64})/")


def own_container(mountinfo: str) -> str | None:
    """The id of the container this program runs in, None outside of one.

    Engines mount a file of their own folder for the container over /etc/hostname; its path holds
    the id (also with cgroup namespaces, where /proc/self/cgroup shows none).

    Args:
        mountinfo: contents of /proc/self/mountinfo.
    """
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _OWN_FILES:
            found = _CONTAINER.search(fields[3])
            if found:
                return found[1]
    return None


def mountinfo() -> str:
    """This process's mounts, "" on systems that do not tell."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def translate(path: str, mounts: Sequence[tuple[str, str]]) -> str:
    """A path of this container as the engine's machine has it.

    Args:
        path: an absolute path in this container.
        mounts: what is mounted in this container: (folder in here, folder on the engine's machine).

    Raises:
        EngineError: the path lies in no mount, so the engine cannot see it.
    """
    real = PurePosixPath(Path(path).resolve())
    for target, source in sorted(mounts, key=lambda mount: len(mount[0]), reverse=True):
        if real.is_relative_to(target):
            return str(PurePosixPath(source) / real.relative_to(target))
    raise EngineError(
        "the engine cannot see this folder: it is in this container only",
        where=path,
        remedy="Mount it into this container from the engine's machine (such as -v /srv/mlops:/srv/mlops) and set "
        "MLOPS_HOME to a folder in it, or use --backend process.",
    )
