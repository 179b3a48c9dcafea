"""Start the nodes of a Ray cluster for one search.

Its head runs here, and a node on each other machine. Both are child processes of this program and
end with it. A node needs Ray's token to join: a cluster without one runs the code of everybody who
reaches it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.errors import EngineError, UsageError
from mlops_lib.training import cancellation

HEAD = "head://"
"""Prefix of an address at which the head is to be started."""
START_S = 300.0
"""Seconds that a node has to start."""
SEARCH_S = 900.0
"""Seconds to wait for a head that has not started: its machine may have to build first."""
GONE_S = 10.0
"""Seconds after which a head that accepts no connection is gone."""
ATTEMPTS = 5
"""Times that a node is started that ends before its head."""
POLL_S = 1.0
END_S = 15.0
LOG_TAIL = 2000
RAY_COMMAND = """
import ctypes, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
from ray.scripts.scripts import main
sys.argv[0] = "ray"
main()
"""
"""Ray's command, which is ended when the thread that has started it is."""


def new_cluster() -> dict[str, str]:
    """Return the address and the token of a cluster whose head is not started yet."""
    host = _own_address()
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    return {"address": f"{host}:{port}", "token": secrets.token_hex(32)}


@contextlib.contextmanager
def head(address: str) -> Iterator[None]:
    """Run the head of a cluster at `address` (HOST:PORT) while the context is open.

    It runs no worker itself.

    Raises:
        UsageError: Ray has no token, or is not installed, or this is no address.
        EngineError: it does not start.
    """
    host, port = _split(address)
    _require_token()
    options = ["--head", f"--node-ip-address={host}", f"--port={port}", "--num-cpus=0"]
    # Ports that have a fixed default would meet those of another head on this machine.
    options += ["--include-dashboard=false", f"--ray-client-server-port={_free_port(host)}"]
    with _node(options) as node:
        _wait_for_start(node, address)
        yield


def join(address: str, *, stopped: cancellation.Stop) -> None:
    """Add this machine to the cluster at `address` (HOST:PORT) until its head stops.

    Raises:
        UsageError: Ray has no token, or is not installed, or this is no address.
        EngineError: no head appears, or this node fails.
        Interrupted: `stopped` was set.
    """
    _split(address)
    _require_token()
    deadline = time.monotonic() + SEARCH_S
    while not _accepts(address):
        if time.monotonic() > deadline:
            raise EngineError(
                "no search has started a Ray head",
                where=address,
                remedy=f"Start it there with `--on {HEAD}{address}`.",
            )
        _pause(stopped)
    # A head that has just started accepts connections before it accepts nodes.
    for attempt in range(1, ATTEMPTS + 1):
        with _node([f"--address={address}"]) as node:
            if _outlives(node, address, stopped=stopped):
                return
            if attempt == ATTEMPTS:
                raise _failed(node, address)


def _outlives(node: _Node, address: str, *, stopped: cancellation.Stop) -> bool:
    """Wait for the end of the head or of the node; return whether it was the head's."""
    last_seen = time.monotonic()
    while time.monotonic() - last_seen < GONE_S:
        if _accepts(address):
            last_seen = time.monotonic()
            if node.process.poll() is not None:
                return False
        _pause(stopped)
    return True


class _Node:
    """A Ray node in processes of this program's."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log


@contextlib.contextmanager
def _node(options: list[str]) -> Iterator[_Node]:
    """Run `ray start` while the context is open."""
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UsageError(
            "Ray is not installed", where="on", remedy="pip install 'mlops_lib[ray]'"
        ) from None
    with tempfile.TemporaryDirectory(prefix="mlops-ray-") as folder:
        log = Path(folder) / "output.txt"
        # `--block`: it ends the processes of its node when it is ended itself.
        command = [sys.executable, "-c", RAY_COMMAND, "start", "--block", *options]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield _Node(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_start(node: _Node, address: str) -> None:
    deadline = time.monotonic() + START_S
    # Ray prints this once all of the head's processes run.
    while b"Ray runtime started" not in node.log.read_bytes():
        if node.process.poll() is not None or time.monotonic() > deadline:
            raise _failed(node, address)
        time.sleep(0.1)


def _failed(node: _Node, address: str) -> EngineError:
    with atomic.open_regular(node.log) as stream:
        output = stream.read().decode(errors="replace").strip()
    return EngineError(
        f"Ray does not run: {output[-LOG_TAIL:] or 'it printed nothing'}",
        where=address,
        remedy="See that all machines have the same version of Ray and the same token.",
    )


def _require_token() -> None:
    """Turn Ray's token on in this process and its children.

    Raises:
        UsageError: there is no token.
    """
    # Before Ray is imported, which reads it once.
    os.environ["RAY_AUTH_MODE"] = "token"
    places = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if (
        any(os.environ.get(name) for name in places)
        or Path("~/.ray/auth_token").expanduser().exists()
    ):
        return
    raise UsageError(
        "the Ray cluster has no token, so everybody who reaches it could run code on it",
        where="RAY_AUTH_TOKEN",
        remedy="Run `ray get-auth-token --generate`, and copy ~/.ray/auth_token to all machines.",
    )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise UsageError(
            f"{address!r} is no address",
            where="on",
            remedy="Give HOST:PORT, such as 10.0.0.5:6379.",
        )
    return host, int(port)


def _accepts(address: str) -> bool:
    """Return whether something accepts connections at the address."""
    try:
        socket.create_connection(_split(address), timeout=5.0).close()
    except OSError:
        return False
    return True


def _own_address() -> str:
    """Return the address of this machine from which others are reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            # Nothing is sent: it is only asked which way a packet would take (RFC 5737).
            route.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(route.getsockname()[0])


def _free_port(host: str) -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])


def _pause(stopped: cancellation.Stop) -> None:
    if stopped.wait(POLL_S):
        raise cancellation.Interrupted
