"""Times in and out: what is printed can be given back, and what cannot be a time is refused by name in every form."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

import pollerd
from pollerd.simulator import Population, Simulator, SimulatorConfig
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import until
from tests.sqlite_kit import autocommit, rows

BERLIN: Final = {"TZ": "Europe/Berlin"}
PRINTED: Final = re.compile(r"2026-11-26 18:30:05\+01:00")
SENT: Final = 1795714205.0
"""2026-11-26 18:30:05 in Berlin."""
NO_TIMES: Final = {
    "20261126": "a date in digits",
    "20261126183005": "a date in digits",
    "2461371": "a Julian day",
    "46352": "a spreadsheet's serial date",
    "1795714205000": "milliseconds",
    "1795714205000000": "micro",
}


@pytest.fixture
def berlin(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.environment |= BERLIN
    return made


def test_what_is_printed_can_be_given_back(berlin: Cli) -> None:
    assert berlin("track", "1", "--sent-at", str(SENT)).code == 0
    printed = PRINTED.search(berlin("show", "1").text)
    assert printed is not None
    assert berlin("track", "2", "--sent-at", printed[0], "--sendtime", printed[0]).code == 0
    assert rows(berlin.database, "SELECT sent_at, sendtime FROM messages WHERE id = 2") == [(SENT, SENT)]


@pytest.mark.parametrize("option", ["--sent-at", "--sendtime"])
@pytest.mark.parametrize("given", ["2026-11-24T08:00", "2026-11-24 08:00:00", "20261124T080000"])
def test_a_time_without_a_zone_is_refused_with_both_readings(berlin: Cli, option: str, given: str) -> None:
    done = berlin("track", "1", option, given)
    assert (done.code, done.out) == (2, b"")
    words = " ".join(done.err.split())
    assert "2026-11-24T08:00:00+01:00 (as here) or 2026-11-24T08:00:00Z (UTC)" in words
    assert not berlin.database.exists()


@pytest.mark.parametrize("option", ["--sent-at", "--sendtime"])
def test_a_number_that_cannot_be_a_time_is_refused_on_the_command_line(berlin: Cli, option: str) -> None:
    for given, meant in NO_TIMES.items():
        done = berlin("track", "1", option, given)
        assert (done.code, given in done.err, meant in " ".join(done.err.split())) == (2, True, True), done.err


@pytest.mark.parametrize("name", ["sent_at", "sendtime"])
def test_python_refuses_both(tmp_path: Path, name: str) -> None:
    client = pollerd.Client(database=tmp_path / "pollerd.db")
    for given, why in ((datetime(2026, 11, 24, 8), "has no zone"), (20261126, "cannot be a time")):  # noqa: DTZ001 - the case
        with pytest.raises(ValueError, match=f"{name} .* {why}"):
            client.track(1, sent_at=given) if name == "sent_at" else client.track(1, sendtime=given)


async def test_a_row_with_no_time_waits_is_named_and_goes_on_when_corrected(tmp_path: Path) -> None:
    """By SQL and by a source; the others are polled meanwhile."""
    application = tmp_path / "application.db"
    with autocommit(application) as other:
        other.execute("CREATE TABLE sms (id, sent_at)")
        other.execute("INSERT INTO sms VALUES (50, 46352), (51, datetime('now'))")
    source = f'[[sources.sqlite]]\npath = "{application}"\nevery = "1s"\nquery = "SELECT id, sent_at FROM sms"'
    simulated = SimulatorConfig(population=Population(any_id=True, visibility_median=0.0))
    async with Simulator(simulated) as simulator, Deployment(tmp_path, simulator, more=source) as deployment:
        await deployment.start()
        bad = dict(enumerate([*map(int, NO_TIMES), "yesterday", "2026-13-45"], 1))
        with autocommit(deployment.database) as connection:
            for number, value in bad.items():
                connection.execute("INSERT INTO messages (id, sent_at) VALUES (?, ?)", (number, value))
            connection.execute("INSERT INTO messages (id, sendtime) VALUES (20, 20261126)")
            connection.execute("INSERT INTO messages (id, sent_at) VALUES (30, datetime('now')), (31, '')")
        waiting = {*bad, 20}

        def aside() -> set[int]:
            return {row[0] for row in deployment.query("SELECT id FROM messages WHERE state = 4")}

        await until(lambda: aside() == waiting, "they wait")
        await until(lambda: all(simulator.truth.polls(number) for number in (30, 31, 51)), "the others are polled")
        assert not any(simulator.truth.polls(number) for number in (*waiting, 50))
        named = [entry["message_id"] for entry in deployment.log() if entry["event"] == "row_set_aside"]
        assert sorted(named) == sorted(waiting)
        assert "its sent_at 46352 cannot be a time" in deployment.text_log()
        for command in ("status", "health"):
            _, out, _ = await deployment.command(command)
            assert "message 1: its sent_at 20261126 cannot be a time" in " ".join(out.split()), out
        seen = await doctor(deployment)
        assert "its sendtime 20261126 cannot be a time" in seen.evidence("set aside")
        assert "Correct the row's sendtime" in seen.next_step("set aside")
        assert not [event for event in deployment.events() if event["type"] == "message.gave_up"]

        with autocommit(deployment.database) as connection:
            connection.execute("UPDATE messages SET sent_at = ? WHERE id = 1", (time.time(),))
            connection.execute("UPDATE messages SET sendtime = NULL WHERE id = 20")
        with autocommit(application) as other:
            other.execute("UPDATE sms SET sent_at = datetime('now') WHERE id = 50")
        await until(lambda: all(simulator.truth.polls(number) for number in (1, 20, 50)), "they go on")
        code, out, err = await deployment.command("untrack", "2")
        assert (code, err) == (0, ""), out
        status = json.loads((await deployment.command("status", "--json"))[1])
        assert status["messages"]["set_aside"] == len(waiting) - 3
        assert status["sources"][0]["refused"] == 0
