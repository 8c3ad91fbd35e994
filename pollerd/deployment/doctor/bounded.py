"""Blocking calls with an end: a hanging name server or network file system must not hang the doctor."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], seconds: float) -> T:
    """The result of `work`, which may block. Raises what it raises, and TimeoutError after `seconds`.

    What hangs is left behind in a daemon thread: the loop's own executor would be waited for at the end.
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
