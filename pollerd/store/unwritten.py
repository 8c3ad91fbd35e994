"""What one output into a database has not written yet, on disk, as the daemon reads and writes it."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pollerd.core.ports import DeliveryState, Saved, Unwritten, UnwrittenChange
from pollerd.store.incoming import RemovedTexts
from pollerd.store.session import Session, Transactions
from pollerd.store.source_ids import SourceIds, drop_unused


class UnwrittenEvents:
    """Fulfils `targets.UnwrittenBook` for the output of that name. Every call raises as `Store.commit`."""

    def __init__(
        self,
        store: Transactions,
        output: str,
        database: str | None = None,
        forgotten: Container[int] = (),
        texts: RemovedTexts | None = None,
    ) -> None:
        """`database` is the one that the output writes, where a source reads it, too. What is `forgotten` (by `seq`) is
        kept no longer, though an attempt may be under way; nor are `texts` that are removed.
        """
        self._texts = texts or RemovedTexts()
        self._store = store
        self._forgotten = forgotten
        self._output = output
        self._source_ids = SourceIds(store, database)
        self._sql = store.sql("unwritten")

    async def left(self) -> bool:
        return bool((await self._query("left"))[0][0])

    async def next_at(self) -> float | None:
        found: float | None = (await self._query("next_at"))[0][0]
        return found

    async def due(self, now: float, hurried: Collection[int], limit: int) -> list[Unwritten]:
        return [_event(row) for row in await self._query("due", now, _json(sorted(hurried)), limit)]

    async def following(self, heads: Iterable[Unwritten], limit: int) -> list[Unwritten]:
        wanted = _json([(head.message_id, head.recipient, head.seq) for head in heads])
        return [_event(row) for row in await self._query("following", wanted, limit)]

    async def held_up(self, events: Iterable[Unwritten]) -> set[int]:
        wanted = _json([(event.seq, event.message_id, event.recipient) for event in events])
        return {row[0] for row in await self._query("held_up", wanted)}

    async def save(self, change: UnwrittenChange) -> Saved:
        output, cursor = self._output, change.cursor

        def write(session: Session) -> Saved:
            kept = [each for each in change.kept if each.seq not in self._forgotten]
            session.executemany(self._sql["keep"], [_row(each, self._texts.body(each), change.at) for each in kept])
            about = [(each.message_id, each.recipient, each.subject, each.seq) for each in change.written]
            superseded = [*map(_event, session.query(self._sql["superseded"], (output, _json(about))))] if about else []
            gone = [*change.written, *superseded]
            session.executemany(self._sql["drop"], [(event.seq, output) for event in gone])
            arrange(session, [(output, event.message_id) for event in (*change.kept, *gone)], change.at)
            drop_unused(session, {event.message_id for event in gone})
            session.execute(
                session.sql("deliveries")["save_cursor"], (cursor.name, cursor.seq, cursor.detail, change.at)
            )
            return Saved(superseded, bool(session.query(self._sql["left"], (output,))[0][0]))

        return await self._store.write(write)

    async def source_ids(self, messages: Iterable[int]) -> Mapping[int, str | float]:
        return await self._source_ids.find(messages)

    async def _query(self, name: str, *values: Any) -> list[Any]:
        return await self._store.query(self._sql[name], (self._output, *values))


def arrange(session: Session, messages: Iterable[tuple[str, int]], now: float) -> None:
    """Of messages, by output: what waits behind another has no time any more, what no longer does is due at `now`."""
    sql, about = session.sql("unwritten"), list(dict.fromkeys(messages))
    session.executemany(sql["rest"], about)
    session.executemany(sql["free"], [(*each, now) for each in about])


def retry_parked(session: Session, now: float) -> int:
    """Take up again every parked event, with all its attempts; how many."""
    sql = session.sql("unwritten")
    messages = session.query(sql["parked_messages"])
    taken_up = session.execute(sql["unpark"], (now,))
    arrange(session, messages, now)
    return taken_up


def forget(session: Session, before: float, configured: Collection[str], size: int) -> list[str]:
    """Delete at most `size` events that were parked before that instant, or left by outputs that are not `configured`
    any more; the outputs that they were for.
    """
    sql = session.sql("unwritten")
    found = session.query(sql["forgotten"], (before, _json(sorted(configured)), size))
    session.executemany(sql["drop"], [(seq, output) for seq, output, _ in found])
    arrange(session, [(output, message) for _, output, message in found], before)
    drop_unused(session, {message for _, _, message in found})
    return [output for _, output, _ in found]


def _event(row: Sequence[Any]) -> Unwritten:
    output, seq, kind, message, recipient, subject, body, state, attempts, next_at, error = row
    return Unwritten(
        seq,
        kind,
        message,
        bytes(body),
        receiver="",
        state=DeliveryState(state),
        attempts=attempts,
        next_at=next_at,
        error=error,
        output=output,
        recipient=recipient,
        subject=subject,
    )


def _row(event: Unwritten, body: bytes, at: float) -> tuple[Any, ...]:
    return (
        event.output,
        event.seq,
        event.type,
        event.message_id,
        event.recipient,
        event.subject,
        body,
        event.state,
        event.attempts,
        event.next_at,
        event.error,
        at,
    )


def _json(values: Sequence[object]) -> str:
    return msgspec.json.encode(values).decode()
