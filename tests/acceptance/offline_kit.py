"""What the tests of commands without a daemon share."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.cli_kit import Cli
from tests.sqlite_kit import autocommit

EVIL = "\x1b[31mred\x9b2J\u202e [bold]x[/bold] :smile:"
NOW = 1_764_000_000.0


def stored(cli: Cli, sql: str = "SELECT id FROM messages ORDER BY id") -> list[tuple[object, ...]]:
    return cli.store.execute(sql)


def damage(database: Path, index: str) -> None:
    """Overwrite the root of an index: whatever touches it fails for good."""
    with autocommit(database) as connection:
        page, size = connection.execute(
            "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?", (index,)
        ).fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
