"""The way to a gateway, one step after the other: name, proxy, connection, TLS. No credentials of ours travel here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import msgspec
from yarl import URL

from pollerd.base.bounded import in_thread
from pollerd.config import AccountConfig, ConfigError
from pollerd.config.addresses import PERCENT_ENCODED
from pollerd.deployment.doctor import certificate
from pollerd.deployment.doctor.certificate import Certificate
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.gateway.certificates import FLAWS, Flaw
from pollerd.gateway.transport import family, proxy_authorization, proxy_of, trust

STEP: Final = 6.0
"""Seconds for each step."""
EXPIRES_SOON: Final = 14 * 86400.0  # Seconds, two weeks: time enough to have a certificate renewed.
_NAMES_PROXY: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
# Numbers of OpenSSL's x509_vfy.h, which the ssl module passes on without names.
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_WRONG_NAME: Final = frozenset({62, 64})
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID.


class ProxyRefusedError(OSError):
    """The proxy answered CONNECT with something else than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"it answers {status} {reason}".strip())
        self.status = status


class Target(msgspec.Struct, frozen=True):
    """A gateway and how to get there. `addresses` are those of the first hop: the proxy's where there is one.
    `source`: the address of this machine to go out from; None: the one that the system chooses.
    """

    name: str
    base: URL
    proxy: URL | None
    trust: ssl.SSLContext
    addresses: tuple[str, ...]
    source: str | None = None

    @property
    def hop(self) -> URL:
        return self.proxy or self.base


class Way(msgspec.Struct, frozen=True):
    """What was found on the way; `target` is None when the gateway cannot be asked anything."""

    checks: tuple[Check, ...]
    target: Target | None


async def explore(account: AccountConfig, official: frozenset[str], source: str | None = None) -> Way:
    """Go the way that the daemon would go, from the address `source`. `official` are the vendor's own hosts."""
    found: list[Check] = []
    target = await _resolved(account, source, found)
    if target is None or not await _connected(target, found):
        return Way(tuple(found), None)
    if target.base.scheme == "https" and not await _secured(target, account, official, found):
        return Way(tuple(found), None)
    return Way(tuple(found), target)


async def _resolved(account: AccountConfig, source: str | None, found: list[Check]) -> Target | None:
    base, name = URL(account.base_url), account.name
    try:
        proxy = proxy_of(account)
        context = trust(account)
    except ConfigError as error:
        found.append(failure(f"{name}: route", str(error), "correct it in the configuration or the environment"))
        return None
    if proxy is not None:
        found.append(ok(f"{name}: proxy", f"{_shown(proxy)}, from {_source(account)}"))
    hop = proxy or base
    label = f"{name}: dns"
    try:
        addresses = await resolve(hop, source)
    except TimeoutError:
        found.append(failure(label, f"{hop.host}: no name server answered within {STEP:g} s", _NAMES))
        return None
    except OSError as error:
        found.append(failure(label, f"{hop.host} cannot be resolved: {error.strerror or error}", _NAMES))
        return None
    whose = " (the proxy; it resolves the gateway's name itself)" if proxy is not None else ""
    found.append(ok(label, f"{hop.host} is {', '.join(addresses)}{whose}"))
    return Target(name, base, proxy, context, addresses, source)


_NAMES: Final = (
    "check base_url (or proxy), /etc/resolv.conf, and whether a firewall stops port 53; where only a proxy gets out, "
    "set proxy in the account's table"
)


async def resolve(url: URL, source: str | None = None) -> tuple[str, ...]:
    """The addresses of the URL's host, those that can be reached from `source`. Raises OSError."""
    host, port = url.host or "", url.port
    wanted = socket.AF_UNSPEC if source is None else family(source)
    entries = await in_thread(lambda: socket.getaddrinfo(host, port, wanted, socket.SOCK_STREAM), STEP)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))


def _source(account: AccountConfig) -> str:
    if account.proxy is not None:
        return f"accounts.{account.name}.proxy"
    scheme = URL(account.base_url).scheme.upper()
    wanted = [name for name in _NAMES_PROXY if name.startswith((scheme + "_", "ALL"))]
    given = (name for upper in wanted for name in (upper.lower(), upper) if os.environ.get(name))
    return f"${next(given, 'the environment')}"


