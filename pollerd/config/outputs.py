"""``[outputs.*]``: where events go. The keys, and how they are read.

A struct's docstring is the text about its table that users read.
"""

# Declarations are read while the program runs: no `from __future__ import annotations` here.
import stat
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from pollerd.config.addresses import WEBHOOK_URL, is_foreign_address
from pollerd.config.databases import DatabaseUrl
from pollerd.config.key import Key, SameTable, SecretKeys
from pollerd.config.kinds import (
    COLON_STATEMENT,
    COMMAND,
    DAY,
    EVENT_STATEMENT,
    FLAG,
    HOUR,
    MINUTE,
    MODE,
    OWN_PATH,
    PATH,
    SOCKET_PATH,
    TEXT,
    choice,
    durations,
    socket_fits,
)
from pollerd.config.reader import TomlTable
from pollerd.config.secret import SecretKind, SecretSource
from pollerd.config.sources import PASSWORD, URL, with_password

_DELAYS: Final = durations(0.01, 30 * DAY, 20)
"""Seconds between attempts: at least what keeps a retry from being a busy loop, at most as long as events are kept by
default. The vendor's own schedule has six waits; twenty leave room for more."""


class FileOutputConfig(msgspec.Struct, frozen=True):
    """Events appended to a file, one JSON object a line, each exactly once."""

    path: Annotated[
        Path,
        Key(OWN_PATH, "The file.", example="/var/lib/pollerd/events.ndjson", unset="events.ndjson beside the database"),
    ]


class SocketOutputConfig(msgspec.Struct, frozen=True):
    """Events to every program that connects to a Unix socket."""

    path: Annotated[
        Path,
        Key(
            SOCKET_PATH,
            "The socket.",
            example="/run/pollerd/events.sock",
            unset="events.sock in $RUNTIME_DIRECTORY, else beside the database",
        ),
    ]
    mode: Annotated[int, Key(MODE, "The socket's mode as octal text. Whoever may connect can read phone numbers.")] = (
        0o660
    )


class WebhookRouteConfig(msgspec.Struct, frozen=True):
    """Some events to another URL: by account, by the beginning of the userref, or incoming messages. What is given must
    all hold. The first route that fits is taken.
    """

    url: Annotated[str, Key(WEBHOOK_URL, "Where these events are posted.", example="http://127.0.0.1:8081/status")]
    userref_prefix: Annotated[
        str | None, Key(TEXT, "Takes events whose userref begins so.", example="shop-", unset="any userref")
    ] = None
    account: Annotated[
        str | None, Key(TEXT, "Takes events of this account.", example="default", unset="any account")
    ] = None
    incoming: Annotated[
        bool, Key(FLAG, "Takes incoming messages only, for a receiver of their own, as the vendor has it.")
    ] = False
    secret: Annotated[
        SecretSource | None,
        SecretKeys(
            "secret",
            SecretKind.SIGNING,
            "A file with the secret that signs what is posted here; without any, it is not signed.",
            file="/etc/pollerd/shop-secret",
            variable="SHOP_SECRET",
        ),
    ] = None


class WebhookOutputConfig(msgspec.Struct, frozen=True):
    """GatewayAPI's webhook for a local program: the same body, signature and retries. Every change of a status, and
    every incoming message, is posted at least once, those of one message (and the messages of one sender) in order,
    from the time when this table was added. As in GatewayAPI's own posts, error, code and userref are always there
    (null when not known), and body and payload are ASCII.
    """

    url: Annotated[str, Key(WEBHOOK_URL, "Where events are posted.", example="http://127.0.0.1:8080/status")]
    secret: Annotated[
        SecretSource | None,
        SecretKeys(
            "secret",
            SecretKind.SIGNING,
            "A file with the secret for X-Gwapi-Signature, 32 bytes or more; without any, posts are not signed.",
            file="/etc/pollerd/webhook-secret",
            variable="WEBHOOK_SECRET",
        ),
    ] = None
    all_events: Annotated[
        bool,
        Key(
            FLAG,
            "Posts events of every type, those that the vendor does not know as they are in the event log. Without it "
            "no post says that a message was given up, or is overdue.",
        ),
    ] = False
    allow_remote: Annotated[bool, Key(FLAG, "Allows receivers outside of loopback and private addresses.")] = False
    retry_after: Annotated[
        tuple[float, ...],
        Key(
            _DELAYS,
            "Waits after each failed attempt. After the last the event is parked: pollerd retry --webhook",
        ),
        # GatewayAPI's own schedule.
    ] = (MINUTE, 2 * MINUTE, 6 * MINUTE, 24 * MINUTE, 2 * HOUR, 12 * HOUR)
    routes: tuple[WebhookRouteConfig, ...] = ()


