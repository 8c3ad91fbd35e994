"""PostgreSQL's schema only grows: what the release before calls, reads and writes is still there after each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pollerd.base.errors import StoreForbiddenError
from pollerd.store.migrations import BREAKING, Migration, oldest_reader, steps_in
from pollerd.store.postgresql import schema
from pollerd.store.postgresql.link import Connection, Link
from tests.servers.database import PASSWORD, Database, new_name
from tests.store_database import StoreDatabase

STEPS = steps_in(schema.MIGRATIONS)
_COLUMNS = b"""
SELECT table_name, column_name, data_type, is_nullable, column_default IS NOT NULL OR is_generated = 'ALWAYS'
    OR is_identity = 'YES'
FROM information_schema.columns WHERE table_schema = 'public'
"""
_FUNCTIONS = b"""
SELECT oid::regprocedure::text, pg_get_function_result(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


def columns(connection: Connection) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {(table, name): tuple(rest) for table, name, *rest in connection.execute(_COLUMNS).fetchall()}


def test_steps_are_numbered_without_gap_and_only_add(postgresql_database: Database) -> None:
    """`commit_group` and its like too: a member of the release before goes on calling them."""
    assert [step.version for step in STEPS] == list(range(1, len(STEPS) + 1))
    user = new_name()
    postgresql_database.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
    postgresql_database.execute(f"ALTER DATABASE {postgresql_database.name} OWNER TO {user}")

    def grow(connection: Connection) -> None:
        had: dict[tuple[str, str], tuple[Any, ...]] = {}
        called: set[tuple[Any, ...]] = set()
        for count, step in enumerate(STEPS, 1):
            schema.prepare(connection, STEPS[:count])
            has, callable_ = columns(connection), {*connection.execute(_FUNCTIONS).fetchall()}
            if not step.script.startswith(BREAKING):
                assert had.items() <= has.items(), step.path.name
                assert called <= callable_, step.path.name
                tables = {table for table, _ in had}
                for (table, name), (_, nullable, filled) in has.items():
                    if table in tables and (table, name) not in had:
                        assert nullable == "YES" or filled, f"{step.path.name}: an older release writes no {name}"
            had, called = has, callable_

    link = Link(StoreDatabase(postgresql_database, user).target())
    try:
        link.run(grow)
    finally:
        link.close()


@pytest.mark.parametrize(
    ("script", "known"),
    [
        ("CREATE TABLE more ();", 1),
        ("-- breaking\nDROP TABLE more;", 100),
        ("-- breaking: nobody reads it\nDROP TABLE more;", 100),
        ("-- breaking before 99\nDROP TABLE more;", 99),
    ],
)
def test_a_step_says_who_may_go_on(tmp_path: Path, script: str, known: int) -> None:
    step = tmp_path / "0100_more.sql"
    step.write_text(script)
    assert oldest_reader([*STEPS, Migration(100, step)]) == known


def test_a_server_that_keeps_a_function_from_users_is_told_apart(postgresql_database: Database) -> None:
    """Before the tables are made, and later: to own them does not help."""
    user = new_name()
    postgresql_database.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
    postgresql_database.execute(f"ALTER DATABASE {postgresql_database.name} OWNER TO {user}")
    engine = StoreDatabase(postgresql_database, user).engine()

    def refused() -> None:
        postgresql_database.execute("REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM PUBLIC")
        with pytest.raises(StoreForbiddenError, match="call it: GRANT EXECUTE ON FUNCTION"):
            engine.own(daemon=True)
        postgresql_database.execute("GRANT EXECUTE ON FUNCTION pg_walfile_name TO PUBLIC")

    refused()
    with engine.own(daemon=True) as member:
        assert member.active
    refused()
