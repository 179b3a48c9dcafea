"""Mask secrets in texts that are sent."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from mlops_lib.config import SECRETS
from mlops_lib.formatting import terminal_text
from mlops_lib.records import Fact, Link, Notification

MASK = "***"
_SECRET_NAME = re.compile(
    r"TOKEN|PASSWORD|PASSWD|SECRET|WEBHOOK|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I
)
_SHORTEST = 8
"""Characters; masking shorter values would damage ordinary words."""
_SECRET_PATTERNS = (
    (re.compile(r"(https://hooks\.slack\.com/)[^\s\"'<>|]+"), rf"\1{MASK}"),
    (re.compile(r"\bxox[a-z]-[A-Za-z0-9-]{10,}"), MASK),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+:[^\s/@\"'<>]*@"), rf"\1{MASK}@"),
    (re.compile(r"\b(AKIA|ghp_|github_pat_|glpat-)[A-Za-z0-9_-]{10,}"), MASK),
)


def masker(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that masks secrets in a text.

    These are the secrets in `environ`, and whatever looks like one.
    """
    # The longest first: a secret may contain another one.
    secrets = sorted(_values(environ), key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        for pattern, replacement in _SECRET_PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    return mask


def redact(notification: Notification, environ: Mapping[str, str]) -> Notification:
    """Return the notification with every text printable and masked.

    A script may have printed its environment.
    """
    mask = masker(environ)

    def clean(text: str) -> str:
        return mask(terminal_text(text))

    return dataclasses.replace(
        notification,
        title=clean(notification.title),
        text=clean(notification.text),
        log=clean(notification.log),
        facts=tuple(
            Fact(label=clean(fact.label), value=clean(fact.value)) for fact in notification.facts
        ),
        links=tuple(
            Link(label=clean(link.label), url=clean(link.url)) for link in notification.links
        ),
    )


def _values(environ: Mapping[str, str]) -> set[str]:
    values: set[str] = set()
    for name, value in environ.items():
        if name in SECRETS or _SECRET_NAME.search(name):
            values.update((value, *_parts(value)))
    return {value for value in values if len(value) >= _SHORTEST}


def _parts(value: str) -> list[str]:
    """Return the parts of a URL that tools print alone: password, path, query."""
    try:
        url = urlsplit(value)
        password = url.password or ""
    except ValueError:
        return []
    if not url.scheme or not url.netloc:
        return []
    target = f"{url.path}?{url.query}" if url.query else url.path
    return [password, unquote(password), target, url.path]
