"""What the webhook's receivers have not taken yet, on disk, as the daemon reads and writes it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import msgspec

from pollerd.core import event
from pollerd.core.ports import Delivery, DeliveryChange
from pollerd.store.incoming import RemovedTexts
from pollerd.store.session import Session, Transactions
from pollerd.store.undelivered import delivery_from_row


class Deliveries:
    """Fulfils `ports.DeliveryBook`. Every call raises as `Store.commit`."""

    def __init__(self, store: Transactions, forgotten: Container[int] = (), texts: RemovedTexts | None = None) -> None:
        """What is `forgotten` (by `seq`) is kept no longer, though an attempt may be under way; nor are `texts` that
        are removed.
        """
        self._texts = texts or RemovedTexts()
        self._store = store
        self._forgotten = forgotten
        self._sql = store.sql("deliveries")

    async def known(self, after: int, until: int) -> set[int]:
        """The events with `after < seq <= until` that are kept in whatever state."""
        return {row[0] for row in await self._store.query(self._sql["known"], (after, until))}

    async def blocked(self, messages: Sequence[int]) -> set[int]:
        """Those of `messages` that have an event waiting."""
        return {row[0] for row in await self._store.query(self._sql["blocked"], (_json(messages),))}

    async def due(self, receiver: str, now: float, latest: float, limit: int) -> list[Delivery]:
        """Waiting events that may be posted at `now`, longest due first; also what was planned after `latest`."""
        return [
            delivery_from_row(row) for row in await self._store.query(self._sql["due"], (receiver, now, latest, limit))
        ]

    async def next_at(self, receiver: str) -> float | None:
        """When the next waiting event of a receiver is to be posted, in the daemon's time."""
        found: float | None = (await self._store.query(self._sql["next_at"], (receiver,)))[0][0]
        return found

    async def undelivered(self, after: int, limit: int) -> list[Delivery]:
        """Waiting and parked events with `seq > after`, ascending."""
        return [delivery_from_row(row) for row in await self._store.query(self._sql["undelivered"], (after, limit))]

    async def save(self, change: DeliveryChange) -> list[Delivery]:
        """Commit a change, whole or not at all; what is superseded by it."""
        cursor = change.cursor

        def write(session: Session) -> list[Delivery]:
            # A mark has no body.
            kept = [each for each in change.kept if not each.body or each.seq not in self._forgotten]
            session.executemany(self._sql["keep"], [_row(each, self._texts.body(each), change.at) for each in kept])
            session.executemany(self._sql["drop"], [(seq,) for seq in change.gone])
            superseded = self._supersede(session, change.taken)
            # One that was taken up again meanwhile had others behind it.
            free = dict.fromkeys([*change.freed, *(delivery.message_id for delivery in superseded)])
            session.executemany(self._sql["free"], [(change.at, message) for message in free])
            if cursor is not None:
                session.execute(self._sql["drop_done"], (cursor.seq,))
                session.execute(self._sql["save_cursor"], (cursor.name, cursor.seq, cursor.detail, change.at))
            return superseded

        return await self._store.write(write)

    def _supersede(self, session: Session, taken: Sequence[Delivery]) -> list[Delivery]:
        """Delete what is kept of events before each of `taken` that were about the same."""
        if not taken:
            return []
        heads = {each.seq: each for each in taken}
        asked = _json([(each.message_id, each.seq) for each in taken])
        gone: dict[int, Delivery] = {}
        for seq, *row in session.query(self._sql["earlier"], (asked,)):
            head, earlier = heads[seq], delivery_from_row(row)
            subject = event.subject(head.type, head.body)
            if subject is not None and event.subject(earlier.type, earlier.body) == subject:
                gone[earlier.seq] = earlier
        session.executemany(self._sql["drop"], [(seq,) for seq in gone])
        return list(gone.values())

    async def relabel(self, receivers: Sequence[tuple[int, str]]) -> None:
        """Give events (by `seq`) another receiver."""

        def write(session: Session) -> None:
            session.executemany(self._sql["relabel"], [(receiver, seq) for seq, receiver in receivers])

        await self._store.write(write)

    async def forget_parked(self, before: float) -> int:
        """Delete events parked before that instant; returns how many."""

        def write(session: Session) -> int:
            return session.execute(self._sql["forget_parked"], (before,))

        return await self._store.write(write)


def _row(delivery: Delivery, body: bytes, at: float) -> tuple[Any, ...]:
    return (
        delivery.seq,
        delivery.type,
        delivery.message_id,
        body,
        delivery.receiver,
        delivery.state,
        delivery.attempts,
        delivery.next_at,
        delivery.error,
        at,
    )


def _json(values: Sequence[object]) -> str:
    return msgspec.json.encode(list(values)).decode()
