"""One round of writing: which events are tried, in which order, and what is known of each after it. Pure.

The order of a message rests on two rules. An event waits while an earlier one that holds it up is not written. And one
that changed no row is superseded when a later one about the same thing changes it: the row is there, and its statement
keeps it from going back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from pollerd.core.ports import Unwritten
from pollerd.outputs.target.engine import RefusedError
from pollerd.outputs.target.quoted import without_quoted_text


@dataclass(frozen=True, slots=True, eq=False)
class PendingWrite:
    """An event of this round.

    `stored`: it is kept from an earlier round, `early`: and not due yet. `held_up`: by one that is not in this round.
    """

    event: Unwritten
    stored: bool = False
    early: bool = False
    held_up: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DeferredWrite:
    """An event that is not written: tried, and `no_row` was changed or there was a `refusal`; or not tried at all.

    `failed`: it was tried and it was its turn.
    """

    write: PendingWrite
    no_row: bool = False
    refusal: str = ""
    failed: bool = False


class Turn:
    """What becomes of the events that are taken, those of a message ascending by `seq`."""

    def __init__(self) -> None:
        self.taken = 0
        """How many."""
        self.written: list[Unwritten] = []
        self.superseded: list[Unwritten] = []
        """Only those that were not kept from an earlier round."""
        self._waiting: defaultdict[int, list[DeferredWrite]] = defaultdict(list)

    @property
    def waiting(self) -> list[DeferredWrite]:
        """What is not written."""
        return [waiting for of_message in self._waiting.values() for waiting in of_message]

    def take(self, write: PendingWrite, attempt: Callable[[PendingWrite], bool]) -> None:
        """Try the event if it may be. `attempt` says whether it changed a row as it should, or raises RefusedError."""
        self.taken += 1
        event = write.event
        before = self._waiting[event.message_id]
        ahead = [earlier for earlier in before if earlier.write.event.holds_up(event)]
        if write.held_up or not all(_may_be_overtaken(earlier, event) for earlier in ahead):
            before.append(DeferredWrite(write))
            return
        try:
            if not attempt(write):
                before.append(DeferredWrite(write, no_row=True, failed=not ahead))
                return
        except RefusedError as refused:
            said = without_quoted_text(str(refused), event.type, event.body)
            before.append(DeferredWrite(write, refusal=said, failed=not ahead))
            return
        self._waiting[event.message_id] = [earlier for earlier in before if earlier not in ahead]
        self.superseded += [earlier.write.event for earlier in ahead if not earlier.write.stored]
        self.written.append(event)


def _may_be_overtaken(earlier: DeferredWrite, event: Unwritten) -> bool:
    """Whether `event` may be tried though `earlier` holds it up."""
    return earlier.no_row and event.subject is not None and earlier.write.event.subject == event.subject
