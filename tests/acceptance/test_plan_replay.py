"""`pollerd plan --replay`: this deployment's own messages, polled once more by other policies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pollerd.core.model import Message, Recipient, State
from pollerd.store import rows
from pollerd.store.sqlite import schema
from tests.acceptance.cli_kit import Cli

NOW = 1_764_000_000.0


def filled(folder: Path, count: int) -> Cli:
    """A database of messages that ended a minute or so after they were sent, each after nine polls."""
    cli, rng = Cli(folder), random.Random(3)
    connection = schema.prepare(cli.database)
    marks = ", ".join("?" * len(rows.COLUMNS))
    for i in range(count):
        end = NOW + i + round(60 * rng.lognormvariate(0.0, 0.3))
        recipient = Recipient(4500000000 + i, "DELIVERED", end, country="DK", mcc="238", mnc="01")
        message = Message(
            i + 1, "default", NOW + i, 0.0, state=State.FINISHED, polls=9, finished_at=end, recipients=(recipient,)
        )
        connection.execute(
            f"INSERT INTO messages ({', '.join(rows.COLUMNS)}) VALUES ({marks})", rows.row_from_message(message)
        )
    connection.close()
    return cli


def test_both_policies_are_compared_on_what_really_happened(tmp_path: Path) -> None:
    cli = filled(tmp_path, 800)
    found = cli("plan", "--replay", "--json").json
    assert found["messages"] == 800
    by_name = {row["policy"]: row for row in found["rows"]}
    assert list(by_name) == ["made", "adaptive", "exponential", "exponential_equal"]
    assert (by_name["made"]["polls"], by_name["made"]["delay"]) == (9.0, None)
    assert by_name["exponential_equal"]["polls"] == pytest.approx(by_name["adaptive"]["polls"], rel=0.05)
    assert by_name["adaptive"]["delay"] < by_name["exponential_equal"]["delay"]
    assert cli("plan", "--replay", "--json").json == found, "the same again, though jitter is drawn"

    shown = cli("plan", "--replay").text
    assert shown.startswith("800 messages of this database")
    for text in ("adaptive", "exponential", "begins with nothing learned", "final state known after", "are left out"):
        assert text in shown


def test_without_any_past_it_says_so(tmp_path: Path) -> None:
    done = filled(tmp_path, 0)("plan", "--replay")
    assert (done.code, done.out) == (1, b"")
    assert "try again when some have ended" in done.err


def test_it_looks_at_all_messages(tmp_path: Path) -> None:
    done = Cli(tmp_path)("plan", "--replay", "--country", "DK")
    assert done.code == 2
    assert "give it alone" in done.err
