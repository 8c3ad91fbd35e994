"""`GET /messages/ID?wait=`: answered when the message ends, when the time is over, or when the daemon stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pollerd.core import event as events
from pollerd.core.diff import Result
from pollerd.core.model import Message, State
from pollerd.core.ports import Batch
from pollerd.server.api.endings import Endings
from pollerd.server.api.messages import WAIT_MOST
from pollerd.server.api.stream import Feed
from pollerd.simulator import Step
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.control_kit import Daemon, daemon
from tests.integration.output_kit import commit, until
from tests.integration.test_control import check

PENDING, SOON = 51, 52


def waiters(running: Daemon) -> int:
    assert running.app.daemon is not None
    return running.app.daemon.control._feed._readers


async def test_what_waits_is_answered_when_the_message_ends(tmp_path: Path) -> None:
    """Many who wait for one message, one that ends by a person's hand, and what ends no wait."""
    async with daemon(tmp_path) as running:
        running.simulator.truth.add(PENDING, steps=[Step(1e9, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [PENDING]})
        await running.state(PENDING, "pending")
        path = f"/messages/{PENDING}?wait={WAIT_MOST}"
        waiting = [asyncio.create_task(running.get(path)) for _ in range(200)]
        await until(lambda: waiters(running) == 200, "all of them wait")
        await running.follow(SOON)
        ended = check("GET", f"/messages/{SOON}", await running.get(f"/messages/{SOON}?wait=60")).json
        assert ended["state"] == "finished"
        assert [each["status"] for each in ended["recipients"]] == ["DELIVERED"]
        assert (await running.get(f"/messages/{SOON}?wait={WAIT_MOST}")).json == ended, "it has ended already"
        assert not any(task.done() for task in waiting)
        assert (await running.ask("DELETE", f"/messages/{PENDING}")).status == 200
        replies = await asyncio.gather(*waiting)
        assert {reply.status for reply in replies} == {200}
        assert {reply.json["state"] for reply in replies} == {"gave_up"}
        assert waiters(running) == 0


async def test_what_is_not_waited_for(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        running.simulator.truth.add(PENDING, steps=[Step(1e9, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [PENDING]})
        for query in ("", "?wait=0", "?wait=1"):
            reply = check("GET", f"/messages/{PENDING}", await running.get(f"/messages/{PENDING}{query}"))
            assert (reply.status, reply.json["state"]) == (200, "pending")
        assert (await running.get("/messages/77?wait=60")).reason == "not_followed"
        for wrong in ("-1", "1.5", "soon", "", str(WAIT_MOST + 1), "60s"):
            assert (await running.get(f"/messages/{PENDING}?wait={wrong}")).reason == "bad_query"
        assert (await running.get(f"/messages/{PENDING}?wait=1&wait=2")).reason == "bad_query"


async def test_a_client_that_goes_waits_no_longer(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        running.simulator.truth.add(PENDING, steps=[Step(1e9, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [PENDING]})
        waiting = asyncio.create_task(running.get(f"/messages/{PENDING}?wait={WAIT_MOST}"))
        await until(lambda: waiters(running) == 1, "it waits")
        waiting.cancel()
        await until(lambda: waiters(running) == 0, "it has gone")


async def test_a_stop_of_the_daemon_ends_the_wait(tmp_path: Path) -> None:
    """With the message as it is: nobody is left with a broken connection."""
    async with daemon(tmp_path) as running:
        running.simulator.truth.add(PENDING, steps=[Step(1e9, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [PENDING]})
        waiting = [asyncio.create_task(running.get(f"/messages/{PENDING}?wait={WAIT_MOST}")) for _ in range(20)]
        await until(lambda: waiters(running) == 20, "they wait")
        running.app.stop()
        replies = await asyncio.gather(*waiting)
    assert {(reply.status, reply.json["state"]) for reply in replies} == {(200, "pending")}


async def test_only_the_end_of_the_message_wakes_those_who_wait_for_it(store: SqliteStore) -> None:
    """Other messages' events, and states that end nothing, cost them nothing."""

    def ended(message_id: int) -> Result:
        body = events.Completed(
            id=message_id, account="default", userref=None, counts={"DELIVERED": 1}, polls=1, observed_at=""
        )
        return Result(Message(message_id, "default", 1.0, 1.0, state=State.FINISHED), (body,))

    feed = Feed(store, most=10)
    endings = Endings(feed)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(endings.run())]
    with endings.of(10**6) as changed, endings.of(10**6 + 1) as other:
        await commit(store, 1500)
        await store.commit(Batch(results=[ended(5), ended(10**6 + 1)], at=0.0))
        await asyncio.wait_for(other.wait(), 30)
        assert not changed.is_set()
        await store.commit(Batch(results=[ended(10**6)], at=0.0))
        await asyncio.wait_for(changed.wait(), 30)
        changed.clear()
        endings.stop()
        assert changed.is_set()
    await asyncio.wait_for(tasks[1], 30)
    tasks[0].cancel()
    await asyncio.wait(tasks)
