"""The command line with a daemon: a simulated gateway, `pollerd run`, and commands beside it, all as processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.cli_kit import Background, Cli
from tests.acceptance.waiting import wait_for
from tests.store_database import StoreDatabase

FAST = '[backoff]\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "1s"\n'


@contextmanager
def gateway(folder: Path, *options: str) -> Iterator[str]:
    """`pollerd simulate` on a free port; its address."""
    with Cli(folder).running("simulate", "--port", "0", "--any-id", "--speed", "50", *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield process.stdout.readline().decode().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert b"stopped after" in process.stderr.read()


@contextmanager
def daemon(cli: Cli) -> Iterator[Background]:
    """`pollerd run`, up; it must end well."""
    with cli.running("run") as process:
        assert process.stderr is not None
        assert any(b"started: pollerd" in line for line in process.stderr), "it ended instead"
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_message_from_hand_over_to_its_end(tmp_path: Path, engine: StoreDatabase | None) -> None:
    with gateway(tmp_path, "--mix", "delivered=1") as url:
        cli = Cli(tmp_path, url, FAST, engine)
        with daemon(cli):
            done = cli("track", "17", "18")
            assert "No daemon" not in done.text
            with cli.running("events", "--follow", "--type", "message.completed") as follower:
                assert follower.stdout is not None
                completed = {follower.stdout.readline().split(b'"id":')[1].split(b",")[0] for _ in range(2)}
                assert completed == {b"17", b"18"}
            wait_for(lambda: len(cli("list", "--state", "finished", "--json").lines) == 2)
            assert cli("poll", "17", "--json").json["results"][0]["result"] == "already_finished"
            status = cli("status", "--json").json
            assert status["messages"]["finished"] == 2
            assert status["daemon"]["running"]
            assert "The daemon runs" in cli("status").text
        assert not cli("status", "--json").json["daemon"]["running"]


def test_requests_are_done_by_the_daemon(tmp_path: Path, engine: StoreDatabase | None) -> None:
    with gateway(tmp_path, "--mix", "stuck=1") as url:
        cli = Cli(tmp_path, url, '[backoff]\nfirst_poll_after = "1h"\nmax_interval = "1h"\n', engine)
        with daemon(cli):
            assert cli("track", "17").code == 0
            wait_for(lambda: cli("show", "17", "--json").json["next_poll_at"])
            assert cli("show", "17", "--json").json["polls"] == 0
            polled = cli("poll", "17")
            assert polled.text == "17 is due now; it is polled as soon as its account's limits allow.\n"
            wait_for(lambda: cli("show", "17", "--json").json["polls"] == 1)
            assert cli("untrack", "17").text == "17 is not followed any more.\n"
            assert cli("show", "17", "--json").json["state"] == "gave_up"
            assert cli("retry", "--all", "--json").json == {"taken_up": 1, "still_given_up": 0}
            assert cli("show", "17", "--json").json["state"] == "pending"


def test_a_poll_of_an_account_on_hold_says_what_it_waits_for(tmp_path: Path, engine: StoreDatabase | None) -> None:
    with gateway(tmp_path, "--token", "another-one") as url:
        cli = Cli(tmp_path, url, FAST, engine)
        with daemon(cli):
            assert cli("track", "17").code == 0
            wait_for(lambda: cli("status", "--json").json["accounts"][0]["hold"])
            failed = "the last request failed: the credentials were not accepted (HTTP 401)"
            wait_for(lambda: cli("show", "17", "--json").json["next_reason"] == failed)
            assert "not answered yet" in cli("show", "17").text
            polled = cli("poll", "17")
            assert polled.code == 0
            assert polled.text.startswith("17 is due now; it is polled as soon as its account's hold is over (")
            assert "account default: unauthorized, tried again" in polled.text
            result = cli("poll", "17", "--json").json["results"][0]
            assert (result["id"], result["result"], result["failed"]) == (17, "polled", False)
            assert (result["held"]["account"], result["held"]["reason"]) == ("default", "unauthorized")
            account = next(line for line in cli("status").text.splitlines() if line.startswith("account"))
            assert "on hold" in account
            assert "next poll" not in account


def test_one_daemon_for_one_database(tmp_path: Path) -> None:
    with gateway(tmp_path) as url:
        cli = Cli(tmp_path, url)
        with daemon(cli) as process:
            second = cli("run")
            assert second.code == 75
            assert f"process {process.pid}" in second.err


def test_a_daemon_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """In PostgreSQL the command takes the store over from it instead, as a standby would."""
    with gateway(tmp_path, "--mix", "stuck=1") as url:
        cli = Cli(tmp_path, url)
        with daemon(cli) as process:
            assert cli("track", "17").code == 0
            wait_for(lambda: cli("show", "17", "--json").json["next_poll_at"])
            process.send_signal(signal.SIGSTOP)
            try:
                done = cli("untrack", "17")
            finally:
                process.send_signal(signal.SIGCONT)
            assert done.code == 69
            assert f"process {process.pid}" in done.err
            wait_for(lambda: cli("show", "17", "--json").json["state"] == "gave_up")


def test_simulate_says_where_it_is_and_refuses_a_taken_port(tmp_path: Path) -> None:
    with gateway(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        done = Cli(tmp_path)("simulate", "--port", url.rpartition(":")[2])
        assert done.code == 1
        assert done.err.startswith("pollerd: ")
