"""Run the workers of a search on a Ray cluster.

Ray places them on nodes and restarts them. Each worker is an actor that runs the script in a
container of its node, as a local worker does. The chief stays on this machine, and listens at its
Unix socket only. All messages and files of its workers travel through Ray: this program polls each
actor in turn for the calls and files that have gathered there, and returns the answers and the
files of the search. Connections are Ray's own, so its TLS and its tokens protect them; large files
go through its object store.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lib import catalog, config, events, run_directory
from mlops_lib.engine import choose
from mlops_lib.errors import EngineError, MlopsError, TrainingError, UsageError
from mlops_lib.project import files
from mlops_lib.records import Failure, RunResult, RunSpec
from mlops_lib.runner import protocol
from mlops_lib.training import cancellation
from mlops_lib.tuning import call_relay, file_exchange, ray_node
from mlops_lib.tuning.file_exchange import Files
from mlops_lib.tuning.options import Execution, Workers

END_S = 15.0
"""Seconds that a worker has to end by itself after the search is over."""
POLL_S = 0.5
"""Seconds that an actor waits for a call of its worker before it answers that there is none."""
PLACEMENT_WARNING_S = 30.0
"""A worker that Ray has not placed after so long is worth a warning."""
RETRY_S = 1.0
LOST_CHIEF_S = 900.0
"""Seconds after which the container of a node ends whose search has disappeared."""
THREADS = 4
"""Threads of an actor: one trains, one exchanges, one takes orders."""


@dataclass(frozen=True)
class Exchange:
    """The calls and files of a worker that its actor passes on."""

    calls: list[call_relay.Call]
    files: Files


class Worker:
    """One worker: an actor in a process that Ray starts on some node.

    Args:
        name: the worker's name.
        digest: the run's digest.
    """

    def __init__(self, name: str, digest: str) -> None:
        self._name = name
        home = config.resolve(None).home
        self._home = home
        self._place = home / "work" / f"{digest[:12]}-{name}"
        self._shared = self._place / "shared"
        self._outbox = file_exchange.Outbox(self._shared, file_exchange.WORKER_PATTERNS)
        self._calls = call_relay.CallQueue(socket.gethostname())
        self._incarnation = uuid.uuid4().hex
        self._has_files = threading.Event()
        self._stop = cancellation.Stop()

    def inventory(self, patterns: tuple[str, ...]) -> tuple[str, dict[str, int]]:
        """Return this process's identity, and the sizes of an earlier process's files."""
        return self._incarnation, file_exchange.inventory(self._shared, patterns)

    def exchange(
        self,
        incarnation: str,
        *,
        answers: dict[int, call_relay.Answer],
        incoming: Files,
        confirmed: list[str],
        is_complete: bool,
    ) -> Exchange | None:
        """Take answers and files; return calls and files.

        Args:
            incarnation: identity of the process that this is meant for; for another one, nothing is
                taken
                and None returned.
            answers: answers to calls, by number.
            incoming: files of the search.
            confirmed: names of files that have arrived there.
            is_complete: whether the worker has all files that exist now.
        """
        # Meant for a process that has died: its answers belong to calls that this one has not made.
        if incarnation != self._incarnation:
            return None
        for name, content in incoming.items():
            file_exchange.write_inside(self._shared, name, content)
            self._outbox.note_peer_has(name)
        for name in confirmed:
            folder, _, weights = name.rpartition("/")
            if folder == "search/weights":  # the container waits for it to report its trial
                file_exchange.write_inside(self._shared, f"search/given/{weights}", b"")
        for number, answer in answers.items():
            self._calls.answer(number, answer)
        if is_complete:
            self._has_files.set()
        # Files first: a call may report a trial whose weights the chief then reads.
        outgoing = self._outbox.batch()
        calls = self._calls.take(timeout_s=0.0 if outgoing or not is_complete else POLL_S)
        return Exchange(calls, {**outgoing, **self._outbox.batch()} if calls else outgoing)

    def work(
        self,
        spec: dict[str, Any],
        *,
        request: dict[str, Any],
        restarts: int,
        idle_minutes: float,
    ) -> dict[str, Any]:
        """Work until the search is over; return a RunResult.

        A restart on the same node continues with the files that it left there.
        """
        try:
            return self._work(
                replace(RunSpec.from_json(spec), project=str(Path.cwd())),
                request={**request, "worker": self._name},
                restarts=restarts,
                idle_minutes=idle_minutes,
            ).to_json()
        except cancellation.Interrupted:
            return RunResult(run_dir=str(self._place), state="stopped").to_json()
        except MlopsError as error:
            failure = Failure(kind="crash", message=error.what, where=error.where)
            return RunResult(run_dir=str(self._place), state="failed", failure=failure).to_json()

    def stop(self) -> None:
        """Stop the worker's container."""
        self._stop.set()
        self._has_files.set()

    def _work(self, run: RunSpec, **how: Any) -> RunResult:
        engine = choose(run.backend, home=str(self._home))
        if not engine.has(run.image):
            engine.build(run.image, on_line=lambda line: None)
        run_directory.write_spec(self._place, run)
        self._has_files.wait()
        request = how.pop("request")
        execution = Execution(
            engine=engine, run_dir=self._place, home=self._home, stopped=self._stop, **how
        )
        with call_relay.serving(self._shared / protocol.SEARCH, self._calls):
            return execution.train(
                run, request=request, number_of_pass=int(request["pass"]), shared=self._shared
            )


