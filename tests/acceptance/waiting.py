"""Waiting for what other processes do: by checks with short pauses between them, the only pauses of these tests."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 120.0
"""Seconds after which what is waited for will never be: long enough for a machine that does five times its work."""
LOOK: Final = 0.02


async def until(condition: Callable[[], object], what: str, *, patience: float = PATIENCE, look: float = LOOK) -> None:
    """Return as soon as `condition` holds; AssertionError when it never does."""
    try:
        async with asyncio.timeout(patience):
            while not condition():
                await asyncio.sleep(look)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


async def until_past(number: Callable[[], float], bound: float, what: str, *, patience: float = PATIENCE) -> None:
    """Return as soon as a number is above `bound`, which is an argument so that a loop may change it."""
    await until(lambda: number() > bound, what, patience=patience)


def wait_for(condition: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """The same for tests without a loop: the first answer that is true."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(LOOK)
    return found


def listening(path: Path) -> bool:
    """Whether a program takes connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.setblocking(False)
        return knock.connect_ex(str(path)) == 0


class Rest:
    """True once a number has stayed the same over `looks` checks in a row."""

    def __init__(self, number: Callable[[], int], looks: int) -> None:
        self._number = number
        self._looks = looks
        self._last: int | None = None
        self._same = 0

    def __call__(self) -> bool:
        found = self._number()
        self._same = self._same + 1 if found == self._last else 0
        self._last = found
        return self._same >= self._looks
