"""What an answer shows of a message's sending and of its operator, and what the backoff learns from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from pollerd.backoff import Policy
from pollerd.core import lifecycle
from pollerd.core.diff import Diff
from pollerd.core.model import Answer, Message, Recipient

SOON: Final = 10.0
"""Seconds ahead up to which a time of sending is a clock's difference or a rounding, not a message to be sent later."""
MOVED: Final = 1.0
"""Seconds that the origin of an age clock lies behind the sending when an outage, or a retry, has moved it."""
NOTICED: Final = 60.0
"""Seconds within which a row that was handed over "now" is noticed, a restart of the daemon included."""
WHOLE_SECONDS: Final = 1.0
"""The gateway's times may be cut to whole seconds: so much earlier something can have ended by its word."""
OBSERVED_MOST: Final = 32
"""Recipients of one message that the backoff learns from at most: a mailing teaches no more than a sample of it."""


def learn(policy: Policy, message: Message, found: Diff, waiting: list[Recipient], now: float, ahead: float) -> None:
    """Feed the policy: what ended, and a sample of what is still pending.

    What ended before the message was handed over, and what passed before it, teach nothing: it was not polled.
    """
    taken = message.taken_at
    if taken is None or taken - message.sent_at <= NOTICED:
        # It was handed over as sent "now": what it takes to notice a row is no part of its past.
        taken = message.sent_at
    # A 404 says nothing about the state: the interval begins at the last poll that showed one.
    previous = taken if message.seen_at is None else message.seen_at
    ended = [change.recipient for change in found.changes if change.ends]
    for recipient in ended[:OBSERVED_MOST]:
        start, submit = _start(message, recipient, ahead, now)
        a0, a1 = max(0.0, previous - start), max(0.0, now - start)
        # READ has the time of the reading: when the message arrived is not known.
        if recipient.time is not None and recipient.status != lifecycle.READ:
            at = recipient.time - ahead
            if at >= taken - WHOLE_SECONDS:
                age = max(0.0, at - start)
                policy.observe(now, operator(recipient), a0, a1, True, age, recipient.status, submit, start)
        elif message.seen_at is not None or taken - start <= SOON:
            policy.observe(now, operator(recipient), a0, a1, True, None, recipient.status, submit, start)
    for recipient in waiting[:OBSERVED_MOST]:
        start, submit = _start(message, recipient, ahead, now)
        a0, a1 = max(0.0, previous - start), max(0.0, now - start)
        policy.observe(now, operator(recipient), a0, a1, False, None, recipient.status, submit, start)


def operator(recipient: Recipient) -> str | None:
    """The key of a recipient's operator for learning: "mcc/mnc", else the country, else None."""
    return _operator(recipient.mcc, recipient.mnc, recipient.country)


@lru_cache(maxsize=4096)
def _operator(mcc: str | None, mnc: str | None, country: str | None) -> str | None:
    # Asked for several times a poll, of a few hundred operators in all.
    return f"{mcc}/{mnc.zfill(2)}" if mcc and mnc else country


def key(message: Message) -> str | None:
    """The operator that the next poll of `message` is about: that of its first recipient without a final state."""
    for recipient in message.recipients:
        if recipient.counted not in lifecycle.FINAL:
            return _operator(recipient.mcc, recipient.mnc, recipient.country)
    return None


def _sent(recipient: Recipient, ahead: float, now: float) -> float | None:
    """When a recipient's SMS was sent, in the daemon's time; None where the gateway names no time, or the future."""
    if recipient.sent is None:
        return None
    sent = recipient.sent - ahead
    return min(sent, now) if sent <= now + SOON else None


def _start(message: Message, recipient: Recipient, ahead: float, now: float) -> tuple[float, float]:
    """Where a recipient's age begins, and when it was sent: the same but where an outage moved the age clock."""
    if message.base > message.sending + MOVED:
        return message.base, message.sending
    sent = _sent(recipient, ahead, now)
    return (message.sending, message.sending) if sent is None else (sent, sent)


def dated_by(message: Message, recipients: Iterable[Recipient], answer: Answer, now: float) -> Message:
    """The message with what the answer says of its sending; `recipients` are those that it still waits for.

    Ten thousand are not sent in one second: the age of a message is that of the last one sent.
    """
    sent = [found for each in recipients if (found := _sent(each, answer.ahead, now)) is not None]
    origin = max(sent) if sent else message.origin
    sendtime = message.sendtime if answer.sendtime is None else answer.sendtime - answer.ahead
    moved = message.base > message.sending + MOVED
    if origin != message.origin or sendtime != message.sendtime:
        message = msgspec.structs.replace(message, sendtime=sendtime, origin=origin)
    if moved or message.base == message.sending:
        return message
    return msgspec.structs.replace(message, base=message.sending)
