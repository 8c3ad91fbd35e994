"""Removes what is known of a telephone number or of a message. What others have by now stays where it is.

An event keeps its number and becomes `event.forgotten`: `seq` goes on rising by one, and an output that has still to
report it does not stop there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from pollerd.core import event as events
from pollerd.core.event import Event, Forgotten
from pollerd.core.model import Recipient, State
from pollerd.core.ports.erasure import About, Known
from pollerd.core.ports.view import AGE_SLOT
from pollerd.store import rows, unwritten
from pollerd.store.session import Querying, Session, Transactions

T = TypeVar("T")
CHUNK: Final = 500
"""Messages removed in one transaction: commits wait behind it for some hundredths of a second."""
STRETCH: Final = 5000
"""Rows that one statement searches: commits wait behind it for some hundredths of a second."""
_NAMED: Final = 100  # Of the messages that are still polled: their ids, for somebody to read.
_COUNTERS: Final = {State.PENDING: "pending", State.FINISHED: "finished", State.GAVE_UP: "gave_up"}
_POLLED: Final = frozenset({State.NEW, State.PENDING})
_NOBODY: Final = b"\0"
"""Stands in no event's JSON."""


class StoredData(NamedTuple):
    """A message, and those of its recipients that are somebody else; None: it goes as a whole."""

    id: int
    state: int
    sent_at: object
    others: tuple[Recipient, ...] | None

    @property
    def polled(self) -> bool:
        """Whether the next answer would bring back what is removed."""
        return self.others is not None and self.state in _POLLED


class _Said(msgspec.Struct):
    """What tells whose an event is, and what of it stays."""

    account: str = ""
    observed_at: str = "1970-01-01T00:00:00.000Z"
    msisdn: int | None = None
    recipients: list[_Said] = []


_said = msgspec.json.Decoder(_Said)


class Search:
    """Finds what is known, a stretch at a time."""

    def __init__(self, about: About) -> None:
        self._about = about
        number = about.msisdn
        self._blob = None if number is None else msgspec.msgpack.encode(number)
        self._json = _NOBODY if number is None else b'"msisdn":%d' % number

    def messages(self, database: Querying, after: int) -> tuple[int | None, list[StoredData]]:
        """Where the next stretch begins (None: this was the last), and the messages of this one."""
        if self._blob is None:
            found = database.query(database.sql("erasure")["message"], (self._about.message_id,))
            return None, [StoredData(row[0], row[1], row[2], None) for row in found]
        end = database.query(database.sql("erasure")["message_stretch"], (after, STRETCH))[0][0]
        if end is None:
            return None, []
        found = database.query(database.sql("erasure")["messages"], (after, end, self._blob))
        return end, [held for row in found if (held := self._held(*row)) is not None]

    def _held(self, number: int, state: int, sent_at: object, blob: object) -> StoredData | None:
        try:
            recipients = rows.recipients_from_blob(blob)
        except rows.DamagedError:
            return StoredData(number, state, sent_at, None)
        others = tuple(each for each in recipients if each.msisdn != self._about.msisdn)
        if len(others) == len(recipients):
            return None
        return StoredData(number, state, sent_at, others or None)

    def events(self, database: Querying, after: int) -> tuple[int | None, list[Event]]:
        """The same with the events that name the number; none where a message is searched for."""
        end = database.query(database.sql("erasure")["event_stretch"], (after, STRETCH))[0][0] if self._blob else None
        if end is None:
            return None, []
        found = database.query(database.sql("erasure")["events"], (after, end, self._json))
        return end, [_blank(row) for row in found if self._is_meant(row[2])]

    def events_of(self, database: Querying, messages: Sequence[int]) -> list[Event]:
        """All events of messages."""
        found = database.query(database.sql("erasure")["events_of_messages"], (_ids(messages),))
        return [_blank(row) for row in found]

    def undelivered(self, database: Querying, whole: Sequence[int]) -> Iterator[tuple[str, int, int]]:
        """What outputs keep, of the number and of messages that go as a whole: output (empty: the webhook), seq, id."""
        removed = frozenset(whole)
        for kind in ("deliveries", "unwritten"):
            for seq, _, body, of, *output in database.query(database.sql("erasure")[kind], (_ids(whole), self._json)):
                if of in removed or self._is_meant(body):
                    yield output[0] if output else "", seq, of

    def _is_meant(self, body: object) -> bool:
        said = _read(body)
        return self._about.msisdn in (said.msisdn, *(each.msisdn for each in said.recipients))


def known(database: Querying, about: About) -> Known:
    """How much is known."""
    search, held, seqs = Search(about), list[StoredData](), set[int]()
    _through(lambda after: search.messages(database, after), held.extend)
    _through(lambda after: search.events(database, after), lambda found: seqs.update(each.seq for each in found))
    whole = _whole(about, held)
    for some in _chunks(whole):
        seqs.update(each.seq for each in search.events_of(database, some))
    kept = {*search.undelivered(database, whole)}
    polled = [each.id for each in held if each.polled]
    return Known(len(held) - len(polled), len(seqs), len(kept), tuple(polled[:_NAMED]))


