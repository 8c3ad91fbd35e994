"""A pollerd under measurement: its configuration, its database, its process."""

from __future__ import annotations

import shutil
import signal
import socket as socketlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pollerd.store.sqlite import schema
from tests.benchmarks.throughput import machine
from tests.sqlite_kit import autocommit, transaction

FIRST_ID = 10**12


@dataclass(frozen=True, slots=True)
class Settings:
    """What cases differ in. Durations in seconds; `policy` is the backoff's, `first` its wait before a first poll."""

    gateway: str
    interval: float = 2.0
    connections: int = 40
    rate: float = 10_000.0
    policy: str = "exponential"
    first: str = "0s"
    python: str = sys.executable
    """The interpreter whose pollerd is measured."""
    store: str = ""
    """The keys of [store]; empty: a file in the daemon's folder."""

    @property
    def command(self) -> tuple[str, ...]:
        return (self.python, "-m", "pollerd")


@dataclass(slots=True)
class Daemon:
    """A folder with a configuration and a database, and the process that runs on them."""

    folder: Path
    settings: Settings
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def config(self) -> Path:
        return self.folder / "pollerd.toml"

    @property
    def database(self) -> Path:
        return self.folder / "pollerd.db"

    @property
    def events(self) -> Path:
        return self.folder / "events.ndjson"

    @property
    def socket(self) -> Path:
        return self.folder / "events.sock"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        log.write(b"[starting]\n")
        log.flush()
        self.process = subprocess.Popen(
            [*self.settings.command, "run", "-c", str(self.config)], stderr=log, stdout=log, cwd=self.folder
        )

    def stop(self) -> None:
        if self.process is not None:
            # One that was stopped in its tracks must go on to end.
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.process = None

    def command(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.settings.command, *arguments, "-c", str(self.config)],
            input=given,
            capture_output=True,
            check=True,
            cwd=self.folder,
        )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def ready(self) -> None:
        """Return when it has said that it runs."""
        wait_until(lambda: "[started]" in self.log.rpartition("[starting]")[2], 60.0, 0.005)

    def tracked(self, ids: bytes) -> tuple[float, float]:
        """Hand ids over through `track -`; seconds from start to end, and the largest memory, in MB."""
        feed = self.folder / "ids"
        feed.write_bytes(ids)
        with feed.open("rb") as given:
            return self.timed("track", "-", given=given)

    def timed(self, *arguments: str, given: IO[bytes] | int = subprocess.DEVNULL) -> tuple[float, float]:
        """Run a command; seconds from start to end, and the largest memory, in MB."""
        began = time.monotonic()
        process = subprocess.Popen(
            [*self.settings.command, *arguments, "-c", str(self.config)],
            stdin=given,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )
        peak = 0.0
        # Not from getrusage: that counts the pages of this process, from before the other program was loaded.
        while process.poll() is None:
            # It may have ended by now.
            with suppress(ProcessLookupError):
                peak = max(peak, machine.peak(process.pid))
            time.sleep(0.005)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return time.monotonic() - began, peak

    def make_due(self, count: int) -> None:
        """Make some messages due, as after a while without a daemon."""
        with autocommit(self.database) as connection:
            connection.execute(
                "UPDATE messages SET next_poll_at = ? WHERE id IN (SELECT id FROM messages WHERE state = 1 LIMIT ?)",
                (time.time() - 1.0, count),
            )

    def plan(self, size: int, count: int, start: float, rate: float) -> dict[int, float]:
        """Make `count` of the `size` messages due, `rate` a second from `start` on; gives the due times by id."""
        # Far from each other, as after a while of polling: a prime that divides no size.
        due = {FIRST_ID + (n * 7919) % size: start + n / rate for n in range(min(count, size))}
        with transaction(self.database) as connection:
            rows = [(at, number) for number, at in due.items()]
            connection.executemany("UPDATE messages SET next_poll_at = ? WHERE id = ?", rows)
        return due

    def fill(self, count: int, due: tuple[float, float]) -> None:
        """Put `count` pending messages there, next polls spread evenly between two instants (UNIX seconds).

        As bulk SQL, since a million messages handed over one by one would take longer than the measurement. The rows
        are as pollerd leaves them after a first poll that found one recipient on the way.
        """
        connection = schema.prepare(self.database)
        try:
            _bulk(connection, count, due)
        finally:
            connection.close()


def _bulk(connection: sqlite3.Connection, count: int, due: tuple[float, float]) -> None:
    from pollerd.core.model import Recipient
    from pollerd.store.rows import blob_from_recipients

    now = time.time()
    blob = blob_from_recipients((Recipient(4512345678, "ENROUTE", now - 900, None, None, "DK", "238", "1"),))
    # Nothing to roll back, nothing to sync: the file is thrown away.
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    connection.execute("BEGIN IMMEDIATE")
    index = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'messages_due'").fetchone()[0]
    connection.execute("DROP INDEX messages_due")
    connection.execute(
        """
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
        INSERT INTO messages (id, sent_at, state, next_poll_at, next_reason, polls, base, first_poll_at, last_poll_at,
            last_answer, seen_at, sendtime, recipients)
        SELECT ?2 + i, ?3 - 600, 1, ?4 + (?5 - ?4) * i / ?1, 'exponential at age 600 s', 3, ?3 - 600,
            ?3 - 590, ?3 - 10, '200', ?3 - 10, ?3 - 600, ?6
        FROM n
        """,
        (count, FIRST_ID, now, *due, blob),
    )
    connection.execute(index)
    connection.execute("INSERT OR REPLACE INTO counters (name, value) VALUES ('pending', ?)", (count,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def daemon(
    settings: Settings, *, socket: bool = False, make: Callable[[Path, Settings], Daemon] = Daemon
) -> Iterator[Daemon]:
    """A folder with a configuration; nothing runs yet. What was started is stopped, the folder deleted."""
    folder = Path(tempfile.mkdtemp(prefix="pollerd-bench-"))
    made = make(folder, settings)
    made.config.write_text(_config(made, socket=socket), encoding="utf-8")
    try:
        yield made
    finally:
        try:
            made.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _config(made: Daemon, *, socket: bool) -> str:
    # The timeout is longer than any turn of the others: requests under way at a SIGSTOP must not fail after it.
    wanted = made.settings
    return f"""
[accounts.default]
base_url = "{wanted.gateway}"
token = "benchmark"
[limits]
requests_per_second = {wanted.rate}
max_connections = {wanted.connections}
timeout = "60s"
[backoff]
policy = "{wanted.policy}"
first_poll_after = "{wanted.first}"
min_interval = {wanted.interval}
max_interval = {wanted.interval}
[store]
{wanted.store or f'path = "{made.database}"'}
[outputs.file]
path = "{made.events}"
{f'[outputs.socket]{chr(10)}path = "{made.socket}"' if socket else ""}
[credit]
check_every = "1d"
"""


class Listener:
    """A reader of the event socket that counts what it hears."""

    def __init__(self, path: Path) -> None:
        self.events = 0
        self._socket = socketlib.socket(socketlib.AF_UNIX)
        self._socket.connect(str(path))
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socketlib.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        while block := self._socket.recv(1 << 20):
            self.events += block.count(b"\n")


@contextmanager
def listener(made: Daemon) -> Iterator[Listener]:
    """A reader of the event socket."""
    wait_until(made.socket.exists)
    heard = Listener(made.socket)
    try:
        yield heard
    finally:
        heard.close()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0, every: float = 0.01) -> float:
    """Seconds until the condition held. Raises TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError("the benchmark waits in vain")
        time.sleep(every)
    return time.monotonic() - began
