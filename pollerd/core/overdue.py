"""When a message without a final state is overdue, and what is reported then, once. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pollerd.core import diff
from pollerd.core.diff import Result
from pollerd.core.model import Message, Outcome, State, Trouble


def note(account: str) -> str:
    """The name under which the store keeps the `overdue_after` that holds for the account's pending messages."""
    return f"overdue_after {account}"


def due_at(message: Message, account: float | None) -> float | None:
    """When `message` is overdue: so long after it was, or is to be, sent. None: never.

    `account`: seconds, as its account has it (None: never).
    """
    after = account if message.overdue_after is None else message.overdue_after
    return message.sending + after if after else None


def armed_at(message: Message, account: float | None, now: float) -> float | None:
    """When a message that is planned `now` is overdue, unless it was reported before. None: never.

    A message that is past it already is reported after its first answer, which decides. Without an answer, pollerd
    reports it `overdue_after` from now.
    """
    at = due_at(message, account)
    return at if at is None or at > now else now + (at - message.sending)


def is_due(message: Message, now: float) -> bool:
    """Whether it is to be reported that the message is overdue."""
    at = message.overdue_at
    return at is not None and at <= now and not message.overdue and message.state is State.PENDING


def settled(
    result: Result, outcome: Outcome, account: float | None, now: float, wall: Callable[[float], float]
) -> Result:
    """What a poll left behind, with the event that the message is overdue where it is; `wall` shows an instant.

    Its time of sending may have become known. A request that failed says nothing: the next one may find the end.
    """
    message = result.message
    if message.overdue_at is None or message.overdue:
        return result
    if message.state is not State.PENDING or type(outcome) is Trouble:
        return result
    at = due_at(message, account)
    if at != message.overdue_at:
        message = msgspec.structs.replace(message, overdue_at=at)
        result = msgspec.structs.replace(result, message=message, full=True, steady=False)
    if not is_due(message, now):
        return result
    found = reported(message, wall(now))
    bodies = (*result.bodies, *found.bodies)
    return msgspec.structs.replace(result, message=found.message, bodies=bodies, full=True, steady=False)


def reported(message: Message, wall: float) -> Result:
    """The message as one that is reported as overdue, at the wall's time `wall`, and the event."""
    return Result(msgspec.structs.replace(message, overdue=True), (diff.overdue(message, wall),))
