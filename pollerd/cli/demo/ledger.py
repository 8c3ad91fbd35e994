"""What the demo has seen so far: sent messages, reported states, requests made."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from pollerd.core import event as events
from pollerd.core import lifecycle

_body = msgspec.json.Decoder(events.Body)
_WINDOW: Final = 2.0
"""Seconds over which the rate of requests is shown."""


class ReportedState(NamedTuple):
    """A state that was reported: at `at` (by the wall clock), `age` seconds after the message was sent."""

    at: float
    age: float
    body: events.Status


class Ledger:
    """Counts as they stand. `states` is the number of recipients by last reported state."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.seq = 0
        self.sent_at: dict[int, float] = {}
        self.finals: dict[tuple[int, int], ReportedState] = {}
        self.ages: dict[str, list[float]] = defaultdict(list)
        self.completed: dict[int, int] = {}
        self.gave_up = 0
        self.rate = 0.0
        self._last: dict[tuple[int, int], str] = {}
        self._requests: deque[tuple[float, int]] = deque()

    @property
    def states(self) -> Counter[str]:
        """Recipients by the state last reported of them."""
        return Counter(self._last.values())

    @property
    def complete(self) -> bool:
        """Whether all messages were sent and every one has come to its end."""
        return len(self.sent_at) >= self.expected and len(self.completed) + self.gave_up >= self.expected

    def sent(self, ids: Sequence[int], now: float) -> None:
        """Messages were sent."""
        for message_id in ids:
            self.sent_at[message_id] = now

    def take(self, found: Sequence[events.Event]) -> list[ReportedState]:
        """Enter events in order; those about recipients are returned."""
        reported: list[ReportedState] = []
        for event in found:
            self.seq = event.seq
            match _body.decode(event.body):
                case events.Status() as body:
                    reported.append(self._status(body))
                case events.Completed() as body:
                    self.completed[body.id] = body.polls
                case events.GaveUp():
                    self.gave_up += 1
                case events.Resumed():
                    self.gave_up -= 1
                case _:
                    continue
        return reported

    def _status(self, body: events.Status) -> ReportedState:
        at = datetime.fromisoformat(body.observed_at).timestamp()
        item = ReportedState(at, max(0.0, at - self.sent_at.get(body.id, at)), body)
        key = (body.id, body.msisdn)
        self._last[key] = body.status
        if lifecycle.is_final(body.status):
            self.finals[key] = item
            if body.status == lifecycle.DELIVERED:
                self.ages[body.country_code or "?"].append(item.age)
        return item

    def count_requests(self, monotonic: float, requests: int) -> None:
        """Note how many requests the gateway has seen by now."""
        self._requests.append((monotonic, requests))
        while len(self._requests) > 1 and self._requests[0][0] < monotonic - _WINDOW:
            self._requests.popleft()
        began, before = self._requests[0]
        self.rate = (requests - before) / (monotonic - began) if monotonic > began else 0.0
