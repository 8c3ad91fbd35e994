"""What delivers events, and what sources of ids and outputs show of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from pollerd.core.ports.events import EventLog

if TYPE_CHECKING:
    # Commands import these ports too, and start the faster without it.
    import asyncio


class OutputHealth(msgspec.Struct, frozen=True):
    """One output at a glance, for `status`: its cursor, and the trouble it is in (empty when well). `keeps`: it may
    keep events beside its cursor for another attempt.
    """

    name: str
    seq: int
    trouble: str = ""
    readers: int | None = None
    keeps: bool = False


class SourceHealth(msgspec.Struct, frozen=True):
    """One source of ids at a glance: the trouble it is in (empty when well), and how many of its ids cannot be used."""

    name: str
    trouble: str = ""
    refused: int = 0


class Output(Protocol):
    """Something that delivers events. It keeps its own cursor and delays no other."""

    @property
    def name(self) -> str: ...

    @property
    def health(self) -> OutputHealth: ...

    async def run(self, log: EventLog) -> None:
        """Deliver events until cancelled; flush and save the cursor before returning from cancellation."""
        ...

    def reopen(self) -> None:
        """SIGHUP: open paths anew."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """An output that has something to settle before the first event of a start is committed."""

    async def prepare(self, log: EventLog) -> None: ...


@runtime_checkable
class Opening(Protocol):
    """An output that others connect to."""

    @property
    def opened(self) -> asyncio.Event:
        """Set once readers can connect."""
        ...
