"""The way to one receiver: a short queue, a few posts at a time, and a pause while it is down."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from pollerd.core.ports import Delivery
from pollerd.outputs.webhook.body import posted
from pollerd.outputs.webhook.post import PostResult

logger = logging.getLogger(__name__)

PARALLEL: Final = 4
"""Posts to one receiver at a time."""
ROOM: Final = 128
"""Events for one receiver in memory at most."""
FAILURES_BEFORE_PAUSE: Final = 5  # Failures in a row after which a receiver counts as down.
PAUSE_FIRST: Final = 1.0  # Seconds of the first pause, doubled for each further one, and
PAUSE_MAX: Final = 60.0  # at most.


class Posting(Protocol):
    """What a queue needs of a receiver."""

    @property
    def name(self) -> str: ...
    def reload(self) -> None: ...
    async def post(self, body: bytes) -> PostResult: ...


@dataclass(slots=True, eq=False)
class QueuedEvent:
    """An event in memory. `stored`: it is in the book as well."""

    delivery: Delivery
    stored: bool


class Breaker:
    """After a few failures in a row to reach a receiver: one post at a time, growing pauses, until one gets through."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause = 0.0
        self._until = 0.0
        self._asked_until = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the receiver counts as down."""
        return self._pause > 0

    def wait(self, now: float) -> float:
        """Seconds until the next post may go out."""
        return max(0.0, self._asked_until - now, self._until - now if self.tripped else 0.0)

    def asked(self, pause: float, now: float) -> None:
        """The receiver asked to be left alone for so many seconds; what it answers meanwhile does not shorten them."""
        self._asked_until = max(self._asked_until, now + pause)

    def reached(self) -> None:
        """The receiver answered."""
        self._failures = 0
        self._pause = 0.0

    def failed(self, now: float) -> None:
        """The receiver could not be reached."""
        self._failures += 1
        if self._failures >= FAILURES_BEFORE_PAUSE and self.wait(now) == 0.0:
            self._pause = min(PAUSE_MAX, 2 * self._pause) if self.tripped else PAUSE_FIRST
            self._until = now + self._pause


class ReceiverQueue:
    """One receiver's queue and its posts. `done` gets every event with the reply; None when it was not posted."""

    def __init__(
        self,
        name: str,
        receiver: Posting,
        done: Callable[[QueuedEvent, PostResult | None], None],
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self.load = 0
        """Events in memory for this receiver: queued, being posted, or behind one of those."""
        self.trouble = ""
        self._receiver = receiver
        self._done = done
        self._queue: deque[QueuedEvent] = deque()
        self._wake = asyncio.Event()
        self._breaker = Breaker()
        self._failed = 0
        self._stopping = False
        # Not the loop's time, which stands still while the machine sleeps.
        self._clock = now
        self._tasks = [asyncio.create_task(self._work(), name=f"webhook {name}") for _ in range(PARALLEL)]

    @property
    def room(self) -> int:
        """How many more events may be brought now."""
        if self._breaker.wait(self._clock()) > 0:
            return 0
        return max(0, (1 if self._breaker.tripped else ROOM) - self.load)

    @property
    def pause(self) -> float:
        """Seconds until the receiver is tried again."""
        return self._breaker.wait(self._clock())

    def reload(self) -> None:
        """Check the secret's source again."""
        self._receiver.reload()

    def put(self, queued: QueuedEvent) -> None:
        """Queue an event whose turn it is."""
        self._queue.append(queued)
        self._wake.set()

    def check(self) -> None:
        """Raise the error that a post died of, if any did: a mistake of ours."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def stop(self, grace: float) -> None:
        """Post nothing more; posts under way get `grace` seconds to be answered."""
        self._queue.clear()
        self._stopping = True
        self._wake.set()
        await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        while not self._stopping:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            queued = self._queue.popleft()
            if self._breaker.wait(self._clock()) > 0:
                self._done(queued, None)
                continue
            delivery = queued.delivery
            reply = await self._receiver.post(posted(delivery.seq, delivery.type, delivery.body))
            self._judge(reply)
            self._done(queued, reply)

    def _judge(self, reply: PostResult) -> None:
        if reply.down:
            self._breaker.failed(self._clock())
        else:
            self._breaker.reached()
        self._breaker.asked(reply.pause, self._clock())
        if reply.taken:
            if self.trouble:
                logger.info("webhook %s: takes events again", self._receiver.name, extra={"event": "webhook_works"})
            self._failed = 0
            self.trouble = ""
            return
        self._failed += 1
        if self._failed < FAILURES_BEFORE_PAUSE and not reply.pause:
            return
        trouble = f"{self._receiver.name} {reply.detail}".rstrip(".")
        if not self.trouble:
            logger.error("webhook %s; its events wait and are tried again", trouble, extra={"event": "webhook_trouble"})
        self.trouble = trouble
