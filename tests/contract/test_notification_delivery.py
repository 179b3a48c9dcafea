"""Delivery against real, misbehaving servers on this machine: nothing lost, nothing doubled, no
secret shown.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from waiting import until

import mlops_lib
from mlops_lib.errors import NotificationError
from mlops_lib.notification import Delivery, DeliveryPolicy, check, flush, notify
from mlops_lib.notification.webhook import signature
from mlops_lib.records import Fact, Link, Notification

SECRET = "T0SECRET/B0SECRET/xyzzySECRETxyzzy"
PASSWORD = "p@ss:w/rd-SECRET"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def retry(self, **changes: Any) -> DeliveryPolicy:
        # A busy machine answers late: an attempt that times out where the test means an answer
        # would be another one.
        values = {
            "timeout_s": 30.0,
            "clock": self,
            "now": self,
            "sleep": self.sleep,
            "chance": lambda: 0.0,
        }
        return DeliveryPolicy(**{**values, **changes})


GIVE_UP_S = 1.0
"""How long an attempt waits in tests where somebody stays silent, and surely long enough where
somebody answers.
"""

Step = Callable[["Answering"], bool]
"""Answers one request; returns whether the message was taken."""


class Answering(BaseHTTPRequestHandler):
    server: WebServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests.append((dict(self.headers), body))
            step = self.server.script.pop(0) if self.server.script else status(200)
        if step(self):
            with self.server.lock:
                self.server.taken.append((dict(self.headers), body))

    def log_message(self, format: str, *args: object) -> None:
        pass


class WebServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.script: list[Step] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.taken: list[tuple[dict[str, str], bytes]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that gave up is what these tests are about

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/{SECRET}"

    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.taken]


def status(code: int, **headers: str) -> Step:
    def answer(request: Answering) -> bool:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return 200 <= code < 300

    return answer


def reset(request: Answering) -> bool:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    return False


def silence(request: Answering) -> bool:
    request.server.over.wait(20)
    return False


def echo_the_path(request: Answering) -> bool:
    request.send_response(403)
    request.end_headers()
    request.wfile.write(f"no such hook: {request.path}".encode())
    return False


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Mailbox:
    """What a mail server took, and how it answers next."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[str], bytes]] = []
        self.script: list[str] = []
        self.refused: dict[str, str] = {}
        self.logins: list[tuple[str, str]] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.script.pop(0) if self.script else "250 OK"
        if answer == "drop":
            server.transport.abort()
            return "421 gone"
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.taken.append((list(envelope.rcpt_tos), envelope.content))
        return answer

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        login = (data.login.decode(), data.password.decode())
        self.logins.append(login)
        return AuthResult(success=login == ("user@example.com", PASSWORD), handled=False)

    def mail(self, at: int = 0) -> EmailMessage:
        message = message_from_bytes(self.taken[at][1], policy=default)
        assert isinstance(message, EmailMessage)
        return message


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def smtp(mailbox: Mailbox) -> Iterator[Controller]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller
    controller.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def news(key: str = "run:accepted", **changes: Any) -> Notification:
    plain = Notification(
        key=key,
        level="good",
        title="demo: accepted",
        text="All is well.",
        facts=(Fact(label="State", value="rejected → accepted"),),
        links=(Link(label="Report", url="https://example.com/r?a=1&b=2"),),
    )
    return replace(plain, **changes)


