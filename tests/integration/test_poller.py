"""The poller on a real store: what commands and the clock do to it while it works."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from pollerd.backoff import Exponential, Settings
from pollerd.base.anchor import Machine
from pollerd.config import LimitsConfig
from pollerd.core.model import Answer, Message, Outcome, Recipient, Trouble
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import Balance
from pollerd.daemon.clock import SystemClock
from pollerd.daemon.clock_steps import ClockWatch
from pollerd.daemon.gateway_time import Witness
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.polling.committer import Committer
from pollerd.polling.poller import Poller
from pollerd.polling.ranking import PolicyRanker
from pollerd.polling.window import Window
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.output_kit import until
from tests.sqlite_kit import autocommit

DAY = 86400.0
SETTINGS = Settings(min_interval=600.0, max_interval=3600.0, give_up_after=3 * DAY)


class SlowGateway:
    """Answers when it is let; remembers who was asked for, in order."""

    source_addresses = ()

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.let = asyncio.Event()

    async def read(self, message_id: int, known: Message | None = None) -> Outcome:
        self.asked.append(message_id)
        await self.let.wait()
        return Answer((Recipient(4512345678, "ENROUTE"),))

    async def balance(self) -> Balance | Trouble:
        raise NotImplementedError

    def reload_credentials(self) -> bool:
        return False

    async def close(self) -> None:
        """Nothing is open."""


class Bench:
    """One account's poller with all it works on."""

    def __init__(self, store: SqliteStore, clock: SystemClock) -> None:
        self.store, self.clock = store, clock
        self.gateway = SlowGateway()
        policy, rng = Exponential(SETTINGS, 1), random.Random(1)
        self.committer = Committer(store, clock)
        self.window = Window("default", PolicyRanker(policy))
        self.poller = Poller(
            "default",
            gateway=self.gateway,
            limiter=AccountLimiter("default", LimitsConfig(1000.0), clock, rng),
            rules=OutcomeRules(policy, SETTINGS, rng),
            window=self.window,
            store=store,
            committer=self.committer,
            clock=clock,
            connections=2,
        )

    @asynccontextmanager
    async def working(self, *more: asyncio.Task[None]) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.committer.run()), asyncio.create_task(self.poller.run()), *more]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks), "none of them ended by an error"


class Settable(Machine):
    """This machine, with a wall clock that can be set."""

    def __init__(self) -> None:
        self.stepped = 0.0

    def wall(self) -> float:
        return time.time() + self.stepped


@pytest.fixture
def machine() -> Settable:
    return Settable()


@pytest.fixture
async def bench(tmp_path: Path, machine: Settable) -> AsyncIterator[Bench]:
    clock = SystemClock(None, machine)
    store = await SqliteStore.open(tmp_path / "pollerd.db", clock.wall)
    yield Bench(store, clock)
    await store.close()


def due(message_id: int, at: float) -> Message:
    return Message(message_id, "default", at - 60.0, at, base=at - 60.0)


async def test_taken_up_again_under_way_it_is_asked_for_once_more_after_the_answer(bench: Bench) -> None:
    now = bench.clock.now()
    async with bench.working():
        await until(lambda: not bench.window.wants(now), "the schedule is known")
        bench.poller.schedule(due(1, now))
        await until(lambda: bench.gateway.asked == [1], "the first poll")
        assert bench.poller.busy_with(1)
        bench.poller.drop(1)
        assert not bench.poller.busy_with(1), "who asks for a poll now is not to be put off with an answer thrown away"
        bench.poller.schedule(due(1, now - 1.0))
        bench.poller.schedule(due(2, now))
        await until(lambda: len(bench.gateway.asked) == 2, "the second connection")
        assert bench.gateway.asked == [1, 2]
        bench.gateway.let.set()
        await until(lambda: len(bench.gateway.asked) == 3, "the poll that was asked for")
        assert bench.gateway.asked == [1, 2, 1]
        await until(lambda: not bench.poller.asking, "its answer")


@contextmanager
def filled(path: Path, count: int, sent_at: float, next_poll_at: float) -> Iterator[sqlite3.Connection]:
    with autocommit(path) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO messages (id, sent_at, state, next_poll_at, base, frozen_at) VALUES (?, ?, 1, ?, ?, 0)",
            [(number, sent_at, next_poll_at, sent_at) for number in range(1, count + 1)],
        )
        connection.execute("COMMIT")
        yield connection


async def test_a_step_of_a_month_polls_nothing_early_and_gives_nothing_up(bench: Bench, machine: Settable) -> None:
    """And writes no row, however many there are."""
    now = bench.clock.now()
    with filled(bench.store.path, 20_000, now - 1000.0, now + 600.0) as database:
        moved: list[float] = []
        watch = ClockWatch(bench.clock, Witness(bench.clock), bench.committer, [], moved.append)
        async with bench.working(asyncio.create_task(watch.run())):
            for step in (30 * DAY, -60 * DAY):
                machine.stepped += step
                await until(lambda: bool(moved), "the step is noticed")
                assert moved.pop() == pytest.approx(step, abs=1.0)
                bench.window._position = (-1.0, 0)
                await until(lambda: not bench.window.wants(bench.clock.now()), "the schedule is known")
        assert bench.gateway.asked == []
        assert len(bench.window) == 0
        assert database.execute("SELECT count(*) FROM events").fetchone() == (0,)
        same = "SELECT count(*) FROM messages WHERE base = ? AND next_poll_at = ?"
        assert database.execute(same, (now - 1000.0, now + 600.0)).fetchone() == (20_000,)
