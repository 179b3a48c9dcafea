"""Mail by SMTP: one message to all recipients, as text and HTML, with pictures.

`MLOPS_SMTP_URL` names the server: `smtp://user:password@host:587?starttls=1`, or `smtps://…` for a
connection that is encrypted from the start (port 465). `ca=/path/to/ca.pem` names a private
certificate authority. A password is only sent over an encrypted connection, or within this machine.
"""

from __future__ import annotations

import mimetypes
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mlops_lib.errors import UsageError
from mlops_lib.formatting import terminal_line
from mlops_lib.notification import attachments, email_body
from mlops_lib.notification.channel import DeliveryError, Message
from mlops_lib.records import Notification

_PICTURES = 6
_ATTACHMENT_BYTES = 5 * 1024 * 1024
_ATTACHMENTS = 3
_LOCAL = ("localhost", "127.0.0.1", "::1")
_VARIABLE = "MLOPS_SMTP_URL"
_REPLY_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Server:
    """A mail server and its credentials."""

    host: str
    port: int
    encryption: str
    """"tls" from the start, "starttls", or "" for none."""
    user: str = field(repr=False, default="")
    password: str = field(repr=False, default="")
    authority: str | None = None
    """Path of a CA certificate; None for the system's."""


@dataclass(frozen=True, kw_only=True)
class MailChannel:
    """Mail to a list of addresses."""

    server: Server
    sender: str
    recipients: tuple[str, ...]
    authors: tuple[str, ...] = ()
    """Domains; a commit's author with an address in one of them receives the mail too."""
    name: str = "mail"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Hold one SMTP conversation with the recipients not yet reached (`Channel.send`)."""
        recipients = self._all_recipients(message.notification)
        remaining = [address for address in recipients if address not in message.reached]
        if not remaining:
            return ""
        content = compose(message, sender=self.sender, recipients=recipients).as_bytes()
        with _connected(self.server, timeout_s=timeout_s) as smtp:
            refused = _envelope(smtp, self.sender, remaining)
            accepted = tuple(address for address in remaining if address not in refused)
            if accepted:
                _transmit(smtp, content)
        if refused:
            # One recipient that may still accept makes another attempt worth while.
            code = max(refused.values(), key=lambda code: code < 500)
            people = f"{len(refused)} of {len(remaining)} recipients"
            raise DeliveryError(
                f"SMTP {code}: {people} refused", retryable=code < 500, reached=accepted
            )
        return ""

    def _all_recipients(self, notification: Notification) -> tuple[str, ...]:
        """Return the recipients, and the commit's author if the domain is allowed.

        The author's address comes from the pushed commit, so it is not trusted otherwise.
        """
        author = notification.author.strip()
        is_allowed = author.rpartition("@")[2].lower() in self.authors and _is_address(author)
        if not is_allowed or author in self.recipients:
            return self.recipients
        return (*self.recipients, author)


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> MailChannel | None:
    """Return the channel configured by `MLOPS_SMTP_URL` and the settings, or None.

    The settings are `mail_to` (addresses), `mail_author` (domains) and `mail_from`.

    Raises:
        UsageError: an address or the URL is invalid.
    """
    to = settings.get("mail_to") or ()
    entries = to.replace(";", ",").split(",") if isinstance(to, str) else to
    addresses = (_address(str(entry), setting="mail_to") for entry in entries if str(entry).strip())
    recipients = tuple(dict.fromkeys(addresses))
    value = environ.get(_VARIABLE, "").strip()
    domains = settings.get("mail_author") or ()
    authors = tuple(str(domain).strip().lower().lstrip("@") for domain in domains)
    if not (recipients or authors) or not value:
        return None
    server = _server(value)
    sender = _address(
        str(settings.get("mail_from") or f"mlops@{_domain(server.host)}"), setting="mail_from"
    )
    return MailChannel(server=server, sender=sender, recipients=recipients, authors=authors)


def compose(message: Message, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Return the mail. Each header is one line of printable text, whatever the input."""
    notification = message.notification
    pictures = [content for _, content in attachments.pictures(notification.pictures[:_PICTURES])]
    domain = sender.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = email_body.subject(notification)
    mail["From"] = f"mlops <{sender}>"
    mail["To"] = ", ".join(recipients)
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notice in answer
    if notification.thread:
        mail["References"] = f"<{email_body.digest(notification.thread)}@{domain}>"
    mail.set_content(email_body.plain(notification))
    names = [f"picture{number}-{message.id}@{domain}" for number in range(len(pictures))]
    mail.add_alternative(email_body.html(notification, pictures=names), subtype="html")
    html = mail.get_payload()[1]  # type: ignore[index]
    for name, content in zip(names, pictures, strict=True):
        html.add_related(content, "image", "png", cid=f"<{name}>", disposition="inline")  # type: ignore[union-attr]
    for path in notification.attachments[:_ATTACHMENTS]:
        if content := attachments.content(Path(path), limit=_ATTACHMENT_BYTES):
            kind, _, subkind = (
                mimetypes.guess_type(path)[0] or "application/octet-stream"
            ).partition("/")
            mail.add_attachment(content, kind, subkind, filename=terminal_line(Path(path).name))
    return mail