class Sender:
    """One user's home and environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = Clock()
        self.environ: dict[str, str] = {}
        self.settings: dict[str, Any] = {}

    def notify(self, notification: Notification, **changes: Any) -> list[Delivery]:
        retry = self.clock.retry(**changes)
        return notify(
            notification,
            settings=self.settings,
            home=self.home,
            environ=self.environ,
            retry=retry,
        )

    def flush(self, **changes: Any) -> list[Delivery]:
        return flush(
            self.settings,
            home=self.home,
            environ=self.environ,
            retry=self.clock.retry(**changes),
        )

    def spooled(self) -> list[Path]:
        return list((self.home / "notifications" / "spool").glob("*.json"))

    def written(self) -> str:
        return "".join(path.read_text() for path in self.home.rglob("*") if path.is_file())


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(tmp_path / "home")


@pytest.fixture
def slack(sender: Sender, web: WebServer) -> Sender:
    sender.environ = {"MLOPS_SLACK_WEBHOOK": web.url}
    return sender


@pytest.fixture
def mail(sender: Sender, smtp: Controller) -> Sender:
    sender.environ = {"MLOPS_SMTP_URL": f"smtp://127.0.0.1:{smtp.port}"}
    sender.settings = {
        "mail_to": ["ann@example.com", "bob@example.com"],
        "mail_from": "mlops@example.com",
    }
    return sender


def states(deliveries: list[Delivery]) -> list[str]:
    return [one.state for one in deliveries]


# Slack and HTTP
# ------------------------------------------------------------------------------------------------------


def test_slack_gets_blocks_once(slack: Sender, web: WebServer) -> None:
    assert states(slack.notify(news())) == ["sent"]
    assert states(slack.notify(news())) == ["already sent"]
    ((headers, body),) = web.taken
    message = json.loads(body)
    assert headers["Content-Type"].startswith("application/json")
    assert "demo: accepted" in message["text"]
    assert message["blocks"][-1]["text"]["text"] == "<https://example.com/r?a=1&amp;b=2|Report>"


def test_retry_after_is_honoured_and_back_off_grows(slack: Sender, web: WebServer) -> None:
    web.script = [
        status(429, Retry_After="7"),
        status(500),
        status(503),
        status(429, Retry_After="1"),
    ]
    (delivery,) = slack.notify(news())
    assert (delivery.state, delivery.attempts, delivery.uncertain) == ("sent", 5, False)
    assert slack.clock.pauses == [7, 1, 2, 4]
    assert len(web.taken) == 1


def test_jitter_shortens_the_pauses(slack: Sender, web: WebServer) -> None:
    web.script = [status(500), status(500)]
    slack.notify(news(), chance=lambda: 1.0)
    assert slack.clock.pauses == [0.25, 0.5]


def test_a_longer_wait_than_the_limit_is_spooled_and_kept(slack: Sender, web: WebServer) -> None:
    web.script = [status(429, Retry_After="3600")]
    (delivery,) = slack.notify(news())
    assert (delivery.state, slack.clock.pauses) == ("spooled", [])
    assert states(slack.flush()) == ["spooled"]
    assert len(web.requests) == 1, "the hour was not kept"
    slack.clock.time += 3601
    assert states(slack.flush()) == ["sent"]
    assert len(web.taken) == 1


@pytest.mark.parametrize("fault", [reset, silence])
def test_an_attempt_without_an_answer_is_repeated_under_the_same_id(
    slack: Sender, web: WebServer, fault: Step
) -> None:
    web.script = [fault]
    (delivery,) = slack.notify(news(), timeout_s=GIVE_UP_S)
    assert (delivery.state, delivery.uncertain) == ("sent", True)
    assert len({headers["Idempotency-Key"] for headers, _ in web.requests}) == 1
    assert len(web.requests) == 2


def test_a_redirect_is_not_followed(slack: Sender, web: WebServer) -> None:
    web.script = [status(307, Location=web.url)]
    (delivery,) = slack.notify(news())
    assert (delivery.state, delivery.attempts, len(web.requests)) == ("spooled", 1, 1)


def test_a_refusal_is_not_repeated_but_kept_until_the_target_is_mended(
    slack: Sender, web: WebServer
) -> None:
    web.script = [status(404)]
    (delivery,) = slack.notify(news())
    assert (delivery.state, delivery.attempts) == ("spooled", 1)
    assert states(slack.flush()) == ["sent"]


def test_one_poisoned_message_does_not_hold_up_the_others(slack: Sender, web: WebServer) -> None:
    web.script = [status(400), status(400)]
    for key in ("a", "b", "c"):
        slack.notify(news(key))
    assert len(web.taken) == 1
    web.script = [status(400)]
    assert sorted(states(slack.flush())) == ["sent", "spooled"]


def test_a_dead_target_is_tried_once_for_all_its_messages(slack: Sender) -> None:
    slack.environ["MLOPS_SLACK_WEBHOOK"] = f"http://127.0.0.1:{free_port()}/services/{SECRET}"
    for key in ("a", "b", "c"):
        slack.notify(news(key), attempts=1)
    answers = slack.flush(attempts=1)
    assert states(answers) == ["spooled"] * 3
    assert sum(one.attempts for one in answers) == 1
    assert not any(one.uncertain for one in answers), "nothing listened there"


def test_the_webhook_is_signed_and_named(sender: Sender, web: WebServer) -> None:
    sender.environ = {"MLOPS_WEBHOOK_URL": web.url, "MLOPS_WEBHOOK_SECRET": "hush-hush"}
    sender.notify(news())
    ((headers, body),) = web.taken
    assert headers["X-Mlops-Signature-256"] == signature(body, "hush-hush")
    content = json.loads(body)
    assert content["id"] == headers["Idempotency-Key"]
    assert Notification.from_json(content["notification"]) == news()


@pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"
)  # Apprise's own import
def test_apprise_tells_each_url_until_it_took_it(
    sender: Sender,
    web: WebServer,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = f"json://127.0.0.1:{web.server_address[1]}"
    sender.environ = {"MLOPS_APPRISE_URLS": f"{place}/one-SECRET {place}/two-SECRET?method=post"}
    web.script = [status(200), status(500), silence]
    (delivery,) = sender.notify(news(key="a", log="last words"), timeout_s=GIVE_UP_S)
    assert (delivery.state, delivery.attempts, delivery.uncertain) == ("sent", 3, True)
    # The server notes a message after it has answered, which the sender may have read before.
    until(lambda: len(web.taken) == 2)
    content = json.loads(web.taken[0][1])
    assert (content["title"], content["type"]) == ("demo: accepted", "success")
    assert "last words" in content["message"]

    sender.environ = {"MLOPS_APPRISE_URLS": "nothing://SECRET"}
    (delivery,) = sender.notify(news(key="b"))
    assert "URL number 1" in delivery.reason
    output = capfd.readouterr()
    assert "SECRET" not in output.out + output.err + caplog.text + repr(delivery) + sender.written()


# Mail
# ----------------------------------------------------------------------------------------------------------------


def test_mail_is_text_and_html_with_the_picture_in_it(
    mail: Sender, mailbox: Mailbox, tmp_path: Path
) -> None:
    picture = tmp_path / "curve.png"
    picture.write_bytes(PNG)
    assert states(mail.notify(news(pictures=(str(picture), str(tmp_path / "missing.png"))))) == [
        "sent"
    ]
    assert mailbox.taken[0][0] == ["ann@example.com", "bob@example.com"]
    message = mailbox.mail()
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    image = list(message.walk())[-1]
    html = message.get_body(("html",))
    assert html is not None
    assert f'src="cid:{image["Content-ID"][1:-1]}"' in html.get_content()
    assert image.get_content() == PNG


def test_mail_carries_the_report(mail: Sender, mailbox: Mailbox, tmp_path: Path) -> None:
    report, link, huge = tmp_path / 'r"\n é.html', tmp_path / "link.html", tmp_path / "huge.html"
    report.write_text("<p>report</p>")
    link.symlink_to("/etc/passwd")
    huge.write_bytes(b"x" * 6_000_000)
    mail.notify(news(attachments=(str(report), str(link), str(huge))))
    (attachment,) = mailbox.mail().iter_attachments()
    assert (attachment.get_content_type(), attachment.get_filename()) == ("text/html", 'r" é.html')
    assert attachment.get_content() in (b"<p>report</p>", "<p>report</p>")


def test_a_mails_headers_cannot_be_extended(mail: Sender, mailbox: Mailbox) -> None:
    title = "demo\r\nBcc: eve@example.com\n\n<script>x\u2028é" + "y" * 500
    mail.notify(news(title=title, thread="a\r\nX-Evil: 1"))
    message = mailbox.mail()
    assert message["Bcc"] is None
    assert message["X-Evil"] is None
    assert message["Subject"].startswith("demo Bcc: eve@example.com <script>x")
    assert mailbox.taken[0][0] == ["ann@example.com", "bob@example.com"]


def test_lines_of_dots_arrive_whole(mail: Sender, mailbox: Mailbox) -> None:
    mail.notify(news(log="before\n.\nQUIT\nafter"))
    body = mailbox.mail().get_body(("plain",))
    assert body is not None
    assert "before\n.\nQUIT\nafter" in body.get_content().replace("\r\n", "\n")


def test_only_recipients_not_yet_reached_are_tried_again(mail: Sender, mailbox: Mailbox) -> None:
    mailbox.refused = {"bob@example.com": "450 busy"}
    (delivery,) = mail.notify(news(), attempts=2)
    assert delivery.state == "spooled"
    mailbox.refused = {}
    assert states(mail.flush()) == ["sent"]
    assert [recipients for recipients, _ in mailbox.taken] == [
        ["ann@example.com"],
        ["bob@example.com"],
    ]
    assert mailbox.mail(0)["Message-ID"] == mailbox.mail(1)["Message-ID"]


def test_the_commits_author_gets_mail_where_the_operator_allows_the_domain(
    mail: Sender, mailbox: Mailbox
) -> None:
    mail.settings["mail_author"] = ["Example.com"]
    for key, author in (
        ("a", "eve@example.com"),
        ("b", "eve@elsewhere.org"),
        ("c", "ann@example.com"),
        ("d", "x"),
    ):
        assert states(mail.notify(news(key, author=author))) == ["sent"]
    assert [len(recipients) for recipients, _ in mailbox.taken] == [3, 2, 2, 2]
    assert mailbox.taken[0][0][-1] == "eve@example.com"
    mail.settings["mail_to"] = []
    assert states(mail.notify(news("e", author="eve@example.com"))) == ["sent"]
    assert mailbox.taken[-1][0] == ["eve@example.com"]


def test_a_server_that_refuses_then_drops_then_takes(mail: Sender, mailbox: Mailbox) -> None:
    mailbox.script = ["451 later", "drop"]
    (delivery,) = mail.notify(news())
    assert (delivery.state, delivery.attempts, delivery.uncertain) == ("sent", 3, True)
    assert len(mailbox.taken) == 1


def test_a_dead_server_loses_nothing(mail: Sender, mailbox: Mailbox) -> None:
    alive = mail.environ["MLOPS_SMTP_URL"]
    mail.environ["MLOPS_SMTP_URL"] = f"smtp://127.0.0.1:{free_port()}"
    (delivery,) = mail.notify(news())
    assert (delivery.state, delivery.uncertain) == ("spooled", False)
    mail.environ["MLOPS_SMTP_URL"] = alive
    assert states(mail.flush()) == ["sent"]
    assert len(mailbox.taken) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, mailbox: Mailbox) -> Controller:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        authenticator=mailbox.authenticate,
        auth_required=True,
    )


def test_starttls_and_login(
    mail: Sender, mailbox: Mailbox, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = tls_server(authority, mailbox)
    server.start()
    try:
        address = f"127.0.0.1:{server.port}?starttls=1&ca={tmp_path}/ca.pem"
        mail.environ["MLOPS_SMTP_URL"] = f"smtp://user%40example.com:{quoted(PASSWORD)}@{address}"
        assert states(mail.notify(news("a"))) == ["sent"]
        assert mailbox.logins == [("user@example.com", PASSWORD)]

        mail.environ["MLOPS_SMTP_URL"] = f"smtp://user%40example.com:wrong-SECRET@{address}"
        (delivery,) = mail.notify(news("b"))
        assert (delivery.state, delivery.attempts) == ("spooled", 1)
        assert "user or password refused" in delivery.reason

        tried = len(mailbox.logins)
        mail.environ["MLOPS_SMTP_URL"] = f"smtp://u:wrong-SECRET@127.0.0.1:{server.port}?starttls=1"
        (delivery,) = mail.notify(news("c"))
        assert "certificate" in delivery.reason
        assert len(mailbox.logins) == tried, "no password goes to a server that nobody vouches for"
    finally:
        server.stop()
    assert "SECRET" not in mail.written()


def test_no_password_without_the_encryption_asked_for(
    mail: Sender, mailbox: Mailbox, smtp: Controller
) -> None:
    mail.environ["MLOPS_SMTP_URL"] = f"smtp://user:password-SECRET@127.0.0.1:{smtp.port}?starttls=1"
    (delivery,) = mail.notify(news())
    assert (delivery.state, mailbox.taken, mailbox.logins) == ("spooled", [], [])
    assert "STARTTLS" in delivery.reason


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


# Everything at once
# --------------------------------------------------------------------------------------------------


def test_in_a_storm_nothing_is_lost_and_nothing_doubled(
    mail: Sender, mailbox: Mailbox, web: WebServer
) -> None:
    alive = mail.environ["MLOPS_SMTP_URL"]
    mail.environ |= {"MLOPS_SLACK_WEBHOOK": web.url, "MLOPS_WEBHOOK_URL": web.url + "/2"}
    faults = [
        status(429, Retry_After="5"),
        status(500),
        reset,
        status(502),
        silence,
        status(429, Retry_After="900"),
    ]
    keys = [f"run{number}:accepted" for number in range(12)]
    for number, key in enumerate(keys):
        web.script += [faults[(number + turn) % len(faults)] for turn in range(number % 4)]
        mailbox.script += ["451 later", "drop"][: number % 3]
        mail.environ["MLOPS_SMTP_URL"] = f"smtp://127.0.0.1:{free_port()}" if number % 2 else alive
        assert len(mail.notify(news(key), attempts=2, timeout_s=GIVE_UP_S)) == 3

    assert mail.spooled(), "the storm was none"
    mail.environ["MLOPS_SMTP_URL"] = alive
    for _ in range(10):
        mail.clock.time += 1000
        mail.flush(timeout_s=GIVE_UP_S)
    assert mail.spooled() == []
    for key in keys:
        assert states(mail.notify(news(key))) == ["already sent"] * 3

    assert len(web.keys()) == len(set(web.keys())) == 2 * len(keys)
    ids = [mailbox.mail(at)["Message-ID"] for at in range(len(mailbox.taken))]
    assert len(ids) == len(set(ids)) == len(keys)


SENDING = """
import json, os, sys
from pathlib import Path
from mlops_lib.notification import notify
from mlops_lib.records import Notification
for line in sys.argv[2:]:
    one = Notification.from_json(json.loads(line))
    notify(one, settings={}, home=Path(sys.argv[1]))
