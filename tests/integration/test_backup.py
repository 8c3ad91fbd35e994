"""A copy of the database is made in one read transaction."""

from __future__ import annotations

from pathlib import Path

from pollerd.store.sqlite import schema
from pollerd.store.sqlite.backup import back_up
from tests.sqlite_kit import autocommit, rows


def test_a_commit_after_each_part_does_not_begin_the_copy_again(tmp_path: Path) -> None:
    """SQLite's own backup would never end."""
    database, copy = tmp_path / "p.db", tmp_path / "copy.db"
    schema.prepare(database).close()
    with autocommit(database) as neighbour:
        neighbour.execute("INSERT INTO meta VALUES ('filler', zeroblob(3 << 20))")
        parts = 0

        def commit() -> None:
            nonlocal parts
            parts += 1
            assert parts < 10, "it begins anew"
            neighbour.execute("INSERT INTO messages (id) VALUES (?)", (parts,))

        made = back_up(database, copy, commit)
        assert neighbour.execute("SELECT count(*) FROM messages").fetchone() == (parts,)
    assert parts > 2
    assert (made.path, made.pending, made.bytes) == (copy, 0, copy.stat().st_size)
    assert rows(copy, "SELECT count(*) FROM messages") == [(0,)]
