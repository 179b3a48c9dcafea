"""What must not be shown, and how it is masked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

from mlops_lib.notification.wording import printable
from mlops_lib.records import Fact, Link, Notification

MASK = "***"
_NAMED_LIKE_ONE = re.compile(
    r"TOKEN|PASSWORD|PASSWD|SECRET|WEBHOOK|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I
)
_OURS = ("MLOPS_SMTP_URL", "MLOPS_APPRISE_URLS")
_SHORTEST = 8
"""Characters; masking shorter values would tear ordinary words apart."""
_SHAPES = (
    (re.compile(r"(https://hooks\.slack\.com/)[^\s\"'<>|]+"), rf"\1{MASK}"),
    (re.compile(r"\bxox[a-z]-[A-Za-z0-9-]{10,}"), MASK),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+:[^\s/@\"'<>]*@"), rf"\1{MASK}@"),
    (re.compile(r"\b(AKIA|ghp_|github_pat_|glpat-)[A-Za-z0-9_-]{10,}"), MASK),
)


def masker(environ: Mapping[str, str]) -> Callable[[str], str]:
    """A function that masks, in any text, the secrets this environment holds and what looks like a
    secret.
    """
    known = sorted(_values(environ), key=len, reverse=True)

    def mask(text: str) -> str:
        for value in known:
            text = text.replace(value, MASK)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    return mask


def presentable(notification: Notification, environ: Mapping[str, str]) -> Notification:
    """The notification, printable and masked throughout: a script may have printed what it found in
    its environment.
    """
    mask = masker(environ)

    def clean(text: str) -> str:
        return mask(printable(text))

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
    found: set[str] = set()
    for name, value in environ.items():
        if name in _OURS or _NAMED_LIKE_ONE.search(name):
            found.update((value, *_parts(value)))
    return {value for value in found if len(value) >= _SHORTEST}


def _parts(value: str) -> list[str]:
    """The pieces of a URL that tools print by themselves: the password, and the path with the
    query.
    """
    try:
        url = urlsplit(value)
        password = url.password or ""
    except ValueError:
        return []
    if not url.scheme or not url.netloc:
        return []
    target = f"{url.path}?{url.query}" if url.query else url.path
    return [password, unquote(password), target, url.path]
