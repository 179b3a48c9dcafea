"""The Slack bot against Slack's own contract on this machine: one thread a run, pictures in it,
nothing doubled.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.slack import CHANNEL, TOKEN, SlackApi, slack_api

from mlops_lib import cli
from mlops_lib.notification import Delivery, DeliveryPolicy, flush, notify
from mlops_lib.records import Notification

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
GIVE_UP = {"timeout_s": 1.0}
"""For tests where somebody stays silent; elsewhere a busy machine's late answer must not count as
none.
"""
SILENCE, DEAF, LATER = ("silence",), ("deaf",), ("status", 429, {"Retry_After": "30"})


@pytest.fixture
def slack() -> Iterator[SlackApi]:
    with slack_api() as server:
        yield server


class Sender:
    """Somebody whose clock passes only where they sleep."""

    def __init__(self, home: Path, slack: SlackApi) -> None:
        self.home, self.time = home, 1_000_000.0
        self.settings = {"slack_channel": CHANNEL, "slack_url": slack.url}
        self.environ = {"MLOPS_SLACK_TOKEN": TOKEN}

    def retry(self, **changes: Any) -> DeliveryPolicy:
        def sleep(seconds: float) -> None:
            self.time += seconds

        now = lambda: self.time  # noqa: E731
        return DeliveryPolicy(
            **{
                "timeout_s": 30.0,
                "clock": now,
                "now": now,
                "sleep": sleep,
                "chance": lambda: 0.0,
                **changes,
            }
        )

    def tell(
        self, key: str, *, title: str = "demo", thread: str = "demo/1", **changes: Any
    ) -> Delivery:
        retry = self.retry(**changes.pop("retry", {}))
        one = Notification(key=key, level="info", title=title, thread=thread, **changes)
        (delivery,) = notify(
            one, settings=self.settings, home=self.home, environ=self.environ, retry=retry
        )
        return delivery

    def flush(self) -> list[Delivery]:
        return flush(self.settings, home=self.home, environ=self.environ, retry=self.retry())


@pytest.fixture
def sender(tmp_path: Path, slack: SlackApi) -> Sender:
    return Sender(tmp_path / "home", slack)


def test_a_run_is_one_thread_and_its_end_is_seen_in_the_channel(
    sender: Sender, slack: SlackApi
) -> None:
    for title in ("started", "fell short"):
        assert sender.tell(title, title=title, progress=True).state == "sent"
    assert sender.tell("end", title="accepted").state == "sent"
    assert sender.tell("other", title="another run", thread="demo/2").state == "sent"
    first, *others = slack.messages
    assert [one.get("thread_ts") for one in others] == [first["ts"], first["ts"], None]
    assert [one.get("reply_broadcast") for one in others] == [False, True, None]
    assert TOKEN not in "".join(
        path.read_text() for path in sender.home.rglob("*") if path.is_file()
    )


def test_the_curve_is_uploaded_into_the_thread(
    sender: Sender, slack: SlackApi, tmp_path: Path
) -> None:
    curve = tmp_path / "curves.png"
    curve.write_bytes(PNG)
    sender.tell("started", progress=True)
    sender.tell("end", pictures=(str(curve), str(tmp_path / "missing.png")))
    ((_, file),) = slack.files.items()
    assert (file["name"], file["content"]) == ("curves.png", PNG)
    assert file["shared"] == [(CHANNEL, slack.messages[0]["ts"])]


def test_a_picture_that_fails_neither_repeats_nor_holds_up_the_message(
    sender: Sender, slack: SlackApi, tmp_path: Path
) -> None:
    (tmp_path / "curves.png").write_bytes(PNG)
    pictures = (str(tmp_path / "curves.png"),)
    slack.faults["files.completeUploadExternal"] = [("error", "internal_error"), LATER]
    assert sender.tell("a", pictures=pictures).attempts == 3
    slack.faults["files.getUploadURLExternal"] = [("error", "missing_scope")]
    assert sender.tell("b", pictures=pictures, thread="demo/2").state == "sent"
    assert len(slack.messages) == 2
    assert sum(len(file["shared"]) for file in slack.files.values()) == 1


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [(("error", "ratelimited"), 2), (LATER, 2), (("status", 503, {}), 2), (SILENCE, 2), (DEAF, 2)],
)
def test_what_passes_is_tried_again_and_stands_there_once(
    sender: Sender, slack: SlackApi, fault: tuple[Any, ...], attempts: int
) -> None:
    slack.faults["chat.postMessage"] = [fault]
    delivery = sender.tell("a", retry=GIVE_UP)
    assert (delivery.state, delivery.attempts, len(slack.messages)) == ("sent", attempts, 1)


def test_a_reply_without_an_answer_is_looked_for_in_its_thread(
    sender: Sender, slack: SlackApi
) -> None:
    sender.tell("started", progress=True)
    slack.faults["chat.postMessage"] = [DEAF]
    assert sender.tell("end", retry=GIVE_UP).state == "sent"
    assert (len(slack.messages), slack.calls.count("conversations.replies")) == (2, 1)


def test_a_first_message_without_an_answer_is_found_when_another_began_the_thread(
    sender: Sender, slack: SlackApi
) -> None:
    slack.faults["chat.postMessage"] = [DEAF]
    assert sender.tell("started", retry={**GIVE_UP, "attempts": 1}).state == "spooled"
    assert sender.tell("end").state == "sent"
    assert [one.state for one in sender.flush()] == ["sent"]
    assert len(slack.messages) == 2


@pytest.mark.parametrize("error", ["invalid_auth", "not_in_channel", "channel_not_found"])
def test_a_refusal_is_kept_with_slacks_reason(sender: Sender, slack: SlackApi, error: str) -> None:
    slack.faults["chat.postMessage"] = [("error", error)]
    delivery = sender.tell("a")
    assert (delivery.state, delivery.attempts, delivery.reason) == (
        "spooled",
        1,
        f"chat.postMessage: {error}",
    )
    assert [one.state for one in sender.flush()] == ["sent"]


def test_in_a_storm_nothing_is_lost_and_nothing_doubled(
    sender: Sender, slack: SlackApi, tmp_path: Path
) -> None:
    (tmp_path / "curves.png").write_bytes(PNG)
    faults = [
        LATER,
        ("status", 500, {}),
        DEAF,
        ("error", "internal_error"),
        SILENCE,
        ("status", 502, {}),
    ]
    expected = 0
    for number in range(8):
        slack.faults["chat.postMessage"] = [
            faults[(number + turn) % len(faults)] for turn in range(number % 4)
        ]
        for key in ("started", "end"):
            pictures = (str(tmp_path / "curves.png"),) if key == "end" else ()
            thread = f"demo/{number}"
            sender.tell(
                f"{number}:{key}",
                title=f"{number} {key}",
                thread=thread,
                pictures=pictures,
                retry={**GIVE_UP, "attempts": 2},
            )
            expected += 1
    slack.faults.clear()
    for _ in range(3):
        sender.time += 1000
        sender.flush()
    assert list((sender.home / "notifications" / "spool").glob("*.json")) == []
    titles = sorted(slack.texts())
    assert len(titles) == len(set(titles)) == expected
    run_of = {one["ts"]: one["text"].split()[1] for one in slack.messages}
    replies = [one for one in slack.messages if one.get("thread_ts")]
    assert replies
    assert all(run_of[one["thread_ts"]] == run_of[one["ts"]] for one in replies)
    assert sum(len(file["shared"]) for file in slack.files.values()) == 8


def test_a_bot_without_a_channel_is_told_so_and_steps_go_to_nobody_else(
    sender: Sender, slack: SlackApi
) -> None:
    sender.settings = {"slack_url": slack.url}
    assert "MLOPS_SLACK_TOKEN" in sender.tell("a").reason
    sender.environ = {"MLOPS_SLACK_WEBHOOK": slack.url}
    step = Notification(key="b", level="info", title="started", progress=True)
    assert notify(step, settings={}, home=sender.home, environ=sender.environ) == []


def test_the_test_message_reaches_every_channel(
    slack: SlackApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    assert cli.main(["notify", "--test"]) == 2, "nothing is configured"
    for name, value in slack.environ.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["notify", "--test", "--json"]) == 0
    (delivery,) = json.loads(capsys.readouterr().out)["deliveries"]
    assert (delivery["channel"], delivery["state"], len(slack.messages)) == ("slack", "sent", 1)
    slack.faults["chat.postMessage"] = [("error", "not_in_channel")]
    assert cli.main(["notify", "--test"]) == 9
    output = capsys.readouterr()
    assert "slack      spooled: chat.postMessage: not_in_channel" in output.out
    assert TOKEN not in output.out + output.err
