"""Parts to test an extension of mlops with: an engine without images, a receiver for a channel.

`FakeEngine` passes the contract tests that Docker and the process engine pass
(`tests/contract/test_engines.py`), so what works with it works with an engine. `Receiver` is a real
HTTP server on this machine's loopback address that keeps what it was sent.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mlops_lib.engine import Activity, Container, Launch, model_measurement
from mlops_lib.engine.image_store import StoredImage
from mlops_lib.engine.import_check import Missing
from mlops_lib.environments import images
from mlops_lib.records import Image, Limits

PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""Variables of the caller that a training sees."""


@dataclass
class _Child:
    """One started runner: its process, and what was asked of it."""

    launch: Launch
    process: subprocess.Popen[bytes]
    started: float
    ended: float | None = None
    asked_to_end: bool = False


@dataclass
class FakeEngine:
    """Run trainings as child processes with this interpreter's packages.

    It builds nothing and supervises nothing: when the program ends, so do its trainings. Every
    environment counts as built once `build` was called for it, and an import is missing if this
    interpreter lacks it.

    Example:
        >>> from mlops_lib.environments import images
        >>> from mlops_lib.records import Environment
        >>> engine = FakeEngine()
        >>> image = images.plan(Environment(name="python", framework="none", family="none"))
        >>> engine.has(image)
        False
        >>> engine.build(image, on_line=print)
        >>> engine.has(image)
        True
    """

    name: Literal["docker", "process"] = "process"
    built: set[str] = field(default_factory=set)
    """Tags of the images that `build` was called for."""
    _children: dict[str, _Child] = field(default_factory=dict)

    def check(self) -> str:
        """Return the engine's name and version."""
        return f"fake engine, Python {sys.version.split()[0]}"

    def has(self, image: Image) -> bool:
        """Return whether `build` was called for the image."""
        return image.tag in self.built

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """Count the image as built; nothing is installed."""
        self.built.add(image.tag)

    def missing(self, image: Image, imports: Collection[str]) -> list[Missing]:
        """Return the imports that this interpreter does not find."""
        return [
            Missing(name=name, error="ModuleNotFoundError", module=name)
            for name in imports
            if find_spec(name) is None
        ]

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        """Measure a saved model in a process of its own; return the end of its output."""
        command = [sys.executable, "-m", model_measurement.PROGRAM, folder]
        return model_measurement.in_process(command, self._variables(), timeout_s=timeout_s)

    def name_of(self, image: Image) -> str:
        """Return the image's tag."""
        return image.tag

    def images(self) -> list[StoredImage]:
        """Return nothing: no image takes space here."""
        return []

    def remove_images(self, images: Iterable[StoredImage]) -> list[StoredImage]:
        """Remove nothing."""
        return []

    def gpus(self) -> bool:
        """Return False: trainings see no GPU."""
        return False

    def start(self, launch: Launch) -> Container:
        """Start the runner and return at once."""
        Path(launch.inside).mkdir(parents=True, exist_ok=True)
        variables = {
            **self._variables(),
            "PYTHONHASHSEED": "1",
            "PYTHONUNBUFFERED": "1",
            "MPLBACKEND": "Agg",
            "CUDA_VISIBLE_DEVICES": "-1",
            **launch.image.environment.variables,
            **launch.variables,
            "MLOPS_PROJECT": launch.project,
            "MLOPS_INSIDE": launch.inside,
            **({"MLOPS_SHARED": launch.shared} if launch.shared else {}),
        }
        command = [sys.executable, "-m", "mlops_lib.runner", launch.entry, *launch.args]
        with Path(launch.log or os.devnull).open("ab") as log:
            process = subprocess.Popen(
                command, env=variables, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        identity = uuid.uuid4().hex
        self._children[identity] = _Child(launch, process, time.time())
        return self.get(identity)

    def get(self, container_id: str) -> Container:
        """Return the container as it is now."""
        child = self._children.get(container_id)
        if child is None:
            return Container(id=container_id, labels={}, state="gone")
        code = child.process.poll()
        if code is not None and child.ended is None:
            child.ended = time.time()
        return Container(
            id=container_id,
            labels=child.launch.labels,
            state="running" if code is None else "exited",
            exit_code=code if code is None or code >= 0 else 128 - code,
            asked_to_end=child.asked_to_end,
            paused=code is None and _state(child.process.pid) == "T",
            started=child.started,
            ended=child.ended,
        )

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the containers that carry all these labels."""
        return [
            self.get(identity)
            for identity, child in self._children.items()
            if labels.items() <= child.launch.labels.items()
        ]

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Block until the container has ended, or the time is over."""
        child = self._children.get(container_id)
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=timeout_s)
        return self.get(container_id)

    def activity(self, container_id: str) -> Activity | None:
        """Return what the container has used so far, None if it does not run."""
        child = self._children.get(container_id)
        if child is None or child.process.poll() is not None:
            return None
        try:
            fields = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        # Fields 14 and 15 of proc(5), counted from the third: user and system time in ticks.
        ticks = int(fields[11]) + int(fields[12])
        return Activity(
            cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
            io_bytes=0,
            memory_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        )

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """Send SIGTERM to the container, and SIGKILL after the grace period."""
        child = self._children.get(container_id)
        if child is None or child.process.poll() is not None:
            return
        child.asked_to_end = True
        child.process.terminate()
        try:
            child.process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self.kill(container_id)

    def kill(self, container_id: str) -> None:
        """Send SIGKILL to the container and all that it started."""
        child = self._children.get(container_id)
        if child is not None and child.process.poll() is None:
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def remove(self, container_id: str) -> None:
        """Forget an ended container. Its log stays."""
        self._children.pop(container_id, None)

    def _variables(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        return {**passed, "PYTHONPATH": _runner_folder().name}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@functools.cache
def _runner_folder() -> tempfile.TemporaryDirectory[str]:
    """Copy the runner alone, as an image has it: a training cannot import the host's part."""
    folder = tempfile.TemporaryDirectory(prefix="mlops-runner-")
    images.copy_runner(Path(folder.name))
    return folder


@dataclass(frozen=True)
class Request:
    """One HTTP request that a `Receiver` got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """An HTTP server on the loopback address that keeps what it is sent.

    Args:
        status: the status code of every answer; set it between requests to test retries.

    Example:
        >>> import urllib.request
        >>> with receiver() as server:
        ...     _ = urllib.request.urlopen(f"{server.url}/hook", data=b"hello")
        ...     server.requests[0].path, server.requests[0].body
        ('/hook', b'hello')
    """

    def __init__(self, *, status: int = 200) -> None:
        self.status = status
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop the server and free its port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            receiver.requests.append(Request("POST", self.path, dict(self.headers), body))
            self.send_response(receiver.status)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def receiver(*, status: int = 200) -> Iterator[Receiver]:
    """Run a `Receiver` for the length of a `with` block."""
    server = Receiver(status=status)
    try:
        yield server
    finally:
        server.close()
