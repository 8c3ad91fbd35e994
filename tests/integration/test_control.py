"""The control socket of a whole daemon: every route, every refusal, and a stop that waits for nobody."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest

from pollerd.config import load
from pollerd.core.event import JUMP
from pollerd.daemon.app import App
from pollerd.server.api import server
from pollerd.server.api.openapi import document
from pollerd.simulator import Step
from tests.acceptance.waiting import PATIENCE
from tests.integration.control_kit import Daemon, Reply, daemon, stream, write_config
from tests.sqlite_kit import autocommit
from tests.store_database import StoreDatabase
from tests.store_place import Place

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def keys(engine: StoreDatabase | None) -> str:
    """Those of [store], where it is in PostgreSQL."""
    return "" if engine is None else engine.toml


def pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", path))


def check(method: str, path: str, reply: Reply) -> Reply:
    """The answer is what the OpenAPI document says."""
    api = document("1")
    place = next(found for found in api["paths"] if pattern(found).fullmatch(path.partition("?")[0]))
    answers = api["paths"][place][method.lower()]["responses"]
    assert str(reply.status) in answers, (method, path, reply)
    kind, content = next(iter(answers[str(reply.status)]["content"].items()))
    assert reply.headers["Content-Type"].partition(";")[0] == kind
    schema = {**content["schema"], "components": api["components"]}
    values: list[Any] = reply.lines if kind == "application/x-ndjson" else [reply.body.decode()]
    for value in [reply.json] if kind == "application/json" else values:
        jsonschema.Draft202012Validator(schema).validate(value)
    return reply


async def test_the_openapi_document_is_valid_and_names_every_route(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        api = (await running.get("/openapi.json")).json
        assert api == document(api["info"]["version"])
        for name, schema in api["components"]["schemas"].items():
            jsonschema.Draft202012Validator.check_schema(schema), name
        assert running.app.daemon is not None
        made = running.app.daemon.control._control()
        routes = {(route.method.lower(), route.resource.canonical) for route in made.router.routes() if route.resource}
        assert routes == {(method, path) for path, methods in api["paths"].items() for method in methods}


async def test_every_answer_is_what_the_document_says(tmp_path: Path, keys: str) -> None:
    async with daemon(tmp_path, store=keys) as running:

        async def ask(method: str, path: str, body: Any, status: int) -> Reply:
            reply = check(method, path, await running.ask(method, path, body))
            assert reply.status == status, reply
            return reply

        for wait in (7200, 0):
            running.simulator.truth.add(50 + wait, steps=[Step(wait * 3000.0, "DELIVERED", None)])
        assert (await ask("POST", "/messages", {"ids": [50, 7250]}, 200)).json["tracked"] == 2
        await ask("POST", "/messages", {"ids": [50, -1]}, 200)
        await ask("POST", "/messages", {"ids": [ULID]}, 422)
        many = (await ask("POST", "/messages", {"ids": [ULID] * 5000}, 422)).json
        assert (len(many["refused"]), many["refused_count"]) == (100, 5000)
        await ask("POST", "/messages", b"{", 400)
        await ask("POST", "/messages", b"[" + b"1," * server.BODY, 413)
        await running.ended(50)
        for path in ("", "?limit=1", "?state=pending", "?state=finished&limit=1", "?state=gave_up"):
            await ask("GET", f"/messages{path}", None, 200)
        for path in ("?limit=0", "?limit=1001", "?state=new", "?after=x", "?foo=1", "?limit=1&limit=2"):
            await ask("GET", f"/messages{path}", None, 400)
        await ask("GET", "/messages/50", None, 200)
        await ask("GET", "/messages/51", None, 404)
        await ask("GET", f"/messages/{ULID}", None, 400)
        await ask("POST", "/messages/50/poll", None, 409)
        await ask("POST", "/messages/7250/poll", None, 200)
        await ask("POST", "/messages/51/poll", None, 404)
        await ask("POST", "/messages/50/retry", None, 409)
        await ask("POST", "/messages/7250/retry", None, 200)
        await ask("DELETE", "/messages/50", None, 409)
        assert (await ask("DELETE", "/messages/7250", None, 200)).json["state"] == "gave_up"
        await ask("DELETE", "/messages/7250", None, 409)
        await ask("POST", "/messages/7250/poll", None, 409)
        assert (await ask("POST", "/messages/7250/retry", None, 200)).json["state"] == "pending"
        assert (await ask("POST", "/undelivered/retry", None, 200)).json == {"taken_up": 0}
        await ask("POST", "/undelivered/retry?x=1", None, 400)
        await ask("GET", "/events", None, 200)
        await ask("GET", "/events?after=now&type=message.status&id=50", None, 200)
        for path in ("?after=-1", "?after=x", "?follow=2", "?id=0", "?type=x", "?limit=0", "?folow=1"):
            await ask("GET", f"/events{path}", None, 400)
        for path in ("/status", "/metrics", "/healthz", "/openapi.json"):
            await ask("GET", path, None, 200)
            await ask("GET", f"{path}?x=1", None, 400)


async def test_paths_and_methods_nobody_knows(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        for path in ("/", "/nothing", "/messages/1/2/3", "/messages/"):
            reply = await running.get(path)
            assert (reply.status, reply.reason) == (404, "not_found")
        reply = await running.ask("PUT", "/messages")
        assert (reply.status, reply.reason, reply.headers["Allow"]) == (405, "method_not_allowed", "GET,POST")
        reply = await running.ask("HEAD", "/events?follow=1")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET")


async def test_what_is_handed_over_is_polled_at_once_and_known_the_second_time(tmp_path: Path, keys: str) -> None:
    async with daemon(tmp_path, store=keys) as running:
        running.simulator.truth.add(1, steps=[Step(0.0, "DELIVERED", None)])
        answer = (await running.ask("POST", "/messages", [{"id": 1, "userref": "o-1"}, 2, {"ids": [3]}, 3])).json
        assert answer == {"tracked": 3, "known": 1, "given_up": 0, "refused_count": 0, "refused": []}
        await running.ended(1)
        found = (await running.get("/messages/1")).json
        assert (found["userref"], found["account"]) == ("o-1", "default")
        assert "message" not in found
        answer = (await running.ask("POST", "/messages", {"ids": [1, 2, 3]})).json
        assert answer == {"tracked": 0, "known": 3, "given_up": 0, "refused_count": 0, "refused": []}


async def test_untracked_messages_are_counted_as_given_up_and_end_in_one_event(tmp_path: Path, keys: str) -> None:
    async with daemon(tmp_path, store=keys, speed=1.0) as running:
        await running.ask("POST", "/messages", {"ids": [1]})
        answers = await asyncio.gather(*(running.ask("DELETE", "/messages/1") for _ in range(10)))
        assert {answer.status for answer in answers} <= {200, 409}
        assert (await running.get("/messages/1")).json["state"] == "gave_up"
        told = (await running.get("/events?id=1&type=message.gave_up")).lines
        assert [event["reason"] for event in told] == ["untracked"]
        assert (await running.ask("POST", "/messages", {"ids": [1]})).json["given_up"] == 1


async def test_a_hundred_thousand_ids_in_one_request(tmp_path: Path, keys: str, place: Place) -> None:
    async with daemon(tmp_path, store=keys, speed=1.0, more='[credit]\ncheck_every = "1h"\n') as running:
        answer = (await running.ask("POST", "/messages", {"ids": list(range(1, 100_001))})).json
        assert (answer["tracked"], answer["refused"]) == (100_000, [])
        assert place.execute("SELECT count(*) FROM messages") == [(100_000,)]


@pytest.mark.parametrize("state", ["", "&state=pending"])
async def test_pages_show_every_message_once(tmp_path: Path, keys: str, state: str) -> None:
    async with daemon(tmp_path, store=keys, speed=0.001) as running:
        await running.ask("POST", "/messages", {"ids": list(range(1, 51))})
        found: list[int] = []
        after = ""
        for _ in range(100):
            page = (await running.get(f"/messages?limit=7{state}{after}")).json
            found += [message["id"] for message in page["messages"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        # A pending message that is polled meanwhile may be shown again; none is left out.
        assert set(found) == set(range(1, 51))
        assert state or len(found) == 50


async def test_pages_of_what_has_ended(tmp_path: Path, keys: str) -> None:
    async with daemon(tmp_path, store=keys) as running:
        await running.follow(*range(1, 31))
        await running.ended(*range(1, 31))
        for message_id in range(1, 31):
            assert (await running.get(f"/messages/{message_id}")).json["state"] == "finished"
        found: list[int] = []
        path: str | None = "/messages?state=finished&limit=10"
        while path is not None:
            page = (await running.get(path)).json
            found += [message["id"] for message in page["messages"]]
            path = None if page["next"] is None else f"/messages?state=finished&limit=10&after={page['next']}"
        assert sorted(found) == list(range(1, 31))


async def test_the_stream_replays_and_follows_without_a_gap(tmp_path: Path, keys: str) -> None:
    async with daemon(tmp_path, store=keys) as running:
        await running.follow(*range(1, 21))
        await running.ended(*range(1, 21))
        told = (await running.get("/events")).lines
        assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
        assert told == (await running.get("/events?after=0")).lines
        assert (await running.get("/events?after=5&limit=3")).lines == told[5:8]
        assert (await running.get("/events?id=7")).lines == [event for event in told if event["id"] == 7]
        wanted = [event for event in told if event["type"] == "message.completed"]
        assert (await running.get("/events?type=message.completed")).lines == wanted
        reply = await running.get("/events?after=now")
        assert (reply.lines, reply.headers["Pollerd-Last-Seq"]) == ([], str(len(told)))
        async with running.session.get(f"http://localhost/events?after=3&follow=1&limit={len(told)}") as response:
            await running.follow(*range(21, 31))
            seen = [event["seq"] async for event in stream(response)]
        assert seen == list(range(4, len(told) + 4))


async def test_a_reader_that_follows_one_message_hears_of_it_as_it_happens(tmp_path: Path, keys: str) -> None:
    async with (
        daemon(tmp_path, store=keys) as running,
        running.session.get("http://localhost/events?follow=1&id=5") as response,
    ):
        assert (await running.get("/status")).json["followers"] == 1
        await running.follow(4, 5, 6)
        async with asyncio.timeout(PATIENCE):
            async for event in stream(response):
                assert event["id"] == 5
                if event["type"] == "message.completed":
                    break


async def test_who_comes_by_numbers_that_were_left_out_gets_a_gap(tmp_path: Path) -> None:
    """At once and following, from before them and from one that was lost; a limit counts events alone."""
    async with daemon(tmp_path) as running:
        await running.follow(1)
        await running.ended(1)
        last = int((await running.get("/events?after=now")).headers["Pollerd-Last-Seq"])
    with autocommit(tmp_path / "pollerd.db") as db:
        db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'events'", (JUMP,))
    async with daemon(tmp_path) as running:
        await running.follow(2)
        await running.ended(2)
        first = last + JUMP + 1
        for place in (last, last + 5):
            told = (await running.get(f"/events?after={place}")).lines
            assert told[0] == {"type": "gap", "after": place, "first": first}
            assert told[1]["seq"] == first
        whole = (await running.get("/events?after=0")).lines
        assert [event.get("seq") for event in whole[: last + 2]] == [*range(1, last + 1), None, first]
        async with running.session.get(f"http://localhost/events?after=0&follow=1&limit={last + 1}") as response:
            assert [event async for event in stream(response)] == whole[: last + 2]
        assert all("seq" in event for event in (await running.get("/events?after=0&id=2")).lines)


async def test_who_asks_for_deleted_events_gets_a_gap(tmp_path: Path, keys: str, place: Place) -> None:
    async with daemon(tmp_path, store=keys) as running:
        await running.follow(1, 2, 3)
        await running.ended(1, 2, 3)
        last = int((await running.get("/events?after=now")).headers["Pollerd-Last-Seq"])
    place.execute("DELETE FROM events WHERE seq <= 2")
    async with daemon(tmp_path, store=keys) as running:
        gap = {"type": "gap", "after": 1, "first": 3}
        told = (await running.get("/events?after=1")).lines
        assert told[0] == gap
        assert [event["seq"] for event in told[1:]] == list(range(3, last + 1))
        assert (await running.get("/events?after=1&type=message.gave_up")).lines == [gap]
        assert [event["seq"] for event in (await running.get("/events")).lines] == list(range(3, last + 1))
        async with running.session.get("http://localhost/events?after=1&follow=1&limit=1") as response:
            assert [event async for event in stream(response)] == told[:2]


async def test_stop_waits_for_no_reader_and_leaves_no_socket(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        responses = [await running.session.get("http://localhost/events?follow=1") for _ in range(5)]
        # One that never reads: its connection fills up.
        _, stuck = await asyncio.open_unix_connection(str(running.socket))
        stuck.write(b"GET /events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await running.follow(*range(1, 501))
        await running.ended(1)
        left = running.socket
        running.app.stop()
        for response in responses:
            # The stream ends as a stream should, with its last chunk.
            assert [event["seq"] async for event in stream(response)][:1] == [1]
        stuck.close()
    assert not left.exists()


async def test_the_socket_is_for_user_and_group_and_bound_again_when_removed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        assert stat.S_IMODE(running.socket.stat().st_mode) == 0o660
        async with running.session.get("http://localhost/events?follow=1") as response:
            running.socket.unlink()
            running.app.reload()
            async with asyncio.timeout(PATIENCE):
                while not running.socket.exists():
                    await asyncio.sleep(0.01)
            connector = aiohttp.UnixConnector(str(running.socket))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://localhost/healthz") as again,
            ):
                assert again.status == 200
            await running.ask("POST", "/messages", {"ids": [1]})
            # Who was connected still is.
            assert (await anext(stream(response)))["seq"] == 1


async def test_a_path_that_is_taken_is_said_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "control.sock"
    path.write_text("mine")
    async with daemon(tmp_path) as running:
        assert any("is not a socket" in record.getMessage() for record in caplog.records)
        path.unlink()
        running.app.reload()
        async with asyncio.timeout(PATIENCE):
            while not path.exists():
                await asyncio.sleep(0.01)
        assert (await running.get("/healthz")).status == 200


async def test_status_shows_warnings_holds_and_outputs(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        logging.getLogger("somebody").warning("the token is %s", "simulator-demo", extra={"event": "leak"})
        running.simulator.faults.set("401")
        await running.ask("POST", "/messages", {"ids": [1]})
        async with asyncio.timeout(PATIENCE):
            while (found := (await running.get("/status")).json)["accounts"][0]["state"] != "held":
                await asyncio.sleep(0.02)
        assert found["accounts"][0]["hold"]["reason"] == "unauthorized"
        assert [output["name"] for output in found["outputs"]] == ["file", "socket"]
        # Just handed over, it may be new; it is pending all the same, as for `list --state pending`.
        assert found["messages"]["pending"] == 1
        assert found["pid"] == os.getpid()
        (leak,) = (entry for entry in found["log"] if entry["event"] == "leak")
        assert leak["message"] == "the token is ***"
        assert "simulator-demo" not in str(found)
        # A hold is the gateway's affair: the daemon itself is well.
        assert (await running.get("/healthz")).json == {"status": "ok"}


async def test_a_database_that_cannot_be_written_is_503(tmp_path: Path) -> None:
    async with daemon(tmp_path, speed=1.0) as running:
        await running.ask("POST", "/messages", {"ids": [1]})
        with autocommit(running.database) as other:
            other.execute("BEGIN IMMEDIATE")
            for refused in await asyncio.gather(
                running.ask("POST", "/messages", {"ids": [2]}), running.ask("DELETE", "/messages/1")
            ):
                assert (refused.status, refused.reason) == (503, "database_unavailable")
            await until_health(running, 503)
            assert check("GET", "/healthz", await running.get("/healthz")).reason == "database_unavailable"
            status = check("GET", "/status", await running.get("/status")).json
            assert status["database"]["trouble"] == status["problem"] != ""
            other.execute("ROLLBACK")
        await until_health(running, 200)
        assert (await running.ask("DELETE", "/messages/1")).status in (200, 409)
        assert (await running.get("/messages/1")).json["state"] == "gave_up"
        assert (await running.ask("POST", "/messages", {"ids": [2]})).json["tracked"] == 1


async def until_health(running: Daemon, status: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await running.get("/healthz")).status != status:
            await asyncio.sleep(0.05)


async def test_sources_and_undelivered_events_are_shown(tmp_path: Path) -> None:
    """A foreign database that is missing, then there; a webhook that refuses until its events are parked."""
    shop = tmp_path / "shop.db"
    more = (
        f'[[sources.sqlite]]\npath = "{shop}"\nquery = "SELECT id FROM sms"\nevery = "100ms"\n'
        '[outputs.webhook]\nurl = "http://127.0.0.1:1/"\nretry_after = []\n'
    )
    async with daemon(tmp_path, more=more) as running:

        async def shown(*wanted: Any) -> None:
            async with asyncio.timeout(PATIENCE):
                while True:
                    found = check("GET", "/status", await running.get("/status")).json
                    metrics = (await running.get("/metrics")).body.decode()
                    (source,) = found["sources"]
                    up = f'pollerd_source_up{{source="sqlite {shop}"}} '
                    told = (bool(source["trouble"]), found["undelivered"]["parked"])
                    if told == wanted and f"{up}{float(not wanted[0])}\n" in metrics:
                        assert source["name"] == f"sqlite {shop}"
                        assert f'pollerd_undelivered_events{{state="parked"}} {float(wanted[1])}\n' in metrics
                        return
                    await asyncio.sleep(0.05)

        await shown(True, 0)
        with autocommit(tmp_path / "made.db") as made:
            made.execute("CREATE TABLE sms (id)")
            made.execute("INSERT INTO sms VALUES (1)")
        running.simulator.truth.add(1, steps=[Step(0.0, "DELIVERED", None)])
        (tmp_path / "made.db").rename(shop)
        await shown(False, 1)


async def test_a_daemon_without_a_control_socket_runs_and_stops(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    path = write_config(tmp_path, "http://127.0.0.1:9")
    text = path.read_text().replace(f'[control]\nsocket = "{tmp_path}/control.sock"\n', "")
    path.write_text(text.replace(f"{tmp_path}/pollerd.db", f"{deep}/pollerd.db"))
    config = load(path, {})
    assert config.control.socket is None
    app = App(config)
    running = asyncio.create_task(app.run())
    await app.started.wait()
    app.stop()
    await running
    assert (deep / "pollerd.db").exists()
