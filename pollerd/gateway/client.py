"""The client of one account: asks, and turns whatever happens into a value."""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Concatenate, Final, ParamSpec, TypeVar

import msgspec
from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientTimeout
from aiohttp.abc import AbstractResolver
from yarl import URL

from pollerd.base import failpoints
from pollerd.base.redact import Redactor
from pollerd.base.retryafter import http_date
from pollerd.config import AccountConfig
from pollerd.config.secret import proof
from pollerd.core.incoming import Dates, IncomingDenied, IncomingPage
from pollerd.core.model import Answer, HoldReason, Message, NotFound, Outcome, Rejected, Trouble
from pollerd.core.ports import Balance, Clock, GatewayTime, Limiter, SourceAddress
from pollerd.gateway.answerlog import AnswerLog
from pollerd.gateway.body import MAX_ERROR_BYTES, MAX_WIRE_BYTES, TooLargeError, read_bounded
from pollerd.gateway.connection import OneConnection, idle_limit
from pollerd.gateway.failures import trouble
from pollerd.gateway.repeats import Repeats
from pollerd.gateway.slots import Slots
from pollerd.gateway.sources import Source, Sources
from pollerd.gateway.transport import Route, proxy_of, trust
from pollerd.gateway.vendor import Vendor

T = TypeVar("T")
P = ParamSpec("P")
logger: Final = logging.getLogger("pollerd.gateway")

_Reply = tuple[bytes, ClientResponse] | Rejected | Trouble

CONNECTION_AGE: Final = 30.0
"""Seconds after which a connection is replaced, so that a busy one follows the gateway's DNS."""

_AGE_SPREAD: Final = (0.8, 1.1)  # Shares of that age: connections opened together are not all replaced together.
_DECODED_AT_ONCE: Final = 256 * 1024  # Bytes.
_UNPACKED_AT_ONCE: Final = 4 * 1024
"""Bytes of a body, plain and packed, up to which decoding is too short to be worth a thread."""


def proves(vendor: Vendor, nonce: bytes, shown: str) -> bool:
    """Whether `shown` is the proof (`pollerd.config.secret.proof`) of a secret that `vendor` is asked with."""
    return any(hmac.compare_digest(proof(secret, nonce), shown) for secret in vendor.secrets)


class _Attempt(msgspec.Struct, frozen=True):
    """One request and what it met.

    `forgotten`: the other side had forgotten its connection. `lost`: the machine does not have the address of `source`
    any more, and no connection was opened.
    """

    reply: _Reply
    source: Source | None = None
    forgotten: bool = False
    lost: bool = False


