"""The commands that read, without a daemon: what they show at a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Sequence

import pytest

from tests.acceptance.cli_kit import Cli
from tests.acceptance.offline_kit import EVIL

pytestmark = pytest.mark.usefixtures("engine")

HARMLESS = "[31mred2J\u202e [bold]x[/bold] :smile:"
"""What is kept of it as a userref: no control characters."""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["status"], 69),
        (["list"], 69),
        (["show", "1"], 69),
        (["events"], 69),
        (["poll", "1"], 1),
        (["untrack", "1"], 1),
    ],
)
def test_before_anything_is_tracked(cli: Cli, arguments: list[str], code: int) -> None:
    cli.store.empty()
    done = cli(*arguments)
    assert (done.code, done.out) == (code, b"")
    assert done.err.startswith("pollerd: ")
    assert not cli.database.exists()


READING = [
    ["list"],
    ["list", "--state", "pending"],
    ["list", "--state", "gave_up"],
    ["show", "1"],
    ["show", "2"],
    ["show", "4"],
    ["events"],
    ["status"],
    ["plan"],
    ["config", "show"],
]


def without_daemon(arguments: Sequence[str]) -> int:
    """The exit code while no daemon runs: `status` prints what the database says, and ends with 69."""
    return 69 if arguments[0] == "status" else 0


@pytest.mark.parametrize("arguments", READING)
def test_output_is_json_on_request_and_harmless_always(filled: Cli, arguments: list[str]) -> None:
    as_json = filled(*arguments, "--json")
    assert (as_json.code, as_json.err) == (without_daemon(arguments), "")
    assert as_json.lines
    for text in (as_json.text, filled(*arguments).text):
        assert not any(c in text for c in "\x1b\x9b\u202e"), text
        assert "NaN" not in text


def at_a_terminal(cli: Cli, *arguments: str, **environment: str) -> str:
    assert cli.warm is not None
    master, slave = pty.openpty()
    whole = {**cli.environment, "TERM": "xterm-256color", **environment}
    process = cli.warm.run(arguments, whole, (slave, slave, slave), cli.folder)
    os.close(slave)
    out = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        out += block
    os.close(master)
    assert process.wait_for(60) == without_daemon(arguments), out
    return out.decode()


@pytest.mark.parametrize("arguments", [["list"], ["show", "1"], ["status"], ["events"]])
def test_a_terminal_gets_colours_and_no_foreign_sequence(filled: Cli, arguments: list[str]) -> None:
    shown = at_a_terminal(filled, *arguments)
    assert "\x1b[" in shown
    assert "\x1b[31mred" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "\x1b[3" not in at_a_terminal(filled, *arguments, NO_COLOR="1")


def test_what_is_no_terminal_gets_whole_lines_without_colour(filled: Cli) -> None:
    shown = filled("list").text
    assert "\x1b" not in shown
    assert "40 DELIVERED, 1 ENROUTE" in shown
    assert "[bold]x[/bold] :smile:" in shown


def test_list_gives_the_states_asked_for(filled: Cli) -> None:
    assert [item["id"] for item in filled("list", "--json").lines] == [4, 3, 2, 1]
    assert [item["id"] for item in filled("list", "--json", "--state", "pending").lines] == [4, 1]
    assert [item["state"] for item in filled("list", "--json", "--state", "gave_up").lines] == ["gave_up"]
    assert len(filled("list", "--json", "--limit", "2").lines) == 2


def test_show_prints_one_message_whole(filled: Cli) -> None:
    document = filled("show", "1", "--json").json
    assert (document["id"], document["state"], document["userref"], document["polls"]) == (1, "pending", HARMLESS, 3)
    assert document["recipients"][0]["meaning"].startswith("absent subscriber")
    assert [event["seq"] for event in document["events"]] == [1]
    shown = filled("show", "1").text
    for text in ("absent subscriber", "on hold", "pollerd run", "ENROUTE"):
        assert text in shown
    assert "41 recipients" in filled("show", "2").text
    unknown = filled("show", "99")
    assert (unknown.code, unknown.out) == (1, b"")
    assert "pollerd track 99" in unknown.err


def test_events_are_the_log(filled: Cli) -> None:
    found = filled("events").lines
    assert [event["seq"] for event in found] == [1, 2, 3]
    assert found[0]["error"] == EVIL
    assert [event["seq"] for event in filled("events", "--after", "1", "--type", "message.gave_up").lines] == [2]
    assert [event["seq"] for event in filled("events", "--id", "1").lines] == [1]
    ahead = filled("events", "--after", "9")
    assert (ahead.code, ahead.out) == (0, b"")
    assert "ends at 3" in ahead.err


def test_events_report_a_gap(filled: Cli) -> None:
    filled.store.execute("DELETE FROM events WHERE seq <= 2")
    assert "2 to 2" in filled("events", "--after", "1").err
    assert filled("events").err == ""


def test_following_shows_what_comes_and_stops_quietly(filled: Cli) -> None:
    with filled.running("events", "--follow", "--after", "2") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["seq"] == 3
        filled.store.tell_as("x", None, 1.0, b'{"type":"x"}')
        assert json.loads(process.stdout.readline()) == {"seq": 4, "type": "x"}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""


def test_a_reader_that_goes_away_ends_following_quietly(filled: Cli) -> None:
    with filled.running("events", "--follow") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
        process.stdout = None


def test_a_closed_pipe_is_no_error(filled: Cli) -> None:
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | true', "x", *filled.command("schema")],
        cwd=filled.folder,
        env=filled.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_status_reports_the_whole(filled: Cli) -> None:
    document = filled("status", "--json").json
    assert document["daemon"] == {"running": False, "pid": None}
    assert document["messages"]["pending"] == 2
    assert document["messages"]["gave_up"] == 1
    assert [account["name"] for account in document["accounts"]] == ["default", "elsewhere"]
    assert document["accounts"][0]["hold"]["reason"] == "throttled"
    assert document["accounts"][1]["configured"] is False
    assert document["outputs"][0]["lag"] == 2
    shown = filled("status").text
    for text in ("does not run", "on hold", "throttled", "not in the configuration", "2 events"):
        assert text in shown


def test_watching_goes_on_until_it_is_stopped(filled: Cli) -> None:
    with filled.running("status", "--watch", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert looks[0]["polls"]["per_second"] is None
        assert looks[1]["polls"]["per_second"] == 0.0
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
