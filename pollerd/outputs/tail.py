"""The end of an event file: its last event, and what a crash left behind it. Reads only."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Annotated, Final

import msgspec

MAX_SEQ: Final = 2**53
"""The largest number every JSON reader keeps exact; a larger `seq` is no number of ours."""

WINDOW: Final = 1 << 20
"""How far back from the end an event is looked for, in bytes."""

_BLOCK: Final = 1 << 16
_GZIP_LIMIT: Final = 256 << 20


class _Numbered(msgspec.Struct):
    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]


class _Identity(msgspec.Struct):
    type: str
    observed_at: str
    id: int | None = None


_identity: Final = msgspec.json.Decoder(_Identity)
_numbered: Final = msgspec.json.Decoder(_Numbered)


class Line(msgspec.Struct, frozen=True):
    """An event as it stands in a file; `raw` is without its newline."""

    seq: int
    raw: bytes


class Tail(msgspec.Struct, frozen=True):
    """What the end of a file of `size` bytes looks like.

    `end` is where the last whole line ends; what follows is a torn line or NUL bytes, left by a crash. `last` is the
    last event, and `skipped` whole lines behind it are no events. `ours` is False when the file holds something, but
    nothing that looks like an event.
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
    """Look at the end of an open file. `synced` is the highest `seq` known to be on disk. Raises OSError."""
    size = os.fstat(fd).st_size
    solid = _without_nul(fd, size)
    start = max(0, solid - WINDOW)
    block = _read(fd, start, solid)
    end = block.rfind(b"\n") + 1
    hole = _hole(block[:end], synced, from_start=start == 0)
    if hole is not None:
        end = hole
    last, skipped = _last_event(block[:end])
    torn = block[end:]
    ours = last is not None or size == 0 or hole is not None or (start == 0 and end == 0 and _begins_event(torn))
    return Tail(size, start + end, last, skipped, ours)


def find(fd: int, end: int, seq: int) -> Line | None:
    """The last event with a number not above `seq` in a file whose numbers rise; None when there is none."""
    best: Line | None = None
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        start, raw = _line_from(fd, middle, end)
        if raw is None or start >= high:
            high = middle
            continue
        line = _event(raw)
        if line is None:
            return None
        if line.seq <= seq:
            best, low = line, start + len(raw) + 1
        else:
            high = middle
    return best


def last_in_gzip(path: Path) -> Line | None:
    """The last event of a compressed file; None when there is none, it is damaged or above 256 MiB."""
    kept = b""
    try:
        if path.stat().st_size > _GZIP_LIMIT:
            return None
        with gzip.open(path) as stream:
            while block := stream.read(WINDOW):
                kept = (kept + block)[-WINDOW:]
    except (OSError, EOFError, zlib.error):
        return None
    return _last_event(kept[: kept.rfind(b"\n") + 1])[0]


def same_event(one: bytes, other: bytes) -> bool:
    """Whether two lines are about the same event: by what happened and when, so that a masked number does no harm."""
    try:
        return _identity.decode(one) == _identity.decode(other)
    except msgspec.DecodeError:
        return False


def _event(raw: bytes) -> Line | None:
    try:
        return Line(_numbered.decode(raw).seq, raw)
    except msgspec.DecodeError:
        return None


def _begins_event(torn: bytes) -> bool:
    opening = b'{"seq":'
    return torn[: len(opening)] == opening[: len(torn)]


def _last_event(block: bytes) -> tuple[Line | None, int]:
    """The last event of whole lines, and how many lines behind it are none."""
    end, skipped = len(block), 0
    while end > 0:
        start = block.rfind(b"\n", 0, end - 1) + 1
        line = _event(block[start : end - 1])
        if line is not None:
            return line, skipped
        end, skipped = start, skipped + 1
    return None, skipped


def _hole(block: bytes, synced: int, *, from_start: bool) -> int | None:
    """Where the line with the first NUL begins, if that part of the file was not yet synced.

    A power cut can leave a page of NUL bytes before pages that did reach the disk. What is behind `synced` can be told
    again from the log, so it may be cut; a NUL anywhere else was not put there by a crash and stays.
    """
    nul = block.find(b"\0")
    if nul < 0:
        return None
    start = block.rfind(b"\n", 0, nul) + 1
    before, _ = _last_event(block[:start])
    if before is None:
        return start if from_start and start == 0 and synced == 0 else None
    return start if before.seq >= synced else None


def _without_nul(fd: int, size: int) -> int:
    end = size
    while end > 0:
        block = _read(fd, max(0, end - _BLOCK), end)
        kept = len(block.rstrip(b"\0"))
        if kept:
            return end - len(block) + kept
        end -= len(block)
    return 0


def _line_from(fd: int, offset: int, end: int) -> tuple[int, bytes | None]:
    """The first line that begins at `offset` or later, with its place; None behind the last or above 1 MiB."""
    at = max(0, offset - 1)
    block = b""
    while len(block) < 2 * WINDOW:
        more = _read(fd, at + len(block), min(end, at + len(block) + _BLOCK))
        if not more:
            break
        block += more
        start = 0 if offset == 0 else block.find(b"\n") + 1
        stop = block.find(b"\n", start)
        if (start or offset == 0) and stop >= 0:
            return at + start, block[start:stop]
    return end, None


def _read(fd: int, start: int, end: int) -> bytes:
    parts: list[bytes] = []
    while start < end:
        part = os.pread(fd, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)
