"""Mail by SMTP: one message to all recipients, as plain text and as HTML, with the pictures in it.

`MLOPS_SMTP_URL` says how: `smtp://user:password@host:587?starttls=1`, or `smtps://…` for a
connection that is encrypted from its first byte (port 465). `ca=/path/to/ca.pem` names a
certificate authority of your own. A password is only sent over an encrypted connection, or within
this machine.
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
from mlops_lib.notification import attachments, email_body
from mlops_lib.notification.channel import Message, Undelivered
from mlops_lib.notification.wording import one_line
from mlops_lib.records import Notification

_PICTURES = 6
_ATTACHMENT_BYTES = 5 * 1024 * 1024
_ATTACHMENTS = 3
_LOCAL = ("localhost", "127.0.0.1", "::1")
_VARIABLE = "MLOPS_SMTP_URL"
_REPLY_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where and how mail is handed in."""

    host: str
    port: int
    encryption: str
    """"tls" from the first byte, "starttls", or "" for none."""
    user: str = field(repr=False, default="")
    password: str = field(repr=False, default="")
    authority: str | None = None
    """Path of a CA certificate; None for the system's."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """People with mail addresses."""

    server: Server
    sender: str
    recipients: tuple[str, ...]
    authors: tuple[str, ...] = ()
    """Domains; a commit's author whose address is at one of them gets the mail too."""
    name: str = "mail"
    threads: bool = False

    def send(self, message: Message, *, timeout_s: float) -> str:
        """One SMTP conversation; see `Channel.send`. Recipients that took an earlier attempt are
        left out.
        """
        everybody = self._everybody(message.notification)
        remaining = [one for one in everybody if one not in message.reached]
        if not remaining:
            return ""
        content = compose(message, sender=self.sender, recipients=everybody).as_bytes()
        with _connected(self.server, timeout_s=timeout_s) as smtp:
            refused = _envelope(smtp, self.sender, remaining)
            accepted = tuple(one for one in remaining if one not in refused)
            if accepted:
                _hand_over(smtp, content)
        if refused:
            code = max(refused.values(), key=lambda code: code < 500)
            people = f"{len(refused)} of {len(remaining)} recipients"
            raise Undelivered(f"SMTP {code}: {people} refused", again=code < 500, reached=accepted)
        return ""

    def _everybody(self, notification: Notification) -> tuple[str, ...]:
        """The recipients, with the commit's author if the operator allows the address: a stranger
        chose it.
        """
        author = notification.author.strip()
        is_known = author.rpartition("@")[2].lower() in self.authors and _is_address(author)
        return (
            (*self.recipients, author)
            if is_known and author not in self.recipients
            else self.recipients
        )


