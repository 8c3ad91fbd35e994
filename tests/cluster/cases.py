"""What may happen to members, by name. Each begins with everything at work, and leaves it so that it can settle."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

from pollerd.core.lease import WATCH
from tests.acceptance.waiting import until
from tests.cluster.pooled import through_pgbouncer
from tests.cluster.stage import PATIENCE, Member, Stage, since
from tests.cluster.upgrade import upgrade

Case = Callable[[Stage], Awaitable[str]]
TWO_LEASES: Final = 2 * WATCH + 1.0
"""Seconds for which a member stands still: long enough for another one to take over, and to have worked for a while."""


async def taken_over(stage: Stage, before: str) -> float:
    """Wait until another member polls; the seconds that it took to its first request."""
    began = time.monotonic()
    await until(lambda: stage.holder() not in ("", before), "another takes over", patience=PATIENCE)
    asked = stage.simulator.statistics().requests
    await until(lambda: stage.simulator.statistics().requests > asked, "it polls", patience=PATIENCE)
    return since(began)


def kill(member: Member) -> None:
    assert member.process is not None
    member.process.kill()


async def kill_the_active(stage: Stage) -> str:
    before = stage.active()
    kill(before)
    return f"the other polled after {await taken_over(stage, before.name):.1f} s"


async def kill_a_standby(stage: Stage) -> str:
    before = stage.holder()
    kill(stage.standby())
    await asyncio.sleep(2.0)
    return "nobody took over" if stage.holder() == before else "SOMEBODY TOOK OVER"


async def kill_all(stage: Stage) -> str:
    for member in stage.members:
        kill(member)
    return ""


async def end_the_active(stage: Stage) -> str:
    before = stage.active()
    assert before.process is not None
    before.process.terminate()
    return f"the other polled after {await taken_over(stage, before.name):.1f} s"


async def kill_the_postmaster(stage: Stage) -> str:
    stage.server.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(stage.server.start)
    return ""


async def kill_a_backend(stage: Stage) -> str:
    pids = stage.store.query(
        "SELECT pid FROM pg_stat_activity WHERE usename = ? AND backend_type = 'client backend'", stage.store.user
    )
    os.kill(random.choice(pids)[0], signal.SIGKILL)
    await asyncio.sleep(1.0)
    return ""


async def postgresql_away(stage: Stage) -> str:
    """For three leases."""
    takeovers = stage.counts()["takeovers"]
    stage.server.stop()
    await asyncio.sleep(3 * WATCH)
    asked = stage.simulator.statistics().requests
    await asyncio.sleep(2.0)
    quiet = stage.simulator.statistics().requests == asked
    await asyncio.to_thread(stage.server.start)
    began = time.monotonic()
    await until(lambda: stage.simulator.statistics().requests > asked, "polling goes on", patience=PATIENCE)
    took = since(began)
    await asyncio.sleep(WATCH)
    more = stage.counts()["takeovers"] - takeovers
    return f"{more} takeovers, {'no' if quiet else 'SOME'} polls meanwhile, polled again after {took:.1f} s"


async def freeze_the_active(stage: Stage) -> str:
    """SIGSTOP for two leases, then SIGCONT."""
    before = stage.active()
    assert before.process is not None
    ends = len(before.ends)
    before.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(TWO_LEASES)
    taken = stage.holder() != before.name
    before.process.send_signal(signal.SIGCONT)
    await until(lambda: len(before.ends) > ends, "it ends", patience=PATIENCE)
    return f"{'taken over' if taken else 'NOT TAKEN OVER'}, ended with {before.ends[-1]}"


async def hold_back_a_batch(stage: Stage) -> str:
    """What the active member has sent is held back until it counts as lost, and has been committed again over another
    connection, and the next one as well; then it comes.
    """
    takeovers, before = stage.counts()["takeovers"], stage.active()
    before.proxy.freeze(new=False)
    await until(lambda: sum(before.proxy.held()), "something is held back", patience=PATIENCE)
    last = stage.last()
    await until(lambda: stage.last() > last, "it is committed again", patience=PATIENCE)
    stage.send(50, 2.0)
    await asyncio.sleep(3.0)
    late, _ = before.proxy.held()
    before.proxy.thaw()
    return f"{late} bytes came late, {stage.counts()['takeovers'] - takeovers} takeovers"


async def cut_off_the_active(stage: Stage) -> str:
    """What the active member sends is held back, until another one has worked for a while, and comes then."""
    before = stage.active()
    ends = len(before.ends)
    before.proxy.freeze()
    await taken_over(stage, before.name)
    stage.send(50, 2.0)
    await asyncio.sleep(WATCH)
    before.proxy.thaw()
    await until(lambda: len(before.ends) > ends, "it ends", patience=PATIENCE)
    return f"ended with {before.ends[-1]}"


async def block_the_gateway(stage: Stage) -> str:
    """The active member's way to the gateway is blocked, that of the others is not."""
    before = stage.active()
    before.gateway.refuse()
    before.gateway.reset()
    # It is held as unreachable only while it has something to ask.
    stage.send(100, 60.0)
    took = await taken_over(stage, before.name)
    before.gateway.accept()
    return f"the other polled after {took:.0f} s"


async def cut_connections(stage: Stage) -> str:
    """All connections of all members end with a reset, some with what the server has carried out unanswered."""
    for _ in range(5):
        for member in stage.members:
            member.proxy.freeze(to_server=False, new=False)
        await asyncio.sleep(random.uniform(0.05, 0.3))
        for member in stage.members:
            member.proxy.reset()
            member.proxy.thaw()
        await asyncio.sleep(0.5)
    return ""


async def hold_the_counter(stage: Stage) -> str:
    """Somebody's psql locks the row with the last number for longer than a lease: renewals go on."""
    takeovers = stage.counts()["takeovers"]
    with stage.store.database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT last_seq FROM cluster FOR UPDATE")
        await asyncio.sleep(TWO_LEASES)
        connection.execute("ROLLBACK")
    return f"{stage.counts()['takeovers'] - takeovers} takeovers"


CASES: Final[dict[str, Case]] = {
    case.__name__: case
    for case in (
        kill_the_active, kill_a_standby, kill_all, end_the_active, kill_the_postmaster, kill_a_backend,
        postgresql_away, freeze_the_active, hold_back_a_batch, cut_off_the_active,
        block_the_gateway, cut_connections, hold_the_counter, through_pgbouncer, upgrade,
    )
}  # fmt: skip
AT_RANDOM: Final = (kill_the_active, kill_a_standby, kill_all, end_the_active, kill_the_postmaster, kill_a_backend)
