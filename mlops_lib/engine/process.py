"""The engine without containers: supervised processes in cached virtual environments.

Each container is a folder `<home>/containers/<id>` with what was asked (`container.json`) and how it ended
(`state.json`, written by its supervisor). The supervisor is a process of its own session, so that a training outlives the
program that started it, and its end is known even if nobody was watching. There is no cage here: the script runs as the
caller, and limits and networks are not enforced.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mlops_lib import durable, images
from mlops_lib.engine import Container, Launch, gpu, probe, store, venv
from mlops_lib.errors import EngineError
from mlops_lib.records import Image

PASSED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY",
    "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""The caller's variables that a script may see; everything else could be a secret."""
KILLED = 128 + signal.SIGKILL
LOOK_S = 0.2
"""How often new containers are looked for while listening for deaths."""


class ProcessEngine:
    """Trainings as processes of this machine."""

    name: Literal["docker", "process"] = "process"

    def __init__(self, *, home: str) -> None:
        self.home = Path(home).expanduser().absolute()

    def check(self) -> str:
        """Always there."""
        return f"processes of this machine, Python {sys.version.split()[0]}"

    def has(self, image: Image) -> bool:
        """Whether the virtual environment is complete."""
        return venv.is_complete(self._environment(image))

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """Make the virtual environment; two builds of the same one at once wait for each other."""
        venv.build(self._environment(image), image.environment, on_line=on_line)

    def missing(self, image: Image, imports: Collection[str]) -> list[probe.Missing]:
        """Import each name once in the environment's Python."""
        return venv.missing(self._environment(image), image.environment, imports)

    def gpus(self) -> bool:
        """Whether an NVIDIA driver answers on this machine."""
        return gpu.driver()

    def name_of(self, image: Image) -> str:
        """The virtual environment's folder."""
        return str(self._environment(image))

    def images(self) -> list[store.Stored]:
        """The virtual environments of this home, the largest first."""
        alive = [c.id for c in self.find({}) if c.state == "running"]
        orders = [_read(self._folder(identity) / "container.json") for identity in alive]
        return venv.listed(self.home, running={str(order["command"][0]) for order in orders if order is not None})

    def remove_images(self, images: Iterable[store.Stored]) -> list[store.Stored]:
        """Remove virtual environments; returns those that went."""
        gone = list(images)
        for one in gone:
            venv.remove(Path(one.id))
        return gone

    def _environment(self, image: Image) -> Path:
        return venv.place(self.home, image.environment)

    def _runner(self) -> Path:
        place = self.home / "runner" / images.runner_digest()[:16]
        if not place.exists():
            fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
            images.copy_runner(fresh)
            try:
                fresh.rename(place)
            except OSError:  # another process was first
                shutil.rmtree(fresh)
        return place

    def start(self, launch: Launch) -> Container:
        """Start a supervisor, which starts the runner."""
        if not self.has(launch.image):
            raise EngineError(
                "its environment is not built here", where=launch.image.tag, remedy="`mlops build` makes it."
            )
        identity = uuid.uuid4().hex
        folder = self._folder(identity)
        folder.mkdir(parents=True)
        inherited = {name: os.environ[name] for name in PASSED if name in os.environ}
        if launch.caches:
            inherited.update(_home(Path(launch.caches), Path.home()))
        variables = {
            **inherited, "PYTHONHASHSEED": "1", "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg",
            **launch.image.environment.variables, **launch.variables, "PYTHONPATH": str(self._runner()),
            "MLOPS_PROJECT": launch.project, "MLOPS_INSIDE": launch.inside,
            **({} if launch.limits.gpus else {"CUDA_VISIBLE_DEVICES": "-1"}),
        }  # fmt: skip
        python = venv.python_of(self._environment(launch.image))
        order = {
            "id": identity, "labels": dict(launch.labels), "log": launch.log or str(folder / "log.txt"),
            "command": [str(python), "-m", "mlops_lib.runner", launch.entry, *launch.args], "variables": variables,
            "started": time.time(),
        }  # fmt: skip
        Path(launch.inside).mkdir(parents=True, exist_ok=True)
        durable.write_json(folder / "container.json", order)
        # It returns when the supervisor, no child of ours, is under way and has written down who it is.
        subprocess.run(
            [sys.executable, "-m", "mlops_lib.engine.supervise", str(folder)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,  # `-m` imports from the current folder first: in a pushed project that is a stranger's code
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
        )
        return self.get(identity)

    def _folder(self, identity: str) -> Path:
        return self.home / "containers" / identity

    def get(self, container_id: str) -> Container:
        """From its folder, and whether its supervisor lives."""
        folder = self._folder(container_id)
        order = _read(folder / "container.json")
        if order is None:
            return Container(id=container_id, labels={}, state="gone")
        common: dict[str, Any] = {"id": container_id, "labels": order["labels"], "started": float(order["started"])}
        alive = self._supervisor_lives(container_id)
        ended = _read(folder / "state.json")
        if ended is not None:
            return Container(
                **common, state="exited", exit_code=ended["exit_code"], ended=ended["ended"],
                out_of_memory=bool(ended.get("out_of_memory")),
            )  # fmt: skip
        if alive:
            return Container(**common, state="running")
        return Container(**common, state="exited", exit_code=KILLED, ended=time.time())

    def _supervisor_lives(self, identity: str) -> bool:
        supervisor = _read(self._folder(identity) / "supervisor.json")
        if supervisor is None:
            return False
        return supervisor["born"] is not None and born(supervisor["pid"]) == supervisor["born"]

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """All containers of this home with these labels."""
        root = self.home / "containers"
        if not root.is_dir():
            return []
        found = (self.get(folder.name) for folder in sorted(root.iterdir()))
        return [c for c in found if c.state != "gone" and all(c.labels.get(k) == v for k, v in labels.items())]

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Sleep on the supervisor's process descriptor."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            container = self.get(container_id)
            if container.state != "running":
                return container
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return container
            self._sleep_until_death([container_id], left)

    def _sleep_until_death(self, identities: list[str], timeout_s: float | None) -> None:
        descriptors = []
        for identity in identities:
            supervisor = _read(self._folder(identity) / "supervisor.json")
            try:
                if supervisor is not None and hasattr(os, "pidfd_open"):
                    descriptors.append(os.pidfd_open(supervisor["pid"]))
            except ProcessLookupError:
                return
        try:
            if descriptors or not identities:
                select.select(descriptors, [], [], timeout_s)
            else:  # no process descriptors on this system
                time.sleep(min(0.05, timeout_s if timeout_s is not None else 0.05))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def deaths(self, *, stop: Callable[[], bool]) -> Iterator[Container]:
        """Listen to all running containers of this home."""
        running = {c.id for c in self.find({}) if c.state == "running"}
        while not stop():
            self._sleep_until_death(sorted(running), LOOK_S)
            for identity in sorted(running):
                container = self.get(identity)
                if container.state != "running":
                    running.discard(identity)
                    yield container
            running |= {c.id for c in self.find({}) if c.state == "running"}

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """SIGTERM to the script's process group, SIGKILL after the grace period."""
        self._signal(container_id, signal.SIGTERM)
        if self.wait(container_id, timeout_s=grace_s).state == "running":
            self.kill(container_id)

    def kill(self, container_id: str) -> None:
        """SIGKILL to the script's process group."""
        self._signal(container_id, signal.SIGKILL)
        self.wait(container_id, timeout_s=10.0)

    def _signal(self, identity: str, number: signal.Signals) -> None:
        deadline = time.monotonic() + 10.0
        while self.get(identity).state == "running":
            child = _read(self._folder(identity) / "child.json")
            if child is not None:
                if born(child["pid"]) == child["born"]:
                    try:
                        os.killpg(child["pid"], number)
                    except ProcessLookupError:
                        return
                return
            if time.monotonic() > deadline:  # the supervisor never came to start it
                return
            time.sleep(0.01)

    def remove(self, container_id: str) -> None:
        """Remove its folder."""
        if self.get(container_id).state == "exited":
            shutil.rmtree(self._folder(container_id), ignore_errors=True)


CACHES = {
    "KERAS_HOME": ".keras", "SCIKIT_LEARN_DATA": "scikit_learn_data", "HF_HOME": ".cache/huggingface",
    "TORCH_HOME": ".cache/torch", "NLTK_DATA": "nltk_data", "TFDS_DATA_DIR": "tensorflow_datasets",
}  # fmt: skip
"""What libraries download, by the variable that says where: below the home folder otherwise."""


def _home(caches: Path, own: Path) -> dict[str, str]:
    """The script's home folder: the caches that all runs share, as in a container; what the caller has already stays."""
    caches.mkdir(parents=True, exist_ok=True)
    kept = {name: str(own / place) for name, place in CACHES.items() if (own / place).is_dir()}
    told = {name: os.environ[name] for name in CACHES if name in os.environ}
    return {"HOME": str(caches), **kept, **told}


def born(pid: int) -> str | None:
    """When the process of this number started, so that a number used again is not mistaken for it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        fields = status.rsplit(")", 1)[1].split()
        return None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None


def _read(path: Path) -> Any:
    try:
        return durable.read_json(path)
    except (OSError, ValueError):
        return None
