"""Files that machines share: a folder, and a real server that speaks S3."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from mlops_lib.errors import EngineError, UsageError
from mlops_lib.runner import protocol
from mlops_lib.tuning import object_store, remote_worker
from mlops_lib.tuning.object_store import Mirror, Store


class Server:
    """moto's server in a process of its own; `stop` lets it be away for a while, as a network
    would.
    """

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{self.port}"
        while True:
            try:
                urllib.request.urlopen(
                    urllib.request.Request(f"{self.url}/bucket", method="PUT"), timeout=10
                ).close()
            except OSError:
                assert self.process.poll() is None
            else:
                return


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.process.send_signal(signal.SIGCONT)
    made.process.kill()
    made.process.wait()


@pytest.fixture
def bucket(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    settings = {
        "ENDPOINT_URL": server.url,
        "ACCESS_KEY_ID": "me",
        "SECRET_ACCESS_KEY": "secret",
        "DEFAULT_REGION": "eu",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture(params=["file", "s3", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    return f"{request.param}://{tmp_path}/shared"


def test_content_is_whole_or_not_there(url: str) -> None:
    store = Store(url)
    assert store.get("search/weights/1.npz") is None
    store.put("search/weights/1.npz", b"first")
    before = store.names()
    store.put("search/weights/1.npz", b"second, and longer")
    assert store.get("search/weights/1.npz") == b"second, and longer"
    assert before.keys() == store.names().keys() == {"search/weights/1.npz"}
    assert before != store.names(), "another content has another mark"
    store.show("alive", "since noon")
    assert (store.sign("alive"), store.sign("dead")) == ("since noon", "")
    assert store.names().keys() == {"search/weights/1.npz"}, "a sign is no content"
    digest = store.put("search/trials/1.json", b"{}")
    store._write(store._content(digest), b"damaged")
    assert store.get("search/trials/1.json") is None, (
        "what is not what it should be is not believed"
    )
    store.remove()
    assert Store(url).names() == {}


def test_what_one_machine_writes_the_other_gets(url: str, tmp_path: Path) -> None:
    chief, worker = tmp_path / "chief", tmp_path / "worker"
    for path, content in (
        ("fits/1/state.0", b"\0pickled"),
        ("search/trials/0.json", b"{}"),
        ("work/train.py", b""),
    ):
        (chief / path).parent.mkdir(parents=True, exist_ok=True)
        (chief / path).write_bytes(content)
    there = Mirror(
        Store(url),
        chief,
        uploads=("fits/1/**/*", "search/trials/*.json"),
        accepts=object_store.is_of_workers,
    )
    here = Mirror(
        Store(url),
        worker,
        uploads=remote_worker.UPLOADS,
        accepts=lambda name: name != protocol.SEARCH_REQUEST,
    )
    there.once()
    here.once()
    assert (worker / "fits" / "1" / "state.0").read_bytes() == b"\0pickled"
    assert not (worker / "work").exists()
    (worker / "search" / "weights").mkdir()
    (worker / "search" / "weights" / "3.npz").write_bytes(b"weights")
    (worker / "search" / "trials" / "0.json").write_bytes(b"only the chief writes this")
    (worker / "search" / "trials" / "4.state.npz").symlink_to("/etc/hostname")
    here.once()
    assert (worker / "search" / "given" / "3.npz").exists(), (
        "the worker is told that its weights are on the way"
    )
    for content in (b"a checkpoint", b"the next"):
        (worker / "search" / "trials" / "5.state.npz").write_bytes(content)
        here.once()
    assert (
        Store(url)._read(Store(url)._content(hashlib.sha256(b"a checkpoint").hexdigest())) is None
    ), "nobody needs it"
    there.once()
    assert (chief / "search" / "trials" / "5.state.npz").read_bytes() == b"the next"
    assert (chief / "search" / "weights" / "3.npz").read_bytes() == b"weights"
    assert (chief / "search" / "trials" / "0.json").read_bytes() == b"{}"
    assert not (chief / "search" / "trials" / "4.state.npz").exists(), "no link is followed"


def test_a_name_that_leads_out_of_the_folder_is_not_taken() -> None:
    names = ("search/trials/1.json", "../up", "/etc/passwd", "a/../../b", "a//b")
    assert [object_store._is_plain(name) for name in names] == [True, False, False, False, False]


def test_a_server_that_is_away_is_waited_for(server: Server, bucket: str) -> None:
    store = Store(bucket)
    store.put("before", b"1")
    server.process.send_signal(signal.SIGSTOP)
    back = threading.Timer(4.0, os.kill, (server.process.pid, signal.SIGCONT))
    back.start()
    store.put("meanwhile", b"2")
    back.join()
    assert (store.get("before"), store.get("meanwhile")) == (b"1", b"2")


def test_what_is_no_store_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="no such kind of store"):
        Store("ftpq://nowhere/at/all")


def test_a_search_that_falls_silent_is_told_of_waited_for_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_worker, "SILENT_S", 0.05)
    monkeypatch.setattr(remote_worker, "WAIT_S", 0.5)
    store, told = Store(f"file://{tmp_path}"), list[str]()
    orders = {"chief": "10.0.0.5:7070", "token": "t", "pass": 2}
    store.put(protocol.SEARCH_REQUEST, json.dumps(orders).encode())
    store.show(remote_worker.ALIVE, "one")
    search = remote_worker.RemoteSearch(store, orders, lambda event: told.append(event["message"]))
    until(lambda: search.poll() is not None or told)
    store.show(remote_worker.ALIVE, "two")
    assert search.poll() is None
    assert ["no sign of life" in told[0], told[1]] == [True, "the machine of the search is back"]
    elsewhere = {**orders, "chief": "10.0.0.6:7070"}
    store.put(protocol.SEARCH_REQUEST, json.dumps(elsewhere).encode())
    assert search.poll() == elsewhere
    store.remove()
    assert search.poll() is None, "somebody is about to write new orders"
    with pytest.raises(EngineError, match="no sign of life"):
        until(search.poll)
