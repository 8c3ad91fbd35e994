"""A start with a hundred thousand overdue messages: paced, the freshest messages first, and nobody starves."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import asked
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction

RATE = 300


def overdue(database: Path, count: int) -> None:
    """Messages of the last two days, all polled before and all due since the daemon was stopped an hour ago."""
    now = time.time()
    with transaction(database) as connection:
        connection.executemany(
            "INSERT INTO messages (id, sent_at, state, base, polls, last_poll_at, first_poll_at, next_poll_at)"
            " VALUES (?1, ?2, 1, ?2, 3, ?2 + 30, ?2 + 5, ?3)",
            # The higher the id, the younger.
            [(n, now - 3600 - 48 * 3600 * (count - n) / count, now - 3600 + n / count) for n in range(1, count + 1)],
        )
        connection.execute("INSERT INTO counters (name, value) VALUES ('pending', ?)", (count,))


async def test_a_hundred_thousand_overdue(tmp_path: Path, row: Row, long: bool) -> None:
    """Never above the limit; new messages do not wait behind old ones; old ones have turns."""
    count, polls = 100_000, 110_000 if long else 3000
    async with (
        Simulator(SimulatorConfig(population=Population(any_id=True))) as simulator,
        Deployment(tmp_path, simulator, limits=f"requests_per_second = {RATE}") as deployment,
    ):
        assert (await deployment.command("track", str(count + 1)))[0] == 0
        overdue(deployment.database, count)
        started = time.monotonic()
        await deployment.start()
        up = time.monotonic() - started
        await until(lambda: simulator.statistics().requests >= polls // 3, "polling is at its rate", patience=600)
        # While rows are still being taken in, only those that are can be chosen from.
        await until(lambda: not deployment.query("SELECT 1 FROM messages WHERE state = 0 LIMIT 1"), "all are planned")
        before = Counter({record.id: record.polls for record in simulator.records()})
        fresh = [simulator.truth.add(10**9 + n, steps=[Step(0.0, "DELIVERED")]) for n in range(50)]
        handed = simulator.now()
        deployment.insert(fresh)
        await until(lambda: all(simulator.truth.polls(n) for n in fresh), "the new ones are asked for")
        late = sorted(simulator.record(n).poll_log[0][0] for n in fresh)
        polls += sum(before.values())
        await until(lambda: simulator.statistics().requests >= polls, "and so are the others", patience=600)
        counted = simulator.statistics()
        assert await deployment.stop() == 0
        times = [at for at, _ in asked(simulator)]
        first_second = sum(at < times[0] + 1 for at in times)
        ages = [0] * 10
        for record in simulator.records():
            if record.id <= count:
                ages[(record.id - 1) * 10 // count] += record.polls - before[record.id]
        assert counted.max_requests_per_second <= 1.1 * RATE
        assert first_second <= 1.1 * RATE
        # Half of the polls go to the youngest that wait, half by what each may have missed.
        assert ages[-1] > 0.3 * sum(ages)
        assert ages[0] > 0.3 * sum(ages)
        # What is polled before the last of the new ones, however slow the machine is: twenty seconds' worth at most.
        meanwhile = sum(handed < at < late[-1] for at in times)
        assert meanwhile < 20 * RATE
        if long:
            assert sum(ages) + sum(before.values()) >= count, "some were never polled"
        row(
            f"{count} overdue, up in {up:.1f} s, {counted.requests} polls, at most {counted.max_requests_per_second} "
            f"in any second ({RATE} allowed), polled by tenth of age, oldest first: {ages}, "
            f"50 new ones after {late[25] - handed:.1f} s (median), {late[-1] - handed:.1f} s, {meanwhile} polls (last)"
        )
