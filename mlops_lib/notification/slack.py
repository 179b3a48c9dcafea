"""Slack, in Block Kit: by incoming webhook, or as a bot with pictures and threads.

Lengths and counts are Slack's documented limits. A message over one of them is rejected as a whole,
so every text is cut. An incoming webhook has no idempotency: if an answer is missing, the message
is sent again and may appear twice. The bot stores each message's id in its metadata, and searches
for it before it sends the message again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_lib.errors import UsageError
from mlops_lib.formatting import terminal_line, terminal_text
from mlops_lib.notification import http_post
from mlops_lib.notification.attachments import pictures
from mlops_lib.notification.channel import DeliveryError, Message
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
"""Type of the metadata of a bot's message; its payload holds the message's id."""
_SEARCHED = 100
"""Messages read back in search of an id."""
_TRANSIENT = (
    "ratelimited",
    "internal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
)
"""Errors that another attempt may not meet."""


@dataclass(frozen=True, kw_only=True)
class SlackWebhook:
    """The incoming webhook of one Slack channel."""

    url: str = field(repr=False)
    name: str = "slack"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Make one POST; see `Channel.send`."""
        body = json.dumps(payload(message.notification)).encode()
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": message.id}
        http_post.post(self.url, body, headers=headers, timeout_s=timeout_s)
        return ""


@dataclass(frozen=True, kw_only=True)
class SlackBot:
    """A Slack app in one channel, by its bot token.

    Scopes: `chat:write`, `files:write`, `channels:history`.
    """

    token: str = field(repr=False)
    channel: str
    url: str = "https://slack.com/api"
    name: str = "slack"
    threads: bool = True

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Post the message, into its thread if it has one, and its pictures below it.

        Returns:
            `CHANNEL:TS` of the thread's first message.
        """
        posted = next((recipient for recipient in message.reached if ":" in recipient), "")
        if not posted and message.uncertain:
            posted = self._find_posted(message, timeout_s=timeout_s)
        if not posted:
            posted = self._post(message, timeout_s=timeout_s)
        thread = message.thread or posted
        try:
            self._share(message, thread, timeout_s=timeout_s)
        except DeliveryError as fault:
            # The message is posted; only the pictures are sent again.
            fault.reached = (posted,) if posted not in message.reached else ()
            if fault.retryable:
                raise
        return thread

    def _post(self, message: Message, *, timeout_s: float) -> str:
        channel, _, parent = message.thread.partition(":")
        content = {
            **payload(message.notification),
            "channel": channel or self.channel,
            "unfurl_links": False,
            "metadata": {"event_type": _EVENT, "event_payload": {"id": message.id}},
        }
        if parent:
            content["thread_ts"] = parent
            content["reply_broadcast"] = not message.notification.progress
        answer = self._call("chat.postMessage", content, timeout_s=timeout_s)
        return f"{answer.get('channel', self.channel)}:{answer.get('ts', '')}"

    def _find_posted(self, message: Message, *, timeout_s: float) -> str:
        """Return the message that an earlier attempt may have posted; "" if there is none.

        The channel is searched besides the thread, because the message may have been the first of
        its thread at that time.
        """
        channel, _, parent = message.thread.partition(":")
        channel = channel or self.channel
        places = [("conversations.replies", {"ts": parent})] if parent else []
        for method, where in [*places, ("conversations.history", {})]:
            for candidate in self._read(method, {"channel": channel, **where}, timeout_s=timeout_s):
                if _message_id(candidate) == message.id:
                    return f"{channel}:{candidate.get('ts', '')}"
        return ""

    def _read(
        self, method: str, where: Mapping[str, str], *, timeout_s: float
    ) -> list[dict[str, Any]]:
        """Return messages with their metadata.

        Empty if the app has no permission to read, or if the channel is configured by name instead
        of id.
        """
        query = {**where, "limit": _SEARCHED, "include_all_metadata": True}
        try:
            messages = self._call(method, query, timeout_s=timeout_s, form=True).get("messages")
        except DeliveryError as fault:
            if fault.retryable:
                raise
            return []
        if not isinstance(messages, list):
            return []
        return [message for message in messages if isinstance(message, dict)]

    def _share(self, message: Message, thread: str, *, timeout_s: float) -> None:
        """Upload the pictures, and show them in the thread with one call."""
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
                {"id": place.get("file_id"), "title": terminal_line(Path(name).stem)[:_TITLE]}
            )
        if uploaded:
            content_of = {"files": uploaded, "channel_id": channel, "thread_ts": parent}
            self._call("files.completeUploadExternal", content_of, timeout_s=timeout_s)

    def _call(
        self, method: str, content: Mapping[str, Any], *, timeout_s: float, form: bool = False
    ) -> dict[str, Any]:
        """Call one method of Slack's Web API.

        Args:
            method: the method's name.
            content: its arguments.
            timeout_s: limit for each step, in seconds.
            form: whether to send a form, for methods that do not accept JSON.

        Raises:
            DeliveryError: Slack does not answer, or reports an error.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        body = http_post.form(content) if form else json.dumps(content).encode()
        kind = "application/x-www-form-urlencoded" if form else "application/json; charset=utf-8"
        headers["Content-Type"] = kind
        url = f"{self.url.rstrip('/')}/{method}"
        response = http_post.post(
            url, body, headers=headers, timeout_s=timeout_s, reads_answer=True
        )
        answer = _object(response)
        if answer.get("ok") is True:
            return answer
        if not isinstance(answer.get("ok"), bool):
            raise DeliveryError(
                f"{method}: the answer is not valid JSON", retryable=True, uncertain=True
            )
        error = terminal_line(str(answer.get("error")))[:80]
        # Slack's documentation: after this error, part of the call may have been performed.
        partly = error == "fatal_error"
        raise DeliveryError(
            f"{method}: {error}", retryable=partly or error in _TRANSIENT, uncertain=partly
        )


