"""What is posted, and where to: the vendor's body for a status, the receiver by userref and account. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pollerd import event as events
from pollerd.config import WebhookOutput, WebhookRoute

NAMED: Final = "default"
"""The name of the lane to the default URL; routes are named by their number."""


class Told(msgspec.Struct, frozen=True):
    """What decides where an event goes."""

    account: str = ""
    userref: str | None = None


class _Vendor(msgspec.Struct, frozen=True, omit_defaults=True):
    """The vendor's body: nothing else, and what is not known is left away."""

    id: int
    msisdn: int
    time: int
    status: str
    error: str | None = None
    code: str | None = None
    userref: str | None = None
    country_code: str | None = None
    country_prefix: int | None = None
    charge_status: str | None = None


_vendor: Final = msgspec.json.Decoder(_Vendor)
_told: Final = msgspec.json.Decoder(Told)
_encoder: Final = msgspec.json.Encoder()


def posted(seq: int, kind: str, body: bytes) -> bytes:
    """The body to post for an event of type `kind` with the JSON `body`: the vendor's for a status, else the event."""
    if kind == events.MESSAGE_STATUS:
        return _encoder.encode(_vendor.decode(body))
    return events.Event(seq, kind, None, body).line.rstrip(b"\n")


class Routes:
    """Which lane an event goes to: the first route that fits, else the default."""

    def __init__(self, config: WebhookOutput) -> None:
        self._routes = config.routes
        self.all_events = config.all_events

    def wants(self, kind: str) -> bool:
        """Whether events of this type are posted at all."""
        return self.all_events or kind == events.MESSAGE_STATUS

    def lane(self, body: bytes) -> str:
        """The name of the lane for the event with this JSON."""
        if not self._routes:
            return NAMED
        told = _told.decode(body)
        return next((str(n) for n, route in enumerate(self._routes, 1) if _fits(route, told)), NAMED)

    @property
    def note(self) -> str:
        """The same as long as every event goes to the same lane; kept with the output's place."""
        return _encoder.encode([(route.userref_prefix, route.account) for route in self._routes]).decode()


def _fits(route: WebhookRoute, told: Told) -> bool:
    if route.account is not None and route.account != told.account:
        return False
    return route.userref_prefix is None or (told.userref or "").startswith(route.userref_prefix)


def lanes(config: WebhookOutput) -> Sequence[tuple[str, WebhookRoute]]:
    """Every lane's name and receiver."""
    default = WebhookRoute(config.url, secret=config.secret)
    return [(NAMED, default), *((str(number), route) for number, route in enumerate(config.routes, 1))]
