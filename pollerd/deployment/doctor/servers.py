"""Database servers of applications: can they be reached, do they take what they are asked, does an index help?"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pollerd.base.bounded import in_thread
from pollerd.config import Config, ConfigError, SecretSource, UnseenError
from pollerd.config.addresses import is_loopback
from pollerd.config.databases import DatabaseUrl
from pollerd.config.outputs import SqlOutputConfig
from pollerd.config.sources import SqlSourceConfig
from pollerd.config.sql import AFTER, LIMIT, rights_of
from pollerd.databases.engine import CONNECT, LOCK, Database
from pollerd.databases.trouble import DatabaseError, Trouble
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.databases import FILE, note_of
from pollerd.intake.rows import places_of
from pollerd.intake.sql import FIRST, names_of
from pollerd.outputs.sql import sample

if TYPE_CHECKING:
    from sqlalchemy import Connection

SERVER: Final = 3.0 * (CONNECT + LOCK)
"""Seconds for a server: to connect to two addresses of it, and to wait for a lock."""
_VERIFIED: Final = frozenset({"ssl_ca", "ssl_verify_cert", "ssl_verify_identity"})
"""Options of MySQL's drivers with which the server has to prove who it is; psycopg's is sslmode."""
_NAMED: Final = re.compile(r"\bfor (schema|\w[\w ]*) ([\w.`\"]+)$")
"""What a database says that a right is missing to, at the end of its sentence."""


class _Asked(NamedTuple):
    """A database, `key` is what the configuration wants of it: its query or its statement. `ask` says what is well, and
    raises DatabaseError; `forbid` says which right is missing.
    """

    name: str
    key: str
    url: DatabaseUrl
    password: SecretSource | None
    ask: Callable[[Connection], Check]
    forbid: Callable[[Database, DatabaseError], Check]


async def checks(config: Config) -> list[Check]:
    """All sources and outputs, each beside the others."""
    asked = [
        _Asked("source sql", "query", each.url, each.password, partial(_query, each), partial(_unreadable, each))
        for each in config.sources.sql
    ]
    asked += [
        _Asked("output sql", "statement", each.url, each.password, partial(_statement, each), partial(_forbidden, each))
        for each in config.outputs.sql
    ]
    return list(await asyncio.gather(*(_check(each) for each in asked if each.url.kind != FILE)))


async def _check(asked: _Asked) -> Check:
    name, place = asked.name, asked.url.place
    database = Database(asked.url, asked.password, reads=asked.key == "query", sql=asked.key)
    try:
        if asked.password is not None:
            asked.password.read()
        return await in_thread(partial(_tried, asked, database), SERVER)
    except UnseenError as error:
        return warning(name, f"{place} was not tried: {error.reason.rstrip('.')}", error.next_step)
    except ConfigError as error:
        return failure(name, f"{place}: {'; '.join(each.expected for each in error.problems)}", "correct it")
    except TimeoutError:
        return failure(name, f"{place} did not answer within {SERVER:g} s", "see that the server works")
    except DatabaseError as error:
        if error.trouble in (Trouble.LOCKED, Trouble.SLOW):
            return warning(name, f"{place} {error.what}; its {asked.key} was not tried", "run the doctor again later")
        if error.trouble is Trouble.FORBIDDEN:
            return await in_thread(partial(asked.forbid, database, error), SERVER)
        return failure(name, f"{place} {error.what}", error.advice or "correct the configuration, or the database")
    finally:
        database.close()


def _tried(asked: _Asked, database: Database) -> Check:
    from pollerd.databases.plan import encryption

    with database.connection() as connection:
        found = asked.ask(connection)
        version = encryption(connection, asked.url.kind)
    host = asked.url.host
    near = not host or is_loopback(host)
    if version:
        how = "" if near or _is_verified(asked.url) else ", the server's certificate not verified"
        return Check(found.name, found.level, f"{found.evidence}; encrypted ({version}{how})", found.next_step)
    if version is None or near or found.next_step:
        return found
    step = "encrypt it by options of the driver in the url (psycopg: ?sslmode=verify-full, PyMySQL: ?ssl_ca=FILE)"
    return warning(found.name, f"{found.evidence}; not encrypted: whoever is on the way to {host} reads it", step)


def _is_verified(url: DatabaseUrl) -> bool:
    options = dict(parse_qsl(urlsplit(url.text).query))
    return options.get("sslmode", "").startswith("verify-") or not _VERIFIED.isdisjoint(options)


# -- a source


def _query(source: SqlSourceConfig, connection: Connection) -> Check:
    from pollerd.databases.plan import read_whole

    name, place = "source sql", source.url.place
    names = names_of(connection, source.query)
    try:
        places_of(names)
    except ValueError as error:
        return failure(name, f"{place}: {error}", "correct the query in [[sources.sql]]")
    whole = read_whole(connection, source.url.kind, source.query, {AFTER: FIRST, LIMIT: 1})
    if whole:
        tables = ", ".join(sorted(whole))
        return warning(
            name,
            f"{place}: no index serves the query, each look reads every row of {tables}",
            f"create an index on the columns of {tables} that the WHERE compares, with the id behind them",
        )
    return ok(name, f"{place} can be read; the query gives {', '.join(names)}")


def _unreadable(source: SqlSourceConfig, _: Database, error: DatabaseError) -> Check:
    evidence, user = f"{source.url.place} {error.what}", urlsplit(source.url.text).username
    if (found := _NAMED.search(error.said)) is None or not user:
        return failure("source sql", evidence, error.advice)
    right = f"USAGE ON SCHEMA {found[2]}" if found[1] == "schema" else f"SELECT ON {found[2]}"
    return failure("source sql", evidence, f"run there: GRANT {right} TO {user}; or correct the name in the query")


# -- an output


def _statement(output: SqlOutputConfig, connection: Connection) -> Check:
    from pollerd.databases.plan import is_read_only, read_whole

    name, place, kind = "output sql", output.url.place, output.url.kind
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


def _forbidden(output: SqlOutputConfig, database: Database, error: DatabaseError) -> Check:
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
