"""Pages that shift while they are read: what a reading sees, how sure it is, and what it costs in requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from msgspec.structs import replace

from pollerd.core.incoming import IncomingDenied, IncomingMessage, IncomingPage
from pollerd.core.model import HoldReason, Trouble
from pollerd.polling import incoming_pages
from pollerd.polling.incoming_pages import LEAST_PASSES, Answer, PageReader, Reading, Sight

PER_PAGE = 10
BROKEN = Trouble(HoldReason.SERVER_ERRORS, "undecodable", "cut")


class Pages:
    """A gateway's messages, in the order in which it gives them; `before` is called before each request."""

    def __init__(self, count: int, before: Callable[[Pages, int], None] = lambda *_: None) -> None:
        self.ids = list(range(count, 0, -1))
        self.requests = 0
        self.results: int | None = -1
        """What it says of their number; -1: the truth."""
        self.broken: set[int] = set()
        self.known: set[int] = set()
        self._before = before

    async def ask(self, page: int) -> IncomingPage | Trouble:
        self.requests += 1
        self._before(self, self.requests)
        if page in self.broken:
            return BROKEN
        some = self.ids[(page - 1) * PER_PAGE : page * PER_PAGE]
        results = len(self.ids) if self.results == -1 else self.results
        return IncomingPage(tuple(IncomingMessage(n, text="x", sent=float(n)) for n in some), results)

    async def unknown(self, ids: Iterable[int]) -> set[int]:
        return set(ids) - self.known

    async def read(self) -> Reading:
        first = await self.ask(1)
        assert isinstance(first, IncomingPage)
        return await PageReader(self.ask, self.unknown).read(first)


def come(pages: Pages) -> None:
    pages.ids.insert(0, max(pages.ids, default=0) + 1)


def go(pages: Pages) -> None:
    pages.ids.remove(min(pages.ids))


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (1, 1), (10, 1), (11, 2), (100, 10)])
async def test_what_stands_still_costs_one_request_a_page(count: int, requests: int) -> None:
    pages = Pages(count)
    reading = await pages.read()
    assert (reading.sight, reading.results, pages.requests) == (Sight.EXACT, count, requests)
    assert [message.id for message in reading.in_order] == list(range(1, count + 1))


async def test_what_is_known_is_not_held() -> None:
    pages = Pages(35)
    pages.known = set(range(1, 31))
    assert [message.id for message in (await pages.read()).in_order] == [31, 32, 33, 34, 35]


async def test_one_that_comes_meanwhile_is_found_by_another_pass() -> None:
    def before(pages: Pages, request: int) -> None:
        if request == 2:
            come(pages)

    pages = Pages(30, before)
    reading = await pages.read()
    assert reading.sight is Sight.EXACT
    assert [message.id for message in reading.in_order] == list(range(1, 32))


async def test_one_that_leaves_hides_none() -> None:
    """In the order of the oldest, what leaves moves others to a page that was read already."""

    def before(pages: Pages, request: int) -> None:
        if request == 2:
            go(pages)

    pages = Pages(30, before)
    pages.ids.sort()
    reading = await pages.read()
    assert reading.sight is Sight.EXACT
    assert {message.id for message in reading.in_order} >= set(pages.ids)


async def test_what_never_stands_still_is_reported_all_the_same() -> None:
    pages = Pages(30, lambda pages, _: come(pages))
    reading = await pages.read()
    assert reading.sight is Sight.MOVING
    assert set(range(1, 31)) <= {message.id for message in reading.in_order}
    assert pages.requests <= 12


async def test_a_number_that_falls_is_no_whole_view() -> None:
    pages = Pages(60, lambda pages, _: go(pages))
    reading = await pages.read()
    assert reading.sight is Sight.SHORT


@pytest.mark.parametrize("results", [None, 5, 29, 31, 10**15])
async def test_a_number_that_lies_hides_none(results: int | None) -> None:
    pages = Pages(30)
    pages.results = results
    reading = await pages.read()
    assert reading.sight is Sight.EXACT
    assert len(reading.fresh) == 30
    assert reading.odd == (results is not None)
    assert pages.requests <= 10


async def test_a_page_that_is_broken_hides_only_itself() -> None:
    pages = Pages(50)
    pages.broken = {3}
    reading = await pages.read()
    assert reading.sight is Sight.SHORT
    assert {message.id for message in reading.in_order} == set(range(1, 51)) - set(range(21, 31))


@pytest.mark.parametrize(
    ("pages_given", "refusal"), [(True, IncomingDenied("404")), (True, BROKEN), (False, IncomingDenied("404"))]
)
async def test_a_page_refused_because_there_is_none_is_the_end(*, pages_given: bool, refusal: Answer) -> None:
    """The gateway counts more messages than it gives, and refuses the page on which they would be."""
    pages = Pages(30)
    pages.results = 33

    async def ask(page: int) -> Answer:
        if page > 3:
            pages.requests += 1
            return refusal
        found = await pages.ask(page)
        assert isinstance(found, IncomingPage)
        return replace(found, pages=3 if pages_given else None)

    first = await ask(1)
    assert isinstance(first, IncomingPage)
    reading = await PageReader(ask, pages.unknown).read(first)
    assert (reading.sight, reading.odd, len(reading.fresh)) == (Sight.EXACT, True, 30)
    assert pages.requests == 8


async def test_fewer_passes_cost_fewer_requests() -> None:
    pages = Pages(50)
    pages.broken = {3}
    first = await pages.ask(1)
    assert isinstance(first, IncomingPage)
    assert (await PageReader(pages.ask, pages.unknown).read(first, LEAST_PASSES)).sight is Sight.SHORT
    # Each pass: six pages, the last of them empty, and the broken one once more.
    assert pages.requests == 14


async def test_the_first_page_of_a_later_pass_may_fail() -> None:
    def before(pages: Pages, request: int) -> None:
        if request == 2:
            come(pages)
            pages.broken = {1}

    pages = Pages(30, before)
    assert (await pages.read()).sight is Sight.MOVING


async def test_entries_without_an_id_count_among_the_results() -> None:
    page = IncomingPage((IncomingMessage(1), IncomingMessage(1)), results=4, unusable=2)

    async def never(_: int) -> IncomingPage:
        raise AssertionError

    reading = await PageReader(never, Pages(0).unknown).read(page)
    assert reading.sight is Sight.EXACT


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_pages, "MOST_HELD", 25)
    pages = Pages(1000)
    reading = await pages.read()
    assert reading.full
    assert len(reading.fresh) == 30
    assert pages.requests == 3
