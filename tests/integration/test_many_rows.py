"""Many rows are changed by few statements, in either engine with the same outcome."""

from __future__ import annotations

from pollerd.core import event
from pollerd.core.ports import (
    Cursor,
    Delivery,
    DeliveryChange,
    DeliveryState,
    RequestKind,
    SourceRow,
    Unwritten,
    UnwrittenChange,
)
from pollerd.core.ports.erasure import About
from pollerd.store.postgresql.copy import TABLES
from tests.store_database import StoreDatabase
from tests.store_place import AnyStore, Place

MANY = 300
FEW = 40
"""Statements of everything below, on one table: far fewer than rows."""
_STATUS = b'{"type":"message.status","id":%d,"account":"default","msisdn":4512345678,"status":"ENROUTE"}'
_TEXT = b'{"type":"message.received","account":"default","incoming_id":%d,"message":"a text"}'


def count_statements(place: Place) -> None:
    """Let the server count the statements that change each table."""
    place.execute("CREATE TABLE asked (name text)")
    place.execute(
        "CREATE FUNCTION asked() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO asked VALUES (TG_TABLE_NAME); RETURN NULL; END $$"
    )
    for table in TABLES:
        changed = f"AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT"
        place.execute(f"CREATE TRIGGER asked {changed} EXECUTE FUNCTION asked()")


async def test_all_that_touches_many_rows(any_store: AnyStore, place: Place, engine: StoreDatabase | None) -> None:
    store, ids = any_store, range(1, MANY + 1)
    found = [(9000 + n, event.MESSAGE_RECEIVED, 1.0, (_TEXT % n).decode()) for n in ids]
    place.many("INSERT INTO events (seq, type, at, body) VALUES (?, ?, ?, ?)", found)
    if engine is not None:
        count_statements(place)

    # What sources give, in a form of their own, and what a command asks for.
    book = store.sources({"shop": "shop.db"}, lambda: 1e9, lambda: None)["shop"]
    written = {number: f"0{number}" if number % 2 else number + 0.5 for number in ids}
    rows = [SourceRow(number, written=written[number], sent_at=1e9 + number * (number % 2)) for number in ids]
    assert await book.take([*rows, rows[0]]) == MANY
    assert await book.take(rows) == 0
    with place.handover() as handover:
        asked = handover.ask(RequestKind.POLL, [*ids])
    assert asked.last - asked.first == MANY - 1
    place.execute("DELETE FROM requests")

    # What outputs keep, twice for each message: the later event supersedes the earlier one.
    late, parked = DeliveryState.WAITING, DeliveryState.PARKED
    posts = [Delivery(seq, event.MESSAGE_STATUS, seq, _STATUS % seq, "main", late, 0, 5.0) for seq in ids]
    posts += [Delivery(1000 + n, event.MESSAGE_STATUS, n, _STATUS % n, "main", parked, 7, None, "refused") for n in ids]
    deliveries = store.deliveries()
    await deliveries.save(DeliveryChange(kept=[posts[0], *posts], at=1.0))
    later = [Delivery(2000 + n, event.MESSAGE_STATUS, n, _STATUS % n, "main") for n in ids]
    superseded = await deliveries.save(DeliveryChange(taken=later, freed=[*ids], at=2.0))
    assert {each.seq for each in superseded} == {each.seq for each in posts}
    await deliveries.save(DeliveryChange(kept=posts[MANY:], at=3.0))
    await deliveries.relabel([(each.seq, "other") for each in posts[MANY:]])
    kept = [
        Unwritten(seq, event.MESSAGE_STATUS, seq, _STATUS % seq, "", parked, 7, None, "no", "sql out", 45, "status")
        for seq in ids
    ]
    book_out = store.unwritten("sql out", "shop.db")
    await book_out.save(UnwrittenChange(Cursor("sql out", MANY), kept=kept, at=1.0))
    assert await store.retry_parked(9.0) == 2 * MANY
    assert {each.next_at for each in await deliveries.undelivered(0, 1000)} == {9.0}
    assert {each.next_at for each in await book_out.due(9.0, (), 1000)} == {9.0}
    saved = await book_out.save(
        UnwrittenChange(
            Cursor("sql out", MANY),
            written=[
                Unwritten(5000 + n, event.MESSAGE_STATUS, n, b"", "", recipient=45, subject="status") for n in ids[:100]
            ],
            at=9.0,
        )
    )
    assert ({each.seq for each in saved.superseded}, saved.left) == ({*ids[:100]}, True)

    # Texts that are removed, a message that is forgotten, and what is old.
    assert await store.incoming().remove_texts({}, 1e9) == MANY
    assert place.execute("SELECT count(*) FROM incoming WHERE text_seq IS NOT NULL") == [(0,)]
    assert await store.incoming().forget("default", 1e9) == MANY
    place.execute("UPDATE messages SET state = 2, finished_at = 1 WHERE id <= 200")
    await store.erase(About(message_id=300), 1e9)
    await store.retention(frozenset(), 1.0, 1.0).run(1e9)
    assert not await book_out.left()
    assert place.execute("SELECT count(*) FROM events") == [(0,)]
    assert sorted(place.execute("SELECT id FROM messages")) == [(number,) for number in range(201, MANY)]

    if engine is not None:
        counted = place.execute("SELECT name, count(*) FROM asked GROUP BY 1")
        assert {name for name, _ in counted} >= {"messages", "events", "given", "source_ids", "unwritten", "incoming"}
        assert {name: count for name, count in counted if count > FEW} == {}
