"""The HTTP that channels share: one POST, and what its end means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from mlops_lib.errors import UsageError
from mlops_lib.notification.channel import LONGEST_WAIT_S, Undelivered

if TYPE_CHECKING:
    import requests

_TRY_AGAIN = (408, 425, 429)
_ANSWER_BYTES = 200
_ANSWER_LIMIT = 1 << 20


def checked_url(value: str, *, variable: str) -> str:
    """The URL in an environment variable; errors name the variable, never its value, which is a
    secret.

    Raises:
        UsageError: it is not a URL that can be posted to.
    """
    try:
        url = urlsplit(value.strip())
        good = url.scheme in ("https", "http") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good or any(
        character.isspace() or not character.isprintable() for character in value.strip()
    ):
        raise UsageError(
            "this is not an http(s) URL",
            where=variable,
            remedy="Set it to the webhook's whole URL.",
        )
    return value.strip()


def form(content: Mapping[str, Any]) -> bytes:
    """Values as a form's body; flags in lower case."""
    plain = {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in content.items()
    }
    return urlencode(plain).encode()


def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout_s: float,
    reads_answer: bool = False,
) -> bytes:
    """POST `body` and return what the receiver answered, once that was success.

    Args:
        url: where to.
        body: what is sent.
        headers: what goes before it.
        timeout_s: how long any one step may take.
        reads_answer: whether the answer's body says whether it was taken; else its status does, and
            b"" is returned.

    Raises:
        Undelivered: it did not. No part of the URL is in the reason.
    """
    import requests
    from urllib3.exceptions import HTTPError

    # Compressed, a small answer could become a large one.
    sent = {"Accept-Encoding": "identity", **headers}
    try:
        # No redirects: they would carry the message, and the right to post it, to somebody else.
        with requests.post(
            url, data=body, headers=sent, timeout=timeout_s, allow_redirects=False, stream=True
        ) as response:
            _judge(response)
            return _start(response, _ANSWER_LIMIT) if reads_answer else b""
    except requests.RequestException as error:
        # "from None": the libraries' own messages contain the URL.
        raise _broken(error) from None
    except (HTTPError, HTTPException, OSError, ValueError):  # an answer that breaks off, or is none
        raise Undelivered(
            "the connection broke before the answer", again=True, uncertain=True
        ) from None


def _start(response: requests.Response, size: int) -> bytes:
    """At most so many bytes of the answer's body, as they were sent."""
    # Not `iter_content`: its way through chunks reads a line of any length at once.
    read: bytes = response.raw.read(size, decode_content=False)
    return read


def _judge(response: requests.Response) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    reason = f"HTTP {status}{_answer(response)}"
    after_s = retry_after_s(response.headers.get("Retry-After", ""))
    raise Undelivered(reason, again=status in _TRY_AGAIN or status >= 500, after_s=after_s)


def _answer(response: requests.Response) -> str:
    """The beginning of the answer, which often says what is wrong ("no_service",
    "invalid_payload").
    """
    from urllib3.exceptions import HTTPError

    try:
        start = _start(response, _ANSWER_BYTES)
    except (HTTPError, HTTPException, OSError, ValueError):
        return ""
    words = " ".join(start.decode("utf-8", "replace").split())
    return f": {words}" if words.isprintable() and words and not words.startswith("<") else ""


def _broken(error: requests.RequestException) -> Undelivered:
    """What a failure means: only those that surely came before the message was sent are certain."""
    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, requests.ConnectTimeout):
        return Undelivered("no connection in time", again=True)
    if isinstance(error, requests.exceptions.SSLError):
        refused = "CERTIFICATE_VERIFY_FAILED" in str(error)
        reason = (
            "the server's certificate is not accepted"
            if refused
            else "the encrypted connection broke"
        )
        return Undelivered(reason, again=True, uncertain=not refused)
    if isinstance(error, requests.exceptions.ProxyError):
        return Undelivered("the proxy does not answer", again=True)
    if isinstance(error, requests.Timeout):
        return Undelivered("no answer in time", again=True, uncertain=True)
    cause = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(cause, NewConnectionError):
        return Undelivered("no connection", again=True)
    if isinstance(error, _unsendable()):
        return Undelivered(f"the request cannot be made ({type(error).__name__})", again=False)
    return Undelivered("the connection broke before the answer", again=True, uncertain=True)


def _unsendable() -> tuple[type[Exception], ...]:
    """Errors that `requests` raises before it connects."""
    from requests import exceptions

    return (
        exceptions.InvalidURL,
        exceptions.MissingSchema,
        exceptions.InvalidSchema,
        exceptions.URLRequired,
        exceptions.InvalidHeader,
        exceptions.InvalidProxyURL,
        exceptions.UnrewindableBodyError,
    )


def retry_after_s(value: str) -> float | None:
    """Seconds that a `Retry-After` header asks for, from either of its two forms (RFC 9110,
    10.2.3).

    Never more than `LONGEST_WAIT_S`: a receiver may ask to be spared, not to be forgotten.
    """
    if value.strip().isdecimal():
        return min(float(value), LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return min(max(0.0, (until - datetime.now(timezone.utc)).total_seconds()), LONGEST_WAIT_S)
