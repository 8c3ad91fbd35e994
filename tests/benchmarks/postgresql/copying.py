"""`pollerd store copy` there and back again: equal row by row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from psycopg.types.string import TextLoader

from pollerd.store.postgresql.copy import TABLES
from tests.benchmarks.postgresql.server import copy_in, on_server, stored
from tests.benchmarks.throughput.daemon import Settings, daemon
from tests.benchmarks.throughput.rows import Row, Scale
from tests.sqlite_kit import autocommit, transaction
from tests.store_database import StoreDatabase

NOWHERE: Final = "http://127.0.0.1:9"
"""No gateway is asked."""
FLAT: Final = 10.0
"""MB of memory that ten times as many rows may take more: a driver's buffers."""
PAGE: Final = 10_000
"""Rows that are read at a time to be compared."""
_FILE_ONLY: Final = ("store_id", "readable_from")
"""Notes that SQLite keeps about the file itself."""
_EVENTS: Final = """
INSERT INTO events (seq, type, message_id, at, body)
SELECT row_number() OVER (ORDER BY id), 'message.status', id, last_poll_at, CAST(
    '{"type":"message.status","id":' || id || ',"account":"default","msisdn":4512345678,"status":"ENROUTE","previous":'
    || '"BUFFERED","final":false,"time":1764000042,"error":null,"code":null,"userref":null,"country_code":"DK",'
    || '"country_prefix":45,"mcc":"238","mnc":"1","observed_at":"2026-11-22T10:30:43.512Z","polls":3}' AS BLOB)
FROM messages
"""


def copy(scale: Scale) -> Iterator[Row]:
    """A million messages with a recipient and an event each."""
    count = 1_000_000 if scale.rounds >= 5 else 30_000
    _, few_in, _, few_out, _ = _there_and_back(count // 10)
    into, peak_in, back, peak_out, rows = _there_and_back(count)
    note = f"{count:,} messages and events, {rows:,} rows equal one by one"
    yield Row("store copy into PostgreSQL", into, "s", note=note)
    yield Row("  its largest memory", peak_in, "MB", few_in + FLAT, note=f"{few_in:.0f} MB for a tenth of the rows")
    yield Row("store copy back into a file", back, "s", note=note)
    yield Row("  its largest memory", peak_out, "MB", few_out + FLAT, note=f"{few_out:.0f} MB for a tenth of the rows")


def _there_and_back(count: int) -> tuple[float, float, float, float, int]:
    """Seconds and largest memory in MB of each way, and how many rows were compared."""
    settings = Settings(NOWHERE)
    with daemon(settings) as here, stored() as store, on_server(settings, store) as there:
        now = time.time()
        here.fill(count, (now, now + 86400.0))
        with transaction(here.database) as connection:
            connection.execute(_EVENTS)
        timed: list[tuple[float, float]] = []
        copy_in(here, store, lambda *command: timed.append(here.timed(*command)))
        original, copied = Path(f"{here.database}.copied"), there.folder / "back.db"
        timed.append(there.timed("store", "copy", "--to", str(copied)))
        rows = sum(_compared(original, store, copied, table) for table in TABLES)
    return *timed[0], *timed[1], rows


def _compared(original: Path, store: StoreDatabase, copied: Path, table: str) -> int:
    """How many rows a table has. Raises AssertionError where a row differs between the three."""
    count = 0
    with autocommit(original) as first, autocommit(copied) as last:
        key = ", ".join(
            name for (name,) in first.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk > 0")
        )
        columns = ", ".join(name for (name,) in first.execute(f"SELECT name FROM pragma_table_info('{table}')"))
        kept = f" WHERE name NOT IN {_FILE_ONLY}" if table == "meta" else ""
        sql = f"SELECT {columns} FROM {table}{kept} ORDER BY {key}"
        for rows in zip_longest(first.execute(sql), _streamed(store, sql), last.execute(sql)):
            before, there, after = map(_plain, rows)
            assert before == there == after, f"{table}: {before} is {there} in PostgreSQL and {after} back in a file"
            count += 1
    return count


def _streamed(store: StoreDatabase, sql: str) -> Iterator[Sequence[Any]]:
    with store.database.connect() as connection:
        connection.adapters.register_loader("json", TextLoader)
        with connection.transaction(), connection.cursor("rows") as cursor:
            cursor.itersize = PAGE
            yield from cursor.execute(sql)


def _plain(row: Sequence[Any] | None) -> list[Any] | None:
    """A row in the same words, whichever driver gave it."""
    return None if row is None else [value.encode() if isinstance(value, str) else value for value in row]
