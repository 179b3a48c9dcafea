"""The supervisor of one process container: runs the runner and records its end.

A restart waits for this program to start, so it imports little of the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mlops_lib import atomic, file_lock

PR_SET_PDEATHSIG = 1
KILLED = 128 + signal.SIGKILL
BOUND_S = 1.0
"""Interval in seconds between checks of the output's size."""
ALIVE = "alive"
"""File whose lock the supervisor holds for as long as it lives."""


def born(pid: int) -> str | None:
    """Return boot and tick at which a process started, to detect reused ids."""
    fields = stat(pid)
    if len(fields) > 19:
        return None if fields[0] == "Z" else f"{boot()} {fields[19]}"
    if Path("/proc/self/stat").exists():
        return None
    ps = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return ps.stdout.strip() or None


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from field 3 on.

    The command's name before them may contain any character.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def boot() -> str:
    """Return the id of the machine's current boot; "" if it has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def supervise(folder: Path, order: dict[str, Any]) -> None:
    """Run the request in `container.json`."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    supervisor = os.getpid()

    def before_exec() -> None:
        # A supervisor that is killed takes its script along: two attempts must never train at once.
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:  # it was killed before that was set
                os._exit(KILLED)

    killed_before = _out_of_memory_kills()
    with Path(order["log"]).open("ab") as log:
        threading.Thread(target=_bound, args=(order["log"], log.tell()), daemon=True).start()
        child = subprocess.Popen(
            order["command"],
            env=order["variables"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before_exec,
        )
    atomic.write_json(folder / "child.json", {"pid": child.pid, "born": born(child.pid)})
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child.pid, signal.SIGTERM))
    code = child.wait()
    ended = time.time()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left running
    out_of_memory = code == -signal.SIGKILL and _out_of_memory_kills() > killed_before
    state = {
        "exit_code": code if code >= 0 else 128 - code,
        "ended": ended,
        "out_of_memory": out_of_memory,
    }
    atomic.write_json(folder / "state.json", state)


def _bound(path: str, begin: int) -> None:
    """Keep only beginning and end of endless output, which would fill the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    while True:
        atomic.keep_ends(descriptor, begin=begin, head=atomic.LOG_HEAD, tail=atomic.LOG_TAIL)
        time.sleep(BOUND_S)


def _out_of_memory_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory since boot."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def main(folder: Path) -> None:
    """Claim the container, and supervise it in a detached process.

    The calling process returns when the supervisor has recorded its identity. It returns at once if
    the container was removed before.
    """
    try:
        # The fork below inherits the descriptor, so the lock is held until the supervisor has ended.
        file_lock.acquire(file_lock.open_file(folder / ALIVE))
        order = json.loads((folder / "container.json").read_text())
    except FileNotFoundError:
        return
    ready, written = os.pipe()
    if os.fork():
        os.close(written)
        os.read(ready, 1)
        return
    os.close(ready)
    atomic.write_json(folder / "supervisor.json", {"pid": os.getpid()})
    os.close(written)
    supervise(folder, order)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
