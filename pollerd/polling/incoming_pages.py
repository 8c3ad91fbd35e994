"""One account's incoming messages, page by page, until all are seen though the pages shift while they are read.

The gateway counts all messages of the days asked for (`results`) on each page. A pass over the pages is exact when it
saw as many different messages, and the number stood still meanwhile. Messages that only arrive meanwhile move others to
a later page, where they are seen twice; one that leaves moves another to an earlier page, where it is not seen at all.
Where one comes at the same time the number does not show that: news on several pages are read once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from enum import IntEnum
from typing import Final

import msgspec

from pollerd.core.incoming import IncomingDenied, IncomingMessage, IncomingPage
from pollerd.core.model import Trouble

PASSES: Final = 5
"""Passes over the pages for one reading: a burst is over after one or two; what never stands still would not end."""
LEAST_PASSES: Final = 2
"""Passes for one reading where earlier ones were in vain: so many show that the gateway gives the same twice."""
TRIES: Final = 2
"""Requests for one page that fails, in one pass."""
MOST_PAGES: Final = 1000
"""Pages of one pass: 200,000 messages in a few days, more than any customer is sent."""
MOST_HELD: Final = 20_000  # Messages, and
MOST_TEXT: Final = 16_000_000
"""characters of their texts, that are held in memory until all pages are read; beyond, they are reported as they come.
"""

Answer = IncomingPage | IncomingDenied | Trouble


class Sight(IntEnum):
    """What a reading saw."""

    SHORT = 0
    """Some messages may be missing."""
    MOVING = 1
    """All that were there when the pass began; more came meanwhile."""
    EXACT = 2
    """All."""


class Reading(msgspec.Struct):
    """What was read: the messages that are not known yet, the gateway's last number of all, and on how many pages."""

    fresh: dict[int, IncomingMessage] = {}
    sight: Sight = Sight.SHORT
    results: int | None = None
    pages: int = 1
    full: bool = False
    """No more can be held."""
    odd: bool = False
    """The gateway's number is not that of its messages, each time."""

    @property
    def in_order(self) -> list[IncomingMessage]:
        """What is not known yet, in the order in which it is reported."""
        return sorted(self.fresh.values(), key=lambda message: message.position)


class PageReader:
    """Reads all pages of the same days. `ask` requests one, `unknown` says which ids are not known yet."""

    def __init__(
        self, ask: Callable[[int], Awaitable[Answer]], unknown: Callable[[Iterable[int]], Awaitable[set[int]]]
    ) -> None:
        self._ask = ask
        self._unknown = unknown
        self._held = 0

    async def read(self, first: IncomingPage, passes: int = PASSES) -> Reading:
        """Everything, in so many passes at most; `first` is the first page, which is there already."""
        reading = Reading()
        before: tuple[set[int], int | None] | None = None
        answer: Answer = first
        for number in range(passes):
            if number > 0:
                answer = await self._ask(1)
            if not isinstance(answer, IncomingPage):
                break
            ids = await self._pass(answer, reading)
            if reading.sight is Sight.EXACT or reading.full:
                break
            # More keep coming: what comes from now on is for the next time.
            if reading.sight is Sight.MOVING and number > 0:
                break
            # What gives the same twice gives no more the third time.
            if ids is not None and before == (ids, reading.results):
                reading.sight, reading.odd = Sight.EXACT, True
                break
            before = None if ids is None else (ids, reading.results)
        return reading

    async def _pass(self, first: IncomingPage, reading: Reading) -> set[int] | None:
        """Read the pages once. The ids seen; None where the number moved or a page could not be read."""
        ids: set[int] = set()
        others = 0
        gap = fell = moved = False
        number, page, results = 1, first, first.results
        while True:
            before = len(ids)
            ids.update(message.id for message in page.messages)
            # No shift: a page has them twice, or without an id, in itself.
            others += page.unusable + len(page.messages) - len({message.id for message in page.messages})
            await self._take(page, reading)
            moved |= page.results != results
            fell |= (page.results or 0) < (results or 0)
            results = page.results
            count = len(ids) + others
            # One that is smaller than what was seen says nothing of where the end is.
            ended = count == results and number >= (page.pages or 0)
            if ended or len(ids) == before or reading.full or number >= MOST_PAGES:
                break
            answer, number, missing = await self._next(number, page)
            gap |= missing
            if answer is None:
                break
            page = answer
        reading.results, reading.pages = results, number
        if not (gap or moved) and (results is None or count == results):
            reading.sight = Sight.EXACT
        elif moved and not (gap or fell) and count >= (first.results or 0):
            reading.sight = Sight.MOVING
        else:
            reading.sight = Sight.SHORT
        return None if gap or moved else ids

    async def _next(self, number: int, last: IncomingPage) -> tuple[IncomingPage | None, int, bool]:
        """The page behind the `number`-th, `last`; its number, and whether one could not be read: then the one behind
        that.
        """
        for page in (number + 1, number + 2):
            for _ in range(TRIES):
                if isinstance(answer := await self._ask(page), IncomingPage):
                    return answer, page, page > number + 1
                if _no_page(answer, number, last):
                    return None, number, False
        return None, number, True

    async def _take(self, page: IncomingPage, reading: Reading) -> None:
        fresh = await self._unknown([message.id for message in page.messages if message.id not in reading.fresh])
        for message in page.messages:
            if message.id in fresh and message.id not in reading.fresh:
                reading.fresh[message.id] = message
                self._held += len(message.text or "")
        reading.full = len(reading.fresh) >= MOST_HELD or self._held >= MOST_TEXT


def _no_page(answer: Answer, number: int, last: IncomingPage) -> bool:
    """Whether a refusal of the page behind the `number`-th says that there is none: the gateway may count more
    messages than it gives, and has no page for them.
    """
    return isinstance(answer, IncomingDenied) if last.pages is None else number >= last.pages
