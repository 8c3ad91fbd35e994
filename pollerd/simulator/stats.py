"""What the gateway saw: requests, rates, connections and faults, counted as they happen."""

from collections import Counter, deque

import msgspec


class StatsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The counts at one moment.

    `max_requests_per_second` is the most requests in any sliding window of one second, `max_connections` the
    most open connections that had sent a gateway request (TCP, after TLS), and `max_connections_by_address` the same
    for each address that they came from; `requests_by_address` counts their requests. `polls_after_final` counts the
    readings of messages whose last final state had already been shown.
    """

    uptime: float
    requests: int
    reads: int
    by_action: dict[str, int]
    by_status: dict[str, int]
    by_fault: dict[str, int]
    max_requests_per_second: int
    connections: int
    max_connections: int
    max_connections_by_address: dict[str, int]
    requests_by_address: dict[str, int]
    opened_connections: int
    rejected_connections: int
    max_connection_age: float
    unauthorized: int
    throttled: int
    messages: int
    polls_unknown: int
    polls_after_final: int
    credit: float


class Stats:
    """Mutable counts; `Simulator.statistics()` gives the frozen picture."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start to count anew. Open connections stay counted as open."""
        self.requests = 0
        self.by_action: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.max_requests_per_second = 0
        self.max_connections = 0
        self.max_connections_by_address: dict[str, int] = {}
        self.requests_by_address: Counter[str] = Counter()
        self.opened_connections = 0
        self.rejected_connections = 0
        self.max_connection_age = 0.0
        self.unauthorized = 0
        self.throttled = 0
        self.polls_unknown = 0
        self.polls_after_final = 0
        self._window: deque[float] = deque()

    def saw_request(self, monotonic: float) -> int:
        """Count one request; how many came within the last second, this one included."""
        self.requests += 1
        window = self._window
        window.append(monotonic)
        oldest = monotonic - 1.0
        while window[0] <= oldest:
            window.popleft()
        count = len(window)
        self.max_requests_per_second = max(self.max_requests_per_second, count)
        return count
