"""A damaged row that something becomes of between its reading and its setting aside is counted down once."""

from __future__ import annotations

from pollerd.core.diff import Result
from pollerd.core.model import Message, State
from pollerd.core.ports import Batch
from pollerd.core.ports.erasure import About
from pollerd.store import aside, rows
from tests.store_place import AnyStore, Place, place_of

NOW = 1_764_000_000.0
DAMAGED, SOUND = 1, 2


def counted(place: Place) -> tuple[int, int, int, tuple[tuple[float, int], ...]]:
    """Pending, finished, set aside, and pending by age."""
    with place.view() as view:
        found = view.overview(NOW)
    return found.pending, found.finished, found.set_aside, found.ages


async def read_damaged(store: AnyStore) -> list[aside.Damaged]:
    """Two pending messages, one of them with a trail that is none, as the daemon reads it."""
    place = place_of(store)
    place.insert(DAMAGED, SOUND)
    await store.commit(
        Batch(results=[Result(pending(number), (), was=State.NEW) for number in (DAMAGED, SOUND)], at=NOW)
    )
    place.execute("UPDATE messages SET polls = -1 WHERE id = ?", DAMAGED)
    found = place.execute(f"SELECT {', '.join(rows.COLUMNS)} FROM messages WHERE id = ?", DAMAGED)
    return aside.read(found, NOW, lambda wall: wall).damaged


def pending(number: int, state: State = State.PENDING) -> Message:
    return Message(number, "default", NOW, NOW, state=state, base=NOW)


async def test_one_that_is_still_there(any_store: AnyStore) -> None:
    damaged = await read_damaged(any_store)
    for _ in range(2):
        await any_store.write(lambda db: aside.set_aside(db, damaged, NOW))
        pending, finished, set_aside, ages = counted(place_of(any_store))
        assert (pending, finished, set_aside, sum(count for _, count in ages)) == (1, 0, 1, 1)


async def test_one_that_was_forgotten(any_store: AnyStore) -> None:
    damaged = await read_damaged(any_store)
    await any_store.erase(About(message_id=DAMAGED), NOW)
    assert await any_store.write(lambda db: aside.set_aside(db, damaged, NOW)) == []
    pending, finished, set_aside, ages = counted(place_of(any_store))
    assert (pending, finished, set_aside, sum(count for _, count in ages)) == (1, 0, 0, 1)


async def test_one_that_has_ended(any_store: AnyStore) -> None:
    """What is in memory was sound, and makes the row whole."""
    damaged = await read_damaged(any_store)
    ended = Result(pending(DAMAGED, State.FINISHED), (), was=State.PENDING)
    await any_store.commit(Batch(results=[ended], at=NOW))
    assert await any_store.write(lambda db: aside.set_aside(db, damaged, NOW)) == []
    pending_, finished, set_aside, ages = counted(place_of(any_store))
    assert (pending_, finished, set_aside, sum(count for _, count in ages)) == (1, 1, 0, 1)
