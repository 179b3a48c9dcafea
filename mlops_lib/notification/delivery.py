"""Delivery of notifications: retries, back-off, and the state on disk in between.

If an attempt ends without an answer (a timeout after the message was written, a connection reset,
this program killed), nothing can show whether the message arrived. It is then sent again under the
same id, because a duplicate is a nuisance and a loss a failure. Receivers that compare ids
(`Message-ID` of mail, `Idempotency-Key` of webhooks) show it once. The Slack bot searches the
channel for the first copy; Slack's incoming webhooks cannot. Every other end of an attempt is
certain, and leads to exactly one copy.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lib.errors import NotificationError, UsageError
from mlops_lib.notification.attempt import Attempt, OverdueError
from mlops_lib.notification.channel import (
    CHANNELS,
    LONGEST_WAIT_S,
    Channel,
    Delivery,
    DeliveryError,
    Message,
    configured,
)
from mlops_lib.notification.outbox import Entry, Outbox, entry_id
from mlops_lib.notification.redaction import masker, redact
from mlops_lib.records import Notification
from mlops_lib.retry import RetryPolicy


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy(RetryPolicy):
    """Limits of one call's delivery attempts, shared by all channels."""

    attempts: int | None = 6
    timeout_s: float = 10.0
    """Limit for one step of an attempt; the whole attempt takes at most twice as long."""
    now: Callable[[], float] = time.time
    """The wall clock: the outbox keeps times that outlive this process."""


DEFAULT_RETRY = DeliveryPolicy()
TIMED_OUT = "no answer in time"


def notify(
    notification: Notification,
    *,
    settings: Mapping[str, Any],
    home: Path,
    environ: Mapping[str, str] = os.environ,
    retry: DeliveryPolicy = DEFAULT_RETRY,
) -> list[Delivery]:
    """Send a notification to every configured channel, once per key.

    A message that cannot be delivered now stays on disk for `flush`. A failed delivery raises
    nothing: the result holds the state of each channel, and `check` turns failures into an error.

    Args:
        notification: the message.
        settings: `mail_to`, `mail_from`, …; `notify` = "never" sends nothing.
        home: folder of mlops' own files.
        environ: holds the channels' secrets: `MLOPS_SLACK_TOKEN` or `MLOPS_SLACK_WEBHOOK`,
            `MLOPS_SMTP_URL`, `MLOPS_WEBHOOK_URL`, `MLOPS_WEBHOOK_SECRET`, `MLOPS_APPRISE_URLS`.
        retry: the limits of the attempts.
    """
    if settings.get("notify") == "never":
        return []
    dispatcher = _Dispatcher(home=home, settings=settings, environ=environ, retry=retry)
    names = [
        name for name in CHANNELS if dispatcher.is_wanted(name, for_steps=notification.progress)
    ]
    # All are on disk before the first attempt: if this program is killed during an attempt, the
    # other messages must not be lost.
    spooled = [dispatcher.spool(name, redact(notification, environ)) for name in names]
    deadlines = dispatcher.deadlines(len(spooled))
    return [
        delivery
        if delivery.state == "failed"
        else dispatcher.deliver(delivery, deadline=next(deadlines))
        for delivery in spooled
    ]


def enqueue(
    notification: Notification,
    *,
    settings: Mapping[str, Any],
    home: Path,
    environ: Mapping[str, str] = os.environ,
) -> list[Delivery]:
    """Write the notification to disk for every configured channel, without sending it.

    `notify` and `flush` send it later.

    Args:
        notification: the message.
        settings: as for `notify`.
        home: folder of mlops' own files.
        environ: holds the channels' secrets.

    Returns:
        One delivery for each channel; empty if no channel is configured.
    """
    if settings.get("notify") == "never":
        return []
    dispatcher = _Dispatcher(home=home, settings=settings, environ=environ, retry=DEFAULT_RETRY)
    names = [
        name for name in CHANNELS if dispatcher.is_wanted(name, for_steps=notification.progress)
    ]
    return [dispatcher.spool(name, redact(notification, environ)) for name in names]


def flush(
    settings: Mapping[str, Any],
    *,
    home: Path,
    environ: Mapping[str, str] = os.environ,
    retry: DeliveryPolicy = DEFAULT_RETRY,
) -> list[Delivery]:
    """Send the messages that earlier calls could not deliver.

    After a channel's first failure its other messages wait for the next call.
    """
    dispatcher = _Dispatcher(home=home, settings=settings, environ=environ, retry=retry)
    return dispatcher.flush()


