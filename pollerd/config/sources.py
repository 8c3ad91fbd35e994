"""``[[sources.*]]``: where ids come from. The keys, and how they are read; and those that any database has.

A struct's docstring is the text about its table that users read.
"""

# Declarations are read while the program runs: no `from __future__ import annotations` here.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from msgspec.structs import replace

from pollerd.config.databases import DATABASE_URL, DatabaseUrl
from pollerd.config.key import Key, SecretKeys
from pollerd.config.kinds import COLON_QUERY, DAY, PATH, QUERY, duration
from pollerd.config.reader import TomlTable
from pollerd.config.secret import InlineSecret, Origin, SecretKind, SecretSource

if TYPE_CHECKING:
    from pollerd.config.outputs import SqlOutputConfig

PASSWORD: Final = SecretKeys(
    "password",
    SecretKind.PASSWORD,
    "A file with the password of the URL's user. It is read again for each new connection.",
    file="/etc/pollerd/database-password",
    variable="DATABASE_PASSWORD",
)
URL: Final = Key(
    DATABASE_URL,
    "The database, as SQLAlchemy's URL names it: postgresql, mysql, mariadb, mssql, oracle or sqlite, with +DRIVER for "
    "another driver than psycopg, PyMySQL, pymssql, oracledb. Options of the driver follow a ?: sslmode=verify-full.",
    example="postgresql://pollerd@db.example/shop",
)


class SqliteSourceConfig(msgspec.Struct, frozen=True):
    """Takes the ids of messages from another SQLite database, which is only read. A row is taken up when the query
    begins to give it; one that it still gives after its message has ended is left alone. An index should serve the
    query.
    """

    path: Annotated[Path, Key(PATH, "The database's file.", example="/srv/shop/shop.db")]
    query: Annotated[
        str,
        Key(
            QUERY,
            "Gives a column id and, if wanted, account, userref, sent_at, sendtime, priority and overdue_after. Its "
            "rows are read in the order of id, or of a column after.",
            example="SELECT gateway_id AS id FROM sms WHERE status IS NULL",
        ),
    ]
    every: Annotated[float, Key(duration(0.1, DAY), "How often the query is run.")] = 5.0


class SqlSourceConfig(msgspec.Struct, frozen=True):
    """Takes the ids of messages from the database of an application: PostgreSQL, MySQL or MariaDB, SQL Server, Oracle.
    It needs SQLAlchemy (pip install 'pollerd[sql]') and the database's driver, and is otherwise like
    [[sources.sqlite]].
    """

    url: Annotated[DatabaseUrl, URL]
    query: Annotated[
        str,
        Key(
            COLON_QUERY,
            "Gives a column id and, if wanted, account, userref, sent_at, sendtime, priority and overdue_after. Its "
            "rows are read in the order of id, or of a column after.",
            example="SELECT gateway_id AS id FROM sms WHERE status IS NULL",
        ),
    ]
    every: Annotated[float, Key(duration(0.1, DAY), "How often the query is run.")] = 5.0
    password: Annotated[SecretSource | None, PASSWORD] = None


class SourcesConfig(msgspec.Struct, frozen=True):
    """Other databases that message ids are taken from. Ids that are handed over otherwise need no table here."""

    sqlite: tuple[SqliteSourceConfig, ...] = ()
    sql: tuple[SqlSourceConfig, ...] = ()


Source = TypeVar("Source", SqliteSourceConfig, SqlSourceConfig)
WithUrl = TypeVar("WithUrl", "SqlOutputConfig", SqlSourceConfig)


def read_sources(root: TomlTable) -> SourcesConfig:
    """All of them."""
    table = root.section("sources")
    files = (_checked(each, each.read_whole(SqliteSourceConfig)) for each in table.subtables("sqlite"))
    urls = (_checked(each, with_password(each, each.read_whole(SqlSourceConfig))) for each in table.subtables("sql"))
    return SourcesConfig(tuple(filter(None, files)), tuple(filter(None, urls)))


def _checked(table: TomlTable, found: Source | None) -> Source | None:
    if found is None:
        return None
    # Few configurations have SQL, and every command's start would wait for SQLite.
    from pollerd.config.sql import bounded

    if bounded(found.query):
        table.diagnostics.warnings.append(
            f"{table.path('query')}: has a bound of its own, and what is behind it is seen only when nothing before it "
            "matches any more; leave the bound out (pollerd reads 2,000 rows at a time), or name :after and :limit"
        )
    return found


def with_password(table: TomlTable, found: WithUrl | None) -> WithUrl | None:
    """A password that stands in the URL is a secret like any other."""
    if found is None or found.url.password is None:
        return found
    if found.password is not None:
        table.refuse("url", "must not hold a password as well: the table has a key for it; keep one of them")
    place = Origin(table.context.file, table.path("url"))
    secret = InlineSecret(found.url.password, SecretKind.PASSWORD, place)
    return replace(found, url=replace(found.url, password=None), password=secret)
