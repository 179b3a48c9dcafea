"""The engine interface: what Docker and the process engine have in common.

An engine builds images, starts the runner in them and reports when a container ends. A *container*
is a Docker container or, for the process engine, a supervised process with the same labels and the
same life cycle. Code above this package never depends on which of the two it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mlops_lib.engine.image_store import StoredImage
from mlops_lib.engine.import_check import Missing
from mlops_lib.records import Image, Limits, Mount, Record

LABEL_RUN = "org.mlops-lib.run"
"""Label that holds a run's digest."""
LABEL_RUN_DIR = "org.mlops-lib.run-dir"
"""Label that holds the run directory's path on the host."""
LABEL_ATTEMPT = "org.mlops-lib.attempt"
"""Label that counts the starts of this run, from 1."""


@dataclass(frozen=True, kw_only=True)
class Launch(Record):
    """The parameters of one start of the runner."""

    image: Image
    project: str
    """Host path of the pushed project, mounted read-only."""
    inside: str
    """Host path of the run directory's `inside/`, the only folder mounted writable."""
    entry: str
    shared: str = ""
    """Host path of `inside/` of the run that this worker belongs to, mounted writable.

    Or "".
    """
    args: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    """Further data, mounted read-only."""
    caches: str = ""
    """Host folder that becomes the script's home, with library downloads (`~/.keras` …).

    Or "".

    It is private to one project at one trust level: a script can leave code in it that libraries
    execute when they load their cache again.
    """
    limits: Limits = Limits()
    gpu: str = ""
    """Id of the only GPU that is visible if `limits` grants GPUs.

    "" makes all of them visible.
    """
    labels: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    """Host path of the file to which the script's stdout and stderr are appended."""


@dataclass(frozen=True, kw_only=True)
class Container(Record):
    """The state of one container."""

    id: str
    labels: Mapping[str, str]
    state: Literal["running", "exited", "gone"]
    exit_code: int | None = None
    out_of_memory: bool = False
    asked_to_end: bool = False
    """Whether it ended after a stop request to the engine (`docker stop`).

    False after a plain SIGKILL. Only `wait` fills this in.
    """
    paused: bool = False
    started: float = 0.0
    """Unix time in seconds."""
    ended: float | None = None


@dataclass(frozen=True, kw_only=True)
class Activity(Record):
    """Resources that a container has used since its start.

    A growing counter is a sign of life even if the script reports no progress.
    """

    cpu_s: float
    """CPU time of all its processes, in seconds."""
    io_bytes: int
    """Bytes read and written; includes network traffic if the engine counts it."""
    memory_bytes: int
    """Memory in use now."""


class Engine(Protocol):
    """Interface of an engine.

    Every method raises `EngineLostError` if the engine does not answer.
    """

    name: Literal["docker", "process"]

    def check(self) -> str:
        """Return the engine's name and version.

        Raises:
            EngineLostError: the engine does not answer; the remedy is how to start it.
        """

    def has(self, image: Image) -> bool:
        """Return whether the image is already built on this machine."""

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """Build the image unless it exists.

        `on_line` receives each line of the build's output.

        Raises:
            ImageError: the build failed; the error carries the end of its log.
        """

    def missing(self, image: Image, imports: Collection[str]) -> list[Missing]:
        """Return those of the third-party `imports` that the built image cannot import.

        No code of the project runs.
        """

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        """Run the runner's `metrics.remeasure` on a host folder.

        Return the end of its output.

        The process has neither the project nor a run directory nor a network, and the folder is
        read-only, as far as the engine can enforce that. It is killed after `timeout_s`.
        """

    def name_of(self, image: Image) -> str:
        """Return the name that `images` lists this image under."""

    def images(self) -> list[StoredImage]:
        """Return the images or environments made by this package, largest first."""

    def remove_images(self, images: Iterable[StoredImage]) -> list[StoredImage]:
        """Remove images except those that a container needs; return the removed ones."""

    def gpus(self) -> bool:
        """Return whether containers can be granted a GPU on this machine."""

    def start(self, launch: Launch) -> Container:
        """Start the runner in a container and return at once."""

    def get(self, container_id: str) -> Container:
        """Return the container's current state; "gone" if the engine does not know it."""

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """Return the running and ended containers that carry all these labels."""

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Block until the container has ended or `timeout_s` is over.

        Return its state then.

        Returns within milliseconds of the container's end: implementations listen instead of
        polling. All output of an ended container is in its log file by then.
        """

    def activity(self, container_id: str) -> Activity | None:
        """Return the resources used so far, or None if the container does not run."""

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL after the grace period; do nothing if it has ended."""

    def kill(self, container_id: str) -> None:
        """Send SIGKILL; do nothing if it has ended."""

    def remove(self, container_id: str) -> None:
        """Remove an ended container; its log file stays."""
