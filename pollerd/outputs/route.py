"""Which events an output, or a part of it, takes: by account and by the beginning of the userref. Pure."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec


class RouteRule(Protocol):
    """What is asked for; None: any. Both given: both must hold."""

    @property
    def userref_prefix(self) -> str | None: ...
    @property
    def account(self) -> str | None: ...


class RouteFields(msgspec.Struct, frozen=True):
    """What decides where an event goes."""

    type: str = ""
    account: str = ""
    userref: str | None = None


_decoder: Final = msgspec.json.Decoder(RouteFields)


def route_fields(body: bytes) -> RouteFields:
    """What decides in an event's JSON."""
    return _decoder.decode(body)


def fits(rule: RouteRule, fields: RouteFields) -> bool:
    """Whether the rule takes the event. One without a userref has no prefix."""
    if rule.account is not None and rule.account != fields.account:
        return False
    return rule.userref_prefix is None or (fields.userref or "").startswith(rule.userref_prefix)
