"""Events to whoever connects to a Unix socket, NDJSON: each reader at its own place and its own pace.

A reader gets every event from its connection on. A line `after N` from it, at any time, moves it to the events after
`N`; any other line is answered by one that begins `{"type":"error"`. When retention has deleted some of what it asks
for, it gets one line `{"type":"gap","after":N,"first":F}` first: the events after `N` and before `F` exist no more. So
it does where numbers were left out, since a failover of PostgreSQL may have lost what had them.

A reader that does not read costs its kernel buffer and about half a MiB here, and delays no other: events are read from
the log only as its socket drains. Readers may be silent for as long as they like; only their number is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import re
import select
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from pollerd.base.descriptors import EVENTS, PLACES
from pollerd.base.text import shortened
from pollerd.base.unixsocket import Listener
from pollerd.core.event import Event, left_out, runs
from pollerd.core.ports import EventLog, OutputHealth
from pollerd.outputs.acceptor import Acceptor

logger = logging.getLogger(__name__)

_CHUNK: Final = 200
"""Events read from the log at a time."""

_PIECE: Final = 64 * 1024
"""Bytes handed to a reader's connection before it must drain, about."""

_COMMAND_LIMIT: Final = 1024
"""Bytes a line from a reader may have."""

_GOODBYE: Final = 1.0
"""Seconds that readers have, when the output stops, to take what was already written to them."""

_HANGUP_EVERY: Final = 1.0  # Seconds between two checks whether a reader has gone.
_HELLO: Final = 0.05
"""Seconds that a new reader has for its first line before events are sent to it."""
_UNDERSTOOD: Final = (
    "say `after N` to get the events after number N, or nothing to get those that come; "
    "HTTP is spoken at the control socket"
)
_AFTER: Final = re.compile(rb"\s*after\s+(\d{1,18})\s*")


class SocketOutput:
    """Serves events on a Unix stream socket at `path`, created with exactly `mode`. Fulfils `ports.Output`."""

    def __init__(self, path: Path, mode: int = 0o660, *, name: str = "socket", readers: Acceptor | None = None) -> None:
        """`readers` bounds how many are connected at a time."""
        self._path = path
        self._mode = mode
        self._name = name
        self._readers: set[_SocketReader] = set()
        self._acceptor = readers or Acceptor(EVENTS, PLACES[EVENTS])
        self._opened = asyncio.Event()
        self._reopen = asyncio.Event()
        self._last = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def health(self) -> OutputHealth:
        """`seq` is the place of the reader that is furthest behind."""
        places = [reader.seq for reader in self._readers]
        return OutputHealth(self._name, min(places, default=self._last), readers=len(places))

    @property
    def opened(self) -> asyncio.Event:
        """Set once readers can connect."""
        return self._opened

    def reopen(self) -> None:
        """Bind again when somebody has removed the socket file; readers stay connected."""
        self._reopen.set()

    async def run(self, log: EventLog) -> None:
        """Serve readers until cancelled. Raises OutputError when the path cannot be listened at."""
        window = _Window(log)
        try:
            async with asyncio.TaskGroup() as tasks:

                def greet(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    serving = self._serve(_SocketReader(window, writer, log.last), stream)
                    try:
                        tasks.create_task(serving)
                    except RuntimeError:
                        # The output ends in this very moment.
                        serving.close()
                        writer.transport.abort()

                tasks.create_task(self._watch(log))
                while True:
                    await self._listen_once(greet)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _listen_once(self, greet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]) -> None:
        """Listen until the path has to be bound again."""
        listener = Listener.bind(self._path, self._mode)
        try:
            async with asyncio.TaskGroup() as group:
                full = f"{self._acceptor.most} readers are connected, as many as there may be: end some, or try later"
                accepting = group.create_task(
                    self._acceptor.serve(
                        listener.socket,
                        lambda: _Connection(greet, self._acceptor),
                        _error("too_many_readers", full),
                    )
                )
                self._opened.set()
                while listener.in_place:
                    await self._reopen.wait()
                    self._reopen.clear()
                logger.warning(
                    "%s was removed while it was in use: bound again",
                    self._path,
                    extra={"event": "socket_rebound"},
                )
                accepting.cancel()
        finally:
            listener.close()

    async def _watch(self, log: EventLog) -> None:
        while True:
            self._last = log.last
            await log.wait(self._last)

    async def _serve(self, reader: _SocketReader, stream: asyncio.StreamReader) -> None:
        self._readers.add(reader)
        try:
            await reader.serve(stream)
        except ConnectionError:
            logger.debug("output %s: a reader has gone", self._name)
        finally:
            self._readers.discard(reader)
            await reader.close()


