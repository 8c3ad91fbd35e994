"""A body of bounded size: as it comes over the wire, and unpacked."""

from __future__ import annotations

import zlib
from typing import Final

from aiohttp import ClientResponse

MAX_WIRE_BYTES: Final = 8 * 1024 * 1024
"""What is read of one answer. A recipient takes 300 to 600 bytes with its tag values, so 10,000 of them fit."""
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
"""What a compressed body may grow to: twice the above, so that compression is never the reason for a refusal."""
MAX_ERROR_BYTES: Final = 64 * 1024
"""What is read of an answer outside 2xx; its first few hundred characters are all that is used."""


class DecodeError(Exception):
    """The body cannot be understood. `kind` is a stable word for it, `detail` says what is wrong, not what it says."""

    def __init__(self, detail: str, kind: str = "undecodable") -> None:
        super().__init__(detail)
        self.detail = detail
        self.kind = kind


class TooLargeError(DecodeError):
    """The body is larger than any honest answer."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit // 1024} KiB", "too_large")


async def read_bounded(response: ClientResponse, limit: int) -> bytes:
    """The whole body as sent. Raises :class:`TooLargeError` before more than `limit` bytes are kept."""
    length = response.content_length
    if length is not None:
        if length > limit:
            raise TooLargeError(limit)
        return await response.read()
    kept = bytearray()
    async for chunk in response.content.iter_any():
        kept += chunk
        if len(kept) > limit:
            raise TooLargeError(limit)
    return bytes(kept)


def unpack(body: bytes, encoding: str, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """Undo `Content-Encoding`. Raises :class:`DecodeError`; never builds more than `limit` bytes."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise DecodeError("the answer is compressed in a way that was not asked for")
    unpacker = zlib.decompressobj(_window(body, encoding))
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise DecodeError("the answer's compressed body is damaged") from None
    if len(unpacked) > limit:
        raise TooLargeError(limit)
    if not unpacker.eof:
        raise DecodeError("the answer's compressed body ends too early")
    return unpacked


def _window(body: bytes, encoding: str) -> int:
    """`deflate` means zlib by the book and a bare stream with some servers; zlib's first byte distinguishes them."""
    if encoding == "deflate" and body[0] & 0x0F != 8:
        return -zlib.MAX_WBITS
    return zlib.MAX_WBITS | 32
