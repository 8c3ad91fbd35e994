"""How often systemd wants a sign of life."""

from __future__ import annotations

import pytest

from pollerd.daemon.systemd import watchdog_interval


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_half_of_what_systemd_allows(environment: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environment, pid=42) == interval
