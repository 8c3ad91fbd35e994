"""The end of an event file: its last event, and what a crash left behind it. Reads only, whatever a line's length."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

MAX_SEQ: Final = 2**53
"""The largest number every JSON reader keeps exact; a larger `seq` is no number of ours."""

WINDOW: Final = 1 << 20
"""Bytes of lines that are no events, behind which the last event is still searched for."""

LONGEST_LINE: Final = 1 << 26
"""Bytes of a line that may be an event: several times what a message with 10,000 recipients can make."""

_BLOCK: Final = 1 << 16  # Bytes read at a time.
_PACKED_LIMIT: Final = 256 << 20
"""Bytes of a compressed file that is read to its end."""
_OPENERS: Final[Mapping[str, Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED: Final = frozenset({*_OPENERS, ".zst", ".lz4", ".zip", ".Z", ".lzma"})
"""How the names of compressed files end."""


class _Numbered(msgspec.Struct):
    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]


class _Identity(msgspec.Struct):
    type: str
    observed_at: str
    id: int | None = None


_identity: Final = msgspec.json.Decoder(_Identity)
_numbered: Final = msgspec.json.Decoder(_Numbered)


class Line(msgspec.Struct, frozen=True):
    """An event as it stands in a file; `raw` is without its newline, and `end` is the place behind that."""

    seq: int
    raw: bytes
    end: int = 0


class Tail(msgspec.Struct, frozen=True):
    """What stands at the end of a file of `size` bytes.

    `end` is where the last whole line ends; what follows is a torn line or NUL bytes, left by a crash. `last` is the
    last event, and `skipped` whole lines behind it are no events. `ours` is False when the file holds something, but
    nothing like an event.
    """

    size: int
    end: int
    last: Line | None
    skipped: int
    ours: bool

    @property
    def torn(self) -> int:
        """Bytes behind the last whole line."""
        return self.size - self.end


def survey(fd: int, synced: int) -> Tail:
    """Read the end of an open file. `synced` is the highest `seq` known to be on disk. Raises OSError."""
    size = os.fstat(fd).st_size
    back = _Backwards(fd)
    end = back.newline(solid := solid_size(fd)) + 1
    start = max(0, end - WINDOW)
    hole = _hole(read(fd, start, end), synced, from_start=start == 0)
    if hole is not None:
        end = start + hole
    last, skipped, at = None, 0, end
    while last is None and at > 0 and end - at <= WINDOW:
        before = back.newline(at - 1) + 1
        last = _event(read(fd, before, at - 1), at) if at - before <= LONGEST_LINE else None
        skipped += last is None
        at = before
    begun = end == 0 and begins_event(read(fd, 0, min(solid, _BLOCK)))
    return Tail(size, end, last, skipped, last is not None or size == 0 or solid == 0 or hole is not None or begun)


def event_before(fd: int, end: int) -> Line | None:
    """The event whose line ends at `end`, None when no event's line does. Raises OSError."""
    if read(fd, end - 1, end) != b"\n":
        return None
    start = _Backwards(fd).newline(end - 1) + 1
    return _event(read(fd, start, end - 1), end) if end - start <= LONGEST_LINE else None


def first(fd: int) -> Line | None:
    """The event that an open file begins with; None when it begins with none."""
    _, raw = _line_from(fd, 0, os.fstat(fd).st_size)
    return None if raw is None else _event(raw)


def find(fd: int, end: int, seq: int) -> Line | None:
    """The last event with a number not above `seq` in a file whose numbers rise; None when there is none.

    What a power cut left is behind all that was synced, and so behind every number searched for.
    """
    best: Line | None = None
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        start, raw = _line_from(fd, middle, end)
        if raw is None or start >= high or b"\0" in raw:
            high = middle
            continue
        line = _event(raw, start + len(raw) + 1)
        if line is None:
            return None
        if line.seq <= seq:
            best, low = line, line.end
        else:
            high = middle
    return best


def last_in_packed(path: Path) -> Line | None:
    """The last event of a compressed file; None when there is none, it cannot be read or holds more than 256 MiB."""
    kept, last = b"", None
    try:
        if path.stat().st_size > _PACKED_LIMIT:
            return None
        with _OPENERS[path.suffix](path) as stream:
            while block := stream.read(WINDOW):
                whole, newline, rest = (kept + block).rpartition(b"\n")
                if newline:
                    last = _last_event(whole + newline) or last
                kept = rest[: LONGEST_LINE + 1]
    except (KeyError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return None
    return last


def same_event(one: bytes, other: bytes) -> bool:
    """Whether two lines are about the same event: by what happened and when, so that a masked number does no harm."""
    try:
        return _identity.decode(one) == _identity.decode(other)
    except msgspec.DecodeError:
        return False


def solid_size(fd: int) -> int:
    """The size of a file without the NUL bytes at its end."""
    end = os.fstat(fd).st_size
    while end > 0:
        block = read(fd, max(0, end - _BLOCK), end)
        kept = len(block.rstrip(b"\0"))
        if kept:
            return end - len(block) + kept
        end -= len(block)
    return 0


def read(fd: int, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, or to the end of the file."""
    parts: list[bytes] = []
    while start < end:
        part = os.pread(fd, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


class _Backwards:
    """Finds newlines from the end of a file to its beginning, a block at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._block = b""

    def newline(self, before: int) -> int:
        """Where the last newline before this place is; -1 when there is none."""
        while before > 0:
            if not self._start < before <= self._start + len(self._block):
                self._start = max(0, before - _BLOCK)
                self._block = read(self._fd, self._start, before)
                if not self._block:
                    return -1
            found = self._block.rfind(b"\n", 0, before - self._start)
            if found >= 0:
                return self._start + found
            before = self._start
        return -1


def _event(raw: bytes, end: int = 0) -> Line | None:
    try:
        return Line(_numbered.decode(raw).seq, raw, end)
    except msgspec.DecodeError:
        return None


def begins_event(torn: bytes) -> bool:
    """Whether these may be the first bytes of an event's line."""
    opening = b'{"seq":'
    return torn[: len(opening)] == opening[: len(torn)]


def _last_event(block: bytes) -> Line | None:
    """The last event of whole lines."""
    end = len(block)
    while end > 0:
        start = block.rfind(b"\n", 0, end - 1) + 1
        line = _event(block[start : end - 1])
        if line is not None:
            return line
        end = start
    return None


def _hole(block: bytes, synced: int, *, from_start: bool) -> int | None:
    """Where the line with the first NUL begins, if that part of the file was not yet synced.

    A power cut can leave a page of NUL bytes before pages that did reach the disk. What is behind `synced` can be
    written again from the log, so it may be cut; a NUL anywhere else was not put there by a crash and stays.
    """
    nul = block.find(b"\0")
    if nul < 0:
        return None
    start = block.rfind(b"\n", 0, nul) + 1
    before = _last_event(block[:start])
    if before is None:
        return start if from_start and start == 0 and synced == 0 else None
    return start if before.seq >= synced else None


def _line_from(fd: int, offset: int, end: int) -> tuple[int, bytes | None]:
    """The first line that begins at `offset` or later, with its place; None behind the last, or when it is too long."""
    at = max(0, offset - 1)
    block = b""
    while len(block) < LONGEST_LINE:
        more = read(fd, at + len(block), min(end, at + len(block) + max(_BLOCK, len(block))))
        if not more:
            break
        block += more
        start = 0 if offset == 0 else block.find(b"\n") + 1
        stop = block.find(b"\n", start)
        if (start or offset == 0) and stop >= 0:
            return at + start, block[start:stop]
    return end, None
