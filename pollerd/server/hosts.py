"""Whom a request was meant for: a browser that another site's name led here (DNS rebinding) shows it by `Host`."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pollerd.config import Listen
from pollerd.server.refusals import RequestError

MISDIRECTED: Final = 421  # RFC 9110, section 15.5.20.


def host_allowed(host: str, listen: Listen, names: tuple[str, ...] = ()) -> bool:
    """Whether a Host header names this machine: localhost, a loopback address, what is listened on, or one of `names`.

    A name that an attacker's DNS leads here is none of these; an address cannot be led anywhere. Where all addresses
    are listened on, any address is right.
    """
    if "@" in host:
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", listen.host.lower(), *names):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    try:
        bound = ipaddress.ip_address(listen.host)
    except ValueError:
        return False
    return bound.is_unspecified or bound == address


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_names() -> tuple[str, ...]:
    """What this machine calls itself, whole and without its domain."""
    name = socket.gethostname().lower()
    return (name, name.partition(".")[0])


def meant_for(listen: Listen) -> list[Middleware]:
    """What refuses requests for other hosts, where only this machine may ask.

    On other addresses whoever reaches the port may read it, and a scraper may know the machine by any name.
    """
    names = own_names()
    if not _loopback(listen.host):
        return []

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not host_allowed(request.headers.get("Host", ""), listen, names):
            text = (
                f"this name is not the machine's: ask by address, by localhost or by {names[0]}, "
                "or name the host in [metrics] listen"
            )
            raise RequestError(MISDIRECTED, "wrong_host", text)
        return await handler(request)

    return [guard]
