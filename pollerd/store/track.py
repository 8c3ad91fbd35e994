"""Messages handed over to the running daemon itself: they go in through its own writer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from pollerd.core.ports import OtherAccount, TrackRequest, TrackResult
from pollerd.store import others, rows
from pollerd.store.session import Session, Transactions

CHUNK: Final = 5000
"""Rows of one transaction: commits of polls wait behind it for some hundredths of a second at most."""


async def track(store: Transactions, messages: Sequence[TrackRequest]) -> TrackResult:
    parts = [
        await store.write(partial(_insert, messages=messages[start : start + CHUNK]))
        for start in range(0, len(messages), CHUNK)
    ]
    return TrackResult(
        sum(part.new for part in parts),
        sum(part.known for part in parts),
        sum(part.gave_up for part in parts),
        tuple(other for part in parts for other in part.refused),
    )


def _insert(session: Session, messages: Sequence[TrackRequest]) -> TrackResult:
    sql = session.sql("track")
    messages = [message._replace(userref=rows.reference(message.userref)) for message in messages]
    added = session.executemany(sql["insert"], messages)
    if added == len(messages):
        return TrackResult(added, 0, 0)
    asked = others.asked((message.id, message.account) for message in messages)
    refused = tuple(OtherAccount(*row) for row in session.query(sql["of_others"], (asked,)))
    ids = msgspec.json.encode(sorted({message.id for message in messages} - {other.id for other in refused})).decode()
    gave_up = session.query(sql["count_gave_up"], (ids,))[0][0]
    return TrackResult(added, len(messages) - added - len(refused), int(gave_up), refused)
