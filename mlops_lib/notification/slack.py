"""Slack, in Block Kit: by incoming webhook, or by bot token with pictures and with follow-ups in
one thread.

Lengths and counts are Slack's documented limits; a message over one of them is refused as a whole,
so every text is cut. An incoming webhook has no means against repetition: where an answer is
missing the message is sent again, and may then stand there twice. A bot marks each message with its
id and looks for the mark before it sends one again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lib.errors import UsageError
from mlops_lib.notification import http_post
from mlops_lib.notification.attachments import pictures
from mlops_lib.notification.channel import Message, Undelivered
from mlops_lib.notification.wording import one_line, printable
from mlops_lib.records import Link, Notification

_TITLE = 150
_SECTION = 3000
_FIELD = 2000
_FIELDS = 10
_SIGNS = {
    "good": ":white_check_mark:",
    "warning": ":warning:",
    "bad": ":x:",
    "info": ":information_source:",
}
_PICTURES = 4
_EVENT = "mlops_notification"
"""The type of the metadata that marks a bot's message; its payload holds the message's id."""
_LOOKED_AT = 100
"""Messages read back in search of a mark."""
_PASSING = (
    "ratelimited",
    "internal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
)
"""Errors that another attempt may not meet; of `fatal_error` Slack says that some of it may have
been done.
"""


@dataclass(frozen=True, kw_only=True)
class Slack:
    """One Slack channel's incoming webhook."""

    url: str = field(repr=False)
    name: str = "slack"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """One POST; see `Channel.send`."""
        body = json.dumps(payload(message.notification)).encode()
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": message.id}
        http_post.post(self.url, body, headers=headers, timeout_s=timeout_s)
        return ""


@dataclass(frozen=True, kw_only=True)
class Bot:
    """A Slack app in one channel, by its bot token; scopes `chat:write`, `files:write`,
    `channels:history`.
    """

    token: str = field(repr=False)
    channel: str
    url: str = "https://slack.com/api"
    name: str = "slack"
    threads: bool = True

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Post the message, into the thread where there is one, and its pictures below it.

        Returns:
            `CHANNEL:TS` of the thread's first message.
        """
        posted = next((one for one in message.reached if ":" in one), "")
        if not posted and message.uncertain:
            posted = self._found(message, timeout_s=timeout_s)
        if not posted:
            posted = self._posted(message, timeout_s=timeout_s)
        thread = message.thread or posted
        try:
            self._share(message, thread, timeout_s=timeout_s)
        except Undelivered as fault:
            # The message stands: what is repeated is the pictures alone.
            fault.reached = (posted,) if posted not in message.reached else ()
            if fault.again:
                raise
        return thread

    def _posted(self, message: Message, *, timeout_s: float) -> str:
        channel, _, parent = message.thread.partition(":")
        content = {
            **payload(message.notification),
            "channel": channel or self.channel,
            "unfurl_links": False,
            "metadata": {"event_type": _EVENT, "event_payload": {"id": message.id}},
            **(
                {"thread_ts": parent, "reply_broadcast": not message.notification.progress}
                if parent
                else {}
            ),
        }
        answer = self._call("chat.postMessage", content, timeout_s=timeout_s)
        return f"{answer.get('channel', self.channel)}:{answer.get('ts', '')}"

    def _found(self, message: Message, *, timeout_s: float) -> str:
        """The message that an earlier attempt may have left, by its mark; "" where there is none.

        It is looked for in the channel too: it may have been the first of its thread when it was
        sent.
        """
        channel, _, parent = message.thread.partition(":")
        channel = channel or self.channel
        places = [("conversations.replies", {"ts": parent})] if parent else []
        for method, where in [*places, ("conversations.history", {})]:
            for one in self._read(method, {"channel": channel, **where}, timeout_s=timeout_s):
                if _mark(one) == message.id:
                    return f"{channel}:{one.get('ts', '')}"
        return ""

    def _read(
        self, method: str, where: Mapping[str, str], *, timeout_s: float
    ) -> list[dict[str, Any]]:
        """Messages with their metadata; none where the app may not read, or knows the channel by
        its name alone.
        """
        question = {**where, "limit": _LOOKED_AT, "include_all_metadata": True}
        try:
            found = self._call(method, question, timeout_s=timeout_s, form=True).get("messages")
        except Undelivered as fault:
            if fault.again:
                raise
            return []
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _share(self, message: Message, thread: str, *, timeout_s: float) -> None:
        """Upload the pictures and show them in the thread, all by one call."""
        channel, _, parent = thread.partition(":")
        uploaded = []
        for name, content in pictures(message.notification.pictures[:_PICTURES]):
            place = self._call(
                "files.getUploadURLExternal",
                {"filename": name, "length": len(content)},
                timeout_s=timeout_s,
                form=True,
            )
            headers = {"Content-Type": "application/octet-stream"}
            http_post.post(
                str(place.get("upload_url")), content, headers=headers, timeout_s=timeout_s
            )
            uploaded.append(
                {"id": place.get("file_id"), "title": one_line(Path(name).stem)[:_TITLE]}
            )
        if uploaded:
            content_of = {"files": uploaded, "channel_id": channel, "thread_ts": parent}
            self._call("files.completeUploadExternal", content_of, timeout_s=timeout_s)

    def _call(
        self, method: str, content: Mapping[str, Any], *, timeout_s: float, form: bool = False
    ) -> dict[str, Any]:
        """One method of Slack's web API; some take forms only.

        Raises:
            Undelivered: Slack does not answer, or answers that it did not.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        body = http_post.form(content) if form else json.dumps(content).encode()
        kind = "application/x-www-form-urlencoded" if form else "application/json; charset=utf-8"
        headers["Content-Type"] = kind
        url = f"{self.url.rstrip('/')}/{method}"
        said = http_post.post(url, body, headers=headers, timeout_s=timeout_s, reads_answer=True)
        answer = _object(said)
        if answer.get("ok") is True:
            return answer
        if not isinstance(answer.get("ok"), bool):
            raise Undelivered(f"{method}: no answer that can be read", again=True, uncertain=True)
        error = one_line(str(answer.get("error")))[:80]
        partly = error == "fatal_error"
        raise Undelivered(f"{method}: {error}", again=partly or error in _PASSING, uncertain=partly)


