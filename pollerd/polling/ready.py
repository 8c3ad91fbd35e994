"""The messages that are due, in the order in which they are polled: by priority, then by what a poll gains. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Final, Protocol

from pollerd.core.model import Message, Priority

RANKING: Final = 0.25
"""Seconds for which a ranking of the backlog is good enough."""
LATE: Final = 60.0
"""Seconds of delay from which every second poll goes to the youngest message that waits.

The ranking weighs all that an old message may have been up to since its last poll; after a long stop that alone would
keep everything new waiting until the whole backlog is worked off.
"""
SHARE: Final = 5
"""While less urgent messages wait, one poll of so many is theirs: what is urgent slows them and never stops them."""
STRANGE: Final = 3
"""404s of a message that was never seen, after which it gives way: it may be none of this account's, as ten thousand
others that were handed over by mistake."""
_STRANGERS: Final = -1  # The place behind all priorities.

Bucket = Hashable


class Ranker(Protocol):
    """Which due message gains most by a poll now."""

    def bucket(self, message: Message) -> Bucket:
        """Messages of one bucket are polled in order of arrival."""
        ...

    def rank(self, message: Message, now: float) -> float:
        """The worth of polling the head of a bucket now; the highest goes first."""
        ...


class Ready:
    """All due messages of one account. What was asked for by a person goes before everything."""

    def __init__(self, ranker: Ranker) -> None:
        self._forced: deque[Message] = deque()
        self._lines = {place: _PriorityQueue(ranker) for place in (*sorted(Priority, reverse=True), _STRANGERS)}
        self._normal = self._lines[Priority.NORMAL]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, message: Message) -> None:
        """A message that is due by now."""
        self._count += 1
        if message.forced:
            self._forced.append(message)
        elif message.seen_at is None and message.misses >= STRANGE and (message.priority or 0) < Priority.URGENT:
            self._lines[_STRANGERS].put(message)
        elif message.priority is None:
            self._normal.put(message)
        else:
            self._lines[message.priority].put(message)

    def take(self, now: float) -> Message | None:
        """The message to poll next, taken out; None when there is none."""
        if not self._count:
            return None
        # Nearly always there is nothing to choose.
        alike = self._count == self._normal.count
        self._count -= 1
        if self._forced:
            return self._forced.popleft()
        return (self._normal if alike else self._line()).take(now)

    def waiting(self, priority: Priority) -> int:
        """How many of that priority are due."""
        return self._lines[priority].count

    def _line(self) -> _PriorityQueue:
        lines = [line for line in self._lines.values() if line.count]
        for line in lines[:-1]:
            if not line.gives_way():
                return line
        return lines[-1]


class _PriorityQueue:
    """The due messages of one priority, by what the ranker expects of a poll."""

    def __init__(self, ranker: Ranker) -> None:
        self.count = 0
        self._ranker = ranker
        self._buckets: dict[Bucket, deque[Message]] = {}
        self._ranked: list[Bucket] = []
        self._youngest: list[Bucket] = []
        """The same by the age of their youngest; empty while nothing is late. The last one of each list goes first."""
        self._ranked_at = -math.inf
        self._picks = 0
        self._turns = 0

    def put(self, message: Message) -> None:
        bucket = self._ranker.bucket(message)
        queue = self._buckets.get(bucket)
        if queue is None:
            queue = self._buckets[bucket] = deque()
            self._ranked_at = -math.inf
        queue.append(message)
        self.count += 1

    def take(self, now: float) -> Message:
        bucket, youngest = self._best(now)
        queue = self._buckets[bucket]
        message = queue.pop() if youngest else queue.popleft()
        self.count -= 1
        if not queue:
            del self._buckets[bucket]
        return message

    def gives_way(self) -> bool:
        """Whether this turn is that of less urgent ones."""
        self._turns += 1
        return self._turns % SHARE == 0

    def _best(self, now: float) -> tuple[Bucket, bool]:
        """The bucket to poll from, and whether it is its youngest message's turn."""
        if not -RANKING < now - self._ranked_at < RANKING:
            self._rank(now)
        self._picks += 1
        youngest = bool(self._youngest) and self._picks % 2 == 1
        order = self._youngest if youngest else self._ranked
        while order:
            if order[-1] in self._buckets:
                return order[-1], youngest
            order.pop()
        self._ranked_at = -math.inf
        return self._best(now)

    def _rank(self, now: float) -> None:
        buckets = self._buckets
        if len(buckets) > 1:
            ranks = {bucket: self._ranker.rank(queue[0], now) for bucket, queue in buckets.items()}
            self._ranked = sorted(ranks, key=ranks.__getitem__)
        else:
            self._ranked = list(buckets)
        late = any(now - queue[0].next_poll_at > LATE for queue in buckets.values())
        self._youngest = sorted(buckets, key=lambda bucket: buckets[bucket][-1].sent_at) if late else []
        self._ranked_at = now
