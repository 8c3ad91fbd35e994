"""Which due message is polled next: by priority, and no priority waits without end."""

from __future__ import annotations

from itertools import islice

import pytest

from pollerd.core.model import Message, Priority
from pollerd.polling import ready
from pollerd.polling.ready import Ready
from tests.unit.test_window import NOW, FirstDue, at

BULK, NORMAL, URGENT, VERY_URGENT = Priority


def queued(*messages: Message) -> Ready:
    made = Ready(FirstDue())
    for message in messages:
        made.put(message)
    return made


def taken(queue: Ready, count: int = 10**6) -> list[Message]:
    return list(islice(iter(lambda: queue.take(NOW), None), count))


def many(priority: Priority | None, count: int, first: int = 1) -> list[Message]:
    return [at(n, NOW, priority=priority) for n in range(first, first + count)]


def test_the_more_urgent_goes_first_and_no_priority_is_normal() -> None:
    queue = queued(
        at(1, NOW, priority=BULK), at(2, NOW), at(3, NOW, priority=NORMAL), at(4, NOW, priority=URGENT),
        at(5, NOW, priority=VERY_URGENT), at(6, NOW, forced=True), at(7, NOW),
    )  # fmt: skip
    assert len(queue) == 7
    assert [message.id for message in taken(queue)] == [6, 5, 4, 2, 3, 7, 1]
    assert len(queue) == 0


@pytest.mark.parametrize("flood", [NORMAL, URGENT, VERY_URGENT])
def test_a_flood_leaves_a_share_to_what_is_less_urgent(flood: Priority) -> None:
    rest = many(BULK, 100, 10_000)
    queue = queued(*many(flood, 1000), *rest)
    first = taken(queue, 100 * ready.SHARE)
    assert [message for message in first if message.priority is BULK] == rest, "one of five, in their own order"


def test_a_flood_of_every_priority_starves_none() -> None:
    queue = queued(*(message for p in Priority for message in many(p, 2000, 10_000 * (p + 1))))
    first = [message.priority for message in taken(queue, 1000)]
    assert [first.count(priority) for priority in (VERY_URGENT, URGENT, NORMAL, BULK)] == [800, 160, 32, 8]


def test_one_alarm_is_next_whatever_waits() -> None:
    """At most one poll of the less urgent comes before it, whenever it becomes due."""
    queue = queued(*many(None, 5000))
    for turn in range(50):
        taken(queue, turn % 7)
        queue.put(at(10**6 + turn, NOW, priority=URGENT))
        assert any(message.priority is URGENT for message in taken(queue, 2))


def test_what_the_gateway_does_not_know_gives_way_to_everything_and_is_not_starved() -> None:
    strangers = [at(n, NOW, misses=ready.STRANGE) for n in range(1, 1001)]
    alarm = at(5000, NOW, misses=ready.STRANGE, priority=URGENT)
    seen = at(5001, NOW, misses=ready.STRANGE, seen_at=NOW - 9)
    fresh = [at(n, NOW, misses=ready.STRANGE - 1) for n in range(6000, 6080)]
    first = taken(queued(*strangers, alarm, seen, *fresh), 100)
    assert first[0] is alarm
    assert seen in first[:3]
    assert len([message for message in first if message.id < 5000]) == 20 - 1


def test_strangers_alone_are_polled_one_after_the_other() -> None:
    assert len(taken(queued(*(at(n, NOW, misses=99) for n in range(1, 50))))) == 49
