"""Which message is asked about next while a gateway refuses everything."""

from __future__ import annotations

from collections.abc import Sequence

from pollerd.core.model import Message
from pollerd.polling.window import Window


class Probes:
    """What a gateway that refuses everything is asked about: messages it answered last, and the newest, by turns."""

    def __init__(self) -> None:
        self._turn = 0
        self._asked: set[int] = set()
        """Newest ones asked about; each comes only once until all have."""

    def next(self, window: Window, known: Sequence[int]) -> Message | int | None:
        """The next probe, under way if it is a message; None when there is nothing to ask about."""
        self._turn += 1
        if known and self._turn % 2:
            number = known[self._turn // 2 % len(known)]
            return window.take(number) or number
        newest = window.newest(self._asked)
        if newest is None and self._asked:
            self._asked.clear()
            newest = window.newest(self._asked)
        if newest is None:
            return known[0] if known else None
        self._asked.add(newest.id)
        return window.take(newest.id)
