"""Texts and ties at their limits: whichever engine keeps them, the same is found, in the same order, and told alike."""

from __future__ import annotations

import pytest

from pollerd.core.model import Message, State
from pollerd.core.particulars import Particulars
from pollerd.core.ports import Batch, Delivery, DeliveryChange, TrackRequest
from tests.integration.output_kit import parsed, status
from tests.store_place import AnyStore, Place, place_of

NOW = 1_764_000_000.0
ODD = "a\0b\x1b \U0001f4a9\u202e'\"\\u0000%_"
KEPT = "ab \U0001f4a9\u202e'\"\\u0000%_"
"""Without control characters."""


def test_a_reference_is_kept_as_it_can_be_told(place: Place) -> None:
    with place.handover() as handover:
        handover.track([1], particulars=Particulars(userref=ODD))
        handover.track([2], particulars=Particulars(userref="\0"))
    with place.view() as view:
        assert [message.userref for message in view.messages(None, 5)] == [None, KEPT]
        assert [message.id for message in view.search("B \U0001f4a9", None, None, 5).messages] == [1]


async def test_a_reference_handed_to_the_daemon_is_kept_as_it_can_be_told(any_store: AnyStore) -> None:
    requests = [TrackRequest(number, "default", ODD, NOW + 0.1234567) for number in (2**63 - 1, 7)]
    assert (await any_store.track(requests)).new == 2
    assert (await any_store.track(requests)).known == 2
    found = await any_store.new(5)
    assert [(each.id, each.userref, each.sent_at) for each in found] == [
        (number, KEPT, NOW + 0.1234567) for number in (7, 2**63 - 1)
    ]


async def test_an_event_is_read_back_as_it_was_told_at_once(place: Place) -> None:
    async with place.opened() as store:
        committed = await store.commit(Batch(bodies=[status(1, error="gone \0 \\u0000 \x1b")], at=NOW))
        told = [event.line for event in await store.read(0, 5)]
        assert told == [event.line for event in committed]
    async with place.opened() as store:
        assert [event.line for event in await store.read(0, 5)] == told
    assert parsed(told[0])["error"].startswith("gone ")
    # An application's query fails at no event.
    assert len(place.execute("SELECT id, error FROM statuses")) == 1


async def test_an_error_of_any_bytes_parks_an_event(any_store: AnyStore) -> None:
    kept = Delivery(1, "message.status", 1, b"{}", "default", next_at=NOW, error="answered \0")
    await any_store.deliveries().save(DeliveryChange(kept=[kept], at=NOW))
    (found,) = await any_store.deliveries().undelivered(0, 5)
    assert found.error.startswith("answered ")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("ORDER", [3, 2]), ("order", [3, 2]), ("Ärger", [4]), ("ärger", []), ("Stra\u00dfe", [1]), ("%", [2]),
        ("_", []), ("\0", []), ("'", []),
    ],
)  # fmt: skip
def test_a_search_finds_what_stands_there(place: Place, wanted: str, found: list[int]) -> None:
    place.make()
    place.put(
        [
            Message(number, "default", NOW, NOW, userref=userref)
            for number, userref in enumerate(("Stra\u00dfe", "order-5%", "Order-6", "Ärger", None), 1)
        ]
    )
    with place.view() as view:
        assert [message.id for message in view.search(wanted, None, None, 10).messages] == found


def test_ties_come_in_the_order_of_their_ids(place: Place) -> None:
    place.make()
    numbers = [5, 3, 9, 1, 7, 2, 8]
    place.put([Message(number, "default", NOW, NOW) for number in numbers])
    place.put([Message(number + 10, "default", NOW, NOW, state=State.FINISHED, finished_at=NOW) for number in numbers])
    place.execute("UPDATE messages SET state = 1 WHERE state = 0")
    with place.view() as view:
        assert [message.id for message in view.messages(State.PENDING, 3)] == [1, 2, 3]
        assert [message.id for message in view.messages(State.FINISHED, 3)] == [19, 18, 17]


async def test_places_of_outputs_are_in_the_order_of_their_bytes(any_store: AnyStore) -> None:
    place = place_of(any_store)
    for name in ("sqlite b", "Sqlite a", "sqlite_a", "sqlite a"):
        place.execute("INSERT INTO outputs VALUES (?, 0, '', 0)", name)
    with place.view() as view:
        names = [output.name for output in view.overview(NOW).outputs]
    assert names == ["Sqlite a", "sqlite a", "sqlite b", "sqlite_a"]
