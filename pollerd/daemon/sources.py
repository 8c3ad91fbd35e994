"""Makes the sources of message ids."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from pollerd.base.text import numbered
from pollerd.config import Config
from pollerd.config.sources import SqlSourceConfig
from pollerd.core.ports import Clock, Store
from pollerd.databases.engine import Database
from pollerd.intake.source import QuerySource, Reader
from pollerd.intake.sql import SqlReader
from pollerd.intake.sqlite import SqliteReader


class _Wanted(NamedTuple):
    """A source of the configuration. `kind` and `place` make its name, `database` is what an output writes that writes
    the same one.
    """

    kind: str
    place: str
    database: str
    query: str
    every: float
    reader: Reader

    @property
    def key(self) -> str:
        """The same whatever stands before it in the file."""
        return f"{self.place} {crc32(self.query.encode()):08x}"


def make_sources(
    config: Config, store: Store, clock: Clock, poke: Callable[[], None], protect: Callable[[str], None]
) -> list[QuerySource]:
    """Those that the configuration names. `poke` makes the intake check at once, `protect` gets every password."""
    wanted = [*_files(config), *_urls(config, protect)]
    books = store.sources({each.key: each.database for each in wanted}, clock.wall, poke)
    names: Counter[str] = Counter()
    return [
        QuerySource(numbered(names, f"{each.kind} {each.place}"), each.reader, each.every, books[each.key])
        for each in wanted
    ]


def _files(config: Config) -> Iterator[_Wanted]:
    for source in config.sources.sqlite:
        reader = SqliteReader(source.path, source.query)
        database = os.path.realpath(source.path)
        yield _Wanted("sqlite", str(source.path), database, source.query, source.every, reader)


def _urls(config: Config, protect: Callable[[str], None]) -> Iterator[_Wanted]:
    for source in config.sources.sql:
        url, reader = source.url, _reader(source, protect)
        yield _Wanted("sql", url.place, url.identity, source.query, source.every, reader)


def _reader(source: SqlSourceConfig, protect: Callable[[str], None]) -> Reader:
    if source.url.kind == "sqlite":
        return SqliteReader(Path(source.url.place), source.query)
    database = Database(source.url, source.password, reads=True, sql="query", protect=protect)
    return SqlReader(database, source.query, source.every)
