"""The same world behind a limit of the rate: which of the due messages goes first?"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Sequence
from itertools import count

from tests.benchmarks.backoff.policies import Driven
from tests.benchmarks.backoff.simulate import Message, poll

Bucket = tuple[Hashable, int]


def _bucket(m: Message) -> Bucket:
    if not m.polls:
        return None, -int(m.submit // 60) - 1
    return m.key, int(m.last - m.submit).bit_length()


class _Ranked:
    """FIFO buckets by operator and octave of the age at the last poll; the head with the highest index goes first."""

    def __init__(self, policy: Driven) -> None:
        self.policy = policy
        self.buckets: dict[Bucket, deque[Message]] = {}

    def put(self, due: float, m: Message) -> None:
        self.buckets.setdefault(_bucket(m), deque()).append(m)

    def take(self, now: float) -> Message:
        best, chosen = -1e300, None
        for name, queue in self.buckets.items():
            m = queue[0]
            value = self.policy.index(name[0], m.last - m.base, now - m.base)
            if value > best:
                best, chosen = value, name
        assert chosen is not None
        queue = self.buckets[chosen]
        m = queue.popleft()
        if not queue:
            del self.buckets[chosen]
        return m

    def __bool__(self) -> bool:
        return bool(self.buckets)


class _DueFirst:
    """The earliest due goes first."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Message]] = []
        self.order = count()

    def put(self, due: float, m: Message) -> None:
        heapq.heappush(self.heap, (due, next(self.order), m))

    def take(self, now: float) -> Message:
        return heapq.heappop(self.heap)[2]

    def __bool__(self) -> bool:
        return bool(self.heap)


def run_limited(policy: Driven, messages: Sequence[Message], rate: float, *, ranked: bool, until: float = 1e18) -> None:
    """Follow `messages` with at most `rate` polls a second; past `until` nothing is polled any more."""
    future: list[tuple[float, int, Message]] = []
    order = count()
    ready: _Ranked | _DueFirst = _Ranked(policy) if ranked else _DueFirst()
    for m in messages:
        heapq.heappush(future, (m.submit, next(order), m))
    arrived: set[int] = set()
    now = messages[0].submit
    while future or ready:
        if not ready:
            now = max(now, future[0][0])
        while future and future[0][0] <= now:
            at, _, m = heapq.heappop(future)
            if id(m) not in arrived:
                arrived.add(id(m))
                m.last = m.submit
                heapq.heappush(future, (at + policy.first(at, k=len(m.changes)).delay, next(order), m))
                continue
            ready.put(at, m)
        if now > until:
            return
        if not ready:
            continue
        m = ready.take(now)
        if left := poll(policy, m, now, timestamps=True):
            delay = policy.next(now, m.key, m.submit, m.base, k=left).delay
            heapq.heappush(future, (now + delay, next(order), m))
        now += 1.0 / rate
