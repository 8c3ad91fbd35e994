"""The vendor's side of the simulator: what each gateway request is answered."""

import re
import time
from collections.abc import Sequence
from typing import cast

import msgspec
from aiohttp import web

from pollerd.simulator.auth import Authenticator
from pollerd.simulator.clock import SimClock
from pollerd.simulator.config import SimulatorConfig
from pollerd.simulator.connections import CountedConnection
from pollerd.simulator.effects import JSON_HEADERS, SILENT, FaultPlayer
from pollerd.simulator.faults import Action, Fault, FaultBoard
from pollerd.simulator.incoming import Inbox
from pollerd.simulator.networks import operator_of
from pollerd.simulator.stats import Stats
from pollerd.simulator.truth import SimulatedMessage, Truth
from pollerd.simulator.wire import Renderer, SendRequest, encode, error_body

_PRICE = 0.35  # In the account's currency, for each recipient.
_MESSAGES = "/rest/mtsms"
_INCOMING = "/rest/mosms"
_ONE = "/rest/mtsms/"
_ID = re.compile(r"[0-9]{1,20}")


class Account:
    """The one account of the simulated gateway."""

    __slots__ = ("credit", "currency")

    def __init__(self, credit: float, currency: str) -> None:
        self.credit = credit
        self.currency = currency