class ExecOutputConfig(msgspec.Struct, frozen=True):
    """A program of yours, started for each batch of events: NDJSON on its standard input, exit code 0 acknowledges.
    After any other code, or more than a minute, the batch comes again. It begins with what happens after this table was
    added.
    """

    command: Annotated[
        tuple[str, ...],
        Key(
            COMMAND,
            "The program and its arguments; no shell is started.",
            example=["/usr/local/bin/handle-events", "--batch"],
        ),
    ]


class TargetRules(msgspec.Struct, frozen=True):
    """Which events an output into a database takes, and what becomes of one that changes no row."""

    no_row: Annotated[
        Literal["retry", "ignore"],
        Key(
            choice("retry", "ignore"),
            'What an event means that changes no row: "retry" tries it again, and later ones about the same row wait; '
            '"ignore" counts it as delivered.',
            example="retry",
            unset="retry for an UPDATE whose WHERE compares with :id, :source_id, :msisdn, :account and :userref "
            "alone, else ignore",
        ),
    ]
    retry_after: Annotated[
        tuple[float, ...],
        Key(
            _DELAYS,
            "Waits after each failed attempt. After the last the event is parked: pollerd retry --undelivered",
        ),
        # An application writes its row a moment after sending, or when a batch is through; half a day later it most
        # likely never does.
    ] = (1.0, 2.0, 5.0, 15.0, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 12 * HOUR)
    userref_prefix: Annotated[
        str | None, Key(TEXT, "Takes only events whose userref begins so.", example="shop-", unset="any userref")
    ] = None
    account: Annotated[
        str | None, Key(TEXT, "Takes only events of this account.", example="default", unset="any account")
    ] = None


class SqliteOutputConfig(msgspec.Struct, frozen=True):
    """Writes into another SQLite database, beginning with the oldest event that is kept. An event may come twice: the
    example keeps a row from going back.
    """

    path: Annotated[Path, Key(PATH, "The database's file.", example="/srv/shop/shop.db")]
    statement: Annotated[
        str,
        Key(
            EVENT_STATEMENT,
            "Run for each message.status, or for every event if it names :type; for message.received only if it names "
            ":incoming_id, :text or :receiver. The :names are fields of the event; "
            ":source_id is the id as a source gave it, and with :msisdn each recipient has a row.",
            example="UPDATE sms SET status = :status, seq = :seq WHERE gateway_id = :source_id AND msisdn = :msisdn "
            "AND coalesce(seq, 0) <= :seq",
        ),
    ]
    rules: Annotated[TargetRules, SameTable()]


class SqlOutputConfig(msgspec.Struct, frozen=True):
    """Writes into the database of an application: PostgreSQL, MySQL or MariaDB, SQL Server, Oracle. It needs
    SQLAlchemy (pip install 'pollerd[sql]') and the database's driver, and is otherwise like [[outputs.sqlite]].
    """

    url: Annotated[DatabaseUrl, URL]
    statement: Annotated[
        str,
        Key(
            COLON_STATEMENT,
            "Run for each message.status, or for every event if it names :type. The :names are fields of the event; "
            ":source_id is the id as a source gave it, and with :msisdn each recipient has a row.",
            example="UPDATE sms SET status = :status, seq = :seq WHERE gateway_id = :source_id AND msisdn = :msisdn "
            "AND coalesce(seq, 0) <= :seq",
        ),
    ]
    rules: Annotated[TargetRules, SameTable()]
    password: Annotated[SecretSource | None, PASSWORD] = None


class OutputsConfig(msgspec.Struct, frozen=True):
    """Where events are reported. Without any table [outputs.*] they go to events.ndjson beside the database."""

    file: FileOutputConfig | None = None
    socket: SocketOutputConfig | None = None
    webhook: WebhookOutputConfig | None = None
    exec: ExecOutputConfig | None = None
    sqlite: tuple[SqliteOutputConfig, ...] = ()
    sql: tuple[SqlOutputConfig, ...] = ()


