"""Which message is asked about next while a gateway refuses everything."""

from __future__ import annotations

from pollerd.core.model import Message
from pollerd.polling.probes import Probes
from pollerd.polling.window import Window
from tests.unit.test_window import NOW, FirstDue, at


def waiting(*messages: Message) -> Window:
    window = Window("default", FirstDue())
    for message in messages:
        window.add(message)
    return window


def sent(message_id: int, sent_at: float, **more: object) -> Message:
    return Message(message_id, "default", sent_at, NOW, forced=True, **more)  # type: ignore[arg-type]


def asked(probes: Probes, window: Window, known: list[int], count: int) -> list[int]:
    """The ids of the next probes, each of them answered before the next."""
    found = []
    for _ in range(count):
        target = probes.next(window, known)
        if isinstance(target, Message):
            window.add(target)
        found.append(target.id if isinstance(target, Message) else target or 0)
    return found


def test_messages_answered_before_and_the_newest_come_by_turns_and_each_comes() -> None:
    window = waiting(sent(1, 10.0), sent(2, 30.0), sent(3, 20.0))
    assert asked(Probes(), window, [900, 901], 8) == [900, 2, 901, 3, 900, 1, 901, 2]


def test_one_that_is_pending_here_is_polled_itself() -> None:
    window = waiting(sent(1, 10.0), sent(2, 30.0))
    first = Probes().next(window, [1])
    assert isinstance(first, Message)
    assert window.under_way(1) is first


def test_without_anything_known_the_newest_is_asked() -> None:
    assert asked(Probes(), waiting(sent(1, 10.0), sent(2, 30.0)), [], 3) == [2, 1, 2]


def test_without_anything_pending_what_is_known_is_asked() -> None:
    assert asked(Probes(), waiting(), [900], 3) == [900, 900, 900]
    assert Probes().next(waiting(), []) is None


def test_what_is_under_way_is_no_probe() -> None:
    window = waiting(at(1, NOW, forced=True))
    assert window.take(1) is not None
    assert window.take(1) is None
    assert window.newest(()) is None
