"""What people send to an account's numbers: asks for it now and then, and has each message reported once, in order.

The gateway gives the messages of some days, in a zone that is not documented, and how many there are. While that number
stands still and its first page holds nothing new, one request is all. Every few minutes, and when the days change, all
pages are read: where one message leaves and one comes, the number stands still. What was found is remembered in the
transaction that stores its event, and longer than the gateway is asked about its day.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Final

import msgspec

from pollerd.base.errors import StoreUnavailableError
from pollerd.core import event as events
from pollerd.core.incoming import Dates, IncomingDenied, IncomingMessage, IncomingPage, reported
from pollerd.core.model import HoldReason, NotFound, Outcome, Trouble
from pollerd.core.ports import Clock, GatewayTime, IncomingBook, IncomingGateway, Limiter
from pollerd.polling.committer import Committer
from pollerd.polling.incoming_pages import LEAST_PASSES, PASSES, Answer, PageReader, Reading, Sight

log = logging.getLogger(__name__)

GROWTH: Final = 1.5  # Factor on the interval after each request that brought nothing,
LONGEST_FACTOR: Final = 6.0  # up to so many times the configured one,
LONGEST: Final = 300.0
"""and up to so many seconds, where the configured one is not longer."""
FULL_EVERY: Final = 300.0
"""Seconds between two readings of all pages while the number of messages stands still."""
DENIED_EVERY: Final = 3600.0
"""Seconds until an account that may not read incoming messages is tried again."""
PATIENT: Final = 5
"""Readings in a row that saw too little before what they saw is reported, perhaps out of order."""
REMEMBERED: Final = 30 * 86400.0
"""Seconds for which it is remembered which messages were found: the days that are asked for are three, or as many as
the daemon was away.
"""
FORGET_EVERY: Final = 86400.0  # Seconds.
NOTE_EVERY: Final = 600.0
"""Seconds between two notes of when all was seen last; after a restart a few hours more are asked for at most."""
CHUNK: Final = 500
"""Messages in one transaction."""
CHECK: Final = 0.25
"""Seconds between two checks whether a hold is over, or the machine was asleep."""
CREDIBLE: Final = 7 * 86400.0
"""Seconds that the date of an answer may be away from the daemon's time to be asked for as well."""
_WHO_ASKS: Final = frozenset({HoldReason.UNAUTHORIZED, HoldReason.FORBIDDEN})
"""Holds that a refusal of this call does not end: it may be the same refusal."""
_ACCOUNTS: Final = _WHO_ASKS | {HoldReason.THROTTLED}
"""What an answer to these requests says of the whole account. All else may be the trouble of this one call, and must
delay no poll.
"""


def incoming_note(account: str) -> str:
    """The name of the note in which `Progress` is kept."""
    return f"incoming {account}"


_Instant = Annotated[float, msgspec.Meta(ge=0.0, le=4_102_444_800.0)]
"""Until 2100: what comes later is damage, and no calendar has it."""


class Progress(msgspec.Struct):
    """How far the reading is, as kept in the store, in UNIX seconds by the gateway's clock: when it was asked for the
    first time (`began`), and when all was seen last (`seen`).
    """

    began: _Instant | None = None
    seen: _Instant | None = None


class IncomingState(msgspec.Struct, frozen=True):
    """What is shown of it. `interval` is in seconds, `asked_at` an instant, `found` messages were reported and
    `requests` made since the start; `results` is the gateway's number for the days asked for.
    """

    denied: bool
    trouble: str
    interval: float
    asked_at: float | None
    found: int
    requests: int
    results: int | None


