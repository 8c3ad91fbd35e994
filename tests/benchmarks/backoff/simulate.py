"""The simulated world: a clock, messages that change, and a policy that is asked and told."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random
from time import thread_time

from pollerd.backoff.plan import weight
from tests.benchmarks.backoff.policies import Driven
from tests.benchmarks.backoff.populations import Population


@dataclass(slots=True)
class Message:
    """A message with the ages at which each recipient changes, and what became of them."""

    submit: float
    key: str
    changes: list[tuple[float, bool]]
    polls: int = 0
    last: float = 0.0
    base: float = 0.0
    version: int = 0
    told: list[tuple[float, float, bool]] = field(default_factory=list)
    """Per recipient: age of the change, age when told, EXPIRED or not."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Between `start` and `end` nothing changes for `keys` (None: all); it does right after."""

    start: float
    end: float
    keys: frozenset[str] | None = None

    def concerns(self, m: Message, change: float) -> bool:
        return (self.keys is None or m.key in self.keys) and self.start <= m.submit + change < self.end


def traffic(
    population: Population, n: int, rate: float, seed: int, k: int = 1, *, freeze: Freeze | None = None
) -> list[Message]:
    """`n` messages at `rate` a second (Poisson; rate 0: all at once), each with `k` recipients of one operator."""
    rng = Random(seed)
    after = Random(seed)  # apart, so that a freeze changes nothing else
    now = 1_000_000.0
    out = []
    for _ in range(n):
        if rate:
            now += rng.expovariate(rate)
        operator = population.pick(rng)
        m = Message(now, operator.key, [operator.draw(rng) for _ in range(k)], base=now)
        if freeze is not None:
            m.changes = [
                (freeze.end - m.submit + after.random(), False) if freeze.concerns(m, a) and not x else (a, x)
                for a, x in m.changes
            ]
        out.append(m)
    return out


def addition() -> float:
    """Microseconds that a loop with one addition takes: how fast, and how busy, is this machine?"""
    total, started = 0.0, thread_time()
    for i in range(500_000):
        total += i * 0.5
    return (thread_time() - started) * 2


IDLE = 0.04
"""What `addition` gives on the machine of the figures when nothing else runs."""


def _reading() -> float:
    """What it takes to read the processor's clock, so that it is not laid to the policy."""
    times = [thread_time() for _ in range(2001)]
    return sorted(b - a for a, b in pairwise(times))[1000]


@dataclass(slots=True)
class Clock:
    """What the policy's decisions took."""

    seconds: float = 0.0
    decisions: int = 0
    worst: float = 0.0

    overhead: float = field(default_factory=_reading)

    def add(self, started: float) -> None:
        took = thread_time() - started - self.overhead
        self.seconds += took
        self.decisions += 1
        self.worst = max(self.worst, took)


def poll(policy: Driven, m: Message, now: float, timestamps: bool) -> int:
    """Poll `m`: tell the policy, note what changed; how many recipients are left pending."""
    m.polls += 1
    age, a0, a1 = now - m.submit, max(m.last - m.base, 0.0), now - m.base
    left = []
    for change, expired in m.changes:
        if change <= age:
            event = change - (m.base - m.submit) if timestamps else None
            policy.observe(now, m.key, a0, a1, True, event, "EXPIRED" if expired else "DELIVERED", m.submit, m.base)
            m.told.append((change, age, expired))
        else:
            policy.observe(now, m.key, a0, a1, False, None, "ENROUTE", m.submit, m.base)
            left.append((change, expired))
    m.changes = left
    m.last = now
    return len(left)


def run(policy: Driven, messages: Sequence[Message], *, timestamps: bool = True) -> Clock:
    """Follow all messages to their end, without a limit of the rate."""
    heap: list[tuple[float, int, int, Message]] = []
    order = count()
    clock = Clock()
    pending: dict[int, Message] = {}
    arrivals = iter(messages)
    upcoming = next(arrivals, None)
    while heap or upcoming is not None:
        if upcoming is not None and (not heap or upcoming.submit <= heap[0][0]):
            m, now = upcoming, upcoming.submit
            m.last = now
            started = thread_time()
            delay = policy.first(now, k=len(m.changes)).delay
            clock.add(started)
            pending[id(m)] = m
            heapq.heappush(heap, (now + delay, next(order), m.version, m))
            upcoming = next(arrivals, None)
            continue
        now, _, version, m = heapq.heappop(heap)
        if version != m.version:
            continue
        started = thread_time()
        left = poll(policy, m, now, timestamps)
        clock.seconds += thread_time() - started - clock.overhead
        if left:
            m.base = policy.base_for(m.key, m.submit, m.base)
            started = thread_time()
            delay = policy.next(now, m.key, m.submit, m.base, k=left).delay
            clock.add(started)
            heapq.heappush(heap, (now + delay, next(order), m.version, m))
        else:
            del pending[id(m)]
        if wake := policy.take_wake():
            for other in _concerned(pending, wake):
                other.base = policy.base_for(other.key, other.submit, other.base)
                other.version += 1
                delay = policy.next(now, other.key, other.submit, other.base, k=len(other.changes)).delay
                heapq.heappush(heap, (now + delay, next(order), other.version, other))
    return clock


def _concerned(pending: dict[int, Message], wake: Sequence[Hashable]) -> list[Message]:
    scopes = set(wake)
    return [m for m in pending.values() if m.polls and ("*" in scopes or m.key in scopes)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Means over the messages measured."""

    polls: float
    delay: float
    weighted: float
    expiry_delay: float
    n: int


def outcome(messages: Sequence[Message]) -> Outcome:
    """What the told recipients of `messages` waited, and what it cost a message."""
    told = [t for m in messages for t in m.told]
    n = max(len(told), 1)
    expired = [seen - change for change, seen, gone in told if gone]
    return Outcome(
        sum(m.polls for m in messages) / max(len(messages), 1),
        sum(seen - change for change, seen, _ in told) / n,
        sum((seen - change) * weight(change) for change, seen, _ in told) / n,
        sum(expired) / len(expired) if expired else 0.0,
        n,
    )
