"""Anything else that a URL can name (Teams, Discord, Matrix, Telegram, …), through Apprise (`pip
install mlops_lib[apprise]`).

`MLOPS_APPRISE_URLS` holds the URLs, separated by white space. Apprise says of a failure only that
there was one, so it counts as uncertain, and each URL is tried until it succeeds.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlops_lib.errors import UsageError
from mlops_lib.notification import email_body
from mlops_lib.notification.channel import Message, Undelivered

_VARIABLE = "MLOPS_APPRISE_URLS"
_KINDS = {"good": "success", "warning": "warning", "bad": "failure", "info": "info"}


@dataclass(frozen=True, kw_only=True)
class Anything:
    """Places that Apprise knows."""

    urls: tuple[str, ...] = field(repr=False)
    name: str = "apprise"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """One attempt at each URL not reached yet; see `Channel.send`."""
        notification = message.notification
        reached = []
        missed = 0
        for url in self.urls:
            # What is kept on disk of a URL must not give it away.
            name = hashlib.sha256(f"{message.id}{url}".encode()).hexdigest()[:16]
            if name in message.reached:
                continue
            title = email_body.subject(notification)
            body = email_body.body(notification)
            kind = _KINDS[notification.level]
            with _unlogged():
                took = _target(url, timeout_s=timeout_s).notify(
                    title=title, body=body, notify_type=kind
                )
            if took:
                reached.append(name)
            else:
                missed += 1
        if missed:
            reason = f"{missed} of {len(self.urls)} targets did not take it"
            raise Undelivered(reason, again=True, uncertain=True, reached=tuple(reached))
        return ""


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Anything | None:
    """From `MLOPS_APPRISE_URLS`.

    Raises:
        UsageError: Apprise is not installed, or does not know a URL.
    """
    urls = tuple(dict.fromkeys(environ.get(_VARIABLE, "").split()))
    if not urls:
        return None
    for number, url in enumerate(urls, start=1):
        with _unlogged():
            is_known = _target(url, timeout_s=1.0) is not None
        if not is_known:
            raise UsageError(
                f"Apprise does not know what URL number {number} means",
                where=_VARIABLE,
                remedy="See Apprise's list of services; percent-encode what is special in passwords.",
            )
    return Anything(urls=urls)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Without Apprise's log, which shows whole URLs."""
    logger = logging.getLogger("apprise")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _target(url: str, *, timeout_s: float) -> Any:
    try:
        from apprise import Apprise
    except ImportError:
        raise UsageError(
            "Apprise is not installed", where=_VARIABLE, remedy="pip install 'mlops_lib[apprise]'"
        ) from None
    mark = "&" if "?" in url else "?"
    return Apprise.instantiate(f"{url}{mark}cto={timeout_s:g}&rto={timeout_s:g}")
