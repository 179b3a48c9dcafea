"""A notification as a mail's subject, plain text and HTML.

Texts that come from a project are made printable here and escaped by the template, so that none of
them can add a header, a tag or a link.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from mlops_lib.formatting import terminal_line, terminal_text
from mlops_lib.records import Notification

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_SUBJECT = 200
_COLOURS = {"good": "#1a7f37", "warning": "#9a6700", "bad": "#cf222e", "info": "#0969da"}


def subject(notification: Notification) -> str:
    """Return the subject: one printable line, which therefore cannot begin a header."""
    line = terminal_line(notification.title)
    return line if len(line) <= _SUBJECT else line[: _SUBJECT - 1] + "…"


def plain(notification: Notification) -> str:
    """Return the mail as plain text."""
    return f"{terminal_line(notification.title)}\n\n{body(notification)}"


def body(notification: Notification) -> str:
    """Return everything but the title as plain text."""
    width = max((len(fact.label) for fact in notification.facts), default=0)
    facts = [
        f"{terminal_line(fact.label) + ':':<{width + 1}} {_joined_lines(fact.value)}"
        for fact in notification.facts
    ]
    log = terminal_text(notification.log)
    links = [
        f"{terminal_line(link.label)}: {terminal_line(link.url)}" for link in notification.links
    ]
    parts = [
        terminal_text(notification.text),
        "\n".join(facts),
        f"Last lines of the output:\n\n{log}" if notification.log else "",
        "\n".join(links),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(notification: Notification, *, pictures: Sequence[str]) -> str:
    """Return the mail as HTML.

    Args:
        notification: the message.
        pictures: content ids of the images sent with it.
    """
    return _template().render(
        notification=notification,
        title=terminal_line(notification.title),
        colour=_COLOURS[notification.level],
        pictures=pictures,
    )


def digest(value: str) -> str:
    """Return the left part of a mail id for any text."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _joined_lines(text: str) -> str:
    return terminal_line("; ".join(text.splitlines()))


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mlops_lib.notification"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(text=terminal_text, line=terminal_line, lines=_with_breaks)
    return environment.get_template("email.html.j2")


def _with_breaks(text: str) -> Markup:
    """Return the text, escaped, with a break at the end of each line."""
    from markupsafe import Markup, escape

    return Markup("<br>").join(escape(line) for line in terminal_text(text).split("\n"))
