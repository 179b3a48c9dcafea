"""The Docker engine: containers and events through its SDK, images through BuildKit's command.

The cage around a training: the calling user, no new privileges, no capabilities, a read-only root with a small `/tmp`, limits,
the project read-only, and `inside/` the only writable mount. A caller who is root trains as an unprivileged user that
owns `inside/`, so that nothing in a container is root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from mlops_lib import images
from mlops_lib.engine import LABEL_RUN, Container, Launch
from mlops_lib.errors import EngineError, ImageError
from mlops_lib.records import Image

UNPRIVILEGED = 65534
TMPFS_BYTES = 1 << 30
BUILD_SECRETS = {"pip": ("PIP_CONFIG_FILE", "/etc/pip.conf"), "ca": ("PIP_CERT", "")}
"""Secret of a build: the variable that names its file, and where it is otherwise."""
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
RECONNECT_S = 0.5
GIVE_UP_S = 120.0
"""How long an engine that went away is waited for."""


class DockerEngine:
    """Trainings in Docker containers."""

    name: Literal["docker", "process"] = "docker"

    def __init__(self) -> None:
        self._connected: Any = None
        self._logs: dict[str, threading.Thread] = {}

    @property
    def _client(self) -> Any:
        if self._connected is None:
            import docker
            from docker.errors import DockerException

            try:
                self._connected = docker.from_env(timeout=60)
            except DockerException as error:
                raise _unreachable(error) from None
        return self._connected

    def check(self) -> str:
        """Docker's version."""
        version = self._ask(lambda: self._client.version())
        return f"Docker {version['Version']}"

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Ask the engine; its failures become ours."""
        import docker.errors
        import requests

        try:
            return question()
        except docker.errors.NotFound:
            raise
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise _unreachable(error) from None

    def has(self, image: Image) -> bool:
        """Whether an image of this tag is here."""
        import docker.errors

        try:
            self._ask(lambda: self._client.images.get(image.tag))
        except docker.errors.NotFound:
            return False
        return True

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """`docker build` with BuildKit; index settings and certificates pass as secrets, never into a layer."""
        if self.has(image):
            return
        program = client_program()
        with tempfile.TemporaryDirectory(prefix="mlops-build-") as folder:
            images.context(image, Path(folder))
            command = [
                program,
                "build",
                "--progress=plain",
                "--tag",
                image.tag,
                "--build-arg",
                f"BASE_IMAGE={image.base_image}",
            ]
            for name, (variable, usual) in BUILD_SECRETS.items():
                path = os.environ.get(variable) or usual
                if path and Path(path).is_file():
                    command += ["--secret", f"id={name},src={path}"]
            index = _index_settings(Path(folder))
            if index is not None and "id=pip" not in " ".join(command):
                command += ["--secret", f"id=pip,src={index}"]
            for name in PROXIES:
                if os.environ.get(name):
                    command += ["--build-arg", name]
            command += ["--label", f"org.mlops-lib.environment={image.environment.name}", folder]
            self._run_build(command, image, on_line)

    def _run_build(self, command: list[str], image: Image, on_line: Callable[[str], None]) -> None:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )  # fmt: skip
        lines: list[str] = []
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                on_line(line.rstrip("\n"))
        if process.returncode != 0:
            raise ImageError(
                "the image cannot be built", where=image.tag,
                remedy="The builder's reason is above; `mlops build PROJECT --print` shows the Dockerfile.",
                log="".join(lines[-40:]),
            )  # fmt: skip

    def start(self, launch: Launch) -> Container:
        """Start a container and follow its log."""
        import docker.errors
        from docker.types import LogConfig
        from docker.types import Mount as Bind

        inside = Path(launch.inside)
        inside.mkdir(parents=True, exist_ok=True)
        user, group = os.getuid(), os.getgid()
        if user == 0:
            user = group = UNPRIVILEGED
            _give(inside, user, group)
        binds = [
            Bind(images.PROJECT, launch.project, type="bind", read_only=True),
            Bind(images.INSIDE, launch.inside, type="bind"),
            *(Bind(m.target, m.source, type="bind", read_only=True) for m in launch.mounts),
        ]
        variables = dict(launch.variables)
        if launch.caches:
            caches = Path(launch.caches)
            caches.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0:
                os.chown(caches, user, group)
            binds.append(Bind(images.CACHES, launch.caches, type="bind"))
            variables["HOME"] = images.CACHES
        limits = launch.limits
        options: dict[str, Any] = {
            "command": [launch.entry, *launch.args], "detach": True, "user": f"{user}:{group}", "mounts": binds,
            "environment": variables, "labels": dict(launch.labels), "init": True, "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"], "read_only": True, "network_mode": limits.network,
            "tmpfs": {"/tmp": f"rw,exec,nosuid,size={TMPFS_BYTES},mode=1777"}, "log_config": LogConfig(type="json-file"),
        }  # fmt: skip
        if limits.memory_bytes:
            options.update(mem_limit=limits.memory_bytes, memswap_limit=limits.memory_bytes)
        if limits.cpus:
            options["nano_cpus"] = int(limits.cpus * 1e9)
        if limits.pids:
            options["pids_limit"] = limits.pids
        try:
            container = self._ask(lambda: self._client.containers.run(launch.image.tag, **options))
        except docker.errors.NotFound:
            raise EngineError(
                "its image is not built here", where=launch.image.tag, remedy="`mlops build` makes it."
            ) from None
        if launch.log:
            self._follow(container, Path(launch.log))
        return self.get(container.id)

    def _follow(self, container: Any, log: Path) -> None:
        """Append the container's output to the log until it ends."""

        def work() -> None:
            import docker.errors
            import requests

            try:
                with log.open("ab") as stream:
                    for block in container.logs(stream=True, follow=True):
                        stream.write(block)
                        stream.flush()
            except (docker.errors.DockerException, requests.RequestException, OSError):
                return  # the engine went away: the container's end is noticed elsewhere, its log ends here

        thread = threading.Thread(target=work, name="mlops-log", daemon=True)
        thread.start()
        self._logs[container.id] = thread

    def get(self, container_id: str) -> Container:
        """Inspect it."""
        import docker.errors

        try:
            found = self._ask(lambda: self._client.containers.get(container_id))
        except docker.errors.NotFound:
            return Container(id=container_id, labels={}, state="gone")
        return _container(found)

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """All containers with these labels."""
        wanted = [f"{key}={value}" for key, value in labels.items()] or [LABEL_RUN]
        found = self._ask(
            lambda: self._client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
        )
        return [_container(one) for one in found]

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """The engine's own wait, which answers at the container's death."""
        import docker.errors
        import requests

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        lost: float | None = None
        while True:
            try:
                container = self.get(container_id)
                lost = None
            except EngineError:
                # The engine may be restarting: its containers may be back when it is.
                lost = lost or time.monotonic()
                if time.monotonic() - lost > GIVE_UP_S:
                    raise
                time.sleep(RECONNECT_S)
                continue
            left = None if deadline is None else deadline - time.monotonic()
            if container.state != "running":
                thread = self._logs.get(container_id)
                if thread is not None:
                    thread.join(timeout=5.0)
                return container
            if left is not None and left <= 0:
                return container
            try:
                self._client.api.wait(container_id, timeout=left if left is not None else 3600)
            except (docker.errors.DockerException, requests.RequestException, OSError):
                continue

    def deaths(self, *, stop: Callable[[], bool]) -> Iterator[Container]:
        """The engine's event stream; reconnects when the engine comes back."""
        import docker.errors
        import requests

        since = time.time()
        while not stop():
            try:
                for event in self._client.events(
                    decode=True, since=since, until=time.time() + 1, filters={"event": "die", "label": LABEL_RUN}
                ):
                    since = max(since, event.get("timeNano", 0) / 1e9 + 1e-6)
                    yield self.get(event["id"])
            except (docker.errors.DockerException, requests.RequestException, OSError):
                time.sleep(RECONNECT_S)

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """SIGTERM, SIGKILL after the grace period."""
        self._if_there(container_id, lambda one: one.stop(timeout=int(grace_s)))

    def kill(self, container_id: str) -> None:
        """SIGKILL."""
        if self.get(container_id).state == "running":
            self._if_there(container_id, lambda one: one.kill())

    def remove(self, container_id: str) -> None:
        """Remove an ended container."""
        if self.get(container_id).state == "exited":
            self._if_there(container_id, lambda one: one.remove())

    def _if_there(self, container_id: str, act: Callable[[Any], None]) -> None:
        import docker.errors

        try:
            act(self._client.containers.get(container_id))
        except (docker.errors.NotFound, docker.errors.APIError) as error:
            if getattr(error, "status_code", 404) not in (404, 409):
                raise EngineError(str(error), where=container_id, remedy="`docker ps -a` shows its state.") from None


