"""What an output into a database (a target) keeps of the events that it has not written yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from pollerd.core.ports.deliveries import Delivery
from pollerd.core.ports.events import Cursor


class Unwritten(Delivery, frozen=True):
    """An event for a target.

    `recipient` is the number whose row the statement changes, 0 when it is no single one's; `subject` what the
    event is about (see `event.subject`).
    """

    recipient: int = 0
    subject: str | None = None

    def holds_up(self, later: Unwritten) -> bool:
        """Whether `later`, of the same message, waits until this one is done with."""
        return self.recipient in (later.recipient, 0) or later.recipient == 0


class UnwrittenChange(msgspec.Struct, frozen=True):
    """One transaction of unwritten events and the cursor of their target."""

    cursor: Cursor
    kept: Sequence[Unwritten] = ()
    """As they stand from now on. One without `next_at` follows the earlier ones that hold it up."""
    written: Sequence[Unwritten] = ()
    """Kept no longer, nor are earlier ones with the same subject: they are superseded."""
    at: float = 0.0


class Saved(NamedTuple):
    """What a change has led to: what it superseded, and whether anything of the output is still kept."""

    superseded: Sequence[Unwritten]
    left: bool


class UnwrittenBook(Protocol):
    """The events that one target has not written yet, on disk. Every call raises StoreError."""

    async def left(self) -> bool:
        """Whether there are any, waiting or parked."""
        ...

    async def next_at(self) -> float | None:
        """When the next attempt is due, in the daemon's time."""
        ...

    async def due(self, now: float, hurried: Collection[int], limit: int) -> list[Unwritten]:
        """Those to be tried at `now`, those of the messages `hurried` before their time. Nothing holds them up."""
        ...

    async def following(self, heads: Iterable[Unwritten], limit: int) -> list[Unwritten]:
        """Later events of the same recipients as `heads`, ascending, that wait behind nothing else."""
        ...

    async def held_up(self, events: Iterable[Unwritten]) -> set[int]:
        """Those of new events (by `seq`) that wait behind an event kept here."""
        ...

    async def save(self, change: UnwrittenChange) -> Saved:
        """Commit a change."""
        ...

    async def source_ids(self, messages: Iterable[int]) -> Mapping[int, str | float]:
        """How sources gave the ids of messages, where that was not as the number itself."""
        ...
