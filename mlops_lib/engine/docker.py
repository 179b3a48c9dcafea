"""The Docker engine: containers through its SDK, images through BuildKit.

The cage around a training: it runs as the caller (never as root: a caller who is root uses another
user), without new privileges or capabilities, with a read-only root, a `/tmp` in memory and
resource limits. The project is mounted read-only; only `inside/` and the shared caches are
writable.
"""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from mlops_lib.engine import (
    buildkit,
    gpu,
    host_paths,
    image_store,
    import_check,
    logs,
    model_measurement,
    network,
    project_image,
    sdists,
)
from mlops_lib.engine.docker_events import Listener, is_stop_request
from mlops_lib.engine.interface import LABEL_RUN, Activity, Container, Launch
from mlops_lib.engine.ownership import Owner, hand_over
from mlops_lib.engine.sdist_container import ContainerBuilder
from mlops_lib.environments import images
from mlops_lib.errors import EngineError, EngineLostError
from mlops_lib.records import Image, Limits, RunSpec
from mlops_lib.runner import protocol

UNPRIVILEGED = 65534
MEMORY_FILES_BYTES = 1 << 30
"""Size of `/tmp`, and of the shared memory that data loaders use.

Both count as memory of the container.
"""
TIMEOUT_S = 60
DISCONNECTED_POLL_S = 0.2
"""Polling interval in seconds while the engine's event stream is disconnected."""
POLL_S = 10.0
"""Polling interval in seconds although the event stream works, in case it misses an event."""
SIGNALLED_EXIT_CODES = (
    128 + signal.SIGTERM,
    128 + signal.SIGINT,
    128 + signal.SIGKILL,
    protocol.RECLAIMED,
)
"""Exit codes for which the event stream is searched for a stop request."""
ALREADY_DONE_STATUSES = (404, 409)
"""HTTP statuses for a container that is missing or in another state: another process was first."""
UNAVAILABLE_STATUSES = (502, 503, 504)
"""HTTP statuses of an engine that is starting or stopping."""

T = TypeVar("T")