class SimulatedGateway:
    """Answers gateway requests: counts, faults, authentication, then the action itself."""

    def __init__(
        self,
        config: SimulatorConfig,
        clock: SimClock,
        *,
        truth: Truth,
        faults: FaultBoard,
        inbox: Inbox,
        player: FaultPlayer,
        stats: Stats,
    ) -> None:
        self._clock = clock
        self._truth = truth
        self._inbox = inbox
        self._replies = config.inbox.replies > 0
        self._faults = faults
        self._player = player
        self._stats = stats
        self._rate = config.requests_per_second
        self._poll_log = config.poll_log
        self._auth = Authenticator(config.credentials)
        self._renderer = Renderer(truth, config.answers, config.seed)
        self.account = Account(config.credit, config.currency)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request; counts it by action, status and fault."""
        connection = cast("CountedConnection", request.protocol)
        try:
            return await self._answer(request, connection.number, connection.carries_gateway_request())
        finally:
            connection.answered()

    async def _answer(self, request: web.BaseRequest, connection: int, rested: float | None) -> web.StreamResponse:
        recent = self._stats.saw_request(time.monotonic())
        path = request.raw_path.partition("?")[0]
        action, raw_id = _classify(request.method, path)
        if action is None:
            return self._refuse(404, None, "Not found")
        self._stats.by_action[action] += 1
        message_id = int(raw_id) if raw_id is not None and _ID.fullmatch(raw_id) else None
        message = self._message(action, message_id)
        if self._rate is not None and recent > self._rate:
            self._stats.throttled += 1
            self._note(action, message, "429")
            return self._refuse(429, None, "Too many requests", retry_after="1")
        fault = self._faults.draw(action, message_id, connection, rested)
        if fault is not None:
            self._stats.by_fault[fault.kind] += 1
            if fault.kind != "slow":
                return await self._spoil(fault, request, action, message)
            await self._player.pause(1.0 if fault.seconds is None else fault.seconds)
        refusal = self._auth.refuse(request)
        if refusal is not None:
            self._stats.unauthorized += 1
            self._note(action, message, "401")
            return self._refuse(401, *refusal)
        return await self._act(action, request, message_id, message)

    def _message(self, action: Action, message_id: int | None) -> SimulatedMessage | None:
        if message_id is None or not 0 < message_id < 2**64:
            return None
        message = self._truth.find(message_id)
        if action == "read" and message is None:
            self._stats.polls_unknown += 1
        return message

    async def _act(
        self, action: Action, request: web.BaseRequest, message_id: int | None, message: SimulatedMessage | None
    ) -> web.Response:
        if action == "send":
            return self._send(await request.read())
        if action == "balance":
            return self._json(200, self._balance())
        if action == "incoming":
            return self._incoming(request)
        if message_id is None or not 0 < message_id < 2**64:
            return self._refuse(400, None, "Bad argument: message id")
        if message is None:
            return self._refuse(404, None, "Message not found")
        return self._read(message) if action == "read" else self._cancel(message)

    def _incoming(self, request: web.BaseRequest) -> web.Response:
        try:
            return self._json(200, self._inbox.answer(request.query))
        except KeyError as error:
            return self._refuse(400, None, f"Bad argument: {error.args[0]} is missing")
        except ValueError as error:
            return self._refuse(400, None, f"Bad argument: {error}")

    def _balance(self) -> bytes:
        account = self.account
        return encode({"credit": round(account.credit, 2), "currency": account.currency, "id": 1})

    def _read(self, message: SimulatedMessage) -> web.Response:
        now = self._clock.now()
        if now < self._truth.visible_at(message):
            self._note("read", message, "404")
            return self._refuse(404, None, "Message not found")
        reading = self._renderer.read(message, now)
        self._note("read", message, " ".join(f"{state}={n}" for state, n in sorted(reading.states.items())))
        message.shown |= reading.shown
        if message.final_told_at is None and message.shown == (1 << len(message.recipients)) - 1:
            message.final_told_at = now
        return self._json(200, reading.body)

    def _note(self, action: Action, message: SimulatedMessage | None, label: str) -> None:
        """Count one poll of a message with what it was answered."""
        if action != "read" or message is None:
            return
        message.polls += 1
        message.answers[label] = message.answers.get(label, 0) + 1
        if message.final_told_at is not None:
            message.polls_after_final += 1
            self._stats.polls_after_final += 1
        if self._poll_log:
            message.log.append((self._clock.now(), label))
            if len(message.log) > self._poll_log:
                del message.log[0]

    async def _spoil(
        self, fault: Fault, request: web.BaseRequest, action: Action, message: SimulatedMessage | None
    ) -> web.StreamResponse:
        self._note(action, message, f"fault:{fault.kind}")
        right = self._balance()
        if action == "incoming":
            right = self._inbox.answer(request.query)
        if message is not None and action == "read":
            right = self._renderer.read(message, self._clock.now()).body
        response = await self._player.play(fault, request, right)
        if fault.kind not in SILENT:
            self._stats.by_status[response.status] += 1
        return response

    def _cancel(self, message: SimulatedMessage) -> web.Response:
        if not self._truth.cancel(message):
            return self._refuse(410, None, "Gone: already sent or cancelled")
        self._stats.by_status[204] += 1
        return web.Response(status=204)

    def _send(self, body: bytes) -> web.Response:
        try:
            wanted = _SENDING.decode(body)
        except msgspec.ValidationError as error:
            return self._refuse(422, None, f"Unprocessable: {error}")
        except msgspec.DecodeError:
            return self._refuse(400, None, "Bad argument: the body is not JSON")
        requests = wanted if isinstance(wanted, list) else [wanted]
        if not all(1 <= len(r.recipients) <= 10_000 for r in requests) or not _plausible(requests):
            return self._refuse(422, None, "Unprocessable: 1 to 10000 recipients with valid numbers")
        return self._charge(requests)

    def _charge(self, requests: Sequence[SendRequest]) -> web.Response:
        countries: dict[str, int] = {}
        for recipient in (r for request in requests for r in request.recipients):
            country = operator_of(recipient.msisdn).country
            countries[country] = countries.get(country, 0) + 1
        cost = _PRICE * sum(countries.values())
        if cost > self.account.credit:
            return self._refuse(403, 0x0216, "Insufficient credit")
        self.account.credit -= cost
        ids = [self.send(request) for request in requests]
        usage = {"countries": countries, "currency": self.account.currency, "total_cost": round(cost, 2)}
        return self._json(200, encode({"ids": ids, "usage": usage}))

    def send(self, request: SendRequest) -> int:
        """Send one message as the sending call would, free of charge; its id."""
        number = self._truth.add(
            recipients=tuple(dict.fromkeys(r.msisdn for r in request.recipients)),
            sendtime=request.sendtime,
            validity=request.validity_period,
            userref=request.userref,
            text=request.message or None,
            sender=request.sender,
            priority=request.priority,
        )
        if self._replies:
            for msisdn, ended in self._truth.final(number).items():
                if ended is not None and ended.status == "DELIVERED":
                    self._inbox.reply(msisdn, number, ended.at)
        return number

    def _json(self, status: int, body: bytes) -> web.Response:
        self._stats.by_status[status] += 1
        return web.Response(status=status, body=body, headers=JSON_HEADERS)

    def _refuse(self, status: int, code: int | None, text: str, retry_after: str | None = None) -> web.Response:
        response = self._json(status, error_body(code, text, serial=self._stats.requests))
        if retry_after is not None:
            response.headers["Retry-After"] = retry_after
        return response


_SENDING: msgspec.json.Decoder[list[SendRequest] | SendRequest] = msgspec.json.Decoder(
    list[SendRequest] | SendRequest, strict=False
)


def _plausible(requests: Sequence[SendRequest]) -> bool:
    return all(0 < r.msisdn < 10**15 for request in requests for r in request.recipients)


def _classify(method: str, path: str) -> tuple[Action | None, str | None]:
    """What a request wants, and the message id as written."""
    if path.startswith(_ONE):
        if method == "GET":
            return "read", path[len(_ONE) :]
        return ("cancel", path[len(_ONE) :]) if method == "DELETE" else (None, None)
    if path == _MESSAGES and method == "POST":
        return "send", None
    if path == _INCOMING and method == "GET":
        return "incoming", None
    return ("balance", None) if path == "/rest/me" and method == "GET" else (None, None)
