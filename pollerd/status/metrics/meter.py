"""Counts on the hot path: plain numbers, turned into metrics only when somebody asks for them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from pollerd.core import lifecycle
from pollerd.core.diff import Result
from pollerd.core.event import Event, Status
from pollerd.core.model import Answer, HoldReason, NotFound, Outcome, Rejected, Trouble

REQUEST_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
"""Of requests: up to twice the default `timeout`."""
LAG_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
"""Of polls behind their due time: a backlog may last for hours."""
DELAY_BOUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Of reports behind the state: up to a day."""
COMMIT_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""Upper bounds in seconds; each spans what occurs, from a fast answer to the longest wait."""

OUTCOMES: Final = (
    "answered",
    "not_found",
    "rejected",
    *(reason.value for reason in HoldReason if reason is not HoldReason.REFUSING),
)
"""What a poll can meet: a state, a 404, another refusal, or trouble of the account by its reason."""


ResultListener = Callable[[Result, float, float], None]
"""Who else hears what a poll left behind."""


class Histogram:
    """How many values fell below each bound. `total` is their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value; what is below zero (two clocks disagree) counts as zero."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """The same numbers, which do not change any more."""
        taken = Histogram(self.bounds)
        taken.counts, taken.total = self.counts.copy(), self.total
        return taken

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        rising, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            rising += count
            found.append((bound, float(rising)))
        return found


class AccountMeter:
    """One account's numbers. Implements `ports.PollMeter`."""

    __slots__ = (
        "_lag_counts",
        "_listener",
        "_request_counts",
        "answers",
        "delay_final",
        "delay_interim",
        "lag",
        "missing",
        "refusals",
        "requests",
        "troubles",
    )

    def __init__(self, listener: ResultListener | None = None) -> None:
        self._listener = listener
        self.answers = 0
        self.missing = 0
        self.refusals = 0
        self.troubles: Counter[str] = Counter()
        self.requests = Histogram(REQUEST_BOUNDS)
        self.lag = Histogram(LAG_BOUNDS)
        self._request_counts = self.requests.counts
        self._lag_counts = self.lag.counts
        self.delay_final = Histogram(DELAY_BOUNDS)
        self.delay_interim = Histogram(DELAY_BOUNDS)

    def polled(self, outcome: Outcome, lag: float, seconds: float) -> None:
        """What a poll met that went out `lag` seconds after it was due, and after how many seconds."""
        # Not `Histogram.add`: two calls more would double the price.
        counts = self._lag_counts
        counts[bisect_left(LAG_BOUNDS, lag)] += 1
        self.lag.total += max(0.0, lag)
        counts = self._request_counts
        counts[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        self.requests.total += seconds
        kind = type(outcome)
        if kind is Answer:
            self.answers += 1
        elif kind is NotFound:
            self.missing += 1
        elif kind is Rejected:
            self.refusals += 1
        elif isinstance(outcome, Trouble):
            self.troubles[outcome.reason.value] += 1

    def reported(self, result: Result, now: float, ahead: float = 0.0) -> None:
        """What a poll left behind: how long after the gateway's own time a state was seen."""
        # A state without a time of its own was given ours, which says nothing.
        timeless = {(r.msisdn, r.status) for r in result.message.recipients if r.time is None}
        for body in result.bodies:
            if type(body) is Status and (body.msisdn, body.status) not in timeless:
                final = lifecycle.is_final(body.status)
                (self.delay_final if final else self.delay_interim).add(now - body.time)
        if self._listener is not None:
            self._listener(result, now, ahead)

    def polls(self) -> dict[str, int]:
        """Polls by outcome."""
        found = {"answered": self.answers, "not_found": self.missing, "rejected": self.refusals}
        return {outcome: found.get(outcome, self.troubles[outcome]) for outcome in OUTCOMES}


class CommitCounts:
    """The committer's numbers. Implements `ports.CommitMeter`."""

    __slots__ = ("duration", "events", "results")

    def __init__(self) -> None:
        self.results = 0
        self.events: Counter[str] = Counter()
        self.duration = Histogram(COMMIT_BOUNDS)

    def committed(self, results: int, events: Sequence[Event], seconds: float) -> None:
        """A transaction with so many results is on disk, with its events, after so many seconds."""
        self.results += results
        self.duration.add(seconds)
        for event in events:
            self.events[event.type] += 1


class Meter:
    """All numbers of one daemon."""

    def __init__(self, listener: ResultListener | None = None) -> None:
        self.commits = CommitCounts()
        self.accounts: dict[str, AccountMeter] = {}
        self._listener = listener

    def account(self, name: str) -> AccountMeter:
        """The numbers of one account, from zero on."""
        return self.accounts.setdefault(name, AccountMeter(self._listener))
