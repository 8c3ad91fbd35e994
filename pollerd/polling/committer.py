"""Everything that is to be on disk goes through here: grouped, in order, committed before anything is reported.

A poll that changed nothing is written behind and coalesced; a change is committed as soon as the previous transaction
is done, together with all that has gathered meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from pollerd.base.errors import StoreBusyError, StoreUnavailableError
from pollerd.core.diff import Result
from pollerd.core.event import Body, Received
from pollerd.core.model import Message, State
from pollerd.core.ports import AccountState, Batch, Clock, CommitMeter, CreditState, Store, Unmetered

log = logging.getLogger(__name__)

LINGER: Final = 1.0
"""Seconds that an unchanged poll may wait for company; losing it in a crash costs one early poll."""
GATHER: Final = 0.004
"""Seconds between two transactions at least, so that a stream of single changes does not pay one fsync each."""
MOST_IN_BATCH: Final = 2000
"""Results in one transaction at most."""
ROOM: Final = 4 * MOST_IN_BATCH
"""Results that may wait before polling has to."""
PATIENT: Final = 5
"""Times that a writing neighbour is waited for before it is called a trouble."""
RETRY: Final = 1.0
"""Seconds before a database that could not be written is tried again."""


class Committer:
    """Collects results and commits them in groups. One for each store."""

    def __init__(
        self, store: Store, clock: Clock, meter: CommitMeter | None = None, *, give_up_after: float = math.inf
    ) -> None:
        """`give_up_after`: seconds for which a database that cannot be written is tried again before `run` raises."""
        self._give_up_after = give_up_after
        self._store = store
        self._clock = clock
        self._meter = meter or Unmetered()
        self._waiting: dict[int, Result] = {}
        self._committing: dict[int, Result] = {}
        self._bodies: list[Body] = []
        self._accounts: dict[str, AccountState] = {}
        self._credits: dict[str, CreditState] = {}
        self._done: list[int] = []
        self._notes: dict[str, bytes] = {}
        self._urgent = asyncio.Event()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._recorded = 0
        self._settled = 0
        self._settling = asyncio.Event()
        self.trouble = ""
        self.groups = 0
        """Transactions so far: it rises while there is work, or something is wrong."""

    def record(self, result: Result) -> None:
        """Take a result in; it is in memory until the next transaction."""
        before = self._waiting.get(result.message.id)
        self._waiting[result.message.id] = result if before is None else _merged(before, result)
        self._note(urgent=bool(result.bodies) or result.message.state is not State.PENDING)

    def record_account(self, state: AccountState, bodies: Iterable[Body] = ()) -> None:
        """Take an account's state in, with the events that belong to it."""
        self._accounts[state.name] = state
        self._bodies.extend(bodies)
        self._note(urgent=True)

    def record_credit(self, state: CreditState, bodies: Iterable[Body] = ()) -> None:
        """Take an account's balance in, with the events that belong to it."""
        self._credits[state.name] = state
        self._bodies.extend(bodies)
        self._note(urgent=bool(bodies))

    def record_done(self, request: int) -> None:
        """A command's request is fulfilled by what was recorded before."""
        self._done.append(request)
        self._note(urgent=True)

    def record_note(self, name: str, value: bytes) -> None:
        """Take a small named value in."""
        self._notes[name] = value
        self._note(urgent=False)

    def record_received(self, bodies: Iterable[Received]) -> None:
        """Take incoming messages in, in the order in which they are reported."""
        self._bodies.extend(bodies)
        self._note(urgent=True)

    def block(self, trouble: str) -> None:
        """Nothing can be written any more, for this reason: polling waits for its end."""
        self.trouble = trouble
        self._room.clear()

    def unsaved(self, message_id: int) -> Message | None:
        """The newest form of a message that is not on disk yet."""
        result = self._waiting.get(message_id) or self._committing.get(message_id)
        return None if result is None else result.message

    def rewrites(self, message_id: int) -> bool:
        """Whether the message's row is about to be written whole, whatever stands there now."""
        found = (group.get(message_id) for group in (self._waiting, self._committing))
        return any(result.full and not result.steady for result in found if result is not None)

    def unsaved_messages(self) -> Iterator[Message]:
        """All messages whose newest form is not on disk yet."""
        for message_id, result in self._committing.items():
            if message_id not in self._waiting:
                yield result.message
        for result in self._waiting.values():
            yield result.message

    @property
    def full(self) -> bool:
        """Whether `room` would wait."""
        return not self._room.is_set()

    @property
    def idle(self) -> bool:
        """Whether everything recorded so far is on disk."""
        return self._settled == self._recorded

    async def room(self) -> None:
        """Wait while more is waiting for the disk than memory should hold, or while the disk takes nothing."""
        await self._room.wait()

    async def flush(self) -> None:
        """Return when everything recorded so far is on disk."""
        target = self._recorded
        while self._settled < target:
            self._urgent.set()
            self._work.set()
            await self._settling.wait()

    async def run(self) -> None:
        """Commit until cancelled. DurabilityError and StoreError end it: then nothing may be reported any more."""
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            if not self._urgent.is_set() and len(self._waiting) < MOST_IN_BATCH:
                try:
                    async with asyncio.timeout(LINGER):
                        await self._urgent.wait()
                except TimeoutError:
                    pass
            began = loop.time()
            await self._commit_group()
            if (rest := began + GATHER - loop.time()) > 0:
                await asyncio.sleep(rest)

    async def _commit_group(self) -> None:
        recorded = self._recorded
        partial = len(self._waiting) > MOST_IN_BATCH
        if partial:
            self._committing = {key: self._waiting.pop(key) for key in list(islice(self._waiting, MOST_IN_BATCH))}
        else:
            self._committing, self._waiting = self._waiting, {}
            self._urgent.clear()
            self._work.clear()
        bodies, self._bodies = self._bodies, []
        accounts, self._accounts = self._accounts, {}
        credit, self._credits = self._credits, {}
        notes, self._notes = self._notes, {}
        done: list[int] = []
        if not partial:
            done, self._done = self._done, []
        batch = Batch(
            results=tuple(self._committing.values()),
            bodies=bodies,
            accounts=tuple(accounts.values()),
            credits=tuple(credit.values()),
            done=done,
            notes=tuple(notes.items()),
            at=self._clock.now(),
        )
        await self._insist(batch)
        self._committing = {}
        self.groups += 1
        if not partial:
            self._settled = recorded
        if len(self._waiting) < ROOM:
            self._room.set()
        self._settling.set()
        self._settling = asyncio.Event()

    async def _insist(self, batch: Batch) -> None:
        tries = 0
        until = self._clock.monotonic() + self._give_up_after
        while True:
            began = self._clock.monotonic()
            try:
                events = await self._store.commit(batch)
            except StoreUnavailableError as error:
                tries += 1
                if began >= until:
                    raise
                if isinstance(error, StoreBusyError) and tries < PATIENT:
                    await asyncio.sleep(0)
                    continue
                if not self.trouble:
                    log.error("cannot write the database, polling waits: %s", error, extra={"event": "store_blocked"})
                self.trouble = str(error)
                self._room.clear()
                await asyncio.sleep(RETRY)
            else:
                self._meter.committed(len(batch.results), events, self._clock.monotonic() - began)
                if self.trouble:
                    log.warning("the database can be written again", extra={"event": "store_unblocked"})
                    self.trouble = ""
                return

    def _note(self, *, urgent: bool) -> None:
        self._recorded += 1
        self._work.set()
        if urgent or len(self._waiting) >= MOST_IN_BATCH:
            self._urgent.set()
        if len(self._waiting) >= ROOM:
            self._room.clear()


def _merged(before: Result, after: Result) -> Result:
    """Two results of one message in one transaction: the later row, the events of both."""
    return msgspec.structs.replace(
        after,
        bodies=(*before.bodies, *after.bodies),
        was=before.was,
        polls=before.polls + after.polls,
        full=before.full or after.full,
        steady=before.steady and after.steady,
        first=False,
    )
