"""Reads of a running daemon that may take a while: on threads of their own, so that neither the event loop nor the
outputs, which share the store's reading connection, wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from pollerd.store.finder import Finder

T = TypeVar("T")
_THREADS: Final = 3


class Reading:
    """Opens the database anew for each read, which costs a fraction of a millisecond and holds nothing open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="reading")

    async def read(self, work: Callable[[Finder], T]) -> T:
        """What `work` makes of the database. Raises StoreError, and what `work` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    def close(self) -> None:
        """Take no further reads; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[Finder], T]) -> T:
        with Finder.open(self._path) as pages:
            return work(pages)
