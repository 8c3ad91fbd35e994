"""What a command asks of the owner of the store."""

from __future__ import annotations

from enum import StrEnum

import msgspec


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


class Request(msgspec.Struct, frozen=True):
    """A wish of a command, left in the database; done when its row is gone."""

    id: int
    kind: RequestKind
    message_id: int | None
    argument: str | None = None
