"""Which events are in memory, which go to the book, and what may be posted next. No I/O: the output does that.

The order of a message rests on three rules. Of one message, one event at a time is with its receiver. The next one goes
there only when it is on disk that the one before is done with. And while an event of a message waits in the book,
later ones go to the book behind it. The incoming messages of one sender are ordered as the events of one message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pollerd.core.event import Event, thread
from pollerd.core.ports import Cursor, Delivery, DeliveryChange, DeliveryState
from pollerd.outputs.webhook.body import Routes
from pollerd.outputs.webhook.post import PostResult
from pollerd.outputs.webhook.receiver import QueuedEvent, ReceiverQueue


class DeliveryOrder:
    """The events between the log and the receivers. `place` is where the output's cursor stands."""

    def __init__(self, name: str, routes: Routes, retry_after: Sequence[float], place: int) -> None:
        self.place = place
        self.read = place
        """Up to here events were taken from the log."""
        self.parked = 0
        """Events parked since this was last set to 0."""
        self._name = name
        self._routes = routes
        self._retry_after = retry_after
        self._saved = place
        self._open: dict[int, None] = {}
        self._chains: dict[int, deque[QueuedEvent]] = {}
        self._next: list[QueuedEvent] = []
        self._kept: dict[int, Delivery] = {}
        self._taken: list[QueuedEvent] = []
        self._freed: list[int] = []

    @property
    def open(self) -> int:
        """Events from the log in memory."""
        return len(self._open)

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return bool(self.place != self._saved or self._kept or self._taken or self._freed)

    def wants(self, event: Event) -> bool:
        """Whether the event is posted at all."""
        return self._routes.wants(event.type)

    # -- bringing events in

    def bring(
        self,
        events: Sequence[Event],
        known: set[int],
        blocked: set[int],
        queues: Mapping[str, ReceiverQueue],
        now: float,
    ) -> None:
        """Take events from the log, ascending. `known` are kept in the book already, `blocked` are messages with an
        event waiting there.
        """
        for event in events:
            self.read = event.seq
            if event.seq in known or not self.wants(event):
                continue
            message = thread(event)
            queue = queues[self._routes.receiver(event.body)]
            delivery = Delivery(event.seq, event.type, message, event.body, queue.name)
            chain = self._chains.get(message)
            if message in blocked:
                self._keep(delivery)
            elif chain is not None:
                self._open[event.seq] = None
                chain.append(QueuedEvent(delivery, stored=False))
                queue.load += 1
            elif queue.room > 0:
                self._open[event.seq] = None
                self._start(QueuedEvent(delivery, stored=False), queue)
            else:
                # This receiver is behind or down; others must not wait for it.
                blocked.add(message)
                self._keep(msgspec.structs.replace(delivery, next_at=now))
        self._advance()

    def load(self, deliveries: Iterable[Delivery], queue: ReceiverQueue, queues: Mapping[str, ReceiverQueue]) -> None:
        """Take waiting events from the book, as far as the receiver has room and they are not in memory already."""
        for delivery in deliveries:
            chain = self._chains.get(delivery.message_id)
            if chain is not None and delivery.seq < chain[0].delivery.seq:
                self._give_way(chain, queues)
            elif chain is None and queue.room > 0 and delivery.seq not in self._kept:
                self._start(QueuedEvent(delivery, stored=True), queue)

    def _give_way(self, chain: deque[QueuedEvent], queues: Mapping[str, ReceiverQueue]) -> None:
        """An earlier event was taken up again: what is not with the receiver yet goes to the book, behind it."""
        while len(chain) > 1:
            queued = chain.pop()
            self._leave(queued, queues)
            self._keep(queued.delivery)
        self._advance()

    def _start(self, queued: QueuedEvent, queue: ReceiverQueue) -> None:
        self._chains[queued.delivery.message_id] = deque([queued])
        queue.load += 1
        queue.put(queued)

    # -- hearing of them

    def settle(
        self, queued: QueuedEvent, reply: PostResult | None, queues: Mapping[str, ReceiverQueue], now: float
    ) -> None:
        """An event was posted, or (no reply) came back because its receiver is down."""
        delivery = queued.delivery
        chain = self._chains[delivery.message_id]
        chain.popleft()
        self._leave(queued, queues)
        done = True
        if reply is None:
            done = False
            if not queued.stored:
                self._keep(msgspec.structs.replace(delivery, next_at=now))
        elif reply.taken:
            self._taken.append(queued)
        else:
            done = self._failed(delivery, reply, now)
        self._go_on(queued, chain, queues, done=done)
        self._advance()

    def _failed(self, delivery: Delivery, reply: PostResult, now: float) -> bool:
        """Plan the next attempt. True when there is none."""
        attempts = delivery.attempts + 1
        failed = msgspec.structs.replace(delivery, attempts=attempts, error=reply.detail)
        if attempts > len(self._retry_after):
            self.parked += 1
            self._keep(msgspec.structs.replace(failed, state=DeliveryState.PARKED, next_at=None))
            return True
        delay = max(self._retry_after[attempts - 1], reply.pause)
        self._keep(msgspec.structs.replace(failed, next_at=now + delay))
        return False

    def _go_on(
        self, settled: QueuedEvent, chain: deque[QueuedEvent], queues: Mapping[str, ReceiverQueue], *, done: bool
    ) -> None:
        """What becomes of a message's later events: in memory behind a fresh one, in the book behind a stored one."""
        if not done:
            for queued in chain:
                self._leave(queued, queues)
                self._keep(queued.delivery)
            chain.clear()
        if chain:
            self._next.append(chain[0])
            return
        del self._chains[settled.delivery.message_id]
        if done and settled.stored:
            self._freed.append(settled.delivery.message_id)

    def _leave(self, queued: QueuedEvent, queues: Mapping[str, ReceiverQueue]) -> None:
        queues[queued.delivery.receiver].load -= 1
        self._open.pop(queued.delivery.seq, None)

    def _keep(self, delivery: Delivery) -> None:
        self._kept[delivery.seq] = delivery

    def _advance(self) -> None:
        """Everything below the oldest event in memory is posted or goes to the book with the next change."""
        self.place = next(iter(self._open), self.read + 1) - 1

    # -- what goes to disk

    def change(self, now: float) -> DeliveryChange:
        """All that is to be saved; it counts as saved from now on."""
        # Above the place it is not enough to forget an event: a restart would read it from the log again.
        marks = [_mark(queued.delivery) for queued in self._taken if queued.delivery.seq > self.place]
        change = DeliveryChange(
            cursor=Cursor(self._name, self.place, self._routes.note),
            kept=[*self._kept.values(), *marks],
            gone=[queued.delivery.seq for queued in self._taken if queued.stored and queued.delivery.seq <= self.place],
            freed=self._freed,
            taken=[queued.delivery for queued in self._taken],
            at=now,
        )
        self._kept, self._taken, self._freed = {}, [], []
        self._saved = self.place
        return change

    def saved(self, queues: Mapping[str, ReceiverQueue]) -> None:
        """The last change is on disk: the events behind those that are done may be posted."""
        started, self._next = self._next, []
        for queued in started:
            queues[queued.delivery.receiver].put(queued)


def _mark(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, body=b"", state=DeliveryState.DELIVERED, next_at=None)
