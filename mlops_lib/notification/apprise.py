"""Any other service with an Apprise URL: Teams, Discord, Matrix, Telegram, …

Needs `pip install mlops_lib[apprise]`; `MLOPS_APPRISE_URLS` holds the URLs, separated by white
space. Apprise reports a failure without its cause, so that every failure counts as uncertain; each
URL is tried until it succeeds.
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
from mlops_lib.notification.channel import DeliveryError, Message

_VARIABLE = "MLOPS_APPRISE_URLS"
_KINDS = {"good": "success", "warning": "warning", "bad": "failure", "info": "info"}


@dataclass(frozen=True, kw_only=True)
class AppriseChannel:
    """The services named by Apprise URLs."""

    urls: tuple[str, ...] = field(repr=False)
    name: str = "apprise"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Make one attempt at each URL that was not reached yet; see `Channel.send`."""
        notification = message.notification
        reached = []
        failures = 0
        for url in self.urls:
            # The URL holds secrets; the outbox on disk gets a digest of it.
            name = hashlib.sha256(f"{message.id}{url}".encode()).hexdigest()[:16]
            if name in message.reached:
                continue
            title = email_body.subject(notification)
            body = email_body.body(notification)
            kind = _KINDS[notification.level]
            with _log_disabled():
                is_accepted = _target(url, timeout_s=timeout_s).notify(
                    title=title, body=body, notify_type=kind
                )
            if is_accepted:
                reached.append(name)
            else:
                failures += 1
        if failures:
            reason = f"{failures} of {len(self.urls)} targets did not accept the message"
            raise DeliveryError(reason, retryable=True, uncertain=True, reached=tuple(reached))
        return ""


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> AppriseChannel | None:
    """Return the channel configured by `MLOPS_APPRISE_URLS`, or None.

    Raises:
        UsageError: Apprise is not installed, or does not support a URL.
    """
    urls = tuple(dict.fromkeys(environ.get(_VARIABLE, "").split()))
    if not urls:
        return None
    for number, url in enumerate(urls, start=1):
        with _log_disabled():
            is_supported = _target(url, timeout_s=1.0) is not None
        if not is_supported:
            raise UsageError(
                f"Apprise does not support URL number {number}",
                where=_VARIABLE,
                remedy=(
                    "See Apprise's list of services; percent-encode special characters in "
                    "passwords."
                ),
            )
    return AppriseChannel(urls=urls)


@contextmanager
def _log_disabled() -> Iterator[None]:
    """Disable Apprise's log, which contains whole URLs, with their secrets."""
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
