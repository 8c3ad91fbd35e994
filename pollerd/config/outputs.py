"""``[outputs.*]`` and ``[[sources.*]]``: who is told, and what other databases are read."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from pollerd.config.accounts import read_secret
from pollerd.config.environment import LoadContext
from pollerd.config.kinds import (
    Choice,
    command,
    duration,
    durations,
    flag,
    is_foreign_address,
    mode,
    socket_fits,
    text,
    webhook_url,
)
from pollerd.config.reader import TomlTable
from pollerd.config.secret import SecretKind
from pollerd.config.values import (
    DEFAULT_EVERY,
    DEFAULT_RETRY_AFTER,
    DEFAULT_ROW_RETRY_AFTER,
    DEFAULT_SOCKET_MODE,
    ExecOutputConfig,
    FileOutputConfig,
    OutputsConfig,
    SocketOutputConfig,
    SourcesConfig,
    SqliteOutputConfig,
    SqliteSourceConfig,
    TargetRules,
    WebhookOutputConfig,
    WebhookRouteConfig,
)

_NO_ROW: Final = Choice[Literal["retry", "ignore"]]({"retry": "retry", "ignore": "ignore"})


def _event_statement(value: object) -> str:
    # Few configurations have SQL, and every command's start would wait for SQLite.
    from pollerd.config.sql import event_statement

    return event_statement(value)


def _no_row(statement: str) -> Literal["retry", "ignore"]:
    """What an event that changes no row most likely means for a statement."""
    from pollerd.config.sql import analysed

    return "retry" if analysed(statement).plain else "ignore"


def _query(value: object) -> str:
    from pollerd.config.sql import query

    return query(value)


class OutputReader(msgspec.Struct, frozen=True):
    """Reads everything that depends on where the database is."""

    context: LoadContext
    store: Path
    accounts: frozenset[str]

    def outputs(self, root: TomlTable) -> OutputsConfig:
        table = root.section("outputs")
        outputs = OutputsConfig(
            file=self._file(table.subtable("file")),
            socket=self._socket(table.subtable("socket")),
            webhook=self._webhook(table.subtable("webhook")),
            exec=self._exec(table.subtable("exec")),
            sqlite=tuple(filter(None, map(self._sqlite, table.subtables("sqlite")))),
        )
        table.close()
        return outputs if table.names() else OutputsConfig(file=FileOutputConfig(self._default_file()))

    def sources(self, root: TomlTable) -> SourcesConfig:
        table = root.section("sources")
        found = tuple(filter(None, map(self._source, table.subtables("sqlite"))))
        table.close()
        return SourcesConfig(found)

    def _default_file(self) -> Path:
        return self.store.parent / "events.ndjson"

    def _file(self, table: TomlTable | None) -> FileOutputConfig | None:
        if table is None:
            return None
        output = FileOutputConfig(table.take("path", self.context.path, self._default_file()))
        table.close()
        return output

    def _socket(self, table: TomlTable | None) -> SocketOutputConfig | None:
        if table is None:
            return None
        default = self.context.socket_folder(self.store) / "events.sock"
        path = table.take("path", self.context.path.socket, default)
        if path == default and not socket_fits(default):
            table.refuse("path", f"must be given: the default {default} is too long for a Unix socket")
        rights = table.take("mode", mode, DEFAULT_SOCKET_MODE)
        if rights & 0o002:
            table.diagnostics.warnings.append(
                f"{table.path('mode')}: every user of this machine may read the events, phone numbers "
                'included; use "0660" and a group'
            )
        table.close()
        return SocketOutputConfig(path, rights)

    def _webhook(self, table: TomlTable | None) -> WebhookOutputConfig | None:
        if table is None:
            return None
        allow_remote = table.take("allow_remote", flag, default=False)
        output = WebhookOutputConfig(
            url=self._url(table, allow_remote=allow_remote),
            secret=read_secret(table, "secret", SecretKind.SIGNING, self.context),
            all_events=table.take("all_events", flag, default=False),
            allow_remote=allow_remote,
            retry_after=table.take("retry_after", durations(0.01, 30 * 86400, 20), DEFAULT_RETRY_AFTER),
            routes=tuple(self._route(each, allow_remote=allow_remote) for each in table.subtables("routes")),
        )
        table.close()
        return output

    def _url(self, table: TomlTable, *, allow_remote: bool) -> str:
        url = table.require("url", webhook_url) or ""
        if not allow_remote and is_foreign_address(urlsplit(url).hostname or ""):
            table.refuse("url", "must be a loopback or private address; for any other set allow_remote = true")
        return url

    def _route(self, table: TomlTable, *, allow_remote: bool) -> WebhookRouteConfig:
        route = WebhookRouteConfig(
            url=self._url(table, allow_remote=allow_remote),
            userref_prefix=table.take("userref_prefix", text),
            account=table.take("account", text),
            secret=read_secret(table, "secret", SecretKind.SIGNING, self.context),
        )
        self._check_account(table, route.account)
        if "userref_prefix" not in table and "account" not in table:
            table.diagnostics.add(table.key, None, "must say which events it takes: userref_prefix, account or both")
        table.close()
        return route

    def _exec(self, table: TomlTable | None) -> ExecOutputConfig | None:
        if table is None:
            return None
        found = table.require("command", command)
        table.close()
        return None if found is None else ExecOutputConfig(found)

    def _sqlite(self, table: TomlTable) -> SqliteOutputConfig | None:
        path = table.require("path", self.context.path)
        sql = table.require("statement", _event_statement)
        rules = self._rules(table, sql or "")
        table.close()
        return None if path is None or sql is None else SqliteOutputConfig(path, sql, rules)

    def _rules(self, table: TomlTable, statement: str) -> TargetRules:
        """The keys that outputs into databases have in common."""
        rules = TargetRules(
            no_row=table.take("no_row", _NO_ROW) or _no_row(statement),
            retry_after=table.take("retry_after", durations(0.01, 30 * 86400, 20), DEFAULT_ROW_RETRY_AFTER),
            userref_prefix=table.take("userref_prefix", text),
            account=table.take("account", text),
        )
        self._check_account(table, rules.account)
        return rules

    def _check_account(self, table: TomlTable, account: str | None) -> None:
        if account is not None and account not in self.accounts:
            table.refuse("account", "is not the name of an account in this configuration")

    def _source(self, table: TomlTable) -> SqliteSourceConfig | None:
        path = table.require("path", self.context.path)
        sql = table.require("query", _query)
        every = table.take("every", duration(0.1, 86400), DEFAULT_EVERY)
        table.close()
        return None if path is None or sql is None else SqliteSourceConfig(path, sql, every)
