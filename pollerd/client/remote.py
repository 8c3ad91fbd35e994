"""The daemon behind its control socket, for users who may not open the database. Synchronous HTTP, nothing more."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from pollerd.client.values import AnyEvent, Gap, NotFollowedError, Tracked, event_from_line
from pollerd.documents import MessageDocument
from pollerd.errors import PollerdError, UnavailableError

_TIMEOUT: Final = 30.0
_CHUNK: Final = 50_000
_LAST: Final = "Pollerd-Last-Seq"


class _Answer(msgspec.Struct):
    """What `POST /messages` answers."""

    tracked: int
    known: int
    given_up: int
    refused: list[dict[str, Any]]


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class Remote:
    """Fulfils `client.source.Source` through the control socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def track(self, ids: Sequence[int], account: str | None, userref: str | None, sent_at: float | None) -> Tracked:
        """Follow `ids`. Raises UnavailableError, and PollerdError for what the daemon refuses."""
        new = known = gave_up = 0
        fields = {"account": account, "userref": userref, "sent_at": sent_at}
        given = {name: value for name, value in fields.items() if value is not None}
        for start in range(0, len(ids), _CHUNK):
            body = msgspec.json.encode({"ids": ids[start : start + _CHUNK], **given})
            answer = msgspec.json.decode(self._ask("POST", "/messages", body, also=422)[0], type=_Answer)
            if answer.refused:
                first = answer.refused[0]
                raise PollerdError(f"{first['id']}: {first['reason']} ({len(answer.refused)} refused in all)")
            new, known, gave_up = new + answer.tracked, known + answer.known, gave_up + answer.given_up
        return Tracked(new, known, gave_up)

    def message(self, message_id: int) -> MessageDocument:
        """One message. Raises NotFollowedError, UnavailableError."""
        return msgspec.json.decode(self._ask("GET", f"/messages/{message_id}")[0], type=MessageDocument)

    def events(self, after: int, limit: int, message_id: int | None, kind: str | None) -> tuple[list[AnyEvent], int]:
        """At most `limit` events after `after`, and the place that all of them have been looked at up to."""
        wanted = {"after": after, "limit": limit, "id": message_id, "type": kind}
        # Without a place, what is gone is no gap: the caller asks for all that is kept.
        given = {name: value for name, value in wanted.items() if value is not None and (name, value) != ("after", 0)}
        body, headers = self._ask("GET", f"/events?{urlencode(given)}")
        found = [event_from_line(line) for line in body.splitlines()]
        told = [event.seq for event in found if not isinstance(event, Gap)]
        if len(told) == limit:
            return found, told[-1]
        return found, max(after, int(headers.get(_LAST, "0")), *told)

    def close(self) -> None:
        """Nothing is kept open."""

    def _ask(
        self, method: str, path: str, body: bytes | None = None, also: int = 200
    ) -> tuple[bytes, http.client.HTTPMessage]:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UnavailableError(
                f"no daemon answers at {self._path}: {reason}. Start it (pollerd run), or join the group of its socket."
            ) from error
        finally:
            connection.close()
        if response.status in (200, also):
            return content, response.headers
        raise _refusal(response.status, content)


def _refusal(status: int, content: bytes) -> PollerdError:
    try:
        error = msgspec.json.decode(content)["error"]
        reason, message = str(error["reason"]), str(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return PollerdError(f"the daemon answered {status} and said nothing that can be read")
    return NotFollowedError(message) if reason == "not_followed" else PollerdError(message)
