"""A receiver of notifications that sends a byte now and then holds nothing: no delivery, no other
run, no training.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.notification import DeliveryPolicy, delivery, enqueue, flush, notify
from mlops_lib.notification.attempt import Attempt, OverdueError
from mlops_lib.notification.channel import LONGEST_WAIT_S
from mlops_lib.notification.http_post import retry_after_s
from mlops_lib.notification.outbox import Outbox, entry_id
from mlops_lib.pipeline import publishing
from mlops_lib.records import Notification

pytestmark = pytest.mark.attack

TIMEOUT_S = 0.4
DRIP_S = 0.05
ALLOWED_S = 3.0
"""Twice the timeout for an attempt, and room for a busy machine; the drip itself would last for
minutes.
"""
Talk = Callable[["Receiver", socket.socket], None]


class Receiver:
    """A server that says to each of its clients what `talk` says."""

    def __init__(self, talk: Talk) -> None:
        self.over = threading.Event()
        self.heard = 0
        self._talk = talk
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        clients = []
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                client.settimeout(None)
                self.heard += 1
                clients.append(threading.Thread(target=self._answer, args=(client,)))
                clients[-1].start()
        for one in clients:
            one.join()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._talk(self, client)

    def drip(self, client: socket.socket, content: bytes) -> None:
        """Send a byte at a time, again and again from the start."""
        while True:
            for byte in content:
                client.sendall(bytes([byte]))
                if self.over.wait(DRIP_S):
                    return

    def close(self) -> None:
        if self.over.is_set():
            return
        self.over.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def receiver() -> Iterator[Callable[[Talk], Receiver]]:
    opened: list[Receiver] = []

    def start(talk: Talk) -> Receiver:
        opened.append(Receiver(talk))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def hear_all(client: socket.socket) -> None:
    """Read a POST with its body."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += client.recv(1 << 16)
    head, _, body = heard.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += client.recv(1 << 16)


