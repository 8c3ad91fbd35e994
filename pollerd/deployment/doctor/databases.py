"""Databases of others, read for ids and written with states: the rights, and whether the statements can be run."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pollerd.config import Config
from pollerd.config.sql import parameter_names
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.outputs.filepath import user

TIMEOUT: Final = 1.0
"""Seconds to wait for another program's write."""
_NO_ROW: Final = {"retry": "is tried again", "ignore": "counts as reported"}


def checks(config: Config) -> Iterator[Check]:
    """All of them."""
    for output in config.outputs.sqlite:
        note = f'; an event that changes no row {_NO_ROW[output.rules.no_row]} (no_row = "{output.rules.no_row}")'
        yield _check("output sqlite", "statement", output.path, output.statement, os.R_OK | os.W_OK, note)
    for source in config.sources.sqlite:
        yield _check("source sqlite", "query", source.path, source.query, os.R_OK, "")


def _check(name: str, key: str, path: Path, sql: str, rights: int, note: str) -> Check:
    what = "written" if rights & os.W_OK else "read"
    if not os.path.exists(path):
        return failure(
            name, f"{path} does not exist (or its folder may not be read)", "correct its path in the configuration"
        )
    if not os.access(path, rights, effective_ids=os.access in os.supports_effective_ids):
        return failure(name, f"{path} cannot be {what} by {user(os.geteuid())}", "give this user the right to it")
    try:
        with closing(_opened(path)) as database:
            # Nothing is run by this.
            database.execute(f"EXPLAIN {sql}", dict.fromkeys(parameter_names())).close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF == sqlite3.SQLITE_ERROR:
            step = f"correct the {key} in [[{name.replace(' ', 's.')}]], or the table"
            return failure(name, f"{path}: the {key} cannot be run: {error}", step)
        return warning(name, f"{path} can be {what}; its {key} was not tried: {error}", "run the doctor again later")
    return ok(name, f"{path} can be {what}{note}")


def _opened(path: Path) -> sqlite3.Connection:
    # Where no one has it open in WAL mode, without the side files that would be left behind.
    alone = not Path(f"{path}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if alone else ''}"
    return sqlite3.connect(uri, uri=True, timeout=TIMEOUT)
