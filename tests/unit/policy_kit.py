"""Policies that were taught, and what they are asked."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from functools import cache
from random import Random

from pollerd.backoff import Adaptive, KeyInfo, Policy

KEY = "238/01"
NOW = 1_764_000_000.0


def follow(
    policy: Policy, n: int, *, key: Hashable = KEY, start: float = NOW, timed: bool = True, median: float = 8.0
) -> float:
    """Teach `policy` by `n` messages a second apart, each followed to its end before the next; the last time."""
    rng = Random(9)
    now = start
    for i in range(n):
        submit = start + i
        change = median * rng.lognormvariate(0.0, 0.7)
        now, last = submit + policy.first(submit).delay, submit
        while now - submit < change:
            policy.observe(now, key, last - submit, now - submit, False, None, "ENROUTE", submit, submit)
            last = now
            now += policy.next(now, key, submit, submit).delay
        age = change if timed else None
        policy.observe(now, key, last - submit, now - submit, True, age, "DELIVERED", submit, submit)
    return now


def taught(budget: float = 5, n: int = 1500) -> Adaptive:
    """A policy that has followed `n` messages; a copy, so that a test may do with it as it likes."""
    return copy.deepcopy(_taught(budget, n))


@cache
def _taught(budget: float, n: int) -> Adaptive:
    policy = Adaptive(budget, 1)
    follow(policy, n)
    return policy


def known(policy: Policy) -> list[KeyInfo]:
    """The keys a policy has learned about."""
    return policy.keys()
