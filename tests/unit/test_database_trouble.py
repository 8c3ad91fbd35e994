"""What an error of a database of others means, in words for its user."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import exc, text

from pollerd.config.sql import for_sqlalchemy, rights_of, without_end
from pollerd.databases.errors import explained
from pollerd.databases.trouble import Trouble


class Postgres(Exception):  # noqa: N818
    """As psycopg has it: a SQLSTATE, and a detail in the text."""

    def __init__(self, sqlstate: str | None, primary: str | None, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate
        self.diag = SimpleNamespace(message_primary=primary)


class Numbered(Exception):  # noqa: N818
    """As PyMySQL and pymssql have it: number and text."""


class Oracle(Exception):  # noqa: N818
    """As oracledb has it: an object with a code."""


def postgres(state: str | None, text: str) -> Postgres:
    return Postgres(
        state, None if state is None else text, f"{text}\nDETAIL:  Failing row contains (1, Your code is 7)."
    )


CASES: list[tuple[str, Exception, type[exc.DBAPIError], Trouble]] = [
    ("postgresql", postgres(None, 'FATAL:  password authentication failed for user "x"'), exc.OperationalError,
     Trouble.PASSWORD),
    ("postgresql", postgres(None, 'FATAL:  database "shop" does not exist'), exc.OperationalError,
     Trouble.NO_DATABASE),
    ("postgresql", postgres(None, "server does not support SSL, but SSL was required"), exc.OperationalError,
     Trouble.TLS),
    ("postgresql", postgres(None, "SSL error: certificate verify failed"), exc.OperationalError, Trouble.TLS),
    ("postgresql", postgres(None, "SSL SYSCALL error: EOF detected"), exc.OperationalError, Trouble.AWAY),
    ("postgresql", postgres(None, "connection refused"), exc.OperationalError, Trouble.AWAY),
    ("postgresql", postgres("57P01", "terminating connection"), exc.OperationalError, Trouble.AWAY),
    ("postgresql", postgres("53300", "too many clients already"), exc.OperationalError, Trouble.AWAY),
    ("postgresql", postgres("53100", "could not extend file"), exc.OperationalError, Trouble.FULL),
    ("postgresql", postgres("55P03", "canceling statement due to lock timeout"), exc.OperationalError, Trouble.LOCKED),
    ("postgresql", postgres("40P01", "deadlock detected"), exc.OperationalError, Trouble.CONFLICT),
    ("postgresql", postgres("57014", "canceling statement"), exc.OperationalError, Trouble.SLOW),
    ("postgresql", postgres("25006", "cannot execute UPDATE in a read-only transaction"), exc.InternalError,
     Trouble.READ_ONLY),
    ("postgresql", postgres("42501", "permission denied for table sms"), exc.ProgrammingError, Trouble.FORBIDDEN),
    ("postgresql", postgres("42P01", 'relation "sms" does not exist'), exc.ProgrammingError, Trouble.MISSING),
    ("postgresql", postgres("42703", 'column "x" does not exist'), exc.ProgrammingError, Trouble.MISSING),
    ("postgresql", postgres("42601", "syntax error"), exc.ProgrammingError, Trouble.STATEMENT),
    ("postgresql", postgres("23514", "violates check constraint"), exc.IntegrityError, Trouble.REFUSED),
    ("postgresql", postgres("22001", "value too long"), exc.DataError, Trouble.REFUSED),
    ("postgresql", postgres("P0001", "no"), exc.ProgrammingError, Trouble.REFUSED),
    ("postgresql", postgres("SMS01", "a trigger's own"), exc.DatabaseError, Trouble.REFUSED),
    ("postgresql", postgres("54000", "index row size exceeds maximum"), exc.OperationalError, Trouble.REFUSED),
    ("postgresql", postgres("58030", "could not read block"), exc.OperationalError, Trouble.OTHER),
    ("postgresql", postgres("XX001", "invalid page"), exc.InternalError, Trouble.OTHER),
    ("mysql", Numbered(1045, "Access denied for user"), exc.OperationalError, Trouble.PASSWORD),
    ("mariadb", Numbered(1142, "SELECT command denied"), exc.OperationalError, Trouble.FORBIDDEN),
    ("mysql", Numbered(1146, "Table 'shop.sms' doesn't exist"), exc.ProgrammingError, Trouble.MISSING),
    ("mysql", Numbered(1054, "Unknown column"), exc.OperationalError, Trouble.MISSING),
    ("mysql", Numbered(1205, "Lock wait timeout exceeded"), exc.OperationalError, Trouble.LOCKED),
    ("mariadb", Numbered(1969, "Query execution was interrupted"), exc.OperationalError, Trouble.SLOW),
    ("mysql", Numbered(1290, "running with the --read-only option"), exc.OperationalError, Trouble.READ_ONLY),
    ("mysql", Numbered(1021, "Disk full"), exc.OperationalError, Trouble.FULL),
    ("mysql", Numbered(2013, "Lost connection"), exc.OperationalError, Trouble.AWAY),
    ("mysql", Numbered(2003, "Can't connect ([SSL: CERTIFICATE_VERIFY_FAILED])"), exc.OperationalError, Trouble.TLS),
    ("mysql", Numbered(1049, "Unknown database 'x'"), exc.OperationalError, Trouble.NO_DATABASE),
    ("mariadb", Numbered(4025, "CONSTRAINT `x` failed"), exc.OperationalError, Trouble.REFUSED),
    ("mysql", Numbered(1213, "Deadlock found"), exc.OperationalError, Trouble.CONFLICT),
    ("mysql", Numbered(30001, "no, says a trigger"), exc.OperationalError, Trouble.REFUSED),
    ("mysql", Numbered(1369, "CHECK OPTION failed"), exc.OperationalError, Trouble.REFUSED),
    ("mysql", Numbered(1242, "Subquery returns more than 1 row"), exc.OperationalError, Trouble.REFUSED),
    ("mysql", Numbered(1105, "Unknown error"), exc.OperationalError, Trouble.OTHER),
    ("mysql", Numbered(2099, "something new"), exc.OperationalError, Trouble.AWAY),
    ("mysql", Numbered(1064, "You have an error in your SQL syntax"), exc.ProgrammingError, Trouble.STATEMENT),
    ("mssql", Numbered(18456, b"Login failed"), exc.OperationalError, Trouble.PASSWORD),
    ("mssql", Numbered("42S02", "[42S02] Invalid object name"), exc.ProgrammingError, Trouble.MISSING),
    ("mssql", Numbered(51000, b"no, says a trigger"), exc.OperationalError, Trouble.REFUSED),
    ("oracle", Oracle(SimpleNamespace(code=20123)), exc.DatabaseError, Trouble.REFUSED),
    ("oracle", Oracle(SimpleNamespace(code=942)), exc.DatabaseError, Trouble.MISSING),
    ("oracle", Oracle(SimpleNamespace(code=54)), exc.DatabaseError, Trouble.LOCKED),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "original", "wrapper", "trouble"), CASES, ids=lambda case: str(case)[:40])
def test_what_is_wrong_is_told_by_the_drivers_code(
    kind: str, original: Exception, wrapper: Any, trouble: Trouble
) -> None:
    found = explained(wrapper("UPDATE sms", {"msisdn": 4512345678}, original), kind, "query")
    assert found.trouble is trouble
    assert "Your code is 7" not in str(found), "the text of an SMS"
    assert "4512345678" not in str(found)
    assert len(str(found).splitlines()) == 1


def test_a_colon_in_quotes_is_no_parameter() -> None:
    statement = (
        "UPDATE a SET b = ':no' -- :no\n, c = \"x:no\", d = :id::bigint /* :no */ WHERE e = '12:30' AND f = :seq"
    )
    compiled = text(for_sqlalchemy(statement)).compile()
    assert set(compiled.params) == {"id", "seq"}
    assert str(compiled) == statement


@pytest.mark.parametrize(
    ("query", "inner"),
    [
        ("SELECT 1", "SELECT 1\n"),
        ("SELECT 1 ;\n", "SELECT 1 \n\n"),
        ("SELECT ';' -- ;", "SELECT ';' -- ;\n"),
        ("SELECT 1; -- and so on", "SELECT 1 -- and so on\n"),
    ],
)
def test_a_query_is_put_into_another_one_without_its_end(query: str, inner: str) -> None:
    assert without_end(query) == inner


@pytest.mark.parametrize(
    ("statement", "table", "rights"),
    [
        ("UPDATE sms SET a = :status WHERE id = :id", "sms", ("SELECT", "UPDATE")),
        ("/* UPDATE x */ WITH y AS (SELECT 1) update only shop.sms SET a = 1", "shop.sms", ("SELECT", "UPDATE")),
        ('DELETE FROM "sms of today" WHERE id = :id', '"sms of today"', ("SELECT", "DELETE")),
        ("INSERT INTO `log` VALUES (:id)", "`log`", ("INSERT",)),
        ("INSERT IGNORE INTO log VALUES (:id)", "log", ("INSERT",)),
        ("INSERT INTO log VALUES (:id) ON CONFLICT DO NOTHING", "log", ("INSERT", "SELECT", "UPDATE")),
        ("CALL told(:id)", "", ()),
    ],
)
def test_the_rights_that_a_statement_takes(statement: str, table: str, rights: tuple[str, ...]) -> None:
    assert rights_of(statement) == (table, rights)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            (
                'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  no such "user"\n'
                'connection to server at "127.0.0.1", port 5432 failed: FATAL:  no such "user"'
            ),
            'no such "user"',
        ),
        (
            (
                'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory\n'
                "\tIs the server running locally and accepting connections on that socket?"
            ),
            "No such file or directory",
        ),
        (
            (
                'connection to server at "db" (::1), port 5432 failed: refused\n'
                'connection to server at "db" (127.0.0.1), port 5432 failed: timeout expired'
            ),
            (
                'connection to server at "db" (::1), port 5432 failed: refused '
                'connection to server at "db" (127.0.0.1), port 5432 failed: timeout expired'
            ),
        ),
        ("server closed the connection unexpectedly", "server closed the connection unexpectedly"),
    ],
)
def test_of_several_attempts_what_they_have_in_common_is_said_once(text: str, said: str) -> None:
    found = explained(exc.OperationalError("SELECT 1", {}, postgres(None, text)), "postgresql")
    assert found.said == said
