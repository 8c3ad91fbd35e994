"""What is known of somebody is removed from the open store, also where an attempt to deliver it is under way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from pollerd.core.diff import Result
from pollerd.core.event import EVENT_FORGOTTEN, Overdue, OverdueRecipient, Status, instant
from pollerd.core.model import Message, Recipient, State
from pollerd.core.ports import Batch, Delivery, DeliveryChange
from pollerd.core.ports.erasure import About
from tests.store_place import AnyStore, Place, place_of

NOW = 1_764_000_000.0
PERSON, OTHER = 4587654321, 458765432
"""The second is a piece of the first."""


def status(message_id: int, msisdn: int) -> Status:
    return Status(
        id=message_id, account="default", msisdn=msisdn, status="DELIVERED", previous=None, final=True, time=int(NOW),
        error=None, code=None, userref="o-1", country_code=None, country_prefix=None, mcc=None, mnc=None,
        observed_at=instant(NOW), polls=1,
    )  # fmt: skip


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    """An open store in either engine."""
    async with place.opened(lambda: NOW) as store:
        yield store


async def follow(store: AnyStore, message_id: int, *numbers: int, state: State = State.FINISHED) -> None:
    recipients = tuple(Recipient(number, "DELIVERED") for number in numbers)
    message = Message(message_id, "default", NOW, NOW, state=state, base=NOW, finished_at=NOW, recipients=recipients)
    place_of(store).insert(message_id)
    bodies = [status(message_id, number) for number in numbers]
    await store.commit(Batch(results=[Result(message, tuple(bodies), was=State.NEW, polls=1)], at=NOW))


async def test_a_piece_of_another_number_is_another_number(store: AnyStore) -> None:
    await follow(store, 1, PERSON)
    await follow(store, 2, OTHER)
    await store.erase(About(msisdn=OTHER), NOW)
    assert place_of(store).execute("SELECT id FROM messages") == [(1,)]
    assert [event.type for event in await store.read(0, 10)] == ["message.status", EVENT_FORGOTTEN]
    counters = await store.counters()
    assert counters["finished"] == 1


async def test_an_event_that_names_several_goes_too(store: AnyStore) -> None:
    await follow(store, 1, PERSON, OTHER)
    recipients = (OverdueRecipient(OTHER, "ENROUTE"), OverdueRecipient(PERSON, "ENROUTE"))
    overdue = Overdue(id=1, account="default", userref=None, pending=2, recipients=recipients, observed_at=instant(NOW))
    await store.commit(Batch(bodies=[overdue], at=NOW))
    with place_of(store).view() as view:
        assert view.known(About(msisdn=PERSON)) == (1, 2, 0, ())
    await store.erase(About(msisdn=PERSON), NOW)
    kinds = [event.type for event in await store.read(0, 10)]
    assert kinds == [EVENT_FORGOTTEN, "message.status", EVENT_FORGOTTEN]
    with place_of(store).view() as view:
        assert view.known(About(msisdn=PERSON)) == (0, 0, 0, ())
        assert view.known(About(msisdn=OTHER)).messages == 1


async def test_outputs_read_what_is_left_from_memory_and_from_disk(place: Place) -> None:
    async with place.opened(lambda: NOW) as store:
        await follow(store, 1, PERSON)
        await store.erase(About(message_id=1), NOW)
        memory = [event.line for event in await store.read(0, 10)]
    async with place.opened(lambda: NOW) as again:
        assert [event.line for event in await again.read(0, 10)] == memory
    assert set(json.loads(memory[0])) == {"seq", "type", "account", "observed_at"}


async def test_an_attempt_under_way_brings_nothing_back(store: AnyStore) -> None:
    await follow(store, 1, PERSON)
    book = store.deliveries()
    kept = Delivery(1, "message.status", 1, b'{"msisdn":4587654321}', "default", next_at=NOW)
    await book.save(DeliveryChange(kept=[kept]))
    await store.erase(About(msisdn=PERSON), NOW)
    assert await book.undelivered(0, 10) == []
    await book.save(DeliveryChange(kept=[kept]))
    assert await book.undelivered(0, 10) == []
