"""Messages as they are handed over, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class TrackRequest(NamedTuple):
    """A message to follow, as it is stored: see `pollerd.core.particulars.Particulars`. `priority` is its name."""

    id: int
    account: str
    userref: str | None
    sent_at: float
    sendtime: float | None = None
    priority: str | None = None
    overdue_after: float | None = None


class OtherAccount(NamedTuple):
    """An id that is followed for another account than it is handed over for."""

    id: int
    account: str

    @property
    def reason(self) -> str:
        """Why it is refused, to be said after the id."""
        return (
            f"is followed for the account {self.account!r}, and an id is polled for one account only; follow it for "
            "another one with a second daemon that has its own [store] path"
        )


class TrackResult(NamedTuple):
    """What became of ids: newly followed, followed before, how many of the latter had been given up, and those that
    are refused, since they are followed for another account.
    """

    new: int
    known: int
    gave_up: int
    refused: tuple[OtherAccount, ...] = ()


class SourceRow(NamedTuple):
    """A message to follow, as a source gave it: only the id is certain to be right.

    `written` is the id as it was given where that is another form than the number itself.
    """

    id: int
    account: object = None
    userref: object = None
    sent_at: object = None
    sendtime: object = None
    priority: object = None
    overdue_after: object = None
    written: str | float | None = None


class SourceBook(Protocol):
    """What one source gave so far: only what is new is followed. All of it raises StoreError."""

    async def take(self, rows: Sequence[SourceRow]) -> int:
        """Follow what the source did not give before and what is not followed yet; on disk when this returns.

        Returns how many are new.
        """
        ...

    async def refused(self, rows: Sequence[SourceRow]) -> list[tuple[int, str]]:
        """Those of the rows taken that are not followed, each with a reason."""
        ...

    async def settle(self, given: Sequence[int]) -> None:
        """The source was read to its end; these are all ids that it gave, perhaps some of them twice."""
        ...
