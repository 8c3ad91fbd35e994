"""What a misleading history costs afterwards, and what it costs that a group is not sent in one second."""

from __future__ import annotations

import heapq
from itertools import count
from random import Random
from statistics import mean, median

from pollerd.backoff import Adaptive, Settings
from pollerd.backoff.plan import weight
from tests.benchmarks.backoff.populations import Operator, single
from tests.unit.hostile_kit import HISTORIES, followed
from tests.unit.policy_kit import NOW

SEEDS = (1, 2, 3)
PARTS = (slice(0, 20), slice(20, 60), slice(60, 120))
OVER = 120.0
"""Seconds over which the recipients of a group are sent one after another."""
WAYS = ((0.0, True, "at once"), (OVER, True, "over 120 s, own ages"), (OVER, False, "one age for all"))


def hostile_lines() -> list[str]:
    """First poll of a fresh message after each history, and what 120 ordinary messages after it cost; medians."""
    out = [f"{'history':<18} {'first poll':>10}   mean delay (s) and polls of messages 1-20, 21-60, 61-120"]
    for history in (None, *HISTORIES):
        firsts, parts = [], []
        for seed in SEEDS:
            policy = Adaptive(5, seed, settings=Settings())
            if history is not None:
                history(policy, Random(seed))
            firsts.append(policy.first(NOW + 50.0).delay)
            found = followed(policy, 120, NOW + 60.0)
            parts.append([(mean(d for d, _ in found[part]), mean(p for _, p in found[part])) for part in PARTS])
        shown = "  ".join(
            f"{median(p[i][0] for p in parts):6.2f} {median(p[i][1] for p in parts):5.2f}" for i in range(len(PARTS))
        )
        out.append(f"{history.__name__ if history else 'none':<18} {median(firsts):8.1f} s   {shown}")
    return out


def staggered_lines() -> list[str]:
    """Groups whose recipients are sent over two minutes: weighted delay and polls, beside groups sent at once."""
    out = [f"{'recipients':<12} {'sent':<22} {'weighted delay (s)':>18} {'polls':>7}"]
    for k in (5, 20, 100):
        for over, own, name in WAYS:
            found = [_groups(single().operators[0], k, over, seed, own=own) for seed in SEEDS]
            out.append(f"{k:<12} {name:<22} {median(f[0] for f in found):18.2f} {median(f[1] for f in found):7.2f}")
    return out


def _groups(operator: Operator, k: int, over: float, seed: int, *, own: bool) -> tuple[float, float]:
    """Weighted delay a recipient, and polls a message, of the second half of 600 groups a minute apart.

    `own`: a recipient's age counts from its own sending, and the group's from the last one sent; else all count
    from the first.
    """
    rng, policy, order = Random(seed), Adaptive(8, seed, settings=Settings()), count()
    heap: list[tuple[float, int, int, float, float, list[tuple[float, float]]]] = []
    late: list[float] = []
    polls = [0] * 600
    for number in range(600):
        submit = NOW + 60.0 * number
        sent = [(submit + over * i / k, operator.draw(rng)[0]) for i in range(k)]
        heapq.heappush(heap, (submit, next(order), number, submit, -1.0, sent))
    while heap:
        now, _, number, submit, last, pending = heapq.heappop(heap)
        if last < 0.0:
            delay = policy.first(now, k=k).delay
            heapq.heappush(heap, (now + delay, next(order), number, submit, now, pending))
            continue
        polls[number] += 1
        left = []
        for sent_at, age in pending:
            start = sent_at if own else submit
            a0, a1 = max(last - start, 0.0), max(now - start, 0.0)
            if sent_at + age <= now:
                event = sent_at + age - start
                policy.observe(now, operator.key, a0, a1, True, event, "DELIVERED", start, start)
                if number >= 300:
                    late.append((now - sent_at - age) * weight(age))
            else:
                left.append((sent_at, age))
                if sent_at <= now and len(left) <= 32:
                    policy.observe(now, operator.key, a0, a1, False, None, "ENROUTE", start, start)
        if left and now - submit < 3600.0:
            begun = max([at for at, _ in left if at <= now], default=submit) if own else submit
            delay = policy.next(now, operator.key, begun, begun, k=len(left)).delay
            heapq.heappush(heap, (now + delay, next(order), number, submit, now, left))
    return mean(late), mean(polls[300:])
