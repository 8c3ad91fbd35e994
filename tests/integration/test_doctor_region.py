"""A token of the other region, on two simulators that play the vendor's two gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from pollerd.config import AccountConfig, TokenAuth
from pollerd.deployment.doctor.check import Check, Level
from pollerd.deployment.doctor.gateway import REGIONS, account_checks
from pollerd.simulator import Credentials, Simulator, SimulatorConfig
from tests.integration.gateway_kit import secret

HERE, THERE = "token-of-this-region", "token-of-the-other"


@pytest.fixture
async def regions() -> AsyncIterator[tuple[Simulator, Simulator]]:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(Simulator(SimulatorConfig(credentials=Credentials(tokens=frozenset({t})))))
            for t in (HERE, THERE)
        ]
        yield first, second


def account(gateway: Simulator, token: str) -> AccountConfig:
    return AccountConfig(name="default", base_url=gateway.url, auth=TokenAuth(secret(token)))


def token_check(checks: list[Check]) -> Check:
    (found,) = [check for check in checks if check.name == "default: token"]
    return found


async def test_the_other_region_takes_it(regions: tuple[Simulator, Simulator]) -> None:
    here, there = regions
    found = token_check(await account_checks(account(here, THERE), None, (here.url, there.url)))
    assert found.level is Level.FAILURE
    assert "accepted by" in found.evidence
    assert f'base_url = "{there.url}"' in found.next_step


async def test_both_refuse_it(regions: tuple[Simulator, Simulator]) -> None:
    here, there = regions
    found = token_check(await account_checks(account(here, "neither"), None, (here.url, there.url)))
    assert found.level is Level.FAILURE
    assert "refuses it too" in found.evidence
    assert (here.statistics().requests, there.statistics().requests) == (1, 1)


async def test_the_other_region_is_down(regions: tuple[Simulator, Simulator]) -> None:
    here, there = regions
    url = there.url
    await there.stop()
    found = token_check(await account_checks(account(here, THERE), None, (here.url, url)))
    assert "could not be asked" in found.evidence


async def test_an_accepted_token_is_shown_to_nobody_else(regions: tuple[Simulator, Simulator]) -> None:
    here, there = regions
    found = token_check(await account_checks(account(here, HERE), None, (here.url, there.url)))
    assert found.level is Level.OK
    assert there.statistics().requests == 0


async def test_a_token_for_a_gateway_of_ones_own_never_leaves_it(regions: tuple[Simulator, Simulator]) -> None:
    here, there = regions
    found = token_check(await account_checks(account(here, THERE), None, (there.url, "http://127.0.0.1:9")))
    assert found.level is Level.FAILURE
    assert there.statistics().requests == 0
    assert "region" not in found.next_step


def test_the_regions_are_the_vendors_two() -> None:
    assert REGIONS == ("https://gatewayapi.com", "https://gatewayapi.eu")