def _mark(message: Mapping[str, Any]) -> str:
    """The id that a bot's message is marked with, "" where it is not marked."""
    metadata = message.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    if (
        not isinstance(metadata, dict)
        or metadata.get("event_type") != _EVENT
        or not isinstance(payload, dict)
    ):
        return ""
    return str(payload.get("id") or "")


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Slack | Bot | None:
    """From `MLOPS_SLACK_TOKEN` and the setting `slack_channel`, else from `MLOPS_SLACK_WEBHOOK`.

    Raises:
        UsageError: the token has no channel to write to, or a URL is wrong.
    """
    token = environ.get("MLOPS_SLACK_TOKEN", "").strip()
    channel = str(settings.get("slack_channel") or "").strip()
    if token:
        if not channel:
            remedy = "Give --slack-channel (or MLOPS_SLACK_CHANNEL) the channel's id, and invite the app to it."
            raise UsageError(
                "there is no channel to write to", where="MLOPS_SLACK_TOKEN", remedy=remedy
            )
        url = str(settings.get("slack_url") or "https://slack.com/api")
        return Bot(
            token=token, channel=channel, url=http_post.checked_url(url, variable="slack_url")
        )
    if not environ.get("MLOPS_SLACK_WEBHOOK", "").strip():
        return None
    return Slack(
        url=http_post.checked_url(environ["MLOPS_SLACK_WEBHOOK"], variable="MLOPS_SLACK_WEBHOOK")
    )


def payload(notification: Notification) -> dict[str, Any]:
    """The message as Slack wants it; `text` is what phones and screen readers show."""
    return {
        "text": f"{_SIGNS[notification.level]} {escape(one_line(notification.title), limit=_TITLE)}",
        "blocks": list(_blocks(notification)),
    }


def _blocks(notification: Notification) -> Iterator[dict[str, Any]]:
    yield _section(
        f"{_SIGNS[notification.level]} *{escape(one_line(notification.title), limit=_TITLE)}*"
    )
    if notification.text:
        yield _section(escape(notification.text, limit=_SECTION))
    cells = [
        {
            "type": "mrkdwn",
            "text": f"*{escape(fact.label, limit=100)}*\n{escape(fact.value, limit=_FIELD - 110)}",
        }
        for fact in notification.facts
    ]
    for start in range(0, len(cells), _FIELDS):
        yield {"type": "section", "fields": cells[start : start + _FIELDS]}
    if notification.log:
        yield _section(f"```{_fenced(notification.log)}```")
    if notification.links:
        yield _section(_cut_lines([_link(link) for link in notification.links]))


def escape(text: str, *, limit: int) -> str:
    """`text` with Slack's three control characters escaped (no mention, link or command can be made
    of it), cut.
    """
    escaped: list[str] = []
    room = limit - 1
    for character in printable(text):
        piece = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        room -= len(piece)
        if room < 0:
            return "".join(escaped) + "…"
        escaped.append(piece)
    return "".join(escaped)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _fenced(text: str) -> str:
    # A zero-width space between back-ticks: the script's output must not end the block.
    return escape(text, limit=_SECTION // 2 - 10).replace("`", "`\u200b")


def _link(link: Link) -> str:
    label = escape(one_line(link.label), limit=100)
    if link.url.startswith(("https://", "http://")) and not any(
        c in "<>|" or c.isspace() for c in link.url
    ):
        return f"<{link.url.replace('&', '&amp;')}|{label}>"
    return f"{label}: {escape(one_line(link.url), limit=500)}"


def _cut_lines(lines: list[str]) -> str:
    """As many whole lines as a section holds: half a link would not be one."""
    kept = ""
    for line in lines:
        if len(kept) + len(line) + 1 > _SECTION:
            break
        kept += ("\n" if kept else "") + line
    return kept
