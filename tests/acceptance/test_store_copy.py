"""`pollerd store copy`: from SQLite to PostgreSQL and back, with nothing lost, and the same numbers."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from pollerd.simulator import Simulator, Step
from pollerd.store.postgresql.copy import TABLES
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until
from tests.servers.database import PASSWORD
from tests.sqlite_kit import autocommit, rows
from tests.store_database import StoreDatabase

QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "200ms"\nmax_interval = "500ms"'
OWN_NOTES = ("store_id", "readable_from")


def in_sqlite(path: Path, table: str) -> list[Any]:
    columns = ", ".join(name for (name,) in rows(path, f"SELECT name FROM pragma_table_info('{table}')"))
    if table == "outputs":
        # The place of a file is its member's own.
        columns = columns.replace("name", f"iif(name IN ('file', 'socket'), name || '@{socket.gethostname()}', name)")
    found = rows(path, f"SELECT {columns} FROM {table}")
    return sorted(plain(row) for row in found if table != "meta" or row[0] not in OWN_NOTES)


def in_postgresql(path: Path, database: StoreDatabase, table: str) -> list[Any]:
    columns = ", ".join(name for (name,) in rows(path, f"SELECT name FROM pragma_table_info('{table}')"))
    return sorted(plain(row) for row in database.query(f"SELECT {columns} FROM {table}"))


def plain(row: tuple[Any, ...]) -> str:
    """A row in the same words, whichever driver gave it."""
    shown = []
    for value in row:
        if isinstance(value, bytes) and value.startswith(b"{"):
            shown.append(json.loads(value))
        else:
            shown.append(value.hex() if isinstance(value, bytes) else int(value) if isinstance(value, bool) else value)
    return json.dumps(shown, sort_keys=True)


async def test_there_and_back_again(tmp_path: Path, store_database: StoreDatabase) -> None:
    secret = tmp_path / "database-password"
    secret.write_text(PASSWORD)
    to = ("store", "copy", "--to", store_database.url(), "--password-file", str(secret), "--json")
    async with Simulator() as simulator, Deployment(tmp_path, simulator, backoff=QUICK) as pollerd:
        ended = [simulator.truth.add(steps=[Step(0.0, "ENROUTE"), Step(0.5, "DELIVERED")]) for _ in range(20)]
        pending = simulator.truth.add(recipients=2, steps=[Step(0.0, "ENROUTE")])
        await pollerd.start()
        pollerd.insert([*ended, pending])
        await until(lambda: len(finals(pollerd.events())) == 20, "all but one have ended")
        assert (await pollerd.command(*to))[0] == 75
        assert await pollerd.stop() == 0
        with autocommit(pollerd.database) as connection:
            # As applications and the daemon's other parts may leave them.
            connection.execute("INSERT INTO messages (id, sent_at) VALUES (77, '2026-11-26 10:00:00')")
            connection.execute("INSERT INTO messages (id, userref) VALUES (78, ?)", ("\u00e6\u2603\0'\\",))
            connection.execute("INSERT INTO source_ids VALUES ('shop', 1, 'd', '007'), ('shop', 2, 'd', 2.5)")
            connection.execute("INSERT INTO given VALUES ('shop', 1)")
            connection.execute("INSERT INTO requests (kind, message_id) VALUES ('poll', 5)")
            connection.execute(
                "INSERT INTO deliveries VALUES (3, 'message.status', 1, x'00ff', 'main', 1, 7, NULL, 'refused', 1.5)"
            )

        code, out, err = await pollerd.command(*to)
        assert code == 0, err
        copied = json.loads(out)
        assert copied["renamed_to"] == f"{pollerd.database}.copied"
        assert copied["rows"]["messages"] == 23
        assert not pollerd.database.exists()
        old = Path(copied["renamed_to"])
        for table in TABLES:
            if table != "messages":
                assert in_postgresql(old, store_database, table) == in_sqlite(old, table), table
        # A text is the time that it says, and what PostgreSQL has no text for is replaced.
        assert store_database.query("SELECT sent_at FROM messages WHERE id = 77") == [(1795687200.0,)]
        assert store_database.query("SELECT userref FROM messages WHERE id = 78") == [("\u00e6\u2603\ufffd'\\",)]
        unchanged = "id NOT IN (77, 78)"
        shown = "SELECT id, state, polls, next_poll_at, recipients, trail, unknown FROM messages WHERE "
        assert [*map(plain, store_database.query(f"{shown}{unchanged} ORDER BY id"))] == [
            *map(plain, rows(old, f"{shown}{unchanged} ORDER BY id"))
        ]

        # The daemon goes on there, with the next number.
        text = pollerd.config.read_text()
        pollerd.config.write_text(text.replace(f'path = "{pollerd.database}"', store_database.toml))
        pollerd.engine = store_database
        before = len(pollerd.events())
        more = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        await pollerd.start()
        pollerd.insert([more])
        await until(lambda: len(finals(pollerd.events())) == 21, "the new one has ended")
        assert await pollerd.stop() == 0
        events = pollerd.events()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert len(events) > before

        # What is not empty is not overwritten, and the file stays where it is.
        (tmp_path / "other").mkdir()
        other = Cli(tmp_path / "other")
        assert other("track", "5").code == 0
        refused = other(*to[:-1])
        assert refused.code == 1
        assert "nothing is replaced" in refused.err
        assert other.database.exists()

        back = tmp_path / "back.db"
        code, out, err = await pollerd.command("store", "copy", "--to", str(back))
        assert code == 0, err
        assert f'path = "{back}"' in out
        for table in TABLES:
            assert in_sqlite(back, table) == in_postgresql(back, store_database, table), table
        assert rows(back, "SELECT seq FROM sqlite_sequence WHERE name = 'events'") == [(len(events),)]
