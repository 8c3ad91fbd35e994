"""The part of the schedule that is due soon, in memory; the whole schedule is the store.

A moving scan over (due time, id): what lies behind its place is in memory or not pending, what lies ahead is on disk
only. When more is handed in than memory should hold, the scan steps back and finds it again later.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Container, Hashable
from typing import Final, Protocol

from pollerd.model import Message, State

CAPACITY: Final = 25_000
"""Messages in memory at most, for each account."""
CHUNK: Final = 1000
"""Rows turned into messages at a time: more would hold up the event loop."""
AHEAD: Final = 10.0
"""Seconds that the scan looks ahead."""
LATEST: Final = 2000
"""Of a backlog that does not fit into memory: how many of the latest arrivals are looked at beside the oldest."""
RANKING: Final = 0.25
"""Seconds for which a ranking of the backlog is good enough."""
LATE: Final = 60.0
"""Seconds of delay from which every second poll goes to the youngest message that waits.

The ranking weighs all that an old message may have been up to since its last poll; after a long stop that alone would
keep everything new waiting until the whole backlog is worked off.
"""

Place = tuple[float, int]
Bucket = Hashable


class Schedule(Protocol):
    """What the window needs of the store."""

    async def due(self, account: str, after: Place, until: float, limit: int) -> list[Message]: ...
    async def due_latest(self, account: str, until: float, limit: int) -> list[Message]: ...


class Ranker(Protocol):
    """Which due message gains most by a poll now."""

    def bucket(self, message: Message) -> Bucket:
        """Messages of one bucket are polled in order of arrival."""
        ...

    def rank(self, message: Message, now: float) -> float:
        """The worth of polling the head of a bucket now; the highest goes first."""
        ...


class Window:
    """The due window of one account."""

    def __init__(self, account: str, ranker: Ranker) -> None:
        self._account = account
        self._ranker = ranker
        self._heap: list[tuple[float, int, Message]] = []
        self._pushed = 0
        self._ready: dict[Bucket, deque[Message]] = {}
        self._ready_count = 0
        self._ranked: list[Bucket] = []
        self._youngest: list[Bucket] = []
        """The same by the age of their youngest; empty while nothing is late. The last one of each list goes first."""
        self._ranked_at = -math.inf
        self._picks = 0
        self._known: dict[int, Message] = {}
        """In memory or under way; the value is the form that counts, older entries of the heap are void."""
        self._away: set[int] = set()
        self._dropped: dict[int, Message | None] = {}
        """Dropped while under way, and what has been offered since: no second poll before the first is answered."""
        self._place: Place = (-math.inf, 0)
        self._more = True

    def __len__(self) -> int:
        return len(self._known)

    @property
    def backlog(self) -> int:
        """Messages in memory that are due by now and wait for the limit."""
        return self._ready_count

    def holds(self, message_id: int) -> bool:
        """Whether the message is in memory or under way."""
        return message_id in self._known

    def under_way(self, message_id: int) -> Message | None:
        """The message as it counts now while a poll of it is being made, None when no longer of interest."""
        return self._known.get(message_id) if message_id in self._away else None

    def answered(self, message_id: int) -> Message | None:
        """The poll under way is over: the message as it counts now, to be offered; None when no longer of interest."""
        if message_id not in self._dropped:
            return self.under_way(message_id)
        if (offered := self._dropped.pop(message_id)) is not None:
            self.offer(offered)
        return None

    def offer(self, message: Message) -> bool:
        """A message with its new due time. True when it may be the next one due."""
        if message.id in self._dropped:
            self._dropped[message.id] = message
            return False
        self._away.discard(message.id)
        self._known.pop(message.id, None)
        if message.state is not State.PENDING:
            return False
        place = (message.next_poll_at, message.id)
        if not message.forced:
            if place > self._place:
                return False
            if len(self._known) >= CAPACITY:
                self._place = (message.next_poll_at, message.id - 1)
                self._more = True
                return False
        self._push(message)
        return self._heap[0][2] is message

    def drop(self, message_id: int) -> None:
        """Forget a message; a poll under way is no longer of interest."""
        self._known.pop(message_id, None)
        if message_id in self._away or message_id in self._dropped:
            self._away.discard(message_id)
            self._dropped[message_id] = None

    def pop(self, now: float) -> Message | None:
        """The due message that is worth most, now under way; None when nothing is due."""
        self._ripen(now)
        message = self._pick(now)
        if message is not None:
            self._away.add(message.id)
        return message

    def take(self, message_id: int) -> Message | None:
        """This message, whenever it is due, now under way; None when it is not in memory or under way already."""
        message = self._known.get(message_id)
        if message is None or message_id in self._away:
            return None
        self._away.add(message_id)
        return message

    def newest(self, passed: Container[int]) -> Message | None:
        """The message in memory that was sent last, one asked for before all others; none of those in `passed`."""
        waiting = (m for key, m in self._known.items() if key not in self._away and key not in passed)
        return max(waiting, key=lambda message: (message.forced, message.sent_at, message.id), default=None)

    def next_due(self) -> float:
        """When the next message in memory is due, UNIX seconds; infinite when there is none."""
        if self._ready_count:
            return -math.inf
        while self._heap and not self._current(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    # -- filling from the store

    def wants(self, now: float) -> bool:
        """Whether the scan should move on."""
        if len(self._known) > CAPACITY - CHUNK:
            return False
        return self._more or self._place[0] < now + AHEAD / 2

    async def fill(self, schedule: Schedule, now: float, unsaved: Callable[[int], Message | None]) -> bool:
        """Move the scan one chunk on. True when there was more than that."""
        until = now + AHEAD
        rows = await schedule.due(self._account, self._place, until, CHUNK)
        self._take_in(rows, unsaved)
        self._more = len(rows) == CHUNK
        if self._more:
            last = rows[-1]
            self._place = max(self._place, (last.next_poll_at, last.id))
        else:
            self._place = max(self._place, (until, 0))
        return self._more

    async def fill_latest(self, schedule: Schedule, now: float, unsaved: Callable[[int], Message | None]) -> None:
        """Of a backlog larger than memory, look at the latest arrivals too, lest the fresh wait behind the old."""
        room = min(LATEST, 2 * CAPACITY - len(self._known))
        if room > 0:
            self._take_in(await schedule.due_latest(self._account, now, room), unsaved)

    def behind(self, now: float) -> bool:
        """Whether the backlog is larger than what is in memory."""
        return self._more and self._place[0] < now

    def admit(self, message: Message) -> None:
        """A message that the scan has passed while it was not on disk yet."""
        if message.id not in self._known and (message.next_poll_at, message.id) <= self._place:
            self.offer(message)

    def _take_in(self, rows: list[Message], unsaved: Callable[[int], Message | None]) -> None:
        for message in rows:
            if message.id not in self._known and message.id not in self._dropped and unsaved(message.id) is None:
                self._push(message)

    # -- choosing

    def _push(self, message: Message) -> None:
        self._known[message.id] = message
        due = -math.inf if message.forced else message.next_poll_at
        self._pushed += 1
        heapq.heappush(self._heap, (due, self._pushed, message))

    def _current(self, message: Message) -> bool:
        return self._known.get(message.id) is message and message.id not in self._away

    def _ripen(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            message = heapq.heappop(heap)[2]
            if not self._current(message):
                continue
            bucket = None if message.forced else self._ranker.bucket(message)
            queue = self._ready.get(bucket)
            if queue is None:
                queue = self._ready[bucket] = deque()
                self._ranked_at = -math.inf
            queue.append(message)
            self._ready_count += 1

    def _pick(self, now: float) -> Message | None:
        while self._ready_count:
            bucket, youngest = self._best(now)
            queue = self._ready[bucket]
            message = queue.pop() if youngest else queue.popleft()
            self._ready_count -= 1
            if not queue:
                del self._ready[bucket]
            if self._current(message):
                return message
        return None

    def _best(self, now: float) -> tuple[Bucket, bool]:
        """The bucket to poll from, and whether it is its youngest message's turn."""
        if None in self._ready:
            return None, False
        if not -RANKING < now - self._ranked_at < RANKING:
            self._rank(now)
        self._picks += 1
        youngest = bool(self._youngest) and self._picks % 2 == 1
        order = self._youngest if youngest else self._ranked
        while order:
            if order[-1] in self._ready:
                return order[-1], youngest
            order.pop()
        self._ranked_at = -math.inf
        return self._best(now)

    def _rank(self, now: float) -> None:
        ready = self._ready
        if len(ready) > 1:
            ranks = {bucket: self._ranker.rank(queue[0], now) for bucket, queue in ready.items()}
            self._ranked = sorted(ranks, key=ranks.__getitem__)
        else:
            self._ranked = list(ready)
        late = any(now - queue[0].next_poll_at > LATE for queue in ready.values())
        self._youngest = sorted(ready, key=lambda bucket: ready[bucket][-1].sent_at) if late else []
        self._ranked_at = now
