"""What the tests of commands without a daemon share."""

from __future__ import annotations

import sqlite3

from tests.acceptance.cli_kit import Cli

EVIL = "\x1b[31mred\x9b2J\u202e [bold]x[/bold] :smile:"
NOW = 1_764_000_000.0


def stored(cli: Cli, sql: str = "SELECT id FROM messages ORDER BY id") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(cli.database)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
