"""The daemon behind its control socket, for users who may not open the database. Synchronous HTTP, nothing more."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from pollerd.base.errors import PollerdError, UnavailableError
from pollerd.base.service import JOIN, start_command
from pollerd.client.unixhttp import UnixConnection
from pollerd.client.values import AnyEvent, Gap, NotFollowedError, Tracked, event_from_line
from pollerd.core.particulars import Particulars
from pollerd.core.ports import RequestKind
from pollerd.core.ports.erasure import About, Known
from pollerd.status.message import MessageDocument

T = TypeVar("T")
_TIMEOUT: Final = 30.0
"""Seconds for each request: the daemon itself gives the database 10 s to take something in."""
RESTART_WAIT: Final = 4.0
"""Seconds that a daemon gets which is just being restarted: systemd waits 2 s where it has crashed."""
_RESTART_CHECK: Final = 0.1  # Seconds between two tries.
_WAITS: Final = {
    PermissionError: 0.5,
    FileNotFoundError: RESTART_WAIT,
    ConnectionError: RESTART_WAIT,
    http.client.IncompleteRead: RESTART_WAIT,
}
"""How a socket fails whose daemon goes away, is away or comes back, and the seconds for which that is waited for. A
folder that systemd makes anew is closed for a moment.
"""
_CHUNK: Final = 50_000  # Ids in one request.
_LAST: Final = "Pollerd-Last-Seq"
_PAGE: Final = 1000  # Rows asked for in one request: what the API gives at most.
_ASKED: Final = {
    RequestKind.UNTRACK: ("DELETE", "/messages/{id}"),
    RequestKind.POLL: ("POST", "/messages/{id}/poll"),
    RequestKind.RETRY: ("POST", "/messages/{id}/retry"),
}
_OVERTAKEN: Final = frozenset({"already_ended", "account_not_configured", "not_refusing"})


class OvertakenError(PollerdError):
    """What is asked makes no sense for the message as it stands by now."""


class _Answer(msgspec.Struct):
    """What `POST /messages` answers."""

    tracked: int
    known: int
    given_up: int
    refused: list[dict[str, Any]]
    refused_count: int = 0


class _Id(msgspec.Struct):
    """What is used of a message."""

    id: int


class _Page(msgspec.Struct):
    """What `GET /messages` answers."""

    messages: list[_Id]
    next: str | None


class _Retried(msgspec.Struct):
    """What `POST /undelivered/retry` answers."""

    taken_up: int


class _Personal(msgspec.Struct):
    """What `/personal-data` answers."""

    messages: int
    events: int
    undelivered: int
    still_polled: list[int]


class _Counts(msgspec.Struct):
    """What is used of the counts in `GET /status`."""

    gave_up: int


class HoldAnswer(msgspec.Struct):
    """Why an account is not polled, and when it is tried again (RFC 3339)."""

    reason: str
    until: str | None


class _Account(msgspec.Struct):
    """What is used of an account in `GET /status`."""

    name: str
    hold: HoldAnswer | None


class _Status(msgspec.Struct):
    """What is used of `GET /status`."""

    messages: _Counts
    accounts: list[_Account]


class Remote:
    """Fulfils `client.source.Source` through the control socket at `path`."""

    def __init__(self, path: Path, timeout: float = _TIMEOUT) -> None:
        """Each operation on the socket takes `timeout` seconds at most."""
        self._path = path
        self._timeout = timeout

    def track(self, ids: Sequence[int], account: str | None, particulars: Particulars) -> Tracked:
        """Follow `ids`. Raises UnavailableError, and PollerdError for what the daemon refuses."""
        new = known = gave_up = 0
        priority = None if particulars.priority is None else particulars.priority.name
        fields = {"account": account, **msgspec.structs.asdict(particulars), "priority": priority}
        given = {name: value for name, value in fields.items() if value is not None}
        for start in range(0, len(ids), _CHUNK):
            body = msgspec.json.encode({"ids": ids[start : start + _CHUNK], **given})
            answer = _decoded(self._ask("POST", "/messages", body, also=422)[0], _Answer)
            if answer.refused:
                first = answer.refused[0]
                raise PollerdError(
                    f"{first['id']} {first['reason']} ({answer.refused_count or len(answer.refused)} refused in all; "
                    "the others are followed)"
                )
            new, known, gave_up = new + answer.tracked, known + answer.known, gave_up + answer.given_up
        return Tracked(new, known, gave_up)

    def message(self, message_id: int) -> MessageDocument:
        """One message. Raises NotFollowedError, UnavailableError."""
        return _decoded(self._ask("GET", f"/messages/{message_id}")[0], MessageDocument)

    def ask(self, kind: RequestKind, message_id: int) -> None:
        """Do something about one message. Raises OvertakenError, UnavailableError, PollerdError."""
        method, path = _ASKED[kind]
        try:
            self._ask(method, path.format(id=message_id))
        except NotFollowedError as error:
            raise OvertakenError(str(error)) from error

    def resume(self, account: str) -> None:
        """End an account's hold for `refusing`. Raises OvertakenError when it is on none, UnavailableError."""
        self._ask("POST", f"/accounts/{quote(account, safe='')}/resume")

    def retry_undelivered(self) -> int:
        """Take up again the events that outputs have parked; how many. Raises UnavailableError, PollerdError."""
        return _decoded(self._ask("POST", "/undelivered/retry")[0], _Retried).taken_up

    def forget(self, network: str | None) -> None:
        """Forget what the backoff learned about a network, or about all. Raises UnavailableError, PollerdError."""
        given = "" if network is None else f"?{urlencode({'network': network})}"
        self._ask("POST", f"/backoff/forget{given}")

    def known(self, about: About) -> Known:
        """How much is known of a message, or of a telephone number. Raises UnavailableError, PollerdError."""
        found = _decoded(self._ask("GET", _personal(about))[0], _Personal)
        return Known(found.messages, found.events, found.undelivered, tuple(found.still_polled))

    def erase(self, about: About) -> None:
        """Remove it. Raises UnavailableError, PollerdError."""
        self._ask("DELETE", _personal(about))

    def count_gave_up(self) -> int:
        """How many messages are given up. Raises UnavailableError."""
        return self._status().messages.gave_up

    def hold(self, account: str) -> HoldAnswer | None:
        """The hold that the account is on. Raises UnavailableError."""
        return next((each.hold for each in self._status().accounts if each.name == account), None)

    def _status(self) -> _Status:
        return _decoded(self._ask("GET", "/status")[0], _Status)

    def gave_up(self) -> Iterator[int]:
        """The messages that are given up. Raises UnavailableError."""
        after: str | None = None
        while True:
            given = {"state": "gave_up", "limit": _PAGE, **({} if after is None else {"after": after})}
            page = _decoded(self._ask("GET", f"/messages?{urlencode(given)}")[0], _Page)
            yield from (message.id for message in page.messages)
            if (after := page.next) is None:
                return

    def events(self, after: int, limit: int, message_id: int | None, kind: str | None) -> tuple[list[AnyEvent], int]:
        """At most `limit` events after `after`, and the `seq` up to which all were considered."""
        wanted = {"after": after, "limit": limit, "id": message_id, "type": kind}
        # Without a place, what is gone is no gap: the caller asks for all that is kept.
        given = {name: value for name, value in wanted.items() if value is not None and (name, value) != ("after", 0)}
        body, headers = self._ask("GET", f"/events?{urlencode(given)}")
        found = [event_from_line(line) for line in body.splitlines()]
        seqs = [event.seq for event in found if not isinstance(event, Gap)]
        if len(seqs) == limit:
            return found, seqs[-1]
        return found, max(after, int(headers.get(_LAST, "0")), *seqs)

    def close(self) -> None:
        """Nothing is kept open."""

    def _ask(
        self, method: str, path: str, body: bytes | None = None, also: int = 200
    ) -> tuple[bytes, http.client.HTTPMessage]:
        began = time.monotonic()
        while True:
            try:
                response, content = self._exchange(method, path, body)
                break
            except (OSError, http.client.HTTPException) as error:
                wait = next((seconds for kind, seconds in _WAITS.items() if isinstance(error, kind)), 0.0)
                # What is asked is the same when it is asked twice.
                if time.monotonic() - began >= wait:
                    raise self._nobody(error) from error
                time.sleep(_RESTART_CHECK)
        if response.status in (200, also):
            return content, response.headers
        raise _refusal(response.status, content)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[http.client.HTTPResponse, bytes]:
        connection = UnixConnection(self._path, self._timeout)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def _nobody(self, error: OSError | http.client.HTTPException) -> UnavailableError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, PermissionError):
            return UnavailableError(
                f"this user may not ask the daemon at {self._path}: {reason}. Join the group of its socket ({JOIN}), "
                "or use sudo."
            )
        return UnavailableError(f"no daemon answers at {self._path}: {reason}. Start it: {start_command()}")


def _personal(about: About) -> str:
    given = {"id": about.message_id} if about.msisdn is None else {"msisdn": about.msisdn}
    return f"/personal-data?{urlencode(given)}"


def _decoded(content: bytes, kind: type[T]) -> T:
    """An answer's document. Raises PollerdError for one of another version."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        raise PollerdError(
            "the daemon answers what this version of pollerd does not understand. After an upgrade: "
            "systemctl restart pollerd"
        ) from None


def _refusal(status: int, content: bytes) -> PollerdError:
    try:
        error = msgspec.json.decode(content)["error"]
        reason, message = str(error["reason"]), str(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return PollerdError(f"the daemon answered {status} and said nothing that can be read")
    if reason == "not_followed":
        return NotFollowedError(message)
    return OvertakenError(message) if reason in _OVERTAKEN else PollerdError(message)
