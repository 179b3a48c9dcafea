"""Relay the calls of a search's workers on another machine to its chief.

On its own machine the chief listens at a Unix socket in the run directory, nowhere else. A worker
elsewhere finds a socket at the same place of its own directory: that of a relay, which queues its
calls as bytes. Another program carries them to the chief's machine, makes them there, and carries
the answers back. Worker and chief authenticate each other through the relay, which does not know
their token.
"""

from __future__ import annotations

import itertools
import os
import queue
import stat
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib.runner import protocol

CALL_TIMEOUT_S = 10.0
THREADS = 4
"""A worker makes two calls at once at most."""
LARGEST_BYTES = 64 << 20
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_BYTES),
    ("grpc.max_send_message_length", LARGEST_BYTES),
    ("grpc.enable_http_proxy", 0),
)
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Call:
    """One call of a worker."""

    number: int
    method: str
    metadata: Metadata
    request: bytes


@dataclass(frozen=True)
class Answer:
    """The answer to a call; `code` is the name of a gRPC status."""

    code: str
    details: str = ""
    metadata: Metadata = ()
    response: bytes = b""


class CallQueue:
    """The calls of one worker that wait for their answers.

    Args:
        machine: name of the worker's machine, which the chief shows to people.
    """

    def __init__(self, machine: str = "") -> None:
        self._machine = machine
        self._waiting: queue.Queue[Call] = queue.Queue()
        self._answers: dict[int, futures.Future[Answer]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def take(self, *, timeout_s: float) -> list[Call]:
        """Return the calls that have arrived; wait for the first one.

        Args:
            timeout_s: the longest wait.
        """
        calls = []
        try:
            calls.append(self._waiting.get(timeout=timeout_s))
            while True:
                calls.append(self._waiting.get_nowait())
        except queue.Empty:
            return calls

    def answer(self, number: int, answer: Answer) -> None:
        """Give a call its answer; ignored if the caller no longer waits."""
        with self._lock:
            pending = self._answers.pop(number, None)
        if pending is not None:
            pending.set_result(answer)

    def relay(self, method: str, request: bytes, context: Any) -> bytes:
        """Queue a call and wait for its answer; runs in a thread of the gRPC server."""
        import grpc

        pending: futures.Future[Answer] = futures.Future()
        metadata = tuple(
            (str(key), str(value))
            for key, value in context.invocation_metadata()
            if key.startswith(protocol.METADATA_PREFIX) and key != protocol.METADATA_MACHINE
        )
        machine = (protocol.METADATA_MACHINE, self._machine)
        with self._lock:
            number = next(self._numbers)
            self._answers[number] = pending
        self._waiting.put(Call(number, method, (*metadata, machine), request))
        try:
            answer = pending.result(timeout=CALL_TIMEOUT_S)
        except futures.TimeoutError:
            with self._lock:
                self._answers.pop(number, None)
            answer = Answer("UNAVAILABLE", "the search's machine does not answer")
        context.send_initial_metadata(answer.metadata)
        if answer.code != "OK":
            context.abort(getattr(grpc.StatusCode, answer.code), answer.details)
        return answer.response


@contextmanager
def serving(folder: Path, calls: CallQueue) -> Iterator[None]:
    """Listen at the chief's place in `folder` while the context is open."""
    import grpc

    class AnyMethod(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            def relay(request: bytes, context: Any) -> bytes:
                return calls.relay(details.method, request, context)

            return grpc.unary_unary_rpc_method_handler(relay)

    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS, thread_name_prefix="mlops-relay"),
        handlers=[AnyMethod()],
        options=OPTIONS,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / protocol.CHIEF_SOCKET).unlink(missing_ok=True)
    # The path of a socket may have 107 characters at most, a run directory's more.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        server.add_insecure_port(f"unix:/proc/self/fd/{descriptor}/{protocol.CHIEF_SOCKET}")
        # A container may have another user; the folder above is closed to others.
        (folder / protocol.CHIEF_SOCKET).chmod(0o666)
        server.start()
        yield
    finally:
        server.stop(grace=1.0).wait()
        os.close(descriptor)


class ChiefCaller:
    """Makes calls at the chief's socket of a run on this machine.

    Args:
        run_dir: the run's directory. Its chief's container can write to `inside/`, so what lies at
            the socket's place is trusted as little as any file there.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._channel: Any = None
        self._socket = -1
        self._identity = (0, 0)

    def call(self, call: Call) -> Answer:
        """Make one call; UNAVAILABLE if no chief answers at present."""
        import grpc

        if not call.method.startswith(protocol.ORACLE_SERVICE):
            return Answer("UNIMPLEMENTED", "the chief has no such method")
        try:
            self._connect()
        except OSError as error:
            return Answer("UNAVAILABLE", f"the chief has no socket: {error.strerror or error}")
        try:
            response, rpc = self._channel.unary_unary(call.method).with_call(
                call.request, metadata=call.metadata, timeout=CALL_TIMEOUT_S
            )
        except grpc.RpcError as error:
            return Answer(error.code().name, str(error.details()))
        metadata = tuple(
            (str(key), str(value))
            for key, value in rpc.initial_metadata()
            if key.startswith(protocol.METADATA_PREFIX)
        )
        return Answer("OK", "", metadata, response)

    def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            self._channel.close()
            os.close(self._socket)
            self._channel = None
            self._socket = -1

    def _connect(self) -> None:
        """Connect to the present socket; a chief that was restarted has another one.

        Raises:
            OSError: there is none, or something else is in its place.
        """
        import grpc

        socket = _open_socket(self._run_dir)
        status = os.fstat(socket)
        identity = (status.st_dev, status.st_ino)
        if self._channel is not None and identity == self._identity:
            os.close(socket)
            return
        self.close()
        self._socket = socket
        self._identity = identity
        # By its descriptor: a script that replaces the name by a link to another program's socket
        # (the engine's, for one) leads nowhere.
        self._channel = grpc.insecure_channel(f"unix:/proc/self/fd/{socket}", options=OPTIONS)


def _open_socket(run_dir: Path) -> int:
    """Return a descriptor of the chief's socket; no link is followed.

    Raises:
        OSError: there is no socket.
    """
    folder = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in (protocol.INSIDE, protocol.SEARCH):
            deeper = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
            )
            os.close(folder)
            folder = deeper
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        socket = os.open(protocol.CHIEF_SOCKET, flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISSOCK(os.fstat(socket).st_mode):
        os.close(socket)
        raise OSError("something else is in its place")
    return socket
