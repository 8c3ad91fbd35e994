"""Makes the outputs into databases."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pollerd.base.text import numbered
from pollerd.config import Config, TargetRules
from pollerd.config.outputs import SqlOutputConfig
from pollerd.core.ports import Clock, Output, Store
from pollerd.databases.engine import Database
from pollerd.outputs.sql import SqlTarget
from pollerd.outputs.sqlite import SqliteTarget
from pollerd.outputs.target.engine import TargetDatabase
from pollerd.outputs.target.output import TargetOutput


def make_targets(config: Config, store: Store, clock: Clock, protect: Callable[[str], None]) -> Iterator[Output]:
    """Those that the configuration names; `protect` gets every password that they read."""
    names: Counter[str] = Counter()
    read = {os.path.realpath(source.path) for source in config.sources.sqlite}
    read |= {source.url.identity for source in config.sources.sql}

    def made(name: str, place: str, target: TargetDatabase, statement: str, rules: TargetRules) -> Output:
        name = numbered(names, name)
        book = store.unwritten(name, place if place in read else None)
        return TargetOutput(name, target, statement, rules, book, clock)

    for file in config.outputs.sqlite:
        place, target = os.path.realpath(file.path), SqliteTarget(file.path, file.statement)
        yield made(f"sqlite {file.path}", place, target, file.statement, file.rules)
    for output in config.outputs.sql:
        name, place = f"sql {output.url.place}", output.url.identity
        yield made(name, place, _target(output, protect), output.statement, output.rules)


def _target(output: SqlOutputConfig, protect: Callable[[str], None]) -> TargetDatabase:
    if output.url.kind == "sqlite":
        return SqliteTarget(Path(output.url.place), output.statement)
    return SqlTarget(Database(output.url, output.password, protect=protect), output.statement)
