"""Test equipment: make the process die or stand still, or an operation fail, at a named step.

The environment variable `POLLERD_FAILPOINTS` arms failpoints for the life of the process; without it `hit` does
nothing. It is a comma-separated list of `NAME=ACTION[:HITS]`, each with a name of `NAMES`:

    store.written=kill:3              SIGKILL to this very process at the third hit
    file.before_write=enospc:2-40     hits 2 to 40 raise OSError(ENOSPC); `2-` means from the second on
    file.before_fsync=eio             every hit raises OSError(EIO)
    file.before_cursor=block:1        the first hit never returns: on the event loop, the whole daemon stands still
    store.begun=stop:7                SIGSTOP to this very process at the seventh hit: SIGCONT lets it go on
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

VARIABLE: Final = "POLLERD_FAILPOINTS"
_ERRORS: Final = {"enospc": errno.ENOSPC, "eio": errno.EIO, "edquot": errno.EDQUOT}
_FOR_EVER: Final = 30 * 86400.0  # Seconds (a month): longer than any test.
_POINT: Final = re.compile(r"(?P<name>[\w.]+)=(?P<action>\w+)(?::(?P<first>\d+)(?P<range>-(?P<last>\d+)?)?)?")


NAMES: Final = frozenset(
    {
        "app.before_serving",
        "file.after_cursor",
        "file.after_fsync",
        "file.after_write",
        "file.before_cursor",
        "file.before_fsync",
        "file.before_write",
        "file.mid_write",
        "file.rotated",
        "lease.before_renewal",
        "lease.before_takeover",
        "lease.renewed",
        "lease.taking",
        "lease.took_over",
        "poll.answered",
        "poll.before",
        "store.begun",
        "store.committed",
        "store.written",
        "target.before_commit",
        "target.begun",
        "target.saved",
        "target.written",
        "webhook.after_save",
        "webhook.before_post",
        "webhook.before_save",
    }
)
"""All there are. A test that arms another one would prove nothing, so that it is refused."""


class _Point(msgspec.Struct, frozen=True):
    action: str
    first: int
    last: int
    # Hits come from several threads; next() on a count is atomic.
    hits: Iterator[int] = msgspec.field(default_factory=lambda: itertools.count(1))


def parse(text: str) -> Mapping[str, _Point]:
    """The failpoints that `text` arms. Raises ValueError when it is malformed or names none of `NAMES`."""
    points: dict[str, _Point] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = _POINT.fullmatch(part)
        if match is None or match["action"] not in {"kill", "stop", "block", *_ERRORS}:
            raise ValueError(f"{VARIABLE}: {part!r} is not NAME=kill|stop|block|{'|'.join(_ERRORS)}[:N[-[M]]]")
        if match["name"] not in NAMES:
            raise ValueError(f"{VARIABLE}: there is no {match['name']!r}; there is {', '.join(sorted(NAMES))}")
        first = int(match["first"] or 1)
        one_hit = match["first"] and not match["range"]
        points[match["name"]] = _Point(match["action"], first, first if one_hit else int(match["last"] or sys.maxsize))
    return MappingProxyType(points)


_POINTS: Final = parse(os.environ.get(VARIABLE, ""))


def armed(name: str) -> bool:
    """Whether the failpoint can ever strike in this process."""
    return name in _POINTS


def hit(name: str) -> None:
    """The program passes the step `name`. Free unless armed; then it may not return, or raise OSError."""
    point = _POINTS.get(name)
    if point is None or not point.first <= next(point.hits) <= point.last:
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if point.action == "stop":
        # To the thread that calls: sent to the process, another thread may take it, and this one goes on for a while.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return
    if point.action == "block":
        time.sleep(_FOR_EVER)
        return
    number = _ERRORS[point.action]
    raise OSError(number, os.strerror(number), name)
