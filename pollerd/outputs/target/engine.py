"""What the rules want of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

Execute = Callable[[Mapping[str, object]], int]
"""Runs the statement with these parameters; how many rows it changed. Raises RefusedError when the database does not
take the event: then it had no effect. Any other error ends the transaction, and goes through `work`.
"""


class TargetError(Exception):
    """The database cannot be used now, or the statement not at all; the text says why. It is no event's fault."""


class ConflictError(TargetError):
    """The transaction gave way to another one, as databases do to end a deadlock: at once it may do better."""


class RefusedError(Exception):
    """The database does not take this event; the text says why."""


class LostError(Exception):
    """The database does not take an event; the text says why. All else in the transaction is undone with it."""


class TargetDatabase(Protocol):
    """A database with a statement to run for each event. Its calls block: they are made in a thread of their own, one
    after another.
    """

    def transact(self, work: Callable[[Execute], None]) -> None:
        """Run `work` in one transaction, whole or not at all. Raises TargetError, LostError, and what `work` raises."""
        ...

    def hurry(self) -> None:
        """End what is under way, from another thread: its transaction fails, or what became of it is not known."""
        ...

    def close(self) -> None:
        """Nothing is written any more. Does not block; a transaction may be under way that was left behind."""
        ...