def no_row_of(statement: str) -> Literal["retry", "ignore"]:
    """What an event that changes no row most likely means for a statement."""
    # Few configurations have SQL, and every command's start would wait for SQLite.
    from pollerd.config.sql import analysed

    return "retry" if analysed(statement).plain else "ignore"


class OutputReader(msgspec.Struct, frozen=True):
    """Reads everything that depends on where the database is."""

    store: Path
    accounts: frozenset[str]

    def outputs(self, root: TomlTable) -> OutputsConfig:
        table = root.section("outputs")
        outputs = OutputsConfig(
            file=self._file(table.subtable("file")),
            socket=self._socket(table.subtable("socket")),
            webhook=self._webhook(table.subtable("webhook")),
            exec=None if (found := table.subtable("exec")) is None else found.read_whole(ExecOutputConfig),
            sqlite=tuple(filter(None, map(self._sqlite, table.subtables("sqlite")))),
            sql=tuple(filter(None, map(self._sql, table.subtables("sql")))),
        )
        return outputs if table.names() else OutputsConfig(file=FileOutputConfig(self._default_file()))

    def _default_file(self) -> Path:
        return self.store.parent / "events.ndjson"

    def _file(self, table: TomlTable | None) -> FileOutputConfig | None:
        return None if table is None else table.read(FileOutputConfig, path=self._default_file())

    def _socket(self, table: TomlTable | None) -> SocketOutputConfig | None:
        if table is None:
            return None
        default = table.context.socket_folder(self.store) / "events.sock"
        output = table.read(SocketOutputConfig, path=default)
        if output.path == default and not socket_fits(default):
            table.refuse("path", f"must be given: the default {default} is too long for a Unix socket")
        if output.mode & stat.S_IWOTH:
            table.diagnostics.warnings.append(
                f"{table.path('mode')}: every user of this machine may read the events, phone numbers "
                'included; use "0660" and a group'
            )
        return output

    def _webhook(self, table: TomlTable | None) -> WebhookOutputConfig | None:
        if table is None:
            return None
        tables = table.subtables("routes")
        routes = tuple(map(self._route, tables))
        output = table.read(WebhookOutputConfig, url="", routes=routes)
        if not output.allow_remote:
            _refuse_remote(table, output.url)
            for each, route in zip(tables, routes, strict=True):
                _refuse_remote(each, route.url)
        return output

    def _route(self, table: TomlTable) -> WebhookRouteConfig:
        route = table.read(WebhookRouteConfig, url="")
        self._check_account(table, route.account)
        if not route.incoming and "userref_prefix" not in table and "account" not in table:
            wrong = "must say which events it takes: userref_prefix, account or both, or incoming = true"
            table.diagnostics.add(table.key, None, wrong)
        return route

    def _sqlite(self, table: TomlTable) -> SqliteOutputConfig | None:
        output = table.read_whole(SqliteOutputConfig, rules=self._rules(table))
        return None if output is None else replace(output, rules=_with_no_row(table, output))

    def _sql(self, table: TomlTable) -> SqlOutputConfig | None:
        output = with_password(table, table.read_whole(SqlOutputConfig, rules=self._rules(table)))
        return None if output is None else replace(output, rules=_with_no_row(table, output))

    def _rules(self, table: TomlTable) -> TargetRules:
        rules = table.read(TargetRules, no_row="ignore")
        self._check_account(table, rules.account)
        return rules

    def _check_account(self, table: TomlTable, account: str | None) -> None:
        if account is not None and account not in self.accounts:
            table.refuse("account", "is not the name of an account in this configuration")


def _with_no_row(table: TomlTable, output: SqliteOutputConfig | SqlOutputConfig) -> TargetRules:
    return output.rules if "no_row" in table else replace(output.rules, no_row=no_row_of(output.statement))


def _refuse_remote(table: TomlTable, url: str) -> None:
    if is_foreign_address(urlsplit(url).hostname or ""):
        table.refuse("url", "must be a loopback or private address; for any other set allow_remote = true")