"""


def program(sender: Sender, notifications: list[Notification]) -> subprocess.Popen[bytes]:
    lines = [json.dumps(one.to_json()) for one in notifications]
    environ = {
        **os.environ,
        **sender.environ,
        "PYTHONPATH": str(Path(mlops_lib.__file__).parent.parent),
    }
    return subprocess.Popen([sys.executable, "-c", SENDING, str(sender.home), *lines], env=environ)


def test_several_programs_at_once_tell_it_once(slack: Sender, web: WebServer) -> None:
    together = [news(f"run{number}") for number in range(5)]
    programs = [program(slack, together) for _ in range(4)]
    assert [one.wait(60) for one in programs] == [0] * 4
    assert len(web.keys()) == len(set(web.keys())) == 5
    assert len(web.requests) == 5


def test_several_threads_at_once_tell_it_once(slack: Sender, web: WebServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: slack.notify(news())[0].state, range(8)))
    assert sorted(answers) == ["already sent"] * 7 + ["sent"]
    assert len(web.requests) == 1


def test_killed_before_the_answer_it_is_sent_by_the_next(slack: Sender, web: WebServer) -> None:
    arrived = threading.Event()

    def hold(request: Answering) -> bool:
        arrived.set()
        return silence(request)

    web.script = [hold]
    killed = program(slack, [news()])
    assert arrived.wait(60)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    (delivery,) = slack.flush()
    assert (delivery.state, delivery.uncertain) == ("sent", True)
    assert len(web.taken) == 1
    assert states(slack.notify(news())) == ["already sent"]


DYING = """
import json, os, sys
from pathlib import Path
from mlops_lib.notification import notify
from mlops_lib.records import Notification
import requests, mlops_lib.notification.slack, mlops_lib.notification.webhook, mlops_lib.notification.smtp
home, exit_at, line = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
steps = 0
def die(event, arguments):
    global steps
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "socket.connect", "socket.__new__"):
        steps += 1
        if steps == exit_at:
            os._exit(9)
