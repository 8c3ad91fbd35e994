"""pollerd follows SMS sent through GatewayAPI to their final states.

From Python, whether the daemon runs or not:

    import pollerd

    pollerd.track(421332671, userref="order-17")
    pollerd.wait(421332671, timeout=3600).statuses  # {4587654321: "DELIVERED"}
    for event in pollerd.events(after=17, follow=True):
        print(event)

`pollerd.Client` and `pollerd.AsyncClient` take a configuration, a database or a control socket of their own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pollerd.base.errors import PollerdError
    from pollerd.client.aio import AsyncClient
    from pollerd.client.shortcuts import events, track, wait
    from pollerd.client.sync import Client
    from pollerd.client.values import (
        AnyEvent,
        CompletedEvent,
        CreditLowEvent,
        CreditOkEvent,
        FinalStates,
        ForgottenEvent,
        Gap,
        GaveUpEvent,
        HeldEvent,
        NotFollowedError,
        OverdueEvent,
        RecoveredEvent,
        ResumedEvent,
        StatusEvent,
        Tracked,
    )

__all__ = [
    "AnyEvent",
    "AsyncClient",
    "Client",
    "CompletedEvent",
    "CreditLowEvent",
    "CreditOkEvent",
    "FinalStates",
    "ForgottenEvent",
    "Gap",
    "GaveUpEvent",
    "HeldEvent",
    "NotFollowedError",
    "OverdueEvent",
    "PollerdError",
    "RecoveredEvent",
    "ResumedEvent",
    "StatusEvent",
    "Tracked",
    "events",
    "track",
    "wait",
]
_HOMES = {
    "AsyncClient": "pollerd.client.aio",
    "Client": "pollerd.client.sync",
    "PollerdError": "pollerd.base.errors",
    "events": "pollerd.client.shortcuts",
    "track": "pollerd.client.shortcuts",
    "wait": "pollerd.client.shortcuts",
}


def __getattr__(name: str) -> object:
    # On demand: the command, which does not need the client, starts the faster for it.
    if name not in __all__:
        raise AttributeError(f"module 'pollerd' has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES.get(name, "pollerd.client.values")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
