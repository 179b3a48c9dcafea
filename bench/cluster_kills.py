"""A search on a real Ray cluster whose node, and then whose chief, are killed: no trial is lost.

`python -m pytest -p no:cacheprovider bench/cluster_kills.py` starts a head and nodes on this machine,
each with `mlops work`. It is not among the tests, because it did not always pass: twice a worker found
its working directory gone, perhaps because nodes on one machine share Ray's folder of unpacked packages.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from searching import SCRIPT, TRIALS, Search  # noqa: E402
from waiting import until  # noqa: E402

from mlops_lib import event_log, run_directory, run_lock  # noqa: E402
from mlops_lib.engine import LABEL_RUN  # noqa: E402
from mlops_lib.monitoring import status  # noqa: E402
from mlops_lib.records import SearchResult  # noqa: E402
from mlops_lib.tuning import ray_node  # noqa: E402

SEARCH = """
import sys
from pathlib import Path
from searching import Search
search = Search.again(Path(sys.argv[1]))
search.begin(count=2, ray_address=sys.argv[2]).join()
if not hasattr(search.result, "trials"):
    raise search.result
"""


@contextmanager
def process(
    *command: str, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        started = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(60)


def lend(
    stack: ExitStack, cluster: dict[str, str], folder: Path, name: str
) -> subprocess.Popen[bytes]:
    """Let a "machine" with a home of its own join the cluster, by the command."""
    command = (sys.executable, "-m", "mlops_lib", "work", "--on", cluster["address"])
    environment = {"RAY_AUTH_TOKEN": cluster["token"], "MLOPS_HOME": str(folder / "home")}
    return stack.enter_context(
        process(*command, environment=environment, log=folder / f"{name}.txt")
    )


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    # A trial waits for as long as the file is there: on a quiet machine one worker would have tried
    # them all before the other had started.
    hold = f"""
        while "-ray-" in os.getcwd() and os.path.exists({str(tmp_path / "hold")!r}):
            time.sleep(0.05)"""
    script = SCRIPT.replace("import time", "import os, time", 1)
    made = Search(tmp_path, script=script.replace("time.sleep(0.06)", f"time.sleep(0.06){hold}", 1))
    (tmp_path / "hold").touch()
    yield made
    for container in made.engine.find({LABEL_RUN: made.spec.digest}):
        made.engine.kill(container.id)
        made.engine.remove(container.id)


def test_killed_nodes_and_a_killed_chief_lose_no_trial(search: Search, tmp_path: Path) -> None:
    cluster = ray_node.new_cluster()
    # The nodes share this home only because their environment would take minutes to build.
    environment = {
        "RAY_AUTH_TOKEN": cluster["token"],
        "MLOPS_HOME": str(search.home),
        "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)]),
    }
    head = f"{ray_node.HEAD}{cluster['address']}"
    with ExitStack() as stack:
        nodes = [lend(stack, cluster, tmp_path, f"node {number}") for number in (1, 2)]
        searching = stack.enter_context(
            process(
                sys.executable,
                "-c",
                SEARCH,
                str(tmp_path),
                head,
                environment=environment,
                log=tmp_path / "search.txt",
            )
        )

        def is_over() -> bool:
            return searching.poll() is not None

        until(
            lambda: len(search.running()) == 2 or is_over() or nodes[0].poll() is not None,
            timeout_s=600,
        )
        assert nodes[0].poll() is None, (tmp_path / "node 1.txt").read_text()
        with run_lock.driven(search.run_dir):
            seen = until(lambda: is_over() or status.standing(search.run_dir).workers)
        assert not is_over(), (tmp_path / "search.txt").read_text()[-3000:]
        assert {(one.name, one.where) for one in seen} == {
            (f"worker ray-{number}", socket.gethostname()) for number in (1, 2)
        }
        raylets = [one for one in children(nodes[0]) if "raylet" in one.name()]
        nodes[0].kill()
        lend(stack, cluster, tmp_path, "node 3")
        (tmp_path / "hold").unlink()
        until(lambda: len(search.ended()) >= 2 or is_over(), timeout_s=600)
        search.kill(search.run_dir)
        until(lambda: len(search.ended()) >= 4 or is_over(), timeout_s=600)
        assert searching.wait(600) == 0, (tmp_path / "search.txt").read_text()[-3000:]
        found = run_directory.RunDirectory(search.run_dir).search
        assert isinstance(found, SearchResult), found
        assert [trial.number for trial in found.trials] == list(range(TRIALS + 1))
        assert search.ended() == list(range(TRIALS + 1))
        assert {trial.worker for trial in found.trials if trial.number} == {"ray-1", "ray-2"}
        weights = search.run_dir / "inside" / "search" / "weights" / f"{found.winner}.npz"
        assert not found.winner or weights.stat().st_size > 0, "the winner's weights came back"
        assert run_directory.workers(search.run_dir) == [], "none was on this machine"
        assert nodes[1].wait(120) == 0, "a node ends with the search"
        until(lambda: not any(raylet.is_running() for raylet in raylets), timeout_s=120)
    for place in (search.home / "work").iterdir():
        states = [e["state"] for e in event_log.events(place) if e["event"] == "fit"]
        assert set(states) <= {"restored"}, "what had been trained was not trained again"


def children(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(node.pid).children(recursive=True)
