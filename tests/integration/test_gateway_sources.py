"""Connections from several addresses of this machine: spread, bounded on each, and going on where one is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace

from pollerd.config import TokenAuth
from pollerd.core.model import Answer, HoldReason, Trouble
from pollerd.gateway.slots import Slots
from pollerd.gateway.sources import FAILURES_BEFORE_ASIDE, LONGEST_PAUSE, LOOK_EVERY, PAUSE, Sources
from pollerd.simulator import DEMO_CREDENTIAL, Population, Simulator, SimulatorConfig, parse_fault
from tests.integration.gateway_kit import RawServer, account, client, raw_server, secret

TWO = ("127.0.0.2", "127.0.0.3")
ABSENT = "192.0.2.10"
"""Of a network for documentation: no machine has it."""
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
BODY = b'[{"id": 7, "recipients": [{"msisdn": 4587654321, "dsnstatus": "ENROUTE", "dsntime": 1764000000.0}]}]'
ANSWER = GOOD % (len(BODY), BODY)
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[RawServer, list[str]]]:
    """A server that answers, and the addresses that its requests came from."""
    peers: list[str] = []

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        writer.write(ANSWER)

    async with raw_server(handler) as server:
        yield server, peers


async def test_requests_are_spread_and_each_address_is_bounded() -> None:
    """Eighty at once over two addresses, forty allowed from each: none is turned away, and both carry half."""
    visible = Population(any_id=True, visibility_median=0.0)
    async with Simulator(SimulatorConfig(population=visible, faults=(parse_fault("slow:seconds=0.3"),))) as simulator:
        token = TokenAuth(secret(DEMO_CREDENTIAL))
        of = replace(account(simulator.url, auth=token, max_connections=40), source_addresses=TWO)
        async with client(of) as gateway:
            assert gateway.sources.connections == 80
            outcomes = await asyncio.gather(*(gateway.read(number) for number in range(1, 161)))
        seen = simulator.statistics()
    assert [type(outcome) for outcome in outcomes] == [Answer] * 160
    assert seen.max_connections_by_address == dict.fromkeys(TWO, 40)
    assert seen.requests_by_address == dict.fromkeys(TWO, 80)
    assert seen.rejected_connections == 0


async def test_under_little_load_the_addresses_take_turns_on_kept_connections() -> None:
    async with raw_server(ANSWER) as server:
        async with client(replace(account(server.url()), source_addresses=TWO)) as gateway:
            for _ in range(10):
                assert type(await gateway.read(7)) is Answer
        assert (len(server.heads), server.accepted) == (10, 2)


async def test_an_address_that_the_machine_does_not_have_is_left_out_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with raw_server(ANSWER) as server:
        of = replace(account(server.url()), source_addresses=(ABSENT, TWO[0]))
        async with client(of) as gateway:
            assert gateway.sources.connections == of.limits.max_connections
            outcomes = [await gateway.read(7) for _ in range(4)]
            health = gateway.source_addresses
    assert [type(outcome) for outcome in outcomes] == [Answer] * 4
    assert [(each.address, each.trouble) for each in health] == [(ABSENT, "not on this machine"), (TWO[0], "")]
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"source address {ABSENT} is not on this machine" in record.getMessage()
    assert f"those from {TWO[0]} go on" in record.getMessage()


async def test_without_any_of_its_addresses_nothing_goes_out() -> None:
    async with raw_server(ANSWER) as server:
        async with client(replace(account(server.url()), source_addresses=(ABSENT, "2001:db8::7"))) as gateway:
            outcome = await gateway.read(7)
        assert server.accepted == 0
    assert isinstance(outcome, Trouble)
    assert (outcome.reason, outcome.kind) == (HoldReason.UNREACHABLE, "no_source_address")


async def test_an_address_that_the_gateway_refuses_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """403 for one address only, as where the token is bound to the other: every message is answered, and after three
    such requests nothing goes out from there."""

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(FORBIDDEN if writer.get_extra_info("peername")[0] == TWO[1] else ANSWER)

    async with raw_server(handler) as server:
        async with client(replace(account(server.url()), source_addresses=TWO)) as gateway:
            outcomes = [await gateway.read(7) for _ in range(20)]
            health = gateway.source_addresses
        assert [type(outcome) for outcome in outcomes] == [Answer] * 20
        assert len(server.heads) == 20 + FAILURES_BEFORE_ASIDE
    assert [bool(each.trouble) for each in health] == [False, True]
    assert "403" in health[1].trouble
    assert len([record for record in caplog.records if "not from 127.0.0.3" in record.getMessage()]) == 1


async def test_what_every_address_is_refused_is_the_accounts_trouble() -> None:
    async with (
        raw_server(FORBIDDEN) as server,
        client(replace(account(server.url()), source_addresses=TWO)) as gateway,
    ):
        outcomes = [await gateway.read(7) for _ in range(5)]
        health = gateway.source_addresses
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Trouble)} == {HoldReason.FORBIDDEN}
    assert not any(each.trouble for each in health)


async def test_connections_through_a_proxy_come_from_the_addresses() -> None:
    async with answering() as (proxy, peers):
        of = replace(account("http://gateway.test", proxy=proxy.url()), source_addresses=TWO)
        async with client(of) as gateway:
            for _ in range(4):
                assert type(await gateway.read(7)) is Answer
    assert peers == [*TWO, *TWO]


async def test_over_ipv6() -> None:
    async with raw_server(ANSWER, host="::1") as server:
        of = replace(account(server.url(host="[::1]")), source_addresses=("::1",))
        async with client(of) as gateway:
            assert type(await gateway.read(7)) is Answer


async def test_other_addresses_are_used_from_the_next_request_on() -> None:
    async with answering() as (server, peers):
        of = replace(account(server.url()), source_addresses=TWO)
        async with client(of) as gateway:
            heard: list[int] = []
            gateway.sources.changed = heard.append
            await asyncio.gather(*(gateway.read(7) for _ in range(4)))
            gateway.reconfigure(replace(of, source_addresses=("127.0.0.4",)), show_msisdn=False)
            await asyncio.gather(*(gateway.read(7) for _ in range(4)))
            gateway.reconfigure(replace(of, source_addresses=None), show_msisdn=False)
            await gateway.read(7)
        assert heard[-1] == of.limits.max_connections
    assert set(peers[:4]) == set(TWO)
    assert peers[4:] == ["127.0.0.4"] * 4 + ["127.0.0.1"]


class Machine:
    """Addresses that come and go, and a clock."""

    def __init__(self) -> None:
        self.addresses = set(TWO)
        self.time = 0.0
        self.heard: list[int] = []

    def sources(self) -> Sources:
        def never(_: bool) -> ClientSession:
            raise AssertionError("no connection is opened here")

        now = lambda: self.time  # noqa: E731
        made = Sources("default", TWO, 10, lambda _, size: Slots(size, never, now, now), now, self.has)
        made.changed = self.heard.append
        return made

    def has(self, address: str) -> bool:
        return address in self.addresses


def test_an_address_that_moves_away_and_comes_back_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    machine = Machine()
    sources = machine.sources()
    machine.addresses.discard(TWO[0])
    machine.time += LOOK_EVERY
    assert {chosen.address for _ in range(4) if (chosen := sources.choose())} == {TWO[1]}
    machine.addresses.add(TWO[0])
    machine.time += LOOK_EVERY
    assert {chosen.address for _ in range(4) if (chosen := sources.choose())} == set(TWO)
    assert machine.heard == [10, 20]
    said = [record.getMessage() for record in caplog.records]
    assert [("is not on" in text, "again, and is used" in text) for text in said] == [(True, False), (False, True)]


def test_an_address_that_goes_on_failing_is_tried_ever_more_seldom_until_it_is_answered() -> None:
    machine = Machine()
    sources = machine.sources()
    bad = next(source for _ in range(2) if (source := sources.choose()) and source.address == TWO[1])
    pauses = []
    for _ in range(FAILURES_BEFORE_ASIDE):
        sources.failed(bad, "no answer")
    for _ in range(9):
        pauses.append(bad.aside_until - machine.time)
        assert {chosen.address for _ in range(4) if (chosen := sources.choose())} == {TWO[0]}
        machine.time = bad.aside_until + LOOK_EVERY
        assert bad in [sources.choose() for _ in range(2)]
        sources.failed(bad, "no answer")
    assert pauses[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    machine.time = bad.aside_until + LOOK_EVERY
    sources.answered(bad)
    sources.failed(bad, "once")
    assert bad.usable(machine.time), "one failure is chance again"
