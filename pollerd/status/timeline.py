"""The timeline of a message: sent, polled, states with the gateway's time and ours, what comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from pollerd.base.text import ago, clock, counted, duration
from pollerd.core import event as events
from pollerd.core import history, lifecycle, phrases
from pollerd.core.model import Message, Priority, Recipient, State
from pollerd.gateway.gatewayapi import errorcodes
from pollerd.status.message import failure_advice
from pollerd.status.sentences import Sentence, Tone

_body = msgspec.json.Decoder(events.Body)
_RANK: Final = {"sent": 0, "poll": 1, "state": 2, "end": 3, "next": 4}
_AT_ONCE: Final = 30.0
"""Seconds that the gateway's clock and ours may differ before a message counts as scheduled."""
_SENDERS: Final = 3
"""Senders that are named."""
_SUMMED_FROM: Final = 3
"""Recipients from which states of one moment are shown as a sum."""


class TimelineEntry(NamedTuple):
    """Something that happened at `at` (by the wall clock), or will (`kind` is `next`)."""

    at: float
    kind: str
    text: str
    tone: Tone = "plain"
    state: str | None = None
    """The delivery state that it is about."""


def timeline(message: Message, log: Iterable[events.Event], number: Callable[[int], str] = str) -> list[TimelineEntry]:
    """All that is known, the oldest first. `log` holds the message's events in order, `number` writes a telephone
    number.
    """
    found = [TimelineEntry(message.sent_at, "sent", "sent")]
    if (planned := scheduled(message)) is not None:
        found.append(TimelineEntry(planned, "sent", "to be sent, by the gateway’s clock"))
    found += _polls(message)
    found += _events(log, message, number)
    # A message handed over late has states from before the time it is taken to have been sent: that is still first.
    return [found[0], *sorted(found[1:], key=lambda entry: (entry.at, _RANK.get(entry.kind, 9)))]


def scheduled(message: Message) -> float | None:
    """When it is to be sent (UNIX seconds), where that was put off; the gateway gives a time for every message."""
    if message.sendtime is None or message.sendtime <= message.sent_at + _AT_ONCE:
        return None
    return message.sendtime


def next_poll(message: Message, now: float, length: Callable[[float], str] = duration) -> str:
    """When it is polled next, its length of time written by `length`; empty when it is not polled any more."""
    if message.state is State.NEW:
        return "not planned yet"
    if message.state is not State.PENDING:
        return ""
    wait = message.next_poll_at - now
    return f"in {length(wait)}" if wait > 0 else f"due for {length(-wait)}"


def polls_not_kept(message: Message) -> int:
    """Polls that were made and are not kept in the row."""
    return max(0, message.polls - sum(1 for poll in history.polls(message.trail) if not poll.failed))


def _polls(message: Message) -> list[TimelineEntry]:
    several = len(message.recipients) > 1
    return [_poll(poll, several=several, total=len(message.recipients)) for poll in history.polls(message.trail)]


def _poll(poll: history.Poll, *, several: bool, total: int) -> TimelineEntry:
    match poll.answer:
        case history.NOT_FOUND:
            return TimelineEntry(poll.at, "poll", "polled: 404, not known to the gateway (yet)", "warn")
        case history.REFUSED:
            return TimelineEntry(poll.at, "poll", "polled: the gateway refused this message or sent nonsense", "warn")
    if poll.failed:
        return TimelineEntry(poll.at, "poll", f"polled: {phrases.hold_cause(poll.answer)}", "warn")
    if several:
        left = f"{poll.pending:,} of {total:,} without a final state" if poll.pending else "all have a final state"
        return TimelineEntry(poll.at, "poll", f"polled: {left}")
    return TimelineEntry(poll.at, "poll", f"polled: {poll.answer}", state=poll.answer)


def _events(log: Iterable[events.Event], message: Message, number: Callable[[int], str]) -> list[TimelineEntry]:
    found: list[TimelineEntry] = []
    together: dict[tuple[str, str | None, str], list[events.Status]] = {}
    for event in log:
        try:
            body = _body.decode(event.body)
        except msgspec.ValidationError:
            continue
        match body:
            case events.Status():
                together.setdefault((body.observed_at, body.previous, body.status), []).append(body)
            case events.Completed():
                found.append(TimelineEntry(_at(body.observed_at), "end", _completed(body, message), "good"))
            case events.GaveUp() | events.Resumed() | events.Overdue():
                kind = "end" if isinstance(body, events.GaveUp) else "poll"
                found.append(TimelineEntry(_at(body.observed_at), kind, *describe(body)))
            case _:
                continue
    for bodies in together.values():
        found += [_status(body, number) for body in bodies] if len(bodies) < _SUMMED_FROM else [_sum(bodies)]
    return found


