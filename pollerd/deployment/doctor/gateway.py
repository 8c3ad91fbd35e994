"""The gateway itself: the token, its region, the clock, the balance, which one `GET /rest/me` answers; and the right to
read incoming messages.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec
from aiohttp import ClientError, ClientResponse, ClientTimeout
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec.structs import replace
from yarl import URL

from pollerd.base.redact import Redactor
from pollerd.base.text import duration
from pollerd.config import AccountConfig, ConfigError, OAuth1
from pollerd.core.incoming import IncomingDenied, IncomingPage
from pollerd.core.model import HoldReason, NotFound, Rejected, Trouble
from pollerd.core.ports import Balance
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.route import Target, Way, explore, resolve
from pollerd.gateway.body import MAX_ERROR_BYTES, MAX_WIRE_BYTES, TooLargeError, read_bounded
from pollerd.gateway.failures import trouble
from pollerd.gateway.gatewayapi.answers import read_balance, read_error, read_incoming, read_incoming_error
from pollerd.gateway.gatewayapi.auth import RequestSigner
from pollerd.gateway.transport import Route, present

REGIONS: Final = ("https://gatewayapi.com", "https://gatewayapi.eu")
"""The vendor's two gateways. A token is valid at one of them."""
TIMEOUT: Final = 10.0  # Seconds for one request: longer than a slow gateway takes, and somebody is waiting.
CLOCK_WARNING: Final = 5.0  # Seconds.
CLOCK_FAILURE: Final = 60.0
"""Seconds that this machine's clock may be away from the gateway's."""
# Source: API error codes in the vendor's documentation.
_ADDRESS: Final = 0x0213
_FROZEN: Final = 0x022A  # The account is frozen; the vendor's list of error codes.


class Reply(msgspec.Struct, frozen=True):
    """What `GET /rest/me` brought. `ahead`: seconds that our clock is before the gateway's; None: it did not say."""

    outcome: Balance | Trouble
    code: int | None = None
    ahead: float | None = None


class _Known(AbstractResolver):
    """Gives the addresses that were found already: aiohttp's own look-up could hang in a thread."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None: ...


async def account_checks(
    account: AccountConfig, warn_below: float | None, regions: Sequence[str] = REGIONS
) -> list[Check]:
    """Everything about one account, step by step; what depends on a step that failed is not tried."""
    here = [address for address in account.source_addresses or () if present(address)]
    found = [_missing(account, address, here) for address in account.source_addresses or () if address not in here]
    source = here[0] if here else None
    way: Way = await explore(account, frozenset(URL(region).host or "" for region in regions), source)
    found += way.checks
    if way.target is None:
        return found
    try:
        credentials = RequestSigner(account)
    except ConfigError:
        # Said as a problem of the configuration already; nothing to show the gateway.
        return found
    reply = await ask(account, way.target, credentials)
    found += _clock(account, reply)
    if isinstance(reply.outcome, Balance):
        found.append(ok(f"{account.name}: token", f"accepted by {way.target.base.host}"))
        found.append(_balance(account, reply.outcome, warn_below))
        if account.incoming is not None:
            found.append(await _incoming(account, way.target, credentials))
    elif reply.outcome.reason is HoldReason.UNAUTHORIZED:
        found.append(await _unauthorized(account, way.target, credentials, reply, regions))
    else:
        found.append(_refused(account, way.target, reply))
    if isinstance(reply.outcome, Balance):
        found += [await _from(account, way.target, credentials, address) for address in here]
    return found


def _missing(account: AccountConfig, address: str, here: Sequence[str]) -> Check:
    name = f"{account.name}: source address"
    step = f"give {address} to an interface, or take it out of [accounts.{account.name}] source_addresses"
    if not here:
        return failure(name, f"{address} is not on this machine, nor is any other of source_addresses", step)
    return warning(name, f"{address} is not on this machine; connections from {', '.join(here)} go on", step)


async def _from(account: AccountConfig, target: Target, credentials: RequestSigner, address: str) -> Check:
    """Whether the gateway answers a request from one of the source addresses."""
    name = f"{account.name}: source address"
    reply = await ask(account, replace(target, source=address), credentials)
    if isinstance(reply.outcome, Balance):
        return ok(name, f"accepted from {address}")
    step = "let the firewall and the gateway's list of allowed addresses accept it, or take it out of source_addresses"
    return failure(name, f"not accepted from {address}: {reply.outcome.detail}", step)


class _Raw(msgspec.Struct, frozen=True):
    """An answer as it came; `ahead` as in `Reply`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    ahead: float | None


