"""The webhook output against a real receiver: the vendor's post, retries, order, restarts, and who is posted to."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pollerd.config import WebhookOutputConfig, WebhookRouteConfig
from pollerd.config.secret import FileSecret, Origin, SecretKind
from pollerd.core import event as events
from pollerd.core.ports import DeliveryState
from pollerd.daemon.clock import SystemClock
from pollerd.outputs.webhook.output import WebhookOutput
from pollerd.store.sqlite import schema
from pollerd.store.sqlite.session import SqliteSession
from pollerd.store.undelivered import read_undelivered
from tests.integration.output_kit import running, until
from tests.integration.webhook_kit import SECRET, Receiver, change, flaky, free_port, receiving, secret, tell
from tests.sqlite_kit import autocommit
from tests.store_place import AnyStore, Place, place_of

STATES = ("BUFFERED", "ENROUTE", "DELIVERED")


@pytest.fixture
async def store(place: Place) -> AsyncIterator[AnyStore]:
    """An open store in either engine."""
    async with place.opened() as store:
        yield store


def webhook(store: AnyStore, settings: WebhookOutputConfig, **more: Any) -> WebhookOutput:
    return WebhookOutput(settings, store.deliveries(), SystemClock(), keep_parked=3600.0, **more)


async def start(store: AnyStore, output: WebhookOutput) -> None:
    """As the daemon does before the first event."""
    await output.prepare(store)


async def delivered(store: AnyStore) -> None:
    """Wait until nothing is left to post."""
    while True:
        cursor = await store.cursor("webhook")
        if cursor is not None and cursor.seq == store.last and not await store.deliveries().undelivered(0, 1):
            return
        await asyncio.sleep(0.01)


def orders(got: list[dict[str, Any]]) -> dict[int, list[str]]:
    """What was delivered about each message, in order, without repetitions."""
    told: dict[int, list[str]] = defaultdict(list)
    for body in got:
        if told[body["id"]][-1:] != [body["status"]]:
            told[body["id"]].append(body["status"])
    return told


async def test_the_post_is_the_vendors_and_its_token_carries_the_body(store: AnyStore) -> None:
    async with receiving() as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url, secret()))
        await start(store, output)
        await tell(store, change(5, "DELIVERED"), change(6, "UNDELIVERABLE", error="gone", code="0x1010", userref=None))
        async with running(output, store):
            await until(lambda: len(receiver.got) == 2, "two posts")
    assert sorted(receiver.got, key=lambda body: int(body["id"])) == [
        {
            "id": 5, "msisdn": 4587654321, "time": 1764000042, "status": "DELIVERED", "error": None, "code": None,
            "userref": "order-5", "country_code": "DK", "country_prefix": 45,
        },
        {
            "id": 6, "msisdn": 4587654321, "time": 1764000042, "status": "UNDELIVERABLE", "error": "gone",
            "code": "0x1010", "userref": None, "country_code": "DK", "country_prefix": 45,
        },
    ]  # fmt: skip
    assert receiver.headers[0]["Content-Type"] == "application/json"


async def test_without_a_secret_nothing_is_signed_and_a_charge_is_reported(store: AnyStore) -> None:
    async with receiving() as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url))
        await start(store, output)
        await tell(store, change(5, "DELIVERED", charge_status="CAPTURED"))
        async with running(output, store):
            await until(lambda: len(receiver.got) == 1, "a post")
    assert "X-Gwapi-Signature" not in receiver.headers[0]
    assert receiver.got[0]["charge_status"] == "CAPTURED"


@pytest.mark.parametrize(("all_events", "expected"), [(False, 0), (True, 2)])
async def test_other_events_are_posted_whole_and_only_when_asked_for(
    store: AnyStore, all_events: bool, expected: int
) -> None:
    completed = events.Completed(
        id=5, account="default", userref=None, counts={"DELIVERED": 1}, polls=2, observed_at=events.instant(1.0)
    )
    low = events.CreditLow(account="default", credit=1.5, currency="DKK", observed_at=events.instant(2.0))
    async with receiving() as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url, secret(), all_events=all_events))
        await start(store, output)
        await tell(store, completed, low, change(6, "DELIVERED"))
        async with running(output, store):
            await until(lambda: output.health.seq == 3, "all events")
    whole = [body for body in receiver.got if "type" in body]
    assert len(whole) == expected
    assert len(receiver.got) == expected + 1
    if all_events:
        assert {body["type"]: body["seq"] for body in whole} == {"message.completed": 1, "account.credit_low": 3}
        assert whole[0]["counts"] == {"DELIVERED": 1}


async def test_a_new_webhook_begins_with_what_happens_from_then_on(store: AnyStore) -> None:
    async with receiving() as receiver:
        await tell(store, change(1, "DELIVERED"))
        output = webhook(store, WebhookOutputConfig(receiver.url))
        await start(store, output)
        await tell(store, change(2, "DELIVERED"))
        async with running(output, store):
            await until(lambda: len(receiver.got) == 1, "a post")
        assert [body["id"] for body in receiver.got] == [2]


async def test_refused_events_come_again_on_schedule_then_are_parked_and_can_be_taken_up(store: AnyStore) -> None:
    down = True
    receiver = Receiver(answer=lambda body: 500 if down and body["id"] == 1 else 200)
    async with receiving(receiver):
        output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=(0.05, 0.1)))
        await start(store, output)
        await tell(store, change(1, "ENROUTE"), change(2, "ENROUTE"), change(1, "DELIVERED"))
        async with running(output, store):
            await until(lambda: len([b for b in receiver.tries if b["id"] == 1]) == 6, "three attempts of each")
            while (await store.cursor("webhook")).seq < 3 or await store.deliveries().blocked([1]):  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
            parked = await store.deliveries().undelivered(0, 10)
            assert [(d.seq, d.state, d.attempts, d.error) for d in parked] == [
                (1, DeliveryState.PARKED, 3, "answered 500"),
                (3, DeliveryState.PARKED, 3, "answered 500"),
            ]
            # Its second event had its own attempts after the first was parked, not before.
            assert [b["status"] for b in receiver.tries if b["id"] == 1] == ["ENROUTE"] * 3 + ["DELIVERED"] * 3
            with place_of(store).view() as view:
                overview = view.overview(1.0)
                assert (overview.waiting, overview.parked) == (0, 2)
                assert [d.seq for d in view.undelivered(1, "webhook", 10)] == [3]
            down = False
            assert await asyncio.to_thread(place_of(store).retry_parked) == 2
            await delivered(store)
    assert [b["status"] for b in receiver.got if b["id"] == 1] == ["ENROUTE", "DELIVERED"]


async def test_the_vendors_schedule_is_the_default_and_is_written_down(store: AnyStore) -> None:
    clock = SystemClock()
    async with receiving(Receiver(answer=lambda _: 500)) as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url))
        await start(store, output)
        await tell(store, change(1, "ENROUTE"))
        for attempt, seconds in enumerate((60, 120, 360, 1440, 7200, 43200), 1):
            async with running(output, store):
                await until(lambda: len(receiver.tries) == attempt, f"attempt {attempt}")  # noqa: B023 - awaited here
                while not (waiting := await store.deliveries().undelivered(0, 1)) or waiting[0].attempts < attempt:
                    await asyncio.sleep(0.01)
            assert waiting[0].next_at is not None
            assert abs(waiting[0].next_at - clock.now() - seconds) < 20
            place_of(store).execute("UPDATE deliveries SET next_at = 1")
        async with running(output, store):
            await until(lambda: len(receiver.tries) == 7, "the last attempt")
            while (await store.deliveries().undelivered(0, 1))[0].state is not DeliveryState.PARKED:
                await asyncio.sleep(0.01)


async def test_a_message_waits_for_its_own_event_and_no_other_does(store: AnyStore) -> None:
    receiver = Receiver(answer=lambda body: 500 if body["id"] == 1 else 200)
    async with receiving(receiver):
        output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=(3600.0,)))
        await start(store, output)
        for state in STATES:
            await tell(store, *(change(message, state) for message in range(1, 6)))
        async with running(output, store):
            await until(lambda: len(receiver.got) == 12, "all of the others")
            await tell(store, change(1, "LATER"), change(2, "LATER"))
            await until(lambda: len(receiver.got) == 13, "one more")
        assert [b["status"] for b in receiver.tries if b["id"] == 1] == ["BUFFERED"]
        waiting = await store.deliveries().undelivered(0, 10)
        assert [(d.message_id, d.attempts, d.next_at is None) for d in waiting] == [
            (1, 1, False),
            (1, 0, True),
            (1, 0, True),
            (1, 0, True),
        ]


@pytest.mark.parametrize("seed", range(3))
async def test_all_arrives_in_order_through_failures_and_restarts(store: AnyStore, seed: int) -> None:
    rng = random.Random(seed)
    async with receiving(Receiver(answer=flaky(0.3, seed))) as receiver:
        settings = WebhookOutputConfig(receiver.url, secret(), retry_after=(0.01, 0.02, *[0.05] * 18))
        await start(store, webhook(store, settings))
        for state in STATES:
            await tell(store, *(change(message, state) for message in range(1, 101)))
        for _ in range(6):
            output = webhook(store, settings)
            task = asyncio.create_task(output.run(store))
            enough = len(receiver.tries) + rng.randrange(40)
            await until(lambda: len(receiver.tries) >= enough or task.done(), "some posts")  # noqa: B023 - awaited here
            task.cancel()
            await asyncio.wait({task})
        async with running(webhook(store, settings), store):
            await asyncio.wait_for(delivered(store), 60)
    assert orders(receiver.got) == {message: list(STATES) for message in range(1, 101)}


def test_what_older_versions_parked_and_later_states_overtook_is_dropped_by_the_migration(tmp_path: Path) -> None:
    """1 is old, 2 is of another recipient, 3's successor waits itself, 4's is not posted yet."""
    path = tmp_path / "pollerd.db"
    schema.prepare(path).close()
    with autocommit(path) as database:
        told = [change(1, "ENROUTE"), change(1, "ENROUTE", msisdn=2), change(2, "ENROUTE"), change(3, "ENROUTE"),
                change(1, "DELIVERED"), change(2, "DELIVERED"), change(3, "DELIVERED")]  # fmt: skip
        for seq, body in enumerate(told, 1):
            row = (seq, events.MESSAGE_STATUS, body.id, events.encode(body))
            database.execute("INSERT INTO events (seq, type, message_id, at, body) VALUES (?, ?, ?, 1.0, ?)", row)
            if seq in (1, 2, 3, 4, 6):
                database.execute(
                    "INSERT INTO deliveries VALUES (?, ?, ?, ?, 'default', ?, 7, NULL, 'x', 1.0)", (*row, int(seq < 5))
                )
        database.execute("INSERT INTO outputs VALUES ('webhook', 6, '', 1.0)")
        database.execute("DROP INDEX deliveries_parked_message")
        (step,) = [step for step in schema.migrations() if step.path.name.endswith("_superseded.sql")]
        database.executescript(step.path.read_text())
        assert [d.seq for d in read_undelivered(SqliteSession(database), 0, 10)] == [2, 3, 4, 6]


async def test_a_dead_receiver_is_not_hammered_and_gets_all_when_it_is_back(
    store: AnyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver = Receiver(port=free_port())
    output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=(0.2,) * 20))
    await start(store, output)
    for start_id in range(1, 5001, 1000):
        await tell(store, *(change(message, "DELIVERED") for message in range(start_id, start_id + 1000)))
    async with running(output, store):
        await until(lambda: "cannot be connected to" in output.health.trouble, "trouble")
        waiting = await store.deliveries().undelivered(0, 10_000)
        assert len(waiting) < 600
        async with receiving(receiver):
            await asyncio.wait_for(delivered(store), 60)
        assert output.health.trouble == ""
    assert {body["id"] for body in receiver.got} == set(range(1, 5001))
    assert receiver.most <= 4
    said = [record.getMessage() for record in caplog.records if "pollerd.outputs" in record.name]
    assert len(said) == 2, said


async def test_routes_lead_to_their_own_receivers_and_a_dead_one_holds_up_no_other(store: AnyStore) -> None:
    async with receiving() as one, receiving(Receiver(secret="two's")) as two:
        dead = f"http://127.0.0.1:{free_port()}/"
        routes = (
            WebhookRouteConfig(two.url, userref_prefix="shop-", secret=secret("two's")),
            WebhookRouteConfig(dead, userref_prefix="dead-"),
            WebhookRouteConfig(two.url, account="other", secret=secret("two's")),
        )
        settings = WebhookOutputConfig(one.url, secret(), routes=routes, retry_after=(0.2,) * 20)
        await start(store, webhook(store, settings))
        told = []
        for message in range(1, 2001):
            prefix = ("shop-", "dead-", "", "")[message % 4]
            account = "other" if message % 4 == 3 else "default"
            told.append(change(message, "DELIVERED", userref=f"{prefix}{message}", account=account))
        await tell(store, *told)
        async with running(webhook(store, settings), store):
            await until(lambda: len(one.got) == 500 and len(two.got) == 1000, "all for the living")
        assert {body["id"] % 4 for body in one.got} == {2}
        assert {body["id"] % 4 for body in two.got} == {0, 3}
        # The dead one's route is taken away: what waited goes to the default.
        settings = replace(settings, routes=(routes[0], routes[2]))
        async with running(webhook(store, settings), store):
            await asyncio.wait_for(delivered(store), 60)
        assert {body["id"] % 4 for body in one.got} == {1, 2}
        assert len({body["id"] for body in one.got}) == 1000


async def test_redirects_are_not_followed(store: AnyStore) -> None:
    async with receiving(Receiver(answer=lambda _: 307)) as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url, retry_after=()))
        await start(store, output)
        await tell(store, change(1, "DELIVERED"))
        async with running(output, store):
            while not (parked := await store.deliveries().undelivered(0, 1)):
                await asyncio.sleep(0.01)
    assert parked[0].error == "answered 307 (redirects are not followed)"
    assert len(receiver.tries) == 1


@pytest.mark.parametrize("address", ["203.0.113.7", "169.254.169.254", "2001:db8::1", "::ffff:203.0.113.7"])
async def test_a_name_that_leads_outside_is_judged_when_connected_to(
    store: AnyStore, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    place = (address, 80, 0, 0) if ":" in address else (address, 80)
    answer = [(family, socket.SOCK_STREAM, 6, "", place)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    output = webhook(store, WebhookOutputConfig("http://inside.example/", retry_after=()))
    await start(store, output)
    await tell(store, change(1, "DELIVERED"))
    async with running(output, store):
        while not (parked := await store.deliveries().undelivered(0, 1)):
            await asyncio.sleep(0.01)
    assert "neither a loopback nor a private address; set allow_remote = true" in parked[0].error


async def test_the_environments_proxy_has_no_say(store: AnyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with receiving() as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url))
        await start(store, output)
        await tell(store, change(1, "DELIVERED"))
        async with running(output, store):
            await until(lambda: len(receiver.got) == 1, "a post")


async def test_a_replaced_secret_is_used_and_a_broken_one_is_not(store: AnyStore, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    source = FileSecret(path, SecretKind.SIGNING, Origin("test", "secret_file"))
    async with receiving() as receiver:
        output = webhook(store, WebhookOutputConfig(receiver.url, source))
        await start(store, output)
        async with running(output, store):
            await tell(store, change(1, "DELIVERED"))
            await until(lambda: len(receiver.got) == 1, "a post")
            receiver.secret = "the new one, which is longer"
            path.write_text(receiver.secret)
            output.reopen()
            await tell(store, change(2, "DELIVERED"))
            await until(lambda: len(receiver.got) == 2, "a post with the new secret")
            path.write_text("")
            output.reopen()
            await tell(store, change(3, "DELIVERED"))
            await until(lambda: len(receiver.got) == 3, "a post with the last good secret")


async def test_a_receiver_that_does_not_answer_has_its_time_and_delays_nobody_else(store: AnyStore) -> None:
    receiver = Receiver(gate=asyncio.Event())
    async with receiving(receiver), receiving() as other:
        routes = (WebhookRouteConfig(other.url, account="other"),)
        output = webhook(store, WebhookOutputConfig(receiver.url, routes=routes, retry_after=(3600.0,)), timeout=0.2)
        await start(store, output)
        await tell(store, *(change(message, "DELIVERED") for message in range(1, 4)))
        await tell(store, *(change(message, "DELIVERED", account="other") for message in range(4, 300)))
        async with running(output, store):
            await until(lambda: len(other.got) == 296, "the other's")
            while len(waiting := [d for d in await store.deliveries().undelivered(0, 10) if d.message_id < 4]) < 3:
                await asyncio.sleep(0.01)
    assert {d.error for d in waiting} == {"no answer within 0.2 s"}
