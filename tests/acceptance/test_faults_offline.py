"""Commands that do their work themselves, on a database that does not let them: they end, and say why."""

from __future__ import annotations

import pytest

from tests.acceptance.cli_kit import Cli
from tests.acceptance.offline_kit import damage
from tests.sqlite_kit import autocommit


@pytest.mark.parametrize("command", ["untrack", "poll", "retry"])
def test_a_commit_that_fails_for_good_ends_the_command(cli: Cli, command: str) -> None:
    assert cli("track", "5", "6").code == 0
    with autocommit(cli.database) as connection:
        connection.execute("UPDATE messages SET state = 3 WHERE id = 6")
    damage(cli.database, "messages_gave_up" if command == "retry" else "messages_new")
    done = cli(command, "6" if command == "retry" else "5")
    assert done.code == 1
    assert "damaged" in done.err
    assert "restore a backup" in done.err
    assert "request stays in the database" in done.err