async def ask(account: AccountConfig, target: Target, credentials: RequestSigner) -> Reply:
    """One `GET /rest/me` at the target. Every failure is a value."""
    raw = await _get(account, target, credentials, target.base / "rest" / "me", MAX_ERROR_BYTES)
    if isinstance(raw, Trouble):
        return Reply(raw)
    if raw.status == 200:
        return Reply(read_balance(raw.body, raw.headers), ahead=raw.ahead)
    answer = read_error(raw.status, raw.headers, raw.body, _redactor(target, credentials), time.time())
    return Reply(_trouble(answer.outcome), answer.code, raw.ahead)


async def _get(
    account: AccountConfig, target: Target, credentials: RequestSigner, url: URL, most: int
) -> _Raw | Trouble:
    """One GET, of at most so many bytes."""
    redact = _redactor(target, credentials)
    route = Route(target.trust, target.proxy, ClientTimeout(total=TIMEOUT), _Known(target.addresses))
    async with route.open(source=target.source) as session:
        begun = time.time()
        try:
            async with session.get(url, headers=credentials.headers(url), allow_redirects=False) as response:
                ended = time.time()
                body = await read_bounded(response, most)
        except TooLargeError as error:
            return Trouble(HoldReason.UNREACHABLE, error.kind, error.detail)
        except (ClientError, OSError) as error:
            failed = trouble(error, str(target.base.host))
            return Trouble(failed.reason, failed.kind, redact(failed.detail))
    return _Raw(response.status, response.headers, body, _ahead(response, begun, ended))


def _redactor(target: Target, credentials: RequestSigner) -> Redactor:
    password = target.proxy.password if target.proxy is not None else None
    return Redactor([*credentials.secrets, *([password] if password else [])])


async def _incoming(account: AccountConfig, target: Target, credentials: RequestSigner) -> Check:
    """Whether the account may read incoming messages."""
    name, today = f"{account.name}: incoming messages", datetime.now(UTC).date().isoformat()
    url = (target.base / "rest" / "mosms").with_query({"from": today, "to": today, "page": "1", "per_page": "1"})
    raw = await _get(account, target, credentials, url, MAX_WIRE_BYTES)
    if isinstance(raw, Trouble):
        return warning(name, f"could not be asked for: {raw.detail}", "try again in a minute")
    found: IncomingPage | IncomingDenied | Trouble
    if raw.status == 200:
        found = read_incoming(raw.body, raw.headers)
    else:
        redact = _redactor(target, credentials)
        found = read_incoming_error(raw.status, raw.headers, raw.body, redact, time.time()).outcome
    match found:
        case IncomingPage():
            return ok(name, f"may be read{'' if found.results is None else f'; {found.results} today'}")
        case IncomingDenied():
            step = (
                "ask GatewayAPI whether this account may use GET /rest/mosms, or take "
                f"[accounts.{account.name}.incoming] out of the configuration"
            )
            return failure(name, f"this account may not read them: {found.detail}", step)
        case Trouble():
            return warning(name, f"could not be read: {found.detail}", "try again in a minute")


def _trouble(outcome: NotFound | Rejected | Trouble) -> Trouble:
    if isinstance(outcome, Trouble):
        return outcome
    return Trouble(HoldReason.SERVER_ERRORS, "refused", outcome.detail)


def _ahead(response: ClientResponse, begun: float, ended: float) -> float | None:
    try:
        theirs = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    # The header names a whole second, cut off: on average it is half a second later.
    return (begun + ended) / 2 - (theirs + 0.5)


