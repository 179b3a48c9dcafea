"""One HTTP POST, as the channels share it, with its failures classified."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from mlops_lib.errors import UsageError
from mlops_lib.notification.channel import LONGEST_WAIT_S, DeliveryError

if TYPE_CHECKING:
    import requests

_RETRYABLE = (408, 425, 429)
_ANSWER_BYTES = 200
_ANSWER_LIMIT = 1 << 20


def checked_url(value: str, *, variable: str) -> str:
    """Return the URL in an environment variable.

    An error names the variable, never its value, which is a secret.

    Raises:
        UsageError: it is not an http(s) URL.
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
    """Return the content as a URL-encoded form; booleans in lower case."""
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
    """POST `body`, and return the response's body once the receiver reports success.

    Args:
        url: the target.
        body: the request's body.
        headers: the request's headers.
        timeout_s: limit for each step, in seconds.
        reads_answer: whether to read the response's body, for APIs that report failures there; b""
            is returned otherwise.

    Raises:
        DeliveryError: the receiver did not confirm. No part of the URL is in the reason.
    """
    import requests
    from urllib3.exceptions import HTTPError

    # A small compressed answer could expand to a huge one.
    all_headers = {"Accept-Encoding": "identity", **headers}
    try:
        # No redirects: they would carry the message, and the secret in the URL, to another host.
        with requests.post(
            url,
            data=body,
            headers=all_headers,
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
        ) as response:
            _raise_for_status(response)
            return _read_up_to(response, _ANSWER_LIMIT) if reads_answer else b""
    except requests.RequestException as error:
        # "from None": the libraries' own messages contain the URL.
        raise _translate(error) from None
    except (HTTPError, HTTPException, OSError, ValueError):  # an answer that breaks off, or is none
        raise DeliveryError(
            "the connection broke before the answer", retryable=True, uncertain=True
        ) from None


def _read_up_to(response: requests.Response, size: int) -> bytes:
    """Return at most `size` bytes of the response's body, as they were sent."""
    # Not `iter_content`, which reads the size line of a chunk at once, however long it is.
    start: bytes = response.raw.read(size, decode_content=False)
    return start


def _raise_for_status(response: requests.Response) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    reason = f"HTTP {status}{_response_text(response)}"
    after_s = retry_after_s(response.headers.get("Retry-After", ""))
    raise DeliveryError(reason, retryable=status in _RETRYABLE or status >= 500, after_s=after_s)


def _response_text(response: requests.Response) -> str:
    """Return the start of an error response, which often names the cause."""
    from urllib3.exceptions import HTTPError

    try:
        start = _read_up_to(response, _ANSWER_BYTES)
    except (HTTPError, HTTPException, OSError, ValueError):
        return ""
    words = " ".join(start.decode("utf-8", "replace").split())
    return f": {words}" if words.isprintable() and words and not words.startswith("<") else ""


def _translate(error: requests.RequestException) -> DeliveryError:
    """Return the `DeliveryError` for a failed request.

    It is certain only if the failure surely happened before the message was sent.
    """
    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, requests.ConnectTimeout):
        return DeliveryError("no connection in time", retryable=True)
    if isinstance(error, requests.exceptions.SSLError):
        refused = "CERTIFICATE_VERIFY_FAILED" in str(error)
        reason = (
            "the server's certificate is not accepted"
            if refused
            else "the encrypted connection broke"
        )
        return DeliveryError(reason, retryable=True, uncertain=not refused)
    if isinstance(error, requests.exceptions.ProxyError):
        return DeliveryError("the proxy does not answer", retryable=True)
    if isinstance(error, requests.Timeout):
        return DeliveryError("no answer in time", retryable=True, uncertain=True)
    cause = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(cause, NewConnectionError):
        return DeliveryError("no connection", retryable=True)
    if isinstance(error, _unsendable()):
        return DeliveryError(
            f"the request cannot be made ({type(error).__name__})", retryable=False
        )
    return DeliveryError("the connection broke before the answer", retryable=True, uncertain=True)


def _unsendable() -> tuple[type[Exception], ...]:
    """Return the errors that `requests` raises before it connects."""
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
    """Return the seconds requested by a `Retry-After` header, or None if invalid.

    Both of its forms are read (RFC 9110, 10.2.3). The result is at most `LONGEST_WAIT_S`: a
    receiver may postpone a message, but not suppress it.

    >>> retry_after_s("120")
    120.0
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
