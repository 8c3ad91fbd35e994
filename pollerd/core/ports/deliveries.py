"""Events that an output keeps beside its cursor until its receiver takes them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from pollerd.core.ports.events import Cursor


class DeliveryState(IntEnum):
    """Where an event stands that is kept for a receiver, as stored in `deliveries.state`."""

    WAITING = 0
    PARKED = 1
    """Every attempt failed; only a person takes it up again."""
    DELIVERED = 2
    """Done, but the output's cursor is still below it."""


class Delivery(msgspec.Struct, frozen=True):
    """An event kept for its receiver beside the output's cursor.

    `message_id` is what it is in order with (`event.thread`): 0 for an event about an account, negative for an incoming
    message. `receiver` is the name of the webhook's, `next_at` is when it
    is tried, in the daemon's time; None: not before the earlier events of its message are done.
    """

    seq: int
    type: str
    message_id: int
    body: bytes
    receiver: str
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    next_at: float | None = None
    error: str = ""
    output: str = "webhook"


class DeliveryChange(msgspec.Struct, frozen=True):
    """One transaction of deliveries and the cursor of their output."""

    cursor: Cursor | None = None
    """Delivered events up to its `seq` are forgotten."""
    kept: Sequence[Delivery] = ()
    gone: Sequence[int] = ()
    """Events that need not be kept any more."""
    freed: Sequence[int] = ()
    """Messages whose next kept event may be posted now."""
    taken: Sequence[Delivery] = ()
    """Events that were delivered: what is kept of earlier ones with the same subject is superseded."""
    at: float = 0.0


class DeliveryBook(Protocol):
    """The events that receivers have not taken yet, on disk."""

    async def known(self, after: int, until: int) -> set[int]:
        """The events with `after < seq <= until` that are kept in whatever state."""
        ...

    async def blocked(self, messages: Sequence[int]) -> set[int]:
        """Those of `messages` that have an event waiting."""
        ...

    async def due(self, receiver: str, now: float, latest: float, limit: int) -> list[Delivery]:
        """Waiting events that may be posted at `now`, longest due first.

        One planned for after `latest` was planned by a clock that was wrong, and is due too.
        """
        ...

    async def next_at(self, receiver: str) -> float | None:
        """When the next waiting event of a receiver is to be posted."""
        ...

    async def save(self, change: DeliveryChange) -> Sequence[Delivery]:
        """Commit a change; the events that are superseded by it, and kept no longer. Raises StoreUnavailableError when
        it may work later.
        """
        ...

    async def undelivered(self, after: int, limit: int) -> list[Delivery]:
        """Waiting and parked events with `seq > after`, ascending."""
        ...

    async def relabel(self, receivers: Sequence[tuple[int, str]]) -> None:
        """Give events (by `seq`) another receiver."""
        ...

    async def forget_parked(self, before: float) -> int:
        """Delete events parked before that instant; returns how many."""
        ...