class _Connection(asyncio.StreamReaderProtocol):
    """A stream for a reader, counted by the acceptor."""

    def __init__(self, greet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None], among: Acceptor) -> None:
        super().__init__(asyncio.StreamReader(limit=_COMMAND_LIMIT), greet)
        self._among = among

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._among.opened(self)
        # A reader that only reads is what this place is for.
        self._among.busy(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._among.closed(self)

    def shed(self) -> None:
        """Never called: no connection here counts as silent."""


def _error(reason: str, message: str) -> bytes:
    """A line that is no event: why something was not done, as a word for programs and a sentence for people."""
    return msgspec.json.encode({"type": "error", "reason": reason, "message": message}) + b"\n"


class _Window:
    """Readers that keep up ask for the same events: one read of the log serves them all."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._lock = asyncio.Lock()
        self._after = -1
        self._events: Sequence[Event] = ()

    async def read(self, after: int) -> Sequence[Event]:
        """The events after `after` as soon as there are any; none when they were all deleted."""
        seen = after
        while True:
            await self.log.wait(seen)
            # Numbers may be left out, so that there can be a higher one and still no event.
            seen = self.log.last
            async with self._lock:
                if self._after != after or not self._events:
                    self._events = await self.log.read(after, _CHUNK)
                    self._after = after
                if self._events or after < self.log.pruned:
                    return self._events


class _SocketReader:
    """One connection. `seq` is its place: the last event written to it, or what it asked for."""

    def __init__(self, window: _Window, writer: asyncio.StreamWriter, seq: int) -> None:
        self.seq = seq
        self._window = window
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=_PIECE)

    async def serve(self, stream: asyncio.StreamReader) -> None:
        """Feed the reader and obey it, until it has gone. Raises ConnectionError, and what the log raises."""
        commands = asyncio.ensure_future(self._next_place(stream))
        feeding: asyncio.Future[None] | None = None
        try:
            # Who asks for a place mostly does so at once, and expects nothing before what it asked for.
            await asyncio.wait({commands}, timeout=_HELLO)
            while True:
                if commands.done():
                    place = commands.result()
                    if place is None:
                        return
                    if feeding is not None:
                        # Pieces are whole lines, so feeding can be stopped between any two of them.
                        await _stop(feeding)
                    self.seq, feeding = place, None
                    commands = asyncio.ensure_future(self._next_place(stream))
                if feeding is None:
                    feeding = asyncio.ensure_future(self._feed())
                both: set[asyncio.Future[Any]] = {feeding, commands}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if feeding.done():
                    feeding.result()
        finally:
            if feeding is not None:
                await _stop(feeding)
            await _stop(commands)

    async def close(self) -> None:
        """End the connection; a reader that does not take the rest in time loses it, and may ask again."""
        self._writer.close()
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._writer.transport.abort()

    async def _next_place(self, stream: asyncio.StreamReader) -> int | None:
        """The place the reader asks for next; None when it has gone or talks nonsense without end."""
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                await self._answer("too_long", f"a line has at most {_COMMAND_LIMIT} bytes; {_UNDERSTOOD}")
                return None
            if not line:
                await self._hung_up()
                return None
            match = _AFTER.fullmatch(line)
            if match:
                return int(match[1])
            if line.strip():
                said = shortened(line.decode("utf-8", "replace").strip())
                await self._answer("not_understood", f"not understood: {said!r}; {_UNDERSTOOD}")

    async def _answer(self, reason: str, message: str) -> None:
        """Send the reader what was wrong. Pieces are whole lines, so that this one fits between any two of them."""
        if not self._writer.transport.is_closing():
            self._writer.write(_error(reason, message))
            # Who asks on and on without reading is not answered without end.
            await self._writer.drain()

    async def _hung_up(self) -> None:
        """Return when the connection is closed, and not only its sending half (as with `echo after 5 | nc -U`)."""
        connection = self._writer.get_extra_info("socket")
        while not self._writer.transport.is_closing():
            # No event distinguishes the two, only a check does.
            poller = select.poll()
            poller.register(connection.fileno(), 0)
            if poller.poll(0):
                return
            await asyncio.sleep(_HANGUP_EVERY)

    async def _feed(self) -> None:
        while True:
            await self._writer.drain()
            events = await self._window.read(self.seq)
            for last, piece in (each for run in runs(self.seq, events) for each in self._pieces(run)):
                if self._writer.transport.is_closing():
                    # asyncio would drop the bytes in silence, uvloop raises RuntimeError.
                    raise ConnectionResetError("the reader has gone")
                self._writer.write(piece)
                self.seq = last
                await self._writer.drain()

    def _pieces(self, events: Sequence[Event]) -> Iterator[tuple[int, bytes]]:
        """Whole lines in pieces, each with its last `seq`; a gap is named before what follows it."""
        pruned = self._window.log.pruned
        first = events[0].seq if events else pruned + 1
        if (self.seq < pruned and first > self.seq + 1) or (events and left_out(self.seq, first)):
            yield max(self.seq, first - 1), b'{"type":"gap","after":%d,"first":%d}\n' % (self.seq, first)
        piece, last = bytearray(), 0
        for event in events:
            piece += event.line
            last = event.seq
            if len(piece) >= _PIECE:
                yield last, bytes(piece)
                piece = bytearray()
        if piece:
            yield last, bytes(piece)


async def _stop(task: asyncio.Future[None] | asyncio.Future[int | None]) -> None:
    """Cancel a task and wait for its end; whatever it ended with does not matter any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
