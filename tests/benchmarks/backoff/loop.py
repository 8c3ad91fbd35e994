"""How long does the learner hold up the event loop? The policy as the daemon drives it: decisions and learning between
the other callbacks of a loop, and the housekeeping job that makes plans, here with all of a deployment's networks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import perf_counter, thread_time
from typing import Final, TypeVar

from pollerd.backoff import Adaptive, Settings
from pollerd.daemon.housekeeping import LEARN_STEPS

T = TypeVar("T")
KEYS: Final = 50
RATE: Final = 400
"""Polls a second."""

BATCH: Final = 20
"""Answers that are there at once, as when many connections are used."""

GROUPS: Final = (1, 1, 1, 1, 1, 1, 5, 20, 100)


@dataclass(slots=True)
class Held:
    """Milliseconds: the longest single call by name, and the longest pass of the loop. Processor time of this thread:
    what a neighbour on the same core takes is not laid to the policy.
    """

    calls: dict[str, float] = field(default_factory=dict)
    loop: float = 0.0
    wall: float = 0.0

    def call(self, name: str, work: Callable[[], T]) -> T:
        started = thread_time()
        result = work()
        self.calls[name] = max(self.calls.get(name, 0.0), (thread_time() - started) * 1e3)
        return result


async def _watch(held: Held) -> None:
    """One poll in every pass of the loop."""
    before, wall = thread_time(), perf_counter()
    while True:
        await asyncio.sleep(0)
        now, at = thread_time(), perf_counter()
        held.loop = max(held.loop, (now - before) * 1e3)
        held.wall = max(held.wall, (at - wall) * 1e3)
        before, wall = now, at


async def _learn(policy: Adaptive, held: Held, clock: Callable[[], float]) -> None:
    """The housekeeping job "learning"."""
    while True:
        for _ in range(LEARN_STEPS):
            if not held.call("maintain", lambda: policy.maintain(clock())):
                break
            await asyncio.sleep(0)
        await asyncio.sleep(1.0)


def _decide(policy: Adaptive, held: Held, now: float, rng: Random) -> None:
    """One answer of a message of a random age, network and size, and a new message now and then."""
    key, age = f"26{rng.randrange(KEYS)}/01", rng.lognormvariate(2.0, 1.5)
    k = rng.choice(GROUPS)
    if rng.random() < 0.25:
        held.call("first", lambda: policy.first(now, k=k))
    done = rng.random() < 0.3
    event = age * 0.8 if done else None
    submit = now - age
    held.call("observe", lambda: policy.observe(now, key, age * 0.6, age, done, event, "DELIVERED", submit, submit))
    if not done:
        held.call("next", lambda: policy.next(now, key, submit, submit, k=k))


async def drive(policy: Adaptive, seconds: float, *, seed: int = 1, jump: float = 0.0) -> Held:
    """Drive `policy` for so long. The clock of the policy runs `jump` ahead: after a long stop every plan is due."""
    held = Held()
    rng = Random(seed)
    loop = asyncio.get_running_loop()
    start = loop.time()

    def clock() -> float:
        return 1_764_000_000.0 + jump + loop.time()

    side = [asyncio.create_task(_learn(policy, held, clock)), asyncio.create_task(_watch(held))]
    batches = 0
    while loop.time() - start < seconds:
        for _ in range(BATCH):
            # Each answer is a callback of its own, all in the same pass.
            loop.call_soon(_decide, policy, held, clock(), rng)
        batches += 1
        held.call("index", lambda: policy.index(f"26{rng.randrange(KEYS)}/01", 3.0, 9.0))
        await asyncio.sleep(max(start + batches * BATCH / RATE - loop.time(), 0.0))
    for task in side:
        task.cancel()
    await asyncio.gather(*side, return_exceptions=True)
    held.call("snapshot", policy.snapshot)
    return held


def fresh() -> Adaptive:
    """The policy of a new installation."""
    return Adaptive(5, 1, settings=Settings())


def restarted(policy: Adaptive) -> tuple[Adaptive, float]:
    """The same after a restart, and the milliseconds of taking up its snapshot."""
    again = fresh()
    data = policy.snapshot()
    started = thread_time()
    again.restore(data)
    return again, (thread_time() - started) * 1e3


def lines(seconds: float = 20.0) -> list[str]:
    """The table of `python -m tests.benchmarks.backoff loop`."""

    async def all_of() -> list[tuple[str, Held]]:
        policy = fresh()
        first = await drive(policy, seconds)
        later = await drive(policy, seconds, jump=3600.0)
        again, took = restarted(policy)
        after = await drive(again, seconds, jump=7200.0)
        after.calls["restore"] = took
        return [("a fresh start", first), ("an hour later", later), ("after a restart", after)]

    out = [f"{KEYS} networks, {RATE} polls a second in bunches of {BATCH}; milliseconds, the longest each"]
    for name, held in asyncio.run(all_of()):
        calls = ", ".join(f"{call} {took:.1f}" for call, took in sorted(held.calls.items()))
        out.append(
            f"{name:16} loop held up {held.loop:5.1f} (by the wall clock {held.wall:5.1f}); single calls: {calls}"
        )
    return out