def check(deliveries: Sequence[Delivery]) -> None:
    """Raise an error if a message was not delivered.

    Raises:
        NotificationError: a channel did not accept its message.
    """
    failures = [delivery for delivery in deliveries if delivery.state in ("spooled", "failed")]
    if failures:
        raise NotificationError(
            "; ".join(f"{delivery.channel}: {delivery.reason}" for delivery in failures),
            where=", ".join(sorted({delivery.channel for delivery in failures})),
            remedy="Correct what the reason names; the next `mlops notify` or `mlops run` sends "
            "the messages that are on disk.",
        )


class _Dispatcher:
    """The channels, the outbox and the limits of one call."""

    def __init__(
        self,
        *,
        home: Path,
        settings: Mapping[str, Any],
        environ: Mapping[str, str],
        retry: DeliveryPolicy,
    ) -> None:
        self._outbox = Outbox(home)
        self._settings = settings
        self._environ = environ
        self._retry = retry
        self._mask = masker(environ)

    def is_wanted(self, name: str, *, for_steps: bool = False) -> bool:
        """Return whether the channel is configured.

        An invalid configuration counts: its messages wait until it is corrected.

        Args:
            name: the channel's name.
            for_steps: whether the channel must also support threads.
        """
        try:
            channel = configured(name, self._settings, self._environ)
        except UsageError:
            return not for_steps
        return channel is not None and (channel.threads or not for_steps)

    def spool(self, name: str, notification: Notification) -> Delivery:
        """Write the notification to disk for one channel, unless it is there or was sent."""
        identity = entry_id(name, notification.key)
        try:
            with self._outbox.lock(
                identity, timeout_s=0.0
            ) as mine:  # else another program has it on disk already
                if (
                    mine
                    and not self._outbox.was_sent(identity)
                    and self._outbox.find(identity) is None
                ):
                    now = self._retry.now()
                    self._outbox.save(
                        Entry(id=identity, channel=name, notification=notification, created=now)
                    )
        except OSError as error:
            return _failed(name, notification.key, error)
        return Delivery(channel=name, key=notification.key, state="spooled")

    def deadlines(self, channels: int) -> Iterator[float]:
        """Yield the channels' deadlines in turn: equal shares of the time that is left.

        Channels take turns rather than run in parallel, because a program that is killed during an
        attempt does not know whether that message arrived. With a share of its own, no channel is
        starved by an unresponsive one.
        """
        end = self._retry.clock() + self._retry.limit_s
        for remaining in range(channels, 0, -1):
            now = self._retry.clock()
            yield now + max(0.0, end - now) / remaining

    def deliver(self, delivery: Delivery, *, deadline: float) -> Delivery:
        """Deliver a spooled message."""
        identity = entry_id(delivery.channel, delivery.key)
        try:
            with self._outbox.lock(
                identity, timeout_s=max(0.0, deadline - self._retry.clock())
            ) as mine:
                if not mine:
                    return replace(delivery, reason="another program is delivering it")
                entry = self._outbox.find(identity)
                if entry is None or self._outbox.was_sent(identity):
                    return replace(delivery, state="already sent")
                return self._send(entry, deadline=deadline)[0]
        except OSError as error:
            return _failed(delivery.channel, delivery.key, error)

    def flush(self) -> list[Delivery]:
        """Deliver all pending messages, channel by channel."""
        by_channel: dict[str, list[str]] = {}
        for identity in self._outbox.pending_ids():
            by_channel.setdefault(self._channel_of(identity), []).append(identity)
        deadlines = self.deadlines(len(by_channel))
        flushed = [
            self._flush_channel(ids, deadline=next(deadlines)) for ids in by_channel.values()
        ]
        return [answer for answers in flushed for answer in answers]

    def _channel_of(self, identity: str) -> str:
        try:
            entry = self._outbox.find(identity)
        except OSError:
            return ""
        return "" if entry is None else entry.channel

    def _flush_channel(self, identities: Sequence[str], *, deadline: float) -> list[Delivery]:
        """Deliver one channel's messages in order, until it fails or the time is over."""
        unavailable: dict[str, str] = {}
        answers = []
        for identity in identities:
            try:
                answer = self._flush_one(identity, unavailable, deadline=deadline)
            except OSError as error:
                answer = _failed("spool", identity, error)
            if answer is not None:
                answers.append(answer)
        return answers

    def _flush_one(
        self, identity: str, unavailable: dict[str, str], *, deadline: float
    ) -> Delivery | None:
        """Deliver one message, unless its channel failed before in this call.

        Args:
            identity: the entry's id.
            unavailable: channel to reason; extended if this channel fails.
            deadline: the channel's deadline.
        """
        with self._outbox.lock(identity, timeout_s=0.0) as mine:
            if not mine:  # another program delivers it, and is not waited for
                return None
            entry = self._outbox.find(identity)
            if entry is None:
                return None
            if self._outbox.was_sent(identity):
                self._outbox.mark_sent(entry)
                return None
            if self._retry.clock() >= deadline:
                unavailable.setdefault(entry.channel, "there was no time left for it")
            if entry.channel in unavailable:
                return _spooled(entry, unavailable[entry.channel])
            answer, again = self._send(entry, deadline=deadline)
            if again:
                unavailable[entry.channel] = answer.reason
            return answer

    def _send(self, entry: Entry, *, deadline: float) -> tuple[Delivery, bool]:
        """Deliver a locked entry; also return whether to leave its channel alone for now."""
        try:
            channel = configured(entry.channel, self._settings, self._environ)
        except UsageError as error:
            return _spooled(entry, self._mask(str(error))), True
        if channel is None:
            return _spooled(entry, "the channel is not configured here"), True
        # A clock that was set back must not extend the pause beyond the longest possible one.
        if 0 < entry.not_before - self._retry.now() <= LONGEST_WAIT_S:
            return _spooled(entry, entry.reason), True
        # If an attempt has no recorded end, its program was killed in the middle of it.
        entry = replace(entry, uncertain=entry.uncertain or entry.attempting)
        return self._attempt(entry, channel, deadline=deadline)

    def _attempt(self, entry: Entry, channel: Channel, *, deadline: float) -> tuple[Delivery, bool]:
        retry = self._retry
        for attempt in itertools.count(1):
            entry = replace(entry, attempts=entry.attempts + 1, attempting=True)
            self._outbox.save(entry)
            message = Message(
                id=entry.id,
                notification=entry.notification,
                reached=entry.reached,
                uncertain=entry.uncertain,
                thread=self._outbox.thread(entry),
            )
            try:
                thread = _sent(channel, message, retry=retry, left_s=deadline - retry.clock())
            except DeliveryError as fault:
                entry = self._after(entry, fault)
                pause_s = retry.next_pause_s(
                    attempt, deadline=deadline, at_least_s=fault.after_s or 0.0
                )
                if not fault.retryable or pause_s is None:
                    entry = replace(entry, not_before=retry.now() + (fault.after_s or 0.0))
                    self._outbox.save(entry)
                    return replace(_spooled(entry, entry.reason), attempts=attempt), fault.retryable
                self._outbox.save(entry)
                retry.sleep(pause_s)
            else:
                self._outbox.save_thread(entry, thread)
                self._outbox.mark_sent(entry)
                sent = Delivery(
                    channel=entry.channel,
                    key=entry.notification.key,
                    state="sent",
                    attempts=attempt,
                )
                return replace(sent, uncertain=entry.uncertain), False
        raise AssertionError("unreachable: the last attempt returns")

    def _after(self, entry: Entry, fault: DeliveryError) -> Entry:
        return replace(
            entry,
            attempting=False,
            reason=self._mask(fault.reason),
            uncertain=entry.uncertain or fault.uncertain,
            reached=(*entry.reached, *fault.reached),
        )


