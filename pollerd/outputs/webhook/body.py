"""What is posted, and where to: the vendor's body for a status, the receiver by userref and account. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from pollerd.config import WebhookOutputConfig, WebhookRouteConfig
from pollerd.core import event as events
from pollerd.outputs.route import RouteFields, fits, route_fields

NAMED: Final = "default"
"""The name of the receiver at the default URL; routes are named by their number."""


class _Vendor(msgspec.Struct, frozen=True, omit_defaults=True):
    """The vendor's body. As in tokens that the vendor really sent, the first seven are always there, null when nothing
    is known; its documentation would also leave those three away. The others are left away.
    """

    id: int
    msisdn: int
    time: int
    status: str
    error: str | None
    code: str | None
    userref: str | None
    country_code: str | None = None
    country_prefix: int | None = None
    charge_status: str | None = None


class _Incoming(msgspec.Struct, frozen=True, omit_defaults=True):
    """The vendor's body for an incoming message: the first six are always there, the others when they are known."""

    id: int
    msisdn: int | None
    receiver: int | str | None
    message: str | None
    senttime: int | None
    webhook_label: str | None
    sender: str | None = None
    encoding: str | None = None


_received: Final = msgspec.json.Decoder(events.Received)
_vendor: Final = msgspec.json.Decoder(_Vendor)
_encoder: Final = msgspec.json.Encoder()


_VENDORS: Final = frozenset({events.MESSAGE_STATUS, events.MESSAGE_RECEIVED})
"""The events that the vendor posts as well."""
_NOT_PLAIN: Final = re.compile("[^\x20-\x7e]|[>?~]")


def posted(seq: int, kind: str, body: bytes) -> bytes:
    """The body to post for an event of type `kind` with the JSON `body`: the vendor's for a status and for an incoming
    message, else the event.

    In ASCII, as the vendor has it. In base64 only bytes above 127 and `>`, `?`, `~` and DEL lead to the two signs
    in which a token's alphabet differs from the plain one; receivers that decode the payload with the plain one work.
    """
    if kind == events.MESSAGE_STATUS:
        return _plain(_encoder.encode(_vendor.decode(body)))
    if kind == events.MESSAGE_RECEIVED:
        return _plain(_encoder.encode(_incoming(_received.decode(body))))
    return _plain(events.Event(seq, kind, None, body).line.rstrip(b"\n"))


def _incoming(body: events.Received) -> _Incoming:
    return _Incoming(
        id=body.incoming_id,
        msisdn=body.msisdn,
        receiver=body.receiver,
        message=body.text,
        senttime=None if body.senttime is None else int(body.senttime),
        webhook_label=body.webhook_label,
        sender=body.sender,
        encoding=body.encoding,
    )


def _plain(text: bytes) -> bytes:
    """The same JSON, with what is not plain escaped. Outside of strings there is nothing of it."""
    return _NOT_PLAIN.sub(_escaped, text.decode()).encode("ascii")


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


class Routes:
    """Which receiver an event goes to: that of the first route that fits, else the default."""

    def __init__(self, config: WebhookOutputConfig) -> None:
        self._routes = config.routes
        self.all_events = config.all_events

    def wants(self, kind: str) -> bool:
        """Whether events of this type are posted at all."""
        return self.all_events or kind in _VENDORS

    def receiver(self, body: bytes) -> str:
        """The name of the receiver for the event with this JSON."""
        if not self._routes:
            return NAMED
        fields = route_fields(body)
        return next((str(n) for n, route in enumerate(self._routes, 1) if _takes(route, fields)), NAMED)

    @property
    def note(self) -> str:
        """The same as long as every event goes to the same receiver; kept with the output's cursor."""
        rules = [(route.userref_prefix, route.account, *(["incoming"] * route.incoming)) for route in self._routes]
        return _encoder.encode(rules).decode()


def _takes(route: WebhookRouteConfig, fields: RouteFields) -> bool:
    return fits(route, fields) and (not route.incoming or fields.type == events.MESSAGE_RECEIVED)


def receivers_of(config: WebhookOutputConfig) -> Sequence[tuple[str, WebhookRouteConfig]]:
    """Every receiver's name and route."""
    default = WebhookRouteConfig(config.url, secret=config.secret)
    return [(NAMED, default), *((str(number), route) for number, route in enumerate(config.routes, 1))]
