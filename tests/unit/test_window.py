"""The due window: a moving scan over a schedule that is larger than memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core.model import Message, Priority, State
from pollerd.core.ports import Due
from pollerd.polling import window as module
from pollerd.polling.window import Window
from tests.hypothesis_kit import examples

NOW = 1000.0


class FirstDue:
    """One bucket: order of arrival."""

    def bucket(self, message: Message) -> str:
        return "all"

    def rank(self, message: Message, now: float) -> float:
        return 0.0


class Rows:
    """The schedule as rows in memory, in the store's order."""

    def __init__(self, *messages: Message) -> None:
        self.rows = {message.id: message for message in messages}
        self.asked = 0

    async def due(self, account: str, after: Due, until: float, limit: int) -> list[Message]:
        self.asked += 1
        found = [m for m in self.rows.values() if after < (m.next_poll_at, m.id) and m.next_poll_at <= until]
        return sorted(found, key=lambda m: (m.next_poll_at, m.id))[:limit]

    async def due_latest(self, account: str, until: float, limit: int) -> list[Message]:
        found = [m for m in self.rows.values() if m.next_poll_at <= until]
        return sorted(found, key=lambda m: -m.next_poll_at)[:limit]

    async def due_urgent(self, account: str, priority: Priority, until: float, limit: int) -> list[Message]:
        found = [m for m in self.rows.values() if m.priority is priority and m.next_poll_at <= until]
        return sorted(found, key=lambda m: m.next_poll_at)[:limit]


def at(message_id: int, due: float, **more: object) -> Message:
    return Message(message_id, "default", 0.0, due, **more)  # type: ignore[arg-type]


def nothing(_: int) -> Message | None:
    return None


def drained(window: Window, now: float) -> list[int]:
    found = []
    while (message := window.pop(now)) is not None:
        found.append(message.id)
    return found


async def filled(rows: Rows, now: float = NOW, unsaved: Callable[[int], Message | None] = nothing) -> Window:
    window = Window("default", FirstDue())
    while await window.fill(rows, now, unsaved):
        pass
    return window


async def test_due_messages_come_in_order_and_later_ones_wait() -> None:
    window = await filled(Rows(at(1, NOW - 1), at(2, NOW - 5), at(3, NOW + 3), at(4, NOW + 500)))
    assert drained(window, NOW) == [2, 1]
    assert window.next_due() == NOW + 3
    assert not window.holds(4)


async def test_a_thousand_messages_due_at_the_same_instant_are_all_found() -> None:
    window = await filled(Rows(*(at(i, NOW) for i in range(1, 3 * module.CHUNK))))
    assert sorted(drained(window, NOW)) == list(range(1, 3 * module.CHUNK))


async def test_memory_is_bounded_and_what_was_left_out_is_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 100)
    monkeypatch.setattr(module, "CHUNK", 10)
    rows = Rows()
    window = await filled(rows)
    for i in range(1, 1001):
        message = at(i, NOW - 1000 + i)
        rows.rows[i] = message
        window.add(message)
    assert len(window) <= 100
    seen: list[int] = []
    while True:
        while window.wants(NOW) and await window.fill(rows, NOW, nothing):
            pass
        due = window.pop(NOW)
        if due is None:
            break
        seen.append(due.id)
        later = msgspec.structs.replace(due, next_poll_at=NOW + 5000)
        rows.rows[due.id] = later
        window.add(later)
        assert len(window) <= 110
    assert sorted(seen) == list(range(1, 1001))


async def test_what_is_urgent_is_found_in_a_backlog_larger_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 100)
    monkeypatch.setattr(module, "CHUNK", 10)
    monkeypatch.setattr(module, "LATEST", 5)
    # In the middle: neither the oldest nor the latest.
    alarms = {500: Priority.URGENT, 501: Priority.VERY_URGENT, 502: Priority.BULK}
    rows = Rows(*(at(i, NOW - 1000 + i, priority=alarms.get(i)) for i in range(1, 1000)))
    window = Window("default", FirstDue())
    while window.wants(NOW):
        await window.fill(rows, NOW, nothing)
    assert window.behind(NOW)
    await window.fill_latest(rows, NOW, nothing)
    await window.fill_urgent(rows, NOW, nothing)
    assert [window.pop(NOW).id for _ in range(2)] == [501, 500]  # type: ignore[union-attr]
    assert not window.holds(502)


async def test_an_alarm_that_a_full_window_leaves_out_is_found_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 100)
    rows = Rows(*(at(i, NOW) for i in range(1, 101)))
    window = await filled(rows)
    for message in (at(500, NOW + 1, priority=Priority.URGENT), at(501, NOW + 1)):
        rows.rows[message.id] = message
        window.add(message)
    assert not window.holds(500)
    assert not window.behind(NOW)
    assert window.behind(NOW + 2)
    await window.fill_urgent(rows, NOW + 2, nothing)
    assert drained(window, NOW + 2)[0] == 500


