"""Commands of a user who may not write the database: the daemon does it, and where there is none, that is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.acceptance.cli_kit import Cli, Done
from tests.acceptance.test_cli_daemon import daemon, gateway
from tests.acceptance.waiting import listening, wait_for
from tests.sqlite_kit import transaction

NOBODY = 65534
SLOW = '[backoff]\nfirst_poll_after = "1h"\nmax_interval = "1h"\n'

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give a folder away and drop its rights"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose `db` belongs to another user, and may be read by our group."""
    owned = tmp_path / "db"
    owned.mkdir(mode=0o750)
    os.chown(owned, NOBODY, os.getegid())
    return tmp_path


class Member:
    """Runs commands as a user of the service's group: the database may be read, and the control socket used."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Done:
        return self._cli(*arguments, stdin=stdin, without_rights=True)


def park(cli: Cli) -> None:
    """Leave an event that no receiver took."""
    with transaction(cli.database) as database:
        database.execute("INSERT INTO deliveries VALUES (1, 'message.status', 17, '{}', 'default', 1, 7, NULL, '', 1)")


def made(folder: Path, url: str) -> Cli:
    return Cli(folder, url, f'{SLOW}[control]\nsocket = "{folder}/control.sock"\n')


def test_a_member_of_the_group_has_the_daemon_do_it(folder: Path) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        with daemon(cli):
            member = Member(cli)
            done = member("track", "17", "-", "--userref", "o-1", stdin=b'{"ids": [18, 19]}\n')
            assert (done.code, done.text, done.err) == (0, "tracked 3.\n", "")
            assert member("track", "17").text == "tracked 0, already followed 1.\n"
            assert cli("show", "18", "--json").json["userref"] == "o-1"
            assert member("poll", "17").text.startswith("17 is due now;")
            wait_for(lambda: cli("show", "17", "--json").json["polls"] == 1)
            done = member("untrack", "17", "18", "20", "--json")
            assert done.code == 1
            assert done.json["results"] == [
                {"id": 20, "result": "not_followed", "failed": True},
                {"id": 17, "result": "untracked", "failed": False},
                {"id": 18, "result": "untracked", "failed": False},
            ]
            assert "has been given up" in member("poll", "17").err
            assert member("retry", "17").text == "17 is followed again.\n"
            assert member("retry", "--all", "--json").json == {"taken_up": 1, "still_given_up": 0}
            assert member("retry", "--all").text == "Nothing has been given up.\n"
            assert cli("show", "18", "--json").json["state"] == "pending"
            assert member("forget", "18", "--json").json["messages"] == 1
            assert cli("show", "18").code == 1
            park(cli)
            assert member("retry", "--webhook", "--json").json == {"taken_up": 1}
            assert member("retry", "--webhook").text == "No event was given up by the webhook.\n"


@pytest.mark.parametrize("command", [["track", "17"], ["poll", "17"], ["untrack", "17"], ["retry", "17"]])
def test_without_a_daemon_both_reasons_are_said(folder: Path, command: list[str]) -> None:
    cli = made(folder, "http://127.0.0.1:9")
    assert cli("track", "17").code == 0
    assert command[0] != "retry" or cli("untrack", "17").code == 0
    done = Member(cli)(*command)
    assert (done.code, done.out) == (69, b"")
    # After the untrack there is a lock, which is checked first.
    right = "give that user the right to it" if command[0] == "retry" else "give this user the right to write the file"
    assert right in done.err
    assert f"The daemon cannot do it either: no daemon answers at {folder}/control.sock" in done.err
    state = cli("show", "17", "--json").json
    assert (state["state"] == "gave_up", state["polls"]) == (command[0] == "retry", 0)


@pytest.mark.parametrize(
    "command", [["track", "17"], ["poll", "17"], ["retry", "--all"], ["retry", "--webhook"]], ids=" ".join
)
def test_a_folder_that_may_not_be_entered_is_no_missing_database(folder: Path, command: list[str]) -> None:
    cli = made(folder, "http://127.0.0.1:9")
    assert cli("track", "17").code == 0
    (folder / "db").chmod(0o700)
    done = Member(cli)(*command)
    assert (done.code, done.out) == (69, b"")
    assert "The daemon cannot do it either" in done.err


def test_who_may_neither_write_nor_ask_is_asked_to_join_the_group(folder: Path) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        with daemon(cli):
            wait_for(lambda: listening(folder / "control.sock"))
            os.chown(folder / "control.sock", NOBODY, NOBODY)
            done = Member(cli)("track", "17")
            assert (done.code, done.out) == (69, b"")
            assert "Permission denied" in done.err
            assert "Join the group of its socket (sudo usermod -aG pollerd NAME" in done.err
            assert cli("list", "--json").lines == []
