"""Events to local receivers, as the vendor's webhook posts them: signed, tried again, each message in order.

An event that its receiver does not take goes to the book (`ports.DeliveryBook`) with the time of its next attempt, so
that the output's place moves on and a restart forgets nothing. Each route has a queue: a receiver that is slow or
down delays no other. Memory holds some hundred events, however many wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from pollerd.base import failpoints
from pollerd.base.errors import StoreError, StoreUnavailableError
from pollerd.config import WebhookOutputConfig
from pollerd.core.event import thread
from pollerd.core.ports import Clock, Cursor, DeliveryBook, DeliveryChange, EventLog, OutputHealth
from pollerd.outputs.undelivered import log_superseded
from pollerd.outputs.webhook.body import Routes, receivers_of
from pollerd.outputs.webhook.order import DeliveryOrder
from pollerd.outputs.webhook.post import TIMEOUT, PostResult, Receiver
from pollerd.outputs.webhook.receiver import PARALLEL, ROOM, QueuedEvent, ReceiverQueue

logger = logging.getLogger(__name__)

_OPEN: Final = 512
"""Events from the log in memory at most, of all receivers together."""
_GATHER: Final = 0.05
"""Seconds between two transactions at least."""
_CHECK_EVERY: Final = 1.0
"""Seconds between two checks for what a command took up again, and of the secrets."""
_RETRY: Final = 1.0  # Seconds between two tries to save.
_STOP_GRACE: Final = 2.0  # Seconds that posts under way have at a stop.
_RELABEL: Final = 500  # Events given new receivers in one transaction.
_CLEAN_EVERY: Final = 600.0  # Seconds between two deletions of old parked events.
_REMIND_EVERY: Final = 60.0  # Seconds between two log lines about parked events.
_CLOCK_SLACK: Final = 3600.0
"""Seconds: what is planned further away than the longest delay and this was planned by a wrong clock, and is due."""


class WebhookOutput:
    """Posts events to the configured receivers. Fulfils `ports.Output` and `ports.Preparing`.

    `keep_parked` is in seconds: how long an event that was not taken stays listed. `timeout`: seconds for one post.
    `protect` gets each secret before it is used, so that no log shows it. No post begins while `may_post` says no.
    """

    def __init__(
        self,
        settings: WebhookOutputConfig,
        book: DeliveryBook,
        clock: Clock,
        *,
        keep_parked: float,
        name: str = "webhook",
        timeout: float = TIMEOUT,
        protect: Callable[[str], None] | None = None,
        may_post: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._book = book
        self._clock = clock
        self._keep_parked = keep_parked
        self._name = name
        self._timeout = timeout
        self._protect = protect
        self._may_post = may_post
        self._run: _Run | None = None
        self._seq = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def health(self) -> OutputHealth:
        """`seq` is its place: all up to there is taken, or waits in the book for another attempt."""
        if self._run is None:
            return OutputHealth(self._name, self._seq, keeps=True)
        return OutputHealth(self._name, self._run.order.place, self._run.trouble, keeps=True)

    def reopen(self) -> None:
        """Check the secrets at once."""
        if self._run is not None:
            self._run.reload()

    async def prepare(self, log: EventLog) -> None:
        """A new output begins with what happens from now on."""
        if await log.cursor(self._name) is None:
            await log.save_cursor(Cursor(self._name, log.last, Routes(self._settings).note))

    async def run(self, log: EventLog) -> None:
        """Post events until cancelled. Raises OutputError for a secret that cannot be used, StoreError."""
        await self.prepare(log)
        cursor = await log.cursor(self._name)
        assert cursor is not None
        if log.pruned > cursor.seq:
            lost = (cursor.seq + 1, log.pruned)
            logger.error(
                "output %s: events %d to %d were deleted by retention before they were posted",
                self.name,
                *lost,
                extra={"event": "output_gap"},
            )
        routes = Routes(self._settings)
        if cursor.detail != routes.note:
            await self._relabel(routes)
        self._seq = max(cursor.seq, log.pruned)
        async with contextlib.AsyncExitStack() as stack:
            receivers = {
                name: await stack.enter_async_context(
                    Receiver(
                        route,
                        allow_remote=self._settings.allow_remote,
                        connections=PARALLEL,
                        timeout=self._timeout,
                        protect=self._protect,
                        may_post=self._may_post,
                    )
                )
                for name, route in receivers_of(self._settings)
            }
            order = DeliveryOrder(self._name, routes, self._settings.retry_after, self._seq)
            self._run = _Run(order, self._book, self._clock, self._settings.retry_after, self._keep_parked)
            try:
                await self._run.work(log, receivers)
            finally:
                self._seq = order.place
                self._run = None

    async def _relabel(self, routes: Routes) -> None:
        """The routes have changed: what waits goes where it would go now."""
        after = 0
        while waiting := await self._book.undelivered(after, _RELABEL):
            moved = [(d.seq, receiver) for d in waiting if (receiver := routes.receiver(d.body)) != d.receiver]
            if moved:
                await self._book.relabel(moved)
            after = waiting[-1].seq


class _Run:
    """One start of the output: the loop between log, book and receivers."""

    def __init__(
        self, order: DeliveryOrder, book: DeliveryBook, clock: Clock, retry_after: tuple[float, ...], keep_parked: float
    ) -> None:
        self.order = order
        self._book = book
        self._clock = clock
        self._longest = max(retry_after, default=0.0) + _CLOCK_SLACK
        self._keep_parked = keep_parked
        self._results: list[tuple[QueuedEvent, PostResult | None]] = []
        self._wake = asyncio.Event()
        self._queues: Mapping[str, ReceiverQueue] = {}
        self._trouble = ""
        self._unsaved: DeliveryChange | None = None
        self._time = asyncio.get_running_loop().time
        self._cleaned_at = -_CLEAN_EVERY
        self._reminded_at = -_REMIND_EVERY

    @property
    def trouble(self) -> str:
        """What is wrong, in words; empty when all is well."""
        if self._trouble:
            return self._trouble
        return "; ".join(queue.trouble for queue in self._queues.values() if queue.trouble)

    def reload(self) -> None:
        """Check the secrets again."""
        for queue in self._queues.values():
            queue.reload()

    async def work(self, log: EventLog, receivers: Mapping[str, Receiver]) -> None:
        """Work until cancelled."""
        self._queues = {
            name: ReceiverQueue(name, receiver, self._done, self._clock.now) for name, receiver in receivers.items()
        }
        try:
            while True:
                began = self._time()
                await self._step(log)
                await asyncio.sleep(max(0.0, began + _GATHER - self._time()))
        finally:
            # Answers on their way are worth a moment: what they say is not posted twice.
            await asyncio.gather(*(queue.stop(_STOP_GRACE) for queue in self._queues.values()))
            self._settle()
            with contextlib.suppress(StoreError):
                if self._unsaved is not None:
                    # In this order: the place must not get ahead of what waits.
                    await self._book.save(self._unsaved)
                await self._book.save(self.order.change(self._clock.now()))

    async def _step(self, log: EventLog) -> None:
        for queue in self._queues.values():
            queue.check()
        self._settle()
        if self.order.changed:
            await self._save()
        self._remind()
        await self._clean()
        await self._load()
        if not await self._bring(log):
            await self._wait(log)

    def _done(self, queued: QueuedEvent, reply: PostResult | None) -> None:
        self._results.append((queued, reply))
        self._wake.set()

    def _settle(self) -> None:
        results, self._results = self._results, []
        now = self._clock.now()
        for queued, reply in results:
            self.order.settle(queued, reply, self._queues, now)

    async def _save(self) -> None:
        self._unsaved = change = self.order.change(self._clock.now())
        failpoints.hit("webhook.before_save")
        while True:
            try:
                superseded = await self._book.save(change)
            except StoreUnavailableError as error:
                # Beginning anew would post again what was taken; nothing further is posted meanwhile.
                self._trouble = str(error)
                await asyncio.sleep(_RETRY)
            else:
                break
        self._unsaved = None
        self._trouble = ""
        log_superseded("webhook", superseded)
        failpoints.hit("webhook.after_save")
        self.order.saved(self._queues)

    async def _load(self) -> None:
        now = self._clock.now()
        for queue in self._queues.values():
            if queue.room > 0:
                # Those in memory are found too, and left out.
                due = await self._book.due(queue.name, now, now + self._longest, queue.room + queue.load)
                self.order.load(due, queue, self._queues)

    async def _bring(self, log: EventLog) -> bool:
        """Take events from the log; False when there are none or no room for any."""
        room = min(max(queue.room for queue in self._queues.values()), _OPEN - self.order.open)
        if room <= 0:
            return False
        events = await log.read(self.order.read, min(room, ROOM))
        if not events:
            return False
        known = await self._book.known(self.order.read, events[-1].seq)
        messages = {thread(event) for event in events if self.order.wants(event)}
        blocked = await self._book.blocked(sorted(messages)) if messages else set()
        self.order.bring(events, known, blocked, self._queues, self._clock.now())
        return True

    async def _wait(self, log: EventLog) -> None:
        """Until a post is answered, an event comes, an attempt is due or a receiver is to be tried again."""
        pauses = [queue.pause for queue in self._queues.values() if queue.pause > 0]
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if len(pauses) < len(self._queues) and self.order.open < _OPEN:
            # Numbers may be left out, so that there can be a higher one and still no event.
            waits.append(asyncio.ensure_future(log.wait(max(log.last, self.order.read))))
        try:
            timeout = min([await self._until_due(), *pauses, _CHECK_EVERY])
            done, _ = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self.reload()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self._wake.clear()

    async def _until_due(self) -> float:
        due = [
            await self._book.next_at(queue.name) for queue in self._queues.values() if queue.room > 0 and not queue.load
        ]
        now = self._clock.now()
        return max(0.0, min((at - now for at in due if at is not None), default=_CHECK_EVERY))

    def _remind(self) -> None:
        now = self._time()
        if self.order.parked and now - self._reminded_at >= _REMIND_EVERY:
            logger.error(
                "webhook: %d events were not taken after the last attempt; see: pollerd events --undelivered, "
                "and post them again with: pollerd retry --webhook",
                self.order.parked,
                extra={"event": "webhook_parked", "parked": self.order.parked},
            )
            self.order.parked = 0
            self._reminded_at = now

    async def _clean(self) -> None:
        now = self._time()
        if now - self._cleaned_at < _CLEAN_EVERY:
            return
        self._cleaned_at = now
        forgotten = await self._book.forget_parked(self._clock.now() - self._keep_parked)
        if forgotten:
            logger.error(
                "webhook: %d events that were not taken were kept for long enough and are deleted",
                forgotten,
                extra={"event": "webhook_forgotten"},
            )
