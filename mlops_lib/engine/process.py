"""The process engine: supervised processes in cached virtual environments.

Each container is a folder `<home>/containers/<id>` with its request (`container.json`) and its
result (`state.json`, written by its supervisor). The supervisor is a process of its own session, so
that a training outlives the program that started it, and its result is recorded without an
observer. It holds the lock on the folder's `alive` for its lifetime. The kernel releases the lock
at its death, so that a reused process id is never mistaken for it. There is no cage: the script
runs as the caller, and limits and networks are not enforced.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from mlops_lib import atomic, file_lock
from mlops_lib.config import SECRETS
from mlops_lib.engine import (
    gpu,
    image_store,
    import_check,
    model_measurement,
    package_index,
    venv,
)
from mlops_lib.engine.interface import Activity, Container, Launch
from mlops_lib.engine.supervisor import ALIVE, KILLED, boot, born, stat
from mlops_lib.environments import images
from mlops_lib.errors import EngineError
from mlops_lib.records import Image, Limits
from mlops_lib.runner import protocol

RAY_TOKEN = "RAY_AUTH_TOKEN"
"""Variable with the token of a Ray cluster: who has it may run code on each of its nodes."""
FORWARDED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
)
"""Variables of the caller that a script may see; any other could be a secret."""
CLAIM_S = 0.1
POLL_S = 0.05
"""Polling interval in seconds for a supervisor without a process descriptor."""


class ProcessEngine:
    """Runs trainings as processes of this machine."""

    name: Literal["docker", "process"] = "process"

    def __init__(self, *, home: str) -> None:
        self.home = Path(home).expanduser().absolute()

    def check(self) -> str:
        """Return the engine's name; it always answers."""
        return f"processes of this machine, Python {sys.version.split()[0]}"

    def has(self, image: Image) -> bool:
        """Return whether the virtual environment is complete."""
        return venv.is_complete(self._environment(image))

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        """Create the virtual environment.

        Concurrent builds of the same one wait for each other.
        """
        venv.build(self._environment(image), image.environment, on_line=on_line)

    def missing(self, image: Image, imports: Collection[str]) -> list[import_check.Missing]:
        """Import each name once in the environment's Python."""
        return venv.missing(self._environment(image), image.environment, imports)

    def measure(self, image: Image, folder: str, *, limits: Limits, timeout_s: float) -> str:
        """Measure in a process, which is able to use this machine's files and network."""
        python = str(venv.python_of(self._environment(image)))
        inherited = {
            name: os.environ[name]
            for name in FORWARDED_VARIABLES
            if name in os.environ and "proxy" not in name.lower()
        }
        # No device has this number, so CUDA offers none.
        hidden = {} if limits.gpus else {"CUDA_VISIBLE_DEVICES": "-1"}
        variables = {
            **inherited,
            **image.environment.variables,
            **hidden,
            "PYTHONPATH": str(self._runner()),
        }
        return model_measurement.in_process(
            [python, "-m", model_measurement.PROGRAM, folder], variables, timeout_s=timeout_s
        )

    def gpus(self) -> bool:
        """Return whether an NVIDIA driver answers on this machine."""
        return gpu.driver()

    def name_of(self, image: Image) -> str:
        """Return the virtual environment's folder."""
        return str(self._environment(image))

    def images(self) -> list[image_store.StoredImage]:
        """Return the virtual environments of this home, largest first."""
        alive = [c.id for c in self.find({}) if c.state == "running"]
        orders = [_read(self._folder(identity) / "container.json") for identity in alive]
        return venv.stored_environments(
            self.home, running={str(order["command"][0]) for order in orders if order is not None}
        )

    def remove_images(
        self, images: Iterable[image_store.StoredImage]
    ) -> list[image_store.StoredImage]:
        """Remove virtual environments; return the removed ones."""
        removed = list(images)
        for image in removed:
            venv.remove(Path(image.id))
        return removed

    def _environment(self, image: Image) -> Path:
        return venv.place(self.home, image.environment)

    def _runner(self) -> Path:
        place = self.home / "runner" / images.runner_digest()[:16]
        if not place.exists():
            fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
            images.copy_runner(fresh)
            try:
                # Complete before it has its name: a training may start from it at any moment.
                fresh.rename(place)
            except OSError:  # another process was first
                shutil.rmtree(fresh)
        return place

    def start(self, launch: Launch) -> Container:
        """Start a supervisor, which starts the runner."""
        if not self.has(launch.image):
            raise EngineError(
                "its environment is not built here",
                where=launch.image.tag,
                remedy="`mlops build` makes it.",
            )
        identity = uuid.uuid4().hex
        folder = self._folder(identity)
        folder.mkdir(parents=True)
        inherited = {name: os.environ[name] for name in FORWARDED_VARIABLES if name in os.environ}
        for name in set(package_index.PROXIES) & set(inherited):
            inherited[name] = package_index.without_credentials(inherited[name])
        if launch.caches:
            Path(launch.caches).mkdir(parents=True, exist_ok=True)
            inherited["HOME"] = launch.caches
        variables = {
            **inherited,
            # The order of sets of strings follows from it: a restart has to see the same one.
            "PYTHONHASHSEED": "1",
            "PYTHONUNBUFFERED": "1",
            "MPLBACKEND": "Agg",
            **launch.image.environment.variables,
            **launch.variables,
            "PYTHONPATH": str(self._runner()),
            "MLOPS_PROJECT": launch.project,
            "MLOPS_INSIDE": launch.inside,
            **({"MLOPS_SHARED": launch.shared} if launch.shared else {}),
            **(
                {}
                if launch.limits.gpus and not launch.gpu
                else {"CUDA_VISIBLE_DEVICES": launch.gpu or "-1"}
            ),
        }
        python = venv.python_of(self._environment(launch.image))
        order = {
            "id": identity,
            "labels": dict(launch.labels),
            "log": launch.log or str(folder / protocol.LOG),
            "command": [str(python), "-m", "mlops_lib.runner", launch.entry, *launch.args],
            "variables": variables,
            "started": time.time(),
        }
        Path(launch.inside).mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "container.json", order)
        # The script can read the variables of a process of the same user, and this one lives beside
        # it.
        hidden = {*SECRETS, RAY_TOKEN}
        open_to_all = {name: value for name, value in os.environ.items() if name not in hidden}
        # It returns when the supervisor, no child of ours, is under way and has written down who it
        # is.
        subprocess.run(
            [sys.executable, "-S", "-m", "mlops_lib.engine.supervisor", str(folder)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # `-m` imports from the current folder first: in a pushed project that is a stranger's
            # code
            cwd=folder,
            env={**open_to_all, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
        )
        return self.get(identity)

    def _folder(self, identity: str) -> Path:
        return self.home / "containers" / identity

    def get(self, container_id: str) -> Container:
        """Read the state from its folder, and check whether its supervisor lives."""
        folder = self._folder(container_id)
        order = _read(folder / "container.json")
        if order is None:
            return Container(id=container_id, labels={}, state="gone")
        common: dict[str, Any] = {
            "id": container_id,
            "labels": order["labels"],
            "started": float(order["started"]),
        }
        # Before the state is read: a supervisor writes its state first and ends then. In the other
        # order, one that ends in between would look as if it had been killed.
        alive = file_lock.is_held(folder / ALIVE)
        ended = _read(folder / "state.json")
        if ended is not None:
            return Container(
                **common,
                state="exited",
                exit_code=ended["exit_code"],
                ended=ended["ended"],
                out_of_memory=bool(ended.get("out_of_memory")),
            )
        if alive:
            return Container(**common, state="running", paused=self._is_paused(folder))
        return Container(**common, state="exited", exit_code=KILLED, ended=time.time())

    def _is_paused(self, folder: Path) -> bool:
        child = _read(folder / "child.json")
        return child is not None and _state(child["pid"]) == "T"

    def _end_session(self, folder: Path) -> None:
        """Kill the processes that a script left behind after its supervisor was killed."""
        child = _read(folder / "child.json")
        # A process id is reused: one that was born later belongs to another program.
        if child is None or born(child["pid"]) not in (None, child["born"]):
            return
        for pid in _session(child):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def find(self, labels: Mapping[str, str]) -> list[Container]:
        """Return all containers of this home with these labels."""
        root = self.home / "containers"
        if not root.is_dir():
            return []
        containers = (self.get(folder.name) for folder in sorted(root.iterdir()))
        return [
            c
            for c in containers
            if c.state != "gone" and all(c.labels.get(k) == v for k, v in labels.items())
        ]

    def wait(self, container_id: str, *, timeout_s: float | None = None) -> Container:
        """Sleep on the supervisor's process descriptor."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            container = self.get(container_id)
            remaining_s = None if deadline is None else deadline - time.monotonic()
            if container.state == "exited":
                self._end_session(self._folder(container_id))
            if container.state != "running" or (remaining_s is not None and remaining_s <= 0):
                return container
            self._sleep_until_death(container_id, remaining_s)

    def _sleep_until_death(self, identity: str, timeout_s: float | None) -> None:
        supervisor = _read(self._folder(identity) / "supervisor.json")
        try:
            # The supervisor is no child of this program, so `waitpid` cannot wait for it.
            descriptor = os.pidfd_open(supervisor["pid"])
        except (
            AttributeError,
            TypeError,
            OSError,
        ):  # no such system, no supervisor yet, or not to be seen from here
            time.sleep(min(POLL_S, timeout_s if timeout_s is not None else POLL_S))
            return
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            ended.poll(None if timeout_s is None else timeout_s * 1000)
        finally:
            os.close(descriptor)

    def activity(self, container_id: str) -> Activity | None:
        """Sum up the script's session in /proc; network traffic is not included."""
        child = _read(self._folder(container_id) / "child.json")
        if child is None or self.get(container_id).state != "running":
            return None
        usages = [usage for usage in map(_resources, _session(child)) if usage is not None]
        if not usages:
            return None
        return Activity(
            cpu_s=sum(usage.cpu_s for usage in usages),
            io_bytes=sum(usage.io_bytes for usage in usages),
            memory_bytes=sum(usage.memory_bytes for usage in usages),
        )

    def stop(self, container_id: str, *, grace_s: float = 10.0) -> None:
        """Send SIGTERM to the script; after the grace period, SIGKILL to its group."""
        self._signal(container_id, signal.SIGTERM)
        if self.wait(container_id, timeout_s=grace_s).state == "running":
            self.kill(container_id)

    def kill(self, container_id: str) -> None:
        """Send SIGKILL to the script's process group."""
        self._signal(container_id, signal.SIGKILL)
        self.wait(container_id, timeout_s=10.0)

    def _signal(self, identity: str, number: signal.Signals) -> None:
        deadline = time.monotonic() + 10.0
        while self.get(identity).state == "running":
            child = _read(self._folder(identity) / "child.json")
            if child is not None:
                if born(child["pid"]) == child["born"]:
                    # Asked is the script alone, as in a container: it may need its helpers to end
                    # in order.
                    send = os.killpg if number == signal.SIGKILL else os.kill
                    with suppress(ProcessLookupError):
                        send(child["pid"], number)
                return
            if time.monotonic() > deadline:  # the supervisor never came to start it
                return
            time.sleep(0.01)

    def remove(self, container_id: str) -> None:
        """Remove its folder.

        A supervisor that starts after this finds no request and ends.
        """
        folder = self._folder(container_id)
        with _lock_of_supervisor(folder) as mine:
            if mine:
                self._end_session(folder)
                (folder / "container.json").unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)


def _state(pid: int) -> str:
    """Return the kernel's letter for a process's state.

    It is "" if there is no such process.
    """
    fields = stat(pid)
    return fields[0] if fields else ""


def _session(child: Mapping[str, Any]) -> list[int]:
    """Return the living processes of the session that a script leads or led.

    None of them is older than the script, so that reused ids do not count.
    """
    since, _, born_at = str(child["born"]).partition(" ")
    if since != boot() or not born_at.isdecimal():
        return []
    pids = []
    for place in Path("/proc").glob("[0-9]*"):
        fields = stat(int(place.name))
        if (
            len(fields) > 19
            and fields[3] == str(child["pid"])
            and fields[0] != "Z"
            and int(fields[19]) >= int(born_at)
        ):
            pids.append(int(place.name))
    return pids


def _resources(pid: int) -> Activity | None:
    """Return the resources of one process and of the children that it has waited for."""
    fields = stat(pid)
    if len(fields) < 22:
        return None
    transferred = 0
    with suppress(OSError, ValueError):
        counters = dict(
            line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines()
        )
        transferred = int(counters["rchar"]) + int(counters["wchar"])
    # User and system time of the process, then those of its children that have ended (proc(5),
    # fields 14 to 17).
    ticks = sum(map(int, fields[11:15]))
    return Activity(
        cpu_s=ticks / os.sysconf("SC_CLK_TCK"),
        io_bytes=transferred,
        memory_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


@contextmanager
def _lock_of_supervisor(folder: Path) -> Iterator[bool]:
    """Hold a supervisor's lock.

    Yield False if a supervisor holds it, or the folder is missing.
    """
    try:
        descriptor = file_lock.open_file(folder / ALIVE)
    except FileNotFoundError:
        yield False
        return
    try:
        # A moment's patience: a program that looks whether the supervisor lives locks it briefly.
        yield file_lock.acquire(descriptor, timeout_s=CLAIM_S)
    finally:
        os.close(descriptor)


def _read(path: Path) -> Any:
    try:
        return atomic.read_json(path)
    except (OSError, ValueError):
        return None
