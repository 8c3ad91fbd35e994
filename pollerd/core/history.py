"""The last polls of a message: when, and what was answered. Kept in its row, eight bytes a poll. Pure.

An entry is five bytes of tenths of a second since 1970, one byte for the answer and two for the recipients still
pending, all big-endian. Stored for good: codes may only be added.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from pollerd.core.model import HoldReason

KEPT: Final = 16
"""Polls that a row remembers."""
WIDTH: Final = 8
"""Bytes of a poll."""
_MOST_BYTES: Final = KEPT * WIDTH
_pack = struct.Struct(">BIBH").pack
_LARGEST: Final = 0xFFFF  # The most that two bytes count.
_LATEST: Final = (1 << 40) - 1  # Tenths of a second: the most that five bytes hold, in the year 5454.
_OTHER_STATE: Final = 31  # The code of a state that the vendor's table does not have.
_OTHER: Final = 255  # The code of an answer that has none.
_STATES: Final = (
    "no recipient",
    "UNKNOWN",
    "SCHEDULED",
    "BUFFERED",
    "ENROUTE",
    "DELIVERED",
    "EXPIRED",
    "DELETED",
    "UNDELIVERABLE",
    "ACCEPTED",
    "REJECTED",
    "SKIPPED",
    "READ",
)
NOT_FOUND: Final = "404"
REFUSED: Final = "refused"
_CODES: Final[Mapping[str, int]] = {
    **{state: code for code, state in enumerate(_STATES)},
    NOT_FOUND: 32,
    REFUSED: 33,
    **{reason.value: code for code, reason in enumerate(HoldReason, 64)},
}
_NAMES: Final[Mapping[int, str]] = {code: name for name, code in _CODES.items()} | {_OTHER_STATE: "another state"}
_FAILED: Final = frozenset(_CODES[reason.value] for reason in HoldReason)


class Poll(NamedTuple):
    """One poll: at `at` the gateway said `answer`, and `pending` recipients had no final state.

    `at` is the daemon's time in the store, the wall clock's in what a view shows.

    `answer` is a delivery state, `404`, `refused`, or the reason why nothing could be learned. `pending` stops at
    65,535.
    """

    at: float
    answer: str
    pending: int

    @property
    def failed(self) -> bool:
        """Whether the request brought no answer at all."""
        return _CODES.get(self.answer) in _FAILED


def seen(trail: bytes, now: float, state: str, pending: int) -> bytes:
    """The trail after an answer that showed `state` (of the first recipient still pending, else of the first)."""
    made = trail + _entry(now, _CODES.get(state, _OTHER_STATE), pending)
    return made if len(made) <= _MOST_BYTES else made[-_MOST_BYTES:]


def met(trail: bytes, now: float, answer: str) -> bytes:
    """The trail after anything else. A failure takes the place of the same failure just before it."""
    code = _CODES.get(answer, _OTHER)
    if code in _FAILED and trail and trail[-3] == code:
        trail = trail[:-WIDTH]
    return (trail + _entry(now, code, 0))[-_MOST_BYTES:]


def polls(trail: bytes) -> list[Poll]:
    """The polls in order of time. What cannot be read is left out."""
    found = []
    for start in range(0, len(trail) - WIDTH + 1, WIDTH):
        entry = trail[start : start + WIDTH]
        answer = _NAMES.get(entry[5], "unreadable")
        found.append(Poll(int.from_bytes(entry[:5]) / 10.0, answer, int.from_bytes(entry[6:])))
    return found


def moved(trail: bytes, seconds: float) -> bytes:
    """The trail with all its times moved."""
    starts = range(0, len(trail) - WIDTH + 1, WIDTH)
    parts = (trail[start : start + WIDTH] for start in starts)
    return b"".join(
        _entry(int.from_bytes(part[:5]) / 10.0 + seconds, part[5], int.from_bytes(part[6:])) for part in parts
    )


def _entry(now: float, code: int, pending: int) -> bytes:
    # On the hot path: no calls of min() and max().
    tenths = int(now * 10.0)
    if not 0 <= tenths <= _LATEST:
        tenths = 0
    if pending > _LARGEST:
        pending = _LARGEST
    return _pack(tenths >> 32, tenths & 0xFFFFFFFF, code, pending)
