"""The socket output with real readers: places, gaps, stuck readers, and who may have the path."""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from pollerd.core.event import JUMP
from pollerd.outputs.acceptor import Acceptor
from pollerd.outputs.socket import _COMMAND_LIMIT, _UNDERSTOOD, _error
from tests.acceptance.waiting import Rest
from tests.integration.output_kit import commit, exactly, opened, prune, until
from tests.integration.output_socket_kit import Reader, connected, readers, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "events.sock"


async def test_a_reader_gets_every_event_from_its_connection_on(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output:
        await readers(output, 0)
        await commit(store, 5)
        async with connected(path) as reader:
            await readers(output, 1)
            await commit(store, 700)
            assert await reader.numbers(700) == exactly(705, first=6)


async def test_a_reader_gets_the_events_after_the_place_it_names(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store):
        await commit(store, 600)
        async with connected(path) as reader:
            for place in (0, 590, 100):
                await reader.say(b"after %d\n" % place)
                assert await reader.numbers(600 - place) == exactly(600, first=place + 1)
            await commit(store, 1)
            assert await reader.numbers(1) == [601]


async def test_who_asks_at_once_hears_nothing_before_what_it_asked_for(path: Path, database: Path) -> None:
    """While events come all the time, as to a program that ignores numbers."""

    async def come(stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            await commit(store, 1)

    async with opened(database) as store, serving(path, store):
        await commit(store, 3)
        stopped = asyncio.Event()
        coming = asyncio.create_task(come(stopped))
        for _ in range(40):
            async with connected(path) as reader:
                # The other side has accepted by then.
                for _ in range(5):
                    await asyncio.sleep(0)
                await reader.say(b"after 1\n")
                assert await reader.numbers(3) == [2, 3, 4]
        stopped.set()
        await coming


async def test_a_reader_may_move_while_it_is_served(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store):
        await commit(store, 20_000)
        async with connected(path) as reader:
            await reader.say(b"after 0\n")
            assert await reader.numbers(10) == exactly(10)
            await reader.say(b"after 19000\n")
            numbers = [10]
            while numbers[-1] != 20_000:
                numbers += await reader.numbers(1)
            jumps = [now for before, now in itertools.pairwise(numbers) if now != before + 1]
            assert jumps == [19_001]


async def test_a_place_in_the_future_waits_for_it(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store) as output, connected(path) as reader:
        await reader.say(b"after 12\n")
        await until(lambda: output.health.seq == 12, "the move")
        await commit(store, 15)
        assert await reader.numbers(3) == [13, 14, 15]


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        (b"hello\n", "'hello'"),
        (b"after\n", "'after'"),
        (b"after -1\n", "'after -1'"),
        (b"after x\n", "'after x'"),
        (b"AFTER 1\n", "'AFTER 1'"),
        (b"\xff\xfe\n", "'\ufffd\ufffd'"),
        (b"\x1b[2J\n", r"\\x1b[2J"),
        (b"after 99999999999999999999\n", "'after 99999999999999999999'"),
    ],
)
async def test_a_word_that_is_not_understood_is_answered(path: Path, database: Path, said: bytes, quoted: str) -> None:
    """By a line that says what would be, and the reader goes on."""
    async with opened(database) as store, serving(path, store):
        await commit(store, 3)
        async with connected(path) as reader:
            await reader.say(b"\n" + said + b"  after   1 \r\n")
            line = await reader.line()
            assert (line["type"], line["reason"]) == ("error", "not_understood")
            assert quoted in line["message"]
            assert "after N" in line["message"]
            assert await reader.numbers(2) == [2, 3]


async def test_a_wrong_word_between_events_breaks_no_line(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store):
        await commit(store, 2000)
        async with connected(path) as reader:
            await reader.say(b"after 0\n")
            for _ in range(50):
                await reader.say(b"nonsense\n")
            lines = [await reader.line() for _ in range(2050)]
            assert [line["seq"] for line in lines if line["type"] != "error"] == exactly(2000)