def _message_id(message: Mapping[str, Any]) -> str:
    """Return the id in the metadata of a bot's message; "" if it has none."""
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


def configure(
    settings: Mapping[str, Any], environ: Mapping[str, str]
) -> SlackWebhook | SlackBot | None:
    """Return the channel configured by the environment, or None.

    `MLOPS_SLACK_TOKEN` with the setting `slack_channel` gives a bot, else `MLOPS_SLACK_WEBHOOK` a
    webhook.

    Raises:
        UsageError: the token has no channel to write to, or a URL is invalid.
    """
    token = environ.get("MLOPS_SLACK_TOKEN", "").strip()
    channel = str(settings.get("slack_channel") or "").strip()
    if token:
        if not channel:
            remedy = (
                "Give --slack-channel (or MLOPS_SLACK_CHANNEL) the channel's id, and invite the "
                "app to it."
            )
            raise UsageError(
                "no Slack channel is configured", where="MLOPS_SLACK_TOKEN", remedy=remedy
            )
        url = str(settings.get("slack_url") or "https://slack.com/api")
        return SlackBot(
            token=token, channel=channel, url=http_post.checked_url(url, variable="slack_url")
        )
    if not environ.get("MLOPS_SLACK_WEBHOOK", "").strip():
        return None
    return SlackWebhook(
        url=http_post.checked_url(environ["MLOPS_SLACK_WEBHOOK"], variable="MLOPS_SLACK_WEBHOOK")
    )


def payload(notification: Notification) -> dict[str, Any]:
    """Return the message in Slack's format; phones and screen readers use `text`."""
    return {
        "text": (
            f"{_SIGNS[notification.level]} "
            f"{escape(terminal_line(notification.title), limit=_TITLE)}"
        ),
        "blocks": list(_blocks(notification)),
    }


def _blocks(notification: Notification) -> Iterator[dict[str, Any]]:
    yield _section(
        f"{_SIGNS[notification.level]} *{escape(terminal_line(notification.title), limit=_TITLE)}*"
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
    """Return the text, cut to `limit`, with Slack's three control characters escaped.

    No mention, link or command can be built from it.
    """
    escaped: list[str] = []
    room = limit - 1
    for character in terminal_text(text):
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
    label = escape(terminal_line(link.label), limit=100)
    if link.url.startswith(("https://", "http://")) and not any(
        c in "<>|" or c.isspace() for c in link.url
    ):
        return f"<{link.url.replace('&', '&amp;')}|{label}>"
    return f"{label}: {escape(terminal_line(link.url), limit=500)}"


def _cut_lines(lines: list[str]) -> str:
    """Join as many whole lines as fit into a section; half a link would be broken."""
    text = ""
    for line in lines:
        if len(text) + len(line) + 1 > _SECTION:
            break
        text += ("\n" if text else "") + line
    return text
