"""Waiting for the network: a container starts in one that leads nowhere, and is connected once that
is closed.
"""

import os
import socket
import struct
import time

VARIABLE = "MLOPS_CLOSED_GATEWAY"
"""The gateway of the network that leads nowhere; the engine sets it if another one follows."""
WAIT_S = 60.0
LOOK_S = 0.02
ROUTES = "/proc/net/route"


def wait(timeout_s: float = WAIT_S) -> None:
    """Return once there is a way out by another gateway, or after a while: a script may need none."""
    closed = os.environ.pop(VARIABLE, None)
    if closed is None:
        return
    deadline = time.monotonic() + timeout_s
    while not _leads_out(closed) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def _leads_out(closed: str) -> bool:
    try:
        with open(ROUTES) as stream:
            rows = [line.split() for line in stream][1:]
    except OSError:
        return True
    gateways = [row[2] for row in rows if len(row) > 2 and row[1] == "00000000"]
    return any(
        socket.inet_ntoa(struct.pack("=I", int(one, 16))) not in (closed, "0.0.0.0")
        for one in gateways
    )