sys.addaudithook(die)
notify(Notification.from_json(json.loads(line)), settings={}, home=home)
"""


def test_killed_at_every_step_it_arrives(sender: Sender, web: WebServer) -> None:
    sender.environ = {"MLOPS_SLACK_WEBHOOK": web.url, "MLOPS_WEBHOOK_URL": web.url}
    environ = {
        **os.environ,
        **sender.environ,
        "PYTHONPATH": str(Path(mlops_lib.__file__).parent.parent),
    }
    told = []
    for exit_at in range(1, 100):
        one = news(f"run{exit_at}")
        command = [
            sys.executable,
            "-c",
            DYING,
            str(sender.home),
            str(exit_at),
            json.dumps(one.to_json()),
        ]
        code = subprocess.run(command, env=environ).returncode
        told.append(one)
        if code == 0:
            break
        assert code == 9
    else:
        pytest.fail("it has more steps than were tried")
    assert exit_at > 15

    sender.flush()
    for one in told:  # killed before it was on disk, it is told by whoever runs again
        sender.notify(one)
    assert sender.spooled() == []
    # Slack and the webhook each, under one id each; killed between the answer and the note of it,
    # an id may repeat.
    assert len(set(web.keys())) == 2 * len(told)
    assert len(web.keys()) - 2 * len(told) <= 6


def test_killed_after_the_ledgers_entry_it_is_not_sent_again(slack: Sender, web: WebServer) -> None:
    web.script = [status(500)]
    slack.notify(news(), attempts=1)
    (spooled,) = slack.spooled()
    before = spooled.read_bytes()
    slack.flush()
    spooled.write_bytes(before)  # as if killed between the two steps of closing the entry
    assert slack.flush() == []
    assert slack.spooled() == []
    assert len(web.taken) == 1


# Secrets and settings
# ------------------------------------------------------------------------------------------------


def test_no_secret_is_shown_or_written(
    mail: Sender, web: WebServer, capfd: pytest.CaptureFixture[str]
) -> None:
    dead = free_port()
    mail.environ |= {
        "MLOPS_SLACK_WEBHOOK": web.url,
        "MLOPS_WEBHOOK_URL": f"http://127.0.0.1:{dead}/hook-SECRET?token=SECRET",
        "MLOPS_WEBHOOK_SECRET": "hmac-SECRET-key",
        "MLOPS_SMTP_URL": f"smtp://user:{quoted(PASSWORD)}@127.0.0.1:{dead}",
        "AWS_SECRET_ACCESS_KEY": "aws-SECRET-value",
    }
    web.script = [echo_the_path] * 3
    printed = "\n".join(
        [*mail.environ.values(), PASSWORD, "https://hooks.slack.com/services/T1/B2/SECRET"]
    )
    deliveries = mail.notify(news(log=printed, text=printed, title=f"demo {PASSWORD}"), attempts=1)
    assert states(deliveries) == ["spooled"] * 3
    with pytest.raises(NotificationError) as raised:
        check(deliveries)
    output = capfd.readouterr()
    shown = [
        str(raised.value),
        repr(raised.value),
        repr(deliveries),
        output.out,
        output.err,
        mail.written(),
    ]
    assert not [text for text in shown if "SECRET" in text]
    assert [one for one in shown if "HTTP 403" in one]


@pytest.mark.parametrize(
    "environ",
    [
        {"MLOPS_SLACK_WEBHOOK": "hooks.slack.com/SECRET"},
        {"MLOPS_WEBHOOK_URL": "ftp://SECRET"},
        {"MLOPS_WEBHOOK_URL": "http://[SECRET"},
        {"MLOPS_SMTP_URL": "SECRET"},
        {"MLOPS_SMTP_URL": "smtp://u:SECRET@mail.example.com"},
        {"MLOPS_SMTP_URL": "smtp://h?tls=SECRET"},
        {"MLOPS_SMTP_URL": "smtp://h:port-SECRET"},
    ],
)
def test_a_wrong_target_is_said_without_showing_it_and_loses_nothing(
    sender: Sender, web: WebServer, environ: dict[str, str]
) -> None:
    sender.settings = {"mail_to": "ann@example.com"}
    sender.environ = environ
    (delivery,) = sender.notify(news())
    assert delivery.state == "spooled"
    assert next(iter(environ)) in delivery.reason
    assert "SECRET" not in repr(delivery) + sender.written()


def test_a_target_that_is_gone_keeps_its_messages(slack: Sender, web: WebServer) -> None:
    url = slack.environ["MLOPS_SLACK_WEBHOOK"]
    web.script = [status(503)]
    slack.notify(news(), attempts=1)
    slack.environ.clear()
    (delivery,) = slack.flush()
    assert "not configured" in delivery.reason
    slack.environ["MLOPS_SLACK_WEBHOOK"] = url
    assert states(slack.flush()) == ["sent"]


def test_nothing_configured_or_never_wanted_tells_nobody(slack: Sender, web: WebServer) -> None:
    slack.settings = {"notify": "never"}
    assert slack.notify(news()) == []
    slack.settings, slack.environ = {}, {}
    assert slack.notify(news()) == []
    assert web.requests == []


def test_a_home_that_cannot_be_written_is_an_answer_not_an_exception(
    slack: Sender, web: WebServer
) -> None:
    slack.home.parent.mkdir(exist_ok=True)
    slack.home.write_text("in the way")
    (delivery,) = slack.notify(news())
    assert delivery.state == "failed"
    with pytest.raises(NotificationError):
        check([delivery])


def test_an_unreadable_entry_does_not_stop_the_others(slack: Sender, web: WebServer) -> None:
    web.script = [status(503)] * 2
    slack.notify(news("a"), attempts=1)
    slack.notify(news("b"), attempts=1)
    slack.spooled()[0].write_text("{torn")
    assert states(slack.flush()) == ["sent"]
