"""Tells the log what the gateway refused, without filling the disk on a bad day.

The first of a kind is a warning with the answer's body; the same again within 30 s goes to debug level and is counted
into the next warning of that kind. A 404 is daily life and always debug.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from pollerd.gateway.text import clean, shorten

QUIET: Final = 30.0
"""Seconds during which the same kind is counted instead of told."""
_LONGEST_BODY: Final = 500

logger: Final = logging.getLogger("pollerd.gateway")


class _Told:
    __slots__ = ("at", "since")

    def __init__(self, at: float) -> None:
        self.at = at
        self.since = 0


class AnswerLog:
    """One account's log of failed requests. `monotonic` gives seconds."""

    def __init__(self, account: str, monotonic: Callable[[], float]) -> None:
        self._account = account
        self._monotonic = monotonic
        self._told: dict[str, _Told] = {}

    def refused(self, what: str, status: int, kind: str, body: str) -> None:
        """An answer outside 2xx to `what` (such as `message 17`). `body` is already masked."""
        level, repeats = (logging.DEBUG, 0) if kind == "http_404" else self._level(kind)
        if not logger.isEnabledFor(level):
            return
        text = shorten(clean(body, 4 * _LONGEST_BODY), _LONGEST_BODY)
        logger.log(
            level,
            "account %s: %s: answered %d%s: %s",
            self._account,
            what,
            status,
            _times(repeats),
            text or "(no body)",
            extra={
                "event": "gateway_answer",
                "account": self._account,
                "status": status,
                "kind": kind,
                "repeats": repeats,
                "body": text,
            },
        )

    def failed(self, what: str, kind: str, detail: str) -> None:
        """A request that got no answer, or a 200 that cannot be used. `detail` is already masked."""
        level, repeats = self._level(kind)
        if not logger.isEnabledFor(level):
            return
        logger.log(
            level,
            "account %s: %s: %s%s: %s",
            self._account,
            what,
            kind,
            _times(repeats),
            detail,
            extra={"event": "gateway_failure", "account": self._account, "kind": kind, "repeats": repeats},
        )

    def _level(self, kind: str) -> tuple[int, int]:
        """The level for this occurrence, and how many of its kind were not told since the last warning."""
        now = self._monotonic()
        told = self._told.get(kind)
        if told is None:
            self._told[kind] = _Told(now)
            return logging.WARNING, 0
        if now - told.at < QUIET:
            told.since += 1
            return logging.DEBUG, 0
        repeats, told.since, told.at = told.since, 0, now
        return logging.WARNING, repeats


def _times(repeats: int) -> str:
    return f" (and {repeats} times more since it was last told)" if repeats else ""
