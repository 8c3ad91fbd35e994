"""How a command hands over: ids to follow, and requests to whoever owns the store. Synchronous."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from pollerd.base import anchor
from pollerd.core.ids import DEFAULT_ACCOUNT
from pollerd.core.particulars import NOTHING, Particulars
from pollerd.core.ports import Asked, OtherAccount, RequestKind, TrackResult
from pollerd.store import others, rows, undelivered
from pollerd.store.session import Session, WriteConnection

CHUNK: Final = 50_000
"""Ids of one transaction: long enough to be fast, short enough not to delay the daemon's commits."""


class StoredHandover:
    """Fulfils `ports.Handover`."""

    def __init__(self, connection: WriteConnection) -> None:
        self._connection = connection
        self._sql = connection.sql("commands")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def track(
        self, ids: Sequence[int], account: str = DEFAULT_ACCOUNT, particulars: Particulars = NOTHING
    ) -> TrackResult:
        priority = None if particulars.priority is None else particulars.priority.name
        userref = rows.reference(particulars.userref)
        new = known = gave_up = 0
        refused: list[OtherAccount] = []
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            sent = time.time() if particulars.sent_at is None else particulars.sent_at
            with self._connection.transaction() as session:
                # One statement for all: twice as fast as one for each id.
                values = (account, userref, sent, particulars.sendtime, priority, particulars.overdue_after)
                added = session.execute(self._sql["track"], (_json(some), *values))
                away = self._of_others(session, some, account) if added < len(some) else []
                if added < len(some):
                    gave_up += self._count_gave_up(session, sorted({*some} - {other.id for other in away}))
            new += added
            known += len(some) - added - len(away)
            refused += away
        return TrackResult(new, known, gave_up, tuple(refused))

    def ask(self, kind: RequestKind, ids: Sequence[int | None], argument: str | None = None) -> Asked:
        text = kind.value if argument is None else f"{kind.value} {argument}"
        with self._connection.transaction() as session:
            first = last = self._asked(session, text, ids[:1])
            if len(ids) > 1:
                last = self._asked(session, text, ids[1:])
        return Asked(first, last)

    def _asked(self, session: Session, text: str, ids: Sequence[int | None]) -> int:
        session.executemany(self._sql["ask"], [(text, message_id) for message_id in ids])
        return int(session.query(self._sql["last_asked"])[0][0]) if ids else 0

    def waiting(self, asked: Asked) -> bool:
        return self._connection.query(self._sql["first_waiting"], asked)[0][0] is not None

    def retry_parked(self) -> int:
        with self._connection.transaction() as session:
            note = session.query(session.sql("view")["note"], (anchor.TIME_NOTE,))
            now = time.time() - anchor.wall_ahead(note[0][0] if note else None)
            return undelivered.retry_parked(session, now)

    def _of_others(self, session: Session, ids: Sequence[int], account: str) -> list[OtherAccount]:
        asked = others.asked((number, account) for number in ids)
        return [OtherAccount(*row) for row in session.query(session.sql("track")["of_others"], (asked,))]

    def _count_gave_up(self, session: Session, ids: Sequence[int]) -> int:
        return int(session.query(self._sql["count_gave_up"], (_json(ids),))[0][0])


def _json(ids: Sequence[int]) -> str:
    return msgspec.json.encode(list(ids)).decode()
