"""The clock of one member's machine is an hour off, from the beginning or all at once."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from typing import Final

from tests.acceptance.waiting import until
from tests.cluster.member import Member
from tests.cluster.outcome import TWO_LEASES, Case, Outcome, judged, taken_over
from tests.cluster.stage import PATIENCE, Stage

HOUR: Final = 3600.0
LONGEST: Final = 2.0 * 1.25
"""Seconds between two polls of a message, at most: see member.BACKOFF, with the jitter."""


def clock_of_a_standby(seconds: float) -> Case:
    async def case(stage: Stage) -> Outcome:
        """It does not become active until its clock is right, and says so."""
        before, token = stage.active(), stage.token()
        others = [member for member in stage.members if member is not before]
        said = {member: member.count("clock_apart") for member in others}
        for member in others:
            member.clock.step(seconds)
        await until(lambda: all(m.count("clock_apart") > n for m, n in said.items()), "they say so", patience=PATIENCE)
        before.lose()
        return await _right_again(stage, others, token)

    return case


def clock_at_a_start(seconds: float) -> Case:
    async def case(stage: Stage) -> Outcome:
        """Nobody polls, and the only one that starts has a wrong clock."""
        for member in stage.members:
            member.wanted.clear()
            member.signal(signal.SIGTERM)
        await until(lambda: not any(member.up for member in stage.members), "all have ended", patience=PATIENCE)
        first = stage.members[0]
        first.clock.step(seconds)
        said = first.count("clock_apart")
        first.wanted.set()
        await until(lambda: first.count("clock_apart") > said, "it says so", patience=PATIENCE)
        return await _right_again(stage, [first], "")

    return case


async def _right_again(stage: Stage, wrong: list[Member], token: str) -> Outcome:
    await asyncio.sleep(TWO_LEASES)
    same = stage.token() == token
    _, doctor, _ = await wrong[0].command("doctor")
    _, status, _ = await wrong[0].command("status")
    for member in wrong:
        member.clock.step(0.0)
    took = await taken_over(stage, token)
    return judged(
        f"it did not become active for {TWO_LEASES:.0f} s, and polled {took:.1f} s after its clock was set",
        nobody_became_active=same,
        said_by_doctor="database clock" in doctor,
        said_by_status="this machine's clock is 3600 s" in " ".join(status.split()),
    )


def clock_of_the_active(seconds: float) -> Case:
    async def case(stage: Stage) -> Outcome:
        """It goes on; due times are right, also for whoever takes over then."""
        before, token = stage.active(), stage.token()
        ids = stage.send(50, 90.0)
        await until(lambda: all(stage.simulator.record(one).polls for one in ids), "all are polled", patience=PATIENCE)
        began = stage.simulator.now()
        before.clock.step(seconds)
        await asyncio.sleep(TWO_LEASES)
        same, ended = stage.token() == token, stage.simulator.now()
        _, doctor, _ = await before.command("doctor")
        gaps, silent = _gaps(stage, ids, began, ended)
        before.lose()
        took = await taken_over(stage, token)
        taken, ended = stage.simulator.now(), stage.simulator.now() + TWO_LEASES
        await until(lambda: stage.simulator.now() > ended, "the other has worked for a while", patience=PATIENCE)
        after, later_silent = _gaps(stage, ids, taken, ended)
        before.clock.step(0.0)
        return judged(
            f"between two polls {min(gaps):.1f} to {max(gaps):.1f} s, after the takeover ({took:.1f} s) "
            f"{min(after):.1f} to {max(after):.1f} s",
            it_went_on=same,
            said_by_doctor="database clock" in doctor,
            due_times_right=max(*gaps, *after, silent, later_silent) < LONGEST + 5.0,
            none_too_early=min(gaps + after) > 0.5,
        )

    return case


def _gaps(stage: Stage, ids: list[int], began: float, ended: float) -> tuple[list[float], float]:
    """Seconds between two polls of a message; and the most from the last one to the end, of those that go on then."""
    found, silent = [], 0.0
    for one in ids:
        record = stage.simulator.record(one)
        polls = [at for at, _ in record.poll_log if began <= at <= ended]
        found += [later - sooner for sooner, later in pairwise(polls)]
        if record.final_told_at is None or record.final_told_at > ended:
            silent = max(silent, ended - max(polls, default=began))
    return found, silent
