"""Delivery: attempts and back-off, and everything on disk in between.

Where an attempt ends without an answer (a timeout after the message was written, a connection
reset, this program killed) nobody can know whether the message arrived. It is then sent again under
the same id: a second copy is a nuisance, a lost one is a failure. Receivers that look at the id
(`Message-ID` of mail, `Idempotency-Key` of webhooks) show it once, and a Slack bot looks itself
whether the first copy arrived; Slack's incoming webhooks do not look. Every other end is known, and
leads to exactly one copy.
"""

from __future__ import annotations

import os
import random
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
    Message,
    Undelivered,
    configured,
)
from mlops_lib.notification.outbox import Entry, Ledger, entry_id
from mlops_lib.notification.redaction import masker, presentable
from mlops_lib.records import Notification


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long and how often delivery is tried by one call.

    The clock is a value, so that tests need not wait.
    """

    attempts: int = 6
    first_s: float = 0.5
    """The first pause; each further one is twice as long, shortened by up to half at random."""
    longest_s: float = 20.0
    limit_s: float = 60.0
    """For one call, all channels, attempts and pauses together."""
    timeout_s: float = 10.0
    """For one step of one attempt; an attempt as a whole takes at most twice as long, whatever the
    receiver does.
    """
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def pause_s(self, attempt: int, after_s: float | None) -> float:
        """Seconds to wait after this attempt (from 1); never less than the receiver asked for."""
        backed_off: float = min(self.longest_s, self.first_s * 2 ** min(attempt - 1, 30))
        return max(after_s or 0.0, backed_off * (1 - self.chance() / 2))


DEFAULT_PATIENCE = Patience()
LATE = "no answer in time"


def notify(
    notification: Notification,
    *,
    settings: Mapping[str, Any],
    home: Path,
    environ: Mapping[str, str] = os.environ,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Delivery]:
    """Tell people, on every configured channel, and never twice under the same key.

    What cannot be delivered now is kept on disk for `flush`. Nothing is raised for it: what became
    of each channel is in the answer, and `check` makes an error of it where one is wanted.

    Args:
        notification: what to tell.
        settings: `mail_to`, `mail_from`; `notify` = "never" tells nobody.
        home: folder of mlops' own files.
        environ: where the channels' secrets are: `MLOPS_SLACK_TOKEN` or `MLOPS_SLACK_WEBHOOK`,
            `MLOPS_SMTP_URL`, `MLOPS_WEBHOOK_URL`, `MLOPS_WEBHOOK_SECRET`, `MLOPS_APPRISE_URLS`.
        patience: how long to try.
    """
    if settings.get("notify") == "never":
        return []
    post = _Post(home=home, settings=settings, environ=environ, patience=patience)
    names = [name for name in CHANNELS if post.is_wanted(name, for_steps=notification.progress)]
    # All of them are on disk before the first is tried: being killed while one waits must not lose
    # the others.
    spooled = [post.spool(name, presentable(notification, environ)) for name in names]
    shares = post.shares(len(spooled))
    return [
        one if one.state == "failed" else post.deliver(one, deadline=next(shares))
        for one in spooled
    ]


def keep(
    notification: Notification,
    *,
    settings: Mapping[str, Any],
    home: Path,
    environ: Mapping[str, str] = os.environ,
) -> list[Delivery]:
    """Put the notification on disk for every configured channel, for `notify` or `flush` to send.

    Args:
        notification: what to tell.
        settings: as for `notify`.
        home: folder of mlops' own files.
        environ: where the channels' secrets are.

    Returns:
        One delivery for each channel; empty where nobody is to be told.
    """
    if settings.get("notify") == "never":
        return []
    post = _Post(home=home, settings=settings, environ=environ, patience=DEFAULT_PATIENCE)
    names = [name for name in CHANNELS if post.is_wanted(name, for_steps=notification.progress)]
    return [post.spool(name, presentable(notification, environ)) for name in names]


def flush(
    settings: Mapping[str, Any],
    *,
    home: Path,
    environ: Mapping[str, str] = os.environ,
    patience: Patience = DEFAULT_PATIENCE,
) -> list[Delivery]:
    """Send what earlier calls could not.

    A channel that still does not answer is not tried for its other messages.
    """
    post = _Post(home=home, settings=settings, environ=environ, patience=patience)
    return post.flush()


def check(deliveries: Sequence[Delivery]) -> None:
    """Make an error of what was not delivered.

    Raises:
        NotificationError: a channel did not take its message.
    """
    missing = [one for one in deliveries if one.state in ("spooled", "failed")]
    if missing:
        raise NotificationError(
            "; ".join(f"{one.channel}: {one.reason}" for one in missing),
            where=", ".join(sorted({one.channel for one in missing})),
            remedy="Mend what the reason names; kept messages go with the next `mlops notify` or `mlops run`.",
        )


class _Post:
    """The channels and the ledger of one call."""

    def __init__(
        self,
        *,
        home: Path,
        settings: Mapping[str, Any],
        environ: Mapping[str, str],
        patience: Patience,
    ) -> None:
        self._ledger = Ledger(home)
        self._settings = settings
        self._environ = environ
        self._patience = patience
        self._mask = masker(environ)

    def is_wanted(self, name: str, *, for_steps: bool = False) -> bool:
        """Whether the channel is configured, be it wrongly: its messages wait until that is mended.

        Args:
            name: the channel's.
            for_steps: whether it has to be one that shows a run's steps together.
        """
        try:
            channel = configured(name, self._settings, self._environ)
        except UsageError:
            return not for_steps
        return channel is not None and (channel.threads or not for_steps)

    def spool(self, name: str, notification: Notification) -> Delivery:
        """Put the notification on disk for one channel, unless it is there or was sent."""
        identity = entry_id(name, notification.key)
        try:
            with self._ledger.held(
                identity, timeout_s=0.0
            ) as mine:  # else another program has it on disk already
                if (
                    mine
                    and not self._ledger.was_sent(identity)
                    and self._ledger.find(identity) is None
                ):
                    now = self._patience.now()
                    self._ledger.save(
                        Entry(id=identity, channel=name, notification=notification, created=now)
                    )
        except OSError as error:
            return _failed(name, notification.key, error)
        return Delivery(channel=name, key=notification.key, state="spooled")

    def shares(self, channels: int) -> Iterator[float]:
        """For one channel after the other its deadline: each may take an equal share of the time
        that is left.

        One after the other, because a program that is killed while it waits for an answer does not
        know whether that message arrived; and with a share of its own no channel is kept from its
        turn by one that stays silent.
        """
        end = self._patience.clock() + self._patience.limit_s
        for left in range(channels, 0, -1):
            now = self._patience.clock()
            yield now + max(0.0, end - now) / left

    def deliver(self, delivery: Delivery, *, deadline: float) -> Delivery:
        """Deliver what was spooled."""
        identity = entry_id(delivery.channel, delivery.key)
        try:
            with self._ledger.held(
                identity, timeout_s=max(0.0, deadline - self._patience.clock())
            ) as mine:
                if not mine:
                    return replace(delivery, reason="another program is delivering it")
                entry = self._ledger.find(identity)
                if entry is None or self._ledger.was_sent(identity):
                    return replace(delivery, state="already sent")
                return self._send(entry, deadline=deadline)[0]
        except OSError as error:
            return _failed(delivery.channel, delivery.key, error)

    def flush(self) -> list[Delivery]:
        """Deliver everything that waits, channel by channel."""
        by_channel: dict[str, list[str]] = {}
        for identity in self._ledger.waiting():
            by_channel.setdefault(self._channel_of(identity), []).append(identity)
        shares = self.shares(len(by_channel))
        flushed = [self._flush_channel(ids, deadline=next(shares)) for ids in by_channel.values()]
        return [answer for answers in flushed for answer in answers]

    def _channel_of(self, identity: str) -> str:
        try:
            entry = self._ledger.find(identity)
        except OSError:
            return ""
        return "" if entry is None else entry.channel

    def _flush_channel(self, identities: Sequence[str], *, deadline: float) -> list[Delivery]:
        """Deliver entries of one channel in their order, for as long as it takes them and there is
        time.
        """
        silent: dict[str, str] = {}
        answers = []
        for identity in identities:
            try:
                answer = self._flush_one(identity, silent, deadline=deadline)
            except OSError as error:
                answer = _failed("spool", identity, error)
            if answer is not None:
                answers.append(answer)
        return answers

    def _flush_one(
        self, identity: str, silent: dict[str, str], *, deadline: float
    ) -> Delivery | None:
        """Deliver one entry, unless its channel was found silent; notes in `silent` that it is."""
        with self._ledger.held(identity, timeout_s=0.0) as mine:
            if not mine:  # another program delivers it, and is not waited for
                return None
            entry = self._ledger.find(identity)
            if entry is None:
                return None
            if self._ledger.was_sent(identity):
                self._ledger.close(entry)
                return None
            if self._patience.clock() >= deadline:
                silent.setdefault(entry.channel, "there was no time left for it")
            if entry.channel in silent:
                return _spooled(entry, silent[entry.channel])
            answer, again = self._send(entry, deadline=deadline)
            if again:
                silent[entry.channel] = answer.reason
            return answer

    def _send(self, entry: Entry, *, deadline: float) -> tuple[Delivery, bool]:
        """Deliver a held entry; also whether its channel should be left alone for now."""
        try:
            channel = configured(entry.channel, self._settings, self._environ)
        except UsageError as error:
            return _spooled(entry, self._mask(str(error))), True
        if channel is None:
            return _spooled(entry, "the channel is not configured here"), True
        # A clock that was set back must not make the wait longer than any that is asked for.
        if 0 < entry.not_before - self._patience.now() <= LONGEST_WAIT_S:
            return _spooled(entry, entry.reason), True
        # Found with an attempt begun: its program was killed in the middle of it.
        entry = replace(entry, uncertain=entry.uncertain or entry.attempting)
        return self._attempt(entry, channel, deadline=deadline)

    def _attempt(self, entry: Entry, channel: Channel, *, deadline: float) -> tuple[Delivery, bool]:
        patience = self._patience
        for attempt in range(1, patience.attempts + 1):
            entry = replace(entry, attempts=entry.attempts + 1, attempting=True)
            self._ledger.save(entry)
            message = Message(
                id=entry.id,
                notification=entry.notification,
                reached=entry.reached,
                uncertain=entry.uncertain,
                thread=self._ledger.thread(entry),
            )
            try:
                thread = _sent(
                    channel, message, patience=patience, left_s=deadline - patience.clock()
                )
            except Undelivered as fault:
                entry = self._after(entry, fault)
                pause_s = patience.pause_s(attempt, fault.after_s)
                over = attempt == patience.attempts or patience.clock() + pause_s > deadline
                if not fault.again or over:
                    entry = replace(entry, not_before=patience.now() + (fault.after_s or 0.0))
                    self._ledger.save(entry)
                    return replace(_spooled(entry, entry.reason), attempts=attempt), fault.again
                self._ledger.save(entry)
                patience.sleep(pause_s)
            else:
                self._ledger.keep_thread(entry, thread)
                self._ledger.close(entry)
                sent = Delivery(
                    channel=entry.channel,
                    key=entry.notification.key,
                    state="sent",
                    attempts=attempt,
                )
                return replace(sent, uncertain=entry.uncertain), False
        raise AssertionError("unreachable: the last attempt returns")

    def _after(self, entry: Entry, fault: Undelivered) -> Entry:
        return replace(
            entry,
            attempting=False,
            reason=self._mask(fault.reason),
            uncertain=entry.uncertain or fault.uncertain,
            reached=(*entry.reached, *fault.reached),
        )


def _sent(channel: Channel, message: Message, *, patience: Patience, left_s: float) -> str:
    """Make one attempt, all of it within its time; see `Channel.send`."""
    timeout_s = max(0.1, min(patience.timeout_s, left_s))
    attempt = Attempt(lambda: channel.send(message, timeout_s=timeout_s))
    try:
        thread = attempt.run(max(0.1, min(2 * patience.timeout_s, left_s)))
        if attempt.was_cut:  # the beginning of an answer, which had no time to become one
            raise Undelivered(LATE, again=True, uncertain=True)
        return thread
    except OverdueError as error:
        raise Undelivered(LATE, again=True, uncertain=error.connected) from None
    except Undelivered as fault:
        if attempt.was_cut:
            fault.reason, fault.again = LATE, True
        raise


def _spooled(entry: Entry, reason: str) -> Delivery:
    key = entry.notification.key
    return Delivery(
        channel=entry.channel, key=key, state="spooled", reason=reason, uncertain=entry.uncertain
    )


def _failed(channel: str, key: str, error: OSError) -> Delivery:
    reason = f"it cannot be kept on disk: {error.strerror or error}"
    return Delivery(channel=channel, key=key, state="failed", reason=reason)