def _completed(body: events.Completed, message: Message) -> str:
    counts = ", ".join(f"{count:,} {status}" for status, count in body.counts.items())
    after = duration(max(0.0, _at(body.observed_at) - message.sent_at))
    return f"complete after {after} and {counted(body.polls, 'poll')}: {counts}"


def describe(
    body: events.GaveUp
    | events.Resumed
    | events.Overdue
    | events.Received
    | events.Held
    | events.Recovered
    | events.CreditLow
    | events.CreditOk
    | events.Forgotten,
) -> Sentence:
    """An event that is not about a state, as a sentence."""
    match body:
        case events.GaveUp():
            left = f"{counted(body.pending, 'recipient')} without a final state" if body.pending else "never seen"
            return Sentence(f"gave up: {phrases.give_up(body.reason)}, {left}", "bad")
        case events.Resumed():
            return Sentence(f"taken up again automatically: {phrases.hold_cause(body.reason)}", "warn")
        case events.Overdue():
            left = "the gateway has never shown it"
            if body.pending is not None:
                left = f"{counted(body.pending, 'recipient')} without a final state"
            return Sentence(f"overdue: {left}", "warn")
        case events.Received():
            text = "its text was removed" if body.text_removed else body.text or "no text"
            return Sentence(f"received from {body.msisdn or 'somebody'} at {body.receiver}: {text}", "plain")
        case events.Held():
            until = f", until {body.until}" if body.until else ""
            return Sentence(f"account {body.account} on hold: {phrases.hold(body.reason, body.detail)}{until}", "bad")
        case events.Recovered():
            return Sentence(f"account {body.account} is polled again after: {phrases.label(body.reason)}", "good")
        case events.Forgotten():
            return Sentence(f"account {body.account}: what was here is forgotten", "plain")
        case events.CreditLow():
            return Sentence(f"account {body.account} is low on credit: {body.credit:.2f} {body.currency}", "bad")
        case events.CreditOk():
            return Sentence(f"account {body.account} has credit again: {body.credit:.2f} {body.currency}", "good")


def _status(body: events.Status, number: Callable[[int], str]) -> TimelineEntry:
    seen = _at(body.observed_at)
    if body.previous == body.status:
        # The time is that of the state: when the charge went on is not given.
        text = f"{number(body.msisdn)}: still {body.status}, charge {body.charge_status}"
        return TimelineEntry(seen, "state", text, _tone(body.status), body.status)
    before = f"{body.previous} → " if body.previous else ""
    text = f"{number(body.msisdn)}: {before}{body.status}"
    reason = errorcodes.words(body.code) or body.error
    if body.code or reason:
        text += f", {': '.join(part for part in (body.code, reason) if part)}"
    late = seen - body.time
    # The gateway's times are whole seconds.
    text += f" (known {duration(late)} later)" if late >= 1.0 else ""
    return TimelineEntry(min(float(body.time), seen), "state", text, _tone(body.status), body.status)


def _sum(bodies: Sequence[events.Status]) -> TimelineEntry:
    first = bodies[0]
    if first.previous == first.status:
        counts = Counter(body.charge_status for body in bodies)
        charges = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
        text = f"{len(bodies):,} recipients: still {first.status}, charge {charges}"
        return TimelineEntry(_at(first.observed_at), "state", text, _tone(first.status), first.status)
    before = f"{first.previous} → " if first.previous else ""
    worst = max(_at(body.observed_at) - body.time for body in bodies)
    late = f" (known {duration(worst)} later at most)" if worst >= 1.0 else ""
    when = min(float(body.time) for body in bodies)
    text = f"{len(bodies):,} recipients: {before}{first.status}{late}"
    return TimelineEntry(min(when, _at(first.observed_at)), "state", text, _tone(first.status), first.status)


def _tone(status: str) -> Tone:
    if status in lifecycle.ARRIVED:
        return "good"
    return "bad" if lifecycle.is_final(status) else "plain"


