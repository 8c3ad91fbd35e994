"""`status`, `show` and `plan` with a daemon and after it, as installed."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pollerd.base.failpoints import VARIABLE
from pollerd.base.text import clock
from pollerd.core.model import Message, Recipient, State
from pollerd.simulator import Simulator, Step
from pollerd.store import rows
from pollerd.store.sqlite import schema
from tests.acceptance.cli_kit import Cli
from tests.acceptance.crash_kit import QUICK
from tests.acceptance.deployment import Deployment
from tests.acceptance.offline_kit import stored
from tests.acceptance.test_cli_daemon import FAST, daemon, gateway
from tests.acceptance.waiting import until, wait_for
from tests.store_database import StoreDatabase

NOW = 1_764_000_000.0


def store(connection: sqlite3.Connection, message: Message) -> None:
    marks = ", ".join("?" * len(rows.COLUMNS))
    connection.execute(
        f"INSERT INTO messages ({', '.join(rows.COLUMNS)}) VALUES ({marks})", rows.row_from_message(message)
    )


def test_the_live_status_and_the_status_afterwards_agree(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "delivered=1", "--tail", "0.01", "--speed", "1000") as url:
        cli = Cli(tmp_path, url, FAST)
        with daemon(cli):
            assert cli("track", *map(str, range(17, 37))).code == 0
            wait_for(lambda: cli("status", "--json").json["messages"]["finished"] == 20)
            live = cli("status", "--json").json
            shown = cli("status").text
            assert live["accounts"][0]["forecast"]["kind"] in ("idle", "keeps_up")
            for text in ("The daemon runs", "outlook", "20 finished", "DELIVERED", "all events delivered", "country"):
                assert text in shown
            message = cli("show", "17", "--json").json
            assert [poll["answer"] for poll in message["trail"]][-1] == "DELIVERED"
            assert len(message["trail"]) == min(16, message["polls"])
            timeline = cli("show", "17").text
            for text in ("sent", "polled: DELIVERED", "complete after"):
                assert text in timeline
            assert timeline.index("sent") < timeline.index("complete after")
            learned = cli("plan", "--json").json
            assert learned["compared"] is None or learned["compared"]["delay"] > 0
        after = cli("status", "--json").json
        assert after["delivery"]["reached"] == live["delivery"]["reached"]
        assert after["delivery"]["countries"] == live["delivery"]["countries"]
        assert cli("plan", "--json").json["events"] > 0
        assert "before" in cli("plan").text


NAMED = (
    "time", "daemon.running", "daemon.pid", "pid", "healthy", "problem", "late", "uptime", "followers",
    "requests_waiting", "messages.pending", "messages.new", "messages.not_planned", "messages.finished",
    "messages.gave_up", "messages.overdue", "messages.set_aside", "messages.oldest_pending_sent_at",
    "messages.by_age", "oldest_pending_sent_at", "ages", "polls.total", "polls.per_second", "accounts.name",
    "accounts.state", "accounts.configured", "accounts.due", "accounts.late", "accounts.hold", "accounts.advice",
    "accounts.rate", "accounts.rate_limit", "accounts.forecast", "accounts.connections_kept",
    "accounts.repeated_requests", "accounts.source_addresses", "accounts.credit", "outputs.name", "outputs.seq",
    "outputs.lag", "outputs.lag_seconds", "outputs.behind_since", "outputs.readers", "outputs.trouble",
    "outputs.waiting", "outputs.parked", "sources", "undelivered.waiting", "undelivered.parked", "events.last_seq",
    "events.pruned_seq", "database.path", "database.bytes", "database.size", "database.wal_size",
    "database.trouble", "database.last_seq", "delivery", "backoff.policy", "throughput", "log",
)  # fmt: skip
"""What programs read, by its path; of a list its first item's."""


def named(document: Any, path: str) -> bool:
    """Whether the document has something by that path."""
    for name in path.split("."):
        document = document[0] if isinstance(document, list) else document
        if name not in document:
            return False
        document = document[name]
    return True