def header(receiver: Receiver, client: socket.socket) -> None:
    hear_all(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    receiver.drip(client, b"x")


def headers(receiver: Receiver, client: socket.socket) -> None:
    hear_all(client)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    receiver.drip(client, b"A: b\r\n")


def interim(receiver: Receiver, client: socket.socket) -> None:
    hear_all(client)
    receiver.drip(client, b"HTTP/1.1 100 Continue\r\n\r\n")


def refusal(receiver: Receiver, client: socket.socket) -> None:
    hear_all(client)
    client.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 9999\r\n\r\n")
    receiver.drip(client, b"y")


def chunks(receiver: Receiver, client: socket.socket) -> None:
    hear_all(client)
    client.sendall(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
    receiver.drip(client, b"0")


def handshake(receiver: Receiver, client: socket.socket) -> None:
    client.recv(1 << 16)
    client.sendall(b"\x16\x03\x03\x40\x00")
    receiver.drip(client, b"\x02")


def never_reads(receiver: Receiver, client: socket.socket) -> None:
    receiver.over.wait(60)


def banner(receiver: Receiver, client: socket.socket) -> None:
    receiver.drip(client, b"2")


def endless_reply(receiver: Receiver, client: socket.socket) -> None:
    client.sendall(b"220 mail\r\n")
    while not receiver.over.is_set():
        client.sendall(b"250-and so on\r\n" * 4096)


def answer_to_data(receiver: Receiver, client: socket.socket) -> None:
    client.sendall(b"220 mail\r\n")
    lines = client.makefile("rb")
    for line in lines:
        if line.upper().startswith(b"DATA"):
            break
        client.sendall(b"250 OK\r\n")
    client.sendall(b"354 go on\r\n")
    for line in lines:
        if line == b".\r\n":
            break
    receiver.drip(client, b"2")


def news(key: str) -> Notification:
    return Notification(key=key, level="good", title="demo: accepted", text="All is well.")


QUICK = DeliveryPolicy(attempts=1, timeout_s=TIMEOUT_S, limit_s=10.0)
CASES: dict[str, tuple[str, Talk, bool]] = {
    "a header": ("http", header, True),
    "many headers": ("http", headers, True),
    "interim answers": ("http", interim, True),
    "the body of a refusal": ("http", refusal, False),
    "the length of a chunk": ("http", chunks, False),
    "nothing read": ("http", never_reads, True),
    "an HTTPS handshake": ("https", handshake, True),
    "a banner": ("smtp", banner, False),
    "a reply without end": ("smtp", endless_reply, False),
    "the answer to DATA": ("smtp", answer_to_data, True),
    "an SMTPS handshake": ("smtps", handshake, False),
}
"""By what it drips: the protocol, the talk, and whether the message may have arrived."""


@pytest.mark.parametrize("case", CASES)
def test_a_receiver_that_drips_holds_a_delivery_for_its_time_only(
    tmp_path: Path, receiver: Callable[[Talk], Receiver], case: str
) -> None:
    protocol, talk, may_have_arrived = CASES[case]
    server = receiver(talk)
    url = f"{protocol}://127.0.0.1:{server.port}"
    environ = {"MLOPS_SMTP_URL" if protocol.startswith("smtp") else "MLOPS_WEBHOOK_URL": url}
    settings = {"mail_to": "ann@example.com"}
    began = time.monotonic()
    (answer,) = notify(news(case), settings=settings, home=tmp_path, environ=environ, retry=QUICK)
    assert time.monotonic() - began < ALLOWED_S
    assert answer.state == "spooled", answer
    assert answer.uncertain == may_have_arrived, answer
    assert server.heard == 1
    assert len(list((tmp_path / "notifications" / "spool").iterdir())) == 1, "it was lost"
    assert not list((tmp_path / "notifications" / "locks").iterdir())
    names = [one.name for one in threading.enumerate()]
    assert "mlops-delivery" not in names, "the attempt goes on behind our back"


def test_a_name_server_that_stays_silent_is_left_behind_and_nothing_is_sent_later() -> None:
    """A look-up cannot be interrupted: the thread is given up, and may open no connection when it
    comes back.
    """
    answered, tried = threading.Event(), threading.Event()
    refused: list[Exception] = []

    def look_up_and_send() -> None:
        answered.wait(30)
        try:
            socket.create_connection(("127.0.0.1", 9))
        except OSError as error:
            refused.append(error)
        tried.set()

    began = time.monotonic()
    with pytest.raises(OverdueError) as overdue:
        Attempt(look_up_and_send).run(0.1)
    assert time.monotonic() - began < ALLOWED_S
    assert not overdue.value.connected
    answered.set()
    assert tried.wait(10)
    assert isinstance(refused[0], TimeoutError)


@pytest.mark.parametrize(
    "ending", [b"Content-Length: 100\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe"]
)
def test_a_truncated_answer_of_success_is_success(
    tmp_path: Path, receiver: Callable[[Talk], Receiver], ending: bytes
) -> None:
    def talk(_: Receiver, client: socket.socket) -> None:
        hear_all(client)
        client.sendall(b"HTTP/1.1 200 OK\r\n" + ending)

    server = receiver(talk)
    environ = {"MLOPS_WEBHOOK_URL": f"http://127.0.0.1:{server.port}"}
    retry = DeliveryPolicy(timeout_s=TIMEOUT_S, first_s=0.01)
    (answer,) = notify(news("a"), settings={}, home=tmp_path, environ=environ, retry=retry)
    assert (answer.state, answer.attempts, server.heard) == ("sent", 1, 1)


@pytest.mark.parametrize(
    "answered", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Le", b"\x00\x01\r\n\r\n"]
)
def test_an_answer_that_breaks_off_leaves_it_uncertain(
    tmp_path: Path, receiver: Callable[[Talk], Receiver], answered: bytes
) -> None:
    def talk(_: Receiver, client: socket.socket) -> None:
        hear_all(client)
        client.sendall(answered)

    environ = {"MLOPS_WEBHOOK_URL": f"http://127.0.0.1:{receiver(talk).port}"}
    (answer,) = notify(news("a"), settings={}, home=tmp_path, environ=environ, retry=QUICK)
    # A header section that ends with the connection is whole for the standard library: then it was
    # taken.
    assert answer.state == "sent" or answer.uncertain, answer


def test_a_truncated_answer_to_a_bot_is_looked_for_and_not_believed(
    tmp_path: Path, receiver: Callable[[Talk], Receiver]
) -> None:
    def talk(_: Receiver, client: socket.socket) -> None:
        hear_all(client)
        client.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"ok": tr')

    environ = {"MLOPS_SLACK_TOKEN": "xoxb-1"}
    settings = {"slack_channel": "C1", "slack_url": f"http://127.0.0.1:{receiver(talk).port}"}
    (answer,) = notify(news("a"), settings=settings, home=tmp_path, environ=environ, retry=QUICK)
    assert (answer.state, answer.uncertain) == ("spooled", True)


@pytest.mark.parametrize(
    "value", ["1" + "0" * 32, "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 5000]
)
def test_no_receiver_is_left_alone_for_ever(value: str) -> None:
    assert retry_after_s(value) == LONGEST_WAIT_S


def test_a_clock_that_was_set_back_does_not_prolong_a_wait(
    tmp_path: Path, receiver: Callable[[Talk], Receiver]
) -> None:
    def talk(server: Receiver, client: socket.socket) -> None:
        hear_all(client)
        status = b"429 Slow" if server.heard == 1 else b"200 OK"
        client.sendall(b"HTTP/1.1 %s\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n" % status)

    environ = {"MLOPS_WEBHOOK_URL": f"http://127.0.0.1:{receiver(talk).port}"}
    tomorrow = DeliveryPolicy(attempts=1, now=lambda: time.time() + 86400)
    notify(news("a"), settings={}, home=tmp_path, environ=environ, retry=tomorrow)
    (answer,) = flush({}, home=tmp_path, environ=environ, retry=QUICK)
    assert answer.state == "sent"


def test_no_run_waits_for_anothers_delivery(
    tmp_path: Path, receiver: Callable[[Talk], Receiver]
) -> None:
    held = threading.Event()

    def talk(server: Receiver, client: socket.socket) -> None:
        held.set()
        header(server, client)

    environ = {"MLOPS_WEBHOOK_URL": f"http://127.0.0.1:{receiver(talk).port}"}
    slow = DeliveryPolicy(attempts=1, timeout_s=1.0)
    thread = threading.Thread(
        target=notify,
        args=(news("slow"),),
        kwargs={"settings": {}, "home": tmp_path, "environ": environ, "retry": slow},
    )
    thread.start()
    assert held.wait(10)
    began = time.monotonic()
    # All that share anything with it: every entry there could be, the flush of the home, the same
    # message kept again.
    enqueue(news("slow"), settings={}, home=tmp_path, environ=environ)
    dead = {"MLOPS_WEBHOOK_URL": "http://127.0.0.1:1"}
    for number in range(
        300
    ):  # among these, by the pigeonhole, share whatever part of an id would be locked
        with Outbox(tmp_path).lock(entry_id("webhook", f"other {number}"), timeout_s=0.0) as mine:
            assert mine
    assert flush({}, home=tmp_path, environ=dead, retry=QUICK) == []
    assert time.monotonic() - began < 1.5
    assert thread.is_alive()
    thread.join(30)
    assert not thread.is_alive()


def test_a_training_does_not_wait_for_a_receiver(
    tmp_path: Path, receiver: Callable[[Talk], Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_lib.pipeline.job import prepare

    server = receiver(header)
    monkeypatch.setenv("MLOPS_SLACK_TOKEN", "xoxb-1")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    url = f"http://127.0.0.1:{server.port}"
    job = prepare(
        project, slack_channel="C1", slack_url=url, backend="process", home=str(tmp_path / "home")
    )
    job.run_dir.mkdir(parents=True)
    began = time.monotonic()
    publishing.step(job, "started")
    assert time.monotonic() - began < 1.0, "the start waits for the receiver"
    assert list((tmp_path / "home" / "notifications" / "spool").iterdir()), "it could be lost"
    server.close()
    publishing._wait_for_steps()


def test_the_time_is_shared_between_channels(
    tmp_path: Path, receiver: Callable[[Talk], Receiver]
) -> None:
    def takes(_: Receiver, client: socket.socket) -> None:
        hear_all(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    environ = {
        "MLOPS_SLACK_WEBHOOK": f"http://127.0.0.1:{receiver(header).port}",
        "MLOPS_WEBHOOK_URL": f"http://127.0.0.1:{receiver(takes).port}",
    }
    retry = DeliveryPolicy(timeout_s=1.0, limit_s=2.0, first_s=0.01)
    began = time.monotonic()
    answers: Any = notify(news("a"), settings={}, home=tmp_path, environ=environ, retry=retry)
    assert [one.state for one in answers] == ["spooled", "sent"]
    assert answers[0].reason == delivery.TIMED_OUT
    assert time.monotonic() - began < 2.0 + ALLOWED_S
