"""The client for programs without an event loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Final

from pollerd.client.source import Location, Source, hand_over, locate, open_source
from pollerd.client.values import AnyEvent, FinalStates, Tracked, final_states
from pollerd.core import instants, particulars
from pollerd.core.ids import IdError, check_id, parse_id

AnyPath = str | PathLike[str]
BATCH: Final = 500  # Events read in one go.
CHECK_EVERY: Final = 0.1
"""Seconds between two checks for something new."""


class Client:
    """Hands messages over to pollerd and returns what became of them, whether the daemon runs or not.

    `config` is a configuration file; without it the usual places are searched, as the command does. Instead of a
    configuration, name the `database`, the control `socket` or both. Reads and writes the database itself where this
    user may, and goes through the control socket otherwise.

    >>> client = Client(database=database)
    >>> client.track(421332671, userref="order-17")
    Tracked(new=1, known=0, gave_up=0)
    >>> client.track(421332671)
    Tracked(new=0, known=1, gave_up=0)
    """

    def __init__(
        self,
        config: AnyPath | None = None,
        *,
        database: AnyPath | None = None,
        socket: AnyPath | None = None,
    ) -> None:
        self._given = (_path(config), _path(database), _path(socket))
        self._found: Location | None = None

    @property
    def location(self) -> Location:
        """Where pollerd is. Raises ConfigError when the configuration cannot be used."""
        if self._found is None:
            self._found = locate(*self._given)
        return self._found

    def track(
        self,
        *ids: int | str,
        account: str | None = None,
        userref: str | None = None,
        sent_at: float | datetime | None = None,
        sendtime: float | datetime | None = None,
        priority: str | None = None,
        overdue_after: float | timedelta | str | None = None,
    ) -> Tracked:
        """Follow messages from now on; on disk when this returns. What is followed already is no error.

        `account` is needed only when several are configured; `sent_at` is UNIX seconds or a datetime with its zone,
        None: now. `sendtime` is when they are to be sent, as in the send call: they are asked about from then on.
        `priority` is BULK, NORMAL, URGENT or VERY_URGENT, as in the send call; the more urgent are polled first.
        `overdue_after` is seconds, a timedelta or a text such as "10m", 0: never; without a final state so long after
        sending, `message.overdue` is reported.
        Raises ValueError when something cannot be used (nothing is followed then), PollerdError for an account that
        is not configured (a client given a `database` alone cannot know, and its messages wait for that account) and
        for an id that is followed for another account (the others are followed then),
        StoreError or UnavailableError when neither the database nor the daemon can be reached.
        """
        numbers = [checked_id(each) for each in ids]
        wait = overdue_after.total_seconds() if isinstance(overdue_after, timedelta) else overdue_after
        known = particulars.Particulars(
            userref=userref,
            sent_at=_seconds("sent_at", sent_at),
            sendtime=_seconds("sendtime", sendtime),
            priority=None if priority is None else particulars.priority(priority),
            overdue_after=None if wait is None else particulars.overdue_after(wait),
        )
        return hand_over(self.location, numbers, account, known)

    def wait(self, message_id: int | str, timeout: float | None = None) -> FinalStates:
        """Return how a message ended, once it has.

        Raises TimeoutError after `timeout` seconds, NotFollowedError when it is not followed, StoreError or
        UnavailableError when neither the database nor the daemon can be reached.
        """
        number = checked_id(message_id)
        deadline = None if timeout is None else time.monotonic() + timeout
        source = self.source()
        try:
            while (found := final_states(source.message(number))) is None:
                rest = CHECK_EVERY if deadline is None else min(CHECK_EVERY, deadline - time.monotonic())
                if rest <= 0:
                    raise late(number, timeout)
                time.sleep(rest)
        finally:
            source.close()
        return found

    def events(
        self, after: int = 0, *, follow: bool = False, message_id: int | None = None, kind: str | None = None
    ) -> Iterator[AnyEvent]:
        """The events with a `seq` above `after`, oldest first; with `follow` it goes on as they come, for ever.
        `message_id` and `kind` (the `type` of the contract) leave out all others.

        Keep the last `seq` you have dealt with and give it as `after` the next time: nothing is lost then. A `Gap`
        stands for events that were deleted before you came for them. Raises as `wait`.
        """
        source = self.source()
        try:
            place = after
            while True:
                found, place = source.events(place, BATCH, message_id, kind)
                yield from found
                if not found and not follow:
                    return
                if not found:
                    time.sleep(CHECK_EVERY)
        finally:
            source.close()

    def source(self) -> Source:
        """Where to read. Raises StoreError or UnavailableError."""
        return open_source(self.location)


def late(message_id: int, timeout: float | None) -> TimeoutError:
    """What `wait` raises."""
    return TimeoutError(f"{message_id} has not reached its final state within {timeout:g} s")


def _seconds(name: str, when: float | datetime | None) -> float | None:
    try:
        return None if when is None else instants.instant(when)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


def checked_id(value: int | str) -> int:
    """The id as a number. Raises IdError, a ValueError."""
    # By type: programs without a type checker hand over True, 1.5 and None too.
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise IdError(f"{value!r} is not a message id: give the whole number that the send call answered")
    try:
        return parse_id(value) if isinstance(value, str) else check_id(value)
    except IdError as error:
        raise IdError(f"{value!r} {error}") from None