def test_status_is_one_document_whoever_asks_and_whether_the_daemon_runs(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "delivered=1", "--tail", "0.01", "--speed", "1000") as url:
        cli = Cli(tmp_path, url, FAST)
        with daemon(cli):
            assert cli("track", "17", "18").code == 0
            wait_for(lambda: cli("status", "--json").json["messages"]["finished"] == 2)
            socket = cli.database.parent / "control.sock"
            curl = ("curl", "-sS", "--unix-socket", str(socket), "http://localhost/status")
            asked = json.loads(subprocess.run(curl, capture_output=True, check=True, timeout=60).stdout)
            printed = cli("status", "--json").json
            assert printed.keys() == asked.keys()
            for name in ("daemon", "messages", "outputs", "events", "delivery", "sources", "undelivered"):
                assert printed[name] == asked[name], name
        stopped = cli("status", "--json").json
        assert stopped.keys() == printed.keys()
        assert [path for document in (asked, printed, stopped) for path in NAMED if not named(document, path)] == []
        assert stopped["messages"] == printed["messages"]
        assert stopped["polls"]["total"] == printed["polls"]["total"]
        assert stopped["daemon"] == {"running": False, "pid": None}


async def test_an_output_goes_by_its_name_and_says_since_when_it_is_behind(
    tmp_path: Path, gateway: Simulator, engine: StoreDatabase | None
) -> None:
    async def outputs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((await deployment.command("status", "--json"))[1])["outputs"]
        return found

    async with Deployment(tmp_path, gateway, engine, backoff=QUICK) as deployment:
        await deployment.start(environment={VARIABLE: "file.before_write=eio"})
        deployment.insert([gateway.truth.add(steps=[Step(0.0, "DELIVERED")])])
        await until(lambda: deployment.query("SELECT 1 FROM events"), "something is to be reported")
        file, socket = await outputs()
        assert (file["name"], socket["name"]) == ("file", "socket")
        assert file["lag"] > 0
        assert file["lag_seconds"] is not None
        assert file["behind_since"]
        await deployment.kill()
        assert {"file"} <= {output["name"] for output in await outputs()} <= {"file", "socket"}


def test_a_daemon_without_a_control_socket_is_read_through_its_database(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "stuck=1") as url:
        cli = Cli(tmp_path, url, '[backoff]\nfirst_poll_after = "1h"\n')
        with daemon(cli):
            (cli.database.parent / "control.sock").unlink(missing_ok=True)
            assert cli("track", "17", "18").code == 0
            wait_for(lambda: cli("status", "--json").json["messages"]["pending"] == 2)
            document = cli("status", "--json").json
            assert document["daemon"]["running"]
            ages = {group["up_to"]: group["count"] for group in document["messages"]["by_age"]}
            assert sum(ages.values()) in (0, 2)
            assert "The daemon runs" in cli("status").text


