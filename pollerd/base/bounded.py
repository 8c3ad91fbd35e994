"""Blocking calls with an end: what hangs (a name server, a network file system, a database) holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], seconds: float | None = None) -> T:
    """The result of `work`, which may block. Raises what it raises, and TimeoutError after `seconds`, if given.

    What hangs is left behind in a daemon thread: that of an executor would be waited for at the end of the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(give: Callable[[], None]) -> None:
        if not future.done():
            give()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to the one who awaits, whatever it is
            give = _failing(future, error)
        else:

            def give() -> None:
                future.set_result(result)

        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, give)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await future


def _failing(future: asyncio.Future[T], error: BaseException) -> Callable[[], None]:
    return lambda: future.set_exception(error)
