"""The webhook output after `pollerd retry --webhook`, when a receiver asks to be left alone, and with a new secret."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pollerd.base.anchor import TIME_NOTE, Anchor, Machine
from pollerd.config import WebhookOutputConfig, WebhookRouteConfig
from pollerd.config.secret import FileSecret, Origin, SecretKind
from pollerd.core import event as events
from pollerd.core.ports import Batch, Delivery, DeliveryChange, DeliveryState
from pollerd.daemon.clock import SystemClock
from tests.integration.output_kit import running, until
from tests.integration.test_webhook import delivered, start, webhook
from tests.integration.webhook_kit import SECRET, Receiver, change, receiving, tell
from tests.store_place import AnyStore, Place, place_of


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    """Of this daemon, in either engine."""
    async with place.opened() as opened:
        yield opened


async def parked(store: AnyStore, seqs: list[int]) -> None:
    """Wait until these events are parked."""
    while [d.seq for d in await store.deliveries().undelivered(0, 10) if d.state is DeliveryState.PARKED] != seqs:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("second_taken", "tries"), [(False, "1 1 2 1 2 3"), (True, "1 1 2 3")])
async def test_what_is_taken_up_again_while_a_later_one_is_posted(
    store: AnyStore, caplog: pytest.LogCaptureFixture, second_taken: bool, tries: str
) -> None:
    """1 is parked, 2 is with the receiver, 3 is behind it when `retry --webhook` comes. Where 2 is refused, 1 goes
    before all that is not out yet; where it is taken, 1 is old and never posted again.
    """
    caplog.set_level(logging.INFO)
    gate = asyncio.Event()
    refused = {"1", "2"} if not second_taken else {"1"}
    receiver = Receiver(answer=lambda body: 500 if body["status"] in refused else 200)
    async with receiving(receiver):
        output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=(0.05,)))
        await start(store, output)
        await tell(store, change(1, "1"))
        async with running(output, store):
            await parked(store, [1])
            receiver.gate = gate
            await tell(store, change(1, "2"), change(1, "3"))
            await until(lambda: receiver.busy == 1, "the second is with the receiver")
            assert await asyncio.to_thread(place_of(store).retry_parked) == 1
            # That the third is in the book shows that the output has checked since.
            while not [d for d in await store.deliveries().undelivered(0, 10) if d.seq == 3]:
                await asyncio.sleep(0.01)
            refused.clear()
            gate.set()
            await asyncio.wait_for(delivered(store), 30)
    assert [body["status"] for body in receiver.tries] == tries.split()
    said = [record.getMessage() for record in caplog.records if "superseded" in record.getMessage()]
    assert said == ["output webhook: superseded by a later state and dropped: event 1 (message 1, 1)"] * second_taken


async def test_a_parked_event_is_superseded_by_a_later_one_about_the_same_and_by_nothing_else(
    store: AnyStore,
) -> None:
    """Of the same recipient, or the same account: what is left can be posted without reporting anything old."""
    refuse = True
    receiver = Receiver(answer=lambda _: 500 if refuse else 200)
    held = events.Held(account="default", reason="throttled", detail="", until=None, observed_at=events.instant(1.0))
    over = events.Recovered(account="default", reason="throttled", detail="", until=None, observed_at=held.observed_at)
    async with receiving(receiver):
        output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=(), all_events=True))
        await start(store, output)
        await tell(store, change(1, "ENROUTE"), change(1, "ENROUTE", msisdn=2), change(2, "ENROUTE"), held)
        async with running(output, store):
            await parked(store, [1, 2, 3, 4])
            refuse = False
            await tell(store, change(1, "DELIVERED"), over)
            await until(lambda: len(receiver.got) == 2, "the later ones")
            await parked(store, [2, 3])
            assert await asyncio.to_thread(place_of(store).retry_parked) == 2
            await asyncio.wait_for(delivered(store), 30)
    assert [(b["id"], b["msisdn"], b["status"]) for b in receiver.got[2:]] == [
        (1, 2, "ENROUTE"),
        (2, 4587654321, "ENROUTE"),
    ]


async def test_a_failed_later_event_waits_for_the_one_that_was_taken_up_again(store: AnyStore) -> None:
    """The post that was under way fails and is due sooner than the earlier one: it is not reported before it."""
    book = store.deliveries()
    deliveries = [
        Delivery(seq, "message.status", message, b"{}", "default", next_at=due)
        for seq, message, due in ((1, 1, 50.0), (2, 1, 10.0), (3, 2, 20.0), (4, 1, 5.0))
    ]
    await book.save(DeliveryChange(kept=deliveries, at=1.0))
    assert [d.seq for d in await book.due("default", 30.0, 1e12, 10)] == [3]
    assert await book.next_at("default") == 20.0
    await book.save(DeliveryChange(gone=[1], at=1.0))
    assert [d.seq for d in await book.due("default", 30.0, 1e12, 10)] == [2, 3]


@pytest.mark.parametrize("code", [429, 503])
async def test_a_receiver_is_not_asked_sooner_than_it_says(store: AnyStore, code: int) -> None:
    """Its own event waits as long as `Retry-After` says, those of other messages too, and no attempt is spent."""
    clock = SystemClock()
    receiver = Receiver(answer=lambda _: code, more={"Retry-After": "1800"})
    async with receiving(receiver), receiving() as other:
        routes = (WebhookRouteConfig(other.url, account="other"),)
        output = webhook(store, WebhookOutputConfig(receiver.url, routes=routes, retry_after=(0.01, 7200.0)))
        await start(store, output)
        await tell(store, change(1, "DELIVERED"))
        async with running(output, store):
            await until(lambda: "asks to wait 1800 s" in output.health.trouble, "it is said")
            await tell(store, change(2, "DELIVERED"), change(3, "DELIVERED", account="other"))
            await until(lambda: len(other.got) == 1, "another receiver is asked")
            while len(waiting := await store.deliveries().undelivered(0, 10)) < 2:
                await asyncio.sleep(0.01)
        assert [(d.message_id, d.attempts) for d in waiting] == [(1, 1), (2, 0)]
        assert waiting[0].next_at is not None
        assert abs(waiting[0].next_at - clock.now() - 1800) < 60
        assert len(receiver.tries) == 1


async def test_a_receivers_wish_does_not_shorten_the_schedule(store: AnyStore) -> None:
    clock = SystemClock()
    async with receiving(Receiver(answer=lambda _: 503, more={"Retry-After": "1"})) as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=(600.0,)))
        await start(store, output)
        await tell(store, change(1, "DELIVERED"))
        async with running(output, store):
            while not (waiting := await store.deliveries().undelivered(0, 1)):
                await asyncio.sleep(0.01)
    assert waiting[0].next_at is not None
    assert waiting[0].next_at - clock.now() > 500


async def test_every_secret_is_protected_before_it_signs(store: AnyStore, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    source = FileSecret(path, SecretKind.SIGNING, Origin("test", "secret_file"))
    known: list[str] = []
    async with receiving() as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url, source), protect=known.append)
        await start(store, output)
        async with running(output, store):
            await until(lambda: known == [SECRET], "the first one")
            path.write_text("another one altogether")
            output.reopen()
            assert known == [SECRET, "another one altogether"]


async def test_taken_up_again_by_a_command_after_the_clock_was_set_it_is_due_at_once(store: AnyStore) -> None:
    """The daemon's time is five days behind the wall clock's here, and the command has only that."""
    book, machine = store.deliveries(), Machine()
    await book.save(DeliveryChange(kept=[Delivery(1, "message.status", 1, b"{}", "default", DeliveryState.PARKED)]))
    own = machine.wall() - 5 * 86400.0
    await store.commit(Batch(notes=[(TIME_NOTE, Anchor(own, machine.clocks()).written())]))
    assert await asyncio.to_thread(place_of(store).retry_parked) == 1
    (waiting,) = await book.undelivered(0, 10)
    assert waiting.next_at == pytest.approx(own, abs=30.0)
