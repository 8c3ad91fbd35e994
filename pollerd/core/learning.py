"""What an answer shows of a message's sending and of its operator, and what the backoff learns from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import frexp
from typing import Final

import msgspec

from pollerd.backoff import Decision, Group, Part, Policy
from pollerd.core import diff, lifecycle
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
YOUNG: Final = 8.0
"""Seconds of age up to which those that were sent one after another are not told apart."""
OBSERVED_MOST: Final = 100
"""Recipients of one message that the backoff learns from at most: a mailing teaches no more than a sample of it."""
COUNTED_MOST: Final = 500
"""Recipients of one message by which the parts of what is pending are told apart; the others are like them."""
PARTS_MOST: Final = 8
"""Parts of a message that are planned apart: the largest, each some microseconds."""


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
    # The same ones at each poll: those that ended beside those that are pending, as many as there really are.
    sample = _sample(found.recipients, OBSERVED_MOST)
    policy.together(len(sample))
    ended = [change.recipient for change in found.changes if change.ends] if found.changes else ()
    if len(sample) < len(found.recipients):
        chosen = {id(recipient) for recipient in sample}
        ended = [recipient for recipient in ended if id(recipient) in chosen]
        waiting = diff.waiting(sample)
    for recipient in ended:
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
    for recipient in waiting:
        start, submit = _start(message, recipient, ahead, now)
        where = _operator(recipient.mcc, recipient.mnc, recipient.country)
        policy.observe(now, where, previous - start, now - start, False, None, recipient.status, submit, start)


def operator(recipient: Recipient) -> str | None:
    """The key of a recipient's operator for learning: "mcc/mnc", else the country, else None."""
    return _operator(recipient.mcc, recipient.mnc, recipient.country)


@lru_cache(maxsize=4096)
def _operator(mcc: str | None, mnc: str | None, country: str | None) -> str | None:
    # Asked for several times a poll, of a few hundred operators in all.
    return f"{mcc}/{mnc.zfill(2)}" if mcc and mnc else country


def _sample(recipients: Sequence[Recipient], most: int) -> Sequence[Recipient]:
    """At most so many of `recipients`, evenly spread over their order, which is mostly that of their sending."""
    return recipients[:: -(-len(recipients) // most)] if len(recipients) > most else recipients


def key(message: Message) -> str | None:
    """The operator of the first recipient of `message` without a final state."""
    for recipient in message.recipients:
        if recipient.counted not in lifecycle.FINAL:
            return _operator(recipient.mcc, recipient.mnc, recipient.country)
    return None


def following(
    policy: Policy,
    message: Message,
    now: float,
    waiting: Sequence[Recipient],
    *,
    ahead: float = 0.0,
    replan: bool = False,
) -> Decision:
    """When `message` is to be polled next, and why, by the recipients that it is `waiting` for.

    `ahead` is how far the gateway's clock is ahead. `replan`: it was not polled now, see `Policy.replan`.
    """
    ask = policy.replan if replan else policy.next
    submit, base, validity = message.sending, message.base, message.validity
    if len(message.recipients) < 2:
        where = operator(waiting[0]) if waiting else None
        return ask(now, where, submit, base, validity=validity)
    group = Group(len(message.recipients), _parts(message, waiting, ahead, now))
    return ask(
        now,
        group.parts[0].key if group.parts else None,
        submit,
        base,
        k=len(waiting) or 1,
        validity=validity,
        group=group,
    )


def _parts(message: Message, waiting: Sequence[Recipient], ahead: float, now: float) -> tuple[Part, ...]:
    """Those that `message` waits for by operator and octave of their age, the largest part first.

    The age of a part is that of its youngest. One whose time of sending is not known is as old as the message, but
    where others have one, it is not sent yet: of all these, one is thought to be sent just now.
    """
    sample = _sample(waiting, COUNTED_MOST)
    found: dict[tuple[str | None, int], tuple[int, float]] = {}
    unsent = None
    dated = any(recipient.sent is not None for recipient in message.recipients)
    for recipient in sample:
        if dated and recipient.sent is None:
            unsent = unsent or recipient
            continue
        start, _ = _start(message, recipient, ahead, now)
        kind = operator(recipient), frexp(max(now - start, YOUNG))[1]
        count, latest = found.get(kind, (0, start))
        found[kind] = count + 1, max(latest, start)
    parts = sorted(found.items(), key=lambda each: -each[1][0])[:PARTS_MOST]
    times = len(waiting) / max(len(sample), 1)
    made = [Part(where, max(round(count * times), 1), start) for (where, _), (count, start) in parts]
    return tuple(made if unsent is None else [*made, Part(operator(unsent), 1, now)])


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
    origin = None
    for each in recipients:
        sent = _sent(each, answer.ahead, now)
        if sent is not None and (origin is None or sent > origin):
            origin = sent
    if origin is None:
        origin = message.origin
    sendtime = message.sendtime if answer.sendtime is None else answer.sendtime - answer.ahead
    sending = before = message.sending
    if origin != message.origin or sendtime != message.sendtime:
        message = msgspec.structs.replace(message, sendtime=sendtime, origin=origin)
        sending = message.sending
    if message.base == sending or message.base > before + MOVED:
        return message
    return msgspec.structs.replace(message, base=sending)
