"""What a database would do with a statement, asked without doing it: the plan that EXPLAIN gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, text

from pollerd.config.sql import first_word, for_sqlalchemy

_EXPLAINED: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "MERGE"})
"""A CALL has no plan."""
_FEW: Final = 1000
"""Rows of a table up to which MySQL may read all of them though it has an index."""


def read_whole(
    connection: Connection, kind: str, statement: str, values: Mapping[str, object]
) -> frozenset[str] | None:
    """The tables of which the statement reads every row, since no index serves it. None: it was not tried, this kind of
    database or statement has no EXPLAIN. Raises SQLAlchemyError when the statement cannot be run.
    """
    if first_word(statement) not in _EXPLAINED:
        return None
    match kind:
        case "postgresql":
            # In a small table it reads all rows, whatever the index.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = _explained(connection, "EXPLAIN (FORMAT JSON)", statement, values)[0]["QUERY PLAN"]
            return frozenset(_scanned(plan[0]["Plan"]))
        case "mysql" | "mariadb":
            rows = _explained(connection, "EXPLAIN", statement, values)
            return frozenset(row["table"] for row in rows if _reads_all(row))
        case _:
            return None


def is_read_only(connection: Connection, kind: str) -> bool:
    """Whether this connection may change nothing: a standby, or a server or a user that is set to that."""
    asked = {
        "postgresql": "SELECT current_setting('transaction_read_only')",
        "mysql": "SELECT @@GLOBAL.read_only",
        "mariadb": "SELECT @@GLOBAL.read_only",
    }.get(kind)
    return asked is not None and str(connection.exec_driver_sql(asked).scalar()).lower() not in ("off", "0")


def encryption(connection: Connection, kind: str) -> str | None:
    """The version of TLS that the connection has, empty where it is not encrypted; None: it was not asked."""
    match kind:
        case "postgresql":
            asked = "SELECT coalesce(version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            return str(connection.exec_driver_sql(asked).scalar() or "")
        case "mysql" | "mariadb":
            found = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Ssl_version'").first()
            return "" if found is None else str(found[1])
        case _:
            return None


def missing_rights(connection: Connection, table: str, rights: Iterable[str]) -> list[str]:
    """Those of `rights` that the user has to no column of the table. PostgreSQL alone: MySQL names them itself."""
    return [right for right in rights if not _has(connection, table, right)]


def _has(connection: Connection, table: str, right: str) -> bool:
    # A row is deleted with all its columns.
    asked = "has_table_privilege" if right == "DELETE" else "has_any_column_privilege"
    return bool(connection.execute(text(f"SELECT {asked}(:table, :right)"), {"table": table, "right": right}).scalar())


def _explained(connection: Connection, words: str, statement: str, values: Mapping[str, object]) -> list[Any]:
    result = connection.execute(text(f"{words} {for_sqlalchemy(statement)}"), dict(values))
    return list(result.mappings())


def _scanned(node: Mapping[str, Any]) -> Iterator[str]:
    # An index that is read from end to end, for its order or since there is nothing else.
    aimless = node["Node Type"].startswith("Index") and "Index Cond" not in node and "Filter" in node
    if node["Node Type"] == "Seq Scan" or aimless:
        yield node["Relation Name"]
    for below in node.get("Plans", ()):
        yield from _scanned(below)


def _reads_all(row: Mapping[str, Any]) -> bool:
    if row["type"] not in ("ALL", "index") or row["select_type"] == "INSERT" or row["table"] is None:
        return False
    if row["table"].startswith("<"):
        # A result of the statement itself.
        return False
    return row["possible_keys"] is None or int(row["rows"] or 0) > _FEW
