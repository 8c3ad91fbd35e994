"""The log of committed events, as outputs read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pollerd.core.event import Event


class Cursor(msgspec.Struct, frozen=True):
    """How far an output is: everything up to `seq` is delivered for good. `detail` is the output's own note."""

    name: str
    seq: int
    detail: str = ""


class EventLog(Protocol):
    """Committed events in order: the one path for live, replay and restart."""

    @property
    def last(self) -> int:
        """The highest `seq` ever given, 0 before the first."""
        ...

    @property
    def pruned(self) -> int:
        """Everything up to this `seq` has been deleted by retention (0: nothing)."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[Event]:
        """The events with `seq > after`, ascending, at most `limit`; empty when there is none."""
        ...

    async def wait(self, after: int) -> None:
        """Return once an event with `seq > after` is committed."""
        ...

    async def cursor(self, name: str) -> Cursor | None:
        """Where the output `name` stood when it last said so; None for a new output."""
        ...

    async def save_cursor(self, cursor: Cursor) -> None:
        """Commit an output's cursor."""
        ...
