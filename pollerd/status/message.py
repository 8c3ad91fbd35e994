"""A message as programs read it: what `list --json` and `show --json` give. Pure."""

from __future__ import annotations

import msgspec

from pollerd.core import lifecycle
from pollerd.core.event import instant
from pollerd.core.model import OVERDUE, Message, Recipient, State
from pollerd.gateway.gatewayapi import errorcodes

STATE_NAMES = {
    State.NEW: "pending",
    State.PENDING: "pending",
    State.FINISHED: "finished",
    State.GAVE_UP: "gave_up",
    State.SET_ASIDE: "set_aside",
}
"""A row that is not planned yet is shown as pending."""
STATES = {STATE_NAMES[state]: state for state in State if state is not State.NEW}
"""The states to ask for, by name."""


def standing(message: Message) -> str:
    """The state of a message in one word for people: a pending one that was reported as overdue is that."""
    return OVERDUE if message.overdue and message.state is State.PENDING else STATE_NAMES[message.state]


class RecipientDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient. `time` is the gateway's in UNIX seconds, `meaning` its error code in words, `advice` what to do
    about it.

    `msisdn` is null when the gateway shows no usable number. `counts_as` is the state by which it counts while an entry
    without a usable number stands for it. `senttime` is when its SMS was sent, in UNIX seconds by the gateway's clock,
    `csms` in how many parts, `actual_sender` the sender that its phone shows.
    """

    msisdn: int | None
    status: str
    final: bool
    time: float | None
    error: str | None
    code: str | None
    meaning: str | None
    advice: str | None
    country_code: str | None
    mcc: str | None
    mnc: str | None
    charge_status: str | None
    counts_as: str | None = None
    senttime: float | None = None
    csms: int | None = None
    actual_sender: str | None = None


class MessageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `state` is `pending`, `finished`, `gave_up` or `set_aside`; instants are RFC 3339 in UTC.

    `next_poll_at` and `next_reason` are null when it is no longer polled. `priority` is null until it is known, which
    counts as NORMAL. `overdue_at` is when it is, or was, due to be reported as
    overdue (null: never), `overdue` whether it was.
    `set_aside` says what was wrong with its row when it was set aside: it is not polled then, until it is taken up
    again.
    """

    id: int
    account: str
    userref: str | None
    state: str
    sent_at: str
    sendtime: str | None
    polls: int
    first_poll_at: str | None
    last_poll_at: str | None
    last_answer: str | None
    next_poll_at: str | None
    next_reason: str | None
    finished_at: str | None
    priority: str | None = None
    overdue_at: str | None = None
    overdue: bool = False
    recipients: tuple[RecipientDocument, ...]
    set_aside: str | None = None


def message_document(message: Message) -> MessageDocument:
    """The document of a message."""
    polled = message.state == State.PENDING
    return MessageDocument(
        id=message.id,
        account=message.account,
        userref=message.userref,
        state=STATE_NAMES[message.state],
        sent_at=instant(message.sent_at),
        sendtime=moment(message.sendtime),
        polls=message.polls,
        first_poll_at=moment(message.first_poll_at),
        last_poll_at=moment(message.last_poll_at),
        last_answer=message.last_answer or None,
        next_poll_at=instant(message.next_poll_at) if polled else None,
        next_reason=message.next_reason or None if polled else None,
        finished_at=moment(message.finished_at),
        recipients=tuple(_recipient(recipient) for recipient in message.recipients),
        priority=None if message.priority is None else message.priority.name,
        overdue_at=moment(message.overdue_at),
        overdue=message.overdue,
        set_aside=message.next_reason if message.state is State.SET_ASIDE else None,
    )


def failure_advice(recipient: Recipient) -> str | None:
    """What can be done about its error code. None while it may still arrive, and once it has: sending again would then
    send it twice.
    """
    if not lifecycle.is_final(recipient.status) or recipient.status in lifecycle.ARRIVED:
        return None
    meaning = errorcodes.of_recipient(recipient.code)
    return None if meaning is None else meaning.advice


def _recipient(recipient: Recipient) -> RecipientDocument:
    meaning = errorcodes.of_recipient(recipient.code)
    return RecipientDocument(
        msisdn=recipient.msisdn or None,
        status=lifecycle.name(recipient.status),
        final=lifecycle.is_final(recipient.status),
        time=recipient.time,
        error=recipient.error,
        code=recipient.code,
        meaning=None if meaning is None else meaning.words,
        advice=failure_advice(recipient),
        country_code=recipient.country,
        mcc=recipient.mcc,
        mnc=recipient.mnc,
        charge_status=recipient.charge_status,
        counts_as=recipient.counts_as,
        senttime=recipient.sent,
        csms=recipient.parts,
        actual_sender=recipient.sender,
    )


def moment(when: float | None) -> str | None:
    """An instant as text, None as None."""
    return None if when is None else instant(when)