def _shown(url: URL) -> str:
    return f"{url.scheme}://{'***@' if url.user else ''}{url.host}:{url.port}"


async def _connected(target: Target, found: list[Check]) -> bool:
    label = f"{target.name}: {'proxy' if target.proxy else 'connection'}"
    hop, base = target.hop, target.base
    begun = time.monotonic()
    try:
        async with asyncio.timeout(STEP), opened(target):
            pass
    except ProxyRefusedError as error:
        found.append(_refused_by_proxy(label, target, error))
        return False
    except TimeoutError:
        found.append(failure(label, f"{hop.host}:{hop.port} does not answer within {STEP:g} s", _reach(target)))
        return False
    except ssl.SSLError as error:
        evidence = f"no TLS with the proxy {_shown(hop)}: {error.reason or error}"
        found.append(failure(label, evidence, 'write proxy = "http://..." unless the proxy itself speaks TLS'))
        return False
    except OSError as error:
        reason = _words(error)
        found.append(failure(label, f"no connection to {hop.host}:{hop.port}: {reason}", _reach(target)))
        return False
    took = f"in {(time.monotonic() - begun) * 1000:.0f} ms"
    through = f" through {_shown(hop)}" if target.proxy else ""
    found.append(ok(label, f"{base.host}:{base.port} reached{through} {took}"))
    return True


def _reach(target: Target) -> str:
    if target.proxy is not None:
        return "check host and port of the proxy, and that it runs"
    out = f"{target.base.host}:{target.base.port}"
    return f"check base_url, and let this machine out to {out}, or set [accounts.{target.name}] proxy"


def _refused_by_proxy(label: str, target: Target, error: ProxyRefusedError) -> Check:
    evidence = f"{_shown(target.hop)} refuses to connect to {target.base.host}:{target.base.port}: {error}"
    if error.status == 407:
        give = "correct user and password" if target.hop.user else "give it a user and password"
        url = f"http://USER:PASSWORD@{target.hop.host}:{target.hop.port}"
        step = f'{give}: in [accounts.{target.name}] proxy = "{url}", {PERCENT_ENCODED}'
        return failure(label, evidence, step)
    return failure(label, evidence, f"ask whoever runs the proxy to allow CONNECT to {target.base.host}:443")