@pytest.mark.parametrize("key", [b"q", b"Ctrl-C"])
def test_watching_ends_cleanly(tmp_path: Path, key: bytes) -> None:
    cli = Cli(tmp_path)
    assert cli("track", "17").code == 0
    master, slave = pty.openpty()
    process = subprocess.Popen(
        cli.command("status", "--watch"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env={**cli.environment, "TERM": "xterm-256color"},
    )
    os.close(slave)
    out = b""
    deadline = time.monotonic() + 60
    while b"does not run" not in out and time.monotonic() < deadline:
        if select.select([master], [], [], 1.0)[0]:
            out += os.read(master, 65536)
    if key == b"q":
        os.write(master, key)
    else:
        process.send_signal(signal.SIGINT)
    while time.monotonic() < deadline:
        try:
            if select.select([master], [], [], 1.0)[0]:
                out += os.read(master, 65536)
        except OSError:
            break
        if process.poll() is not None:
            break
    assert process.wait(30) == 0
    os.close(master)
    assert out.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?1049l" in out
    assert b"Traceback" not in out


def test_of_many_recipients_the_exceptions_are_shown(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    connection = schema.prepare(cli.database)
    delivered = [Recipient(4500000000 + n, "DELIVERED", NOW) for n in range(1000)]
    odd = [Recipient(4600000000 + n, "UNDELIVERABLE", NOW, code="0x1010") for n in range(5)]
    odd += [Recipient(4700000000 + n, "ENROUTE", NOW) for n in range(30)]
    message = Message(17, "default", NOW, NOW, state=State.PENDING, recipients=(*delivered, *odd))
    store(connection, message)
    connection.close()
    shown = cli("show", "17").text
    assert "1,000 DELIVERED, 30 ENROUTE, 5 UNDELIVERABLE" in shown
    assert shown.count("470000") == 20
    assert "450000" not in shown
    assert "all recipients: --all" in shown
    everything = cli("show", "17", "--all").text
    assert everything.count("unknown subscriber") == 5
    assert everything.count("\n45") == 1000


def test_plan_says_what_becomes_of_an_age_and_fits_a_screen(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    shown = cli("plan").text
    assert len(shown.splitlines()) <= 42
    for text in ("nothing learned yet", "plain exponential backoff", "at equal polls", "▲", "still pending", "--all"):
        assert text in shown
    assert len(cli("plan", "--all").text.splitlines()) > len(shown.splitlines())
    late = cli("plan", "--age", "2h").text
    assert "at the age of 2 h: next poll at the age of 2 h" in late
    compared = cli("plan", "--json").json["compared"]
    assert compared["exponential"]["polls"] == pytest.approx(compared["polls"], rel=0.06)
    exponential = Cli(tmp_path, extra='[backoff]\npolicy = "exponential"\n')
    assert "policy exponential" in exponential("plan").text


def test_a_plan_that_the_bounds_force_is_counted_to_its_end_and_explained(tmp_path: Path) -> None:
    """A poll every 30 seconds for two hours is over two hundred, of which polls_per_message knows nothing."""
    cli = Cli(tmp_path, extra='[backoff]\nmax_interval = "30s"\ngive_up_after = "2h"\n')
    assert cli("plan", "--json").json["polls"] > 50
    assert "raise max_interval to save polls" in cli("plan").text
    assert "at the age of 1 h 40 min: next poll at the age of 1 h 40 min" in cli("plan", "--age", "100m").text


def test_ages_of_pending_messages_follow_them_to_their_end(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "delivered=1", "--tail", "0.01", "--speed", "1000") as url:
        cli = Cli(tmp_path, url, FAST)
        assert cli("track", "17", "18", "--sent-at", str(int(time.time()) - 600)).code == 0

        def counted() -> int:
            ((count,),) = stored(cli, "SELECT coalesce(sum(count), 0) FROM pending_by_age")
            return int(str(count))

        with daemon(cli):
            wait_for(lambda: cli("status", "--json").json["messages"]["finished"] == 2)
            assert counted() == 0
            assert not any(group["count"] for group in cli("status", "--json").json["messages"]["by_age"])


def test_what_waits_for_the_webhook_is_not_said_to_be_reported(tmp_path: Path) -> None:
    cli = Cli(tmp_path, extra='[outputs.webhook]\nurl = "http://127.0.0.1:9/"\n')
    connection = schema.prepare(cli.database)
    connection.execute("INSERT INTO outputs VALUES ('webhook', 0, '', 0)")
    connection.executemany(
        "INSERT INTO deliveries VALUES (?, 'message.status', 17, '{}', '', 0, 1, NULL, 'refused', 0)", [(1,), (2,)]
    )
    connection.close()
    shown = cli("status").text
    assert "webhook: 2 wait to be delivered" in shown
    assert "all events delivered" not in shown


def test_show_names_what_ends_a_message_before_its_deadline_and_what_holds_it(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    connection = schema.prepare(cli.database)
    now = time.time()
    store(connection, Message(17, "default", now - 60, now - 1, state=State.PENDING, polls=2, strikes=2))
    store(connection, Message(18, "default", now - 60, now + 5400, state=State.PENDING, polls=2))
    refused = cli("show", "17").text
    assert "2 of 5 times, then given up as rejected_request" in refused
    assert "next poll due for" in refused
    assert "rejected_request" not in cli("show", "18").text
    connection.execute(
        "INSERT INTO accounts (name, held_reason, held_detail, held_until) VALUES ('default', 'throttled', 'slow', ?)",
        (now + 3600,),
    )
    connection.close()
    held = cli("show", "17").text
    assert f"account default is held until {clock(now + 3600)}" in held
    assert ": throttled (slow)" in held
    assert "next poll after the hold" in held
    assert "next poll in 1 h" in cli("show", "18").text
    listed = {line.split()[0]: line for line in cli("list").text.splitlines() if line.split()}
    assert "after the hold" in listed["17"]
    assert "after the hold" not in listed["18"]
