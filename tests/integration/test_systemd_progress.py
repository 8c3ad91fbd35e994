"""What counts as progress, on a real poller, committer and store; the gateway and the time are the test's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pollerd.backoff import Exponential, Settings
from pollerd.config import LimitsConfig
from pollerd.core.model import HoldReason, Message, NotFound, Outcome, Trouble
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import Balance
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.polling.committer import Committer
from pollerd.polling.poller import Poller
from pollerd.polling.ranking import PolicyRanker
from pollerd.polling.window import Window
from pollerd.status.line import StatusLine
from pollerd.status.stuck import GRACE, WRITING, StuckCheck
from pollerd.store.sqlite.store import SqliteStore


class HandClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - 1_799_000_000.0

    def wall(self) -> float:
        return self.at

    def to_wall(self, instant: float) -> float:
        return instant


class SilentGateway:
    """Takes questions, answers none."""

    source_addresses = ()

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def read(self, message_id: int, known: Message | None = None) -> Outcome:
        self.asked.set()
        await asyncio.Event().wait()
        return NotFound()

    async def balance(self) -> Balance | Trouble:
        raise NotImplementedError

    def reload_credentials(self) -> bool:
        return False

    async def close(self) -> None: ...


class Parts:
    """One account on a real store."""

    def __init__(self, store: SqliteStore, clock: HandClock) -> None:
        policy = Exponential(Settings())
        self.clock = clock
        self.gateway = SilentGateway()
        self.committer = Committer(store, clock)
        self.limiter = AccountLimiter("default", LimitsConfig(10.0, 2, 15.0), clock, random.Random(1))
        self.poller = Poller(
            "default",
            gateway=self.gateway,
            limiter=self.limiter,
            rules=OutcomeRules(policy, Settings(), random.Random(1)),
            window=Window("default", PolicyRanker(policy)),
            store=store,
            committer=self.committer,
            clock=clock,
            connections=2,
        )
        self.progress = StuckCheck({"default": self.poller}, self.committer, clock, longest_request=30.0)

    def due_in(self, seconds: float) -> None:
        now = self.clock.now()
        self.poller.schedule(Message(1, "default", now, now + seconds, base=now, forced=seconds <= 0))

    def looks(self, seconds: float) -> str | None:
        """Two checks, `seconds` apart."""
        self.progress.stuck()
        self.clock.at += seconds
        return self.progress.stuck()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    clock = HandClock()
    store = await SqliteStore.open(tmp_path / "p.db", clock.wall)
    yield Parts(store, clock)
    await store.close()


async def test_nothing_due_is_well(parts: Parts) -> None:
    parts.due_in(3600.0)
    assert parts.looks(GRACE + 1) is None


async def test_due_and_nobody_polls_is_stuck(parts: Parts) -> None:
    parts.due_in(0.0)
    assert "default has polled nothing" in str(parts.looks(GRACE + 1))


async def test_due_for_a_moment_is_no_sign_of_anything(parts: Parts) -> None:
    parts.due_in(0.0)
    assert parts.looks(GRACE - 1) is None


async def test_polls_that_were_made_count(parts: Parts) -> None:
    parts.due_in(0.0)
    assert parts.looks(GRACE - 1) is None
    parts.poller.polls += 1
    assert parts.looks(GRACE - 1) is None
    parts.clock.at += 2.0
    assert parts.progress.stuck() is not None


async def test_a_hold_is_deliberate_until_its_probe_is_due(parts: Parts) -> None:
    parts.limiter.take()
    parts.limiter.report(Trouble(HoldReason.UNAUTHORIZED, "401", "no", None))
    parts.due_in(0.0)
    assert parts.limiter.delay() > GRACE + 1
    assert parts.looks(GRACE + 1) is None
    parts.clock.at += parts.limiter.delay() + 1.0
    assert parts.looks(GRACE + 1) is not None


async def test_a_database_that_takes_nothing_is_waited_for(parts: Parts) -> None:
    parts.due_in(0.0)
    parts.committer.trouble = "disk full"
    assert parts.looks(GRACE + 1) is None


async def test_an_answer_under_way_is_progress_until_it_is_overdue(parts: Parts) -> None:
    parts.due_in(0.0)
    polling = asyncio.create_task(parts.poller.run())
    await asyncio.wait_for(parts.gateway.asked.wait(), 20)
    assert parts.looks(29.0) is None
    parts.clock.at += 2.0
    assert parts.looks(GRACE + 1) is not None
    polling.cancel()
    await asyncio.wait([polling])


async def test_a_committer_that_stands_still_is_stuck(parts: Parts) -> None:
    parts.committer.record_note("model", b"x")
    assert parts.looks(WRITING - 1) is None
    parts.clock.at += 2.0
    assert "nothing was written" in str(parts.progress.stuck())
    committing = asyncio.create_task(parts.committer.run())
    await parts.committer.flush()
    assert parts.progress.stuck() is None
    committing.cancel()
    await asyncio.wait([committing])


async def test_the_status_line_reports_it_all(parts: Parts) -> None:
    line = StatusLine({"default": parts.poller}, parts.clock)
    parts.poller.polls += 49
    parts.clock.at += 5.0
    assert line.line(1234, "", ()) == "1,234 pending, 0 due, 9.8 polls/s"
    parts.limiter.take()
    parts.limiter.report(Trouble(HoldReason.UNAUTHORIZED, "401", "no", None))
    told = line.line(1, "disk full", ())
    assert told.startswith(
        "the database cannot be written, 1 pending, 0 due, 0.0 polls/s, 1 account held: unauthorized until "
    )