def _clock(account: AccountConfig, reply: Reply) -> list[Check]:
    if reply.ahead is None:
        return []
    name, away = f"{account.name}: clock", abs(reply.ahead)
    side = "ahead of" if reply.ahead > 0 else "behind"
    facts = f"this machine's clock is {duration(away)} {side} the gateway's"
    sync = "let it be set from the network: timedatectl set-ntp true (or run chrony)"
    if away > CLOCK_FAILURE:
        more = "; OAuth signatures are refused" if isinstance(account.auth, OAuth1) else ""
        return [failure(name, facts + more, f"{sync}; delivery times and delays are wrong until then")]
    if away > CLOCK_WARNING:
        return [warning(name, facts, sync)]
    return [ok(name, "agrees with the gateway's to within a second or two")]


def _balance(account: AccountConfig, balance: Balance, warn_below: float | None) -> Check:
    name, facts = f"{account.name}: balance", f"{balance.credit:,.2f} {balance.currency}"
    if balance.credit <= 0:
        return warning(name, f"{facts}: nothing is left to send with", "buy credit in the gateway's dashboard")
    if warn_below is not None and balance.credit < warn_below:
        return warning(name, f"{facts}, below warn_below = {warn_below:g}", "buy credit in the gateway's dashboard")
    return ok(name, facts)


async def _unauthorized(
    account: AccountConfig, target: Target, credentials: RequestSigner, reply: Reply, regions: Sequence[str]
) -> Check:
    assert isinstance(reply.outcome, Trouble)
    name, base = f"{account.name}: token", account.base_url
    facts = f"refused by {target.base.host}: {reply.outcome.detail}"
    others = [region for region in regions if region != base] if base in regions else []
    tried = []
    for other in others:
        host = URL(other).host
        accepted = await _accepted(account, target, credentials, other)
        if accepted:
            return failure(
                name,
                f"{facts}. The same token is accepted by {host}",
                f'it belongs to the other region; set [accounts.{account.name}] base_url = "{other}"',
            )
        tried.append(f"{host} {'refuses it too' if accepted is False else 'could not be asked'}")
    also = f". {', '.join(tried)}" if tried else ""
    what = account.auth.source.kind.word
    step = f"copy the {what} from the gateway's dashboard again, and {account.renewal}"
    return failure(name, facts + also, step)


async def _accepted(account: AccountConfig, target: Target, credentials: RequestSigner, region: str) -> bool | None:
    """Whether another region of the vendor takes the same credentials; None when it cannot be asked."""
    base = URL(region)
    try:
        addresses = target.addresses if target.proxy is not None else await resolve(base, target.source)
    except OSError:
        return None
    reply = await ask(account, replace(target, base=base, addresses=addresses), credentials)
    if isinstance(reply.outcome, Balance):
        return True
    return False if reply.outcome.reason is HoldReason.UNAUTHORIZED else None


def _refused(account: AccountConfig, target: Target, reply: Reply) -> Check:
    assert isinstance(reply.outcome, Trouble)
    name, facts = f"{account.name}: token", f"{target.base.host}: {reply.outcome.detail}"
    match reply.outcome.reason:
        case HoldReason.FORBIDDEN if reply.code == _FROZEN:
            return failure(name, f"the account is frozen ({facts})", "ask the gateway's support")
        case HoldReason.FORBIDDEN:
            what = "this machine's address may not use it" if reply.code == _ADDRESS else "it may not be used from here"
            step = "allow this machine's public address for the token in the gateway's dashboard"
            return failure(name, f"{what} ({facts})", step)
        case HoldReason.THROTTLED:
            step = "try again in a minute; when it stays, lower requests_per_second"
            return warning(name, f"not tried to the end, the gateway is busy ({facts})", step)
        case HoldReason.SERVER_ERRORS:
            return warning(name, f"not tried to the end, the gateway has trouble ({facts})", "see its status page")
        case _:
            return failure(f"{account.name}: gateway", facts, "check base_url, the proxy and the network")
