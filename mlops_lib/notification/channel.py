"""The channels' interface, and the table of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, cast

from mlops_lib.records import Notification, Record

LONGEST_WAIT_S = 6 * 3600.0
"""Longest pause that a receiver's `Retry-After` can impose, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A notification on its way through one channel."""

    id: str
    """32 hexadecimal digits, the same at every attempt, so that a receiver can recognize a
    repetition.
    """
    notification: Notification
    reached: tuple[str, ...] = ()
    """Recipients that an earlier attempt reached."""
    uncertain: bool = False
    """Whether an earlier attempt may have delivered the message without a confirmation."""
    thread: str = ""
    """The id that this channel's `send` returned for the first message of the thread; "" for the
    first one.
    """


class DeliveryError(Exception):
    """A message was not delivered, or its delivery was not confirmed.

    Args:
        reason: in words, without any secret.
        retryable: whether another attempt may succeed without a change of configuration.
        after_s: the pause requested by the receiver, in seconds.
        uncertain: whether the receiver may have accepted the message without confirming it.
        reached: recipients that did accept it.
    """

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool,
        after_s: float | None = None,
        uncertain: bool = False,
        reached: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.after_s = after_s
        self.uncertain = uncertain
        self.reached = reached


class Channel(Protocol):
    """One configured destination of notifications. Its `repr` shows no secret."""

    @property
    def name(self) -> str:
        """The channel's name in the outbox and in messages."""

    @property
    def threads(self) -> bool:
        """Whether the channel groups the messages of a run in a thread.

        Only such channels receive the steps of a run; others would be flooded by them.
        """

    def send(self, message: Message, *, timeout_s: float) -> str:
        """Make one attempt, and return once the receiver has accepted the message.

        Args:
            message: the message to send.
            timeout_s: limit for each step of the conversation, in seconds.

        Returns:
            The id of the message's thread; "" if the channel has no threads.

        Raises:
            DeliveryError: the message was not delivered, or its delivery was not confirmed.
        """


@dataclass(frozen=True, kw_only=True)
class Delivery(Record):
    """The result of a notification on one channel."""

    channel: str
    key: str
    state: Literal["sent", "already sent", "spooled", "failed"]
    """`spooled`: on disk, to be sent by `flush`. `failed`: it could not even be written to disk."""
    attempts: int = 0
    """Attempts made by this call."""
    reason: str = ""
    """The reason why it was not sent, with secrets masked."""
    uncertain: bool = False
    """Whether an attempt ended without an answer, so that the message may have arrived twice."""


CHANNELS = {
    "slack": "mlops_lib.notification.slack",
    "mail": "mlops_lib.notification.smtp",
    "webhook": "mlops_lib.notification.webhook",
    "apprise": "mlops_lib.notification.apprise",
}
"""Channel name to module.

Each module has `configure(settings, environ) -> Channel | None`, which returns None if the channel
is not configured.
"""


def configured(
    name: str, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> Channel | None:
    """Return the channel of this name, or None if it is not configured.

    Raises:
        UsageError: its configuration is invalid.
    """
    if name not in CHANNELS:
        return None
    configure = cast("Callable[..., Channel | None]", import_module(CHANNELS[name]).configure)
    return configure(settings, environ)
