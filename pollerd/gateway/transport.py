"""The way to the gateway: whom to trust, through which proxy, and how a connection slot is opened."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import Final
from urllib.request import getproxies, proxy_bypass

import msgspec
from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
)
from aiohttp.abc import AbstractResolver
from aiohttp.hdrs import PROXY_AUTHORIZATION
from multidict import CIMultiDict
from yarl import URL

from pollerd.config import AccountConfig, ConfigError, Problem
from pollerd.config.addresses import PERCENT_ENCODED
from pollerd.gateway.connection import OneConnection

KEEP_ALIVE: Final = 15.0
"""Seconds an unused connection is kept: less than servers commonly keep theirs, so that we are the ones to close."""
_DNS_TTL: Final = 5  # Seconds: a gateway that moves is followed soon, and a burst asks the resolver once.
_SECOND_ADDRESS_AFTER: Final = 1.0
"""Seconds until a second address is tried beside one that does not answer. Longer than any usual handshake, so that
two connections are never established for one slot."""


def trust(account: AccountConfig) -> ssl.SSLContext:
    """The certificate authorities of `ca_file`, else those of $SSL_CERT_FILE, $SSL_CERT_DIR or the system.

    Raises :class:`pollerd.config.ConfigError` when `ca_file` cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=account.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else str(error.strerror)
        raise ConfigError(
            (
                Problem(
                    "",
                    f"accounts.{account.name}.ca_file",
                    str(account.ca_file),
                    f"the file {reason}; name a readable file with the authority's certificate in PEM form",
                ),
            )
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def proxy_of(account: AccountConfig) -> URL | None:
    """The account's proxy, else the environment's (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, but not for NO_PROXY).

    Looked up once: aiohttp's own `trust_env` asks a thread and reads .netrc for every request.
    Raises :class:`pollerd.config.ConfigError` for a proxy that cannot be used.
    """
    if account.proxy is not None:
        return _proxy_url(account.proxy.reveal(), f"accounts.{account.name}.proxy")
    base = URL(account.base_url)
    found = getproxies()
    text = found.get(base.scheme) or found.get("all")
    if not text or proxy_bypass(f"{base.host}:{base.port}"):
        return None
    return _proxy_url(text, f"${base.scheme.upper()}_PROXY")


def _proxy_url(text: str, key: str) -> URL:
    try:
        url = URL(text if "://" in text else f"http://{text}")
        usable = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        usable = False
    if not usable:
        expected = "not a proxy that can be used; write http://HOST:PORT, with USER:PASSWORD@ before the host if needed"
        if "@" in text:
            expected += f", both {PERCENT_ENCODED}"
        raise ConfigError((Problem("", key, None, expected),))
    return url


def proxy_authorization(proxy: URL) -> str | None:
    """The value of Proxy-Authorization (RFC 7617) for the user and password in the proxy's URL; None without a user."""
    if proxy.user is None:
        return None
    pair = f"{proxy.user}:{proxy.password or ''}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _introduced(proxy: URL) -> tuple[ClientMiddlewareType, ...]:
    """Gives the proxy its user and password in UTF-8: aiohttp itself writes Latin-1, and fails where that has no such
    letter."""
    value = proxy_authorization(proxy)
    if value is None:
        return ()

    async def with_credentials(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if request.is_ssl():
            request.proxy_headers = CIMultiDict({PROXY_AUTHORIZATION: value})
        else:
            request.headers[PROXY_AUTHORIZATION] = value
        return await handler(request)

    return (with_credentials,)


def family(address: str) -> socket.AddressFamily:
    """The family of an IP address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def present(address: str) -> bool:
    """Whether an interface of this machine has the address now: only then can a socket be bound to it."""
    with socket.socket(family(address), socket.SOCK_STREAM) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return False
    return True


class Route(msgspec.Struct, frozen=True):
    """Everything that connections of one account have in common."""

    trust: ssl.SSLContext
    proxy: URL | None
    timeout: ClientTimeout
    resolver: AbstractResolver | None = None

    def open(self, *, keep: bool = True, source: str | None = None) -> ClientSession:
        """A session that holds one connection at most, and opens it with its first request. Without `keep` it closes
        the connection after each. `source`: the address of this machine that the connection is opened from."""
        connector = OneConnection(
            keep=keep,
            keepalive_timeout=KEEP_ALIVE,
            ssl=self.trust,
            resolver=self.resolver,
            ttl_dns_cache=_DNS_TTL,
            happy_eyeballs_delay=_SECOND_ADDRESS_AFTER,
            family=socket.AF_UNSPEC if source is None else family(source),
            local_addr=None if source is None else (source, 0),
        )
        return ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            timeout=self.timeout,
            proxy=None if self.proxy is None else self.proxy.with_user(None),
            auto_decompress=False,
            trust_env=False,
            middlewares=() if self.proxy is None else _introduced(self.proxy),
        )
