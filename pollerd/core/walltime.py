"""A message with its instants by the wall clock; what is planned and stored goes by the daemon's own time."""

from __future__ import annotations

import msgspec

from pollerd.core import history
from pollerd.core.model import Message, State


def by_wall(message: Message, ahead: float) -> Message:
    """The message with its instants as the wall clock shows them, which is so many seconds ahead of the daemon's time.

    A row that is not planned yet carries what its writer took for the time: that stays.
    """
    if not ahead or message.state is State.NEW:
        return message
    return msgspec.structs.replace(
        message,
        sent_at=message.sent_at + ahead,
        next_poll_at=message.next_poll_at + ahead,
        base=message.base + ahead,
        first_poll_at=later(message.first_poll_at, ahead),
        last_poll_at=later(message.last_poll_at, ahead),
        seen_at=later(message.seen_at, ahead),
        sendtime=later(message.sendtime, ahead),
        finished_at=later(message.finished_at, ahead),
        trail=history.moved(message.trail, ahead),
        origin=later(message.origin, ahead),
        taken_at=later(message.taken_at, ahead),
        overdue_at=later(message.overdue_at, ahead),
        resumed_at=later(message.resumed_at, ahead),
    )


def later(when: float | None, seconds: float) -> float | None:
    """An instant so many seconds later; None stays None."""
    return None if when is None else when + seconds