def _sent(channel: Channel, message: Message, *, retry: DeliveryPolicy, left_s: float) -> str:
    """Make one attempt within the policy's limits; see `Channel.send`."""
    timeout_s = max(0.1, min(retry.timeout_s, left_s))
    attempt = Attempt(lambda: channel.send(message, timeout_s=timeout_s))
    try:
        thread = attempt.run(max(0.1, min(2 * retry.timeout_s, left_s)))
        if attempt.timed_out:  # the answer was cut off, and may have continued differently
            raise DeliveryError(TIMED_OUT, retryable=True, uncertain=True)
        return thread
    except OverdueError as error:
        raise DeliveryError(TIMED_OUT, retryable=True, uncertain=error.connected) from None
    except DeliveryError as fault:
        if attempt.timed_out:
            fault.reason, fault.retryable = TIMED_OUT, True
        raise


def _spooled(entry: Entry, reason: str) -> Delivery:
    key = entry.notification.key
    return Delivery(
        channel=entry.channel, key=key, state="spooled", reason=reason, uncertain=entry.uncertain
    )


def _failed(channel: str, key: str, error: OSError) -> Delivery:
    reason = f"it cannot be written to disk: {error.strerror or error}"
    return Delivery(channel=channel, key=key, state="failed", reason=reason)
