"""What the client sees of each fault."""

import asyncio
import socket
import struct
import zlib
from collections import Counter
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohttp import web

from pollerd.simulator.clock import SimClock
from pollerd.simulator.faults import Fault, retry_after_header
from pollerd.simulator.wire import encode, error_body

JSON_HEADERS: Final = {"Content-Type": "application/json"}
_HTML_HEADERS: Final = {"Content-Type": "text/html; charset=utf-8"}
_GZIP_SIZE, _HUGE_SIZE = 200_000_000, 64_000_000  # Bytes.
_BLOCK = b" " * 1_048_576
_PORTAL = (
    b"<!DOCTYPE html><html><head><title>Welcome to the guest network</title></head>"
    b"<body><h1>Please sign in to go on</h1></body></html>"
)
_WRONG_SHAPES: Final = (
    b'{"unexpected": true}',
    b"[]",
    b"null",
    b"42",
    b'"ok"',
    b'[{"id": "not-a-number", "recipients": "none"}]',
    b'[{"id": 1, "recipients": [{"msisdn": null, "dsnstatus": 7}]}]',
    b'{"id": 1, "recipients": {}}',
)
# Statuses that come from a proxy or load balancer, not from the gateway itself.
_FROM_A_PROXY: Final = frozenset({407, 413, 502, 504})
_CODED: Final[dict[int, tuple[int, str, tuple[str, ...]]]] = {
    401: (0x0229, "Unauthorized: invalid API token", ()),
    403: (0x0213, "Unauthorized IP-address: %1", ("192.0.2.4",)),
}
SILENT: Final = frozenset({"reset", "drop", "hang"})
"""Kinds that end without any answer."""


class FaultPlayer:
    """Answers requests the wrong way. `stop` ends at once whatever takes its time."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._stopping = asyncio.Event()
        self._busy: set[asyncio.Transport] = set()
        self._played = 0
        self._shapes: Counter[str] = Counter()
        """Wrong shapes given so far, by path: each message gets them in turn, whatever the others get."""

    def stop(self) -> None:
        """End every hang and abort every answer that is still on its way."""
        self._stopping.set()
        for transport in tuple(self._busy):
            transport.abort()

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond `stop`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def play(self, fault: Fault, request: web.BaseRequest, right: bytes) -> web.StreamResponse:
        """The faulty answer. `right` is the body that would have been correct."""
        self._played += 1
        transport = request.transport
        if transport is None:
            return web.Response(status=499)
        self._busy.add(transport)
        try:
            return await self._play(fault, request, transport, right)
        finally:
            self._busy.discard(transport)

    async def _play(
        self, fault: Fault, request: web.BaseRequest, transport: asyncio.Transport, right: bytes
    ) -> web.StreamResponse:
        kind = fault.kind
        if fault.status is not None:
            return self._error(fault, fault.status, coded=not request.path.startswith("/rest/mosms"))
        if kind in SILENT:
            if kind == "hang":
                await self.pause(3600.0 if fault.seconds is None else fault.seconds)
            return _end(transport, reset=kind == "reset")
        if kind == "drip":
            return await self._drip(request, right, 0.2 if fault.seconds is None else fault.seconds)
        if kind == "huge":
            return await self._huge(request, fault.size or _HUGE_SIZE)
        if kind == "cut":
            return await self._cut(request, transport, right)
        if kind == "redirect":
            to = fault.to or "http://elsewhere.invalid/"
            return web.Response(status=302, headers={"Location": to.rstrip("/") + request.raw_path})
        if kind == "gzip_bomb":
            headers = {**JSON_HEADERS, "Content-Encoding": "gzip"}
            return web.Response(body=gzip_bomb(fault.size or _GZIP_SIZE), headers=headers)
        return self._odd_body(kind, right, request.path)

    def _odd_body(self, kind: str, right: bytes, path: str) -> web.Response:
        if kind == "html":
            return web.Response(body=_PORTAL, headers=_HTML_HEADERS)
        if kind == "truncated":
            return web.Response(body=right[: max(1, len(right) * 2 // 3)], headers=JSON_HEADERS)
        if kind == "empty":
            return web.Response(body=b"", headers=JSON_HEADERS)
        if kind == "wrong_json":
            shape = _WRONG_SHAPES[self._shapes[path] % len(_WRONG_SHAPES)]
            self._shapes[path] += 1
            return web.Response(body=shape, headers=JSON_HEADERS)
        raise ValueError(f"fault {kind} is no answer")

    def _error(self, fault: Fault, status: int, *, coded: bool) -> web.Response:
        """`coded`: with the vendor's code where it usually has one; a refusal of incoming messages has none."""
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown trouble"
        body, headers = self._error_body(
            fault.form or ("html" if status in _FROM_A_PROXY else "vendor"), status, phrase, coded=coded
        )
        if status == 407:
            headers["Proxy-Authenticate"] = 'Basic realm="proxy"'
        if fault.retry_after is not None:
            headers["Retry-After"] = retry_after_header(fault.retry_after, self._clock.now())
        return web.Response(status=status, body=body, headers=headers)

    def _error_body(self, form: str, status: int, phrase: str, *, coded: bool) -> tuple[bytes, dict[str, str]]:
        match form:
            case "html":
                return f"<html><body><h1>{status} {phrase}</h1></body></html>".encode(), dict(_HTML_HEADERS)
            case "text":
                return f"{status} {phrase.lower()}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"}
            case "empty":
                return b"", {}
            case "json":
                return encode({"message": phrase, "status": status}), dict(JSON_HEADERS)
            case _:
                code, text, variables = _CODED.get(status if coded else 0, (None, phrase, ()))
                return error_body(code, text, *variables, serial=self._played), dict(JSON_HEADERS)

    async def _drip(self, request: web.BaseRequest, body: bytes, interval: float) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON_HEADERS)
        response.content_length = len(body)
        await response.prepare(request)
        for position in range(len(body)):
            await response.write(body[position : position + 1])
            await self.pause(interval)
        await response.write_eof()
        return response

    async def _huge(self, request: web.BaseRequest, size: int) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON_HEADERS)
        response.content_length = size
        await response.prepare(request)
        block = b"[" + _BLOCK[:65_535]
        while size > 0 and not self._stopping.is_set():
            await response.write(block[:size])
            size -= len(block)
            block = _BLOCK[:65_536]
        await response.write_eof()
        return response

    async def _cut(self, request: web.BaseRequest, transport: asyncio.Transport, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON_HEADERS)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        transport.close()
        return response


def _end(transport: asyncio.Transport, *, reset: bool) -> web.Response:
    """Close without an answer; what the handler returns is never sent."""
    if reset:
        # Without lingering, closing sends RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    return web.Response(status=499)


@lru_cache(maxsize=4)
def gzip_bomb(size: int) -> bytes:
    """About `size` bytes of valid JSON, nearly all of it spaces, packed by gzip to a thousandth."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A block after a full flush stands alone, so one packed block can be repeated instead of packed anew.
    head = deflate.compress(b"[") + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(_BLOCK) + deflate.flush(zlib.Z_FULL_FLUSH)
    tail = deflate.compress(b"{}]") + deflate.flush()
    times = max(1, size // len(_BLOCK))
    checksum = zlib.crc32(b"[")
    for _ in range(times):
        checksum = zlib.crc32(_BLOCK, checksum)
    checksum = zlib.crc32(b"{}]", checksum)
    length = times * len(_BLOCK) + 4
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return header + head + block * times + tail + struct.pack("<II", checksum, length % 2**32)
