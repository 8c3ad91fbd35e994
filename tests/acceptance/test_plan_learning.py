"""What the backoff learned, as installed: forgotten on request, named by the doctor, held against the limits."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from pollerd.backoff import Adaptive, Settings
from pollerd.config.policy import MODEL
from tests.acceptance.cli_kit import Cli
from tests.acceptance.test_cli_daemon import FAST, daemon, gateway
from tests.acceptance.waiting import wait_for
from tests.sqlite_kit import autocommit

NOW = 1_764_000_000.0


def misled(cli: Cli) -> None:
    """A database whose backoff has learned that messages to one network take half an hour."""
    assert cli("track", "17").code == 0
    policy = Adaptive(5, 1, settings=Settings())
    for i in range(200):
        submit = NOW + i * 60.0
        for key, age in (("238/01", 1800.0 + i), ("262/02", 4.0)):
            policy.first(submit)
            policy.observe(submit + age, key, 0.0, age, True, age, "DELIVERED", submit, submit)
    with autocommit(cli.database) as db:
        db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (MODEL, policy.snapshot()))


@pytest.mark.parametrize("runs", [False, True], ids=["no daemon", "a daemon"])
def test_one_network_is_forgotten_and_then_all(tmp_path: Path, runs: bool) -> None:
    with gateway(tmp_path, "--mix", "stuck=1") as url:
        cli = Cli(tmp_path, url, FAST)
        misled(cli)

        def networks() -> list[str]:
            return sorted(row["key"] for row in cli("plan", "--json").json["known"])

        def forget() -> None:
            assert cli("plan", "--forget", "238/01").code == 0
            wait_for(lambda: networks() == ["262/02"])
            assert cli("plan", "--forget", "--json").json == {"forgotten": None}
            wait_for(lambda: networks() == [])

        assert networks() == ["238/01", "262/02"]
        if runs:
            with daemon(cli):
                forget()
        else:
            forget()


def test_a_network_far_from_experience_is_named_by_the_doctor(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    misled(cli)
    found = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "learning"]
    assert [check["level"] for check in found] == ["warning"]
    assert "238/01" in found[0]["evidence"]
    assert "pollerd plan --forget 238/01" in found[0]["next_step"]


def test_what_a_limit_carries_is_said_beforehand(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    found = cli("plan", "--per-day", "200000", "--json").json
    assert found["accounts"][0]["enough"] == {"day": False, "ten_hours": False}
    # 200,000 x 5 polls within 36,000 s are 27.8 a second; a tenth on top.
    assert found["accounts"][0]["recommended"] == 31.0
    assert "raise it to 31" in cli("plan", "--per-day", "200000").text
    assert "requests_per_second = 10 is enough" in cli("plan", "--per-day", "10000").text
    assert "pollerd plan --per-day" in cli("check").text


@pytest.mark.parametrize("arguments", [("--forget", "nowhere"), ("--forget", "DK", "--replay"), ("--per-day", "0")])
def test_wrong_words_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert Cli(tmp_path)("plan", *arguments).code == 2


def test_ids_handed_over_long_after_their_messages_were_sent_are_named_by_the_doctor(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert cli("track", "17").code == 0
    with autocommit(cli.database) as db:
        for number in range(100, 130):
            taken, origin = NOW + number, NOW + number - 900.0
            db.execute(
                "INSERT INTO messages (id, state, finished_at, taken_at, origin) VALUES (?, 2, ?, ?, ?)",
                (number, taken, taken, origin),
            )
    found = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "hand-over"]
    assert [check["level"] for check in found] == ["warning"]
    assert "15 min" in found[0]["evidence"]


def sent(url: str, *messages: Mapping[str, object]) -> list[str]:
    """Messages that the simulated gateway was sent; their ids."""
    request = urllib.request.Request(f"{url}/sim/messages", json.dumps(messages).encode())
    with urllib.request.urlopen(request) as answer:
        return [str(number) for number in json.load(answer)["ids"]]


def test_imported_history_teaches_nothing_and_fresh_messages_do(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "delivered=1", "--tail", "0") as url:
        cli = Cli(tmp_path, url, "[limits]\nrequests_per_second = 200.0\n")
        steps = [[3.0, "DELIVERED", None]]
        ended = sent(url, *({"sent_at": time.time() - 7200.0 - n, "steps": steps} for n in range(300)))
        with daemon(cli):
            assert cli("track", *ended).code == 0
            wait_for(lambda: cli("status", "--json").json["messages"]["finished"] == 300)
            before = cli("plan", "--json").json
            assert before["events"] == 0.0
            assert before["rows"][0]["age"] < 10.0
            # Every second of the simulator is 50 of its own: they end 2 s after they are sent.
            fresh = sent(url, *({"steps": [[100.0, "DELIVERED", None]]} for _ in range(20)))
            assert cli("track", *fresh).code == 0
            wait_for(lambda: cli("status", "--json").json["messages"]["finished"] == 320)
            wait_for(lambda: cli("plan", "--json").json["events"] > 15.0)
