"""Requests that failed for one message while others of the account were answered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pollerd.core.model import Outcome, Trouble

KEPT: Final = 10_000
"""Messages whose failures are remembered, the latest: a megabyte. One that is forgotten counts from 0 again."""


class Failures:
    """One account's failures in a row, by message."""

    def __init__(self) -> None:
        self._counts: OrderedDict[int, int] = OrderedDict()

    def count(self, message_id: int, outcome: Outcome, *, held: bool) -> int:
        """How many failures in a row this message had before `outcome`; 0: it is none, or the account is `held`."""
        if type(outcome) is not Trouble or held:
            if self._counts:
                self._counts.pop(message_id, None)
            return 0
        before = self._counts.get(message_id, 0)
        self._counts[message_id] = before + 1
        self._counts.move_to_end(message_id)
        if len(self._counts) > KEPT:
            self._counts.popitem(last=False)
        return before
