"""A search whose workers are on a real Ray cluster: its own head, and nodes that join it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from searching import SCRIPT, TRIALS, Search
from waiting import until

from mlops_lib import atomic, event_log, run_directory, run_lock
from mlops_lib.engine import LABEL_RUN
from mlops_lib.errors import EngineError, UsageError
from mlops_lib.monitoring import status
from mlops_lib.records import SearchResult
from mlops_lib.runner import protocol
from mlops_lib.training.cancellation import Interrupted, Stop
from mlops_lib.tuning import call_relay, file_exchange, ray_node

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


@pytest.mark.slow
def test_killed_nodes_and_a_killed_chief_lose_no_trial(search: Search, tmp_path: Path) -> None:
    cluster = ray_node.new_cluster()
    # The nodes share this home only because their environment would take minutes to build.
    environment = {
        "RAY_AUTH_TOKEN": cluster["token"],
        "MLOPS_HOME": str(search.home),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)]),
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


def test_a_cluster_without_a_token_is_neither_started_nor_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="has no token"), ray_node.head("127.0.0.1:6379"):
        pass
    with pytest.raises(UsageError, match="has no token"):
        ray_node.join("127.0.0.1:6379", stopped=Stop())
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with pytest.raises(UsageError, match="is no address"):
        ray_node.join("somewhere", stopped=Stop())
    monkeypatch.setattr(ray_node, "SEARCH_S", 0.0)
    free = ray_node.new_cluster()["address"]
    with pytest.raises(EngineError, match="no search has started"):
        ray_node.join(free, stopped=Stop())
    stop = Stop()
    stop.set()
    monkeypatch.setattr(ray_node, "SEARCH_S", 60.0)
    with pytest.raises(Interrupted):
        ray_node.join(free, stopped=stop)


class Link:
    """A worker's relay and the chief's machine, joined as the Ray actor's exchange does."""

    def __init__(self, run_dir: Path) -> None:
        self.calls = call_relay.CallQueue("gpu-7")
        self.chief = call_relay.ChiefCaller(run_dir)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._carry)

    def _carry(self) -> None:
        while not self.over.is_set():
            for call in self.calls.take(timeout_s=0.05):
                self.calls.answer(call.number, self.chief.call(call))


@pytest.mark.attack
def test_a_relay_leads_to_the_chief_and_nowhere_else(tmp_path: Path) -> None:
    import grpc

    run_dir, worker = tmp_path / "run", tmp_path / "worker"
    place = run_dir / "inside" / "search"
    place.mkdir(parents=True)
    link = Link(run_dir)
    link.thread.start()
    (tmp_path / "engine").mkdir()
    others = tmp_path / "engine" / "other.sock"
    reached = threading.Event()

    def listen() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(others))
            server.listen()
            server.settimeout(0.2)
            while not link.over.is_set():
                try:
                    server.accept()[0].close()
                    reached.set()
                except TimeoutError:
                    pass

    listener = threading.Thread(target=listen)
    listener.start()
    until(others.exists)
    try:
        with (
            call_relay.serving(worker, link.calls),
            grpc.insecure_channel(f"unix:{worker}/{protocol.CHIEF_SOCKET}") as channel,
        ):

            def code(method: str) -> grpc.StatusCode:
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(method)(b"", timeout=20, wait_for_ready=True)
                return refused.value.code()

            assert code("/containers/create") == grpc.StatusCode.UNIMPLEMENTED
            assert code("/keras_tuner.Oracle/GetSpace") == grpc.StatusCode.UNAVAILABLE
            (place / protocol.CHIEF_SOCKET).symlink_to(others)
            assert code("/keras_tuner.Oracle/GetSpace") == grpc.StatusCode.UNAVAILABLE
            (place / protocol.CHIEF_SOCKET).unlink()
            place.rmdir()
            others.rename(tmp_path / "engine" / protocol.CHIEF_SOCKET)
            place.symlink_to(tmp_path / "engine")
            assert code("/keras_tuner.Oracle/GetSpace") == grpc.StatusCode.UNAVAILABLE
    finally:
        link.over.set()
        link.thread.join()
        listener.join()
    assert not reached.is_set()


@pytest.mark.attack
def test_what_a_node_sends_is_written_inside_the_search_only(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / "search").mkdir(parents=True)
    outside.mkdir()
    inbox = file_exchange.Inbox(run)
    files = {
        "search/weights/3.npz": b"weights",
        "search/trials/3.json": b"only the chief writes this",
        "search/weights/../../up.npz": b"",
        "/etc/passwd": b"",
        "../up": b"",
    }
    assert inbox.receive(files, sender="ray-1") == ["search/weights/3.npz"]
    assert (run / "search" / "weights" / "3.npz").read_bytes() == b"weights"
    assert inbox.sent_by("search/weights/3.npz") == "ray-1"
    (run / "search" / "trials").symlink_to(outside)
    assert inbox.receive({"search/trials/4.state.npz": b""}, sender="ray-1") == []
    assert list(outside.iterdir()) == []
    for name in ("../up", "/etc/passwd", "a/../../b", "a//b"):
        with pytest.raises(ValueError, match="leads out"):
            file_exchange.write_inside(run, name, b"")


def test_a_peer_gets_what_is_new_and_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    for name in ("fits/1/state.0", "search/trials/0.json", "work/train.py", "search/over.json"):
        atomic.write_bytes(folder / name, name.encode())
    (folder / "search" / "trials" / "1.json").symlink_to("/etc/hostname")
    outbox = file_exchange.Outbox(folder, file_exchange.chief_patterns(1))
    names = {"fits/1/state.0", "search/trials/0.json", "search/over.json"}
    assert outbox.batch() == {name: name.encode() for name in names}
    assert outbox.batch() == {}
    atomic.write_json(folder / "search" / "trials" / "0.json", ["another"])
    assert list(outbox.batch()) == ["search/trials/0.json"]
    outbox.forget()
    outbox.note_peer_has("fits/1/state.0")
    assert outbox.batch().keys() == names - {"fits/1/state.0"}
    assert json.loads((folder / "search" / "trials" / "0.json").read_text()) == ["another"]
