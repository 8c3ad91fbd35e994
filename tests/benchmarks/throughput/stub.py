"""A gateway that is never the limit: a bare asyncio protocol on uvloop, in a process of its own.

Speaks just enough HTTP/1.1 to answer `GET /rest/mtsms/<id>`: keep-alive, one fixed body a mode. `GET /count` tells how
many reads were answered so far. Modes: `enroute` (never changes), `flip` (another transient state at every read),
`many` (10,000 recipients, 100 of which change at every read).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from itertools import count
from typing import cast

import uvloop


def recipient(msisdn: int, status: str, when: float) -> dict[str, object]:
    return {
        "msisdn": msisdn, "country": "DK", "csms": 1, "dsnstatus": status, "dsntime": when, "dsnerror": None,
        "dsnerrorcode": None, "mcc": 238, "mnc": 1, "senttime": when, "tagvalues": None,
    }  # fmt: skip


def body(message_id: int, recipients: list[dict[str, object]]) -> bytes:
    return json.dumps([{
        "id": message_id, "class": "standard", "message": "x" * 120, "payload": None, "label": None, "sender": "bench",
        "sendtime": 1764000000, "tags": [], "userref": None, "priority": "NORMAL", "validity_period": None,
        "encoding": "UTF8", "destaddr": "MOBILE", "udh": None, "callback_url": None, "recipients": recipients,
    }]).encode()  # fmt: skip


def framed(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(content),
        content,
    )


class Answers:
    """One mode's answers."""

    def __init__(self, mode: str, latency: float) -> None:
        self.mode = mode
        self.latency = latency
        self.reads = 0
        self._turn = count()
        # The id stands where a marker of the same length was, so that the length of the body never changes.
        self._marker = b"1234567890123"
        self._bodies = [
            framed(body(int(self._marker), [recipient(4512345678, status, 1764000000.0)]))
            for status in (("ENROUTE",) if mode == "enroute" else ("ENROUTE", "BUFFERED"))
        ]

    def many(self) -> bytes:
        turn = next(self._turn)
        changed = range(turn * 100 % 10_000, turn * 100 % 10_000 + 100)
        states = {n: ("BUFFERED" if turn // 100 % 2 == 0 else "ENROUTE") for n in changed}
        base = "ENROUTE" if turn // 100 % 2 == 0 else "BUFFERED"
        done = turn * 100 % 10_000
        other = "BUFFERED" if base == "ENROUTE" else "ENROUTE"
        return framed(body(1, [
            recipient(4500000000 + n, states.get(n, other if n < done else base), 1764000000.0) for n in range(10_000)
        ]))  # fmt: skip

    def read(self, path: bytes) -> bytes:
        self.reads += 1
        message_id = path.rpartition(b"/")[2]
        if self.mode == "many" and message_id == b"1":
            return self.many()
        answer = self._bodies[next(self._turn) // 64 % len(self._bodies)] if len(self._bodies) > 1 else self._bodies[0]
        return answer.replace(self._marker, message_id.rjust(13), 1)


class Protocol(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

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
        if path == b"/count":
            content = json.dumps({"reads": self._answers.reads, "at": time.monotonic()}).encode()
            self._transport.write(framed(content))
        elif path == b"/rest/me":
            self._transport.write(framed(b'{"credit": 1000.0, "currency": "DKK", "id": 1}'))
        elif self._answers.latency:
            asyncio.get_running_loop().call_later(
                self._answers.latency, self._transport.write, self._answers.read(path)
            )
        else:
            self._transport.write(self._answers.read(path))


async def serve(mode: str, latency: float) -> None:
    answers = Answers(mode, latency)
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(answers), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("enroute", "flip", "many"), default="enroute")
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(serve(options.mode, options.latency))
