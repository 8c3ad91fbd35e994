"""What a message becomes: after an answer, with its next poll, at its end. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from pollerd.backoff import Decision
from pollerd.core import history, lifecycle
from pollerd.core.model import Answer, GiveUpReason, Message, Recipient, State


def polled(message: Message, now: float, answer: str, **known: Any) -> Message:
    """After a poll that was answered `answer`, with what else is `known` by it."""
    return msgspec.structs.replace(
        message,
        polls=message.polls + 1,
        first_poll_at=message.first_poll_at if message.first_poll_at is not None else now,
        last_poll_at=now,
        last_answer=answer,
        forced=False,
        **known,
    )


def shown(dated: Message, answer: Answer, waiting: list[Recipient], now: float, due: float, reason: str) -> Message:
    """After `answer`, of which `dated` has the recipients, sending and validity already.

    `waiting` are those still pending; the next poll is `due` for this `reason`. A copy at each poll, and the only one.
    """
    recipients = dated.recipients
    first = waiting[0] if waiting else recipients[0] if recipients else None
    state = "no recipient" if first is None else lifecycle.name(first.counted)
    return msgspec.structs.replace(
        dated,
        next_poll_at=due,
        next_reason=reason,
        polls=dated.polls + 1,
        first_poll_at=now if dated.first_poll_at is None else dated.first_poll_at,
        last_poll_at=now,
        last_answer="200",
        trail=history.seen(dated.trail, now, state, len(waiting)),
        misses=0,
        strikes=0,
        refused_since=None,
        unknown=False,
        seen_at=now,
        userref=answer.userref if dated.userref is None else dated.userref,
        priority=answer.priority if dated.priority is None else dated.priority,
        forced=False,
    )


def goes_on(message: Message, base: float) -> bool:
    """Whether an answer follows an answer: of what neither shows, and an outage does not move, nothing changes."""
    return (
        message.last_answer == "200"
        and message.base == base
        and message.first_poll_at is not None
        and message.refused_since is None
        and not (message.misses or message.strikes or message.unknown)
    )


def due(now: float, decision: Decision, latest: float | None) -> float:
    """When the next poll is due, at the `latest` where that is given."""
    wanted = now + decision.delay if decision.delay > 0.0 else now
    return wanted if latest is None or wanted <= latest else latest


def planned(message: Message, now: float, decision: Decision, latest: float | None = None) -> Message:
    """With the next poll that was decided on."""
    return msgspec.structs.replace(
        message, next_poll_at=due(now, decision, latest), next_reason=decision.reason, forced=False
    )


def ended(message: Message, state: State, now: float, reason: GiveUpReason | None = None) -> Message:
    """Not polled any more, for a `reason` where it was given up."""
    return msgspec.structs.replace(
        message, state=state, finished_at=now, gave_up_for=reason and reason.value, next_reason="", forced=False
    )


def same_frame(before: Message, after: Message) -> bool:
    """Whether nothing has changed that an answer says of the message as a whole."""
    return (
        before.sendtime == after.sendtime
        and before.validity == after.validity
        and before.userref == after.userref
        and before.origin == after.origin
        and before.priority is after.priority
    )
