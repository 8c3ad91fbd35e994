"""Somebody's psql holds what members write: all goes on once it lets go, and before that as far as it can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.outcome import TWO_LEASES, Outcome, judged, polled, taken_over
from tests.cluster.stage import Stage


@contextmanager
def psql(stage: Stage, statement: str) -> Iterator[None]:
    """Hold what `statement` locks."""
    with stage.store.database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(statement)
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


async def _hold(stage: Stage, statement: str, *, stays: bool = True) -> Outcome:
    """`stays`: the lock does not touch the lease, so that nobody may take over."""
    before, last = stage.takeovers(), stage.last()
    with psql(stage, statement):
        await asyncio.sleep(TWO_LEASES)
        held = stage.last() - last
    stage.send(20, 2.0)
    took, more = await polled(stage), stage.takeovers() - before
    said = f"{more} takeovers, {held} events meanwhile, polled again after {took:.1f} s"
    return judged(said, nobody_took_over=more == 0 or not stays)


async def hold_the_counter(stage: Stage) -> Outcome:
    """The row with the last number: renewals go on."""
    return await _hold(stage, "SELECT last_seq FROM cluster FOR UPDATE")


async def hold_messages(stage: Stage) -> Outcome:
    """Rows of messages that are being polled."""
    return await _hold(stage, "SELECT id FROM messages WHERE state = 1 LIMIT 20 FOR UPDATE")


async def hold_the_member(stage: Stage) -> Outcome:
    """The row of the active member, which is its right to write."""
    return await _hold(stage, "SELECT members.token FROM members JOIN duties USING (token) FOR UPDATE OF members")


async def hold_the_duty(stage: Stage) -> Outcome:
    return await _hold(stage, "SELECT token FROM duties FOR UPDATE")


async def hold_the_lease(stage: Stage) -> Outcome:
    """Nothing can be renewed: the holder stops, and another one may take over."""
    return await _hold(
        stage, "SELECT leases.token FROM leases JOIN duties USING (token) FOR UPDATE OF leases", stays=False
    )


async def hold_a_table(stage: Stage) -> Outcome:
    """As VACUUM FULL or ALTER TABLE do."""
    return await _hold(stage, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")


async def hold_the_duty_at_a_takeover(stage: Stage) -> Outcome:
    """The active one dies meanwhile: another takes over as soon as it can."""
    token = stage.token()
    with psql(stage, "SELECT token FROM duties FOR UPDATE"):
        stage.active().lose()
        await asyncio.sleep(TWO_LEASES)
    return Outcome(f"the other polled {await taken_over(stage, token):.1f} s after it was let go")
