"""The command line without a daemon: what every command says, to whom, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from pollerd import diff
from pollerd import event as events
from pollerd.model import GiveUpReason, Message, Recipient, State
from pollerd.store import rows, schema
from tests.acceptance.cli_kit import Cli, until

EVIL = "\x1b[31mred\x9b2J\u202e [bold]x[/bold] :smile:"
HARMLESS = "[31mred2J\u202e [bold]x[/bold] :smile:"
"""What is kept of it as a userref: no control characters."""
NOW = 1_764_000_000.0


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """A database with one message of each kind, texts meant to do harm, and a few events."""
    connection = schema.prepare(cli.database)
    evil = Recipient(4512345678, "ENROUTE", NOW, EVIL, "0x1013", "DK", "238", "01")
    many = tuple(Recipient(4500000000 + i, "DELIVERED", NOW) for i in range(40))
    made = [
        Message(1, "default", NOW, NOW + 9, userref=EVIL, polls=3, last_answer="200", recipients=(evil,)),
        Message(2, "default", NOW, NOW, state=State.FINISHED, finished_at=NOW, recipients=(*many, evil)),
        Message(3, "default", NOW, NOW, state=State.GAVE_UP, finished_at=NOW),
        Message(4, "elsewhere", NOW, NOW, next_reason=EVIL),
    ]
    marks = ", ".join("?" * len(rows.COLUMNS))
    connection.executemany(
        f"INSERT INTO messages ({', '.join(rows.COLUMNS)}) VALUES ({marks})", map(rows.row_from_message, made)
    )
    bodies = [
        diff.told(made[0], diff.Diff((evil,), (diff.Change(evil, None),)), NOW)[0],
        diff.gave_up(made[2], GiveUpReason.DEADLINE, NOW),
        events.Held(account="default", reason="throttled", detail=EVIL, until=None, observed_at=events.instant(NOW)),
    ]
    for body in bodies:
        values = (events.event_type(body), getattr(body, "id", None), NOW, events.encode(body))
        connection.execute("INSERT INTO events (type, message_id, at, body) VALUES (?, ?, ?, ?)", values)
    connection.execute(
        "INSERT INTO accounts (name, held_reason, held_detail) VALUES ('default', 'throttled', ?)", (EVIL,)
    )
    connection.execute("INSERT INTO counters VALUES ('pending', 2), ('finished', 1), ('gave_up', 1), ('polls', 3)")
    connection.execute("INSERT INTO outputs VALUES ('file', 1, '', 0)")
    connection.close()
    return cli


def stored(cli: Cli, sql: str = "SELECT id FROM messages ORDER BY id") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(cli.database)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# -- the whole


def test_without_a_command_it_shows_what_there_is(cli: Cli) -> None:
    done = cli()
    assert done.code == 2
    assert cli("--help").code == 0
    for command in ("run", "demo", "simulate", "track", "status", "plan", "schema"):
        assert command in done.err
        assert cli(command, "--help").code == 0
    assert cli("--version").text.startswith("pollerd ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["trakc", "1"],
        ["track"],
        ["track", "--nonsense", "1"],
        ["track", "--account", "nobody", "1"],
        ["track", "--sent-at", "yesterday", "1"],
        ["track", "--sent-at", "1764000000000", "1"],
        ["track", "--sent-at", "nan", "1"],
        ["list", "--state", "lost"],
        ["list", "--limit", "0"],
        ["show"],
        ["show", "0"],
        ["events", "--after", "x"],
        ["events", "--after", "-1"],
        ["events", "--type", "x"],
        ["retry"],
        ["retry", "--all", "1"],
        ["poll"],
        ["plan", "--age", "soon"],
        ["plan", "--country", "DK", "--network", "238/01"],
        ["simulate", "--fault", "nonsense"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_so_on_standard_error(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("pollerd: ")
    assert "--help'" in done.err
    assert not cli.database.exists()


def test_a_near_command_is_named(cli: Cli) -> None:
    assert "Did you mean 'track'?" in cli("trakc", "1").err


@pytest.mark.parametrize("command", [["track", "1"], ["list"], ["status", "--json"], ["check"], ["config", "show"]])
def test_every_mistake_of_a_configuration_is_named_at_once(cli: Cli, command: list[str]) -> None:
    cli.config.write_text('[limits]\ntimeout = "x"\nmax_connections = 99\n[stroe]\n[backoff]\npolicy = "clever"\n')
    done = cli(*command)
    assert (done.code, done.out) == (78, b"")
    for key in ("timeout", "max_connections", "stroe", "policy"):
        assert key in done.err


def test_check_names_the_problems_for_programs_too(cli: Cli) -> None:
    cli.config.write_text('[limits]\ntimeout = "x"\n')
    done = cli("check", "--json")
    assert done.code == 78
    assert done.json["ok"] is False
    assert done.json["problems"][0]["key"] == "limits.timeout"


# -- track


def test_track_takes_what_it_can_and_names_the_rest(cli: Cli) -> None:
    bad = ["-5", "0", "01JNN696A9E0WS89FPYGT15NBX", str(2**63), str(2**64), "x\x1b[2J"]
    done = cli("track", "1", *bad, "2")
    assert done.code == 1
    assert [row[0] for row in stored(cli)] == [1, 2]
    assert done.text.startswith("tracked 2, refused 6.")
    assert "pollerd run" in done.text
    for text, why in zip(bad[:5], ["negative", "zero", "webhooks", "can be stored", "64 bits"], strict=True):
        assert any(text in line and why in line for line in done.err.splitlines())
    assert "\x1b" not in done.err


def test_track_counts_what_is_followed_already(filled: Cli) -> None:
    done = filled("track", "1", "3", "7")
    assert done.code == 0
    assert "tracked 1, already followed 2." in done.text
    assert "pollerd retry" in done.text
    again = filled("track", "--json", "1", "3", "7", "x")
    assert again.json == {
        "tracked": 0,
        "already_followed": 3,
        "of_those_given_up": 1,
        "refused": 1,
        "refusals": [{"line": None, "text": '"x"', "reason": again.json["refusals"][0]["reason"]}],
    }
    assert again.err == ""


def test_track_keeps_reference_account_and_time(cli: Cli) -> None:
    assert cli("track", "--userref", "order-17", "--sent-at", "2025-11-24T17:00:00+01:00", "1").code == 0
    assert cli("track", "--account", "default", "--sent-at", "1764000001", "2").code == 0
    columns = "SELECT id, account, userref, sent_at FROM messages"
    assert stored(cli, columns) == [(1, "default", "order-17", NOW), (2, "default", None, NOW + 1)]


def test_track_reads_the_send_calls_answers_and_lines(cli: Cli) -> None:
    answer = json.dumps({"ids": [11, 12], "usage": {"countries": {"DK": 2}}}, indent=2)
    done = cli("track", "-", "10", stdin=f"\ufeff# today\r\n\r\n13\r\n{answer}\n14".encode())
    assert (done.code, done.err) == (0, "")
    assert [row[0] for row in stored(cli)] == [10, 11, 12, 13, 14]


def test_track_reads_a_hundred_thousand_ids(cli: Cli) -> None:
    done = cli("track", "-", "--json", stdin="\n".join(map(str, range(1, 100_001))).encode())
    assert done.json["tracked"] == 100_000
    assert stored(cli, "SELECT count(*), min(id), max(id) FROM messages") == [(100_000, 1, 100_000)]


def test_track_names_twenty_and_counts_the_rest(cli: Cli) -> None:
    done = cli("track", "-", stdin=b"0\n" * 50 + b"1\n")
    assert done.code == 1
    assert len(done.err.splitlines()) == 21
    assert "30 more" in done.err
    assert "tracked 1, refused 50." in done.text


def test_track_hands_over_what_trickles_in_at_once(cli: Cli) -> None:
    with cli.running("track", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        until(lambda: cli.database.exists() and cli("list", "--json").out)
        assert process.poll() is None
        assert [row[0] for row in stored(cli)] == [1]


def test_track_waits_for_another_writer(cli: Cli) -> None:
    assert cli("track", "1").code == 0
    other = sqlite3.connect(cli.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with cli.running("track", "2") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        other.execute("COMMIT")
        assert process.wait(30) == 0
    other.close()


# -- reading


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


@pytest.mark.parametrize("arguments", READING)
def test_output_is_json_on_request_and_harmless_always(filled: Cli, arguments: list[str]) -> None:
    as_json = filled(*arguments, "--json")
    assert (as_json.code, as_json.err) == (0, "")
    assert as_json.lines
    for text in (as_json.text, filled(*arguments).text):
        assert not any(c in text for c in "\x1b\x9b\u202e"), text
        assert "NaN" not in text


def at_a_terminal(cli: Cli, *arguments: str, **environment: str) -> str:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        cli.command(*arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cli.folder,
        env={**cli.environment, "TERM": "xterm-256color", **environment},
    )
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
    assert process.wait(60) == 0, out
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


def test_show_tells_one_message_whole(filled: Cli) -> None:
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


def test_events_tell_of_a_gap(filled: Cli) -> None:
    connection = sqlite3.connect(filled.database)
    connection.execute("DELETE FROM events WHERE seq <= 2")
    connection.commit()
    connection.close()
    assert "2 to 2" in filled("events", "--after", "1").err
    assert filled("events").err == ""


def test_following_shows_what_comes_and_stops_quietly(filled: Cli) -> None:
    connection = sqlite3.connect(filled.database, isolation_level=None)
    with filled.running("events", "--follow", "--after", "2") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["seq"] == 3
        connection.execute("INSERT INTO events (type, at, body) VALUES ('x', 1, CAST('{\"type\":\"x\"}' AS BLOB))")
        assert json.loads(process.stdout.readline()) == {"seq": 4, "type": "x"}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
    connection.close()


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


def test_status_tells_the_whole(filled: Cli) -> None:
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


# -- requests without a daemon


def test_requests_are_done_by_the_command_itself(filled: Cli) -> None:
    untracked = filled("untrack", "1", "2", "3", "99", "-4")
    assert untracked.code == 1
    assert untracked.text.splitlines()[-1] == "1 is not followed any more."
    assert "99 is not followed" in untracked.err
    assert "negative" in untracked.err
    last = filled("events", "--id", "1").lines[-1]
    assert (last["type"], last["reason"]) == ("message.gave_up", "untracked")

    retried = filled("retry", "1", "2", "--json")
    assert retried.code == 0
    results = {item["id"]: item["result"] for item in retried.json["results"]}
    assert results == {1: "taken_up", 2: "already_finished"}

    polled = filled("poll", "1", "3", "4", "--json")
    assert polled.code == 1
    results = {item["id"]: item["result"] for item in polled.json["results"]}
    assert results == {1: "due", 3: "given_up", 4: "account_not_configured"}
    assert stored(filled, "SELECT count(*) FROM requests") == [(0,)]


def test_everything_that_was_given_up_is_taken_up(filled: Cli) -> None:
    assert filled("retry", "--all", "--json").json == {"taken_up": 1, "still_given_up": 0}
    assert "Nothing" in filled("retry", "--all").text
    assert filled("list", "--state", "gave_up", "--json").out == b""


# -- configuration


def test_the_starter_is_written_once(cli: Cli) -> None:
    done = cli("config", "init", "new.toml")
    assert done.code == 0
    path = cli.folder / "new.toml"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007
    text = path.read_text()
    assert cli("config", "init", "-").text == text
    again = cli("config", "init", "new.toml")
    assert again.code == 1
    assert "--force" in again.err
    assert cli("config", "init", "--force", "new.toml").code == 0
    nowhere = cli("config", "init", "no/such/folder.toml")
    assert nowhere.code == 1
    assert "folder" in nowhere.err


def test_the_effective_configuration_hides_secrets(cli: Cli) -> None:
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        shown = cli(*arguments).text
        assert "simulator-demo" not in shown
        assert "***" in shown


def test_check_says_what_is_good_and_warns(cli: Cli) -> None:
    done = cli("check")
    assert (done.code, done.err) == (0, "")
    assert "good" in done.text
    cli.config.chmod(0o644)
    assert "warning" in cli("check").err
    assert cli("check", "--json").json["warnings"]


def test_the_schema_describes_every_event(cli: Cli) -> None:
    assert {"message.status", "account.credit_ok"} <= {
        name for definition in cli("schema").json["$defs"].values() for name in definition["properties"]["type"]["enum"]
    }


def test_plan_answers_for_an_age(cli: Cli) -> None:
    everything = cli("plan", "--json").json["rows"]
    late = cli("plan", "--json", "--age", "1h", "--country", "dk").json
    assert late["key"] == "DK"
    assert len(late["rows"]) < len(everything)
    assert all(row["age"] > 3600 for row in late["rows"])
