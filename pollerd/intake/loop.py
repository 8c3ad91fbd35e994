"""Takes in what others put into the database: new messages, and what commands ask for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from pollerd.base.errors import StoreUnavailableError
from pollerd.config.policy import Learner
from pollerd.core import outcome, overdue
from pollerd.core.diff import Result
from pollerd.core.model import Message, State
from pollerd.core.ports import AccountState, Clock, Request, RequestKind, Store
from pollerd.core.ports.erasure import About
from pollerd.polling.committer import Committer

log = logging.getLogger(__name__)

CHECK_EVERY: Final = 0.4
"""Seconds between two checks for commits of other processes."""
CHUNK: Final = 2000
"""New rows planned at a time: one transaction of the committer's, and some ten milliseconds of the event loop's."""


class AccountPlanner(Protocol):
    """Plans an account's messages and, while a daemon runs, polls them."""

    def plan(self, messages: Sequence[Message]) -> list[Message]: ...
    def again(self, message: Message) -> Message: ...
    def schedule(self, message: Message) -> None: ...
    def drop(self, message_id: int) -> None: ...
    def busy_with(self, message_id: int) -> bool: ...
    def resume(self) -> None: ...


class TakingClock(Clock, Protocol):
    """A clock that knows what other programs took for the time. See `pollerd.daemon.clock.SystemClock`."""

    taken_until: float
    doubted: float

    def taken(self, wall: float) -> float: ...
    def taking(self) -> Callable[[float], float]: ...


