"""A gateway that is never the limit: a bare asyncio protocol on uvloop, in a process of its own.

Speaks just enough HTTP/1.1 to answer `GET /rest/mtsms/<id>`: keep-alive, one fixed body a mode. `GET /count` tells how
many reads were answered so far, `GET /notes` when (monotonic clock), of each id the first time only with `--note`; `GET
/forget` empties the notes. Modes: `enroute` and `buffered` (never change), `flip` (another transient state at every
read), `many` (message 1 has 10,000 recipients, 100 of which change at every read; all others are `enroute`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from itertools import count
from typing import Final, cast

import uvloop

RECIPIENTS: Final = 10_000
CHANGED: Final = 100
SENT: Final = int(time.time()) - 600
"""When all messages were sent (UNIX seconds): lately, else the daemon would take them for overdue."""
_STATES: Final = {
    "enroute": ("ENROUTE",), "buffered": ("BUFFERED",), "flip": ("ENROUTE", "BUFFERED"), "many": ("ENROUTE",),
}  # fmt: skip


def recipient(msisdn: int, status: str, when: float) -> dict[str, object]:
    return {
        "msisdn": msisdn, "country": "DK", "csms": 1, "dsnstatus": status, "dsntime": when, "dsnerror": None,
        "dsnerrorcode": None, "mcc": 238, "mnc": 1, "senttime": when, "tagvalues": None,
    }  # fmt: skip


def body(message_id: int, recipients: list[dict[str, object]]) -> bytes:
    return json.dumps([{
        "id": message_id, "class": "standard", "message": "x" * 120, "payload": None, "label": None, "sender": "bench",
        "sendtime": SENT, "tags": [], "userref": None, "priority": "NORMAL", "validity_period": None,
        "encoding": "UTF8", "destaddr": "MOBILE", "udh": None, "callback_url": None, "recipients": recipients,
    }]).encode()  # fmt: skip


def framed(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


class Answers:
    """One mode's answers."""

    def __init__(self, mode: str, latency: float, *, note: bool) -> None:
        self.mode = mode
        self.note = note
        self.latency = latency
        self.reads = 0
        self.first = 0.0
        self.noted: dict[int, float] = {}
        self.times: list[float] = []
        self.many_at: list[float] = []
        self._turn = count()
        self._shown: dict[bytes, int] = {}
        """Which state each message was last shown in, where it flips."""
        # The id stands where a marker of the same length was, so that the length of the body never changes.
        self._marker = b"1234567890123"
        self._bodies = [
            framed(body(int(self._marker), [recipient(4512345678, status, float(SENT))])) for status in _STATES[mode]
        ]
        if mode == "many":
            # Encoded once: building an answer must not hold up the others.
            self._pieces = [
                [json.dumps(recipient(4500000000 + n, status, float(SENT))).encode() for n in range(RECIPIENTS)]
                for status in ("ENROUTE", "BUFFERED")
            ]
            self._many = list(self._pieces[0])
            self._envelope = body(1, []).split(b"[]}]")[0]

    def many(self) -> bytes:
        turn = next(self._turn)
        start = turn * CHANGED % RECIPIENTS
        state = self._pieces[(turn // (RECIPIENTS // CHANGED) + 1) % 2]
        self._many[start : start + CHANGED] = state[start : start + CHANGED]
        return framed(b"%b[%b]}]" % (self._envelope, b", ".join(self._many)))

    def read(self, path: bytes) -> bytes:
        now = time.monotonic()
        self.reads += 1
        message_id = path.rpartition(b"/")[2]
        if self.mode == "many":
            if message_id == b"1":
                self.many_at.append(now)
                return self.many()
            self.times.append(now)
        if not self.first:
            self.first = now
        if self.note:
            self.noted.setdefault(int(message_id), now)
        answer = self._bodies[0]
        if self.mode == "flip":
            # By message: by turns alone, a message whose turn comes round may meet the same state again.
            shown = self._shown[message_id] = 1 - self._shown.get(message_id, 0)
            answer = self._bodies[shown]
        return answer.replace(self._marker, message_id.rjust(13), 1)

    def notes(self) -> dict[str, object]:
        noted = list(self.noted.items())
        return {"reads": self.reads, "first": self.first, "noted": noted, "times": self.times, "many": self.many_at}

    def forget(self) -> dict[str, object]:
        self.first = 0.0
        for notes in (self.noted, self.times, self.many_at):
            notes.clear()
        return {}


class Protocol(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._own = {b"/count": self._count, b"/notes": answers.notes, b"/forget": answers.forget}
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def _count(self) -> dict[str, object]:
        return {"reads": self._answers.reads, "at": time.monotonic(), "first": self._answers.first}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            path = self._buffer[: self._buffer.index(b"\r\n")].split(b" ")[1]
            self._buffer = self._buffer[end + 4 :]
            self._answer(path)

    def _answer(self, path: bytes) -> None:
        assert self._transport is not None
        if path in self._own:
            self._transport.write(framed(json.dumps(self._own[path]()).encode()))
        elif path == b"/rest/me":
            self._transport.write(framed(b'{"credit": 1000.0, "currency": "DKK", "id": 1}'))
        elif self._answers.latency:
            asyncio.get_running_loop().call_later(
                self._answers.latency, self._transport.write, self._answers.read(path)
            )
        else:
            self._transport.write(self._answers.read(path))


async def serve(mode: str, latency: float, *, note: bool) -> None:
    answers = Answers(mode, latency, note=note)
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(answers), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=tuple(_STATES), default="enroute")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--note", action="store_true")
    options = parser.parse_args()
    uvloop.run(serve(options.mode, options.latency, note=options.note))
