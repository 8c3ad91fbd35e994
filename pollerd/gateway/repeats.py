"""Which answers say nothing but what is stored already: the same body once more need not be decoded."""

from __future__ import annotations

from mmap import mmap
from typing import Final

from pollerd.core.model import Answer, Message

SLOTS: Final = 1 << 17
"""Messages that can be remembered: a megabyte. Two whose ids are this far apart push each other out."""


class Repeats:
    """Remembers, by message, its last answer and what is stored once that is taken in: a number each, in memory only.

    The number is made of both, since either may change without the other: a row may be deleted and handed over anew,
    and what an answer shows is not always taken in as it is.
    """

    def __init__(self) -> None:
        # Pages that no message has used take no memory.
        self._marks: Final = memoryview(mmap(-1, 8 * SLOTS)).cast("q")

    def has(self, known: Message, body: bytes, ahead: float) -> bool:
        """Whether a body, read by a clock that is `ahead` seconds ahead, says of the message what is stored."""
        stored = (known.recipients, known.userref, known.sendtime, known.validity, known.priority)
        return self._marks[known.id % SLOTS] == hash((known.id, body, ahead, stored))

    def note(self, known: Message, body: bytes, ahead: float, answer: Answer) -> None:
        """Remember what a body said of the message, unless something in it was of no use."""
        if not answer.unusable:
            self._marks[known.id % SLOTS] = hash((known.id, body, ahead, answer.stored(known)))
