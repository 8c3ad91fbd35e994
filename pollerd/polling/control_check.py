"""The control check: before a refusal ends a message, others that the gateway answered lately are read again.

Answered, it is this message alone. Refused as well, it is the gateway, whatever it says.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum, auto
from typing import Final

import msgspec

from pollerd.core.model import Answer, HoldReason, Message, NotFound, Outcome, Rejected, Trouble

KEPT: Final = 8
"""Messages answered last that are remembered for each account: some of them may be deleted at the gateway by the time
they are needed, hardly all of them."""
REFUSALS_BEFORE_CHECK: Final = 5
"""Refusals in a row, no answer between, after which the others are read even though no message is about to end."""

ROUNDS: Final = 3
"""Times that the others are answered and the message is refused by turns before that is no accident."""
Read = Callable[[int], Awaitable[Outcome | None]]
"""Reads a message now, within the account's limits; None when that is not possible (a hold, the daemon's end)."""

_ids = msgspec.json.Decoder(list[int])


def answered_note(account: str) -> str:
    """The name of the note that keeps which messages were answered last."""
    return f"answered {account}"


class ControlCheckResult(Enum):
    """What the others say."""

    ANSWERED = auto()
    """One of them is answered: the gateway works."""
    REFUSED = auto()
    """All of them are refused, too."""
    ALONE = auto()
    """There are none: no other message was ever answered."""
    UNDECIDED = auto()
    """It could not be found out, or the gateway contradicts itself."""


class ControlCheck:
    """What one account's gateway answered lately. `monotonic` gives seconds, `active` instants: see
    `OutcomeRules.active`.

    `suspect_for`: seconds after a refusal was taken back in which no other one is believed. A balancer with one bad
    backend answers and refuses everything, now and then.
    """

    def __init__(
        self, monotonic: Callable[[], float], active: Callable[[], float], suspect_for: Callable[[], float]
    ) -> None:
        self._monotonic = monotonic
        self._active = active
        self._suspect_for = suspect_for
        self._answered: OrderedDict[int, float] = OrderedDict()
        """Messages answered last, the latest at the end, and when (monotonic) they were asked about."""
        self._refusals = 0
        self._turn = asyncio.Lock()
        self._saved = b""
        self.taken_back_at = -math.inf
        """When (by `active`) the gateway last took back a refusal."""

    # -- what is remembered

    def dump(self) -> bytes | None:
        """The remembered messages, to be kept over a restart; None when they are the same as last time."""
        found = msgspec.json.encode(list(self._answered))
        if found == self._saved:
            return None
        self._saved = found
        return found

    def load(self, data: bytes | None) -> None:
        """Take up a `dump`. Empty or damaged data is no error."""
        try:
            known = _ids.decode(data or b"[]")
        except msgspec.DecodeError:
            return
        self._answered = OrderedDict((number, -math.inf) for number in known[-KEPT:])
        self._saved = data or b""

    def known(self) -> list[int]:
        """The remembered messages, the one answered last first."""
        return list(reversed(self._answered))

    # -- what is heard

    def answered(self, message_id: int, asked: float) -> None:
        """The gateway answered a request that went out at `asked` (monotonic)."""
        self._refusals = 0
        self._answered[message_id] = asked
        self._answered.move_to_end(message_id)
        if len(self._answered) > KEPT:
            self._answered.popitem(last=False)

    def refused(self) -> bool:
        """The gateway refused a message that it should know. Whether it is time to ask others, for their own sake."""
        self._refusals += 1
        return self._refusals >= REFUSALS_BEFORE_CHECK

    def taken_back(self) -> None:
        """The gateway answered what it had just refused: its refusals so far prove nothing."""
        self.taken_back_at = self._active()

    @property
    def suspect(self) -> bool:
        """Whether the gateway has lately taken back a refusal."""
        return self._active() - self.taken_back_at < self._suspect_for()

    # -- the experiment

    async def ask(self, about: int, read: Read) -> ControlCheckResult:
        """What others than `about` are answered after this call: nothing older counts.

        Several callers share one experiment; what is answered meanwhile in the course of polling counts too.
        """
        since = self._monotonic()
        async with self._turn:
            self._refusals = 0
            refused: list[int] = []
            for number in self.known():
                if self._fresh(since, about):
                    break
                if number == about:
                    continue
                outcome = await read(number)
                if outcome is None or type(outcome) is Trouble:
                    return ControlCheckResult.UNDECIDED
                if type(outcome) is not Answer:
                    refused.append(number)
            if self._fresh(since, about):
                return await self._agreed(refused, read)
            return ControlCheckResult.REFUSED if refused else ControlCheckResult.ALONE

    def _fresh(self, since: float, about: int) -> bool:
        return any(asked >= since and number != about for number, asked in self._answered.items())

    async def _agreed(self, refused: Iterable[int], read: Read) -> ControlCheckResult:
        """One is answered. Those refused are gone from the gateway, unless it says otherwise the next time."""
        for number in refused:
            outcome = await read(number)
            if type(outcome) is Answer:
                self.taken_back()
            if outcome is None or type(outcome) in (Answer, Trouble):
                return ControlCheckResult.UNDECIDED
            self._answered.pop(number, None)
        return ControlCheckResult.ANSWERED


def speaks_against(message: Message, outcome: Outcome) -> bool:
    """Whether an answer speaks against a message: a 404 is normal for one that was never seen."""
    return type(outcome) is Rejected or (type(outcome) is NotFound and message.seen_at is not None)


def takes_back(message: Message) -> bool:
    """Whether the gateway has just refused a message that is answered now. What cannot be read is no refusal."""
    struck = message.strikes > 0 and message.last_answer.startswith("http_")
    return struck or (message.misses > 0 and message.seen_at is not None)


def alike(outcome: Outcome) -> Trouble:
    """A refusal that is the gateway's fault alone."""
    return Trouble(HoldReason.REFUSING, outcome.kind if isinstance(outcome, Rejected) else "http_404", "")


def refusal(outcome: Outcome) -> str:
    """A refusal as `Message.last_answer` names it."""
    return outcome.kind if isinstance(outcome, Rejected) else "404"


def said(outcome: Outcome) -> str:
    return (outcome.detail if isinstance(outcome, NotFound | Rejected) else "") or "404"
