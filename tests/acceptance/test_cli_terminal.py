"""The list on narrow terminals, commands whose standard streams are closed, and counts that stop."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pollerd.core.model import Message, Recipient
from pollerd.store import rows
from pollerd.store.sqlite import schema
from tests.acceptance.cli_kit import Cli, Done
from tests.acceptance.offline_kit import NOW, stored
from tests.acceptance.test_cli_reading import at_a_terminal
from tests.acceptance.waiting import wait_for

LONG_ID = 421332671123


@pytest.fixture
def listed(tmp_path: Path) -> Cli:
    """One message with everything that takes room, in a database of two accounts."""
    cli = Cli(tmp_path, extra='[accounts.second-sender]\ntoken = "x"\n')
    recipients = tuple(Recipient(4500000000 + i, "ENROUTE" if i else "UNDELIVERABLE", NOW) for i in range(3))
    message = Message(LONG_ID, "default", NOW, NOW, userref="order-17-of-the-long-names", recipients=recipients)
    connection = schema.prepare(cli.database)
    marks = ", ".join("?" * len(rows.COLUMNS))
    connection.execute(
        f"INSERT INTO messages ({', '.join(rows.COLUMNS)}) VALUES ({marks})", rows.row_from_message(message)
    )
    connection.close()
    return cli


def at_width(cli: Cli, width: int) -> str:
    """The list as a terminal of that many columns gets it, without bold letters."""
    return re.sub("\x1b\\[[0-9;]*m", "", at_a_terminal(cli, "list", NO_COLOR="1", COLUMNS=str(width)))


@pytest.mark.parametrize("width", [8, 20, 40, 50, 60, 70, 80, 100, 200])
def test_an_id_and_a_state_are_whole_at_any_width(listed: Cli, width: int) -> None:
    shown = at_width(listed, width)
    assert re.findall(r"\d{6,}", shown) == [str(LONG_ID)]
    for word in re.findall(r"[A-Z]{3,}", shown):
        assert word in ("ENROUTE", "UNDELIVERABLE")
    table = [line for line in shown.splitlines() if not line.startswith("pollerd: ")]
    assert all(len(line) <= max(width, len(str(LONG_ID))) for line in table)


def test_columns_are_left_out_from_the_right_and_named(listed: Cli) -> None:
    wide = at_width(listed, 200)
    assert "order-17-of-the-long-names" in wide
    assert "no room" not in wide
    cut = at_width(listed, 110)
    assert "order-" in cut
    assert "…" in cut
    narrow = at_width(listed, 45)
    assert "UNDELIVERABLE" in narrow
    assert "order" not in narrow
    assert "no room for: age, polls, next poll, userref, account" in " ".join(narrow.split())


def closed(cli: Cli, redirection: str, *arguments: str) -> Done:
    """A command with standard streams closed as the shell closes them."""
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "x", *cli.command(*arguments)],
        capture_output=True,
        cwd=cli.folder,
        env=cli.environment,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_hold_up_no_command(cli: Cli, redirection: str) -> None:
    commands = [["track", "77"], ["track", "78", "--json"], ["list"], ["list", "--json"], ["status"], ["check"]]
    for arguments in (*commands, ["--help"], ["events"], ["show", "77"]):
        done = closed(cli, redirection, *arguments)
        # No daemon runs.
        assert (done.code, done.err) == (69 if arguments == ["status"] else 0, ""), arguments
        assert bool(done.out) == (">&-" not in redirection.replace("2>&-", "") and arguments != ["events"]), arguments
    assert stored(cli) == [(77,), (78,)]
    assert stored(cli, "PRAGMA integrity_check") == [("ok",)]


def test_no_file_of_the_daemon_takes_the_place_of_a_closed_stream(cli: Cli) -> None:
    closing = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "x", *cli.command("run")]
    with subprocess.Popen(closing, cwd=cli.folder, env=cli.environment) as daemon:
        try:
            wait_for(lambda: cli("status", "--json").out and cli("status", "--json").json["daemon"]["running"])
            assert [str(Path(f"/proc/{daemon.pid}/fd/{number}").readlink()) for number in range(3)] == [os.devnull] * 3
        finally:
            daemon.terminate()
        assert daemon.wait(30) == 0


def test_a_failure_keeps_its_exit_code_with_everything_closed(cli: Cli) -> None:
    assert closed(cli, "<&- >&- 2>&-", "trakc").code == 2
    assert closed(cli, "<&- >&- 2>&-", "list").code == 69
    lacking = closed(cli, "<&-", "track", "-")
    assert lacking.code == 2
    assert "Standard input is closed" in lacking.err


@pytest.mark.usefixtures("engine")
def test_a_long_list_comes_whole_and_in_order(cli: Cli) -> None:
    assert cli("track", "-", stdin="\n".join(map(str, range(1, 2501))).encode()).code == 0
    assert [item["id"] for item in cli("list", "--json", "--limit", "9999").lines] == list(range(2500, 0, -1))
    assert [item["id"] for item in cli("list", "--json", "--limit", "1001").lines] == list(range(2500, 1499, -1))
    pending = cli("list", "--json", "--limit", "9999", "--state", "pending").lines
    assert [item["id"] for item in pending] == list(range(1, 2501))


@pytest.mark.usefixtures("engine")
def test_a_count_that_stops_is_reported_as_the_least(cli: Cli) -> None:
    assert cli("track", "-", stdin="\n".join(map(str, range(1, 99_999))).encode()).code == 0
    assert "99,998 pending" in cli("status").text
    assert "least" not in cli("status").text
    assert cli("track", "-", stdin="\n".join(map(str, range(99_999, 100_005))).encode()).code == 0
    shown = cli("status").text
    assert "at least 100,000 pending" in shown
    assert "at least 100,000 not planned yet" in shown
    assert cli("status", "--json").json["messages"]["not_planned"] == 100_000


@pytest.mark.parametrize("speed", ["0", "nan", "inf", "-1", "-0.0"])
def test_a_simulator_cannot_stand_still(cli: Cli, speed: str) -> None:
    done = cli("simulate", "--port", "0", "--speed", speed)
    assert (done.code, done.out) == (2, b"")
    assert "speed is" in done.err


def test_a_busy_port_is_named_with_what_to_do(cli: Cli) -> None:
    with cli.running("simulate", "--port", "0") as first:
        assert first.stdout is not None
        port = first.stdout.readline().decode().strip().rpartition(":")[2]
        done = cli("simulate", "--port", port)
    assert (done.code, done.out) == (1, b"")
    assert f"127.0.0.1 port {port}" in done.err
    assert "--port" in done.err


@pytest.mark.usefixtures("engine")
def test_what_takes_a_message_up_again_can_be_typed_as_it_is_shown(filled: Cli) -> None:
    assert "pollerd retry 3 takes it up again" in filled("poll", "3").err
    assert filled("track", "3").text.splitlines()[1].endswith("pollerd retry 3")
    assert filled("track", "1", "3").text.splitlines()[1].endswith("pollerd retry --all")
