"""What a command hands over: ids to follow, and requests to the owner of the store. Synchronous."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

import msgspec

from pollerd.core.ids import DEFAULT_ACCOUNT
from pollerd.core.particulars import NOTHING, Particulars
from pollerd.core.ports.tracking import TrackResult


class RequestKind(StrEnum):
    """What a command can ask of the owner of the database."""

    UNTRACK = "untrack"
    POLL = "poll"
    RETRY = "retry"
    RETRY_ALL = "retry_all"
    RESUME = "resume"
    """End the hold for `refusing` of an account (`argument`)."""
    FORGET = "forget"
    """What the backoff learned about one network (`argument`), or about all."""
    ERASE = "erase"
    """What is known of a message, or of a telephone number (`argument`)."""


class Request(msgspec.Struct, frozen=True):
    """A wish of a command, left in the database; done when its row is gone."""

    id: int
    kind: RequestKind
    message_id: int | None
    argument: str | None = None


class Asked(NamedTuple):
    """The requests of one call, as their numbers, both ends included."""

    first: int
    last: int


class Handover(Protocol):
    """The store opened for writing by a process that does not own it. Every call raises StoreError."""

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def track(
        self, ids: Sequence[int], account: str = DEFAULT_ACCOUNT, particulars: Particulars = NOTHING
    ) -> TrackResult:
        """Follow `ids` (each 1 to 2^63-1) from now on; on disk when this returns. Without `sent_at` they count as sent
        now. An id that is followed already keeps what is known of it.
        """
        ...

    def ask(self, kind: RequestKind, ids: Sequence[int | None], argument: str | None = None) -> Asked:
        """Leave a request for each id (None: it concerns no single message) to the store's owner.

        `argument` is what else the request needs.
        """
        ...

    def waiting(self, asked: Asked) -> bool:
        """Whether some of the requests have not been dealt with yet."""
        ...

    def retry_parked(self) -> int:
        """Take up again every parked event, with all its attempts; returns how many. A daemon that runs tries them
        within about a second.
        """
        ...