class IncomingWatch:
    """One account's incoming messages, from `since` on: a day, None: what comes after it was asked for the first time.

    `every` is the shortest interval, in seconds. `report` takes what an answer says of the whole account, `idle` is
    whether no message waits for a poll: then, while the account is held, a request from here is the probe.
    """

    def __init__(
        self,
        account: str,
        every: float,
        since: date | None,
        *,
        gateway: IncomingGateway,
        limiter: Limiter,
        report: Callable[[Outcome | IncomingPage], None],
        idle: Callable[[], bool],
        book: IncomingBook,
        committer: Committer,
        clock: Clock,
        time: GatewayTime,
        progress: bytes | None,
    ) -> None:
        """`progress` is the note `incoming_note(account)` of an earlier run."""
        self._account = account
        self._every = every
        self._since = since
        self._gateway = gateway
        self._limiter = limiter
        self._report = report
        self._idle = idle
        self._book = book
        self._committer = committer
        self._clock = clock
        self._time = time
        self._progress = _progress(progress)
        self._interval = every
        self._due = 0.0
        self._hurried = asyncio.Event()
        self._dates: Dates | None = None
        self._results: int | None = None
        self._full_at = self._noted_at = self._forgotten_at = 0.0
        self._heard: float | None = None
        self._short = 0
        self._odd = self._denied = False
        self._trouble = ""
        self._asked_at: float | None = None
        self._found = self._requests = 0

    @property
    def state(self) -> IncomingState:
        """What is shown of it."""
        return IncomingState(
            self._denied, self._trouble, self._interval, self._asked_at, self._found, self._requests, self._results
        )

    def retry(self) -> None:
        """Ask at once: the account's secret was replaced."""
        self._hurried.set()

    async def run(self) -> None:
        """Ask until cancelled. Raises StoreError when the store cannot be used."""
        while True:
            await self._until_due()
            self._hurried.clear()
            try:
                wait = await self._look()
            except StoreUnavailableError as error:
                log.debug("incoming messages cannot be compared with those known: %s", error)
                wait = self._every
            self._due = self._clock.now() + wait

    async def _until_due(self) -> None:
        # In short steps: the loop's time stands still while the machine sleeps.
        while (left := self._due - self._clock.now()) > 0.0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, CHECK)):
                    await self._hurried.wait()
                    return

    # -- one look

    async def _look(self) -> float:
        """Ask, and report what is new; how many seconds to wait then."""
        now, dates = self._clock.now(), self._days()
        answer = await self._ask(dates, 1)
        # Whose clock says another day is asked about that one, before anything counts as seen.
        if isinstance(answer, IncomingPage) and dates != (dates := self._days()):
            answer = await self._ask(dates, 1)
        if not isinstance(answer, IncomingPage):
            return self._refused(answer)
        self._allowed()
        if self._progress.began is None:
            self._progress.began = self._now()
            await self._note()
        if dates == self._dates and now < self._full_at and await self._unchanged(answer):
            self._trouble = ""
            return self._wait(news=False)
        began = self._now()
        # What was in vain so often does not take the pace from the polls each time.
        passes = PASSES if self._short < PATIENT else LEAST_PASSES
        reading = await PageReader(partial(self._ask, dates), self._unknown).read(answer, passes)
        return await self._settle(dates, reading, began)

    async def _unchanged(self, page: IncomingPage) -> bool:
        if page.results is None or page.results != self._results:
            return False
        return not await self._unknown([message.id for message in page.messages])

    async def _settle(self, dates: Dates, reading: Reading, began: float) -> float:
        """Report what a reading found; how many seconds to wait then."""
        self._short = self._short + 1 if reading.sight is Sight.SHORT and not reading.full else 0
        exact = reading.sight is Sight.EXACT and not reading.full
        news = 0
        if exact or reading.sight is Sight.MOVING or reading.full or self._short >= PATIENT:
            news = await self._store(reading.in_order)
        # Else the next look reads all pages again.
        self._dates = dates if exact else None
        self._results = reading.results if exact else None
        self._trouble = "" if self._short < PATIENT else "some pages cannot be read, or do not stand still"
        if not exact:
            # What is held back is worth another try soon; what never stands still is not.
            return self._wait(news=news > 0 or 0 < self._short < PATIENT)
        self._doubt(reading)
        again = news and reading.pages > 1
        self._full_at = self._clock.now() + (0.0 if again else FULL_EVERY)
        await self._seen(began)
        return self._wait(news=news > 0)

    async def _store(self, found: list[IncomingMessage]) -> int:
        """Remember these, and report those that are to be; how many were found."""
        for start in range(0, len(found), CHUNK):
            now, at = self._clock.now(), events.instant(self._clock.wall())
            chunk = found[start : start + CHUNK]
            wanted = [reported(self._account, each, at) for each in chunk if self._wanted(each)]
            # Before the others: what is committed is reported, and no message of this chunk is asked about again.
            await self._book.remember(self._account, [each.id for each in chunk if not self._wanted(each)], now)
            self._committer.record_received(wanted)
            await self._committer.flush()
            self._found += len(wanted)
        return len(found)

    def _wanted(self, message: IncomingMessage) -> bool:
        """Whether it is reported: of those that were there when it was asked for the first time, only what is newer."""
        if self._progress.seen is not None:
            return True
        if self._since is None:
            return message.sent is not None and message.sent >= (self._progress.began or 0.0)
        return message.sent is None or message.sent >= _midnight(self._since)

    async def _seen(self, began: float) -> None:
        """All that there was at `began` is known."""
        first, self._progress.seen = self._progress.seen is None, began
        now = self._clock.now()
        if first or now >= self._noted_at + NOTE_EVERY:
            self._noted_at = now
            await self._note()
        if now >= self._forgotten_at + FORGET_EVERY:
            self._forgotten_at = now
            await self._book.forget(self._account, now - REMEMBERED)

    async def _note(self) -> None:
        self._committer.record_note(incoming_note(self._account), msgspec.json.encode(self._progress))
        await self._committer.flush()

    async def _unknown(self, ids: Iterable[int]) -> set[int]:
        wanted = list(ids)
        return await self._book.unknown(self._account, wanted) if wanted else set()

    # -- when, and which days

    def _wait(self, *, news: bool) -> float:
        longest = max(self._every, min(LONGEST_FACTOR * self._every, LONGEST))
        self._interval = self._every if news else min(longest, GROWTH * self._interval)
        return self._interval

    def _now(self) -> float:
        """By the gateway's clock."""
        return self._clock.now() + self._time.ahead

    def _days(self) -> Dates:
        """From a day before to a day after today in UTC, whichever zone the gateway's days are in; from earlier on
        where not all was seen since.
        """
        now, since = self._now(), self._progress.seen or self._progress.began
        latest = now
        if self._heard is not None and abs(self._heard - now) <= CREDIBLE:
            latest = max(now, self._heard)
        first = _day(now if since is None else min(now, since))
        if self._progress.seen is None and self._since is not None:
            first = min(self._since, first)
        day = timedelta(days=1)
        return Dates((first - day).isoformat(), (_day(latest) + day).isoformat())

    # -- one request

    async def _ask(self, dates: Dates, page: int) -> Answer:
        """One request at the account's pace, and what its answer means for the account."""
        await self._turn()
        held = self._limiter.held
        try:
            answer = await self._gateway.incoming(dates, page)
        except asyncio.CancelledError:
            self._limiter.abandon()
            raise
        self._requests += 1
        self._asked_at = self._clock.now()
        if isinstance(answer, IncomingPage):
            self._heard = answer.date
        if isinstance(answer, IncomingDenied):
            # The gateway's own word, as good as one about a message to show that it answers again.
            if held is not None and held.held_reason not in _WHO_ASKS:
                self._report(NotFound(answer.detail))
            else:
                self._limiter.abandon()
        elif held is not None or _of_account(answer):
            self._report(answer)
        else:
            self._limiter.abandon()
        return answer

    async def _turn(self) -> None:
        """Wait until a request may go out, and count it."""
        while True:
            if self._limiter.held is None:
                if await self._limiter.turn():
                    return
            elif not self._limiter.refusing and self._idle() and self._limiter.delay() <= 0.0:
                self._limiter.take()
                return
            else:
                await asyncio.sleep(CHECK)

    # -- what went wrong

    def _refused(self, answer: IncomingDenied | Trouble) -> float:
        self._dates = None
        if isinstance(answer, Trouble):
            self._trouble = answer.detail
            return self._wait(news=False)
        self._trouble = answer.detail
        if not self._denied:
            self._denied = True
            log.warning(
                "account %s may not read incoming messages: the gateway answers %s. None are reported; messages that "
                "were sent are polled as before. Ask GatewayAPI whether this account may use GET /rest/mosms, or take "
                "[accounts.%s.incoming] out of the configuration. It is tried again every hour",
                self._account,
                answer.detail,
                self._account,
                extra={"event": "incoming_denied", "account": self._account},
            )
        self._interval = DENIED_EVERY
        return self._interval

    def _allowed(self) -> None:
        if self._denied:
            self._denied, self._interval = False, self._every
            log.info(
                "account %s may read incoming messages again",
                self._account,
                extra={"event": "incoming_allowed", "account": self._account},
            )

    def _doubt(self, reading: Reading) -> None:
        odd = reading.odd or reading.results is None
        if odd and not self._odd:
            log.warning(
                "account %s: incoming messages: the gateway's number of results is not that of the messages it gives; "
                "all that it gives are reported",
                self._account,
                extra={"event": "incoming_uncounted", "account": self._account},
            )
        self._odd = self._odd or odd


def _of_account(answer: Answer) -> bool:
    return isinstance(answer, Trouble) and answer.reason in _ACCOUNTS


def _day(when: float) -> date:
    return datetime.fromtimestamp(when, UTC).date()


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _progress(note: bytes | None) -> Progress:
    """What the note says; as if it were the first start where somebody has damaged it."""
    try:
        return Progress() if note is None else msgspec.json.decode(note, type=Progress)
    except msgspec.DecodeError:
        return Progress()
