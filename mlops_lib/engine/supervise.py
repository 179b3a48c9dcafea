"""The supervisor of one process container: starts the runner, waits for it, writes down how it ended."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mlops_lib import durable
from mlops_lib.engine.process import born

PR_SET_PDEATHSIG = 1


def main(folder: Path) -> None:
    """Run what `container.json` orders."""
    order = json.loads((folder / "container.json").read_text())
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def before_exec() -> None:
        # A supervisor that is killed takes its script along: two attempts must never train at once.
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    with Path(order["log"]).open("ab") as log:
        child = subprocess.Popen(
            order["command"],
            env=order["variables"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before_exec,
        )
    durable.write_json(folder / "child.json", {"pid": child.pid, "born": born(child.pid)})
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(child.pid, signal.SIGTERM))
    code = child.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left running
    durable.write_json(folder / "state.json", {"exit_code": code if code >= 0 else 128 - code, "ended": time.time()})


def detach(folder: Path) -> None:
    """Go on as a process that belongs to nobody; the first one ends when that is written down."""
    pid = os.fork()
    if pid:
        durable.write_json(folder / "supervisor.json", {"pid": pid, "born": born(pid)})
        return
    main(folder)


if __name__ == "__main__":
    detach(Path(sys.argv[1]))