class Cluster:
    """A Ray cluster that this program is connected with.

    Args:
        ray: the module.
        spec: the run.
        request: the search request for workers.
        execution: restarts and limits of the workers.
    """

    def __init__(
        self, ray: Any, spec: RunSpec, *, request: dict[str, Any], execution: Execution
    ) -> None:
        self._ray = ray
        self._spec = spec
        self._request = {**request, "remote": True, "chief_timeout_s": LOST_CHIEF_S}
        self._execution = execution
        self._patterns = file_exchange.chief_patterns(int(request["fit"]))
        self._inbox = file_exchange.Inbox(execution.run_dir / protocol.INSIDE)

    def work(self, number: int, stop: cancellation.Stop) -> RunResult:
        """Run one worker until the search is over or `stop` is set.

        Raises:
            TrainingError: its files cannot be written here, or Ray cannot run it.
        """
        name = f"ray-{number}"
        limits = self._spec.limits
        options = {"num_cpus": limits.cpus or 1, "num_gpus": 1 if limits.gpus else 0}
        actor_class = self._ray.remote(
            **options,
            # Without an end: nodes come and go, and the search's own limits end it.
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=THREADS,
            scheduling_strategy="SPREAD",
        )(Worker)
        actor = actor_class.remote(name, self._spec.digest)
        try:
            task = actor.work.remote(
                self._spec.to_json(),
                request=self._request,
                restarts=self._execution.restarts,
                idle_minutes=self._execution.idle_minutes,
            )
            link = _Link(self._ray, actor, task, name, self._warn)
            return link.run(
                file_exchange.Outbox(self._execution.run_dir / protocol.INSIDE, self._patterns),
                self._inbox,
                call_relay.ChiefCaller(self._execution.run_dir),
                patterns=self._patterns,
                stop=stop,
            )
        except (self._ray.exceptions.RayError, OSError) as error:
            raise TrainingError(
                f"{name} of the cluster failed: {str(error)[:500]}",
                where=str(self._execution.run_dir),
                remedy="See that the cluster has a node for it, and room for its files.",
            ) from None
        finally:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def _warn(self, message: str) -> None:
        self._execution.observer(events.warning(message))


class _Link:
    """The exchange with one actor, which may be started again elsewhere at any time."""

    def __init__(
        self, ray: Any, actor: Any, task: Any, name: str, warn: Callable[[str], None]
    ) -> None:
        self._ray = ray
        self._actor = actor
        self._task = task
        self._name = name
        self._warn = warn
        self._incarnation = ""
        self._answers: dict[int, call_relay.Answer] = {}
        self._confirmed: list[str] = []

    def run(
        self,
        outbox: file_exchange.Outbox,
        inbox: file_exchange.Inbox,
        chief: call_relay.ChiefCaller,
        *,
        patterns: tuple[str, ...],
        stop: cancellation.Stop,
    ) -> RunResult:
        """Exchange calls and files until the actor's work has ended, or `stop` is set.

        Raises:
            Interrupted: `stop` was set.
            RayError: Ray has given the actor up.
        """
        try:
            while not stop.is_set():
                try:
                    if not self._incarnation and not self._greet(outbox, inbox, patterns, stop):
                        continue
                    had_files = self._turn(outbox, inbox, chief, stop)
                # Ray has given up on it; other errors pass when a node comes back.
                except self._ray.exceptions.ActorDiedError:
                    raise
                except self._ray.exceptions.RayError as error:
                    self._note_loss(error)
                    stop.wait(RETRY_S)
                    continue
                # What the worker wrote last is fetched after its end.
                if not had_files and self._is_ready(self._task, timeout_s=0.0):
                    return RunResult.from_json(self._ray.get(self._task))
            self._actor.stop.remote()
            self._is_ready(self._task, timeout_s=END_S)
            raise cancellation.Interrupted
        finally:
            chief.close()

    def _greet(
        self,
        outbox: file_exchange.Outbox,
        inbox: file_exchange.Inbox,
        patterns: tuple[str, ...],
        stop: cancellation.Stop,
    ) -> bool:
        """Learn which process plays the actor now, and which files it has."""
        answer = self._get(self._actor.inventory.remote(patterns), stop)
        if answer is None:
            return False
        self._incarnation, sizes = answer
        # Another process may be on another node, without the files of the one before.
        outbox.forget()
        self._answers = {}
        self._confirmed = []
        for name, size in sizes.items():
            # The node's own checkpoint may be newer than its copy here.
            if inbox.sent_by(name) == self._name or outbox.size(name) == size:
                outbox.note_peer_has(name)
        return True

    def _turn(
        self,
        outbox: file_exchange.Outbox,
        inbox: file_exchange.Inbox,
        chief: call_relay.ChiefCaller,
        stop: cancellation.Stop,
    ) -> bool:
        """Exchange once; return whether files were exchanged."""
        incoming = outbox.batch()
        exchange = self._get(
            self._actor.exchange.remote(
                self._incarnation,
                answers=self._answers,
                incoming=incoming,
                confirmed=self._confirmed,
                is_complete=not incoming,
            ),
            stop,
        )
        if exchange is None:
            self._incarnation = ""
            return True
        # Confirmed only when durable here: the worker reports a trial's end after its weights.
        self._confirmed = inbox.receive(exchange.files, sender=self._name)
        for name in self._confirmed:
            outbox.note_peer_has(name)
        self._answers = {call.number: chief.call(call) for call in exchange.calls}
        return bool(incoming or exchange.files)

    def _get(self, reference: Any, stop: cancellation.Stop) -> Any:
        """Return the value of a call of the actor, or None if `stop` is set before."""
        waited_s = 0.0
        while not stop.is_set():
            if self._is_ready(reference, timeout_s=1.0):
                return self._ray.get(reference)
            waited_s += 1.0
            if waited_s == PLACEMENT_WARNING_S:
                self._warn(
                    f"{self._name} of the cluster does not answer: no node has room for it, or its"
                    " node is gone; Ray starts it as soon as there is one"
                )
        return None

    def _is_ready(self, reference: Any, *, timeout_s: float) -> bool:
        ready, _ = self._ray.wait([reference], timeout=timeout_s)
        return bool(ready)

    def _note_loss(self, error: Exception) -> None:
        if self._incarnation:
            self._warn(f"{self._name} of the cluster is started again: {str(error)[:300]}")
        self._incarnation = ""


