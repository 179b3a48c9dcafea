"""A notification as a mail's subject, plain text and HTML.

The HTML is what common mail programs show alike: tables and inline styles, no style sheet, no
script, nothing loaded from elsewhere. Everything that comes from outside is escaped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape

from mlops_lib.notification.wording import one_line, printable
from mlops_lib.records import Notification

_SUBJECT = 200
_COLOURS = {"good": "#1a7f37", "warning": "#9a6700", "bad": "#cf222e", "info": "#0969da"}
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


def subject(notification: Notification) -> str:
    """One line of printable characters; nothing in it can begin another header."""
    line = one_line(notification.title)
    return line if len(line) <= _SUBJECT else line[: _SUBJECT - 1] + "…"


def plain(notification: Notification) -> str:
    """The mail for programs that show text."""
    return f"{one_line(notification.title)}\n\n{body(notification)}"


def body(notification: Notification) -> str:
    """All but the title, as plain text."""
    width = max((len(fact.label) for fact in notification.facts), default=0)
    parts = [
        printable(notification.text),
        "\n".join(
            f"{one_line(f.label) + ':':<{width + 1}} {_listed(f.value)}" for f in notification.facts
        ),
        f"Last lines of the output:\n\n{printable(notification.log)}" if notification.log else "",
        "\n".join(f"{one_line(link.label)}: {one_line(link.url)}" for link in notification.links),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(notification: Notification, *, pictures: Sequence[str]) -> str:
    """The mail for programs that show HTML; `pictures` are the content ids of the images sent with
    it.
    """
    colour = _COLOURS[notification.level]
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top;padding:4px 16px 4px 0;font-weight:normal;color:#59636e">'
        f'{_html(fact.label)}</th><td style="padding:4px 0">{_html(fact.value)}</td></tr>'
        for fact in notification.facts
    )
    images = "".join(
        f'<p><img src="cid:{escape(name)}" alt="Picture" style="max-width:100%;border:0"></p>'
        for name in pictures
    )
    links = " &nbsp;·&nbsp; ".join(_link(link.label, link.url) for link in notification.links)
    log = (
        f'<pre style="background:#f6f8fa;color:#1f2328;padding:12px;font-size:12px;white-space:pre-wrap">'
        f"{escape(printable(notification.log))}</pre>"
        if notification.log
        else ""
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_html(one_line(notification.title))}</title></head>"
        f'<body style="margin:0;padding:16px;background:#ffffff;color:#1f2328;font-size:14px;line-height:1.5;{_FONT}">'
        '<table role="presentation" cellpadding="0" cellspacing="0" style="width:100%;max-width:640px"><tr>'
        f'<td style="border-left:6px solid {colour};padding-left:16px">'
        f'<h1 style="font-size:18px;margin:0 0 8px;color:{colour}">{_html(one_line(notification.title))}</h1>'
        f'<p style="margin:0 0 12px">{_html(notification.text)}</p>'
        f'<table cellpadding="0" cellspacing="0" style="font-size:14px">{rows}</table>'
        f'{log}{images}<p style="margin:12px 0 0">{links}</p></td></tr></table></body></html>\n'
    )


def _listed(text: str) -> str:
    return one_line("; ".join(text.splitlines()))


def digest(value: str) -> str:
    """A mail id's left part for any text."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _link(label: str, url: str) -> str:
    if url.startswith(("https://", "http://")):
        return f'<a href="{escape(one_line(url))}" style="color:#0969da">{_html(label)}</a>'
    return f"{_html(label)}: <code>{_html(url)}</code>"


def _html(text: str) -> str:
    return escape(printable(text)).replace("\n", "<br>")
