"""The active member stands still for two leases, at each step of its work, and goes on.

Another one has taken over by then. Nothing that it writes from there on may take effect; at the receiver of the webhook
and in the foreign table no older state comes after a newer one; it ends with exit code 1, and comes back as a standby.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

from tests.acceptance.waiting import until
from tests.cluster.locks import psql
from tests.cluster.member import Member
from tests.cluster.outcome import TWO_LEASES, Case, Outcome, judged
from tests.cluster.stage import PATIENCE, Stage, since
from tests.servers.program import state_of

STEPS: Final = {
    "before_a_commit_is_sent": "store.begun=stop:40",
    "before_a_commit_is_reported": "store.committed=stop:40",
    "in_the_middle_of_a_transaction": "store.written=stop:8",
    "before_a_poll": "poll.before=stop:30",
    "before_an_answer_is_recorded": "poll.answered=stop:30",
    "before_a_post": "webhook.before_post=stop:5",
    "before_a_post_is_noted": "webhook.before_save=stop:3",
    "after_a_post_is_noted": "webhook.after_save=stop:3",
    "before_the_foreign_statement": "target.begun=stop:3",
    "before_the_foreign_commit": "target.before_commit=stop:3",
    "after_the_foreign_commit": "target.written=stop:3",
    "after_the_foreign_place_is_noted": "target.saved=stop:3",
    "before_a_renewal": "lease.before_renewal=stop:7",
    "before_a_renewal_is_noted": "lease.renewed=stop:7",
    "in_the_middle_of_a_line": "file.mid_write=stop:10",
}
"""Each name, and the step at which a member stops. It stands by first, with little to do: it must not come so far."""
TAKEOVERS: Final = {
    "before_a_takeover": "lease.before_takeover=stop:1",
    "in_the_middle_of_a_takeover": "lease.taking=stop:1",
    "after_a_takeover": "lease.took_over=stop:1",
}


def at_step(armed: str) -> Case:
    """The one that takes over stands still when it comes to that step."""

    async def case(stage: Stage) -> Outcome:
        member = await _armed(stage, armed)
        stage.active().end()
        await until(lambda: stage.holder() == member.name, "it takes over", patience=PATIENCE)
        stage.send(200)
        return await _thawed(stage, member)

    return case


def at_takeover(armed: str) -> Case:
    """The one that takes over stands still at it; another one has to."""

    async def case(stage: Stage) -> Outcome:
        member = await _armed(stage, armed)
        stage.active().end()
        await until(lambda: state_of(member.pid) == "T", "it stands still", patience=PATIENCE)
        had_it = stage.holder() == member.name
        began, ends = time.monotonic(), len(member.ends)
        await until(lambda: stage.holder() not in ("", member.name), "another takes over", patience=PATIENCE)
        took = since(began)
        await asyncio.sleep(max(0.0, TWO_LEASES - took))
        token = stage.token()
        member.signal(signal.SIGCONT)
        if had_it:
            await until(lambda: len(member.ends) > ends, "it ends", patience=PATIENCE)
            return judged(
                f"the other after {took:.1f} s, ended with {member.ends[ends]}", ended_with_1=member.ends[ends] == 1
            )
        await asyncio.sleep(3.0)
        return judged(f"the other after {took:.1f} s, it still stands by", the_other_stays=stage.token() == token)

    return case


async def freeze_the_active(stage: Stage) -> Outcome:
    """At any moment."""
    member = stage.active()
    member.signal(signal.SIGSTOP)
    return await _thawed(stage, member)


async def freeze_while_a_commit_runs(stage: Stage) -> Outcome:
    """The server carries it out while the member cannot hear of it."""
    return await _while_waiting(stage, "SELECT last_seq FROM cluster FOR UPDATE", stage.store.database.name)


async def freeze_while_the_foreign_statement_runs(stage: Stage) -> Outcome:
    """So does the other database: the transaction stays open, and is committed when the member goes on."""
    member = stage.active()
    database = stage.foreign.database
    with database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE states IN EXCLUSIVE MODE")
        await until(lambda: _waiting(stage, database.name), "it waits for the table", patience=PATIENCE)
        member.signal(signal.SIGSTOP)
        await until(lambda: state_of(member.pid) == "T", "it stands still", patience=PATIENCE)
        connection.execute("ROLLBACK")
    return await _thawed(stage, member)


async def _while_waiting(stage: Stage, lock: str, database: str) -> Outcome:
    member = stage.active()
    with psql(stage, lock):
        await until(lambda: _waiting(stage, database), "it waits for the row", patience=PATIENCE)
        member.signal(signal.SIGSTOP)
        await until(lambda: state_of(member.pid) == "T", "it stands still", patience=PATIENCE)
    return await _thawed(stage, member)


def _waiting(stage: Stage, database: str) -> int:
    """Connections that wait for a lock."""
    return int(
        stage.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = ? AND wait_event_type = 'Lock'",
            database,
            otherwise=0,
        )
    )


async def freeze_in_the_middle_of_a_post(stage: Stage) -> Outcome:
    """The receiver has it, and has not answered."""
    member = stage.active()

    def answer(_: dict[str, Any]) -> int:
        member.signal(signal.SIGSTOP)
        stage.hook.answer = answered
        return 204

    answered: Callable[[dict[str, Any]], int] = stage.hook.answer
    stage.hook.answer = answer
    return await _thawed(stage, member)


async def freeze_in_the_middle_of_a_poll(stage: Stage) -> Outcome:
    """The gateway has answered, and the answer is on its way."""
    member = stage.active()
    async with AsyncExitStack() as stack:
        member.gateway.freeze(to_server=False)
        stack.callback(member.gateway.thaw)
        await until(lambda: member.gateway.held()[1], "an answer is on its way", patience=PATIENCE)
        member.signal(signal.SIGSTOP)
        await until(lambda: state_of(member.pid) == "T", "it stands still", patience=PATIENCE)
    return await _thawed(stage, member)


async def _armed(stage: Stage, armed: str) -> Member:
    """A standby that starts anew, and stops at that step."""
    await stage.settle()
    member = stage.standby()
    before = member.count("standing_by")
    member.end(armed)
    await until(lambda: member.count("standing_by") > before, "it stands by again", patience=PATIENCE)
    return member


async def _thawed(stage: Stage, member: Member) -> Outcome:
    """Once it stands still: until another one has taken over, for two leases; then it goes on, and ends."""
    await until(lambda: state_of(member.pid) == "T", "it stands still", patience=PATIENCE)
    began, ends = time.monotonic(), len(member.ends)
    assert stage.holder() == member.name, "it is not the active one that stands still"
    await until(lambda: stage.holder() not in ("", member.name), "another takes over", patience=PATIENCE)
    took = since(began)
    at: datetime = stage.ask("SELECT since FROM duties")
    await asyncio.sleep(max(0.0, TWO_LEASES - took))
    refused, standing_by = stage.counts()["refused by the fence"], member.count("standing_by")
    member.signal(signal.SIGCONT)
    await until(lambda: len(member.ends) > ends, "it ends", patience=PATIENCE)
    await until(lambda: member.count("standing_by") > standing_by, "it stands by", patience=PATIENCE)
    wrote = stage.ask("SELECT count(*) FROM writes WHERE who = ? AND at > ?", member.name, at)
    return judged(
        f"taken over after {took:.1f} s, {wrote} writes after that, {stage.counts()['refused by the fence'] - refused} "
        f"refused, ended with {member.ends[ends]}",
        ended_with_1=member.ends[ends] == 1,
        everything_refused=wrote == 0,
    )