def configure(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Mail | None:
    """From `MLOPS_SMTP_URL` and the settings `mail_to` (addresses), `mail_author` (domains) and
    `mail_from`.

    Raises:
        UsageError: an address or the URL is wrong.
    """
    to = settings.get("mail_to") or ()
    asked = to.replace(";", ",").split(",") if isinstance(to, str) else to
    recipients = tuple(
        dict.fromkeys(_address(str(one), setting="mail_to") for one in asked if str(one).strip())
    )
    value = environ.get(_VARIABLE, "").strip()
    authors = tuple(
        str(one).strip().lower().lstrip("@") for one in settings.get("mail_author") or ()
    )
    if not (recipients or authors) or not value:
        return None
    server = _server(value)
    sender = _address(
        str(settings.get("mail_from") or f"mlops@{_domain(server.host)}"), setting="mail_from"
    )
    return Mail(server=server, sender=sender, recipients=recipients, authors=authors)


def compose(message: Message, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The mail. Headers hold one line of printable text each, whatever the notification holds."""
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
            mail.add_attachment(content, kind, subkind, filename=one_line(Path(path).name))
    return mail


class _Bounded:
    """A file of whole lines that ends after so many bytes: a reply may have any number of lines.

    The beginning of a line is no answer: what the line would have said is not known.
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
    """SMTP whose replies are bounded."""

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        if isinstance(self.file, _Bounded):
            self.file.left = _REPLY_BYTES
        return super().getreply()


class _EncryptedConversation(_Conversation, smtplib.SMTP_SSL):
    """The same, encrypted from its first byte."""


@contextmanager
def _connected(server: Server, *, timeout_s: float) -> Iterator[smtplib.SMTP]:
    """A conversation, ready for the envelope.

    Until then nothing was handed over, so every failure is certain.
    """
    try:
        smtp = _open(server, timeout_s=timeout_s)
    except (OSError, smtplib.SMTPException) as error:
        raise _unreached(error) from None
    try:
        yield smtp
    finally:
        # After the answer to DATA nothing depends on a polite end, and a server that hangs in it
        # must not matter.
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


def _unreached(error: Exception) -> Undelivered:
    """Why there was no conversation, in our words: the library's may repeat what was sent."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return Undelivered(
            f"SMTP {error.smtp_code}: user or password refused", again=error.smtp_code < 500
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Undelivered(
            "the server does not offer STARTTLS or the login that is asked of it", again=False
        )
    if isinstance(error, smtplib.SMTPResponseException):
        return Undelivered(f"SMTP {error.smtp_code} in greeting", again=error.smtp_code < 500)
    if isinstance(error, ssl.SSLError):
        return Undelivered(
            "the server's certificate is not accepted, or it speaks no TLS", again=True
        )
    if isinstance(error, TimeoutError):
        return Undelivered("no answer in time", again=True)
    return Undelivered("no connection", again=True)


def _envelope(smtp: smtplib.SMTP, sender: str, recipients: Sequence[str]) -> dict[str, int]:
    """Name sender and recipients; returns the recipients refused, each with the server's code."""
    try:
        code, _ = smtp.mail(sender)
        if code != 250:
            raise Undelivered(f"SMTP {code}: sender refused", again=code < 500)
        codes = {one: smtp.rcpt(one)[0] for one in recipients}
    except (OSError, smtplib.SMTPException) as error:
        raise _unreached(error) from None
    return {one: code for one, code in codes.items() if code not in (250, 251)}


def _hand_over(smtp: smtplib.SMTP, content: bytes) -> None:
    try:
        code, _ = smtp.data(content)
    except smtplib.SMTPDataError as error:
        raise Undelivered(
            f"SMTP {error.smtp_code}: message refused", again=error.smtp_code < 500
        ) from None
    except (OSError, smtplib.SMTPException):
        raise Undelivered(
            "the connection broke before the answer", again=True, uncertain=True
        ) from None
    if code != 250:
        raise Undelivered(f"SMTP {code}: message refused", again=code < 500)


def _server(value: str) -> Server:
    """What the URL says; errors never repeat it, for there is a password in it."""
    try:
        url = urlsplit(value)
        options = {
            key: values[-1]
            for key, values in parse_qs(url.query, strict_parsing=bool(url.query)).items()
        }
        host = url.hostname or ""
        port = url.port
    except ValueError:
        raise _wrong("this is not a URL") from None
    if url.scheme not in ("smtp", "smtps") or not host:
        raise _wrong("this is not an smtp:// or smtps:// URL")
    if unknown := options.keys() - {"starttls", "ca"}:
        raise _wrong(f"the option {min(unknown)!r} is unknown; there are 'starttls' and 'ca'")
    # Port 587 is for submission, where RFC 8314 asks for encryption.
    wants = options.get("starttls", "1" if port == 587 else "0").lower() in ("1", "true", "yes")
    encryption = "tls" if url.scheme == "smtps" else "starttls" if wants else ""
    if url.username and not encryption and host not in _LOCAL:
        raise _wrong("a password would be sent without encryption")
    authority = options.get("ca")
    if authority and not Path(authority).is_file():
        raise _wrong("the file that 'ca' names does not exist")
    return Server(
        host=host,
        port=port or {"tls": 465, "starttls": 587, "": 25}[encryption],
        encryption=encryption,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        authority=authority,
    )


def _wrong(what: str) -> UsageError:
    remedy = "Use smtp://user:password@host:587?starttls=1 or smtps://user:password@host; percent-encode @ : / in them."
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
    odd = any(
        not 33 <= ord(character) <= 126 or character in '<>()[],;:"\\' for character in address
    )
    return bool(local and at and domain) and not odd


def _domain(host: str) -> str:
    return (
        host
        if host.replace(".", "").replace("-", "").isalnum() and not host[-1].isdigit()
        else "localhost"
    )
