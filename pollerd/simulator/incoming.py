"""Incoming messages (MO): who sends what to the account's number, and the pages in which the gateway gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final, Literal

import msgspec

from pollerd.simulator.clock import SimClock
from pollerd.simulator.config import InboxStyle
from pollerd.simulator.fate import uniforms
from pollerd.simulator.wire import encode

MOST_PER_PAGE: Final = 200
"""The vendor allows no more, says its documentation."""
_PER_PAGE: Final = 50
"""The vendor's default."""
_FIRST_ID: Final = 2_398_517  # As in the vendor's example.
_SENDERS: Final = 4_520_000_000  # The first of the made-up numbers.
_REPLIES: Final = ("STOP", "yes", "3", "ok, thanks", "Hvem er det?", "\U0001f44d")
_FASTEST, _SLOWEST = 3.0, 120.0  # Virtual seconds from delivery to the answer.


class IncomingRecord(msgspec.Struct):
    """One incoming message as the vendor shows it."""

    mosms_id: int
    msisdn: int
    receiver: int
    sender: str | None
    message: str
    senttime: float
    encoding: str | None = None
    anonymized: str | None = None
    webhook: str | None = None


class _Page(msgspec.Struct):
    messages: Sequence[IncomingRecord]
    page: int
    pages: int
    per_page: int
    results: int


class Inbox:
    """All incoming messages of one simulator. Works without the network, for tests in one process."""

    def __init__(self, clock: SimClock, style: InboxStyle, seed: int) -> None:
        self._clock = clock
        self._style = style
        self._seed = seed
        self._zone = timezone(timedelta(hours=style.zone))
        self._messages: dict[int, IncomingRecord] = {}
        self._gone: set[int] = set()
        self._shifts: list[Literal["come", "swap"]] = []
        self._next_id = _FIRST_ID

    def __len__(self) -> int:
        return len(self._messages)

    def add(
        self,
        text: str,
        *,
        msisdn: int | None = None,
        receiver: int = 451204,
        senttime: float | None = None,
        label: str | None = None,
    ) -> int:
        """Somebody sends a message (now, or at `senttime`, real UNIX seconds); its id."""
        number, self._next_id = self._next_id, self._next_id + 1
        self._messages[number] = IncomingRecord(
            number,
            _SENDERS + number % 1000 if msisdn is None else msisdn,
            receiver,
            None,
            text,
            self._clock.now() if senttime is None else senttime,
            webhook=label,
        )
        return number

    def burst(self, count: int, text: str = "burst") -> list[int]:
        """So many messages at once, each with its number in its text."""
        return [self.add(f"{text} {number}") for number in range(count)]

    def reply(self, msisdn: int, message_id: int, delivered_at: float) -> None:
        """Somebody who got a message may answer it."""
        share, delay, words = uniforms(self._seed, "reply", message_id, msisdn)[:3]
        if share < self._style.replies:
            at = delivered_at + self._clock.real(_FASTEST + delay * (_SLOWEST - _FASTEST))
            self.add(_REPLIES[int(words * len(_REPLIES))], msisdn=msisdn, senttime=at)

    def shift(self, times: int, how: Literal["come", "swap"] = "come") -> None:
        """While pages are read: so many times from now on, before a page behind the first, one more message comes;
        `swap`: and the oldest one is not given any more.
        """
        self._shifts = [how] * times

    @property
    def records(self) -> Iterator[IncomingRecord]:
        """Every message, those of the future included, in the order in which they were made."""
        return iter(tuple(self._messages.values()))

    def answer(self, query: Mapping[str, str]) -> bytes:
        """The answer to `GET /rest/mosms`. ValueError for a query that the vendor refuses."""
        first, last = date.fromisoformat(query["from"]), date.fromisoformat(query["to"])
        page, per_page = int(query.get("page", 1)), int(query.get("per_page", _PER_PAGE))
        if page < 1 or not 1 <= per_page <= MOST_PER_PAGE:
            raise ValueError(f"page begins at 1, per_page is from 1 to {MOST_PER_PAGE}")
        if page > 1 and self._shifts:
            self._shift(self._shifts.pop())
        found = [each for each in self._visible() if first <= self._day(each) <= last]
        pages = max(1, -(-len(found) // per_page))
        return encode(_Page(found[(page - 1) * per_page : page * per_page], page, pages, per_page, len(found)))

    def _visible(self) -> list[IncomingRecord]:
        now = self._clock.now()
        found = [each for each in self._messages.values() if each.senttime <= now and each.mosms_id not in self._gone]
        if self._style.order == "mixed":
            return sorted(found, key=lambda each: uniforms(self._seed, "order", each.mosms_id)[0])
        return sorted(found, key=lambda each: (each.senttime, each.mosms_id), reverse=self._style.order == "newest")

    def _shift(self, how: Literal["come", "swap"]) -> None:
        if how == "swap" and (visible := self._visible()):
            self._gone.add(min(visible, key=lambda each: (each.senttime, each.mosms_id)).mosms_id)
        self.add("while pages were read")

    def _day(self, record: IncomingRecord) -> date:
        return datetime.fromtimestamp(record.senttime, UTC).astimezone(self._zone).date()
