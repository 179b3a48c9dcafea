"""What a channel is, and the table of those there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, cast

from mlops_lib.records import Notification, Record

LONGEST_WAIT_S = 6 * 3600.0
"""The longest that a receiver is left alone because it asked for that."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A notification on its way through one channel."""

    id: str
    """The same at every attempt, so that a receiver can tell a repetition; 32 hexadecimal digits.
    """
    notification: Notification
    reached: tuple[str, ...] = ()
    """Recipients that an earlier attempt reached already."""
    uncertain: bool = False
    """Whether an earlier attempt may have delivered it without saying so."""
    thread: str = ""
    """What this channel's `send` returned for the first message of the same thread; "" for the
    first one.
    """


class Undelivered(Exception):  # noqa: N818 - an outcome that the delivery handles, not an error a user meets
    """An attempt that did not deliver, or may not have.

    Args:
        reason: in words, without any secret.
        again: whether another attempt may succeed without anybody changing something.
        after_s: how long the receiver asked us to wait, in seconds.
        uncertain: whether the receiver may have taken the message although it did not say so.
        reached: recipients that did take it.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool,
        after_s: float | None = None,
        uncertain: bool = False,
        reached: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.after_s = after_s
        self.uncertain = uncertain
        self.reached = reached


class Channel(Protocol):
    """One place where people are told. Its `repr` shows no secret."""

    @property
    def name(self) -> str:
        """The channel's name in the ledger and in messages."""

    @property
    def threads(self) -> bool:
        """Whether it shows messages about one run together; only such channels are told about steps
        of a run.
        """

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Make one attempt and return once the receiver has taken the message.

        Args:
            message: what to send.
            timeout_s: how long any one step of the conversation may take.

        Returns:
            What names the thread the message stands in, "" where the channel has no threads.

        Raises:
            Undelivered: it was not delivered, or that is unknown.
        """


@dataclass(frozen=True, kw_only=True)
class Delivery(Record):
    """What became of a notification on one channel."""

    channel: str
    key: str
    state: Literal["sent", "already sent", "spooled", "failed"]
    """`spooled`: on disk, `flush` sends it later. `failed`: it could not even be put on disk."""
    attempts: int = 0
    """Made by this call."""
    reason: str = ""
    """Why it was not sent, with secrets masked."""
    uncertain: bool = False
    """Whether an attempt ended without an answer, so that the message may have arrived twice."""


CHANNELS = {
    "slack": "mlops_lib.notification.slack",
    "mail": "mlops_lib.notification.smtp",
    "webhook": "mlops_lib.notification.webhook",
    "apprise": "mlops_lib.notification.apprise",
}
"""Each module has `configure(settings, environ) -> Channel | None`; None where the channel is not
configured.
"""


def configured(
    name: str, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> Channel | None:
    """The channel of this name as these settings and this environment describe it; None if they do
    not.

    Raises:
        UsageError: it is described wrongly.
    """
    if name not in CHANNELS:
        return None
    configure = cast("Callable[..., Channel | None]", import_module(CHANNELS[name]).configure)
    return configure(settings, environ)
