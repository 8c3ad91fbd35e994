"""An application's database as the target of a real output, its rules and its book included."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pollerd.config import TargetRules
from pollerd.config.outputs import no_row_of
from pollerd.core.ports import Delivery, DeliveryState
from pollerd.daemon.clock import SystemClock
from pollerd.outputs.sqlite import SqliteTarget
from pollerd.outputs.target.output import TargetOutput
from pollerd.store.unwritten import UnwrittenEvents
from tests.acceptance.waiting import PATIENCE
from tests.store_place import AnyStore, place_of

NAME = "sqlite"
PLAIN = "UPDATE sms SET status = :status WHERE id = :id"
GUARDED = "UPDATE sms SET status = :status, seq = :seq WHERE id = :id AND coalesce(seq, 0) <= :seq"


def target(
    store: AnyStore,
    path: Path,
    statement: str = PLAIN,
    *,
    name: str = NAME,
    database: str | None = None,
    **rules: Any,
) -> TargetOutput:
    """As the daemon makes it, but in a hurry."""
    made = TargetRules(**{"no_row": no_row_of(statement), "retry_after": (0.05,) * 200, **rules})
    book = UnwrittenEvents(store, name, database)
    engine = SqliteTarget(path, statement)
    return TargetOutput(name, engine, statement, made, book, SystemClock(), retry_first=0.02, retry_max=0.1)


def undelivered(store: AnyStore) -> list[Delivery]:
    """All that is waiting or parked, as commands see it."""
    with place_of(store).view() as view:
        return view.undelivered(0, "", 1000)


def states(store: AnyStore) -> dict[int, str]:
    return {kept.seq: kept.state.name.lower() for kept in undelivered(store)}


async def parked(store: AnyStore, seqs: Sequence[int]) -> None:
    """Wait until just these events are parked."""
    async with asyncio.timeout(PATIENCE):
        while [kept.seq for kept in undelivered(store) if kept.state is DeliveryState.PARKED] != list(seqs):
            await asyncio.sleep(0.01)


async def settled(store: AnyStore, name: str = NAME) -> None:
    """Wait until nothing waits any more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            cursor = await store.cursor(name)
            if cursor is not None and cursor.seq == store.last and "waiting" not in states(store).values():
                return
            await asyncio.sleep(0.01)
