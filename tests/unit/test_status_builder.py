"""The status document, made from what the database knows and what a running daemon adds to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollerd.backoff import Metrics
from pollerd.config import Config, load
from pollerd.core.model import HoldReason
from pollerd.core.ports import AccountState, OutputHealth
from pollerd.core.ports.view import CAP, AccountView, OutputView, Overview, StoreSize
from pollerd.status.builder import build
from pollerd.status.document import AccountDocument
from pollerd.status.forecast import LOOKING_AHEAD
from pollerd.status.snapshot import LOST, AccountSnapshot, Snapshot

NOW = 1_764_000_000.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "pollerd.toml"
    path.write_text(
        f'[accounts.shop]\ntoken = "a"\n[accounts.alarms]\ntoken = "b"\n[store]\npath = "{tmp_path}/pollerd.db"\n'
        "[limits]\nrequests_per_second = 10\n"
    )
    path.chmod(0o600)
    return load(path, {})


def overview(*accounts: AccountView, pending: int, outputs: tuple[OutputView, ...] = ()) -> Overview:
    return Overview(
        daemon=7, new=0, pending=pending, finished=0, gave_up=0, polls=0, oldest_sent_at=None, last_seq=9, pruned_seq=0,
        requests=0, size=StoreSize(0, 0), accounts=accounts, outputs=outputs,
    )  # fmt: skip


def account(*, arrivals: float = 0.0, backlog: int = 0, held: AccountState | None = None) -> AccountSnapshot:
    return AccountSnapshot(
        polls=0, polls_short=0.0, polls_long=0.0, arrivals=arrivals, asking=0, in_memory=backlog, backlog=backlog,
        rate=10.0, held=held, held_total=0.0, keeps_connections=True, repeats=0,
    )  # fmt: skip


def live(
    accounts: dict[str, AccountSnapshot], *, outputs: tuple[OutputHealth, ...] = (), trouble: str = ""
) -> Snapshot:
    return Snapshot(
        uptime=60.0, accounts=accounts, outputs=outputs, sources=(), last_seq=12,
        backoff=Metrics(predicted_polls=200.0, measured_polls=None, price=None, events=0.0, down=()),
        throughput=(), trouble=trouble, stuck=None, log=(), followers=0,
    )  # fmt: skip


def by_name(accounts: list[AccountDocument]) -> dict[str, AccountDocument]:
    return {account.name: account for account in accounts}


def test_an_account_is_forecast_by_its_own_pending_messages(config: Config) -> None:
    """What waits cannot exceed what is pending: the other account's million is none of it."""
    stored = overview(AccountView("alarms", due=50, pending=50), AccountView("shop", pending=CAP), pending=1_000_050)
    snapshot = live({"shop": account(), "alarms": account(arrivals=0.1, backlog=30)})
    found = by_name(build(config, stored, None, NOW, snapshot).accounts)["alarms"].forecast
    assert found is not None
    assert found.kind == "overload"
    assert found.delay == pytest.approx((50 + 0.1 * LOOKING_AHEAD) / 10.0)


def test_where_the_count_of_an_account_stops_all_pending_messages_bound_its_forecast(config: Config) -> None:
    stored = overview(AccountView("shop", due=CAP, pending=CAP), pending=300_000)
    found = by_name(build(config, stored, None, NOW, live({"shop": account(arrivals=9.0)})).accounts)["shop"].forecast
    assert found is not None
    assert found.delay == pytest.approx((300_000 + 9.0 * LOOKING_AHEAD) / 10.0)


def test_a_running_daemon_knows_of_holds_and_outputs_before_the_database_does(config: Config) -> None:
    held = AccountState("shop", HoldReason.FORBIDDEN, "403", NOW - 60, NOW + 60)
    stored = overview(AccountView("shop"), pending=0, outputs=(OutputView("file", 9, 0, NOW - 5, NOW),))
    outputs = (OutputHealth("file", 10, "no space left"), OutputHealth("socket", 12, readers=2))
    found = build(config, stored, None, NOW, live({"shop": account(held=held), "alarms": account()}, outputs=outputs))
    shop = by_name(found.accounts)["shop"]
    assert (shop.state, shop.hold and shop.hold.reason) == ("held", "forbidden")
    assert shop.advice is not None
    file, socket = found.outputs
    assert (file.seq, file.lag, file.lag_seconds, file.trouble) == (10, 2, 5.0, "no space left")
    assert (socket.seq, socket.lag, socket.lag_seconds, socket.readers) == (12, 0, None, 2)
    assert build(config, stored, None, NOW).accounts[0].state == "polling"


def test_a_lost_database_is_reported_with_what_is_in_memory(config: Config) -> None:
    found = build(config, LOST, None, NOW, live({"shop": account()}, trouble="the database was removed"))
    assert (found.daemon.running, found.healthy, found.problem) == (True, False, "the database was removed")
    assert found.late == ["the database was removed"]
    assert found.database.trouble == "the database was removed"


def test_an_account_that_nobody_configured_is_shown_while_it_has_messages(config: Config) -> None:
    stored = overview(AccountView("left", pending=1, next_poll_at=NOW + 5), AccountView("gone"), pending=1)
    accounts = by_name(build(config, stored, None, NOW).accounts)
    assert list(accounts) == ["shop", "alarms", "left"]
    assert (accounts["left"].state, accounts["left"].configured) == ("unconfigured", False)
    assert accounts["left"].advice is not None
