"""Rows that another program has damaged: set aside and named, while all others go on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from pollerd.simulator import Mix, Population, Simulator, SimulatorConfig, Step
from pollerd.store.rows import COLUMNS
from tests.acceptance.conftest import Row
from tests.acceptance.crash_kit import QUICK
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit, rows

VALUES: Final = ("'x'", "''", "x'00ff'", "9e999", "-9e999", "1e300", str(2**62), "-1", "0.5", "NULL")
HARMLESS: Final = {"id", "userref", "sent_at", "priority", "next_reason", "last_answer", "gave_up_for", "trail"}
"""Columns that others may fill, and those that are only for people: they cost no more than themselves."""
FATAL: Final = {
    ("polls", "'x'"), ("state", "'x'"), ("next_poll_at", "'x'"), ("next_poll_at", "NULL"), ("base", "9e999"),
    ("frozen_at", "x'00ff'"), ("strikes", str(2**62)), ("recipients", "'x'"), ("account", "x'00ff'"),
    ("misses", "0.5"), ("origin", "1e300"), ("state", "-1"), ("state", "0.5"),
}  # fmt: skip
"""Some that must be among those set aside."""
_NEVER_ENDS: Final = Mix(
    delivered=0, never=0, undeliverable=0, accepted=0, rejected=0, skipped=0, deleted=0, stuck=1
)  # fmt: skip
ENDLESS: Final = SimulatorConfig(population=Population(mix=_NEVER_ENDS, any_id=True, visibility_median=0.0))
"""What has ended before its row is damaged is read by nobody, and that depends on how busy the machine is."""
LATE: Final = SimulatorConfig(speed=1, population=Population(any_id=True, visibility_median=0.0))


def damages() -> Iterator[tuple[str, str]]:
    """Every column of the daemon's own with every strange value."""
    yield from ((column, value) for column in COLUMNS[1:] for value in VALUES)


async def test_every_column_with_every_strange_value(tmp_path: Path, row: Row) -> None:
    """Each message is set aside and named, or goes on; none is lost in silence, and the daemon starts each time."""
    made = dict(enumerate(damages(), 1))
    sound = range(10_000, 10_020)
    async with Simulator(ENDLESS) as simulator, Deployment(tmp_path, simulator, backoff=QUICK) as deployment:
        await deployment.start()
        deployment.insert([*made, *sound])
        await until(lambda: not rows(deployment.database, "SELECT 1 FROM messages WHERE polls = 0"), "all were polled")
        assert await deployment.stop() == 0
        with autocommit(deployment.database) as connection:
            for number, (column, value) in made.items():
                # What may not be NULL refuses it itself.
                connection.execute(f"UPDATE OR IGNORE messages SET {column} = {value} WHERE id = ?", (number,))
        asked = {number: simulator.truth.polls(number) for number in (*made, *sound)}
        await deployment.start()

        def aside() -> dict[int, str]:
            sql = "SELECT id, next_reason FROM messages WHERE state = 4"
            return dict(rows(deployment.database, sql))

        def silent() -> list[int]:
            kept = aside()
            # Ended, or of an account that nobody has configured: `status` names that one.
            waiting = "SELECT id FROM messages WHERE state >= 2 OR account <> 'default'"
            waits = {number for (number,) in rows(deployment.database, waiting)}
            return [n for n in asked if n not in kept and n not in waits and simulator.truth.polls(n) <= asked[n]]

        await until(lambda: not silent(), "each is set aside or polled")
        kept = aside()
        told = [e["message_id"] for e in deployment.log() if e["event"] == "row_set_aside" and "message_id" in e]
        more = [e["message"] for e in deployment.log() if e["event"] == "row_set_aside" and "message_id" not in e]
        assert len(told) == len(set(told))
        assert set(told) <= set(kept)
        assert len(told) == len(kept) or more
        for number, why in kept.items():
            column, value = made[number]
            assert column not in HARMLESS, (column, value)
            assert f"column {column} holds " in why
        assert {made[number] for number in kept} >= FATAL
        assert not kept.keys() & set(sound)

        code, out, _ = await deployment.command("status", "--json")
        status = json.loads(out)
        assert status["messages"]["set_aside"] == len(kept)
        assert any("set aside" in text for text in status["late"])
        number = min(kept)
        code, out, _ = await deployment.command("show", str(number))
        assert (code, "set aside" in out, f"pollerd retry {number}" in out) == (0, True, True), out
        code, out, _ = await deployment.command("list", "--state", "set_aside", "--limit", "1000", "--json")
        assert {json.loads(line)["id"] for line in out.splitlines()} == set(kept)
        seen = await doctor(deployment)
        named = {int(number) for number in re.findall(r"message (\d+) is not polled", seen.evidence("set aside"))}
        assert named
        assert named <= set(kept)
        assert (named == set(kept)) != ("there are more of them" in seen.evidence("set aside"))

        assert await deployment.stop() == 0
        before = deployment.text_log().count("row_set_aside")
        await deployment.start()
        assert deployment.text_log().count("row_set_aside") == before
        assert aside() == kept
        ids = [str(number) for number in kept]
        code, out, err = await deployment.command("poll", ids[0])
        assert (code, "pollerd retry" in err) == (1, True)
        code, out, err = await deployment.command("retry", *ids[1:])
        assert code == 0, err
        assert (await deployment.command("untrack", ids[0]))[0] == 0
        assert aside() == {}
        await until(
            lambda: all(simulator.truth.polls(int(n)) > asked[int(n)] for n in ids[1:]), "they are polled again"
        )
        assert await deployment.stop() == 0
        counted = dict(rows(deployment.database, "SELECT name, value FROM counters"))
        ((pending,),) = rows(deployment.database, "SELECT count(*) FROM messages WHERE state = 1")
        assert counted["pending"] == pending
        assert "Traceback" not in deployment.text_log()
        finals(deployment.events())
        row(f"{len(made)} damaged rows: {len(kept)} set aside, {len(made) - len(kept)} read all the same")


