"""What counts polls and transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pollerd.core.diff import Result
from pollerd.core.event import Event
from pollerd.core.model import Outcome


class PollMeter(Protocol):
    """Counts one account's polls. Every call is on the hot path and costs about a microsecond at most."""

    def polled(self, outcome: Outcome, lag: float, seconds: float) -> None:
        """What a poll met that went out `lag` seconds after it was due, and after how many seconds."""
        ...

    def reported(self, result: Result, now: float, ahead: float = 0.0) -> None:
        """What a poll left behind that has events, at the wall's time `now`; `ahead`: seconds that the gateway's clock
        is ahead of the daemon's.
        """
        ...


class CommitMeter(Protocol):
    """Counts transactions."""

    def committed(self, results: int, events: Sequence[Event], seconds: float) -> None:
        """A transaction with so many results is on disk, with its events, after so many seconds."""
        ...


class Unmetered:
    """Counts nothing: for whoever runs a part without metrics."""

    def polled(self, outcome: Outcome, lag: float, seconds: float) -> None:
        """See PollMeter."""

    def reported(self, result: Result, now: float, ahead: float = 0.0) -> None:
        """See PollMeter."""

    def committed(self, results: int, events: Sequence[Event], seconds: float) -> None:
        """See CommitMeter."""
