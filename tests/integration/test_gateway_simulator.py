"""Client and limiter together against the simulator: what the gateway saw decides, not what we believe."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from pollerd.config import AccountConfig, BasicAuth, LimitsConfig, OAuth1, SecretKind, TokenAuth
from pollerd.core.model import Answer, HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.gateway.client import GatewayClient
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.simulator import DEMO_CREDENTIAL, Credentials, Population, Simulator, SimulatorConfig, parse_fault
from tests.integration.gateway_kit import Clock, client, secret

PASSWORD = SecretKind.PASSWORD


def at(simulator: Simulator, auth: object = None, **limits: float) -> AccountConfig:
    chosen = auth if isinstance(auth, TokenAuth | BasicAuth | OAuth1) else TokenAuth(secret(DEMO_CREDENTIAL))
    known = LimitsConfig(
        requests_per_second=limits.get("rate", 50.0),
        max_connections=int(limits.get("connections", 5)),
        timeout=limits.get("timeout", 5.0),
    )
    return AccountConfig(name="default", base_url=simulator.url, auth=chosen, limits=known)


def world(*faults: str, credentials: Credentials | None = None) -> SimulatorConfig:
    visible = Population(any_id=True, visibility_median=0.0, recipients=(1, 3))
    return SimulatorConfig(
        population=visible, faults=tuple(map(parse_fault, faults)), credentials=credentials or Credentials()
    )


class Polling:
    """Workers that ask as fast as the limiter lets them, as the poller does."""

    def __init__(self, gateway: GatewayClient, limiter: AccountLimiter) -> None:
        self.gateway = gateway
        self.limiter = limiter
        self.outcomes: list[Outcome] = []
        self.told: list[str] = []
        self._next = 1

    async def run(self, workers: int, enough: Callable[[], bool]) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(enough))

    async def _work(self, enough: Callable[[], bool]) -> None:
        while not enough():
            wait = self.limiter.delay()
            if wait > 0.0:
                await self._at_most(wait, self.limiter.changed())
                continue
            self.limiter.take()
            self._next += 1
            outcome = await self.gateway.read(self._next)
            self.outcomes.append(outcome)
            transition = self.limiter.report(outcome)
            if transition is not None:
                self.told += [type(body).__name__ for body in transition.bodies]

    async def _at_most(self, seconds: float, change: Awaitable[None]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(change, min(seconds, 0.25))


@pytest.mark.parametrize(
    ("credentials", "auth"),
    [
        (Credentials(tokens=frozenset({"T0ken-x"})), TokenAuth(secret("T0ken-x"))),
        (Credentials(users=(("joe", "pa:ss wörd"),)), BasicAuth("joe", secret("pa:ss wörd", PASSWORD))),
        (Credentials(oauth=(("key", "s3cret"),)), OAuth1("key", secret("s3cret", PASSWORD))),
    ],
)
async def test_the_three_authentications(credentials: Credentials, auth: TokenAuth | BasicAuth | OAuth1) -> None:
    async with Simulator(world(credentials=credentials)) as simulator:
        async with client(at(simulator, auth)) as gateway:
            assert isinstance(await gateway.read(5), Answer)
            assert not isinstance(await gateway.balance(), Trouble)
        async with client(at(simulator, TokenAuth(secret("another")))) as gateway:
            outcome = await gateway.read(5)
            assert isinstance(outcome, Trouble)
            assert outcome.reason is HoldReason.UNAUTHORIZED


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("500", {"http_500"}),
        ("503:retry_after=5", {"http_503"}),
        ("429:retry_after=date+30", {"http_429"}),
        ("429", {"http_429"}),
        ("401", {"http_401"}),
        ("403", {"http_403"}),
        ("400", {"http_400"}),
        ("422", {"http_422"}),
        ("reset", {"reset"}),
        ("drop", {"disconnected"}),
        ("hang", {"timeout"}),
        ("drip:seconds=0.2", {"timeout"}),
        ("html", {"captive_portal"}),
        ("truncated", {"undecodable"}),
        ("cut", {"truncated"}),
        ("wrong_json", {"undecodable", "wrong_message"}),
        ("redirect:to=http://127.0.0.1:1/", {"redirect"}),
        ("gzip_bomb", {"too_large"}),
        ("empty", {"empty"}),
        ("huge", {"too_large"}),
    ],
)
async def test_every_fault_has_a_name_and_costs_one_request(fault: str, kinds: set[str]) -> None:
    async with Simulator(world(f"{fault}:on=read")) as simulator, client(at(simulator, timeout=1.0)) as gateway:
        for asked in range(1, 4):
            outcome = await gateway.read(asked)
            assert isinstance(outcome, Trouble | Rejected | NotFound), fault
            assert isinstance(outcome, NotFound) or outcome.kind in kinds, outcome
        assert simulator.statistics().requests == 3, "nothing is repeated in secret"


async def test_pace_and_connections_as_the_gateway_sees_them() -> None:
    async with Simulator(world()) as simulator:
        account = at(simulator, rate=50.0, connections=5)
        async with client(account) as gateway:
            limiter = AccountLimiter("default", account.limits, Clock(), random.Random(1))
            polling = Polling(gateway, limiter)
            await polling.run(20, lambda: len(polling.outcomes) >= 150)
        seen = simulator.statistics()
    assert seen.max_requests_per_second <= 55
    assert seen.max_connections <= 5
    assert all(isinstance(outcome, Answer) for outcome in polling.outcomes)


async def test_random_faults_of_all_kinds_hold_no_account_for_long() -> None:
    """A twentieth of all requests failing in one way or another: named, bounded, and no hold."""
    faults = ("500:0.01", "reset:0.01", "drop:0.01", "html:0.005", "truncated:0.005", "cut:0.005", "400:0.005")
    async with Simulator(world(*faults)) as simulator:
        account = at(simulator, rate=500.0, connections=10)
        async with client(account) as gateway:
            limiter = AccountLimiter("default", account.limits, Clock(), random.Random(1))
            polling = Polling(gateway, limiter)
            await polling.run(10, lambda: len(polling.outcomes) >= 1000)
        assert simulator.statistics().max_connections <= 10
    count = Counter(type(outcome).__name__ for outcome in polling.outcomes)
    assert count["Trouble"] > 0
    assert count["Answer"] > 900
    assert polling.told == []


async def test_an_outage_is_probed_and_over_as_soon_as_the_gateway_is_back() -> None:
    async with Simulator(world("500:next=6")) as simulator:
        account = at(simulator, rate=100.0)
        async with client(account) as gateway:
            limiter = AccountLimiter("default", account.limits, Clock(), random.Random(1))
            polling = Polling(gateway, limiter)
            await asyncio.wait_for(polling.run(1, lambda: len(polling.outcomes) >= 20), 60.0)
    assert [type(outcome).__name__ for outcome in polling.outcomes[:7]] == ["Trouble"] * 6 + ["Answer"]
    assert polling.told == ["Held", "Recovered"]
    assert limiter.held_total >= 1.5 + 3.0


async def test_a_retry_after_is_kept_to_the_second() -> None:
    async with Simulator(world("429:next=1:retry_after=2")) as simulator:
        account = at(simulator, rate=100.0)
        async with client(account) as gateway:
            limiter = AccountLimiter("default", account.limits, Clock(), random.Random(1))
            polling = Polling(gateway, limiter)
            clock = Clock()
            began = clock.monotonic()
            await asyncio.wait_for(polling.run(1, lambda: any(isinstance(o, Answer) for o in polling.outcomes)), 60.0)
            assert clock.monotonic() - began >= 2.0
    assert polling.told[0] == "Held"
