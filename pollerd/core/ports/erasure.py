"""What is known of somebody, or of a message, and its removal."""

from __future__ import annotations

from typing import NamedTuple, Self


class About(NamedTuple):
    """A message by its id, or whoever has a telephone number: one of the two."""

    message_id: int | None = None
    msisdn: int | None = None

    @property
    def argument(self) -> str | None:
        """The number, as a request carries it."""
        return None if self.msisdn is None else str(self.msisdn)

    @classmethod
    def requested(cls, message_id: int | None, argument: str | None) -> Self:
        """What a request of the kind `erase` is about."""
        return cls(message_id, int(argument) if argument else None)


class Known(NamedTuple):
    """How much is known: messages, events, events that outputs could not deliver; and the ids of those messages, at
    most 100, that are still polled and have other recipients: the next answer would bring the number back.
    """

    messages: int = 0
    events: int = 0
    undelivered: int = 0
    polled: tuple[int, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether there is something that can be removed."""
        return self.messages + self.events + self.undelivered > 0