def _container(found: Any) -> Container:
    state = found.attrs["State"]
    running = state.get("Status") in ("running", "created", "paused", "restarting")
    return Container(
        id=found.id, labels=dict(found.attrs["Config"].get("Labels") or {}), state="running" if running else "exited",
        exit_code=None if running else int(state.get("ExitCode", 0)), out_of_memory=bool(state.get("OOMKilled")),
        started=_time(state.get("StartedAt")) or 0.0, ended=None if running else _time(state.get("FinishedAt")),
    )  # fmt: skip


def _time(text: str | None) -> float | None:
    if not text or text.startswith("0001"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole + "+00:00").timestamp()
    return moment + float(f"0.{fraction[:6] or 0}")


def _give(folder: Path, user: int, group: int) -> None:
    """Let the training's user own what it writes; links are not followed."""
    for place, folders, names in os.walk(folder):
        os.chown(place, user, group, follow_symlinks=False)
        for name in (*folders, *names):
            os.chown(os.path.join(place, name), user, group, follow_symlinks=False)  # noqa: PTH118


def _index_settings(folder: Path) -> str | None:
    """pip's index settings from the environment as a pip.conf beside the context, None where there are none."""
    wanted = {
        "PIP_INDEX_URL": "index-url",
        "PIP_EXTRA_INDEX_URL": "extra-index-url",
        "PIP_TRUSTED_HOST": "trusted-host",
    }
    lines = [f"{key} = {os.environ[name]}" for name, key in wanted.items() if os.environ.get(name)]
    if not lines:
        return None
    descriptor, path = tempfile.mkstemp(prefix="mlops-pip-", dir=folder)
    with os.fdopen(descriptor, "w") as stream:
        stream.write("[global]\n" + "\n".join(lines) + "\n")
    return path


def client_program() -> str:
    """A `docker` command that can build with BuildKit.

    Raises:
        EngineError: there is none.
    """
    for folder in os.get_exec_path():
        program = shutil.which("docker", path=folder)
        if program is None:
            continue
        done = subprocess.run(
            [program, "build", "--help"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        if done.returncode == 0 and "--secret" in done.stdout:
            return program
    raise EngineError("no docker command that builds with BuildKit", remedy="Install docker with its buildx plugin.")


def _unreachable(error: Exception) -> EngineError:
    return EngineError(
        f"Docker does not answer: {str(error)[:300]}",
        remedy="Start it (`systemctl start docker`), or use --backend process.",
    )
