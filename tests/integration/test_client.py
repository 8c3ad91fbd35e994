"""`import pollerd`: with a daemon, without one, through the database and through the control socket."""

from __future__ import annotations

import asyncio
import doctest
import errno
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import pollerd
from pollerd import AsyncClient, Client, CompletedEvent, Gap, NotFollowedError, StatusEvent
from pollerd.base.errors import PollerdError, UnavailableError
from pollerd.client.unixhttp import UnixConnection
from pollerd.simulator import Step
from tests.integration.control_kit import Daemon, daemon
from tests.sqlite_kit import autocommit
from tests.store_kit import view_of

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemon(tmp_path) as found:
        yield found


def ways(running: Daemon) -> list[dict[str, Any]]:
    """Each way to the same daemon alone."""
    return [{"database": running.database}, {"socket": running.socket}]


def test_import_is_light() -> None:
    """Neither the import nor the synchronous client brings in asyncio."""
    code = (
        "import sys, pollerd; first = [m for m in ('msgspec', 'sqlite3', 'asyncio', 'click') if m in sys.modules];"
        "client = pollerd.Client(database='/nonexistent/x.db');"
        "from pollerd.store import view, commands; from pollerd.client import source, remote;"
        "print(first, 'asyncio' in sys.modules, 'aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False False\n"


def test_everything_that_is_exported_is_there() -> None:
    assert set(pollerd.__all__) <= set(dir(pollerd))
    for name in pollerd.__all__:
        assert name in {"AnyEvent", getattr(getattr(pollerd, name), "__name__", None)}
    with pytest.raises(AttributeError, match="nothing"):
        _ = pollerd.nothing


# -- no daemon


def test_the_example_in_the_docstring(tmp_path: Path) -> None:
    names = {"Client": Client, "database": tmp_path / "pollerd.db"}
    (example,) = doctest.DocTestFinder(recurse=False).find(Client, "Client", globs=names)
    results = doctest.DocTestRunner().run(example)
    assert (results.attempted, results.failed) == (3, 0)


def test_track_without_a_daemon(tmp_path: Path) -> None:
    client = Client(database=tmp_path / "pollerd.db")
    sent = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    assert client.track(1, "2", userref="o-1", sent_at=sent) == pollerd.Tracked(2, 0, 0)
    assert client.track(2, 3) == pollerd.Tracked(1, 1, 0)
    with view_of(tmp_path / "pollerd.db") as view:
        found = view.message(1)
        assert found is not None
        assert (found.userref, found.sent_at, found.account) == ("o-1", sent.timestamp(), "default")
    assert list(client.events()) == []


def test_what_cannot_be_an_id_is_refused_before_anything_is_followed(tmp_path: Path) -> None:
    client = Client(database=tmp_path / "pollerd.db")
    with pytest.raises(ValueError, match="newer Mobile Message API"):
        client.track(1, ULID)
    assert not (tmp_path / "pollerd.db").exists()


@pytest.mark.parametrize("value", [1.5, True, None, b"17"])
def test_what_is_no_number_is_no_id(tmp_path: Path, value: Any) -> None:
    client = Client(database=tmp_path / "pollerd.db")
    with pytest.raises(ValueError, match="is not a message id"):
        client.track(5, value)
    with pytest.raises(ValueError, match="is not a message id"):
        client.wait(value)
    assert not (tmp_path / "pollerd.db").exists()


def test_an_account_that_is_not_configured_is_refused_where_that_can_be_known(tmp_path: Path) -> None:
    config = tmp_path / "pollerd.toml"
    config.write_text(f'[accounts.eu]\ntoken = "x"\n[store]\npath = "{tmp_path / "pollerd.db"}"\n')
    with pytest.raises(PollerdError, match="no account 'nope' in the configuration; there is eu"):
        pollerd.track(5, account="nope", config=config)
    assert not (tmp_path / "pollerd.db").exists()
    assert pollerd.track(5, account="eu", config=config).new == 1
    assert Client(database=tmp_path / "pollerd.db").track(6, account="nope").new == 1


def test_an_id_that_is_followed_for_another_account_is_refused_by_name(tmp_path: Path) -> None:
    client = Client(database=tmp_path / "pollerd.db")
    client.track(1, 2, account="eu")
    with pytest.raises(PollerdError, match=r"2 is followed for the account 'eu'.*1 refused in all"):
        client.track(2, 3)
    assert client.track(3) == pollerd.Tracked(0, 1, 0)


def test_wait_without_a_daemon_ends_in_time(tmp_path: Path) -> None:
    client = Client(database=tmp_path / "pollerd.db")
    client.track(1)
    with pytest.raises(TimeoutError, match=r"1 has not reached its final state within 0\.2 s"):
        client.wait(1, 0.2)
    with pytest.raises(NotFollowedError, match="2 is not followed"):
        client.wait(2, 0.2)


def test_where_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no database"):
        Client(database=tmp_path / "none.db").wait(1, 0.1)
    with pytest.raises(UnavailableError, match="no daemon answers"):
        Client(socket=tmp_path / "none.sock").track(1)


def test_a_command_waits_where_many_others_wait_to_be_taken(tmp_path: Path) -> None:
    """A Unix socket with as many in line as there may be refuses at once; the connection is made all the same."""
    path = tmp_path / "busy.sock"
    with socket.socket(socket.AF_UNIX) as server, ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        server.bind(str(path))
        server.listen(0)
        full = 0
        while full != errno.EAGAIN:
            knock = stack.enter_context(socket.socket(socket.AF_UNIX))
            knock.setblocking(False)
            full = knock.connect_ex(str(path))
        connection = UnixConnection(path, 30.0)
        connected = threads.submit(connection.connect)
        while not connected.done():
            server.settimeout(0.05)
            with suppress(TimeoutError):
                server.accept()[0].close()
        connected.result()
        connection.close()


def test_the_configuration_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "pollerd.toml"
    path.write_text(f'[accounts.shop]\ntoken = "t"\n[store]\npath = "{tmp_path}/x.db"\n')
    path.chmod(0o600)
    assert pollerd.track(5, config=path) == pollerd.Tracked(1, 0, 0)
    with view_of(tmp_path / "x.db") as view:
        found = view.message(5)
        assert found is not None
        assert found.account == "shop"
    assert list(pollerd.events(config=path)) == []
    with pytest.raises(TimeoutError):
        pollerd.wait(5, 0.01, config=path)


# -- with a daemon, both ways


@pytest.mark.parametrize("way", [0, 1], ids=["database", "socket"])
async def test_hand_over_wait_and_read(running: Daemon, way: int) -> None:
    client = Client(**ways(running)[way])
    for message_id in (1, 2):
        running.simulator.truth.add(message_id, recipients=[4510000000 + message_id], steps=[Step(3.0, "DELIVERED")])

    def script() -> None:
        assert client.track(1, 2, userref="o-7") == pollerd.Tracked(2, 0, 0)
        assert client.track(2) == pollerd.Tracked(0, 1, 0)
        final = client.wait(1, 60)
        assert (final.id, final.state, final.userref, final.delivered) == (1, "finished", "o-7", True)
        assert final.statuses == {4510000001: "DELIVERED"}
        client.wait(2, 60)
        told = list(client.events())
        assert [event.seq for event in told if not isinstance(event, Gap)] == list(range(1, len(told) + 1))
        assert list(client.events(after=1)) == told[1:]
        mine = list(client.events(message_id=2))
        assert isinstance(mine[-1], CompletedEvent)
        assert [event for event in mine if isinstance(event, StatusEvent)][-1].status == "DELIVERED"
        assert {type(event) for event in client.events(kind="message.completed")} == {CompletedEvent}
        with pytest.raises(NotFollowedError):
            client.wait(99, 1)
        running.simulator.truth.add(3, steps=[Step(1e9, "DELIVERED")])
        client.track(3)
        with pytest.raises(TimeoutError):
            client.wait(3, 0.3)

    await asyncio.to_thread(script)


@pytest.mark.parametrize("way", [0, 1], ids=["database", "socket"])
async def test_following_sees_what_comes(running: Daemon, way: int) -> None:
    client = Client(**ways(running)[way])

    def follow() -> list[int]:
        seen = []
        for event in client.events(follow=True):
            assert not isinstance(event, Gap)
            seen.append(event.seq)
            if isinstance(event, CompletedEvent) and event.id == 20:
                break
        return seen

    following = asyncio.create_task(asyncio.to_thread(follow))
    await running.follow(*range(1, 20))
    await running.ended(*range(1, 20))
    await running.follow(20)
    seen = await asyncio.wait_for(following, 60)
    assert seen == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("way", [0, 1], ids=["database", "socket"])
async def test_the_same_for_asyncio(running: Daemon, way: int) -> None:
    running.simulator.truth.add(1, steps=[Step(3.0, "UNDELIVERABLE", 0x12)])
    async with AsyncClient(**ways(running)[way]) as client:
        assert await client.track("1") == pollerd.Tracked(1, 0, 0)
        final = await client.wait(1, 60)
        assert (final.delivered, final.recipients[0].status) == (False, "UNDELIVERABLE")
        with pytest.raises(NotFollowedError):
            await client.wait(2)
        told = [event async for event in client.events()]
        assert [event async for event in client.events(after=1)] == told[1:]
        async with aclosing(client.events(after=len(told), follow=True)) as news:
            await running.follow(5)
            event = await asyncio.wait_for(anext(news), 60)
            assert isinstance(event, StatusEvent)
            assert event.id == 5
        running.simulator.truth.add(6, steps=[Step(1e9, "DELIVERED")])
        await client.track(6)
        with pytest.raises(TimeoutError):
            await client.wait(6, 0.2)


LEAVES = """
import asyncio, gc, os, sys, pollerd

def held():
    return [f for f in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{f}").startswith(sys.argv[1])]

async def settled():
    async with asyncio.timeout(120):
        while held():
            gc.collect()
            await asyncio.sleep(0.01)

async def main():
    async with pollerd.AsyncClient(database=sys.argv[1]) as client:
        for _ in range(3):
            async for event in client.events(follow=True):
                break
        await settled()
        async for event in client.events(follow=True):
            break
    await settled()
    client = pollerd.AsyncClient(database=sys.argv[1])
    opening = asyncio.ensure_future(anext(client.events(follow=True)))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    await settled()
    stream = client.events(follow=True)
    await anext(stream)
    client.close()
    await settled()

asyncio.run(main())
"""


async def test_leaving_the_loop_early_leaves_nothing_open_and_nothing_to_say(running: Daemon) -> None:
    """`break`, cancellation while it opens, and `close` with a stream still open."""
    await running.follow(1)
    await running.ended(1)
    command = [sys.executable, "-W", "error", "-c", LEAVES, str(running.database)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, "")


async def test_the_socket_serves_who_may_not_open_the_database(running: Daemon, tmp_path: Path) -> None:
    """The database's path cannot be used at all: everything goes through the daemon."""
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    client = Client(database=blocked / "pollerd.db", socket=running.socket)
    running.simulator.truth.add(1, steps=[Step(3.0, "DELIVERED")])
    tracked = await asyncio.to_thread(client.track, 1)
    assert tracked.new == 1
    assert (await asyncio.to_thread(client.wait, 1, 60)).delivered


async def test_what_the_daemon_refuses_is_said(running: Daemon) -> None:
    client = Client(socket=running.socket)
    with pytest.raises(PollerdError, match="account 'nobody' is not in the configuration"):
        await asyncio.to_thread(lambda: client.track(1, account="nobody"))


async def test_a_gap_is_reported_both_ways(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        await running.follow(1, 2)
        await running.ended(1, 2)
    with autocommit(tmp_path / "pollerd.db") as db:
        db.execute("DELETE FROM events WHERE seq <= 2")
    async with daemon(tmp_path) as running:
        for way in ways(running):
            told = await asyncio.to_thread(list, Client(**way).events(after=1))
            assert told[0] == Gap(after=1, first=3)
            assert not any(isinstance(event, Gap) for event in await asyncio.to_thread(list, Client(**way).events()))