class Intake:
    """Notices other writers by the database's data version and takes over what they left."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        pollers: Mapping[str, AccountPlanner],
        clock: TakingClock,
        learner: Learner,
        undecided: Callable[[], bool] = lambda: False,
        gateway_ahead: Callable[[str], float] = lambda account: 0.0,
    ) -> None:
        """`undecided`: whether it may turn out in a moment that another time is right. `gateway_ahead`: by how many
        seconds the clock of an account's gateway is ahead of the daemon's.
        """
        self._undecided = undecided
        self._gateway_ahead = gateway_ahead
        self._store = store
        self._learner = learner
        self._committer = committer
        self._pollers = pollers
        self._clock = clock
        self._strangers: set[str] = set()
        self._unconfigured: dict[str, AccountState] | None = None
        self._poked = asyncio.Event()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Check until cancelled."""
        changed = False
        while True:
            try:
                now = self._clock.now()
                changed = await self._store.foreign_change() or changed or self._poked.is_set()
                self._poked.clear()
                changed = changed and not await self.take_in()
                if not changed:
                    self._clock.taken_until = now
            except StoreUnavailableError as error:
                log.debug("intake waits: %s", error)
                await asyncio.sleep(CHECK_EVERY)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY):
                    await self._poked.wait()

    def poke(self) -> None:
        """This process itself has put something into the database: check now."""
        self._poked.set()

    async def take_in(self) -> bool:
        """Do what commands asked for, and plan all rows that are not planned yet. False when these have to wait."""
        async with self._turn:
            await self.settle_requests()
            await self._store.set_strange_aside()
            while not self._undecided() and (rows := await self._store.new(CHUNK)):
                taken = self._clock.taking()
                await self._plan([self._dated(message, taken) for message in rows])
                # The next query reads again whatever is not on disk yet.
                await self._committer.flush()
            return not self._undecided()

    def set_aside(self, ids: Iterable[int]) -> None:
        """Rows were set aside: these messages are not polled from memory either, unless they are just made whole."""
        for message_id in ids:
            if not self._committer.rewrites(message_id):
                for poller in self._pollers.values():
                    poller.drop(message_id)

    async def ask(self, kind: RequestKind, message_id: int | None, argument: str | None = None) -> None:
        """Do what a program asks this process for; on disk when this returns."""
        async with self._turn:
            await self.settle(Request(0, kind, message_id, argument))
            await self._committer.flush()
            if kind is RequestKind.ERASE:
                await self._store.scrub()

    def _dated(self, message: Message, taken: Callable[[float], float]) -> Message:
        """A row that is not planned yet carries its writer's time: from here on it is ours."""
        if message.state is not State.NEW:
            return message
        sent_at = taken(message.sent_at)
        # The gateway sends by its own clock, whatever the writer's says.
        sendtime = None if message.sendtime is None else message.sendtime - self._gateway_ahead(message.account)
        if sent_at == message.sent_at and sendtime == message.sendtime:
            return message
        return msgspec.structs.replace(message, sent_at=sent_at, sendtime=sendtime)

    async def _plan(self, messages: Sequence[Message]) -> None:
        """Plan new rows, those of an account together: most of what is decided for one is the same for all."""
        new: dict[str, list[Message]] = {}
        for message in messages:
            # Else somebody has dealt with it already; the row is about to say so.
            if self._committer.unsaved(message.id) is None:
                new.setdefault(message.account, []).append(message)
        for account, some in new.items():
            if (poller := self._pollers.get(account)) is None:
                planned = await self._put_off(account, some)
            else:
                planned = poller.plan(some)
            for message in planned:
                self._committer.record(Result(message, was=State.NEW, first=True))
                if poller is not None:
                    poller.schedule(message)

    async def _put_off(self, account: str, messages: Iterable[Message]) -> list[Message]:
        """Messages of an account without configuration, as they wait for it."""
        self._warn(account)
        now = self._clock.now()
        frozen_at = await self._held_total(account, now) + self._clock.doubted
        # Once the account is configured, its setting is applied to these too.
        self._committer.record_note(overdue.note(account), b"null")
        return [
            msgspec.structs.replace(
                message,
                state=State.PENDING,
                base=message.sending,
                next_poll_at=message.sending,
                frozen_at=frozen_at,
                taken_at=now,
                next_reason="account not configured",
                overdue_at=overdue.armed_at(message, None, now),
            )
            for message in messages
        ]

    async def _held_total(self, account: str, now: float) -> float:
        """Seconds that an account without configuration was held so far, in the configuration of its day."""
        if self._unconfigured is None:
            self._unconfigured = await self._store.accounts()
        if (known := self._unconfigured.get(account)) is None:
            return 0.0
        # A hold in force then goes on once it is configured again.
        return known.held_total + (0.0 if known.held_since is None else max(0.0, now - known.held_since))

    def _warn(self, account: str) -> None:
        if account not in self._strangers:
            self._strangers.add(account)
            log.warning(
                "messages for account %r wait: the configuration has no [accounts.%s]",
                account,
                account,
                extra={"event": "account_unknown"},
            )

    # -- requests

    async def settle_requests(self) -> None:
        """Do all that commands asked for."""
        while requests := await self._store.requests():
            for request in requests:
                await self.settle(request)
                self._committer.record_done(request.id)
            await self._committer.flush()
            if any(request.kind is RequestKind.ERASE for request in requests):
                # The request itself named what was to be removed.
                await self._store.scrub()

    async def settle(self, request: Request) -> None:
        """Do what a command asked for. A message that is not there is no error: the command has checked that itself."""
        if request.kind is RequestKind.RETRY_ALL:
            await self._retry_all()
            return
        if request.kind is RequestKind.RESUME:
            if (poller := self._pollers.get(request.argument or "")) is not None:
                poller.resume()
            return
        if request.kind is RequestKind.FORGET:
            self._learner.forget(request.argument)
            self._committer.record_note(*self._learner.note())
            return
        if request.kind is RequestKind.ERASE:
            await self._erase(About.requested(request.message_id, request.argument))
            return
        message = None if request.message_id is None else await self._current(request.message_id)
        if message is None:
            return
        match request.kind:
            case RequestKind.UNTRACK if message.state in (State.NEW, State.PENDING, State.SET_ASIDE):
                self._untrack(message)
            case RequestKind.POLL if message.state in (State.NEW, State.PENDING):
                self._poll_now(message)
            case RequestKind.RETRY if message.state in (State.GAVE_UP, State.SET_ASIDE):
                self._again(message)

    async def _erase(self, about: About) -> None:
        """What is in memory goes first: an answer under way is thrown away, and nothing is written after the rows."""
        await self._committer.flush()
        for message_id in await self._store.find_known(about):
            for poller in self._pollers.values():
                poller.drop(message_id)
        await self._committer.flush()
        await self._store.erase(about, self._clock.now())

    async def _current(self, message_id: int) -> Message | None:
        if (message := self._committer.unsaved(message_id)) is None:
            stored = await self._store.message(message_id)
            # A poll may have been answered while the store was read.
            message = self._committer.unsaved(message_id) or (stored and self._dated(stored, self._clock.taken))
        return message

    def _untrack(self, message: Message) -> None:
        if (poller := self._pollers.get(message.account)) is not None:
            poller.drop(message.id)
        now = self._clock.now()
        self._committer.record(outcome.untracked(message, now, self._clock.to_wall(now)))

    def _poll_now(self, message: Message) -> None:
        poller = self._pollers.get(message.account)
        if poller is None or poller.busy_with(message.id):
            return
        due = poller.plan([message])[0] if message.state is State.NEW else message
        due = msgspec.structs.replace(due, next_poll_at=self._clock.now(), next_reason="asked for", forced=True)
        self._committer.record(Result(due, was=message.state, full=message.state is State.NEW))
        poller.schedule(due)

    def _again(self, message: Message) -> None:
        poller = self._pollers.get(message.account)
        if poller is None:
            self._warn(message.account)
            return
        if message.state is State.SET_ASIDE and message.taken_at is None:
            # Its own times cannot be times.
            message = msgspec.structs.replace(message, sent_at=self._clock.now(), sendtime=None)
        planned = poller.again(message)
        self._committer.record(Result(planned, was=message.state))
        poller.schedule(planned)

    async def _retry_all(self) -> None:
        after = 0
        while ids := await self._store.given_up(after):
            for message_id in ids:
                if (message := await self._current(message_id)) is not None and message.state is State.GAVE_UP:
                    self._again(message)
            await self._committer.flush()
            after = ids[-1]
