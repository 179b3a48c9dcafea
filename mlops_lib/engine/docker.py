"""The Docker engine: containers through its SDK, images through BuildKit.

Of a training's container the project is mounted read-only; only `inside/` and the shared caches are
writable. Its other restrictions are in `docker_cage`; `docker_monitor` waits for its end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

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
from mlops_lib.engine.docker_cage import cage, owner_of
from mlops_lib.engine.docker_connection import DockerConnection
from mlops_lib.engine.docker_monitor import ContainerMonitor
from mlops_lib.engine.docker_states import activity_of, container_of
from mlops_lib.engine.interface import LABEL_RUN, Activity, Container, Launch
from mlops_lib.engine.ownership import hand_over
from mlops_lib.engine.sdist_container import ContainerBuilder
from mlops_lib.environments import images
from mlops_lib.errors import EngineError
from mlops_lib.records import Image, Limits, RunSpec

ALREADY_DONE_STATUSES = (404, 409)
"""HTTP statuses for a container that is missing or in another state: another process was first."""


class DockerEngine:
    """Runs trainings in Docker containers."""

    name: Literal["docker", "process"] = "docker"

    def __init__(self, *, home: str = "") -> None:
        self._home = image_store.name_of_home(home) if home else ""
        self._wheels = (
            Path(home).expanduser().absolute() / "environments" / "wheels" if home else None
        )
        self._connection = DockerConnection()
        self._monitor = ContainerMonitor(self._connection)
        self._mounted: Sequence[tuple[str, str]] | None = None
        self._rootless: bool | None = None
        self._networks: dict[str, network.Network] = {}
        """Isolated networks, by the base image of the helper that restricts them."""

    @property
    def _client(self) -> Any:
        return self._connection.client

    def check(self) -> str:
        """Return Docker's version."""
        return f"Docker {self._connection.call(lambda: self._client.version())['Version']}"

    def has(self, image: Image) -> bool:
        """Return whether an image with this tag exists."""
        import docker.errors

        try:
            self._connection.call(lambda: self._client.images.get(image.tag))
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

        return self._connection.call(build)

    def bake(self, spec: RunSpec, *, on_line: Callable[[str], None]) -> str:
        """Build an image that contains the project and trains by itself; return its tag."""
        return project_image.bake(spec, on_line=on_line)

    def missing(self, image: Image, imports: Collection[str]) -> list[import_check.Missing]:
        """Import each name once in a caged container of the image."""
        return self._connection.call(lambda: image_store.missing(self._client, image.tag, imports))

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        """Measure in a caged container of the image without a network."""
        devices = (
            gpu.request(self._gpu_offer(), os.environ.get("CUDA_VISIBLE_DEVICES"))
            if limits.gpus
            else {}
        )
        return self._connection.call(
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
        info: dict[str, Any] = self._connection.call(lambda: self._client.info())
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
        return self._connection.call(lambda: image_store.stored_images(self._client))

    def remove_images(
        self, images: Iterable[image_store.StoredImage]
    ) -> list[image_store.StoredImage]:
        """Remove images; return the removed ones."""
        return self._connection.call(lambda: image_store.remove(self._client, images))

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
            **cage(launch.limits),
            **self._order(launch),
            "user": f"{owner.user}:{owner.group}",
        }
        isolated = self._isolated(launch)
        if isolated is not None:
            options["network_mode"] = self._connection.call(isolated.prepare)
            gateway = self._connection.call(isolated.gateway)
            options["environment"] = {**options["environment"], "MLOPS_CLOSED_GATEWAY": gateway}
        if launch.limits.gpus:
            options.update(
                gpu.request(self._gpu_offer(), launch.gpu or os.environ.get("CUDA_VISIBLE_DEVICES"))
            )
        try:
            # Not `run`: that would ask a registry of strangers for an image that is not here.
            container = self._connection.call(
                lambda: self._client.containers.create(launch.image.tag, **options)
            )
        except docker.errors.NotFound:
            raise EngineError(
                "its image is not built here",
                where=launch.image.tag,
                remedy="`mlops build` makes it.",
            ) from None
        try:
            self._connection.call(container.start)
            if isolated is not None:
                self._connection.call(lambda: isolated.open(container))
        except (EngineError, docker.errors.NotFound) as error:
            self._connection.call(lambda: container.remove(force=True))
            reason = (
                error if isinstance(error, EngineError) else EngineError(f"Docker refused: {error}")
            )
            raise reason from None
        self._monitor.follow(container)
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
        running = self._connection.call(lambda: self._client.api.containers())
        sources = (
            PurePosixPath(mount.get("Source") or "/dev/null")
            for container in running
            for mount in container["Mounts"]
        )
        return any(
            place.is_relative_to(source) or source.is_relative_to(place) for source in sources
        )

    def _is_rootless(self) -> bool:
        if self._rootless is None:
            self._rootless = "name=rootless" in self._connection.call(
                lambda: self._client.info()
            ).get("SecurityOptions", ())
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
            container = self._connection.call(lambda: self._client.containers.get(own))
        except docker.errors.NotFound:
            return ()
        return [(mount["Destination"], mount["Source"]) for mount in container.attrs["Mounts"]]

    def get(self, container_id: str) -> Container:
        """Inspect the container."""
        inspection = self._connection.inspect(container_id)
        return (
            Container(id=container_id, labels={}, state="gone")
            if inspection is None
            else container_of(inspection)
        )

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """Return all containers with these labels."""
        filters = [f"{key}={value}" for key, value in labels.items()] or [LABEL_RUN]
        containers = self._connection.call(
            lambda: self._client.containers.list(
                all=True, filters={"label": filters}, ignore_removed=True
            )
        )
        return [container_of(each) for each in containers]

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Inspect the container whenever the event stream reports a change."""
        return self._monitor.wait(container_id, timeout_s=timeout_s)

    def activity(self, container_id: str) -> Activity | None:
        """Return Docker's statistics."""
        import docker.errors

        try:
            statistics = self._connection.call(
                lambda: self._client.api.stats(container_id, stream=False, one_shot=True)
            )
        except docker.errors.NotFound:
            return None
        return activity_of(statistics)

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL after the grace period."""
        self._act(container_id, lambda container: container.stop(timeout=max(1, round(grace_s))))

    def kill(self, container_id: str) -> None:
        """Send SIGKILL."""
        self._act(container_id, lambda container: container.kill())

    def remove(self, container_id: str) -> None:
        """Remove an ended container once all its output is in its file."""
        inspection = self._connection.inspect(container_id)
        if inspection is not None and container_of(inspection).state == "exited":
            self._monitor.complete(inspection)
            self._act(container_id, lambda ended: ended.remove())

    def _act(self, container_id: str, act: Callable[[Any], None]) -> None:
        import docker.errors

        def acted() -> None:
            try:
                act(self._client.containers.get(container_id))
            except docker.errors.APIError as error:
                if error.status_code not in ALREADY_DONE_STATUSES:
                    raise

        self._connection.call(acted)
