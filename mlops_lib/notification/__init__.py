"""Notifications of a project's changes, to every configured channel exactly once.

    composition    records -> Notification, or None if there is no news (pure)
    channel        the channels' interface, and the table of channels
    slack smtp webhook apprise   one channel each
    email_body     a notification as a mail's subject, text and HTML (templates/)
    http_post      one POST, shared by slack and webhook
    attempt        one delivery attempt with a hard time limit
    delivery       the retry policy, the attempts, and their state on disk in between
    outbox         messages on disk: pending, sent, threads
    attachments    pictures and files that accompany a message
    redaction      secrets masked in every text
    last_outcome   the last outcome that people were notified of, per project

Nothing third-party is imported before a message is sent.
"""

from __future__ import annotations

from mlops_lib.notification.channel import Channel, Delivery
from mlops_lib.notification.composition import Step, compose, sample, step
from mlops_lib.notification.delivery import DeliveryPolicy, check, enqueue, flush, notify
from mlops_lib.notification.last_outcome import last_accepted, recall, remember

__all__ = [
    "Channel",
    "Delivery",
    "DeliveryPolicy",
    "Step",
    "check",
    "compose",
    "enqueue",
    "flush",
    "last_accepted",
    "notify",
    "recall",
    "remember",
    "sample",
    "step",
]
