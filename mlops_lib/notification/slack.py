"""Slack, by incoming webhook, in Block Kit.

Lengths and counts are Slack's documented limits; a message over one of them is refused as a whole, so every text is
cut. An incoming webhook has no means against repetition: where an answer is missing the message is sent again, and may
then stand there twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_lib.notification import web
from mlops_lib.notification.channel import Message
from mlops_lib.notification.wording import one_line, printable
from mlops_lib.records import Link, Notification

_TITLE, _SECTION, _FIELD, _FIELDS = 150, 3000, 2000, 10
_SIGNS = {"good": ":white_check_mark:", "warning": ":warning:", "bad": ":x:", "info": ":information_source:"}


@dataclass(frozen=True, kw_only=True)
class Slack:
    """One Slack channel's incoming webhook."""

    url: str = field(repr=False)
    name: str = "slack"

    def send(self, message: Message, *, timeout_s: float) -> None:
        """One POST; see `Channel.send`."""
        body = json.dumps(payload(message.notification)).encode()
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": message.id}
        web.post(self.url, body, headers=headers, timeout_s=timeout_s)


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Slack | None:
    """From `MLOPS_SLACK_WEBHOOK`."""
    if not environ.get("MLOPS_SLACK_WEBHOOK", "").strip():
        return None
    return Slack(url=web.checked_url(environ["MLOPS_SLACK_WEBHOOK"], variable="MLOPS_SLACK_WEBHOOK"))


def payload(notification: Notification) -> dict[str, Any]:
    """The message as Slack wants it; `text` is what phones and screen readers show."""
    sign = _SIGNS[notification.level]
    blocks = [_section(f"{sign} *{escape(one_line(notification.title), limit=_TITLE)}*")]
    if notification.text:
        blocks.append(_section(escape(notification.text, limit=_SECTION)))
    cells = [
        {"type": "mrkdwn", "text": f"*{escape(fact.label, limit=100)}*\n{escape(fact.value, limit=_FIELD - 110)}"}
        for fact in notification.facts
    ]
    for start in range(0, len(cells), _FIELDS):
        blocks.append({"type": "section", "fields": cells[start : start + _FIELDS]})
    if notification.log:
        blocks.append(_section(f"```{_fenced(notification.log)}```"))
    if notification.links:
        blocks.append(_section(_cut_lines([_link(link) for link in notification.links])))
    return {"text": f"{sign} {escape(one_line(notification.title), limit=_TITLE)}", "blocks": blocks}


def escape(text: str, *, limit: int) -> str:
    """`text` with Slack's three control characters escaped (no mention, link or command can be made of it), cut."""
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
    if link.url.startswith(("https://", "http://")) and not any(c in "<>|" or c.isspace() for c in link.url):
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
