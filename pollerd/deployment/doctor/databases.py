"""Databases of others, read for ids and written with states: the rights, and whether the statements can be run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from pollerd.base.bounded import in_thread
from pollerd.config import Config, ConfigError, TargetRules, UnseenError
from pollerd.config.outputs import SqlOutputConfig
from pollerd.config.sql import parameter_names, rights_of
from pollerd.databases.engine import CONNECT, LOCK, Database
from pollerd.databases.trouble import DatabaseError, Trouble
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.outputs.filepath import user
from pollerd.outputs.sql import sample

TIMEOUT: Final = 1.0
"""Seconds to wait for another program's write."""
SERVER: Final = 3.0 * (CONNECT + LOCK)
"""Seconds for a server: to connect to two addresses of it, and to wait for a lock."""
_NO_ROW: Final = {"retry": "is tried again", "ignore": "counts as reported"}
_FILE: Final = "sqlite"
"""The kind of a database that is a file, through SQLAlchemy, too."""


def checks(config: Config) -> Iterator[Check]:
    """All that are files."""
    writes, reads = os.R_OK | os.W_OK, os.R_OK
    for file in config.outputs.sqlite:
        yield _check("output sqlite", "statement", file.path, file.statement, writes, note_of(file.rules))
    for output in config.outputs.sql:
        if output.url.kind == _FILE:
            place = Path(output.url.place)
            yield _check("output sql", "statement", place, output.statement, writes, note_of(output.rules))
    for source in config.sources.sqlite:
        yield _check("source sqlite", "query", source.path, source.query, reads, "")


def note_of(rules: TargetRules) -> str:
    """What becomes of an event that changes no row."""
    return f'; an event that changes no row {_NO_ROW[rules.no_row]} (no_row = "{rules.no_row}")'


async def server_checks(config: Config) -> list[Check]:
    """All outputs into databases on servers."""
    outputs = [output for output in config.outputs.sql if output.url.kind != _FILE]
    return list(await asyncio.gather(*map(_output, outputs)))


async def _output(output: SqlOutputConfig) -> Check:
    name, place = "output sql", output.url.place
    database = Database(output.url, output.password)
    try:
        if output.password is not None:
            output.password.read()
        return await in_thread(partial(_statement, database, output), SERVER)
    except UnseenError as error:
        return warning(name, f"{place} was not tried: {error.reason.rstrip('.')}", error.next_step)
    except ConfigError as error:
        return failure(name, f"{place}: {'; '.join(each.expected for each in error.problems)}", "correct it")
    except TimeoutError:
        return failure(name, f"{place} did not answer within {SERVER:g} s", "see that the server works")
    except DatabaseError as error:
        if error.trouble in (Trouble.LOCKED, Trouble.SLOW):
            return warning(name, f"{place} {error.what}; its statement was not tried", "run the doctor again later")
        if error.trouble is Trouble.FORBIDDEN:
            return await in_thread(partial(_forbidden, database, output, error), SERVER)
        return failure(name, f"{place} {error.what}", error.advice or "correct the configuration, or the database")
    finally:
        database.close()


def _statement(database: Database, output: SqlOutputConfig) -> Check:
    from pollerd.databases.plan import is_read_only, read_whole

    name, place, kind = "output sql", output.url.place, output.url.kind
    with database.connection() as connection:
        if is_read_only(connection, kind):
            raise DatabaseError(Trouble.READ_ONLY, "the server takes no changes")
        whole = read_whole(connection, kind, output.statement, sample(output.statement, kind))
    if whole:
        tables = ", ".join(sorted(whole))
        return warning(
            name,
            f"{place}: no index serves the statement, each event reads every row of {tables}",
            f"create an index on the columns of {tables} that the WHERE compares with keys of the event",
        )
    tried = "takes the statement" if whole is not None else "can be connected to; the statement was not tried"
    return ok(name, f"{place} {tried}{note_of(output.rules)}")


def _forbidden(database: Database, output: SqlOutputConfig, error: DatabaseError) -> Check:
    """Names the right that is missing, where the database has not."""
    table, rights = rights_of(output.statement)
    evidence, user_name = f"{output.url.place} {error.what}", urlsplit(output.url.text).username
    if not table or not user_name:
        return failure("output sql", evidence, error.advice)
    with contextlib.suppress(DatabaseError), database.connection() as connection:
        if output.url.kind == "postgresql":
            from pollerd.databases.plan import missing_rights

            lacking = missing_rights(connection, table, rights)
            evidence += f": it lacks {' and '.join(lacking)} on {table}" if lacking else ""
    return failure("output sql", evidence, f"run there: GRANT {', '.join(rights)} ON {table} TO {user_name}")


def _check(name: str, key: str, path: Path, sql: str, rights: int, note: str) -> Check:
    what = "written" if rights & os.W_OK else "read"
    if not os.path.exists(path):
        return failure(
            name, f"{path} does not exist (or its folder may not be read)", "correct its path in the configuration"
        )
    if not os.access(path, rights, effective_ids=os.access in os.supports_effective_ids):
        return failure(name, f"{path} cannot be {what} by {user(os.geteuid())}", "give this user the right to it")
    try:
        with contextlib.closing(_opened(path)) as database:
            # Nothing is run by this.
            database.execute(f"EXPLAIN {sql}", dict.fromkeys(parameter_names())).close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF == sqlite3.SQLITE_ERROR:
            step = f"correct the {key} in [[{name.replace(' ', 's.')}]], or the table"
            return failure(name, f"{path}: the {key} cannot be run: {error}", step)
        return warning(name, f"{path} can be {what}; its {key} was not tried: {error}", "run the doctor again later")
    return ok(name, f"{path} can be {what}{note}")


def _opened(path: Path) -> sqlite3.Connection:
    # Where no one has it open in WAL mode, without the side files that would be left behind.
    alone = not Path(f"{path}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if alone else ''}"
    return sqlite3.connect(uri, uri=True, timeout=TIMEOUT)
