"""Events into a database by a statement of the user's: in order per message, at least once, and none without effect.

An event that changes no row, where it should, or that the database refuses goes to the book (`targets.UnwrittenBook`)
with the time of its next attempt, so that the output's place moves on and a restart forgets nothing. A database that
cannot be used delays this output alone. So does the end of the daemon: a transaction under way is undone or, when
nobody knows what became of it, comes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from pollerd.base import failpoints
from pollerd.base.bounded import in_thread
from pollerd.base.shield import to_end
from pollerd.base.text import counted
from pollerd.config import TargetRules
from pollerd.config.sql import SOURCE_ID, analysed
from pollerd.core import event
from pollerd.core.event import Event
from pollerd.core.ports import (
    Clock,
    Cursor,
    DeliveryState,
    EventLog,
    OutputHealth,
    Unwritten,
    UnwrittenBook,
    UnwrittenChange,
)
from pollerd.outputs.batches import MOST_EVENTS, PatientOutput
from pollerd.outputs.route import fits, route_fields
from pollerd.outputs.target.engine import ConflictError, Execute, LostError, RefusedError, TargetDatabase, TargetError
from pollerd.outputs.target.quoted import without_quoted_text
from pollerd.outputs.target.turn import DeferredWrite, PendingWrite, Turn
from pollerd.outputs.target.values import parameters
from pollerd.outputs.undelivered import log_superseded, named

logger = logging.getLogger(__name__)

REFUSALS: Final = 4
"""Attempts of an event that the database refuses: a row that another one depends on may come a moment later, a rule of
the table stays, and later events of the message wait.
"""
_RETRY_FIRST: Final = 0.5  # Seconds before the first new try, doubled for each further one, and
_RETRY_MAX: Final = 30.0  # at most.
_ONLY_INCOMING: Final = frozenset({"incoming_id", "text", "receiver"})
_CHECK_EVERY: Final = 1.0
"""Seconds between two checks for what a command took up again."""
_LONGEST: Final = 1.0
"""Seconds after which a transaction takes no more events: rows that it changed are locked until it ends."""
_CONFLICTS: Final = 5
"""Transactions in a row that may give way to others before that counts as trouble."""
_GRACE: Final = 2.0
"""Seconds that a transaction under way gets at the end, as long as a write waits for a lock; then it is cut off."""
_LEAVE: Final = _GRACE + 1.0
"""Seconds after which what hangs all the same is left behind."""


class TargetOutput(PatientOutput):
    """Runs `statement` on `target` for each event. Fulfils `ports.Output`.

    Which events: see `wanted_types`. A statement that names `:msisdn` is about a recipient's row, any other about a
    message's. `name` must stay the same over restarts.
    """

    def __init__(
        self,
        name: str,
        target: TargetDatabase,
        statement: str,
        rules: TargetRules,
        book: UnwrittenBook,
        clock: Clock,
        *,
        retry_first: float = _RETRY_FIRST,
        retry_max: float = _RETRY_MAX,
    ) -> None:
        super().__init__(name, retry_first, retry_max)
        self._target = target
        self._statement = analysed(statement)
        self._types = wanted_types(self._statement.names)
        self._rules = rules
        self._book = book
        self._clock = clock
        self._left = False
        self._stopping = threading.Event()
        self._waiting_behind: set[int] = set()
        """Messages with an event that waits behind others since they were tried last."""

    @property
    def health(self) -> OutputHealth:
        """`seq` is its place: all up to there is written, or waits in the book for another attempt."""
        return msgspec.structs.replace(super().health, keeps=True)

    async def run(self, log: EventLog) -> None:
        """Write events until cancelled. Raises StoreError."""
        cursor = await log.cursor(self._name)
        self._seq = 0 if cursor is None else cursor.seq
        self._left = await self._book.left()
        with contextlib.closing(self._target):
            while True:
                last = log.last
                events = await log.read(self._seq, MOST_EVENTS)
                if events and cursor is not None:
                    self.warn_of_gap(log, events[0].seq)
                writes = [*await self._kept(), *await self._fresh(events)]
                if not writes and not events:
                    await self._wait(log, max(last, self._seq))
                elif await self._round(writes, events):
                    cursor = Cursor(self._name, self._seq)

    # -- what there is to do

    async def _kept(self) -> list[PendingWrite]:
        """What is due in the book, with the later events about the same things."""
        if not self._left:
            return []
        now = self._clock.now()
        heads = await self._book.due(now, self._waiting_behind, MOST_EVENTS)
        if not heads:
            return []
        writes = [
            PendingWrite(head, stored=True, early=_is_early(head, now) and head.message_id in self._waiting_behind)
            for head in heads
        ]
        writes += [PendingWrite(later, stored=True) for later in await self._book.following(heads, MOST_EVENTS)]
        return sorted(writes, key=lambda write: write.event.seq)

    async def _fresh(self, events: Sequence[Event]) -> list[PendingWrite]:
        fresh = [self._unwritten(found) for found in events if self._wants(found)]
        held_up = await self._book.held_up(fresh) if fresh and self._left else ()
        return [PendingWrite(found, held_up=found.seq in held_up) for found in fresh]

    def _wants(self, found: Event) -> bool:
        return found.type in self._types and fits(self._rules, route_fields(found.body))

    def _unwritten(self, found: Event) -> Unwritten:
        each_recipient = "msisdn" in self._statement.names
        return Unwritten(
            found.seq,
            found.type,
            event.thread(found),
            found.body,
            receiver="",
            output=self._name,
            recipient=event.recipient(found.body) if each_recipient else 0,
            subject=event.subject(found.type, found.body, each_recipient=each_recipient),
        )

    # -- a round

    async def _round(self, writes: Sequence[PendingWrite], events: Sequence[Event]) -> bool:
        """Try the events and save what came of it; False when the database could not be used."""
        forms: Mapping[int, str | float] = {}
        turn = Turn()
        if writes:
            forms = await self._book.source_ids({write.event.message_id for write in writes})
            work = in_thread(partial(self._write, writes, forms))
            trouble, turn = await to_end(work, self._hurry, _LEAVE)
            if not await self.went(trouble, writes[0].event.seq):
                return False
        failpoints.hit("target.written")
        left = min((write.event.seq for write in writes[turn.taken :] if not write.stored), default=None)
        place = max((found.seq for found in events if left is None or found.seq < left), default=self._seq)
        await self._save(turn, len(writes), forms, place)
        self._seq = place
        return True

    async def _save(self, turn: Turn, wanted: int, forms: Mapping[int, str | float], place: int) -> None:
        """`wanted` is how many events there were to try."""
        now = self._clock.now()
        planned = (self._planned(waiting, forms.get(waiting.write.event.message_id), now) for waiting in turn.waiting)
        kept = [found for found in planned if found is not None]
        # Where nothing is kept there is nothing to supersede.
        written = turn.written if self._left or kept else ()
        saved = await self._book.save(UnwrittenChange(Cursor(self._name, place), kept, written, now))
        failpoints.hit("target.saved")
        self._left = saved.left
        behind = {waiting.write.event.message_id for waiting in turn.waiting if waiting.write.held_up}
        self._waiting_behind = behind | (self._waiting_behind if turn.taken < wanted else set())
        log_superseded(self._name, [*turn.superseded, *saved.superseded])
        self._log_parked([found for found in kept if found.state is DeliveryState.PARKED])

    def _planned(self, waiting: DeferredWrite, form: str | float | None, now: float) -> Unwritten | None:
        """How an event that is not written is kept from now on; None: as it was."""
        found = waiting.write.event
        if not waiting.failed:
            return None if waiting.write.stored else found
        if waiting.write.early:
            # Tried early, because a later event of its message came: that counts as no attempt.
            return None
        delays = self._rules.retry_after[: REFUSALS - 1] if waiting.refusal else self._rules.retry_after
        error = waiting.refusal or self._no_row(form)
        failed = msgspec.structs.replace(found, attempts=found.attempts + 1, error=error)
        if found.attempts >= len(delays):
            return msgspec.structs.replace(failed, state=DeliveryState.PARKED, next_at=None)
        return msgspec.structs.replace(failed, next_at=now + delays[found.attempts])

    def _no_row(self, form: str | float | None) -> str:
        if form is None or SOURCE_ID in self._statement.names:
            return "no row was changed"
        return f"no row was changed; the source gave this id as {form!r}: compare with :{SOURCE_ID}"

    def _log_parked(self, parked: Sequence[Unwritten]) -> None:
        for error in dict.fromkeys(found.error for found in parked):
            those = [found for found in parked if found.error == error]
            logger.error(
                "output %s: %s: not written in %s, parked: %s. See: pollerd events --undelivered, and write again "
                "with: pollerd retry --undelivered",
                self._name,
                named(those),
                counted(those[0].attempts, "attempt"),
                error,
                extra={"event": "output_parked", "output": self._name, "parked": len(those)},
            )

    async def _wait(self, log: EventLog, after: int) -> None:
        """Until there is a new event, or an attempt is due."""
        timeout = None
        if self._left:
            next_at = await self._book.next_at()
            timeout = _CHECK_EVERY if next_at is None else min(_CHECK_EVERY, max(0.0, next_at - self._clock.now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await log.wait(after)

    def _hurry(self) -> None:
        self._stopping.set()
        asyncio.get_running_loop().call_later(_GRACE, self._target.hurry)

    # -- in the thread

    def _write(self, writes: Sequence[PendingWrite], forms: Mapping[int, str | float]) -> tuple[str, Turn]:
        """Try the events, all in one transaction; what went wrong, in words, and what came of them."""
        conflicts = 0
        while True:
            try:
                return "", self._at_once(writes, forms)
            except TargetError as error:
                conflicts += isinstance(error, ConflictError)
                if not 0 < conflicts < _CONFLICTS:
                    said = str(error)
                    for write in writes:
                        said = without_quoted_text(said, write.event.type, write.event.body)
                    return said, Turn()

    def _at_once(self, writes: Sequence[PendingWrite], forms: Mapping[int, str | float]) -> Turn:
        try:
            return self._together(writes, forms)
        except LostError:
            return self._one_by_one(writes, forms)

    def _together(self, writes: Sequence[PendingWrite], forms: Mapping[int, str | float]) -> Turn:
        turn = Turn()

        def work(execute: Execute) -> None:
            failpoints.hit("target.begun")
            for write in self._in_time(writes):
                turn.take(write, lambda write: self._attempt(write, forms, execute))
            failpoints.hit("target.before_commit")

        self._target.transact(work)
        return turn

    def _one_by_one(self, writes: Sequence[PendingWrite], forms: Mapping[int, str | float]) -> Turn:
        """Each in a transaction of its own: one of them takes the others with it."""
        turn = Turn()
        for write in self._in_time(writes):
            turn.take(write, lambda write: self._alone(write, forms))
        return turn

    def _in_time(self, writes: Sequence[PendingWrite]) -> Iterator[PendingWrite]:
        """As many of them as the time suffices for, one at least. Raises TargetError once nobody waits for it any more:
        what is not committed yet is undone, and comes again.
        """
        end = time.monotonic() + _LONGEST
        for number, write in enumerate(writes):
            if number and time.monotonic() > end:
                break
            yield write
            if self._stopping.is_set():
                raise TargetError("the daemon stops")

    def _alone(self, write: PendingWrite, forms: Mapping[int, str | float]) -> bool:
        found = False

        def work(execute: Execute) -> None:
            nonlocal found
            found = self._attempt(write, forms, execute)

        try:
            self._target.transact(work)
        except LostError as lost:
            raise RefusedError(str(lost)) from lost
        return found

    def _attempt(self, write: PendingWrite, forms: Mapping[int, str | float], execute: Execute) -> bool:
        """Run the statement; whether it had the effect that it should. Raises RefusedError."""
        values = parameters(write.event.seq, write.event.body, forms.get(write.event.message_id))
        if execute(values) > 0 or self._rules.no_row == "ignore":
            return True
        # An event that lacks what rows are found by rightly finds none: nothing equals NULL.
        return any(values[key] is None for key in self._statement.keys)


def wanted_types(names: Collection[str]) -> frozenset[str]:
    """The types of events that a statement with these parameters is for.

    Incoming messages only where it names something that only they have: a statement written for what becomes of sent
    messages may find rows by `:msisdn`, too. Else `message.status`, or with `:type` every type.
    """
    incoming = not _ONLY_INCOMING.isdisjoint(names)
    if "type" in names:
        return frozenset(event.TYPES) - (frozenset() if incoming else {event.MESSAGE_RECEIVED})
    return frozenset({event.MESSAGE_RECEIVED if incoming else event.MESSAGE_STATUS})


def _is_early(kept: Unwritten, now: float) -> bool:
    return kept.next_at is not None and kept.next_at > now
