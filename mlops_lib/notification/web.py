"""The HTTP that channels share: one POST, and what its end means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from mlops_lib.errors import UsageError
from mlops_lib.notification.channel import Undelivered

if TYPE_CHECKING:
    import requests

_TRY_AGAIN = (408, 425, 429)
_ANSWER_BYTES = 200
_ANSWER_LIMIT = 1 << 20


def checked_url(value: str, *, variable: str) -> str:
    """The URL in an environment variable; errors name the variable, never its value, which is a secret.

    Raises:
        UsageError: it is not a URL that can be posted to.
    """
    try:
        url = urlsplit(value.strip())
        good = url.scheme in ("https", "http") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good or any(character.isspace() or not character.isprintable() for character in value.strip()):
        raise UsageError("this is not an http(s) URL", where=variable, remedy="Set it to the webhook's whole URL.")
    return value.strip()


def form(content: Mapping[str, Any]) -> bytes:
    """Values as a form's body; flags in lower case."""
    plain = {key: str(value).lower() if isinstance(value, bool) else value for key, value in content.items()}
    return urlencode(plain).encode()


def post(url: str, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> bytes:
    """POST `body` and return what the receiver answered, once that was success; at most a mebibyte of it.

    Raises:
        Undelivered: it did not. No part of the URL is in the reason.
    """
    import requests

    try:
        # No redirects: they would carry the message, and the right to post it, to somebody else.
        with requests.post(
            url, data=body, headers=dict(headers), timeout=timeout_s, allow_redirects=False, stream=True
        ) as response:
            _judge(response)
            return b"".join(_bounded(response))
    except requests.RequestException as error:
        # "from None": the libraries' own messages contain the URL.
        raise _broken(error) from None


def _bounded(response: requests.Response) -> Iterator[bytes]:
    left = _ANSWER_LIMIT
    for piece in response.iter_content(1 << 16):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _judge(response: requests.Response) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    reason = f"HTTP {status}{_answer(response)}"
    after_s = retry_after_s(response.headers.get("Retry-After", ""))
    raise Undelivered(reason, again=status in _TRY_AGAIN or status >= 500, after_s=after_s)


def _answer(response: requests.Response) -> str:
    """The beginning of the answer, which often says what is wrong ("no_service", "invalid_payload")."""
    import requests

    try:
        start: bytes = next(response.iter_content(_ANSWER_BYTES), b"")
    except requests.RequestException:
        return ""
    words = " ".join(start.decode("utf-8", "replace").split())
    return f": {words}" if words.isprintable() and words and not words.startswith("<") else ""


def _broken(error: requests.RequestException) -> Undelivered:
    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, requests.ConnectTimeout):
        return Undelivered("no connection in time", again=True)
    if isinstance(error, requests.exceptions.SSLError):
        return Undelivered("the server's certificate is not accepted", again=True)
    if isinstance(error, requests.exceptions.ProxyError):
        return Undelivered("the proxy does not answer", again=True)
    if isinstance(error, requests.Timeout):
        return Undelivered("no answer in time", again=True, uncertain=True)
    if isinstance(error, requests.ConnectionError):
        cause = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(cause, NewConnectionError):
            return Undelivered("no connection", again=True)
        return Undelivered("the connection broke before the answer", again=True, uncertain=True)
    return Undelivered(f"the request cannot be made ({type(error).__name__})", again=False)


def retry_after_s(value: str) -> float | None:
    """Seconds that a `Retry-After` header asks for, from either of its two forms (RFC 9110, 10.2.3)."""
    if value.strip().isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
