"""`python -m tests.benchmarks.databases [--rows 1000000] [--pending 1000] [--seconds 60]`: what a source costs.

For PostgreSQL, MariaDB and SQLite, with the table, the index, the user and the query of the documentation:
milliseconds of a look at a table in which few of very many rows are pending, the server's processor time for it, and
the daemon's share of a core while it looks every five seconds and nothing is new. Needs `postgresql` and
`mariadb-server`.
"""

from __future__ import annotations

import argparse
import compileall
import os
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import tomli_w

import pollerd
from pollerd.config import Config, load
from pollerd.databases.engine import Database
from pollerd.intake.source import PAGE, Place, Reader
from pollerd.intake.sql import SqlReader
from pollerd.intake.sqlite import SqliteReader
from tests.acceptance.shop_kit import Shop
from tests.acceptance.test_databases import block
from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.daemon import Settings, daemon
from tests.benchmarks.throughput.gateway import gateway
from tests.servers.database import DatabaseServer
from tests.servers.mariadb import MariaDb
from tests.servers.postgresql import PostgreSql
from tests.sqlite_kit import autocommit

LOOKS: Final = 200
SLOW_LOOKS: Final = 5
"""Looks without the index."""
FIRST: Final = 421_000_000_000
"""The first id of the table."""
SETTLED: Final = 10.0
"""Seconds after which a daemon has taken the pending messages in, has polled each once, and rests."""
FAR: Final = 3600.0
"""Seconds to the next poll: nothing is due while the daemon is measured."""
FILL: Final = {
    "postgresql": """
INSERT INTO sms (gateway_id, msisdn, userref, body, status, final, status_seq)
SELECT {first} + n, 4512345678, 'order-' || n, 'Your parcel is on its way.', 'DELIVERED', true, n
FROM generate_series(1, {rows}) AS n;
UPDATE sms SET final = false, status = NULL WHERE gateway_id % {every} = 0;
VACUUM ANALYZE sms;
""",
    "mariadb": """
INSERT INTO sms (gateway_id, msisdn, userref, body, status, final, status_seq)
SELECT {first} + seq, 4512345678, concat('order-', seq), 'Your parcel is on its way.', 'DELIVERED', 1, seq
FROM seq_1_to_{rows};
UPDATE sms SET final = 0, status = NULL WHERE gateway_id % {every} = 0;
ANALYZE TABLE sms;
""",
    "sqlite": """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO sms (gateway_id, msisdn, userref, status, final, status_seq)
SELECT CAST({first} + i AS TEXT), 4512345678, 'order-' || i, 'DELIVERED', 1, i FROM n;
UPDATE sms SET final = 0, status = NULL WHERE CAST(gateway_id AS INTEGER) % {every} = 0;
ANALYZE;
""",
}


class Table(NamedTuple):
    """A filled table. `used` is the processor time that its server has taken so far, in seconds."""

    name: str
    source: dict[str, Any]
    used: Callable[[], float]
    drop_index: Callable[[], object]


def main() -> None:
    """Print the figures of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pending", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a daemon at rest is watched")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(pollerd.__file__).parent, quiet=2)
    size = {"first": FIRST, "rows": options.rows, "every": options.rows // options.pending}
    print(f"{machine.described()}; load average {machine.load():.1f}")
    print(f"{options.rows:,} rows, {options.pending:,} of them pending")
    with gateway() as stub:
        quiet = Settings(stub.url, interval=FAR)
        _print("no source: the daemon at rest", at_rest(quiet, {}, options.seconds))
        for table in (in_sqlite, in_server(PostgreSql), in_server(MariaDb)):
            with TemporaryDirectory() as folder, table(Path(folder), size) as filled:
                measure(filled, quiet, options.pending, options.seconds)


def measure(table: Table, quiet: Settings, pending: int, seconds: float) -> None:
    with daemon(quiet) as made:
        made.config.write_text(made.config.read_text() + tomli_w.dumps({"sources": table.source}))
        reader = reader_of(load(made.config))
        used, own = table.used(), time.process_time()
        took = looks(reader, LOOKS, pending)
        each, here = 1000 * (table.used() - used) / LOOKS, 1000 * (time.process_time() - own) / LOOKS
        _print(f"{table.name}: a look, ms (median, worst)", f"{median(took):.1f}, {max(took):.1f}")
        _print(f"{table.name}: processor of the reader for it, ms", f"{here:.1f}")
        _print(f"{table.name}: processor of the server for it, ms", f"{each:.1f}" if each else "there is none")
        _print(f"{table.name}: the daemon at rest", at_rest(quiet, table.source, seconds))
        table.drop_index()
        took = looks(reader, SLOW_LOOKS, pending)
        _print(f"{table.name}: a look without the index, ms", f"{median(took):.0f}")
        reader.close()


def reader_of(config: Config) -> Reader:
    """What the daemon reads its source with."""
    for file in config.sources.sqlite:
        return SqliteReader(file.path, file.query)
    (source,) = config.sources.sql
    return SqlReader(Database(source.url, source.password, reads=True, sql="query"), source.query, source.every)


def looks(reader: Reader, count: int, pending: int) -> list[float]:
    """Milliseconds of each look."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        page = reader.read(Place(), PAGE)
        took.append(1000 * (time.perf_counter() - began))
        assert len(page.rows) == pending
    return took


def at_rest(quiet: Settings, source: dict[str, Any], seconds: float) -> str:
    """The processor and the memory of a daemon that looks, and finds nothing new."""
    with daemon(quiet) as made:
        made.config.write_text(made.config.read_text() + tomli_w.dumps({"sources": source}))
        made.start()
        made.ready()
        time.sleep(SETTLED)
        used, began = machine.cpu(made.pid), time.monotonic()
        time.sleep(seconds)
        share = 100 * (machine.cpu(made.pid) - used) / (time.monotonic() - began)
        return f"{share:.2f} % of a core, {machine.resident(made.pid):.1f} MB"


@contextmanager
def in_sqlite(folder: Path, size: dict[str, int]) -> Iterator[Table]:
    path = folder / "shop.db"
    with autocommit(path) as opened:
        opened.executescript(block("sql"))
        opened.executescript(f"BEGIN; {FILL['sqlite'].format(**size)} COMMIT;")
        source = tomllib.loads(block("toml").replace("/srv/shop/shop.db", str(path)))["sources"]
        yield Table("SQLite", source, lambda: 0.0, lambda: opened.execute("DROP INDEX sms_open"))


def in_server(kind: type[DatabaseServer]) -> Callable[[Path, dict[str, int]], Any]:
    @contextmanager
    def table(folder: Path, size: dict[str, int]) -> Iterator[Table]:
        with kind() as server, server.database() as database:
            shop = Shop(database)
            shop.set_up(audited=False)
            database.script(FILL[shop.kind].format(**size))
            source = tomllib.loads(shop.settings(folder, every="5s"))["sources"]
            drop = "DROP INDEX sms_open" + ("" if shop.kind == "postgresql" else " ON sms")
            yield Table(kind.__name__, source, lambda: machine.family(server.pid), lambda: database.execute(drop))

    return table


def _print(what: str, figure: str) -> None:
    print(f"{what:56} {figure}", flush=True)


if __name__ == "__main__":
    main()