class _BoundedReader:
    """A file of lines that ends after a number of bytes, for a reply may be endless.

    A line that is cut off counts as no line, because the rest of it is unknown.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = _REPLY_BYTES

    def readline(self, size: int) -> bytes:
        line: bytes = self._file.readline(min(size, self.left))
        self.left -= len(line)
        return line if line.endswith(b"\n") or len(line) == size else b""

    def close(self) -> None:
        self._file.close()


class _Conversation(smtplib.SMTP):
    """SMTP with bounded replies."""

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _BoundedReader(self.sock.makefile("rb"))
        if isinstance(self.file, _BoundedReader):
            self.file.left = _REPLY_BYTES
        return super().getreply()


class _EncryptedConversation(_Conversation, smtplib.SMTP_SSL):
    """The same, encrypted from the start."""


@contextmanager
def _connected(server: Server, *, timeout_s: float) -> Iterator[smtplib.SMTP]:
    """Yield a connection that is ready for the envelope.

    Up to there no message was handed over, so every failure is certain.
    """
    try:
        smtp = _open(server, timeout_s=timeout_s)
    except (OSError, smtplib.SMTPException) as error:
        raise _connection_error(error) from None
    try:
        yield smtp
    finally:
        # No QUIT: after the answer to DATA nothing depends on it, and a server may hang in it.
        smtp.close()


def _open(server: Server, *, timeout_s: float) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=server.authority)
    if server.encryption == "tls":
        smtp: smtplib.SMTP = _EncryptedConversation(
            server.host, server.port, timeout=timeout_s, context=context
        )
    else:
        smtp = _Conversation(server.host, server.port, timeout=timeout_s)
    try:
        smtp.ehlo_or_helo_if_needed()
        if server.encryption == "starttls":
            smtp.starttls(context=context)
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _connection_error(error: Exception) -> DeliveryError:
    """Return the `DeliveryError` for a failed connection.

    The library's own text is not used, for it may repeat the data sent.
    """
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return DeliveryError(
            f"SMTP {error.smtp_code}: user or password refused", retryable=error.smtp_code < 500
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return DeliveryError(
            "the server does not offer STARTTLS, or no supported login", retryable=False
        )
    if isinstance(error, smtplib.SMTPResponseException):
        return DeliveryError(f"SMTP {error.smtp_code} in greeting", retryable=error.smtp_code < 500)
    if isinstance(error, ssl.SSLError):
        return DeliveryError(
            "the server's certificate is not accepted, or it speaks no TLS", retryable=True
        )
    if isinstance(error, TimeoutError):
        return DeliveryError("no answer in time", retryable=True)
    return DeliveryError("no connection", retryable=True)


def _envelope(smtp: smtplib.SMTP, sender: str, recipients: Sequence[str]) -> dict[str, int]:
    """Send sender and recipients; return the rejected recipients with their codes."""
    try:
        code, _ = smtp.mail(sender)
        if code != 250:
            raise DeliveryError(f"SMTP {code}: sender refused", retryable=code < 500)
        codes = {address: smtp.rcpt(address)[0] for address in recipients}
    except (OSError, smtplib.SMTPException) as error:
        raise _connection_error(error) from None
    return {address: code for address, code in codes.items() if code not in (250, 251)}


def _transmit(smtp: smtplib.SMTP, content: bytes) -> None:
    try:
        code, _ = smtp.data(content)
    except smtplib.SMTPDataError as error:
        raise DeliveryError(
            f"SMTP {error.smtp_code}: message refused", retryable=error.smtp_code < 500
        ) from None
    except (OSError, smtplib.SMTPException):
        raise DeliveryError(
            "the connection broke before the answer", retryable=True, uncertain=True
        ) from None
    if code != 250:
        raise DeliveryError(f"SMTP {code}: message refused", retryable=code < 500)


def _server(value: str) -> Server:
    """Parse the server's URL. Errors never repeat it, for it holds a password."""
    try:
        url = urlsplit(value)
        options = {
            key: values[-1]
            for key, values in parse_qs(url.query, strict_parsing=bool(url.query)).items()
        }
        host = url.hostname or ""
        port = url.port
    except ValueError:
        raise _url_error("this is not a URL") from None
    if url.scheme not in ("smtp", "smtps") or not host:
        raise _url_error("this is not an smtp:// or smtps:// URL")
    if unknown := options.keys() - {"starttls", "ca"}:
        raise _url_error(f"the option {min(unknown)!r} is unknown; there are 'starttls' and 'ca'")
    # Port 587 is for submission, for which RFC 8314 requires encryption.
    uses_starttls = options.get("starttls", "1" if port == 587 else "0").lower() in (
        "1",
        "true",
        "yes",
    )
    encryption = "tls" if url.scheme == "smtps" else "starttls" if uses_starttls else ""
    if url.username and not encryption and host not in _LOCAL:
        raise _url_error("a password would be sent without encryption")
    authority = options.get("ca")
    if authority and not Path(authority).is_file():
        raise _url_error("the file that 'ca' names does not exist")
    return Server(
        host=host,
        port=port or {"tls": 465, "starttls": 587, "": 25}[encryption],
        encryption=encryption,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        authority=authority,
    )


def _url_error(what: str) -> UsageError:
    remedy = (
        "Use smtp://user:password@host:587?starttls=1 or smtps://user:password@host; "
        "percent-encode @ : / in them."
    )
    return UsageError(what, where=_VARIABLE, remedy=remedy)


def _address(value: str, *, setting: str) -> str:
    address = value.strip()
    if not _is_address(address):
        raise UsageError(
            f"{value!r} is not a plain mail address", where=setting, remedy="Use name@example.com."
        )
    return address


def _is_address(address: str) -> bool:
    local, at, domain = address.rpartition("@")
    # No quoting, comments or groups of RFC 5322, with which an address could become several.
    is_plain = all(
        33 <= ord(character) <= 126 and character not in '<>()[],;:"\\' for character in address
    )
    return bool(local and at and domain) and is_plain


def _domain(host: str) -> str:
    return (
        host
        if host.replace(".", "").replace("-", "").isalnum() and not host[-1].isdigit()
        else "localhost"
    )
