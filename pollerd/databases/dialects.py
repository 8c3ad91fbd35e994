"""What differs from one kind of database to another: how long it may take, who only reads, and how that is said to it.

A setting is made for each transaction where there is such a thing: a pooler in between gives the session to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

from pollerd.config.databases import DatabaseUrl
from pollerd.databases.engine import CONNECT, IDLE, LOCK, SILENCE, STATEMENT

_LIBPQ: Final = {
    "connect_timeout": CONNECT,
    "fallback_application_name": "pollerd",
    # A server that is gone without a word: noticed after 25 seconds of silence.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_MYSQL: Final = {"connect_timeout": CONNECT, "read_timeout": SILENCE, "write_timeout": SILENCE}
_ARGUMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    # A pooler, or an ALTER TABLE, and a prepared statement is not there or not right any more.
    "psycopg": {**_LIBPQ, "prepare_threshold": None},
    "psycopg2": _LIBPQ,
    "pymysql": _MYSQL,
    "mysqldb": _MYSQL,
    "mariadbconnector": _MYSQL,
    "pymssql": {"login_timeout": CONNECT, "timeout": STATEMENT},
    "pyodbc": {"timeout": CONNECT},
    "oracledb": {"tcp_connect_timeout": CONNECT},
}
"""What each driver is given beside the URL, whose own options come first."""


def engine_of(url: DatabaseUrl, password: str | None, *, reads: bool, opened: Callable[[Any], None]) -> Engine:
    """An engine with one connection at most, which is not opened yet. `opened` gets each connection of the driver."""
    engine = _engine(url, password)

    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _: object) -> None:
        opened(raw)
        _of_session(url, raw, reads=reads)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if words := _of_transaction(url.kind, reads=reads):
            connection.exec_driver_sql(words)

    return engine


def _engine(url: DatabaseUrl, password: str | None) -> Engine:
    parsed = make_url(url.text)
    full: URL = parsed.set(drivername=f"{url.kind}+{url.driver}")
    if password is not None:
        full = full.set(password=password)
    arguments = {name: value for name, value in _ARGUMENTS[url.driver].items() if name not in parsed.query}
    if url.driver == "pymysql" and password is not None:
        # PyMySQL makes Latin-1 of a text, and names the sign that is none in its error.
        arguments["password"] = password.encode()
    return create_engine(
        full,
        connect_args=arguments,
        pool_size=1,
        max_overflow=0,
        pool_timeout=CONNECT,
        pool_pre_ping=True,
        pool_recycle=IDLE,
        hide_parameters=True,
    )


def _of_session(url: DatabaseUrl, raw: Any, *, reads: bool) -> None:
    """What holds as long as the connection."""
    match url.kind, url.driver:
        case "mysql" | "mariadb", _:
            # A TIMESTAMP is read and written in the session's zone, and a time without a zone is UTC here.
            _run(raw, "SET SESSION time_zone = '+00:00'")
            _run(raw, f"SET SESSION innodb_lock_wait_timeout = {LOCK}, lock_wait_timeout = {LOCK}")
            try:
                _run(raw, f"SET SESSION max_statement_time = {STATEMENT}")
            except Exception:  # noqa: BLE001 - each driver has classes of its own
                # MySQL's own, in milliseconds; for a SELECT alone.
                _run(raw, f"SET SESSION max_execution_time = {STATEMENT * 1000}")
            if reads:
                _run(raw, "SET SESSION TRANSACTION READ ONLY")
            else:
                # Without it a row that is not there yet is locked, too, and its application cannot insert it.
                _run(raw, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                # Where a server's own mode is not strict, it cuts off what is too long, and says nothing.
                _run(raw, "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
        case "mssql", driver:
            _run(raw, f"SET LOCK_TIMEOUT {LOCK * 1000}")
            if driver == "pyodbc":
                raw.timeout = STATEMENT
        case "oracle", _:
            raw.call_timeout = STATEMENT * 1000


def _run(raw: Any, words: str) -> None:
    cursor = raw.cursor()
    try:
        cursor.execute(words)
    finally:
        cursor.close()


def _of_transaction(kind: str, *, reads: bool) -> str:
    match kind:
        case "postgresql":
            limits = f"SET LOCAL statement_timeout = {STATEMENT * 1000}; SET LOCAL lock_timeout = {LOCK * 1000}"
            # A guard has to see what others have committed meanwhile.
            return f"SET TRANSACTION {'READ ONLY' if reads else 'ISOLATION LEVEL READ COMMITTED'}; {limits}"
        case "oracle" if reads:
            return "SET TRANSACTION READ ONLY"
        case _:
            return ""
