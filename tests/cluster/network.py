"""Connections that freeze, break and come back; a gateway that only some members reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from pollerd.core.lease import WATCH
from tests.acceptance.waiting import until, until_past
from tests.cluster.member import Member
from tests.cluster.outcome import Outcome, judged, taken_over
from tests.cluster.stage import PATIENCE, Stage

OFFERED: Final = 25.0
"""Seconds for which nobody accepts an offer who does not reach the gateway: it is asked twice in that time."""


async def hold_back_a_batch(stage: Stage) -> Outcome:
    """A batch that the active member has sent is held back until it counts as lost, and has been committed again over
    another connection, and the next ones as well; then it comes.
    """
    takeovers, before, refused = stage.takeovers(), stage.active(), stage.late()
    before.proxy.freeze(new=False)
    await until(lambda: before.proxy.holds(b"commit_group"), "a batch is held back", patience=PATIENCE)
    committed = "SELECT last_batch FROM members JOIN duties USING (token)"
    number = stage.ask(committed)
    stage.send(50, 20.0)
    await until(lambda: (stage.ask(committed) or 0) > number + 2, "it and others are committed", patience=PATIENCE)
    before.proxy.thaw()
    await until(lambda: stage.late() > refused, "it comes late", patience=PATIENCE)
    more = stage.takeovers() - takeovers
    said = f"batches that came late and were refused: {stage.late() - refused}, {more} takeovers"
    return judged(said, nobody_took_over=more == 0)


async def cut_off_the_active(stage: Stage) -> Outcome:
    """What the active member sends is held back, until another one has worked for a while, and comes then."""
    before, token = stage.active(), stage.token()
    ends = len(before.ends)
    before.proxy.freeze()
    await taken_over(stage, token)
    stage.send(50, 2.0)
    await asyncio.sleep(WATCH)
    before.proxy.thaw()
    await until(lambda: len(before.ends) > ends, "it ends", patience=PATIENCE)
    return judged(f"ended with {before.ends[ends]}", ended_with_1=before.ends[ends] == 1)


async def cut_connections(stage: Stage) -> Outcome:
    """Connections end with a reset right after the server has a commit, before its answer."""
    takeovers, rounds = stage.takeovers(), 5
    for _ in range(rounds):
        before = stage.active()
        stage.send(50, 10.0)
        while not await _held_back(before):
            before.proxy.thaw()
            await asyncio.sleep(0.1)
        committed = f"SELECT last_batch FROM members WHERE name = '{before.name}'"
        number = stage.ask(committed)
        before.proxy.freeze(to_server=False, new=False)
        await until_past(lambda c=committed: stage.ask(c) or 0, number, "it is committed", patience=PATIENCE)  # type: ignore[misc]
        before.proxy.reset()
        before.proxy.thaw()
        await until_past(lambda c=committed: stage.ask(c) or 0, number + 1, "it goes on", patience=PATIENCE)  # type: ignore[misc]
    more = stage.takeovers() - takeovers
    return judged(f"{rounds} times, {more} takeovers", nobody_took_over=more == 0)


async def _held_back(member: Member) -> bool:
    """Hold back what the member sends, for a moment; whether a batch is in it."""
    member.proxy.freeze(new=False)
    await asyncio.sleep(0.3)
    return member.proxy.holds(b"commit_group")


async def block_the_gateway(stage: Stage) -> Outcome:
    """The active member's way to the gateway is blocked, that of the others is not."""
    _anew(stage)
    before, token = stage.active(), stage.token()
    ends = len(before.ends)
    before.gateway.refuse()
    before.gateway.reset()
    # It is held as unreachable only while it has something to ask.
    stage.send(100, 60.0)
    took = await taken_over(stage, token)
    await until(lambda: len(before.ends) > ends, "it ends", patience=PATIENCE)
    before.gateway.accept()
    return judged(f"the other polled after {took:.0f} s", ended_with_1=before.ends[ends] == 1)


async def block_the_gateway_for_all(stage: Stage) -> Outcome:
    """Nobody accepts the offer."""
    _anew(stage)
    token = stage.token()
    for member in stage.members:
        member.gateway.refuse()
        member.gateway.reset()
    stage.send(100, 60.0)
    await _offered(stage)
    same = stage.token() == token
    for member in stage.members:
        member.gateway.accept()
    return judged(f"offered for {OFFERED:.0f} s", nobody_took_over=same)


async def captive_portal_with_a_page(stage: Stage) -> Outcome:
    """The active member does not reach the gateway. The others reach somebody who answers 200 with a page."""
    return await _captive(stage, web.Response(text="<html>Please sign in</html>", content_type="text/html"))


async def captive_portal_with_401(stage: Stage) -> Outcome:
    return await _captive(stage, web.json_response({"message": "Who are you?"}, status=401))


async def _captive(stage: Stage, answer: web.Response) -> Outcome:
    _anew(stage)
    before, token = stage.active(), stage.token()
    others = [member for member in stage.members if member is not before]
    ends = len(before.ends)
    async with _answering(answer) as port:
        for member in others:
            member.gateway.lead_to(port)
            member.gateway.reset()
        before.gateway.refuse()
        before.gateway.reset()
        stage.send(100, 60.0)
        await _offered(stage)
        same = stage.token() == token
        for member in others:
            member.gateway.lead_to(stage.simulator.port)
            member.gateway.reset()
        took = await taken_over(stage, token)
    await until(lambda: len(before.ends) > ends, "it ends", patience=PATIENCE)
    before.gateway.accept()
    said = f"offered for {OFFERED:.0f} s; the other polled {took:.0f} s after the portal was gone"
    return judged(said, nobody_took_over_behind_it=same)


def _anew(stage: Stage) -> None:
    """Who gave the duty away in another case may accept it again."""
    stage.store.database.execute("UPDATE duties SET given_by = '', given_at = NULL")


async def _offered(stage: Stage) -> None:
    await until(lambda: stage.ask("SELECT offered FROM duties"), "the duty is offered", patience=PATIENCE)
    await asyncio.sleep(OFFERED)


@asynccontextmanager
async def _answering(answer: web.Response) -> AsyncIterator[int]:
    """A web server that answers everything alike."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    try:
        assert server.port is not None
        yield server.port
    finally:
        await server.close()