async def test_a_message_under_way_is_not_handed_out_again() -> None:
    rows = Rows(at(1, NOW))
    window = await filled(rows)
    assert window.pop(NOW) is not None
    await window.fill(rows, NOW, nothing)
    window.add(at(2, NOW))
    assert drained(window, NOW) == [2]


async def test_a_stale_row_is_not_taken_over_a_newer_form_that_is_not_on_disk_yet() -> None:
    newer = at(1, NOW + 300)
    window = await filled(Rows(at(1, NOW)), unsaved=lambda i: newer if i == 1 else None)
    assert drained(window, NOW) == []


async def test_a_forced_poll_goes_first_and_leaves_no_second_one_behind() -> None:
    window = await filled(Rows(at(1, NOW - 10), at(2, NOW + 8)))
    window.add(at(2, NOW, forced=True))
    assert drained(window, NOW + 20) == [2, 1]


async def test_dropped_or_finished_messages_are_gone() -> None:
    window = await filled(Rows(at(1, NOW), at(2, NOW)))
    window.drop(1)
    window.add(at(2, NOW, state=State.FINISHED))
    assert drained(window, NOW) == []
    assert len(window) == 0


async def test_the_highest_rank_goes_first_and_order_holds_within_a_bucket() -> None:
    class Odd(FirstDue):
        def bucket(self, message: Message) -> str:
            return "odd" if message.id % 2 else "even"

        def rank(self, message: Message, now: float) -> float:
            return float(message.id % 2)

    window = Window("default", Odd())
    await window.fill(Rows(*(at(i, NOW - 10 + i) for i in range(1, 7))), NOW, nothing)
    assert drained(window, NOW) == [1, 3, 5, 2, 4, 6]


async def test_while_much_is_late_every_second_poll_goes_to_the_youngest() -> None:
    class ByAge(FirstDue):
        def bucket(self, message: Message) -> str:
            return f"sent {message.sent_at:.0f}"

        def rank(self, message: Message, now: float) -> float:
            return now - message.sent_at

    window = Window("default", ByAge())
    late = [msgspec.structs.replace(at(i, NOW - 3600), sent_at=float(i)) for i in range(1, 7)]
    await window.fill(Rows(*late), NOW, nothing)
    assert drained(window, NOW) == [6, 1, 5, 2, 4, 3]


async def test_within_a_bucket_too() -> None:
    window = await filled(Rows(*(at(i, NOW - 3600 + i) for i in range(1, 7))))
    assert drained(window, NOW) == [6, 1, 5, 2, 4, 3]


@examples(20)
@given(st.integers(0, 2**32), st.integers(5, 60))
def test_every_message_is_polled_at_its_time_whatever_the_order_of_things(seed: int, capacity: int) -> None:
    """A small world with random fills, polls and intake: nothing is lost, nothing early, nothing twice at once."""

    async def world() -> None:
        rng = random.Random(seed)
        rows = Rows(*(at(i, NOW + rng.uniform(-50, 50)) for i in range(1, 80)))
        window = Window("default", FirstDue())
        polled: dict[int, int] = {}
        now = NOW
        for _ in range(4000):
            if window.wants(now):
                await window.fill(rows, now, nothing)
            if (message := window.pop(now)) is not None:
                assert message.next_poll_at <= now
                assert rows.rows[message.id].next_poll_at == message.next_poll_at
                polled[message.id] = polled.get(message.id, 0) + 1
                again = msgspec.structs.replace(message, next_poll_at=now + rng.choice([0.5, 3, 30]))
                rows.rows[message.id] = again
                window.add(again)
            else:
                now += rng.uniform(0, 0.5)
        assert set(polled) == set(rows.rows)
        assert all(m.next_poll_at > now - 40 for m in rows.rows.values())

    old = module.CAPACITY, module.CHUNK
    module.CAPACITY, module.CHUNK = capacity, max(2, capacity // 4)  # type: ignore[misc]
    try:
        asyncio.run(world())
    finally:
        module.CAPACITY, module.CHUNK = old  # type: ignore[misc]


async def test_a_message_dropped_under_way_is_not_asked_for_again_before_its_answer() -> None:
    """Untracked and taken up again while a poll of it is being made."""
    rows = Rows(at(1, NOW), at(2, NOW + 1))
    window = await filled(rows)
    assert window.pop(NOW) is not None
    window.drop(1)
    window.add(at(1, NOW - 5))
    await window.fill_latest(rows, NOW, nothing)
    window.admit(at(1, NOW - 4))
    assert drained(window, NOW + 2) == [2]
    assert window.end_poll(1) is None, "the answer is of no interest"
    assert drained(window, NOW) == [1]


async def test_a_message_dropped_under_way_for_good_stays_away() -> None:
    window = await filled(Rows(at(1, NOW)))
    for _ in range(2):
        assert window.pop(NOW) is not None
        window.drop(1)
        window.add(at(1, NOW))
        window.drop(1)
        assert window.end_poll(1) is None
        assert window.pop(NOW) is None
        window.add(at(1, NOW))
