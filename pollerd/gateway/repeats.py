"""Which answers said nothing but what is stored already: the same body once more need not be decoded."""

from __future__ import annotations

from mmap import mmap
from typing import Final

from pollerd.core.model import Answer, Message

SLOTS: Final = 1 << 17
"""Messages that can be remembered: a megabyte. Two whose ids are this far apart push each other out."""


class Repeats:
    """Remembers, by message, the last answer that added nothing to what is stored: a number each, in memory only."""

    def __init__(self) -> None:
        # Pages that no message has used take no memory.
        self._marks: Final = memoryview(mmap(-1, 8 * SLOTS)).cast("q")

    def has(self, known: Message, mark: int) -> bool:
        """Whether this answer to this message is known to add nothing."""
        return self._marks[known.id % SLOTS] == mark

    def note(self, known: Message, mark: int, answer: Answer) -> None:
        """Remember the answer, if it adds nothing to `known`."""
        if answer.adds_nothing(known):
            self._marks[known.id % SLOTS] = mark


def mark(known: Message, body: bytes, ahead: float) -> int:
    """A number for a body, read by a clock that is `ahead` seconds ahead, and for all that is stored of what it says.

    It is made of both, since either may change without the other: a row may be deleted and handed over anew.
    """
    stored = (known.recipients, known.userref, known.sendtime, known.validity, known.priority)
    return hash((known.id, body, ahead, stored))
