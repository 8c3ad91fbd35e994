"""The client for programs with an event loop: the same methods, and nothing that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Self, TypeVar

from pollerd.client.source import Source
from pollerd.client.sync import BATCH, CHECK_EVERY, AnyPath, Client, checked_id, late
from pollerd.client.values import AnyEvent, FinalStates, Tracked, final_states

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: same arguments, same methods. Reads the database on one thread of its own.

    Use it as `async with AsyncClient() as client`, or call `close` at the end.
    """

    def __init__(
        self,
        config: AnyPath | None = None,
        *,
        database: AnyPath | None = None,
        socket: AnyPath | None = None,
    ) -> None:
        self._client = Client(config, database=database, socket=socket)
        # One thread, since a database connection belongs to the thread that opened it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pollerd")
        self._sources: set[Source] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the thread go, and whatever it has open."""
        for source in list(self._sources):
            self._release(source)
        self._closed = True
        self._thread.shutdown(wait=False)

    async def track(
        self,
        *ids: int | str,
        account: str | None = None,
        userref: str | None = None,
        sent_at: float | datetime | None = None,
        sendtime: float | datetime | None = None,
        priority: str | None = None,
        overdue_after: float | timedelta | str | None = None,
    ) -> Tracked:
        tracking = partial(
            self._client.track,
            *ids,
            account=account,
            userref=userref,
            sent_at=sent_at,
            sendtime=sendtime,
            priority=priority,
            overdue_after=overdue_after,
        )
        return await self._run(tracking)

    async def wait(self, message_id: int | str, timeout: float | None = None) -> FinalStates:
        number = checked_id(message_id)
        source = await self._open()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = final_states(await self._run(partial(source.message, number)))
                    if found is not None:
                        return found
                    await asyncio.sleep(CHECK_EVERY)
        except TimeoutError:
            raise late(number, timeout) from None
        finally:
            self._release(source)

    async def events(
        self, after: int = 0, *, follow: bool = False, message_id: int | None = None, kind: str | None = None
    ) -> AsyncGenerator[AnyEvent, None]:
        """As `Client.events`, to be used with `async for`."""
        source = await self._open()
        try:
            place = after
            while True:
                found, place = await self._run(partial(source.events, place, BATCH, message_id, kind))
                for event in found:
                    yield event
                if not found and not follow:
                    return
                if not found:
                    await asyncio.sleep(CHECK_EVERY)
        finally:
            self._release(source)

    async def _open(self) -> Source:
        opening = self._thread.submit(self._client.source)
        try:
            source = await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            # It may be open all the same in a moment, and would never be closed.
            opening.add_done_callback(self._opened_for_nobody)
            raise
        self._sources.add(source)
        return source

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _opened_for_nobody(self, opening: Future[Source]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._sources.add(opening.result())
            self._release(opening.result())

    def _release(self, source: Source) -> None:
        # Who leaves `async for` early gets here from the garbage collector, perhaps after `close`: then it is done.
        if source in self._sources and not self._closed:
            self._sources.discard(source)
            # Not awaited: who was cancelled should not have to wait.
            self._thread.submit(source.close)
