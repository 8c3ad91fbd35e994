"""The connection breaks while the server commits what a program has asked for: the answer says what became of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.waiting import until
from tests.integration.control_kit import daemon
from tests.servers.proxy import Proxy
from tests.store_database import StoreDatabase

LOCK = 4711
_SLOW_COMMIT = f"""
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_advisory_xact_lock({LOCK}); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION slow_commit();
"""
"""A commit that has new messages in it waits until the test lets it."""


@pytest.mark.parametrize("comes_back", [True, False], ids=["in time", "too late"])
async def test_what_was_handed_over_while_the_connection_broke(
    tmp_path: Path, store_database: StoreDatabase, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    if not comes_back:
        monkeypatch.setattr("pollerd.store.postgresql.writer.DEADLINE", 0.5)
    store_database.database.script(_SLOW_COMMIT)
    with Proxy(store_database.database.server.port) as proxy:
        async with daemon(tmp_path, store=store_database._replace(port=proxy.port).toml) as running:
            with store_database.database.connect() as other:
                other.execute(f"SELECT pg_advisory_lock({LOCK})")
                asked = asyncio.create_task(running.ask("POST", "/messages", {"ids": [7]}))
                waits = "SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'advisory'"
                await until(lambda: store_database.query(waits), "the server is about to commit")
                proxy.refuse()
                proxy.reset()
                if not comes_back:
                    answer = await asked
                    assert (answer.status, answer.reason) == (503, "outcome_unknown")
                    assert "may have taken effect" in answer.json["error"]["message"]
                other.execute(f"SELECT pg_advisory_unlock({LOCK})")
            proxy.accept()
            if comes_back:
                assert (await asked).json["tracked"] == 1
            # It has taken effect, and asking again does it no second time.
            await until(lambda: store_database.query("SELECT 1 FROM messages WHERE id = 7"), "it is committed")
            async with asyncio.timeout(60):
                while (again := await running.ask("POST", "/messages", {"ids": [7]})).status != 200:
                    await asyncio.sleep(0.1)
            assert (again.json["tracked"], again.json["known"]) == (0, 1)
            assert (await running.get("/status")).json["cluster"]["commit_doubts"] >= 1
            assert b"pollerd_commit_doubts_total 0" not in (await running.get("/metrics")).body