async def test_rows_damaged_while_they_are_polled(tmp_path: Path) -> None:
    """Set aside is not polled, from memory either, until it is taken up again; all are counted."""
    damaged = {1: "state = 'x'", 2: "state = -1", 3: "state = 0.5", 4: "account = ''"}
    sound = range(10, 20)
    async with Simulator(LATE) as simulator, Deployment(tmp_path, simulator, backoff=QUICK) as deployment:
        for number in (*damaged, *sound):
            simulator.truth.add(number, steps=[Step(0.0, "ENROUTE")])
        await deployment.start()
        deployment.insert([*damaged, *sound])
        # The first state is written with the whole row; who sets it aside in that moment polls on.
        total = len(damaged) + len(sound)
        again = "SELECT 1 FROM messages WHERE polls < 3"
        await until(lambda: not rows(deployment.database, again), "all were polled again")
        with autocommit(deployment.database) as connection:
            for number, change in damaged.items():
                connection.execute(f"UPDATE messages SET {change} WHERE id = ?", (number,))
        aside = "SELECT id FROM messages WHERE state = 4 ORDER BY id"
        await until(lambda: rows(deployment.database, aside) == [(n,) for n in damaged], "they are set aside")

        async def polled(ids: Iterable[int], more: int) -> None:
            before = {number: simulator.truth.polls(number) for number in ids}
            await until(lambda: all(simulator.truth.polls(n) >= before[n] + more for n in before), "polling goes on")

        # What was being asked for at that moment is answered.
        await polled(sound, 2)
        asked = {number: simulator.truth.polls(number) for number in damaged}
        await polled(sound, 5)
        assert {number: simulator.truth.polls(number) for number in damaged} == asked
        assert (await deployment.command("retry", *map(str, damaged)))[0] == 0
        await polled(damaged, 2)
        assert await deployment.stop() == 0
        assert rows(deployment.database, "SELECT value FROM counters WHERE name = 'pending'") == [(total,)]
        assert rows(deployment.database, "SELECT sum(count) FROM pending_by_age") == [(total,)]


OTHERS: Final = {
    "events": ("type", "message_id", "at", "body"),
    "outputs": ("seq", "detail", "updated_at"),
    "accounts": ("held_reason", "held_detail", "held_since", "held_until", "held_total", "credit", "currency",
                 "credit_low", "credit_at", "trusting", "refusal", "refusing"),
    "counters": ("value",),
    "pending_by_age": ("count",),
    "meta": ("value",),
    "requests": ("kind", "message_id", "at"),
    "sqlite_sequence": ("seq",),
}  # fmt: skip


async def test_other_tables_do_not_end_the_daemon_either(tmp_path: Path) -> None:
    async with Simulator(LATE) as simulator, Deployment(tmp_path, simulator, backoff=QUICK) as deployment:
        await deployment.start()
        deployment.insert(range(1, 6))
        await until(lambda: len(deployment.events()) >= 5, "it is at work")
        assert await deployment.stop() == 0
        for turn, value in enumerate(("'x'", "x'00ff'", "9e999"), 1):
            with autocommit(deployment.database) as connection:
                connection.execute("INSERT OR IGNORE INTO accounts (name) VALUES ('default')")
                connection.execute("INSERT INTO requests (kind, message_id) VALUES ('poll', 1)")
                for table, columns in OTHERS.items():
                    kept = " WHERE name <> 'readable_from'" if table == "meta" else ""
                    for column in columns:
                        if table != "events" or column != "body":
                            connection.execute(f"UPDATE {table} SET {column} = {value}{kept}")
                connection.execute("UPDATE events SET body = CAST(body AS TEXT)")
            await deployment.start()
            deployment.insert([100 + turn])
            await until(partial(simulator.truth.polls, 100 + turn), "it polls")
            assert (await deployment.command("status", "--json"))[0] == 0
            assert (await deployment.command("events", "--json"))[0] == 0
            code, _, err = await deployment.command("show", str(100 + turn))
            assert code == 0, err
            assert await deployment.stop() == 0
            assert (await deployment.command("status", "--json"))[0] == 69
        assert "Traceback" not in deployment.text_log()
