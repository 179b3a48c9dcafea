"""A search on a Ray cluster: who may join it, and where a worker's relay leads."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from waiting import until

from mlops_lib import atomic
from mlops_lib.errors import EngineError, UsageError
from mlops_lib.runner import protocol
from mlops_lib.training.cancellation import Interrupted, Stop
from mlops_lib.tuning import call_relay, file_exchange, ray_node


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
