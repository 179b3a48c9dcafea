"""Telling people: what happened (`compose`), to every configured channel exactly once (`notify`,
`flush`).

    composition   from records to a Notification, a pure function
    channel       what a channel is, and the table of them
    slack mail webhook anything   one channel each
    letter        a notification as a mail
    web           the HTTP that two of them share
    attempt       one attempt within its time, whatever the receiver does
    delivery      attempts, back-off, and what is on disk between them
    files         the pictures and attachments that go along
    ledger        what is on disk: who was told what already, and who is still to be told
    masking       what must not be shown, and how it is masked
    wording       text from outside, made fit to be shown
    memory        how a project stood when people were last told

Nothing third-party is imported before a message is sent.
"""

from __future__ import annotations

from mlops_lib.notification.channel import Channel, Delivery
from mlops_lib.notification.composition import Step, compose, sample, step
from mlops_lib.notification.delivery import Patience, check, flush, keep, notify
from mlops_lib.notification.last_outcome import last_accepted, recall, remember

__all__ = [
    "Channel",
    "Delivery",
    "Patience",
    "Step",
    "check",
    "compose",
    "flush",
    "keep",
    "last_accepted",
    "notify",
    "recall",
    "remember",
    "sample",
    "step",
]
