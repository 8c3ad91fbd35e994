"""Writes to the log what the gateway refused, without filling the disk on a bad day.

The first of a kind is a warning with the answer's body; the same again within 30 s goes to debug level and is counted
into the next warning of that kind. A 404 is daily life and always debug. A damaged answer is logged once a message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from pollerd.core.incoming import IncomingPage
from pollerd.core.model import Answer
from pollerd.gateway.text import clean, shorten

QUIET: Final = 30.0
"""Seconds during which the same kind is counted instead of logged."""
_LONGEST_BODY: Final = 500  # Characters of an answer that are logged: its beginning shows what it is.
DAMAGED_NAMED: Final = 10  # Messages.
DAMAGED_QUIET: Final = 3600.0
"""So many messages with a damaged answer are named within so many seconds: a gateway may damage them all."""
DAMAGED_KNOWN: Final = 1000
"""Messages with a damaged answer that are remembered; one that is forgotten may be named again."""

logger: Final = logging.getLogger("pollerd.gateway")


class _Logged:
    __slots__ = ("at", "since", "times")

    def __init__(self, at: float) -> None:
        self.at = at
        self.times = 0
        self.since = 0


class AnswerLog:
    """One account's log of failed requests. `monotonic` gives seconds."""

    def __init__(self, account: str, monotonic: Callable[[], float]) -> None:
        self._account = account
        self._monotonic = monotonic
        self._logged: dict[str, _Logged] = {}
        self._damaged: dict[tuple[int, frozenset[str]], None] = {}

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

    def damaged(self, message_id: int, answer: Answer) -> None:
        """A 200 of which a part cannot be used; the rest of it is."""
        damage = (message_id, frozenset(name for name, _ in answer.unusable))
        if damage in self._damaged:
            return
        level, repeats = self._level("damaged", DAMAGED_NAMED, DAMAGED_QUIET)
        if level == logging.WARNING:
            if len(self._damaged) >= DAMAGED_KNOWN:
                del self._damaged[next(iter(self._damaged))]
            self._damaged[damage] = None
        fields = ", ".join(f"{name} ({_places(count)})" for name, count in answer.unusable)
        nameless = sum(1 for recipient in answer.recipients if not recipient.msisdn)
        logger.log(
            level,
            "account %s: message %d: in the gateway's answer this cannot be used: %s%s%s; all the rest is reported",
            self._account,
            message_id,
            fields,
            f"; {_uncalled(nameless)}" if nameless else "",
            _times(repeats),
            extra={
                "event": "answer_damaged",
                "account": self._account,
                "message_id": message_id,
                "fields": dict(answer.unusable),
                "recipients": len(answer.recipients),
                "unidentified": nameless,
                "repeats": repeats,
            },
        )

    def damaged_page(self, page: IncomingPage) -> None:
        """A page of incoming messages of which a part cannot be used; the rest of it is."""
        level, repeats = self._level("damaged page")
        fields = ", ".join(f"{name} ({_places(count)})" for name, count in page.damage)
        lost = f"; {page.unusable} without a usable mosms_id are not reported" if page.unusable else ""
        logger.log(
            level,
            "account %s: incoming messages: in the answer this cannot be used: %s%s%s; all the rest is reported",
            self._account,
            fields,
            lost,
            _times(repeats),
            extra={
                "event": "incoming_damaged",
                "account": self._account,
                "fields": dict(page.damage),
                "unusable": page.unusable,
                "repeats": repeats,
            },
        )

    def _level(self, kind: str, most: int = 1, quiet: float = QUIET) -> tuple[int, int]:
        """The level for this occurrence, a warning `most` times within `quiet` seconds, and how many of its kind were
        not logged since the last warning.
        """
        now = self._monotonic()
        logged = self._logged.setdefault(kind, _Logged(now))
        repeats = 0
        if now - logged.at >= quiet:
            repeats, logged.since, logged.times, logged.at = logged.since, 0, 0, now
        logged.times += 1
        if logged.times <= most:
            return logging.WARNING, repeats
        logged.since += 1
        return logging.DEBUG, 0


def _places(count: int) -> str:
    return "in one place" if count == 1 else f"in {count} places"


def _uncalled(count: int) -> str:
    if count == 1:
        return "the recipient without a usable number counts by its state, no event names it"
    return f"the {count} recipients without a usable number count by their states, no event names them"


def _times(repeats: int) -> str:
    return f" (and {repeats} times more since it was last logged)" if repeats else ""
