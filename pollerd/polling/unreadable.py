"""Answers that cannot be read: one message's own fault, or the gateway's."""

from __future__ import annotations

from collections import deque
from typing import Final

from pollerd.core.model import Answer, Outcome, Rejected

RECENT: Final = 16
"""Bodies judged last."""
LEAST_UNREADABLE: Final = 5  # Bodies of those that cannot be read before the gateway is suspected,
LEAST_DISTINCT: Final = 3  # and messages that they are of: one that is read again and again accuses nobody.


class Unreadable:
    """One account's bodies of late.

    `lately`: whether the last one could not be read. `at_fault`: whether the gateway has given others such ones, too,
    since it was last understood.
    """

    def __init__(self) -> None:
        self._bodies: deque[tuple[int, bool]] = deque(maxlen=RECENT)
        self.lately = self.at_fault = False

    def note(self, message_id: int, outcome: Outcome) -> None:
        """A message was answered so. A 404 proves little: an empty list passes for one."""
        if type(outcome) is Answer:
            self.at_fault = False
        if type(outcome) in (Answer, Rejected):
            self.lately = unreadable(outcome)
            self._bodies.append((message_id, self.lately))

    @property
    def widespread(self) -> bool:
        """Whether one message after another gets such answers."""
        suspects = [number for number, bad in self._bodies if bad]
        return len(suspects) >= LEAST_UNREADABLE and len(set(suspects)) >= LEAST_DISTINCT


def unreadable(outcome: Outcome) -> bool:
    """Whether no answer can be read."""
    return type(outcome) is Rejected and not outcome.decoded
