"""`pollerd track` without a daemon: ids from arguments, answers and pipes."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance.cli_kit import Cli
from tests.acceptance.offline_kit import NOW, stored
from tests.acceptance.waiting import wait_for
from tests.sqlite_kit import autocommit


@pytest.mark.usefixtures("engine")
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


@pytest.mark.usefixtures("engine")
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


@pytest.mark.usefixtures("engine")
def test_track_keeps_reference_account_and_time(cli: Cli) -> None:
    assert cli("track", "--userref", "order-17", "--sent-at", "2025-11-24T17:00:00+01:00", "1").code == 0
    assert cli("track", "--account", "default", "--sent-at", "1764000001", "2").code == 0
    columns = "SELECT id, account, userref, sent_at FROM messages"
    assert stored(cli, columns) == [(1, "default", "order-17", NOW), (2, "default", None, NOW + 1)]


@pytest.mark.usefixtures("engine")
def test_track_reads_the_send_calls_answers_and_lines(cli: Cli) -> None:
    answer = json.dumps({"ids": [11, 12], "usage": {"countries": {"DK": 2}}}, indent=2)
    done = cli("track", "-", "10", stdin=f"\ufeff# today\r\n\r\n13\r\n{answer}\n14".encode())
    assert (done.code, done.err) == (0, "")
    assert [row[0] for row in stored(cli)] == [10, 11, 12, 13, 14]


@pytest.mark.usefixtures("engine")
def test_track_reads_a_hundred_thousand_ids(cli: Cli) -> None:
    done = cli("track", "-", "--json", stdin="\n".join(map(str, range(1, 100_001))).encode())
    assert done.json["tracked"] == 100_000
    assert stored(cli, "SELECT count(*), min(id), max(id) FROM messages") == [(100_000, 1, 100_000)]


@pytest.mark.parametrize("stdin", [b"", b"\n \r\n", b"# none today\n", b"\xef\xbb\xbf", b'{"ids": []}', b"[]"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_id_on_standard_input_is_wrong_usage(cli: Cli, stdin: bytes, options: tuple[str, ...]) -> None:
    """The send call before the pipe failed: a script must notice."""
    done = cli("track", "-", *options, stdin=stdin)
    assert (done.code, done.out) == (2, b"")
    assert "Standard input held no id" in done.err


def test_no_id_on_standard_input_beside_others_is_said(cli: Cli) -> None:
    done = cli("track", "5", "-")
    assert (done.code, stored(cli)) == (0, [(5,)])
    assert "Standard input held no id" in done.err


def test_track_names_twenty_and_counts_the_rest(cli: Cli) -> None:
    done = cli("track", "-", stdin=b"0\n" * 50 + b"1\n")
    assert done.code == 1
    assert len(done.err.splitlines()) == 21
    assert "30 more" in done.err
    assert "tracked 1, refused 50." in done.text


@pytest.mark.usefixtures("engine")
def test_track_hands_over_what_trickles_in_at_once(cli: Cli) -> None:
    with cli.running("track", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"1\n")
        process.stdin.flush()
        wait_for(lambda: cli("list", "--json").out)
        assert process.poll() is None
        assert [row[0] for row in stored(cli)] == [1]


def test_track_waits_for_another_writer(cli: Cli) -> None:
    assert cli("track", "1").code == 0
    with autocommit(cli.database) as other:
        other.execute("BEGIN IMMEDIATE")
        with cli.running("track", "2") as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            other.execute("COMMIT")
            assert process.wait(30) == 0