async def test_who_sends_nonsense_without_reading_is_not_answered_without_end(path: Path, database: Path) -> None:
    """It is not listened to any more, until it reads."""
    async with opened(database) as store, serving(path, store) as output:
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(str(path))
            reader.setblocking(False)
            sent = 0

            def push() -> int:
                nonlocal sent
                with suppress(BlockingIOError):
                    sent += reader.send(b"nonsense\n" * 1000)
                return sent

            await until(Rest(push, 50), "the other side listens no more")
            assert sent < 2_000_000
            await readers(output, 1)


async def test_a_line_that_is_too_long_is_answered(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        await reader.say(b"x" * 2000)
        assert (await reader.line())["reason"] == "too_long"
        assert await reader.rest() == b""


async def test_a_reader_that_sends_a_line_without_end_is_disconnected(path: Path, database: Path) -> None:
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        with_end = b"x" * 1_000_000
        reader.writer.write(with_end)
        assert await rest_or_reset(reader) in (b"", _too_long())


def _too_long() -> bytes:
    return _error("too_long", f"a line has at most {_COMMAND_LIMIT} bytes; {_UNDERSTOOD}")


async def test_more_readers_than_there_may_be_get_the_reason(
    path: Path, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Readers keep their connection, however silent; the log says so once."""
    place = Acceptor("event socket", 3)
    async with opened(database) as store, serving(path, store, readers=place) as output, AsyncExitStack() as stack:
        await readers(output, 0)
        first = [await stack.enter_async_context(connected(path)) for _ in range(3)]
        await readers(output, 3)
        for _ in range(20):
            async with connected(path) as surplus:
                line = await surplus.line()
                assert (line["type"], line["reason"]) == ("error", "too_many_readers")
                assert await surplus.rest() == b""
        await commit(store, 2)
        for reader in first:
            assert await reader.numbers(2) == [1, 2]
    assert [record.__dict__["event"] for record in caplog.records].count("connections_full") == 1


async def rest_or_reset(reader: Reader) -> bytes:
    try:
        return await reader.rest()
    except ConnectionError:
        return b""


async def test_deleted_events_are_reported_as_a_gap(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 20)
    prune(database, 12)
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        await reader.say(b"after 5\n")
        assert await reader.line() == {"type": "gap", "after": 5, "first": 13}
        assert await reader.numbers(8) == exactly(20, first=13)
        await reader.say(b"after 12\n")
        assert await reader.numbers(8) == exactly(20, first=13)


async def test_numbers_that_were_left_out_are_reported_as_a_gap(path: Path, database: Path) -> None:
    """To who stands before them, to who comes by, and to who stands on one that was lost."""
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        await commit(store, 3)
        await store.advance_seq(JUMP + 3)
        await commit(store, 2)
        after = exactly(JUMP + 5, first=JUMP + 4)
        await reader.say(b"after 1\n")
        assert await reader.numbers(2) == [2, 3]
        assert await reader.line() == {"type": "gap", "after": 3, "first": JUMP + 4}
        assert await reader.numbers(2) == after
        for place in (3, 60):
            await reader.say(b"after %d\n" % place)
            assert await reader.line() == {"type": "gap", "after": place, "first": JUMP + 4}
            assert await reader.numbers(2) == after
        await reader.say(b"after %d\n" % (JUMP + 3))
        assert await reader.numbers(2) == after


async def test_when_all_events_are_deleted_the_gap_is_reported_at_once(path: Path, database: Path) -> None:
    async with opened(database) as store:
        await commit(store, 20)
    prune(database, 20)
    async with opened(database) as store, serving(path, store), connected(path) as reader:
        await reader.say(b"after 5\n")
        assert await reader.line() == {"type": "gap", "after": 5, "first": 21}
        await commit(store, 1)
        assert await reader.numbers(1) == [21]
