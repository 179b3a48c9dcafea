"""Where trainings run: the one small interface that everything outside asks of Docker, or of plain
processes.

An engine makes an image real, starts the runner in it, and says when a container ended. A
*container* is a Docker container or, for the process engine, a supervised process with the same
labels and the same life. Nothing above this package knows which of the two it is talking to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mlops_lib.engine.image_store import Stored
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
    """One start of the runner."""

    image: Image
    project: str
    """Host path of the pushed project, mounted read-only."""
    inside: str
    """Host path of the run directory's `inside/`, the only folder mounted writable."""
    entry: str
    shared: str = ""
    """Host path of the `inside/` of the run that this is a worker of, mounted writable too; "" for
    none.
    """
    publish: str = ""
    """ADDRESS:PORT of the host at which the container can be reached, at the same port; "" for
    nowhere.
    """
    args: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    """Further read-only data."""
    caches: str = ""
    """Host folder that is the script's home, with what libraries download (`~/.keras` …); "" for
    none.

    It is one project's, at one trust level: a script can write code into it that libraries run when
    they load it again.
    """
    limits: Limits = Limits()
    gpu: str = ""
    """The only GPU of the machine that it is to see, where it is given any; "" for all of them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    """Host path of the file that receives the script's output (stdout and stderr together),
    appended.
    """


@dataclass(frozen=True, kw_only=True)
class Container(Record):
    """What the engine knows of one container."""

    id: str
    labels: Mapping[str, str]
    state: Literal["running", "exited", "gone"]
    exit_code: int | None = None
    out_of_memory: bool = False
    asked_to_end: bool = False
    """Ended because somebody asked the engine to stop it (`docker stop`); a SIGKILL asks nothing.
    Told by `wait`.
    """
    paused: bool = False
    started: float = 0.0
    """Unix time in seconds."""
    ended: float | None = None


@dataclass(frozen=True, kw_only=True)
class Activity(Record):
    """What a container has used since it started; what grows shows that it lives, even without
    progress.
    """

    cpu_s: float
    """Processor time of all its processes, in seconds."""
    io_bytes: int
    """Bytes read and written, the network's included where the engine counts them."""
    memory_bytes: int
    """What it holds in memory now."""


class Engine(Protocol):
    """What may be asked of an engine.

    Every method raises `EngineLostError` when the engine does not answer.
    """

    name: Literal["docker", "process"]

    def check(self) -> str:
        """The engine's name and version.

        Raises:
            EngineLostError: it does not answer; the remedy says how to start it.
        """

    def has(self, image: Image) -> bool:
        """Whether the image is already built here."""

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """Make the image real; does nothing if it is. `on_line` gets the build's output.

        Raises:
            ImageError: the build failed; carries the end of its log.
        """

    def missing(self, image: Image, imports: Collection[str]) -> list[Missing]:
        """Which of these third-party names the built image cannot import; nothing else of the
        project runs.
        """

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        """Run the runner's `metrics.remeasure` on a folder of the host's, and return the end of its
        output.

        The process has neither the project nor a run directory, no network, and the folder
        read-only; as far as the engine can keep that from a process of this machine. After
        `timeout_s` it is killed.
        """

    def name_of(self, image: Image) -> str:
        """What the engine calls it among its `images`."""

    def images(self) -> list[Stored]:
        """The images or environments of ours that it keeps, the largest first."""

    def remove_images(self, images: Iterable[Stored]) -> list[Stored]:
        """Remove images, never one that a container needs; returns those that went."""

    def gpus(self) -> bool:
        """Whether trainings can be given a GPU here."""

    def start(self, launch: Launch) -> Container:
        """Start the runner in a container and return at once."""

    def get(self, container_id: str) -> Container:
        """The container as it is now; its state is "gone" when the engine does not know it."""

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """The containers, running or ended, that carry all these labels."""

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Block until the container has ended, or the time is over, and return it as it is then.

        Returns within a few milliseconds of the container's death: it listens, it does not poll.
        All output of a container that has ended is in its file.
        """

    def activity(self, container_id: str) -> Activity | None:
        """What it has used so far, None if it does not run."""

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """Ask it to end (SIGTERM), kill it after the grace period. Does nothing if it has ended."""

    def kill(self, container_id: str) -> None:
        """SIGKILL. Does nothing if it has ended."""

    def remove(self, container_id: str) -> None:
        """Forget an ended container. Its log stays."""


def choose(backend: Literal["auto", "docker", "process"], *, home: str) -> Engine:
    """The engine named, or for "auto" Docker where an engine answers, else plain processes.

    Args:
        backend: which engine.
        home: folder of mlops' own files; the process engine keeps its environments and state there.

    Raises:
        EngineError: "docker" was named and does not answer.
    """
    from mlops_lib.engine.docker import DockerEngine
    from mlops_lib.engine.process import ProcessEngine
    from mlops_lib.errors import EngineError

    if backend == "process":
        return ProcessEngine(home=home)
    docker = DockerEngine(home=home)
    try:
        docker.check()
    except EngineError:
        if backend == "docker":
            raise
        return ProcessEngine(home=home)
    return docker
