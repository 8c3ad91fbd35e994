"""The store in PostgreSQL, as a user meets it: plain SQL, rights, and what each mistake is answered with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, Step
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until
from tests.servers.database import PASSWORD, new_name
from tests.store_database import StoreDatabase

QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "1s"'
ENDING = [Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED")]
DOCUMENTED = Path(__file__).parents[2] / "docs" / "postgresql.md"


def documented(heading: str) -> str:
    """The SQL that stands under a heading of the documentation."""
    part = DOCUMENTED.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(r"```sql\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


async def test_an_application_inserts_ids_and_reads_states(tmp_path: Path, store_database: StoreDatabase) -> None:
    """As a role with no other rights than the documented ones, made by the documented statement."""
    database, shop = store_database.database, new_name()
    async with Simulator() as simulator, Deployment(tmp_path, simulator, store_database, backoff=QUICK) as pollerd:
        for number in (421332671, 421332672):
            simulator.truth.add(number, steps=ENDING)
        await pollerd.start()
        database.script(documented("A user for an application").replace("shop", shop).replace("'...'", f"'{PASSWORD}'"))
        with database.connect(shop) as connection:
            for _ in range(2):
                connection.execute("INSERT INTO messages (id) VALUES (421332671) ON CONFLICT DO NOTHING")
            connection.execute(
                "INSERT INTO messages (id, userref, sent_at) VALUES (421332672, 'order-17', extract(epoch FROM now()))"
                " ON CONFLICT DO NOTHING"
            )
            await until(lambda: len(finals(pollerd.events())) == 2, "both have ended")
            columns = "id, account, userref, msisdn, status, final, time, error"
            found = connection.execute(f"SELECT {columns} FROM statuses ORDER BY id").fetchall()
            newest = {event["id"]: event for event in pollerd.events() if event["type"] == "message.status"}
            names = columns.split(", ")
            assert found == [tuple(newest[number][name] for name in names) for number in (421332671, 421332672)]
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (len(pollerd.events()),)
            for forbidden in (
                "UPDATE messages SET state = 2",
                "DELETE FROM events",
                "SELECT * FROM members",
                "INSERT INTO messages (id, state) VALUES (5, 2)",
            ):
                with pytest.raises(Exception, match="permission denied"):
                    connection.execute(forbidden)
        assert await pollerd.stop() == 0


async def test_the_same_view_is_in_sqlite(tmp_path: Path) -> None:
    async with Simulator() as simulator, Deployment(tmp_path, simulator, backoff=QUICK) as pollerd:
        await pollerd.start()
        ids = [simulator.truth.add(recipients=2, steps=ENDING) for _ in range(3)]
        pollerd.insert(ids)
        await until(lambda: len(finals(pollerd.events())) == 6, "all have ended")
        columns = "id, account, userref, msisdn, status, final, time, error"
        found = pollerd.query(f"SELECT {columns} FROM statuses ORDER BY id, msisdn")
        newest = {(e["id"], e["msisdn"]): e for e in pollerd.events() if e["type"] == "message.status"}
        assert found == [tuple(newest[key][name] for name in columns.split(", ")) for key in sorted(newest)]
        assert pollerd.query("SELECT status FROM statuses WHERE id = ?", ids[0])
        assert await pollerd.stop() == 0


async def test_through_pgbouncer_in_transaction_mode(tmp_path: Path, pooled_database: StoreDatabase) -> None:
    """More of it, the end-to-end tests among it: POLLERD_LONG=1 pytest tests/acceptance -k pgbouncer."""
    async with Simulator() as simulator, Deployment(tmp_path, simulator, pooled_database, backoff=QUICK) as pollerd:
        await pollerd.start()
        ids = [simulator.truth.add(steps=ENDING) for _ in range(100)]
        pollerd.insert(ids)
        await until(lambda: len(finals(pollerd.events())) == 100, "all have ended")
        for command in (["list"], ["status"], ["events", "--json"], ["doctor"]):
            code, shown, said = await pollerd.command(*command)
            assert code in (0, 1), said
            assert command != ["doctor"] or "NOTIFY does not arrive (a pooler" in " ".join(shown.split())
        assert await pollerd.stop() == 0
        events = pollerd.events()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.usefixtures("cold")
def test_without_a_url_no_driver_is_imported(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    program = (
        "import sys; from pollerd.cli import main; main(sys.argv[1:]);"
        "print([name for name in sys.modules if 'psycopg' in name or 'store.postgresql' in name])"
    )
    cli.command = lambda *arguments: [sys.executable, "-c", program, *arguments]  # type: ignore[method-assign]
    for command in (["track", "7"], ["list"], ["events", "--json"], ["untrack", "7"]):
        assert cli(*command).text.splitlines()[-1] == "[]"
