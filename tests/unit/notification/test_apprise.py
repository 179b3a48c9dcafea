"""`notification.apprise`: any other service, here a web server of this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlops_lib.errors import UsageError
from mlops_lib.notification.apprise import configure
from mlops_lib.notification.channel import DeliveryError, Message
from mlops_lib.records import Notification

# Apprise imports `imghdr`, which Python 3.13 drops; the test's warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Service:
    """A web hook that accepts or refuses."""

    def __init__(self) -> None:
        self.accepts = True
        self.received: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.received.append(json.loads(body))
                self.send_response(200 if service.accepts else 500)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://user:secret@127.0.0.1:{self.server.server_port}"


@pytest.fixture
def services() -> Iterator[tuple[Service, Service]]:
    pair = Service(), Service()
    yield pair
    for service in pair:
        service.server.shutdown()
        service.server.server_close()


def message(reached: tuple[str, ...] = ()) -> Message:
    return Message(id="0" * 32, notification=NOTIFICATION, reached=reached)


NOTIFICATION = Notification(key="k", title="fraud: accepted", text="0.91", level="good")


def test_each_target_gets_the_message_once(services: tuple[Service, Service]) -> None:
    first, second = services
    channel = configure({}, {"MLOPS_APPRISE_URLS": f"{first.url} {second.url} {first.url}"})
    assert channel is not None
    second.accepts = False
    with pytest.raises(DeliveryError, match="1 of 2 targets did not accept") as failed:
        channel.send(message(), timeout_s=20)
    assert failed.value.retryable
    assert failed.value.uncertain
    second.accepts = True
    channel.send(message(failed.value.reached), timeout_s=20)
    assert [len(service.received) for service in services] == [1, 2]
    assert "fraud: accepted" in first.received[0]["title"]
    assert first.received[0]["type"] == "success"


def test_secrets_stay_in_the_address(
    services: tuple[Service, Service],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, _ = services
    first.accepts = False
    channel = configure({}, {"MLOPS_APPRISE_URLS": first.url})
    assert channel is not None
    with pytest.raises(DeliveryError) as failed:
        channel.send(message(), timeout_s=20)
    shown = f"{channel!r} {failed.value} {failed.value.reached} {caplog.text} {capsys.readouterr()}"
    assert "secret" not in shown


def test_nothing_is_configured_without_addresses() -> None:
    assert configure({}, {}) is None
    assert configure({}, {"MLOPS_APPRISE_URLS": "  "}) is None


def test_a_service_that_nobody_knows_is_refused_without_its_secret() -> None:
    with pytest.raises(UsageError, match="does not support URL number 2") as refused:
        configure({}, {"MLOPS_APPRISE_URLS": "json://localhost unknown://secret@host"})
    assert "secret" not in str(refused.value)
