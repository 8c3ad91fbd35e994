"""Incoming messages (MO): what people send to the account's numbers, as the gateway shows it. Pure data."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pollerd.core import event as events


class IncomingMessage(msgspec.Struct, frozen=True, gc=False):
    """One incoming message. `id` is the gateway's `mosms_id`, `sent` its `senttime` by the gateway's clock.

    `msisdn` is who sent it (None: no usable number), `receiver` the number that it was sent to, `label` that of the
    vendor's webhook for it.
    """

    id: int
    msisdn: int | None = None
    receiver: int | str | None = None
    text: str | None = None
    sent: float | None = None
    sender: str | None = None
    encoding: str | None = None
    label: str | None = None

    @property
    def position(self) -> tuple[float, int]:
        """Its place in the order in which messages are reported: by time, then by id; without a time first."""
        return self.sent or 0.0, self.id


class IncomingPage(msgspec.Struct, frozen=True):
    """A readable 200 answer: one page of the incoming messages between two dates.

    `results` and `pages` are the gateway's own counts of all there are, None where it gives none of use. `unusable`
    entries have no id and count among `results`. `damage` names the fields that held something of no use, and in how
    many places. `date` is when it was answered, by the gateway's clock.
    """

    messages: tuple[IncomingMessage, ...]
    results: int | None = None
    pages: int | None = None
    unusable: int = 0
    damage: tuple[tuple[str, int], ...] = ()
    date: float | None = None


class IncomingDenied(msgspec.Struct, frozen=True):
    """The vendor's own refusal of the whole: this account may not read incoming messages, or nobody may any more."""

    detail: str


class Dates(NamedTuple):
    """The days that are asked for, both included, as YYYY-MM-DD. The gateway's zone is not documented."""

    first: str
    last: str


def reported(account: str, message: IncomingMessage, observed_at: str) -> events.Received:
    """The event of an incoming message."""
    return events.Received(
        incoming_id=message.id,
        account=account,
        msisdn=message.msisdn,
        receiver=message.receiver,
        text=message.text,
        senttime=message.sent,
        sender=message.sender,
        encoding=message.encoding,
        webhook_label=message.label,
        observed_at=observed_at,
    )
