"""The tables of the store: creates and migrates them, refuses what it does not know."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg

from pollerd.base.errors import DatabaseMissingError, StoreError, StoreForbiddenError
from pollerd.store.migrations import Migration, oldest_reader, steps_in
from pollerd.store.postgresql.errors import CALL, FUNCTION
from pollerd.store.postgresql.link import Connection

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x706F6C64  # "pold", as the advisory lock: one process migrates at a time.


def prepare(connection: Connection, steps: Sequence[Migration] | None = None) -> None:
    """Create the tables, or bring them to the newest schema, in one transaction. Raises StoreError, psycopg.Error."""
    steps = steps_in(MIGRATIONS) if steps is None else steps
    if _missing(connection, steps):
        with connection.transaction():
            connection.execute(b"SELECT pg_advisory_xact_lock($1)", (_LOCK,))
            # Whoever comes after one that waits for a table waits as well: others' long transactions stop no member.
            connection.execute(b"SELECT set_config('lock_timeout', '2s', true)")
            missing = _missing(connection, steps)
            try:
                for step in missing:
                    _apply(connection, step)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName) as error:
                raise _forbidden(error, new=missing[0].version == 1) from error
            if missing:
                noted = (steps[-1].version, oldest_reader(steps))
                if noted[1] > 1:
                    _refuse_to_shut_out(connection, *noted)
                connection.execute(b"UPDATE cluster SET schema_version = $1, readable_from = $2", noted)


def _refuse_to_shut_out(connection: Connection, version: int, readable_from: int) -> None:
    """A member that runs, and could not go on with the schema, is upgraded first."""
    connection.execute(b"SELECT FROM duties FOR UPDATE")
    found = connection.execute(
        b"SELECT name, version FROM members JOIN leases USING (token)"
        b" WHERE schema_version < $1 AND lease_until > clock_timestamp() ORDER BY name LIMIT 1",
        (readable_from,),
    ).fetchone()
    if found is not None:
        raise StoreError(
            f"the member {found[0]!r} runs pollerd {found[1]}, which cannot use schema {version}: upgrade it to "
            "a release in between first, or stop it."
        )


def _forbidden(error: psycopg.Error, *, new: bool) -> StoreForbiddenError:
    what, step = "brought up to date", "make the user of [store] url their owner"
    if new:
        what, step = (
            "made",
            "let the user of [store] url own the database, or grant it: GRANT CREATE ON SCHEMA public TO",
        )
    if FUNCTION in (error.diag.message_primary or ""):
        step, new = CALL, False
    return StoreForbiddenError(
        f"the tables of the store cannot be {what} ({error.diag.message_primary}): {step}{' ...' if new else '.'}"
    )


def check(connection: Connection) -> None:
    """Raises DatabaseMissingError when there are no tables yet, StoreError when this version cannot read them."""
    version, newest = versions(connection)
    if version == 0:
        raise DatabaseMissingError(
            "nothing is tracked yet: the database in [store] url is empty. Start the daemon or hand over a message "
            "(pollerd track ID).",
        )
    if version < newest:
        raise StoreError(
            f"the store has schema {version}, this version of pollerd reads {newest}. The daemon brings it up to date "
            "when it starts."
        )


def versions(connection: Connection) -> tuple[int, int]:
    """That of the schema, 0 where there are no tables, and the newest that is known here. A newer schema that can be
    used counts as known. Raises StoreError when it cannot be used, or is another program's.
    """
    newest = steps_in(MIGRATIONS)[-1].version
    return _version(connection, newest), newest


def is_there(connection: Connection) -> bool:
    """Whether there are tables. Raises StoreError when they are another program's."""
    row = connection.execute(b"SELECT to_regclass('cluster') IS NULL, to_regclass('messages') IS NULL").fetchone()
    no_store, empty = row or (True, True)
    if no_store and not empty:
        raise StoreError(
            "the database in [store] url has a table messages that is not pollerd's. Give pollerd its own one."
        )
    return not no_store


def _missing(connection: Connection, steps: Sequence[Migration]) -> list[Migration]:
    version = _version(connection, steps[-1].version)
    return [step for step in steps if step.version > version]


def _version(connection: Connection, known: int) -> int:
    """That of the schema, 0 where there is none; at most `known`."""
    if not is_there(connection):
        return 0
    found = connection.execute(b"SELECT schema_version, readable_from FROM cluster").fetchone()
    version, readable_from = found or (0, 0)
    if readable_from > known:
        raise StoreError(
            f"the store has schema {version}, this version of pollerd knows up to {known}. Install the newer pollerd "
            "here too, or name another database in [store] url."
        )
    return min(int(version), known)


def _apply(connection: Connection, step: Migration) -> None:
    # Without parameters one call may hold many statements.
    connection.execute(step.script.encode())
    if step.version == 1:
        connection.execute(
            b"INSERT INTO cluster (store_id, timeline, schema_version)"
            b" VALUES ($1, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int, 1)",
            (uuid.uuid4(),),
        )