def _connected(spec: RunSpec, address: str) -> Any:
    """Connect with a Ray cluster, shipping the project and this package; return `ray`.

    Raises:
        UsageError: Ray is not installed, or the project contains files that it cannot ship.
        EngineError: no cluster answers at the address.
    """
    setting = f"on={address}"
    try:
        import grpc  # noqa: F401 - needed by the relay
        import ray
    except ImportError:
        raise UsageError(
            "Ray is not installed",
            where=setting,
            remedy="pip install 'mlops_lib[ray]', the cluster's version.",
        ) from None
    strays = files.strays(Path(spec.project))
    if strays:
        raise UsageError(
            f"Ray would ship files from outside the project: {', '.join(strays)}",
            where=spec.project,
            remedy="Replace these links, pipes or devices by regular files, or remove them.",
        )
    with tempfile.TemporaryDirectory(prefix="mlops-ship-") as folder:
        package = _with_catalog(Path(folder))
        try:
            ray.init(
                address=address,
                runtime_env={"working_dir": spec.project, "py_modules": [str(package)]},
                log_to_driver=False,
                namespace="mlops",
            )
        except (ConnectionError, RuntimeError) as error:
            raise EngineError(
                f"no Ray cluster answers: {error}",
                where=setting,
                remedy="`ray start --head`, or another address.",
            ) from None
    return ray


@contextmanager
def cluster(
    spec: RunSpec, *, workers: Workers, request: dict[str, Any], execution: Execution
) -> Iterator[Cluster]:
    """Connect with a Ray cluster while the context is open.

    Args:
        spec: the run.
        workers: `ray_address` is `ray://HOST:PORT`, HOST:PORT, `auto` for the cluster that this
            machine belongs to, or `head://HOST:PORT` for a new one with its head here.
        request: the search request for workers.
        execution: restarts and limits of the workers; its observer receives warnings.

    Raises:
        UsageError: Ray is not installed, or the project contains files that it cannot ship.
        EngineError: no cluster answers at the address.
    """
    address = workers.ray_address
    if address.startswith(ray_node.HEAD):
        own = address.removeprefix(ray_node.HEAD)
        with (
            ray_node.head(own),
            cluster(
                spec,
                workers=replace(workers, ray_address=own),
                request=request,
                execution=execution,
            ) as started,
        ):
            yield started
        return
    ray = _connected(spec, address)
    try:
        yield Cluster(ray, spec, request=request, execution=execution)
    finally:
        ray.shutdown()


def _with_catalog(folder: Path) -> Path:
    """Copy this package together with the catalog, as an installation has it.

    In a checkout the catalog lies beside the package.
    """
    package = folder / "mlops_lib"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).parents[1], package, ignore=unwanted)
    shutil.copytree(catalog.FOLDER, package / "containers", ignore=unwanted, dirs_exist_ok=True)
    return package
