"""The credit watch, in a whole daemon and part by part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pollerd.config import load
from pollerd.core.model import HoldReason
from pollerd.core.ports import AccountState, Batch, CreditState
from pollerd.daemon.app import App
from pollerd.simulator import Simulator, SimulatorConfig
from tests.integration.output_kit import opened, until
from tests.sqlite_kit import autocommit, rows


@asynccontextmanager
async def daemon(folder: Path, simulator: Simulator, credit: str) -> AsyncIterator[App]:
    path = folder / "pollerd.toml"
    token = next(iter(simulator.config.credentials.tokens))
    path.write_text(
        f"""
[accounts.default]
base_url = "{simulator.url}"
token = "{token}"
[store]
path = "pollerd.db"
[outputs.file]
path = "events.ndjson"
[control]
socket = "control.sock"
[credit]
{credit}
"""
    )
    app = App(load(path, {}, folder))
    running = asyncio.create_task(app.run())
    started = asyncio.create_task(app.started.wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    try:
        yield app
    finally:
        app.stop()
        await running


def told(folder: Path) -> list[tuple[str, float]]:
    path = folder / "events.ndjson"
    events: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(event["type"], event["credit"]) for event in events if event["type"].startswith("account.credit")]


def looks(simulator: Simulator) -> int:
    return simulator.statistics().by_action.get("balance", 0)


async def looked(simulator: Simulator, times: int) -> None:
    enough = looks(simulator) + times
    await until(lambda: looks(simulator) >= enough, f"{times} looks at the balance")


async def test_each_crossing_is_reported_once_and_only_past_the_margin(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(credit=1000.0)) as simulator:
        async with daemon(tmp_path, simulator, 'warn_below = 100\ncheck_every = "1s"'):
            await looked(simulator, 2)
            assert told(tmp_path) == []
            simulator.set_credit(99.5)
            await until(lambda: told(tmp_path) == [("account.credit_low", 99.5)], "low")
            simulator.set_credit(101.0)
            await looked(simulator, 2)
            assert len(told(tmp_path)) == 1
        assert rows(tmp_path / "pollerd.db", "SELECT credit, currency, credit_low FROM accounts") == [(101.0, "DKK", 1)]
        async with daemon(tmp_path, simulator, 'warn_below = 100\ncheck_every = "1s"'):
            # What was low before the restart is not reported again.
            await looked(simulator, 2)
            simulator.set_credit(105.0)
            await until(lambda: len(told(tmp_path)) == 2, "well again")
    assert told(tmp_path) == [("account.credit_low", 99.5), ("account.credit_ok", 105.0)]


async def test_without_a_threshold_nothing_is_asked(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(credit=1.0)) as simulator, daemon(tmp_path, simulator, "") as app:
        assert app.config.credit.warn_below is None
    assert looks(simulator) == 0


async def test_a_hold_does_not_overwrite_the_credit_nor_the_credit_a_hold(tmp_path: Path) -> None:
    async with opened(tmp_path / "p.db") as store:
        held = AccountState("default", HoldReason.FORBIDDEN, "no", 1.0, 2.0, 3.0)
        await store.commit(Batch(accounts=(held,)))
        await store.commit(Batch(credits=(CreditState("default", 9.5, "DKK", low=True, at=7.0),)))
        await store.commit(Batch(accounts=(AccountState("default", held_total=4.0),)))
        assert (await store.accounts())["default"] == AccountState(
            "default", held_total=4.0, credit=9.5, currency="DKK", credit_low=True, credit_at=7.0
        )
        await store.commit(Batch(accounts=(held,)))
        await store.commit(Batch(credits=(CreditState("default", 200.0, "DKK", low=False, at=8.0),)))
        found = (await store.accounts())["default"]
        assert (found.held_reason, found.held_total, found.credit, found.credit_low) == (
            HoldReason.FORBIDDEN, 3.0, 200.0, False,
        )  # fmt: skip


async def test_while_the_account_is_held_the_balance_is_not_asked_for(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(credit=1.0)) as simulator:
        message = simulator.truth.add()
        simulator.faults.set("401:1")
        async with daemon(tmp_path, simulator, 'warn_below = 100\ncheck_every = "1s"') as app:
            with autocommit(tmp_path / "pollerd.db") as database:
                database.execute("INSERT INTO messages (id) VALUES (?)", (message,))
            assert app.daemon is not None
            account = app.daemon.accounts["default"]
            await until(lambda: account.limiter.held is not None, "the account is held")
            before = looks(simulator)
            # One more poll of the held account proves that a check was due as well.
            polls = simulator.statistics().reads
            await until(lambda: simulator.statistics().reads > polls, "a probe")
            assert looks(simulator) == before
            assert told(tmp_path) == []


@pytest.mark.parametrize("fault", ["500:1", "reset:1", "html:1"])
async def test_a_balance_that_cannot_be_read_is_named_once(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator(SimulatorConfig(credit=1.0)) as simulator:
        simulator.faults.set(fault)
        async with daemon(tmp_path, simulator, 'warn_below = 100\ncheck_every = "1s"'):
            await until(lambda: "the balance of account default cannot be read" in caplog.text, "the warning")
            simulator.faults.set()
            await until(lambda: told(tmp_path) == [("account.credit_low", 1.0)], "the balance")
    assert caplog.text.count("the balance of account default cannot be read") == 1
