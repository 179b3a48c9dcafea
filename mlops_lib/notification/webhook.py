"""The generic webhook: the notification as signed JSON.

The body is `{"id": …, "notification": {…}}`. `Idempotency-Key` repeats the id: a receiver that
knows it may answer with success and do nothing. With `MLOPS_WEBHOOK_SECRET` set,
`X-Mlops-Signature-256` is `sha256=` and the hexadecimal HMAC-SHA256 of the body's bytes, the form
GitHub uses for its own webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_lib.notification import http_post
from mlops_lib.notification.channel import Message


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A URL that accepts JSON."""

    url: str = field(repr=False)
    secret: str = field(repr=False, default="")
    name: str = "webhook"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Make one POST; see `Channel.send`."""
        body = json.dumps(
            {"id": message.id, "notification": message.notification.to_json()}
        ).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.id,
            "User-Agent": "mlops-lib",
        }
        if self.secret:
            headers["X-Mlops-Signature-256"] = signature(body, self.secret)
        http_post.post(self.url, body, headers=headers, timeout_s=timeout_s)
        return ""


def signature(body: bytes, secret: str) -> str:
    """Return the value of `X-Mlops-Signature-256` for this body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Webhook | None:
    """Return the channel configured by `MLOPS_WEBHOOK_URL`, or None.

    `MLOPS_WEBHOOK_SECRET` holds the key of the signature.
    """
    if not environ.get("MLOPS_WEBHOOK_URL", "").strip():
        return None
    url = http_post.checked_url(environ["MLOPS_WEBHOOK_URL"], variable="MLOPS_WEBHOOK_URL")
    return Webhook(url=url, secret=environ.get("MLOPS_WEBHOOK_SECRET", ""))