class DockerEngine:
    """Runs trainings in Docker containers."""

    name: Literal["docker", "process"] = "docker"

    def __init__(self, *, home: str = "") -> None:
        self._home = image_store.name_of_home(home) if home else ""
        self._wheels = (
            Path(home).expanduser().absolute() / "environments" / "wheels" if home else None
        )
        self._connected: Any = None
        self._mounted: Sequence[tuple[str, str]] | None = None
        self._followers: dict[str, logs.Follower] = {}
        self._listening: Listener | None = None
        self._inspections: dict[str, tuple[tuple[int, int] | None, float, Container]] = {}
        """By running container: its event mark at the last inspection, the time, and the result."""
        self._rootless: bool | None = None
        self._networks: dict[str, network.Network] = {}
        """Isolated networks, by the base image of the helper that restricts them."""

    @property
    def _client(self) -> Any:
        if self._connected is None:
            self._connected = _connect()
        return self._connected

    def _ask(self, question: Callable[[], T]) -> T:
        """Call the engine, and convert its failures.

        A missing object still raises the SDK's NotFound; all other failures become errors of this
        package.
        """
        import docker.errors
        import requests

        try:
            return question()
        except docker.errors.NotFound:
            raise
        except docker.errors.APIError as error:
            reason = f"Docker refused: {error.explanation or error}"
            kind = EngineLostError if error.status_code in UNAVAILABLE_STATUSES else EngineError
            raise kind(reason, remedy="`docker info` and its log say more.") from None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise _unreachable(error) from None

    def check(self) -> str:
        """Return Docker's version."""
        return f"Docker {self._ask(lambda: self._client.version())['Version']}"

    def has(self, image: Image) -> bool:
        """Return whether an image with this tag exists."""
        import docker.errors

        try:
            self._ask(lambda: self._client.images.get(image.tag))
        except docker.errors.NotFound:
            return False
        return True

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """Build the image with BuildKit unless it exists; source distributions come first."""
        if self.has(image):
            return
        with tempfile.TemporaryDirectory(prefix="mlops-sdists-") as name:
            cache = self._wheels or Path(name)
            buildkit.build(
                image, on_line=on_line, home=self._home, built=self._built(image, cache, on_line)
            )

    def _built(self, image: Image, cache: Path, on_line: Callable[[str], None]) -> list[Path]:
        """Build the wheels of an image's source distributions in containers, if missing."""
        if not image.environment.sdists:
            return []

        def build() -> list[Path]:
            builder = ContainerBuilder(self._client, base_image=image.base_image, home=self._home)
            python = image.environment.python
            return sdists.wheels(
                image.environment.sdists, builder, python=python, cache=cache, on_line=on_line
            )

        return self._ask(build)

    def bake(self, spec: RunSpec, *, on_line: Callable[[str], None]) -> str:
        """Build an image that contains the project and trains by itself; return its tag."""
        return project_image.bake(spec, on_line=on_line)

    def missing(self, image: Image, imports: Collection[str]) -> list[import_check.Missing]:
        """Import each name once in a caged container of the image."""
        return self._ask(lambda: image_store.missing(self._client, image.tag, imports))

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        """Measure in a caged container of the image without a network."""
        devices = (
            gpu.request(self._gpu_offer(), os.environ.get("CUDA_VISIBLE_DEVICES"))
            if limits.gpus
            else {}
        )
        return self._ask(
            lambda: model_measurement.in_container(
                self._client,
                image.tag,
                self._host_path(folder),
                limits=limits,
                timeout_s=timeout_s,
                gpu=devices,
            )
        )

    def about(self) -> dict[str, Any]:
        """Return the output of `docker info`: memory, clock, runtimes."""
        info: dict[str, Any] = self._ask(lambda: self._client.info())
        return info

    def gpus(self) -> bool:
        """Return whether the engine offers GPUs, through NVIDIA's runtime or CDI."""
        return bool(self._gpu_offer())

    def _gpu_offer(self) -> Literal["", "nvidia", "cdi"]:
        return gpu.offered(self.about())

    def name_of(self, image: Image) -> str:
        """Return the image's tag."""
        return image.tag

    def images(self) -> list[image_store.StoredImage]:
        """Return the images made by this package, largest first."""
        return self._ask(lambda: image_store.stored_images(self._client))

    def remove_images(
        self, images: Iterable[image_store.StoredImage]
    ) -> list[image_store.StoredImage]:
        """Remove images; return the removed ones."""
        return self._ask(lambda: image_store.remove(self._client, images))

    def start(self, launch: Launch) -> Container:
        """Start a container and follow its output."""
        import docker.errors

        owner = owner_of(
            Path(launch.project), caller=(os.getuid(), os.getgid()), rootless=self._is_rootless()
        )
        for folder in filter(None, (launch.inside, launch.shared, launch.caches)):
            Path(folder).mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0 and owner.user:
                hand_over(Path(folder), owner, is_mounted=self._is_mounted)
        options = {
            **_cage(launch.limits),
            **self._order(launch),
            "user": f"{owner.user}:{owner.group}",
        }
        isolated = self._isolated(launch)
        if isolated is not None:
            options["network_mode"] = self._ask(isolated.prepare)
            gateway = self._ask(isolated.gateway)
            options["environment"] = {**options["environment"], "MLOPS_CLOSED_GATEWAY": gateway}
        if launch.limits.gpus:
            options.update(
                gpu.request(self._gpu_offer(), launch.gpu or os.environ.get("CUDA_VISIBLE_DEVICES"))
            )
        try:
            # Not `run`: that would ask a registry of strangers for an image that is not here.
            container = self._ask(
                lambda: self._client.containers.create(launch.image.tag, **options)
            )
        except docker.errors.NotFound:
            raise EngineError(
                "its image is not built here",
                where=launch.image.tag,
                remedy="`mlops build` makes it.",
            ) from None
        try:
            self._ask(container.start)
            if isolated is not None:
                self._ask(lambda: isolated.open(container))
        except (EngineError, docker.errors.NotFound) as error:
            self._ask(lambda: container.remove(force=True))
            reason = (
                error if isinstance(error, EngineError) else EngineError(f"Docker refused: {error}")
            )
            raise reason from None
        self._follow(container)
        return self.get(container.id)

    def _isolated(self, launch: Launch) -> network.Network | None:
        """Return the isolated network, or None if the operator chose another one."""
        if launch.limits.network != network.ISOLATED:
            return None
        base = launch.image.base_image
        if base not in self._networks:
            self._networks[base] = network.Network(self._client, base_image=base)
        return self._networks[base]

    def _is_mounted(self, folder: Path) -> bool:
        """Return whether a running container mounts the folder, or one in or above it."""
        place = PurePosixPath(self._host_path(str(folder)))
        running = self._ask(lambda: self._client.api.containers())
        sources = (
            PurePosixPath(mount.get("Source") or "/dev/null")
            for one in running
            for mount in one["Mounts"]
        )
        return any(
            place.is_relative_to(source) or source.is_relative_to(place) for source in sources
        )

    def _is_rootless(self) -> bool:
        if self._rootless is None:
            self._rootless = "name=rootless" in self._ask(lambda: self._client.info()).get(
                "SecurityOptions", ()
            )
        return self._rootless

    def _order(self, launch: Launch) -> dict[str, Any]:
        from docker.types import Mount as Bind

        binds = [
            Bind(images.PROJECT, self._host_path(launch.project), type="bind", read_only=True),
            Bind(images.INSIDE, self._host_path(launch.inside), type="bind"),
            *(
                Bind(m.target, self._host_path(m.source), type="bind", read_only=True)
                for m in launch.mounts
            ),
        ]
        variables = dict(launch.variables)
        if launch.shared:
            binds.append(Bind(images.SHARED, self._host_path(launch.shared), type="bind"))
            variables["MLOPS_SHARED"] = images.SHARED
        if launch.caches:
            binds.append(Bind(images.CACHES, self._host_path(launch.caches), type="bind"))
            variables["HOME"] = images.CACHES
        return {
            "command": [launch.entry, *launch.args],
            "mounts": binds,
            "environment": variables,
            "labels": {**launch.labels, **logs.labels(launch.log)},
        }

    def _host_path(self, path: str) -> str:
        """Return a host folder's path on the engine's machine."""
        # Inside a container the daemon resolves paths on its own machine, where this program's path
        # may name another folder, or nothing.
        if self._mounted is None:
            self._mounted = self._own_mounts()
        return host_paths.translate(path, self._mounted) if self._mounted else path

    def _own_mounts(self) -> Sequence[tuple[str, str]]:
        """Return the mounts of the container that this program runs in; () outside of one."""
        import docker.errors

        own = host_paths.own_container(host_paths.mountinfo())
        if own is None:
            return ()
        try:
            container = self._ask(lambda: self._client.containers.get(own))
        except docker.errors.NotFound:
            return ()
        return [(mount["Destination"], mount["Source"]) for mount in container.attrs["Mounts"]]

    def _follow(self, container: Any) -> None:
        """Start to copy the container's output to its file, unless that runs already."""
        follower = self._followers.get(container.id)
        if follower is None or not (follower.alive or follower.complete):
            self._followers[container.id] = logs.Follower(container)

    def _complete(self, container: Any) -> None:
        """Copy the rest of an ended container's output to its file."""
        follower = self._followers.pop(container.id, None)
        if follower is not None:
            follower.join()
        if follower is None or not follower.complete:
            self._ask(lambda: logs.copy(container, follow=False))

    def get(self, container_id: str) -> Container:
        """Inspect the container."""
        inspection = self._look_up(container_id)
        return (
            Container(id=container_id, labels={}, state="gone")
            if inspection is None
            else _container(inspection)
        )

    def _look_up(self, container_id: str) -> Any:
        import docker.errors

        try:
            return self._ask(lambda: self._client.containers.get(container_id))
        except docker.errors.NotFound:
            return None

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """Return all containers with these labels."""
        filters = [f"{key}={value}" for key, value in labels.items()] or [LABEL_RUN]
        containers = self._ask(
            lambda: self._client.containers.list(
                all=True, filters={"label": filters}, ignore_removed=True
            )
        )
        return [_container(one) for one in containers]

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Inspect the container whenever the event stream reports a change."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._listening is None:
            self._listening = Listener(self._client)
        while True:
            mark = self._listening.mark(container_id)
            container = self._unchanged(container_id, mark) or self._attend(container_id, mark)
            remaining_s = POLL_S if deadline is None else deadline - time.monotonic()
            if container.state != "running":
                seen, *_ = self._inspections.pop(container_id, (None, 0.0, None))
                return replace(container, asked_to_end=self._stop_was_requested(container, seen))
            if remaining_s <= 0:
                return container
            # With the mark from before the inspection: an event between the two ends the wait at
            # once.
            self._listening.sleep(container_id, mark, min(remaining_s, POLL_S))
            if mark is None:
                time.sleep(min(remaining_s, DISCONNECTED_POLL_S))

    def _unchanged(self, container_id: str, mark: tuple[int, int] | None) -> Container | None:
        """Return the last inspection if it ran then and no event came since, else None."""
        before, when, container = self._inspections.get(container_id, (None, 0.0, None))
        return (
            container
            if mark is not None and mark == before and time.monotonic() - when < POLL_S
            else None
        )

    def _attend(self, container_id: str, mark: tuple[int, int] | None) -> Container:
        """Return the container's state.

        Its output is followed, and complete once it has ended.
        """
        inspection = self._look_up(container_id)
        if inspection is None:
            return Container(id=container_id, labels={}, state="gone")
        container = _container(inspection)
        if container.state == "running":
            self._follow(inspection)
            self._inspections[container_id] = (mark, time.monotonic(), container)
        else:
            self._complete(inspection)
        return container

    def _stop_was_requested(self, container: Container, seen: tuple[int, int] | None) -> bool:
        """Return whether a stop was requested from the engine before the end.

        Args:
            container: an ended container.
            seen: its event mark when it was last seen running; None if it was not being watched.
        """
        if container.exit_code not in SIGNALLED_EXIT_CODES or container.ended is None:
            return False
        if seen is not None and self._listening is not None:
            return self._listening.stop_was_requested(container.id, seen)
        now = _time(
            self._ask(lambda: self._client.info())["SystemTime"]
        )  # a signal's event may come after the end
        period = {"since": container.started - 1, "until": now}
        only = {"event": ["start", "kill"], "container": container.id}
        heard = self._ask(lambda: list(self._client.events(decode=True, filters=only, **period)))
        # An engine remembers its own life only. One that did not start the container ended it when
        # it started itself, or with the machine: nobody's wish.
        return any(one.get("Action") == "start" for one in heard) and any(
            map(is_stop_request, heard)
        )

    def activity(self, container_id: str) -> Activity | None:
        """Return Docker's statistics."""
        import docker.errors

        try:
            statistics = self._ask(
                lambda: self._client.api.stats(container_id, stream=False, one_shot=True)
            )
        except docker.errors.NotFound:
            return None
        return _activity(statistics)

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL after the grace period."""
        self._act(container_id, lambda container: container.stop(timeout=max(1, round(grace_s))))

    def kill(self, container_id: str) -> None:
        """Send SIGKILL."""
        self._act(container_id, lambda container: container.kill())

    def remove(self, container_id: str) -> None:
        """Remove an ended container once all its output is in its file."""
        inspection = self._look_up(container_id)
        if inspection is not None and _container(inspection).state == "exited":
            self._complete(inspection)
            self._act(container_id, lambda ended: ended.remove())

    def _act(self, container_id: str, act: Callable[[Any], None]) -> None:
        import docker.errors

        def acted() -> None:
            try:
                act(self._client.containers.get(container_id))
            except docker.errors.APIError as error:
                if error.status_code not in ALREADY_DONE_STATUSES:
                    raise

        self._ask(acted)


def owner_of(project: Path, *, caller: tuple[int, int], rootless: bool = False) -> Owner:
    """Return a user for a container whose files its caller can read and remove.

    It is the caller. A caller who is root can read anything, so no process in the container needs
    to be root: it runs as the project's owner, or as the user nobody if that is root too. In a
    rootless engine the container's root is the caller.

    Args:
        project: the pushed project, which the owner must be able to read.
        caller: user and group of this process.
        rootless: whether the engine itself runs without privileges.

    Raises:
        EngineError: only root can read the project.
    """
    if rootless:
        return Owner(0, 0)
    if caller[0] != 0:
        return Owner(*caller)
    status = project.stat()
    # The project's owner can read it, whatever its permissions are.
    if status.st_uid != 0:
        return Owner(status.st_uid, status.st_gid)
    if status.st_mode & 0o005 != 0o005:
        raise EngineError(
            "only root can read the project, and no training runs as root",
            where=str(project),
            remedy=f"Run mlops as another user, or open the folder: chmod -R o+rX {project}",
        )
    return Owner(UNPRIVILEGED, UNPRIVILEGED)


def _cage(limits: Limits) -> dict[str, Any]:
    from docker.types import LogConfig

    options: dict[str, Any] = {
        # The docker client hands the caller's proxy settings to the container. A stranger's code
        # may have them only if they hold no password.
        "use_config_proxy": _proxies_are_public(),
        # An init process reaps children that a script leaves behind, and passes SIGTERM on: a
        # process with number 1 that installs no handler ignores it.
        "init": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        # Also for the honest script: what it writes outside of the mounted folders would be lost at
        # a restart, so it has to fail at once.
        "read_only": True,
        "network_mode": limits.network,
        # `exec`, because packages compile and load kernels there; `nosuid`, because nothing may
        # gain a user.
        "tmpfs": {"/tmp": f"rw,exec,nosuid,size={MEMORY_FILES_BYTES},mode=1777"},
        # Docker's 64 MiB break PyTorch's data loaders, which pass batches through shared memory.
        "shm_size": MEMORY_FILES_BYTES,
        "log_config": LogConfig(type="json-file", config=logs.ENGINE_LOG),
    }
    if limits.memory_bytes:
        # The same number for both means no swap: a training that swaps would look like one that
        # hangs.
        options.update(mem_limit=limits.memory_bytes, memswap_limit=limits.memory_bytes)
    if limits.cpus:
        options["nano_cpus"] = int(limits.cpus * 1e9)
    if limits.pids:
        options["pids_limit"] = limits.pids
    return options


def _proxies_are_public() -> bool:
    """Return whether the docker command's proxy settings contain no password.

    Containers get these settings.
    """
    from docker.utils.config import load_general_config

    return "@" not in json.dumps(load_general_config().get("proxies") or {})


RUNNING = ("running", "paused", "restarting")


def _container(inspection: Any) -> Container:
    state = inspection.attrs["State"]
    running = state.get("Status") in RUNNING
    started = _time(state.get("StartedAt"))
    return Container(
        id=inspection.id,
        labels=dict(inspection.attrs["Config"].get("Labels") or {}),
        state="running" if running else "exited",
        # Created and never started: its caller died in between. It has no exit code, least of all
        # 0.
        exit_code=None if running or started is None else int(state.get("ExitCode", 0)),
        out_of_memory=bool(state.get("OOMKilled")),
        paused=state.get("Status") == "paused",
        started=started or 0.0,
        ended=None if running else _time(state.get("FinishedAt")),
    )


def _activity(statistics: Mapping[str, Any]) -> Activity | None:
    """Convert the engine's statistics; None for an ended container, which has none."""
    cpu = statistics.get("cpu_stats") or {}
    memory = statistics.get("memory_stats") or {}
    nanoseconds = (cpu.get("cpu_usage") or {}).get("total_usage")
    if not nanoseconds:
        return None
    blocks = (statistics.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    networks = (statistics.get("networks") or {}).values()
    transferred = sum(
        int(one.get("value", 0))
        for one in blocks
        if str(one.get("op")).lower() in ("read", "write")
    )
    transferred += sum(
        int(one.get("rx_bytes", 0)) + int(one.get("tx_bytes", 0)) for one in networks
    )
    # The page cache is the kernel's to take back: as `docker stats` does.
    cached = (memory.get("stats") or {}).get(
        "inactive_file", (memory.get("stats") or {}).get("total_inactive_file", 0)
    )
    memory_bytes = max(0, int(memory.get("usage") or 0) - int(cached))
    return Activity(cpu_s=nanoseconds / 1e9, io_bytes=transferred, memory_bytes=memory_bytes)


def _time(text: str | None) -> float | None:
    """Convert the engine's RFC 3339 text to Unix time; None for its zero time."""
    match = re.fullmatch(r"([0-9T:-]+)(\.\d+)?(Z|[+-]\d\d:\d\d)", text or "")
    if match is None or match[1].startswith("0001"):
        return None
    zone = "+00:00" if match[3] == "Z" else match[3]
    return datetime.fromisoformat(match[1] + zone).timestamp() + float(match[2] or 0)


def _connect() -> Any:
    """Connect to the engine of the `docker` command: DOCKER_HOST, else its context's."""
    import docker
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        if os.environ.get("DOCKER_HOST"):
            return docker.from_env(timeout=TIMEOUT_S)
        context = ContextAPI.get_current_context()
        if context is None or context.Name == "default":
            return docker.from_env(timeout=TIMEOUT_S)
        return docker.DockerClient(
            base_url=context.Host, tls=context.TLSConfig or False, timeout=TIMEOUT_S
        )
    except DockerException as error:
        raise _unreachable(error) from None


def _unreachable(error: Exception) -> EngineLostError:
    reason = str(error)[:300]
    remedy = "Start it (`systemctl start docker`), or use --backend process."
    if "ermission denied" in reason:
        remedy = (
            "Let this user talk to it (`usermod -aG docker USER`, then log in again), or use"
            " --backend process."
        )
    return EngineLostError(f"Docker does not answer: {reason}", remedy=remedy)
