"""Makes the outputs into databases."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from pollerd.base.text import numbered
from pollerd.config import Config
from pollerd.core.ports import Clock, Output, Store
from pollerd.outputs.sqlite import SqliteTarget
from pollerd.outputs.target.output import TargetOutput


def make_targets(config: Config, store: Store, clock: Clock) -> Iterator[Output]:
    """Those that the configuration names."""
    names: Counter[str] = Counter()
    read = {os.path.realpath(source.path) for source in config.sources.sqlite}
    for output in config.outputs.sqlite:
        name = numbered(names, f"sqlite {output.path}")
        database = os.path.realpath(output.path)
        book = store.unwritten(name, database if database in read else None)
        target = SqliteTarget(output.path, output.statement)
        yield TargetOutput(name, target, output.statement, output.rules, book, clock)
