"""Answers that nobody can read: one message's own fault, or the gateway's."""

from __future__ import annotations

from collections import deque
from typing import Final

from pollerd.core.model import Answer, HoldReason, Outcome, Rejected, Trouble

RECENT: Final = 16
"""Bodies judged last; when UNREADABLE of them, of DISTINCT messages at least, say nothing, the gateway is at fault."""
UNREADABLE: Final = 5
DISTINCT: Final = 3


class Unreadable:
    """One account's bodies of late."""

    def __init__(self) -> None:
        self._bodies: deque[tuple[int, bool]] = deque(maxlen=RECENT)

    def blamed(self, message_id: int, outcome: Outcome, *, held: bool) -> Outcome:
        """An unreadable answer is the message's own fault, unless one message after another gets such ones."""
        if type(outcome) is Answer:
            self._bodies.append((message_id, False))
            return outcome
        # A 404 proves little: an empty list passes for one.
        if type(outcome) is not Rejected:
            return outcome
        self._bodies.append((message_id, not outcome.decoded))
        if outcome.decoded:
            return outcome
        suspects = [number for number, bad in self._bodies if bad]
        widespread = len(suspects) >= UNREADABLE and len(set(suspects)) >= DISTINCT
        if widespread or held:
            return Trouble(HoldReason.SERVER_ERRORS, outcome.kind, outcome.detail)
        return outcome
