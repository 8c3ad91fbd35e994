"""A kind of store, at the place that the configuration names: how the daemon and the commands come by it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec

from pollerd.core.ports.requests import Handover
from pollerd.core.ports.store import Store
from pollerd.core.ports.view import View

if TYPE_CHECKING:
    from pathlib import Path


class Ownership(Protocol):
    """The right to write to a store as its only owner, until released or until the process ends.

    Where several machines share a store, one of them is `active`, and the others stand by.
    """

    @property
    def shared(self) -> bool:
        """Whether other machines may own the store after this process, while it still runs."""
        ...

    @property
    def active(self) -> bool:
        """Whether this process polls."""
        ...

    @property
    def lost(self) -> str:
        """Who has taken over from this process, in words; empty while nobody has."""
        ...

    @property
    def took_over(self) -> str:
        """From whom this process has taken over and why, in words; empty where nobody was active before."""
        ...

    @property
    def unfit(self) -> str:
        """Why this process may not become active, in words; empty where nothing speaks against it."""
        ...

    @property
    def others_until(self) -> float:
        """Until when the one before may have begun something, by the boot clock; minus infinity: nothing is left."""
        ...

    def holds(self) -> bool:
        """Whether something may be begun now that no other machine may do at the same time."""
        ...

    @property
    def offered(self) -> bool:
        """Whether the active one offers its duty, and this process may accept it."""
        ...

    def offer(self, offered: bool) -> None:
        """Offer the duty to others, or do not any more. Takes effect soon."""
        ...

    def accept(self) -> None:
        """Take over what is offered. Takes effect soon."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, whenever `active` or `lost` has changed."""
        ...

    def tend(self) -> bool:
        """Make anew what others see of the ownership where that was removed; whether it was. Raises StoreError."""
        ...

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        ...


class Backup(msgspec.Struct, frozen=True):
    """What was written. `pending` and the others count messages, `last_seq` is the highest number of an event."""

    path: Path
    bytes: int
    seconds: float
    schema: int
    pending: int
    finished: int
    gave_up: int
    last_seq: int


class Engine(Protocol):
    """Opens one store in every way that it is used. All of it raises StoreError."""

    @property
    def where(self) -> str:
        """Where the store is kept, for people: a path, or a URL without its password."""
        ...

    def own(self, *, daemon: bool = False) -> AbstractContextManager[Ownership]:
        """Become the owner at once; an empty store is made where there is none. `daemon` is not for commands, which
        own it for a moment. Raises DatabaseBusyError when another owner has it, StoreUnavailableError when it may
        work later.
        """
        ...

    async def open(self, wall: Callable[[], float]) -> Store:
        """Open the store as its owner, and create or migrate it first where needed. `wall` gives the wall clock's
        time, which stands in where another program wrote no time that can be understood.
        """
        ...

    def view(self) -> View:
        """Open it for reading. Raises DatabaseMissingError when there is none yet."""
        ...

    def inspect(self) -> View:
        """Open it for reading as it is, and leave nothing behind: for the doctor. What an older schema does not answer
        raises StoreError.
        """
        ...

    def handover(self) -> Handover:
        """Open it for writing beside its owner, and create it first where there is none yet."""
        ...

    def owner(self) -> int | None:
        """The process id of its owner; None when it has none, 0 when it is not known."""
        ...

    def check_ownable(self) -> None:
        """Raises StoreForbiddenError when this user may not become its owner."""
        ...

    def back_up(self, target: Path, between: Callable[[], None] = lambda: None) -> Backup:
        """Copy it to a file, where nothing may be yet, while a daemon works on it. On disk, and whole, when this
        returns. `between` is called after each part that is copied.
        """
        ...
