"""Members, backends and the postmaster are killed, or are away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from typing import Final

from pollerd.core.lease import WATCH
from tests.cluster.outcome import Outcome, judged, polled, taken_over
from tests.cluster.stage import Stage

AWAY: Final = 60.0
"""Seconds for which PostgreSQL is away: ten leases."""


async def kill_the_active(stage: Stage) -> Outcome:
    """Its machine is gone."""
    before, token = stage.active(), stage.token()
    before.lose()
    return Outcome(f"the other polled after {await taken_over(stage, token):.1f} s")


async def kill_the_active_which_comes_back(stage: Stage) -> Outcome:
    """It is started again at once, as by systemd; nobody can see that its process has ended."""
    before, token = stage.active(), stage.token()
    before.signal(signal.SIGKILL)
    took = await taken_over(stage, token)
    return Outcome(f"{'it' if stage.holder() == before.name else 'the other'} polled after {took:.1f} s")


async def kill_a_standby(stage: Stage) -> Outcome:
    token = stage.token()
    stage.standby().lose()
    await asyncio.sleep(2.0)
    return judged("", nobody_took_over=stage.token() == token)


async def kill_all(stage: Stage) -> Outcome:
    """All come back at once."""
    for member in stage.members:
        member.signal(signal.SIGKILL)
    return Outcome(f"one polled after {await taken_over(stage, stage.token()):.1f} s")


async def end_the_active(stage: Stage) -> Outcome:
    token = stage.token()
    stage.active().end()
    return Outcome(f"the other polled after {await taken_over(stage, token):.1f} s")


async def kill_the_postmaster(stage: Stage) -> Outcome:
    before = stage.takeovers()
    stage.server.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(stage.server.start)
    took = await polled(stage)
    return judged(f"polled again after {took:.1f} s", nobody_took_over=stage.takeovers() == before)


async def kill_a_backend(stage: Stage) -> Outcome:
    """The server ends all others with it, and recovers by itself."""
    pids = stage.store.query(
        "SELECT pid FROM pg_stat_activity WHERE usename = ? AND backend_type = 'client backend'", stage.store.user
    )
    if pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(random.choice(pids)[0], signal.SIGKILL)
    await asyncio.sleep(1.0)
    return Outcome(f"polled again after {await polled(stage):.1f} s")


async def postgresql_away(stage: Stage) -> Outcome:
    """For a minute. What the gateway answered is not asked again, but for what each member's end cost before."""
    await stage.settle()
    stage.send(200, 20.0)
    await asyncio.sleep(2.0)
    before, unknown = stage.takeovers(), stage.lost_polls()
    stage.server.stop()
    await asyncio.sleep(WATCH)
    asked = stage.requests()
    await asyncio.sleep(AWAY - WATCH)
    meanwhile = stage.requests() - asked
    await asyncio.to_thread(stage.server.start)
    took = await polled(stage)
    await stage.settle()
    lost, more = stage.lost_polls() - unknown, stage.takeovers() - before
    said = f"{more} takeovers, {meanwhile} polls meanwhile, {max(0, lost)} polls lost, polled again after {took:.1f} s"
    return judged(said, nobody_took_over=more == 0, quiet_meanwhile=meanwhile == 0, all_polls_kept=lost <= 0)
