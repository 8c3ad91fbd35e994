"""When is the next poll worth it, and why? What pollerd is known for.

What was observed, the time and randomness enter as arguments; decisions leave. Pure: knows no other room.
"""

from pollerd.backoff.adaptive import Adaptive
from pollerd.backoff.budget import wanted_polls
from pollerd.backoff.current import Current
from pollerd.backoff.exponential import Exponential
from pollerd.backoff.protocol import (
    EVERYWHERE,
    Decision,
    Group,
    Key,
    KeyInfo,
    Metrics,
    Part,
    Plan,
    PlanRow,
    Policy,
    Settings,
)

__all__ = [
    "EVERYWHERE",
    "Adaptive",
    "Current",
    "Decision",
    "Exponential",
    "Group",
    "Key",
    "KeyInfo",
    "Metrics",
    "Part",
    "Plan",
    "PlanRow",
    "Policy",
    "Settings",
    "wanted_polls",
]
