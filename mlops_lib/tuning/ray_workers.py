"""Workers on a Ray cluster, which places them on nodes and restarts them.

Such a worker does the same as `mlops work` does on any machine (mlops_lib.tuning.remote_worker). The
project and this package are shipped with it; its environment is built on the node, once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lib import catalog, config, events
from mlops_lib.engine import choose
from mlops_lib.errors import EngineError, UsageError
from mlops_lib.events import Observer
from mlops_lib.project import files
from mlops_lib.records import RunSpec
from mlops_lib.tuning import remote_worker
from mlops_lib.tuning.options import Execution, Workers

END_S = 15.0
"""Seconds that workers have to end by themselves after the search is over."""


class Worker:
    """One worker: an actor in a process that Ray starts on some node."""

    def work(
        self, spec: dict[str, Any], *, number: int, url: str, restarts: int, idle_minutes: float
    ) -> str:
        """Work until the search is over; return the state of the worker's training.

        A restart on the same node continues with the files that it left there.
        """
        run = replace(RunSpec.from_json(spec), project=str(Path.cwd()))
        home = config.resolve(None).home
        engine = choose(run.backend, home=str(home))
        if not engine.has(run.image):
            engine.build(run.image, on_line=lambda line: None)
        execution = Execution(
            engine=engine,
            run_dir=home / "work" / f"{run.digest[:12]}-{number}",
            home=home,
            restarts=restarts,
            idle_minutes=idle_minutes,
        )
        return remote_worker.work(run, execution=execution, url=url).state


@contextmanager
def worker_pool(spec: RunSpec, *, workers: Workers, execution: Execution) -> Iterator[None]:
    """Run workers on a Ray cluster while the context is open.

    Args:
        spec: the run.
        workers: how many there are. `ray_address` is `ray://HOST:PORT`, HOST:PORT, or `auto` for
            the cluster that this machine belongs to.
        execution: restarts and limits of the workers; its observer receives their failures.

    Raises:
        UsageError: Ray is not installed, or the project contains files that it cannot ship.
        EngineError: no cluster answers at the address.
    """
    setting = f"on={workers.ray_address}"
    try:
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
        ship = {
            "working_dir": spec.project,
            "py_modules": [str(package)],
            "env_vars": _forwarded_variables(),
        }
        try:
            ray.init(
                address=workers.ray_address,
                runtime_env=ship,
                log_to_driver=False,
                namespace="mlops",
            )
        except (ConnectionError, RuntimeError) as error:
            raise EngineError(
                f"no Ray cluster answers: {error}",
                where=setting,
                remedy="`ray start --head`, or another address.",
            ) from None
    try:
        options = {"num_cpus": spec.limits.cpus or 1, "num_gpus": 1 if spec.limits.gpus else 0}
        actor = ray.remote(**options, max_restarts=-1, max_task_retries=-1)(Worker)
        actors = [actor.remote() for _ in range(workers.count)]
        arguments = {
            "url": workers.shared,
            "restarts": execution.restarts,
            "idle_minutes": execution.idle_minutes,
        }
        pending = {
            number: worker.work.remote(spec.to_json(), number=number, **arguments)
            for number, worker in enumerate(actors, 1)
        }
        try:
            yield
        finally:
            # Workers read the end of the search in the store, and stop their containers.
            ended, _ = ray.wait(list(pending.values()), num_returns=workers.count, timeout=END_S)
            results = {number: task for number, task in pending.items() if task in ended}
            _report_failures(ray, results, execution.observer)
            for worker in actors:
                ray.kill(worker)
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


def _forwarded_variables() -> dict[str, str]:
    """Return the variables that nodes need for the shared files.

    Containers do not get them.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("AWS_", "FSSPEC_", "GOOGLE_"))
    }


def _report_failures(ray: Any, results: dict[int, Any], observer: Observer) -> None:
    """Send a warning for each failed worker; `results` are by worker number."""
    for number, task in results.items():
        try:
            ray.get(task)
        except ray.exceptions.RayError as error:
            observer(events.warning(f"worker {number} of the cluster failed: {error}"[:500]))
