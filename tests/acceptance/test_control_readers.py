"""Readers on the event socket and on `GET /events?follow=1`, coming and going while the daemon is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import aiohttp

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import PATIENCE, listening, until

QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "1s"'
MESSAGES = 400
STAY = (3, 60)
"""Events that a reader takes before it goes and comes again."""
GONE = (ConnectionError, FileNotFoundError, aiohttp.ClientError, asyncio.IncompleteReadError)


async def over_socket(path: Path, after: int) -> AsyncGenerator[int, None]:
    stream, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(b"after %d\n" % after)
        due = after + 1
        while line := await stream.readline():
            # What was reported between the connection and the daemon's reading of our line comes first, and then again.
            if (seq := json.loads(line)["seq"]) == due:
                due += 1
                yield seq
    finally:
        writer.close()


async def over_http(path: Path, after: int) -> AsyncGenerator[int, None]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get(f"http://localhost/events?after={after}&follow=1") as response,
    ):
        async for line in response.content:
            yield json.loads(line)["seq"]


async def following(events: AsyncGenerator[int, None]) -> int | None:
    """The next event; None at the end."""
    return await anext(events, None)


class Reader:
    """One that remembers its place and goes away every few events."""

    def __init__(self, number: int, folder: Path) -> None:
        self.seen: list[int] = []
        self.visits = 0
        self._random = random.Random(number)
        self._open = over_socket if number % 2 else over_http
        self._path = folder / ("events.sock" if number % 2 else "control.sock")

    async def run(self, last: asyncio.Future[int]) -> None:
        """Read until everything up to `last` was seen."""
        while not self._ended(last):
            await until(lambda: listening(self._path), "the daemon is there")
            self.visits += 1
            with contextlib.suppress(*GONE):
                await self._visit(last)

    async def _visit(self, last: asyncio.Future[int]) -> None:
        left = self._random.randint(*STAY)
        async with contextlib.aclosing(self._open(self._path, self.seen[-1] if self.seen else 0)) as events:
            while left and not self._ended(last):
                coming = asyncio.ensure_future(following(events))
                await asyncio.wait((coming, last), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done() and self._ended(last):
                    # The last one came before anybody knew that it was the last.
                    coming.cancel()
                    await asyncio.wait({coming})
                    return
                if (seq := await coming) is None:
                    return
                self.seen.append(seq)
                left -= 1

    def _ended(self, last: asyncio.Future[int]) -> bool:
        return last.done() and bool(self.seen) and self.seen[-1] >= last.result()


async def test_ten_readers_coming_and_going_miss_nothing(tmp_path: Path) -> None:
    """Each sees every event exactly once in order, through three kills of the daemon."""
    async with (
        Simulator(SimulatorConfig(speed=3000)) as simulator,
        Deployment(tmp_path, simulator, backoff=QUICK) as deployment,
    ):
        for message_id in range(1, MESSAGES + 1):
            steps = [Step(0.0, "BUFFERED"), Step(600.0, "ENROUTE"), Step(3000.0, "DELIVERED")]
            simulator.truth.add(message_id, steps=steps)
        await deployment.start()
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        readers = [Reader(number, tmp_path) for number in range(10)]
        reading = [asyncio.create_task(reader.run(last)) for reader in readers]
        for part in range(4):
            share = MESSAGES // 4
            deployment.insert(range(1 + part * share, 1 + (part + 1) * share))
            half = (part + 1) * share // 2
            if part < 3:
                await until(partial(_finished, deployment, half), "half of them")
                await deployment.kill()
                await deployment.start()
        await until(lambda: deployment.pending() == 0, "all are done with")
        last.set_result(int(deployment.query("SELECT max(seq) FROM events")[0][0]))
        async with asyncio.timeout(120):
            await asyncio.gather(*reading)
        for reader in readers:
            assert reader.seen == list(range(1, last.result() + 1))
            assert reader.visits > 3
        await until(lambda: len(deployment.lines()) == last.result(), "the file has all of them")
        assert await deployment.stop() == 0
        assert not [entry for entry in deployment.log() if entry["level"] == "error"]


def _finished(deployment: Deployment, least: int) -> bool:
    return int(deployment.query("SELECT count(*) FROM messages WHERE state = 2")[0][0]) >= least


async def test_a_wrong_word_at_the_event_socket_is_answered(tmp_path: Path) -> None:
    """As with `nc -U`: the line says what was not understood and what would be, and events come all the same."""
    async with Simulator() as simulator, Deployment(tmp_path, simulator) as deployment:
        await deployment.start()
        reader, writer = await asyncio.open_unix_connection(deployment.socket)
        writer.write(b"since 0\n")
        async with asyncio.timeout(PATIENCE):
            line = json.loads(await reader.readline())
        assert (line["type"], line["reason"]) == ("error", "not_understood")
        assert "since 0" in line["message"]
        assert "after N" in line["message"]
        deployment.insert([simulator.truth.add(steps=[Step(0.0, "DELIVERED")])])
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await reader.readline())["seq"] == 1
        writer.close()
        assert await deployment.stop() == 0
