"""Workers on a Ray cluster: Ray says on which node each works, and starts it again where a node or
a process has died.

A worker there is what `mlops work` is on any machine (mlops_lib.tuning.remote_worker). The project
and this package travel with it; the environment is made on the node, once.
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
from mlops_lib.training import cancellation
from mlops_lib.tuning import remote_worker

END_S = 15.0
"""How long workers may take to end by themselves when the search is over."""


class Worker:
    """One worker, in a process of Ray's on some node."""

    def work(
        self, spec: dict[str, Any], *, number: int, url: str, restarts: int, idle_minutes: float
    ) -> str:
        """Work until the search is over; returns how that ended. A restart on the same node goes on
        with what is there.
        """
        found = replace(RunSpec.from_json(spec), project=str(Path.cwd()))
        home = config.resolve(None).home
        engine = choose(found.backend, home=str(home))
        if not engine.has(found.image):
            engine.build(found.image, on_line=lambda line: None)
        place = home / "work" / f"{found.digest[:12]}-{number}"
        result = remote_worker.work(
            found,
            engine=engine,
            url=url,
            run_dir=place,
            home=home,
            restarts=restarts,
            idle_minutes=idle_minutes,
            observer=lambda event: None,
            stopped=cancellation.Stop(),
        )
        return result.state


@contextmanager
def at_work(
    spec: RunSpec,
    *,
    on: str,
    count: int,
    url: str,
    restarts: int,
    idle_minutes: float,
    observer: Observer,
) -> Iterator[None]:
    """Let workers of a cluster work meanwhile.

    Args:
        spec: the run.
        on: the cluster: `ray://HOST:PORT`, HOST:PORT, or `auto` for the one that this machine
            belongs to.
        count: how many workers.
        url: the run's shared files.
        restarts: as for any training.
        idle_minutes: as for any training.
        observer: is told of workers that cannot work.

    Raises:
        UsageError: Ray is not installed.
        EngineError: no cluster answers there.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(
            "Ray is not installed",
            where=f"on={on}",
            remedy="pip install 'mlops_lib[ray]', the cluster's version.",
        ) from None
    strays = files.strays(Path(spec.project))
    if strays:
        raise UsageError(
            f"Ray would ship what does not lie in the project: {', '.join(strays)}",
            where=spec.project,
            remedy="Replace these links, pipes or devices by the files themselves, or remove them.",
        )
    with tempfile.TemporaryDirectory(prefix="mlops-ship-") as folder:
        package = _with_catalog(Path(folder))
        ship = {"working_dir": spec.project, "py_modules": [str(package)], "env_vars": _passed()}
        try:
            ray.init(address=on, runtime_env=ship, log_to_driver=False, namespace="mlops")
        except (ConnectionError, RuntimeError) as error:
            raise EngineError(
                f"no Ray cluster answers: {error}",
                where=f"on={on}",
                remedy="`ray start --head`, or another address.",
            ) from None
    try:
        options = {"num_cpus": spec.limits.cpus or 1, "num_gpus": 1 if spec.limits.gpus else 0}
        actor = ray.remote(**options, max_restarts=-1, max_task_retries=-1)(Worker)
        workers = [actor.remote() for _ in range(count)]
        how = {"url": url, "restarts": restarts, "idle_minutes": idle_minutes}
        pending = [
            one.work.remote(spec.to_json(), number=n, **how) for n, one in enumerate(workers, 1)
        ]
        try:
            yield
        finally:  # they see in the store that the search is over, and stop their containers
            done, _ = ray.wait(pending, num_returns=count, timeout=END_S)
            _tell(
                ray, {number: one for number, one in enumerate(pending, 1) if one in done}, observer
            )
            for one in workers:
                ray.kill(one)
    finally:
        ray.shutdown()


def _with_catalog(folder: Path) -> Path:
    """A copy of this package as an installation has it: with the catalog in it, which in a checkout
    lies beside it.
    """
    package = folder / "mlops_lib"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).parents[1], package, ignore=unwanted)
    shutil.copytree(catalog.FOLDER, package / "containers", ignore=unwanted, dirs_exist_ok=True)
    return package


def _passed() -> dict[str, str]:
    """What the nodes need to reach the shared files; the containers do not see it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("AWS_", "FSSPEC_", "GOOGLE_"))
    }


def _tell(ray: Any, done: dict[int, Any], observer: Observer) -> None:
    """Tell of the workers, by their number, that came to a bad end."""
    for number, one in done.items():
        try:
            ray.get(one)
        except ray.exceptions.RayError as error:
            observer(
                events.warning(f"worker {number} of the cluster could not work: {error}"[:500])
            )
