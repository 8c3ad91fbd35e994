"""Mailings: messages of many recipients, followed as the daemon does.

Recipients of one mailing may be of several networks, share a fate (all of them are slow today, or their network stands
still) and are sent one after another.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from math import exp, frexp
from random import Random
from time import thread_time

from pollerd.backoff import Adaptive, Group
from pollerd.backoff import Part as Pending
from pollerd.backoff.plan import weight
from pollerd.core.learning import COUNTED_MOST, OBSERVED_MOST, YOUNG
from tests.benchmarks.backoff.populations import Operator, Part, Population
from tests.benchmarks.backoff.simulate import Clock


@dataclass(frozen=True, slots=True)
class Fate:
    """With this chance delays of a mailing are `stretch` times as long, and begin after `stalled` seconds."""

    chance: float
    stretch: float = 1.0
    stalled: float = 0.0

    def ends(self, age: float) -> float:
        """When it ends what would have ended at `age`."""
        return self.stalled + age * self.stretch

    def survival(self, operator: Operator, age: float) -> float:
        """The chance that a recipient is pending `age` seconds after its sending."""
        if age >= operator.expiry + operator.blur:
            return 0.0
        return operator.survival(max(age - self.stalled, 0.0) / self.stretch)


PLAIN = (Fate(1.0),)
SHARED = (
    *(Fate(0.95 / 7, exp(0.5 * z)) for z in (-1.5, -0.9, -0.4, 0.0, 0.4, 0.9, 1.5)),
    *(Fate(0.05 / 10, stalled=120.0 * i) for i in range(1, 11)),
)
"""Mailings are up to twice as slow or as fast as others; one in twenty is held up, for two to twenty minutes."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """Messages of `k` recipients: of one network each or `mixed`, sent within `over` seconds, of one of the `fates`."""

    name: str
    population: Population
    k: int
    mixed: bool = False
    over: float = 0.0
    fates: tuple[Fate, ...] = PLAIN


def three_never(never: float = 0.03) -> Population:
    """Three networks of different pace; 3 % never arrive, and phones that are off make a tail of hours."""
    rest = 1.0 - never
    return Population(
        "three networks, 3 % never, a tail of hours",
        (
            Operator("238/01", 5.0, (Part(rest - 0.09, 4.0, 0.8), Part(0.09, 2400.0, 1.8))),
            Operator("262/02", 3.0, (Part(rest - 0.11, 9.0, 0.9), Part(0.11, 3600.0, 1.6))),
            Operator("310/260", 2.0, (Part(rest - 0.15, 25.0, 1.1), Part(0.15, 5400.0, 1.5))),
        ),
    )


class Sent:
    """One mailing under way. Times are seconds since its submission, its recipients in the order of their ends."""

    def __init__(self, submit: float, recipients: list[tuple[float, float, str, bool]]) -> None:
        """`recipients`: when each ends, when it was sent, its network, and whether it expires."""
        # They were drawn one after another, so the first of them are as good a sample as any.
        self.sample = recipients[:OBSERVED_MOST]
        self.shown = len(self.sample)
        recipients = sorted(recipients)
        self.submit = submit
        self.n = len(recipients)
        self.ends = [end for end, _, _, _ in recipients]
        self.starts = [start for _, start, _, _ in recipients]
        self.keys = [key for _, _, key, _ in recipients]
        weights = [weight(end - start) for end, start, _, _ in recipients]
        self.weights = [0.0, *accumulate(weights)]
        self.moments = [0.0, *accumulate(w * e for w, e in zip(weights, self.ends, strict=True))]
        self.sums = [0.0, *accumulate(self.ends)]
        self.staggered = len(set(self.starts)) > 1
        self.left = Counter(self.keys)
        self.gone = 0
        self.last = 0.0
        self.polls = 0
        self.delay = self.weighted = 0.0

    def group(self, age: float) -> tuple[Group, float]:
        """What the daemon tells the policy of those pending, and the origin of their age: the last one sent."""
        if not self.staggered:
            parts = [Pending(key, k, self.submit) for key, k in self.left.most_common() if k]
            return Group(self.n, tuple(parts)), self.submit
        places = range(self.gone, self.n)
        sample = places[:: -(-len(places) // COUNTED_MOST)]
        sent = [self.starts[i] for i in sample if self.starts[i] <= age]
        origin = max(sent, default=0.0)
        found: dict[tuple[str, int], tuple[int, float]] = {}
        waits = max(self.starts[self.gone :]) > age
        for i in sample:
            start = self.starts[i]
            if start > age:
                continue
            kind = self.keys[i], frexp(max(age - start, YOUNG))[1]
            k, latest = found.get(kind, (0, start))
            found[kind] = k + 1, max(latest, start)
        times = len(places) / len(sample)
        ordered = sorted(found.items(), key=lambda each: -each[1][0])
        parts = [Pending(key, round(k * times), self.submit + start) for (key, _), (k, start) in ordered]
        if waits:
            parts.append(Pending(self.keys[self.gone], 1, self.submit + age))
        return Group(self.n, tuple(parts)), self.submit + origin


def mailings(kind: Mailing, n: int, rate: float, seed: int) -> list[Sent]:
    """`n` mailings of a kind at `rate` a second."""
    rng = Random(seed)
    now, out = 1_000_000.0, []
    for _ in range(n):
        now += rng.expovariate(rate)
        fate = rng.choices(kind.fates, [f.chance for f in kind.fates])[0]
        one = kind.population.pick(rng)
        recipients = []
        for _ in range(kind.k):
            operator = kind.population.pick(rng) if kind.mixed else one
            age, expired = operator.draw(rng)
            start = rng.random() * kind.over
            ended = age if expired else min(fate.ends(age), operator.expiry)
            recipients.append((start + ended, start, operator.key, expired))
        out.append(Sent(now, recipients))
    return out


@dataclass(frozen=True, slots=True)
class Yielded:
    """Polls a mailing, and the mean and weighted delay of a recipient."""

    polls: float
    delay: float
    weighted: float


def yielded(sent: Sequence[Sent]) -> Yielded:
    """What those mailings cost and yielded."""
    found = sum(m.n for m in sent)
    polls = sum(m.polls for m in sent) / len(sent)
    return Yielded(polls, sum(m.delay for m in sent) / found, sum(m.weighted for m in sent) / found)


def drive(policy: Adaptive, sent: Sequence[Sent], *, bare: bool = False) -> Clock:
    """Follow all mailings to their end; the time of the decisions.

    `bare`: the policy is told only the number pending and one network, as `Adaptive` alone is often tried.
    """
    heap: list[tuple[float, int, int]] = []
    order, clock = count(), Clock()
    for number, m in enumerate(sent):
        heapq.heappush(heap, (m.submit, next(order), number))
    while heap:
        now, _, number = heapq.heappop(heap)
        m = sent[number]
        age = now - m.submit
        if not m.polls and age == 0.0:
            # How many recipients a message has shows the first answer.
            started = thread_time()
            wait = policy.first(now).delay
            clock.add(started)
            heapq.heappush(heap, (now + max(wait, 1e-3), next(order), number))
            continue
        m.polls += 1
        gone = bisect_right(m.ends, age)
        m.weighted += age * (m.weights[gone] - m.weights[m.gone]) - (m.moments[gone] - m.moments[m.gone])
        m.delay += age * (gone - m.gone) - (m.sums[gone] - m.sums[m.gone])
        m.left.subtract(m.keys[m.gone : gone])
        m.gone = gone
        _observe(policy, m, now, bare=bare)
        m.last = age
        if gone < m.n:
            group, origin = m.group(age)
            key, k = group.parts[0].key, m.n - gone
            policy.base_for(key, origin, origin)
            started = thread_time()
            if bare:
                wait = policy.next(now, key, origin, origin, k=k).delay
            else:
                wait = policy.next(now, key, origin, origin, k=k, group=group).delay
            clock.add(started)
            heapq.heappush(heap, (now + wait, next(order), number))
    return clock


def _observe(policy: Adaptive, m: Sent, now: float, *, bare: bool) -> None:
    if not bare:
        policy.together(m.shown)
    age, rest = now - m.submit, []
    for each in m.sample:
        end, start, key, expired = each
        at = m.submit + start
        a0, a1 = max(m.last - start, 0.0), max(age - start, 0.0)
        if end <= age:
            policy.observe(now, key, a0, a1, True, end - start, "EXPIRED" if expired else "DELIVERED", at, at)
            continue
        rest.append(each)
        if start <= age:
            policy.observe(now, key, a0, a1, False, None, "ENROUTE", at, at)
    m.sample = rest
