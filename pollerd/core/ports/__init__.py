"""The interfaces between the loops and the adapters: loops know these, adapters fulfil them, the daemon wires them."""

from pollerd.core.ports.accounts import AccountState, Balance, CreditState, Transition
from pollerd.core.ports.clock import Clock, GatewayTime
from pollerd.core.ports.deliveries import Delivery, DeliveryBook, DeliveryChange, DeliveryState
from pollerd.core.ports.engine import Engine, Ownership
from pollerd.core.ports.events import Cursor, EventLog
from pollerd.core.ports.gateway import Gateway, Limiter, SourceAddress
from pollerd.core.ports.incoming import IncomingBook, IncomingGateway
from pollerd.core.ports.meters import CommitMeter, PollMeter, Unmetered
from pollerd.core.ports.outputs import Opening, Output, OutputHealth, Preparing, SourceHealth
from pollerd.core.ports.requests import Asked, Handover, Request, RequestKind
from pollerd.core.ports.store import Batch, Chore, Due, Retaining, Schedule, Store
from pollerd.core.ports.tracking import OtherAccount, SourceBook, SourceRow, TrackRequest, TrackResult
from pollerd.core.ports.unwritten import Saved, Unwritten, UnwrittenBook, UnwrittenChange
from pollerd.core.ports.view import StoreSize, View, Views
