"""A configuration that changes while the daemon runs: SIGHUP takes up what it can and names the rest."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollerd.simulator import Simulator
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.integration.test_systemd_notify import Listener
from tests.integration.webhook_kit import SECRET, receiving
from tests.sqlite_kit import autocommit


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    opened = Listener(str(tmp_path / "notify"))
    yield opened
    opened.socket.close()


def logged(deployment: Deployment, event: str) -> list[dict[str, Any]]:
    return [record for record in deployment.log() if record.get("event") == event]


async def reload(deployment: Deployment, event: str = "reloaded") -> dict[str, Any]:
    """SIGHUP; the record that says what came of it."""
    assert deployment.process is not None
    before = len(logged(deployment, event))
    deployment.process.send_signal(signal.SIGHUP)
    await until(lambda: len(logged(deployment, event)) > before, event)
    return logged(deployment, event)[-1]


def edit(deployment: Deployment, old: str, new: str) -> None:
    text = deployment.config.read_text()
    assert old in text
    deployment.config.write_text(text.replace(old, new, 1))


async def account(deployment: Deployment) -> Any:
    return json.loads((await deployment.command("status", "--json"))[1])["accounts"][0]


async def said(listener: Listener, wanted: str) -> str:
    """The datagram in which systemd hears it."""
    while wanted not in (text := await listener.hear_later()):
        pass
    return text


async def test_what_can_be_is_taken_up_and_the_rest_is_named(healthy: Deployment, listener: Listener) -> None:
    edit(healthy, "[backoff]", '[backoff]\npolicy = "exponential"\nfirst_poll_after = "1h"\nmax_interval = "2h"')
    async with healthy as deployment:
        await deployment.start(environment={"NOTIFY_SOCKET": listener.address})
        number = 421332671
        deployment.insert([number])
        await until(lambda: deployment.query("SELECT 1 FROM messages WHERE state = 1"), "it is planned")
        assert deployment.query("SELECT polls FROM messages")[0][0] == 0

        # Thresholds, limits, backoff and log: all of them at once.
        edit(deployment, "requests_per_second = 500", 'requests_per_second = 7.5\nmax_connections = 3\ntimeout = "9s"')
        edit(deployment, 'first_poll_after = "1h"', 'first_poll_after = "0s"')
        edit(deployment, 'max_interval = "2h"', 'min_interval = "100ms"\nmax_interval = "1s"')
        edit(deployment, 'format = "json"', 'format = "json"\nlevel = "debug"\n[credit]\nwarn_below = 5000.0')
        record = await reload(deployment)
        assert record["level"] == "info"
        assert record["restart"] == []
        for key in ("limits.requests_per_second", "limits.max_connections", "backoff.first_poll_after", "log.level"):
            assert key in record["changed"]
            assert key in record["message"]
        assert not [key for key in record["changed"] if key.startswith("accounts.")]
        assert (await account(deployment))["rate_limit"] == 7.5
        await until(lambda: deployment.query("SELECT 1 FROM messages WHERE polls > 0"), "polled at the new schedule")
        await until(lambda: any(e["type"] == "account.credit_low" for e in deployment.events()), "the balance is low")
        assert [record for record in deployment.log() if record["level"] == "debug"]

        # Nothing changed: nothing is said of the configuration.
        record = await reload(deployment)
        assert record["message"].startswith("reloaded: outputs reopened")

        # What needs a restart is named, in the journal, to systemd, and in the status.
        edit(deployment, f'path = "{deployment.database}"', f'path = "{deployment.folder / "other.db"}"')
        edit(deployment, "[limits]", '[accounts.eu]\ntoken = "another"\n[limits]')
        edit(deployment, "requests_per_second = 7.5", "requests_per_second = 8.5")
        record = await reload(deployment)
        assert record["level"] == "warning"
        assert record["changed"] == ["limits.requests_per_second"]
        assert set(record["restart"]) == {"store.path", "accounts.eu"}
        assert "store.path" in record["message"]
        assert "systemctl restart pollerd" in record["message"]
        assert "store.path" in await said(listener, "STATUS=restart needed")


async def test_a_broken_file_is_refused_and_the_old_one_goes_on(healthy: Deployment, listener: Listener) -> None:
    async with healthy as deployment:
        await deployment.start(environment={"NOTIFY_SOCKET": listener.address})
        good = deployment.config.read_text()
        for broken, named in (
            (good + "\nthis is no TOML", "not valid TOML"),
            (good.replace("requests_per_second = 500", "requests_per_secnd = 5"), "requests_per_second"),
            (good.replace("requests_per_second = 500", "requests_per_second = -1"), "requests_per_second"),
            (good.replace(f'"{deployment.folder}/token"', '"/nowhere/token"'), "/nowhere/token"),
            (None, "does not exist"),
        ):
            if broken is None:
                deployment.config.unlink()
            else:
                deployment.config.write_text(broken)
            record = await reload(deployment, "reload_refused")
            assert record["level"] == "error"
            assert named in record["message"]
            assert ".;" not in record["message"]
            assert "the changed configuration is refused" in await said(listener, "STATUS=the changed")
        deployment.config.write_text(good.replace("requests_per_second = 500", "requests_per_second = 50"))
        assert (await account(deployment))["rate_limit"] == 500
        assert (await reload(deployment))["changed"] == ["limits.requests_per_second"]
        assert (await account(deployment))["rate_limit"] == 50
        assert await deployment.stop() == 0


async def test_one_that_fails_half_way_is_taken_back_and_done_later(healthy: Deployment) -> None:
    """The store refuses one change, behind another that is taken up before it."""
    edit(healthy, "[backoff]", '[backoff]\npolicy = "exponential"\nfirst_poll_after = "1h"\nmax_interval = "2h"')
    planned = "SELECT next_poll_at - sent_at > 1800 FROM messages WHERE state = 1 ORDER BY id"
    async with healthy as deployment:
        await deployment.start()
        deployment.insert([421332671])
        await until(lambda: deployment.query(planned) == [(1,)], "it is planned")
        with autocommit(deployment.database) as connection:
            connection.execute(
                "CREATE TRIGGER refused BEFORE UPDATE OF overdue_at ON messages WHEN OLD.state = 1 "
                "BEGIN SELECT raise(ABORT, 'not now'); END"
            )
        edit(deployment, 'first_poll_after = "1h"', 'first_poll_after = "0s"')
        edit(deployment, "[limits]", 'overdue_after = "3h"\n[limits]')
        record = await reload(deployment, "reload_refused")
        assert "not now" in record["message"]
        deployment.insert([421332672])
        await until(lambda: len(deployment.query(planned)) == 2, "another one is planned")
        assert deployment.query(planned) == [(1,), (1,)], "as before"
        with autocommit(deployment.database) as connection:
            connection.execute("DROP TRIGGER refused")
        record = await reload(deployment)
        assert set(record["changed"]) == {"backoff.first_poll_after", "accounts.default.overdue_after"}
        await until(lambda: not deployment.query("SELECT 1 FROM messages WHERE polls = 0"), "both are polled")
        assert await deployment.stop() == 0


async def test_a_webhook_moves_to_another_receiver(tmp_path: Path, gateway: Simulator) -> None:
    """Nothing is posted twice, nothing is left out."""
    async with receiving() as first, receiving() as second:
        table = f'[outputs.webhook]\nurl = "{first.url}"\nsecret = "{SECRET}"\n'
        fast = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "200ms"'
        async with Deployment(tmp_path, gateway, more=table, backoff=fast) as deployment:
            await deployment.start()
            deployment.insert([gateway.truth.add()])
            await until(lambda: first.got, "the first receiver is told")
            edit(deployment, first.url, second.url)
            record = await reload(deployment)
            assert (record["changed"], record["restart"]) == (["outputs.webhook.url"], [])
            number = gateway.truth.add()
            deployment.insert([number])
            await until(lambda: [body for body in second.got if body["id"] == number], "the second receiver is told")
            assert not [body for body in first.got if body["id"] == number]