class GatewayClient:
    """Implements :class:`pollerd.core.ports.Gateway` for one account over HTTP.

    A request that meets a kept connection which the other side has forgotten is made once more, on a new connection,
    when `limiter` allows it, and is no failure. While `limiter` is held every request opens a connection of its own.

    Raises :class:`pollerd.config.ConfigError` when `ca_file` or the proxy cannot be used. `rng` spreads
    the ages of connections. `time` hears the dates of all answers. `resolver` replaces the system's name resolution.
    `connection_age` is in seconds.
    """

    def __init__(
        self,
        account: AccountConfig,
        vendor: Vendor,
        clock: Clock,
        rng: random.Random,
        *,
        limiter: Limiter | None = None,
        time: GatewayTime | None = None,
        show_msisdn: bool = False,
        resolver: AbstractResolver | None = None,
        connection_age: float = CONNECTION_AGE,
    ) -> None:
        base = URL(account.base_url)
        self._host = f"{base.host}:{base.explicit_port}" if base.explicit_port else str(base.host)
        self._clock = clock
        self._limiter = limiter
        self._time = time
        self._show_msisdn = show_msisdn
        self._vendor = vendor
        self._proxy = proxy_of(account)
        self._redact = self._redactor()
        self._log = AnswerLog(account.name, clock.monotonic)
        self._repeats = Repeats()
        self._timeout = ClientTimeout(total=account.limits.timeout)
        route = Route(trust(account), self._proxy, self._timeout, resolver)
        self.sources: Final = Sources(
            account.name,
            account.sources,
            account.limits.max_connections,
            lambda address, size: Slots(
                size,
                lambda keep: route.open(keep=keep, source=address),
                clock.monotonic,
                lambda: connection_age * rng.uniform(*_AGE_SPREAD),
            ),
            clock.monotonic,
        )
        """Where its connections come from."""

    async def read(self, message_id: int, known: Message | None = None) -> Outcome:
        """Ask once for the status of a message, bounded in time and size. Every failure is a value."""
        failpoints.hit("poll.before")
        reply = await self._get(self._vendor.message_url(message_id))
        failpoints.hit("poll.answered")
        if isinstance(reply, tuple):
            body, response = reply
            if response.status == 200:
                return await self._answered(body, response, message_id, known)
            return self._refused(f"message {message_id}", response, body)
        self._note_unusable(f"message {message_id}", reply)
        return reply

    async def _answered(self, body: bytes, response: ClientResponse, message_id: int, known: Message | None) -> Outcome:
        outcome = await self._in_time(self._understood, body, response, message_id, known)
        if type(outcome) is not Answer:
            self._note_unusable(f"message {message_id}", outcome)
        elif outcome.unusable:
            self._log.damaged(message_id, outcome)
        return outcome

    def _understood(self, body: bytes, headers: Mapping[str, str], message_id: int, known: Message | None) -> Outcome:
        ahead = 0.0 if self._time is None else self._time.ahead
        if known is not None and self._repeats.has(known, body, ahead):
            return Answer.again(known, ahead)
        outcome = self._vendor.read_message(body, headers, message_id)
        if type(outcome) is not Answer:
            return outcome
        if ahead:
            outcome = msgspec.structs.replace(outcome, ahead=ahead)
        if known is not None:
            self._repeats.note(known, body, ahead, outcome)
        return outcome

    async def balance(self) -> Balance | Trouble:
        """Ask once for the account's credit."""
        reply = await self._get(self._vendor.balance_url)
        outcome: Balance | NotFound | Rejected | Trouble
        if isinstance(reply, tuple):
            body, response = reply
            if response.status != 200:
                outcome = self._refused("balance", response, body)
                return outcome if isinstance(outcome, Trouble) else _of_account(outcome)
            outcome = self._vendor.read_balance(body, response.headers)
        else:
            outcome = reply
        if isinstance(outcome, Balance):
            return outcome
        self._note_unusable("balance", outcome)
        return outcome if isinstance(outcome, Trouble) else _of_account(outcome)

    @property
    def source_addresses(self) -> tuple[SourceAddress, ...]:
        """The addresses that are configured for the account, as they are now."""
        return self.sources.health

    async def incoming(self, dates: Dates, page: int) -> IncomingPage | IncomingDenied | Trouble:
        """Ask once for a page of the messages that came in on these days."""
        what = "incoming messages"
        reply = await self._get(self._vendor.incoming_url(dates, page))
        if not isinstance(reply, tuple):
            self._note_unusable(what, reply)
            return reply if isinstance(reply, Trouble) else _of_account(reply)
        body, response = reply
        if response.status == 200:
            found = await self._in_time(self._vendor.read_incoming, body, response)
            if isinstance(found, Trouble):
                self._note_unusable(what, found)
                return found
            if found.damage:
                self._log.damaged_page(found)
            date = None if "Age" in response.headers else http_date(response.headers.get("Date", ""))
            return msgspec.structs.replace(found, date=date)
        error = self._vendor.read_incoming_error(
            response.status, response.headers, body, self._redact, self._clock.wall()
        )
        kind = error.outcome.kind if isinstance(error.outcome, Trouble) else f"http_{response.status}"
        self._log.refused(what, response.status, kind, error.text)
        return error.outcome

    def reload_credentials(self) -> bool:
        """Read the secret's source again; True when it gave another secret, used from the next request on."""
        if not self._vendor.reload():
            return False
        self._redact = self._redactor()
        return True

    def proves(self, nonce: bytes, shown: str) -> bool:
        """Whether `shown` is the proof (`pollerd.config.secret.proof`) of a secret that requests carry."""
        return proves(self._vendor, nonce, shown)

    def reconfigure(self, account: AccountConfig, *, show_msisdn: bool) -> None:
        """The account's limits and source addresses as they are now, from the next request on."""
        self._timeout = ClientTimeout(total=account.limits.timeout)
        self.sources.reconfigure(account.sources, account.limits.max_connections)
        self._show_msisdn = show_msisdn
        self._redact = self._redactor()

    async def close(self) -> None:
        """Close all connections. Requests still under way fail."""
        await self.sources.close()

    # -- one request

    async def _get(self, url: URL) -> _Reply:
        """The answer and its body as sent, or why there is none."""
        # A probe that met a forgotten connection would prove nothing: it gets a new one, and is never repeated.
        probing = self._limiter is not None and self._limiter.held is not None
        first = await self._from(self.sources.choose(), url, fresh=probing)
        if first.forgotten:
            if self._limiter is None or await self._limiter.again():
                logger.debug("%s had forgotten a kept connection: asked again on a new one", self._host)
                return (await self._from(self.sources.choose(), url, fresh=True)).reply
        elif not probing and first.source is not None and (why := _may_be_the_address(first.reply)):
            return await self._compared(first, first.source, why, url)
        return first.reply

    async def _compared(self, first: _Attempt, source: Source, why: str, url: URL) -> _Reply:
        """The same request from another address, where there is one: what fails from all of them is the gateway's."""
        other = self.sources.choose(other_than=source)
        if other is None or not (self._limiter is None or await self._limiter.again(forgotten=False)):
            return first.reply
        second = await self._from(other, url, fresh=False)
        if _may_be_the_address(second.reply):
            return first.reply
        self.sources.failed(source, why)
        return second.reply

    async def _from(self, source: Source | None, url: URL, *, fresh: bool) -> _Attempt:
        """One request from there, or from another address when the machine does not have that one any more: nothing
        went out then."""
        while source is not None:
            attempt = await self._ask(source, url, fresh=fresh)
            if not attempt.lost:
                if not _may_be_the_address(attempt.reply):
                    self.sources.answered(source)
                return attempt
            source = self.sources.choose()
        detail = (
            f"{self._host}: none of source_addresses is on this machine; give one to an interface, or correct the list"
        )
        return _Attempt(Trouble(HoldReason.UNREACHABLE, "no_source_address", detail))

    async def _ask(self, source: Source, url: URL, *, fresh: bool) -> _Attempt:
        keep = self._limiter is None or self._limiter.keeps_connections
        slot, session = await source.slots.take(keep=keep, fresh=fresh)
        connection = session.connector
        assert isinstance(connection, OneConnection)
        connection.next_request()
        idle: float | None = None
        forgotten = False
        try:
            response = await session.get(
                url, headers=self._vendor.headers(url), allow_redirects=False, timeout=self._timeout
            )
            whole = False
            try:
                if response.status == 200:
                    body = await read_bounded(response, MAX_WIRE_BYTES)
                    whole = True
                else:
                    body, whole = await _read_refusal(response)
            finally:
                # After a whole body the connection is back in its slot already.
                if not whole:
                    response.close()
        except TooLargeError as error:
            return _Attempt(Rejected(error.detail, error.kind, decoded=False), source)
        except (ClientError, OSError) as error:
            # Silence is no end: the request may be under way there.
            forgotten = connection.forgotten and not isinstance(error, TimeoutError)
            failure = trouble(error, self._host)
            failed = Trouble(failure.reason, failure.kind, self._redact(failure.detail))
            lost = isinstance(error, ClientConnectorError) and self.sources.lost(source)
            return _Attempt(failed, source, forgotten=forgotten, lost=lost)
        else:
            if whole and connection.kept:
                idle = idle_limit(response.headers)
            # Source: RFC 9110, 15.5.9: what a server says that closes an idle connection, and a client may repeat.
            forgotten = response.status == 408 and idle is None and connection.reused
        finally:
            if forgotten:
                source.slots.forget(slot)
            source.slots.release(slot, idle)
        if self._time is not None:
            self._time.heard(response.headers)
        return _Attempt((body, response), source, forgotten=forgotten)

    async def _in_time(
        self,
        read: Callable[Concatenate[bytes, Mapping[str, str], P], T],
        body: bytes,
        response: ClientResponse,
        *more: P.args,
        **named: P.kwargs,
    ) -> T:
        """What `read` makes of a body: in a thread where it may take long."""
        at_once = _UNPACKED_AT_ONCE if "Content-Encoding" in response.headers else _DECODED_AT_ONCE
        if len(body) <= at_once:
            return read(body, response.headers, *more, **named)
        return await asyncio.to_thread(read, body, response.headers, *more, **named)

    def _refused(self, what: str, response: ClientResponse, body: bytes) -> NotFound | Rejected | Trouble:
        error = self._vendor.read_error(response.status, response.headers, body, self._redact, self._clock.wall())
        outcome = error.outcome
        kind = "http_404" if isinstance(outcome, NotFound) else outcome.kind
        self._log.refused(what, response.status, kind, error.text)
        return outcome

    def _note_unusable(self, what: str, outcome: Outcome) -> None:
        if isinstance(outcome, Rejected | Trouble):
            self._log.failed(what, outcome.kind, outcome.detail)

    def _redactor(self) -> Redactor:
        secrets = list(self._vendor.secrets)
        if self._proxy is not None and self._proxy.user:
            password = self._proxy.password or ""
            secrets += [password, f"{self._proxy.user}:{password}"]
        return Redactor((secret for secret in secrets if secret), show_msisdn=self._show_msisdn)


def _may_be_the_address(reply: _Reply) -> str:
    """What may fail from one address of this machine and work from another: no answer, or 403. Empty for all else."""
    if isinstance(reply, Trouble):
        return reply.detail
    if isinstance(reply, tuple) and reply[1].status == HTTPStatus.FORBIDDEN:
        return "the gateway answers 403"
    return ""


def _of_account(outcome: NotFound | Rejected) -> Trouble:
    """The balance belongs to no message: what refuses it is the gateway's trouble."""
    kind = "http_404" if isinstance(outcome, NotFound) else outcome.kind
    return Trouble(HoldReason.SERVER_ERRORS, kind, outcome.detail or kind)


async def _read_refusal(response: ClientResponse) -> tuple[bytes, bool]:
    """A refusal's body, and whether all of it could be read: the status alone already says enough."""
    try:
        return await read_bounded(response, MAX_ERROR_BYTES), True
    except (ClientError, OSError, TooLargeError):
        return b"", False
