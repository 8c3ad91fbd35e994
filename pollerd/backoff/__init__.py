"""When is the next look worth it? Pure: time and randomness come from outside."""

from pollerd.backoff.adaptive import Adaptive
from pollerd.backoff.budget import wanted_polls
from pollerd.backoff.exponential import Exponential
from pollerd.backoff.protocol import (
    EVERYWHERE,
    Decision,
    Key,
    KeyInfo,
    Metrics,
    Plan,
    PlanRow,
    Policy,
    Settings,
)

__all__ = [
    "EVERYWHERE",
    "Adaptive",
    "Decision",
    "Exponential",
    "Key",
    "KeyInfo",
    "Metrics",
    "Plan",
    "PlanRow",
    "Policy",
    "Settings",
    "wanted_polls",
]
