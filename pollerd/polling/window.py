"""The part of the schedule that is due soon, in memory; the whole schedule is the store.

A moving scan over (due time, id): what lies behind its place is in memory or not pending, what lies ahead is on disk
only. When more is handed in than memory should hold, the scan steps back and finds it again later.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Container
from typing import Final

from pollerd.core.model import Message, Priority, State
from pollerd.core.ports import Due, Schedule
from pollerd.polling.ready import Ranker, Ready

CAPACITY: Final = 25_000
"""Messages in memory at most, for each account."""
CHUNK: Final = 1000
"""Rows turned into messages at a time: more would block the event loop."""
AHEAD: Final = 4.0
"""Seconds that the scan reads ahead. At thousands of polls a second each of them is some megabytes."""
READ_ON: Final = 3.0
"""Seconds of it that are left when the scan reads on: more than the usual shortest interval, so that what is due again
by then stays in memory.
"""
LATEST: Final = 2000
"""Of a backlog that does not fit into memory: how many of the latest arrivals are read beside the oldest."""
URGENT: Final = (Priority.VERY_URGENT, Priority.URGENT)
"""Of these a backlog that does not fit into memory is read whole, the first before the second."""


class Window:
    """The due window of one account."""

    def __init__(self, account: str, ranker: Ranker) -> None:
        self._account = account
        self._heap: list[tuple[float, int, Message]] = []
        self._pushed = 0
        self._ready = Ready(ranker)
        self._known: dict[int, Message] = {}
        """In memory or under way; the value is the form that counts, older entries of the heap are void."""
        self._away: set[int] = set()
        self._dropped: dict[int, Message | None] = {}
        """Dropped while under way, and what has been added since: no second poll before the first is answered."""
        self._position: Due = (-math.inf, 0)
        self._more = True

    def __len__(self) -> int:
        return len(self._known)

    @property
    def backlog(self) -> int:
        """Messages in memory that are due by now and wait for the limit."""
        return len(self._ready)

    def holds(self, message_id: int) -> bool:
        """Whether the message is in memory or under way."""
        return message_id in self._known

    def under_way(self, message_id: int) -> Message | None:
        """The message as it counts now while a poll of it is being made, None when no longer of interest."""
        return self._known.get(message_id) if message_id in self._away else None

    def end_poll(self, message_id: int) -> Message | None:
        """The poll under way is over: the message as it counts now, to be added; None: no longer of interest."""
        if message_id not in self._dropped:
            return self.under_way(message_id)
        if (added := self._dropped.pop(message_id)) is not None:
            self.add(added)
        return None

    def add(self, message: Message) -> bool:
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
            if place > self._position:
                return False
            if len(self._known) >= CAPACITY:
                self._position = (message.next_poll_at, message.id - 1)
                self._more = True
                return False
        self._push(message)
        return self._heap[0][2] is message

    def amend(self, message: Message) -> None:
        """A message that has changed in something else than its due time: it stays where it is, under way as well."""
        if message.id in self._away:
            self._known[message.id] = message
        else:
            self.add(message)

    def drop(self, message_id: int) -> None:
        """Forget a message; a poll under way is no longer of interest."""
        self._known.pop(message_id, None)
        if message_id in self._away or message_id in self._dropped:
            self._away.discard(message_id)
            self._dropped[message_id] = None

    def pop(self, now: float) -> Message | None:
        """The due message that is worth most, now under way; None when nothing is due."""
        self._ripen(now)
        while (message := self._ready.take(now)) is not None:
            if self._current(message):
                self._away.add(message.id)
                return message
        return None

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
        """When the next message in memory is due, in the daemon's time; infinite when there is none."""
        if self._ready:
            return -math.inf
        while self._heap and not self._current(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    # -- filling from the store

    def wants(self, now: float) -> bool:
        """Whether the scan should move on."""
        if len(self._known) > CAPACITY - CHUNK:
            return False
        return self._more or self._position[0] < now + READ_ON

    async def fill(self, schedule: Schedule, now: float, unsaved: Callable[[int], Message | None]) -> bool:
        """Move the scan one chunk on. True when there was more than that."""
        until = now + AHEAD
        rows = await schedule.due(self._account, self._position, until, CHUNK)
        self._take_in(rows, unsaved)
        self._more = len(rows) == CHUNK
        if self._more:
            last = rows[-1]
            self._position = max(self._position, (last.next_poll_at, last.id))
        else:
            self._position = max(self._position, (until, 0))
        return self._more

    async def fill_latest(self, schedule: Schedule, now: float, unsaved: Callable[[int], Message | None]) -> None:
        """Of a backlog larger than memory, read the latest arrivals too, lest the fresh wait behind the old."""
        room = min(LATEST, 2 * CAPACITY - len(self._known))
        if room > 0:
            self._take_in(await schedule.due_latest(self._account, now, room), unsaved)

    async def fill_urgent(self, schedule: Schedule, now: float, unsaved: Callable[[int], Message | None]) -> None:
        """Of a backlog larger than memory, read what is urgent, wherever it stands."""
        for priority in URGENT:
            if self._ready.waiting(priority) < CHUNK // 2:
                self._take_in(await schedule.due_urgent(self._account, priority, now, CHUNK), unsaved)

    def behind(self, now: float) -> bool:
        """Whether the backlog is larger than what is in memory."""
        return self._more and self._position[0] < now

    def admit(self, message: Message) -> None:
        """A message that the scan has passed while it was not on disk yet."""
        if message.id not in self._known and (message.next_poll_at, message.id) <= self._position:
            self.add(message)

    def _take_in(self, rows: list[Message], unsaved: Callable[[int], Message | None]) -> None:
        for message in rows:
            if message.id not in self._known and message.id not in self._dropped and unsaved(message.id) is None:
                self._push(message)

    # -- the heap

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
            if self._current(message):
                self._ready.put(message)
