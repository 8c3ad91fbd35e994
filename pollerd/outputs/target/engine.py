"""What the rules want of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

Execute = Callable[[Mapping[str, object]], int]
"""Runs the statement with these parameters; how many rows it changed. Raises RefusedError when the database does not
take the event: then it had no effect.
"""


class TargetError(Exception):
    """The database cannot be used now, or the statement not at all; the text says why. It is no event's fault."""


class RefusedError(Exception):
    """The database does not take this event; the text says why."""


class LostError(Exception):
    """The database does not take an event; the text says why. All else in the transaction is undone with it."""


class TargetDatabase(Protocol):
    """A database with a statement to run for each event. Its calls block: they are made in a thread of their own, one
    after another.
    """

    @property
    def most_events(self) -> int:
        """How many new events one transaction takes at most: their rows are locked until it ends."""
        ...

    def transact(self, work: Callable[[Execute], None]) -> None:
        """Run `work` in one transaction, whole or not at all. Raises TargetError, LostError, and what `work` raises."""
        ...

    def close(self) -> None:
        """Nothing is written any more. Does not block; a transaction may be under way that was left behind."""
        ...
