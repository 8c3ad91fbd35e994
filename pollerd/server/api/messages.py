"""What programs do with messages: `/messages` (hand over, list, show, stop following, poll now, take up again).

Also the other requests that go through the intake or change what is stored of messages: an account's resumption, the
retry of undelivered events, what the backoff has learned, personal data; and the proof that a secret is the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from aiohttp import web

from pollerd.core.model import FILTERS, HoldReason, Message, State
from pollerd.core.ports import RequestKind
from pollerd.core.ports.erasure import About
from pollerd.core.ports.view import PositionError
from pollerd.intake.body import NAMED, BodyError, Handed, Reader, RefusedId
from pollerd.server.api import query
from pollerd.server.api.documents import (
    ForgottenDocument,
    MessagesDocument,
    PersonalDataDocument,
    ProofDocument,
    ResumedDocument,
    RetriedDocument,
    TrackedDocument,
)
from pollerd.server.api.endings import Endings
from pollerd.server.refusals import RequestError, answer
from pollerd.status.message import message_document
from pollerd.status.parts import Parts

LIMIT: Final = 100  # Rows without `limit`, and
MOST_RESULTS: Final = 1000  # at most: one answer must stay small.
HIGHEST_MSISDN: Final = 10**15 - 1
"""Telephone numbers have at most 15 digits (ITU-T E.164)."""
TIMEOUT: Final = 10.0
"""Seconds that the database gets to take something in."""
_AT_ONCE: Final = 64 * 1024
"""Bytes of a body up to which reading it is too short to be worth a thread."""
NETWORK: Final = re.compile(r"[0-9]{3}/[0-9]{1,3}|[A-Z]{2}")
"""What is learned about has such a name: MCC/MNC, or a country where the network is not known."""
WAIT_MOST: Final = 600
"""Seconds that a request may wait for the end of a message. Whoever waits longer asks again."""
_ENDED: Final = frozenset({State.FINISHED, State.GAVE_UP})
_OPEN: Final = frozenset({State.NEW, State.PENDING})
_SET_ASIDE: Final = "is set aside, since its row cannot be used; take it up again with POST /messages/{id}/retry"


PROOF_PAUSE: Final = 0.3
"""Seconds between two proofs."""


class MessageRoutes:
    """The handlers."""

    def __init__(self, parts: Parts, endings: Endings) -> None:
        self._endings = endings
        self._accounts = tuple(parts.config.accounts)
        self._clock = parts.clock
        self._store = parts.store
        self._intake = parts.intake
        self._views = parts.views
        self._parts = parts
        self._one_proof = asyncio.Lock()

    async def hand_over(self, request: web.Request) -> web.Response:
        """`POST /messages`: 200 when at least one is followed (or there was none), 422 when all are refused."""
        query.only(request)
        body = await request.read()
        try:
            handed = await self._read(body)
        except BodyError as error:
            raise RequestError(400, "bad_body", str(error)) from None
        tracked = await self._store.track(handed.rows)
        if tracked.new:
            self._intake.poke()
        refused = [*handed.refused, *(RefusedId(other.id, other.reason) for other in tracked.refused)]
        document = TrackedDocument(
            tracked=tracked.new,
            known=tracked.known,
            given_up=tracked.gave_up,
            refused_count=handed.refused_count + len(tracked.refused),
            refused=refused[:NAMED],
        )
        return answer(document, 422 if document.refused_count and not tracked.new + tracked.known else 200)

    async def _read(self, body: bytes) -> Handed:
        reader = Reader(self._accounts, self._clock.wall())
        return reader.read(body) if len(body) <= _AT_ONCE else await asyncio.to_thread(reader.read, body)

    async def list(self, request: web.Request) -> web.Response:
        """`GET /messages`: one page."""
        query.only(request, "state", "limit", "after")
        state = query.choice(request, "state", FILTERS)
        limit = query.number(request, "limit", LIMIT, 1, MOST_RESULTS)
        after = request.query.get("after")
        try:
            page = await self._views.read(lambda view: view.page(state, after, limit))
        except PositionError as error:
            raise query.bad(f"after={error}") from None
        return answer(MessagesDocument(messages=[*map(message_document, page.messages)], next=page.next))

    async def show(self, request: web.Request) -> web.Response:
        """`GET /messages/ID`: at once, or with `wait` when it has ended or so many seconds are over."""
        query.only(request, "wait")
        wait = query.number(request, "wait", 0, 0, WAIT_MOST)
        message = await self._message(request)
        if wait and message.state not in _ENDED:
            await self._wait(request, message.id, wait)
            message = await self._message(request)
        return answer(message_document(message))

    async def _wait(self, request: web.Request, message_id: int, seconds: int) -> None:
        """Return when the message has ended, when `seconds` are over, or when the server stops."""
        with self._endings.of(message_id) as changed, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._endings.stopped and (await self._message(request)).state not in _ENDED:
                    await changed.wait()
                    changed.clear()

    async def untrack(self, request: web.Request) -> web.Response:
        """`DELETE /messages/ID`: ends in the event `message.gave_up`, reason `untracked`."""
        ended = {
            State.FINISHED: "has reached its final state already",
            State.GAVE_UP: "is already no longer followed",
        }
        return await self._ask(request, RequestKind.UNTRACK, {*_OPEN, State.SET_ASIDE}, ended)

    async def poll(self, request: web.Request) -> web.Response:
        """`POST /messages/ID/poll`: ahead of schedule; the account's limits still hold."""
        ended = {
            State.FINISHED: "has reached its final state already",
            State.GAVE_UP: "has been given up; take it up again with POST /messages/{id}/retry",
            State.SET_ASIDE: _SET_ASIDE,
        }
        return await self._ask(request, RequestKind.POLL, _OPEN, ended)

    async def retry(self, request: web.Request) -> web.Response:
        """`POST /messages/ID/retry`: follow again what was given up; what is followed is left as it is."""
        ended = {State.FINISHED: "has reached its final state already"}
        return await self._ask(request, RequestKind.RETRY, {State.GAVE_UP, State.SET_ASIDE, *_OPEN}, ended)

    async def resume(self, request: web.Request) -> web.Response:
        """`POST /accounts/NAME/resume`: end a hold for `refusing`; what is refused from then on is believed."""
        query.only(request)
        name = request.match_info["name"]
        if name not in self._accounts:
            raise RequestError(404, "account_not_configured", f"the configuration has no account {name!r}")
        if (held := await self._hold(name)) != HoldReason.REFUSING:
            text = f"{name} is held ({held}), which only the gateway ends" if held else f"{name} is not on hold"
            raise RequestError(409, "not_refusing", text)
        await self._done(RequestKind.RESUME, None, name)
        return answer(ResumedDocument(account=name))

    async def proves(self, request: web.Request) -> web.Response:
        """`POST /accounts/NAME/secret`: whether the daemon uses the secret that `proof` was made with from `nonce`."""
        query.only(request, "nonce", "proof")
        given = request.query
        name, check = request.match_info["name"], self._parts.proves
        if name not in self._accounts or check is None:
            raise RequestError(404, "account_not_configured", f"the configuration has no account {name!r}")
        try:
            nonce, shown = bytes.fromhex(given["nonce"]), given["proof"]
        except (KeyError, ValueError):
            raise RequestError(400, "bad_proof", "give nonce (hexadecimal) and proof") from None
        async with self._one_proof:
            # A short password must not be found by trying.
            await asyncio.sleep(PROOF_PAUSE)
            return answer(ProofDocument(account=name, same=shown.isascii() and check(name, nonce, shown)))

    async def _hold(self, account: str) -> str | None:
        found = await self._views.read(lambda view: view.hold(account))
        return None if found is None else found.held_reason

    async def retry_undelivered(self, request: web.Request) -> web.Response:
        """`POST /undelivered/retry`: take up again the events that outputs have parked."""
        query.only(request)
        now = self._clock.now()
        return answer(RetriedDocument(taken_up=await self._store.retry_parked(now)))

    async def forget(self, request: web.Request) -> web.Response:
        """`POST /backoff/forget`: what was learned about one network, or about all."""
        query.only(request, "network")
        network = request.query.get("network")
        if network is not None and NETWORK.fullmatch(network) is None:
            raise query.bad(f"network={network}: give a network such as 238/01, or a country such as DK")
        await self._done(RequestKind.FORGET, None, network)
        return answer(ForgottenDocument(forgotten=network))

    async def known(self, request: web.Request) -> web.Response:
        """`GET /personal-data`: how much is known of a telephone number, or of a message."""
        return answer(await self._known(_about(request)))

    async def erase(self, request: web.Request) -> web.Response:
        """`DELETE /personal-data`: remove it."""
        about = _about(request)
        before = await self._known(about)
        await self._done(RequestKind.ERASE, about.message_id, about.argument)
        after = await self._known(about)
        return answer(
            PersonalDataDocument(
                messages=before.messages - after.messages,
                events=before.events - after.events,
                undelivered=before.undelivered - after.undelivered,
                still_polled=after.still_polled,
            )
        )

    async def _known(self, about: About) -> PersonalDataDocument:
        found = await self._views.read(lambda view: view.known(about))
        return PersonalDataDocument(
            messages=found.messages,
            events=found.events,
            undelivered=found.undelivered,
            still_polled=list(found.polled),
        )

    async def _ask(
        self, request: web.Request, kind: RequestKind, sensible: Collection[State], otherwise: dict[State, str]
    ) -> web.Response:
        query.only(request)
        message = await self._message(request)
        if message.state not in sensible:
            text = otherwise[message.state].format(id=message.id)
            raise RequestError(409, "already_ended", f"{message.id} {text}")
        if kind is not RequestKind.UNTRACK and message.account not in self._accounts:
            text = f"{message.id} belongs to the account {message.account!r}, which is not in the configuration"
            raise RequestError(409, "account_not_configured", text)
        await self._done(kind, message.id)
        message = await self._message(request)
        if kind is RequestKind.UNTRACK and message.state is State.FINISHED:
            raise RequestError(409, "already_ended", f"{message.id} {otherwise[State.FINISHED]}")
        return answer(message_document(message))

    async def _done(self, kind: RequestKind, message_id: int | None, argument: str | None = None) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._intake.ask(kind, message_id, argument)
        except TimeoutError:
            text = (
                f"the database took nothing for {TIMEOUT:.0f} s: it may take effect all the same; see what has become "
                "of it and ask again"
            )
            raise RequestError(503, "database_unavailable", text) from None

    async def _message(self, request: web.Request) -> Message:
        message_id = query.message_id(request.match_info["id"])
        # An answer shows committed state only: what a crash could take back was never shown.
        message = await self._views.read(lambda view: view.message(message_id))
        if message is None:
            raise RequestError(404, "not_followed", f"{message_id} is not followed; follow it with POST /messages")
        return message


def _about(request: web.Request) -> About:
    query.only(request, "id", "msisdn")
    if len(request.query) != 1:
        raise query.bad("give one of id and msisdn")
    if (number := request.query.get("id")) is not None:
        return About(message_id=query.message_id(number))
    return About(msisdn=query.number(request, "msisdn", 0, 1, HIGHEST_MSISDN))