class Eraser:
    """Removes it from the daemon's own database; `blanked` learns which events have changed on disk."""

    def __init__(self, store: Transactions, about: About, blanked: Callable[[Sequence[Event]], None]) -> None:
        self._store = store
        self._about = about
        self._search = Search(about)
        self._blanked = blanked
        self._sql = store.sql("erasure")

    async def find(self) -> list[StoredData]:
        """The messages that are removed, in whole or in part."""
        held: list[StoredData] = []
        after: int | None = 0
        while after is not None:
            after, found = await self._store.write(partial(self._search.messages, after=after))
            held += [each for each in found if not each.polled]
        return held

    async def run(self, held: Sequence[StoredData], now: float) -> set[int]:
        """Remove these and all that goes with them; the `seq` of what is removed. Messages go last: what breaks off
        before is found again.
        """
        seqs = set[int]()
        whole = _whole(self._about, held)
        after: int | None = 0
        while after is not None:
            after, found = await self._store.write(partial(self._blank_number, after=after))
            self._blanked(found)
            seqs.update(each.seq for each in found)
        for numbers in _chunks(whole):
            found = await self._store.write(partial(self._blank_messages, numbers=numbers))
            self._blanked(found)
            seqs.update(each.seq for each in found)
        seqs |= await self._store.write(lambda db: self._drop_undelivered(db, whole, now))
        for some in _chunks(held):
            await self._store.write(partial(self._drop_messages, held=some, now=now))
        return seqs

    def _blank_number(self, session: Session, after: int) -> tuple[int | None, list[Event]]:
        end, found = self._search.events(session, after)
        self._write(session, found)
        return end, found

    def _blank_messages(self, session: Session, numbers: Sequence[int]) -> list[Event]:
        found = self._search.events_of(session, numbers)
        self._write(session, found)
        session.executemany(self._sql["drop_source_ids"], [(number,) for number in numbers])
        return found

    def _write(self, session: Session, found: Sequence[Event]) -> None:
        session.executemany(self._sql["blank_event"], [(each.type, each.body, each.seq) for each in found])

    def _drop_undelivered(self, session: Session, whole: Sequence[int], now: float) -> set[int]:
        found = {*self._search.undelivered(session, whole)}
        of_outputs = [(output, seq, message_id) for output, seq, message_id in found if output]
        session.executemany(session.sql("unwritten")["drop"], [(seq, output) for output, seq, _ in of_outputs])
        unwritten.arrange(session, [(output, message_id) for output, _, message_id in of_outputs], now)
        posted = {seq: message_id for output, seq, message_id in found if not output}
        session.executemany(session.sql("deliveries")["drop"], [(seq,) for seq in posted])
        session.executemany(session.sql("deliveries")["free"], [(now, number) for number in {*posted.values()}])
        return {seq for _, seq, _ in found}

    def _drop_messages(self, session: Session, held: Sequence[StoredData], now: float) -> None:
        parts = [(rows.blob_from_recipients(each.others), each.id) for each in held if each.others is not None]
        session.executemany(self._sql["keep_others"], parts)
        asked = _ids([each.id for each in held if each.others is None])
        standing = {(row[0], row[1]) for row in session.query(self._sql["standing"], (asked,))}
        gone = [each for each in held if each.others is None and (each.id, each.state) in standing]
        session.executemany(self._sql["drop_message"], [(each.id, each.state) for each in gone])
        names = Counter(_COUNTERS[State(each.state)] for each in gone if each.state in _COUNTERS)
        slots = Counter(
            int(rows.instant(each.sent_at, now) // AGE_SLOT) for each in gone if each.state == State.PENDING
        )
        counted = session.sql("store")
        session.executemany(counted["count"], [(name, -count) for name, count in names.items()])
        session.executemany(counted["count_age"], [(slot, -count) for slot, count in slots.items()])


def _whole(about: About, held: Sequence[StoredData]) -> list[int]:
    """The messages of which nothing stays; one that is deleted already may have events."""
    named = set() if about.message_id is None else {about.message_id}
    return sorted(named | {each.id for each in held if each.others is None})


def _chunks(found: Sequence[T]) -> Iterator[Sequence[T]]:
    return (found[start : start + CHUNK] for start in range(0, len(found), CHUNK))


def _ids(messages: Sequence[int]) -> str:
    return msgspec.json.encode(messages).decode()


def _through(stretch: Callable[[int], tuple[int | None, list[Any]]], take: Callable[[list[Any]], object]) -> None:
    after: int | None = 0
    while after is not None:
        after, found = stretch(after)
        take(found)


def _blank(row: Sequence[Any]) -> Event:
    seq, _, body = row
    said = _read(body)
    left = Forgotten(account=said.account, observed_at=said.observed_at)
    return Event(seq, events.EVENT_FORGOTTEN, None, events.encode(left))


def _read(body: object) -> _Said:
    try:
        return _said.decode(rows.blob(body))
    except msgspec.DecodeError:
        return _Said()
