"""Wait until the container is connected to its real network.

An engine may start a container in a network without a way out and connect it to another one later.
"""

import os
import socket
import struct
import time

VARIABLE = "MLOPS_CLOSED_GATEWAY"
"""The gateway of the closed network; the engine sets it if another network follows."""
WAIT_S = 60.0
POLL_S = 0.02
ROUTES = "/proc/net/route"


def wait(timeout_s: float = WAIT_S) -> None:
    """Return once there is a route by another gateway, or after `timeout_s`.

    A script may need no network.
    """
    # The script has no use for the variable, and its children must not inherit it.
    closed = os.environ.pop(VARIABLE, None)
    if closed is None:
        return
    deadline = time.monotonic() + timeout_s
    while not _leads_out(closed) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _leads_out(closed: str) -> bool:
    try:
        with open(ROUTES) as stream:
            rows = [line.split() for line in stream][1:]
    except OSError:
        return True
    gateways = [row[2] for row in rows if len(row) > 2 and row[1] == "00000000"]
    # The kernel stores the gateway as a hexadecimal number in host byte order.
    return any(
        socket.inet_ntoa(struct.pack("=I", int(gateway, 16))) not in (closed, "0.0.0.0")
        for gateway in gateways
    )
