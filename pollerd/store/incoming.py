"""Which incoming messages were found, and the removal of their texts: from the event, and from what outputs keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from pollerd.core import event as events
from pollerd.core.event import Event
from pollerd.store import rows
from pollerd.store.session import Session, Transactions

CHUNK: Final = 500
"""Rows changed in one transaction: commits wait behind it for some hundredths of a second."""
_PLACES: Final = ("events", "deliveries", "unwritten")
"""The tables that have texts."""

B = TypeVar("B", bound="_Kept")


class _Kept(Protocol):
    """What an output keeps of an event beside its cursor."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class RemovedTexts:
    """Which texts are removed by now: an output may still have one in memory, and would bring it back to disk."""

    def __init__(self) -> None:
        self._until: dict[str, int] = {}

    def note(self, account: str, seq: int) -> None:
        """The texts of an account are removed from the events up to `seq`."""
        self._until[account] = max(seq, self._until.get(account, 0))

    def body(self, kept: _Kept) -> bytes:
        """The body of what is about to be kept, without a text that is removed."""
        if kept.type != events.MESSAGE_RECEIVED or not self._until or not kept.body:
            return kept.body
        removed = kept.seq <= self._until.get(events.account_of(kept.body), 0)
        return events.without_text(kept.body) if removed else kept.body


class Overwriting(Transactions, Protocol):
    """A database that can overwrite what is deleted."""

    def overwriting(self) -> AbstractAsyncContextManager[None]:
        """Within, what is deleted is overwritten on disk, too, as far as the engine can."""
        ...


class Incoming:
    """Fulfils `ports.IncomingBook`. `blanked` learns which events have another body by now."""

    def __init__(self, store: Overwriting, removed: RemovedTexts, blanked: Callable[[Sequence[Event]], None]) -> None:
        self._store = store
        self._removed = removed
        self._blanked = blanked
        self._sql = store.sql("incoming")

    async def unknown(self, account: str, ids: Sequence[int]) -> set[int]:
        wanted = msgspec.json.encode(ids).decode()
        return set(ids) - {row[0] for row in await self._store.query(self._sql["known"], (account, wanted))}

    async def remember(self, account: str, ids: Sequence[int], now: float) -> None:
        if ids:
            rows_ = [(account, number, now) for number in ids]
            await self._store.write(lambda session: session.executemany(self._sql["remember"], rows_))

    async def remove_texts(self, before: Mapping[str, float], others: float) -> int:
        count = 0
        for (account,) in await self._store.query(self._sql["accounts"]):
            until = before.get(account, others)
            if not await self._store.query(self._sql["texts"], (account, until, 1)):
                continue
            async with self._store.overwriting():
                while removed := await self._store.write(partial(self._remove, account=account, before=until)):
                    self._blanked([event for event in removed if event is not None])
                    count += len(removed)
        return count

    async def forget(self, account: str, before: float) -> int:
        count = 0
        while gone := await self._store.write(partial(self._forget, account=account, before=before)):
            count += gone
        return count

    def _remove(self, session: Session, account: str, before: float) -> list[Event | None]:
        """The events that have another body by now, None for one that is deleted already."""
        found = session.query(self._sql["texts"], (account, before, CHUNK))
        if not found:
            return []
        changed: dict[int, Event | None] = {seq: None for _, seq in found}
        # Before it is gone: what an output keeps in between has to go without it.
        self._removed.note(account, max(changed))
        asked = msgspec.json.encode(list(changed)).decode()
        for place in _PLACES:
            kept = session.query(self._sql[place], (asked,))
            left = [(events.without_text(rows.blob(body)), seq) for seq, body in kept]
            session.executemany(self._sql[f"write_{place}"], left)
            if place == "events":
                changed |= {seq: Event(seq, events.MESSAGE_RECEIVED, None, body) for body, seq in left}
        session.executemany(self._sql["removed"], [(account, number) for number, _ in found])
        return list(changed.values())

    def _forget(self, session: Session, account: str, before: float) -> int:
        found = session.query(self._sql["old"], (account, before, CHUNK))
        return session.executemany(self._sql["forget"], [(account, row[0]) for row in found])
