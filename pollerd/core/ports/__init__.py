"""The interfaces between the loops and the adapters: loops know these, adapters fulfil them, the daemon wires them."""

from pollerd.core.ports.accounts import AccountState, Balance, CreditState, Transition
from pollerd.core.ports.clock import Clock, GatewayTime
from pollerd.core.ports.deliveries import Delivery, DeliveryBook, DeliveryChange, DeliveryState
from pollerd.core.ports.events import Cursor, EventLog
from pollerd.core.ports.gateway import Gateway, Limiter
from pollerd.core.ports.meters import CommitMeter, PollMeter, Unmetered
from pollerd.core.ports.outputs import Opening, Output, OutputHealth, Preparing, SourceHealth
from pollerd.core.ports.requests import Request, RequestKind
from pollerd.core.ports.store import Batch, Due, Schedule, Store
from pollerd.core.ports.unwritten import Saved, Unwritten, UnwrittenBook, UnwrittenChange

__all__ = [
    "AccountState",
    "Balance",
    "Batch",
    "Clock",
    "CommitMeter",
    "CreditState",
    "Cursor",
    "Delivery",
    "DeliveryBook",
    "DeliveryChange",
    "DeliveryState",
    "Due",
    "EventLog",
    "Gateway",
    "GatewayTime",
    "Limiter",
    "Opening",
    "Output",
    "OutputHealth",
    "PollMeter",
    "Preparing",
    "Request",
    "RequestKind",
    "Saved",
    "Schedule",
    "SourceHealth",
    "Store",
    "Transition",
    "Unmetered",
    "Unwritten",
    "UnwrittenBook",
    "UnwrittenChange",
]
