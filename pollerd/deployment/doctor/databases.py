"""SQLite files of others, read for ids and written with states: the rights, and whether the statements can be run."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pollerd.config import Config, TargetRules
from pollerd.config.sql import AFTER, LIMIT, parameter_names
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.outputs.filepath import user

TIMEOUT: Final = 1.0
"""Seconds to wait for another program's write."""
_NO_ROW: Final = {"retry": "is tried again", "ignore": "counts as reported"}
FILE: Final = "sqlite"
"""The kind of a database that is a file, through SQLAlchemy, too."""


def checks(config: Config) -> Iterator[Check]:
    """All that are files."""
    writes, reads = os.R_OK | os.W_OK, os.R_OK
    for file in config.outputs.sqlite:
        yield _check("output sqlite", "statement", file.path, file.statement, writes, note_of(file.rules))
    for output in config.outputs.sql:
        if output.url.kind == FILE:
            place = Path(output.url.place)
            yield _check("output sql", "statement", place, output.statement, writes, note_of(output.rules))
    for source in config.sources.sqlite:
        yield _check("source sqlite", "query", source.path, source.query, reads, "")
    for each in config.sources.sql:
        if each.url.kind == FILE:
            yield _check("source sql", "query", Path(each.url.place), each.query, reads, "")


def note_of(rules: TargetRules) -> str:
    """What becomes of an event that changes no row."""
    return f'; an event that changes no row {_NO_ROW[rules.no_row]} (no_row = "{rules.no_row}")'


def _check(name: str, key: str, path: Path, sql: str, rights: int, note: str) -> Check:
    what = "written" if rights & os.W_OK else "read"
    if not os.path.exists(path):
        return failure(
            name, f"{path} does not exist (or its folder may not be read)", "correct its path in the configuration"
        )
    if not os.access(path, rights, effective_ids=os.access in os.supports_effective_ids):
        return failure(name, f"{path} cannot be {what} by {user(os.geteuid())}", "give this user the right to it")
    try:
        with contextlib.closing(_opened(path)) as database:
            values = dict.fromkeys((*parameter_names(), AFTER, LIMIT))
            # Nothing is run by this.
            database.execute(f"EXPLAIN {sql}", values).close()
            whole = _read_whole(database, sql, values)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF == sqlite3.SQLITE_ERROR:
            step = f"correct the {key} in [[{name.replace(' ', 's.')}]], or the table"
            return failure(name, f"{path}: the {key} cannot be run: {error}", step)
        return warning(name, f"{path} can be {what}; its {key} was not tried: {error}", "run the doctor again later")
    if whole:
        evidence = f"{path} can be {what}{note}; no index serves the {key}, every row of {', '.join(whole)} is read"
        return warning(name, evidence, f"create an index on the columns that the {key} compares")
    return ok(name, f"{path} can be {what}{note}")


def _read_whole(database: sqlite3.Connection, sql: str, values: Mapping[str, None]) -> list[str]:
    """The tables of which every row is read. The whole of a partial index is what that is for."""
    told = database.execute("SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'index')").fetchall()
    tables = {name for name, kind, _ in told if kind == "table"}
    partial = {name for name, kind, made in told if kind == "index" and " WHERE " in f" {made} ".upper()}
    details = [str(row[3]).split() for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    scans = [words for words in details if words[0] == "SCAN" and not partial & set(words)]
    return sorted(tables & {word for words in scans for word in words[1:2]})


def _opened(path: Path) -> sqlite3.Connection:
    # Where no one has it open in WAL mode, without the side files that would be left behind.
    alone = not Path(f"{path}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if alone else ''}"
    return sqlite3.connect(uri, uri=True, timeout=TIMEOUT)
