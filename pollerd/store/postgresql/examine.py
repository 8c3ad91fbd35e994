"""What the doctor asks of a PostgreSQL server. Reads only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pollerd.store.postgresql import failover, schema
from pollerd.store.postgresql.link import Connection, Link, Target
from pollerd.store.postgresql.member import Standing, members
from pollerd.store.postgresql.news import unheard

TABLES: Final = (
    "messages", "events", "requests", "outputs", "accounts", "counters", "pending_by_age", "meta", "deliveries",
    "unwritten", "given", "incoming", "source_ids", "cluster", "members", "leases", "duties", "jumps",
)  # fmt: skip
CALLED: Final = (
    "pg_walfile_name", "pg_current_wal_lsn", "pg_current_xact_id", "pg_xact_status", "pg_current_snapshot", "pg_notify",
    "pg_advisory_xact_lock", "pg_backend_pid",
)  # fmt: skip
"""Functions of the server that daemon and commands call; a hardened one may keep some of them from users."""
OURS: Final = (
    "commit_group", "put_group", "begin_change", "settle_failover", "check_timeline", "server_timeline",
)  # fmt: skip
"""Functions of the store that its members call."""
_SERVER: Final = b"""
SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8,
    current_setting('fsync')::boolean, current_setting('synchronous_commit') <> 'off',
    current_setting('synchronous_commit') <> 'local' AND current_setting('synchronous_standby_names') <> '',
    current_setting('autovacuum')::boolean,
    pg_database_size(current_database()), has_schema_privilege(current_schema(), 'CREATE'),
    (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
    (SELECT count(*) FROM pg_stat_replication),
    coalesce((SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()), 0.0)
"""
_LACKING: Final = b"""
SELECT name FROM unnest($1::text[]) AS name
WHERE CASE WHEN to_regclass(name) IS NOT NULL THEN
    NOT has_table_privilege(name, 'SELECT') OR NOT has_table_privilege(name, 'INSERT')
    OR NOT has_table_privilege(name, 'UPDATE') OR NOT has_table_privilege(name, 'DELETE')
END
"""
_UNCALLABLE: Final = b"""
SELECT oid::regprocedure::text FROM pg_proc
WHERE (pronamespace = 'pg_catalog'::regnamespace AND proname = ANY($1::text[])
    OR pronamespace = to_regnamespace(current_schema()) AND proname = ANY($2::text[]))
AND NOT has_function_privilege(oid, 'EXECUTE') ORDER BY 1
"""
_DEAD: Final = (
    b"SELECT coalesce(sum(n_dead_tup), 0)::bigint, coalesce(sum(n_live_tup), 0)::bigint FROM pg_stat_user_tables"
)


class Examination(msgspec.Struct, frozen=True):
    """A server and the store in it.

    `ahead`: seconds that this machine's clock is ahead of the server's. `longest` is the age of the oldest transaction
    in seconds. `uncallable` are functions that the user may not call, `lacking` are tables without all rights on them;
    without `tables` there is no store yet. `schema` is the store's, `newest` the one that the next start makes of it; 0
    while it is not known. There are `replicas`; `replicated`: a commit waits for one. `jump`: when numbers were
    left out last.
    """

    version: str
    ahead: float
    fsync: bool
    synchronous_commit: bool
    replicated: bool
    autovacuum: bool
    size: int
    may_create: bool
    encrypted: bool
    replicas: int
    longest: float
    tables: bool
    uncallable: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    schema: int = 0
    newest: int = 0
    dead: int = 0
    live: int = 0
    members: tuple[Standing, ...] = ()
    unheard: str = ""
    """Why notifications do not arrive; empty where they do."""
    jump: failover.Jump | None = None


def examine(target: Target) -> Examination:
    """Raises StoreError when there is no connection, or the tables are not what this version can use."""
    link = Link(target)
    try:
        found = link.run(_examine)
    finally:
        link.close()
    usable = found.tables and not found.lacking and not found.uncallable
    return msgspec.structs.replace(found, unheard=unheard(target)) if usable else found


def _examine(connection: Connection) -> Examination:
    before = time.time()
    version, clock, fsync, synchronous_commit, replicated, autovacuum, *rest = _row(connection, _SERVER)
    ahead = (before + time.time()) / 2 - clock
    size, may_create, encrypted, replicas, longest = rest
    found = Examination(
        version, ahead, fsync, synchronous_commit, replicated, autovacuum, size, may_create, bool(encrypted), replicas,
        longest, schema.is_there(connection), _names(connection, _UNCALLABLE, CALLED, OURS),
    )  # fmt: skip
    if not found.tables:
        return found
    lacking = _names(connection, _LACKING, TABLES)
    if lacking:
        return msgspec.structs.replace(found, lacking=lacking)
    version, newest = schema.versions(connection)
    dead, live = _row(connection, _DEAD)
    return msgspec.structs.replace(
        found,
        schema=version,
        newest=newest,
        dead=dead,
        live=live,
        members=tuple(members(connection)),
        jump=failover.last_jump(connection) if version >= newest else None,
    )


def _names(connection: Connection, sql: bytes, *of: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for (name,) in connection.execute(sql, tuple(map(list, of))).fetchall())


def _row(connection: Connection, sql: bytes) -> tuple[Any, ...]:
    return connection.execute(sql).fetchone() or ()
