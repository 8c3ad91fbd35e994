"""An alarm beside a mailing: it is polled ahead of the backlog, and a flood of alarms stops nobody."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pollerd.core.model import Message, State
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, asked
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction
from tests.store_database import StoreDatabase

RATE = 100
CONNECTIONS = 5
ON_THE_WAY = [Step(0.0, "ENROUTE")]
BACKOFF = 'policy = "exponential"\nfirst_poll_after = "1s"\nmax_interval = "1h"'
LIMITS = f"requests_per_second = {RATE}\nmax_connections = {CONNECTIONS}"


def backlog(deployment: Deployment, ids: list[int]) -> None:
    """Messages that were polled before, all due by now."""
    now = time.time()
    deployment.store.put(
        [
            Message(
                number, "default", now - 60, now - 1 + n / len(ids), taken_at=now - 60, state=State.PENDING,
                base=now - 60, polls=1, first_poll_at=now - 59, last_poll_at=now - 59,
            )
            for n, number in enumerate(ids)
        ]
    )  # fmt: skip
    deployment.store.execute("INSERT INTO counters (name, value) VALUES ('pending', ?)", len(ids))


def hand_over(deployment: Deployment, number: int, priority: str | None) -> None:
    deployment.store.execute("INSERT INTO messages (id, priority) VALUES (?, ?)", number, priority)


async def due_at(deployment: Deployment, number: int) -> float:
    """When its first poll is planned."""
    sql = "SELECT next_poll_at FROM messages WHERE id = ? AND state = 1"
    await until(lambda: deployment.query(sql, number), "it is planned")
    return float(deployment.query(sql, number)[0][0])


async def others(deployment: Deployment, simulator: Simulator, number: int) -> tuple[int, float]:
    """Polls of other messages from its due time to its first poll, and that in seconds."""
    due = await due_at(deployment, number)
    await until(lambda: simulator.truth.polls(number), "it is polled")
    at = simulator.record(number).poll_log[0][0]
    return sum(due < when < at for when, _ in asked(simulator)), at - due


@pytest.mark.parametrize("count", [5000, 60_000], ids=["in memory", "larger than memory"])
async def test_an_alarm_beside_a_mailing(count: int, tmp_path: Path, row: Row) -> None:
    """Without a priority it would be the last of all: 5,000 polls later."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, limits=LIMITS, backoff=BACKOFF) as deployment,
    ):
        first, *rest = [simulator.truth.add(steps=ON_THE_WAY) for _ in range(count)]
        assert (await deployment.command("track", str(first)))[0] == 0
        backlog(deployment, rest)
        await deployment.start()
        await until(lambda: simulator.statistics().requests >= RATE, "the backlog is worked off")
        plain = simulator.truth.add(steps=ON_THE_WAY)
        hand_over(deployment, plain, None)
        waited = await due_at(deployment, plain)
        seen = {}
        for priority in ("URGENT", "very urgent"):
            number = simulator.truth.add(steps=ON_THE_WAY)
            hand_over(deployment, number, priority)
            seen[priority] = await others(deployment, simulator, number)
        before = sum(when > waited for when, _ in asked(simulator))
        row(f"beside {count}: " + ", ".join(f"{p}: {n} others, {s:.2f} s" for p, (n, s) in seen.items()))
        if count == 5000:
            assert all(polls <= 2 * CONNECTIONS for polls, _ in seen.values())
        else:
            # Read from the database several times a second.
            assert all(polls <= 3 * RATE for polls, _ in seen.values())
        assert simulator.truth.polls(plain) == 0, f"{before} others, and it still waits: that is what priority is for"
        assert await deployment.stop() == 0


async def test_a_flood_of_alarms_leaves_a_share_to_the_others(tmp_path: Path, row: Row) -> None:
    polls = 400
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, limits=LIMITS, backoff=BACKOFF) as deployment,
    ):
        first, *rest = [simulator.truth.add(steps=ON_THE_WAY) for _ in range(4000)]
        assert (await deployment.command("track", str(first)))[0] == 0
        backlog(deployment, rest)
        urgent = rest[::2]
        with transaction(deployment.database) as connection:
            connection.executemany("UPDATE messages SET priority = 'VERY_URGENT' WHERE id = ?", [(n,) for n in urgent])
        await deployment.start()
        await until(lambda: simulator.statistics().requests >= polls, "polling is at its rate")
        assert await deployment.stop() == 0
        asked_first = {record.id for record in simulator.records() if record.poll_log}
        alarms = len(asked_first & set(urgent))
        row(
            f"{len(asked_first)} polls, {alarms} of the flood marked VERY_URGENT, {len(asked_first) - alarms} of others"
        )
        assert alarms > 0.7 * len(asked_first)
        assert len(asked_first) - alarms > 0.1 * len(asked_first)


async def test_the_gateway_s_own_word_counts_where_nobody_gave_a_priority(
    tmp_path: Path, engine: StoreDatabase | None
) -> None:
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, engine, backoff=BACKOFF) as deployment,
    ):
        cases = [(None, "URGENT"), ("BULK", "VERY_URGENT"), (None, "NORMAL"), ("nonsense", "BULK")]
        await deployment.start()
        numbers = [simulator.truth.add(steps=ON_THE_WAY, priority=theirs) for _, theirs in cases]
        for number, (ours, _) in zip(numbers, cases, strict=True):
            hand_over(deployment, number, ours)
        sql = "SELECT priority FROM messages WHERE polls > 0 ORDER BY id"
        await until(lambda: len(deployment.query(sql)) == len(cases), "all are asked about")
        assert [found for (found,) in deployment.query(sql)] == ["URGENT", "BULK", "NORMAL", "BULK"]
        assert await deployment.stop() == 0