def _words(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused; nothing listens there, or a firewall refuses"
    return error.strerror or str(error) or "failed"


@asynccontextmanager
async def opened(target: Target) -> AsyncIterator[asyncio.StreamWriter]:
    """A connection to the gateway, through the proxy where there is one; TLS has not begun. Raises OSError."""
    reader, writer = await _first(target)
    try:
        if target.proxy is not None and target.base.scheme == "https":
            await _ask_proxy(target, reader, writer)
        yield writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _first(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    hop = target.hop
    secure = target.proxy is not None and hop.scheme == "https"
    for address in target.addresses[:-1]:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(STEP / 3):
                return await _open(target, address, secure=secure)
    return await _open(target, target.addresses[-1], secure=secure)


async def _open(target: Target, address: str, *, secure: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    here = None if target.source is None else (target.source, 0)
    if not secure:
        return await asyncio.open_connection(address, target.hop.port, local_addr=here)
    return await asyncio.open_connection(
        address, target.hop.port, local_addr=here, ssl=target.trust, server_hostname=target.hop.host or ""
    )


async def _ask_proxy(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    proxy, host = target.hop, f"{target.base.host}:{target.base.port}"
    lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}"]
    if (credentials := proxy_authorization(proxy)) is not None:
        lines.append(f"Proxy-Authorization: {credentials}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ProxyRefusedError(0, "nothing that is HTTP") from None
    status, _, reason = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")[2].partition(" ")
    if not status.isdigit() or not 200 <= int(status) < 300:
        raise ProxyRefusedError(int(status) if status.isdigit() else 0, reason)


# -- TLS


async def _secured(target: Target, account: AccountConfig, official: frozenset[str], found: list[Check]) -> bool:
    label = f"{target.name}: tls"
    try:
        shown, version = await _handshake(target, target.trust)
    except ssl.SSLCertVerificationError as error:
        found.append(await _refused_certificate(label, target, account, official, error))
        return False
    except TimeoutError:
        found.append(failure(label, f"{target.base.host}: no handshake within {STEP:g} s", _BETWEEN))
        return False
    except OSError as error:
        reason = str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()
        found.append(failure(label, f"{target.base.host} does not speak TLS as it should: {reason}", _BETWEEN))
        return False
    by = f"trusted by ca_file {account.ca_file}" if account.ca_file else "trusted by this machine"
    facts = f"{version}, certificate for {shown.subject}, issued by {shown.issuer}, until {_day(shown.not_after)}, {by}"
    flaw = await _later_refused(target, account)
    if flaw is not None:
        later = f"{facts}. Python 3.13 and later refuse it: {flaw.fault}"
        found.append(warning(label, later, f"before Python is upgraded here, {_again(flaw, account)}"))
    if shown.not_after - time.time() < EXPIRES_SOON:
        found.append(warning(label, facts, "whoever runs that server must renew it in these days"))
    elif flaw is None:
        found.append(ok(label, facts))
    return True


async def _later_refused(target: Target, account: AccountConfig) -> Flaw | None:
    """What a later Python refuses about the certificate that this one takes."""
    strict = trust(account)
    if strict.verify_flags & ssl.VERIFY_X509_STRICT:
        return None
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        await _handshake(target, strict)
    except ssl.SSLCertVerificationError as error:
        return FLAWS.get(error.verify_code)
    except OSError:
        return None
    return None


def _again(flaw: Flaw, account: AccountConfig) -> str:
    where = account.ca_file or "this machine's certificates (update-ca-certificates)"
    return f"{flaw.remedy}; an authority's new certificate goes into {where}"


_BETWEEN: Final = "check base_url, and what lies between: a proxy or a firewall may answer for the gateway"


async def _handshake(target: Target, context: ssl.SSLContext) -> tuple[Certificate, str]:
    async with asyncio.timeout(STEP), opened(target) as writer:
        await writer.start_tls(context, server_hostname=target.base.host)
        layer = writer.get_extra_info("ssl_object")
        return certificate.read(layer.getpeercert(binary_form=True) or b""), str(layer.version())


async def _refused_certificate(
    label: str,
    target: Target,
    account: AccountConfig,
    official: frozenset[str],
    error: ssl.SSLCertVerificationError,
) -> Check:
    host = target.base.host or ""
    try:
        shown, _ = await _handshake(target, _unchecked())
    except (OSError, ValueError):
        return failure(label, f"{host}: its certificate is refused: {error.verify_message}", _BETWEEN)
    facts = f"certificate for {shown.subject}, issued by {shown.issuer}"
    code = error.verify_code
    if code in _UNKNOWN_AUTHORITY:
        who = shown.subject if shown.self_signed else shown.issuer
        whose = (
            f"TLS to {host} is intercepted by {who}"
            if host in official
            else f"{who} is not an authority known here: it intercepts TLS to {host}, or is private"
        )
        get = (
            f'get its certificate (PEM) from whoever runs it, and set [accounts.{target.name}] ca_file = "/etc/ssl/..."'
        )
        return failure(label, f"{whose} ({facts})", get)
    if code in _WRONG_NAME:
        return failure(label, f"the certificate is for another host than {host} ({facts})", _BETWEEN)
    if code in (_EXPIRED, _NOT_YET):
        span = f"holds from {_day(shown.not_before)} to {_day(shown.not_after)}; here it is {_day(time.time())}"
        return failure(
            label,
            f"{facts}, {span}",
            "set this machine's clock when it is wrong, else the server's certificate must be renewed",
        )
    if (flaw := FLAWS.get(code)) is not None:
        until = "until then pollerd works with Python 3.12 or earlier, which takes it"
        return failure(label, f"{facts} is refused: {flaw.fault}", f"{_again(flaw, account)}; {until}")
    return failure(label, f"{facts} is refused: {error.verify_message}", _BETWEEN)


def _unchecked() -> ssl.SSLContext:
    """To read a certificate that was refused; nothing is sent over such a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _day(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).date().isoformat()