def exceptions(recipients: Sequence[Recipient]) -> list[Recipient]:
    """Those that matter: first without a final state, then failed."""
    odd = [item for item in recipients if _rank(item) < 2]
    return sorted(odd, key=_rank)


def _rank(item: Recipient) -> int:
    if not lifecycle.is_final(item.counted):
        return 0
    return 2 if item.counted in lifecycle.ARRIVED else 1


def summary(recipients: Sequence[Recipient]) -> str:
    """How many recipients stand in which state."""
    counts = Counter(lifecycle.name(recipient.counted) for recipient in recipients)
    if len(recipients) == 1:
        return next(iter(counts))
    return ", ".join(f"{count:,} {status}" for status, count in counts.most_common()) or "not seen yet"


def who(recipient: Recipient, number: Callable[[int], str] = str) -> str:
    """The recipient's number as `number` writes it, or that there is none."""
    return number(recipient.msisdn) if recipient.msisdn else "no usable number"


def sms_facts(recipients: Sequence[Recipient]) -> list[tuple[str, str]]:
    """What the gateway says of the SMS themselves: when they were sent, from whom, in how many parts, their charge."""
    sent = [item.sent for item in recipients if item.sent is not None]
    senders = list(dict.fromkeys(item.sender for item in recipients if item.sender))
    parts = [item.parts for item in recipients if item.parts is not None]
    charges = Counter(item.charge_status for item in recipients if item.charge_status)
    return [
        ("senttime", " to ".join(dict.fromkeys(map(clock, (min(sent), max(sent))))) if sent else ""),
        ("sender", ", ".join(senders[:_SENDERS]) + (", ..." if len(senders) > _SENDERS else "")),
        ("parts", " to ".join(dict.fromkeys(map(str, (min(parts), max(parts))))) if parts else ""),
        ("charge", ", ".join(f"{count:,} {status}" for status, count in charges.most_common())),
    ]


def state_text(recipient: Recipient) -> str:
    """Its state, and the charge where there is one."""
    name = lifecycle.name(recipient.status)
    return f"{name}, {recipient.charge_status}" if recipient.charge_status else name


def advice(recipients: Iterable[Recipient]) -> list[str]:
    """What can be done about the error codes of `recipients` that failed, each code once."""
    found = {recipient.code: failure_advice(recipient) for recipient in recipients}
    return [f"{code}: {text}" for code, text in found.items() if text]


def error_text(recipient: Recipient) -> str:
    """Its error and its meaning, and what it counts as where that is not its state."""
    meaning = errorcodes.words(recipient.code) or recipient.error
    parts = [": ".join(part for part in (recipient.code, meaning) if part)]
    if recipient.counts_as is not None:
        parts.append(f"shown without its number now, counts as {recipient.counts_as}")
    return "; ".join(part for part in parts if part)


def without_number(recipients: Sequence[Recipient]) -> str:
    """What it means that recipients have no usable number; empty when all have one."""
    count = sum(1 for recipient in recipients if not recipient.msisdn)
    if not count:
        return ""
    if count == 1:
        return "1 recipient: it counts by its state, and no event names it"
    return f"{count:,} recipients: they count by their states, and no event names them"


def deadline(message: Message, give_up_after: float, scheduled_horizon: float) -> float | None:
    """When polling ends without a final state (by the message's clock; time on hold comes on top); None when it has."""
    if message.state not in (State.NEW, State.PENDING):
        return None
    if message.seen_at is None and message.sendtime is None:
        return message.sent_at + scheduled_horizon
    return message.sending + max(give_up_after, message.validity or 0.0)


def priority_text(message: Message) -> str | None:
    """Its priority, where that is not the usual one."""
    return None if message.priority in (None, Priority.NORMAL) else message.priority.name


def overdue_text(message: Message, now: float) -> str | None:
    """Since when a pending message is overdue, or when it will be; None when it never is."""
    if message.overdue_at is None or message.state not in (State.NEW, State.PENDING):
        return None
    when = f"{clock(message.overdue_at)} ({ago(message.overdue_at, now)})"
    return f"since {when}" if message.overdue else f"{when}, unless it ends before"


def _at(observed_at: str) -> float:
    return datetime.fromisoformat(observed_at).timestamp()
