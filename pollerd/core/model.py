"""The values that travel through pollerd: messages, recipients, answers, outcomes. Pure data, no decisions.

Instants are the daemon's own (`ports.Clock.now`: UNIX seconds as long as the wall clock is not set), durations are
seconds, both float, unless a name says otherwise. `gc=False` where there are many of them: frozen values hold nothing
that could lead back to them, so the garbage collector need not scan them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final, Literal

import msgspec

MAX_MESSAGE_ID = 2**63 - 1
"""The largest id that can be stored: the gateway's are positive integers of up to 64 bits, SQLite's are signed."""


class State(IntEnum):
    """Where a message stands in pollerd's own life, as stored in `messages.state`."""

    NEW = 0
    PENDING = 1
    FINISHED = 2
    GAVE_UP = 3
    SET_ASIDE = 4
    """Not polled until a person takes it up again: its row held something unusable."""


OVERDUE: Final = "overdue"
"""Of those pending the ones that were reported as overdue."""
Filter = State | Literal["overdue"]
FILTERS: Final[Mapping[str, Filter]] = {
    "pending": State.PENDING,
    "finished": State.FINISHED,
    "gave_up": State.GAVE_UP,
    "overdue": OVERDUE,
    "set_aside": State.SET_ASIDE,
}
"""What a list of messages can be limited to, by the name that everybody uses."""


class GiveUpReason(StrEnum):
    """Why polling ended without a final state (`message.gave_up`)."""

    DEADLINE = "deadline"
    NOT_FOUND = "not_found"
    REJECTED_REQUEST = "rejected_request"
    UNTRACKED = "untracked"


class HoldReason(StrEnum):
    """Why polling of an account is paused (`account.held`)."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    SERVER_ERRORS = "server_errors"
    REFUSING = "refusing"
    """One refusal for all messages, those that were answered lately included."""


class Priority(IntEnum):
    """How urgent a message is, in the vendor's words of the sending call. A larger number goes first."""

    BULK = 0
    NORMAL = 1
    URGENT = 2
    VERY_URGENT = 3

    @classmethod
    def named(cls, value: object) -> Priority | None:
        """The one with that name, in whatever spelling of its letters and gaps; None when there is none."""
        if not isinstance(value, str):
            return None
        if (found := _PRIORITIES.get(value)) is not None:
            return found
        return _PRIORITIES.get(value.strip().upper().replace("-", "_").replace(" ", "_"))


_PRIORITIES: Final = dict(Priority.__members__)


UNIDENTIFIED = 0
"""The `msisdn` of a recipient whose number cannot be used. An integer, so that a previous release can read the row."""


class Recipient(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One recipient of a message as the gateway last showed it.

    `msisdn` is UNIDENTIFIED where the gateway shows no usable number. `time` is the gateway's `dsntime` (None when it
    gave none), `sent` its `senttime`: when this recipient's SMS was sent, both by the gateway's clock. `code` is its
    `dsnerrorcode` as hex text, `country` ISO 3166 alpha-2. `counts_as` is the state of an entry without a usable number
    that stands for this recipient: it counts, `status` stays what was reported. `sender` is the gateway's
    `actual_sender`, `parts` its `csms`: how many SMS the text took.
    Stored as a MessagePack array: fields may only be added at the end.
    """

    msisdn: int
    status: str
    time: float | None = None
    error: str | None = None
    code: str | None = None
    country: str | None = None
    mcc: str | None = None
    mnc: str | None = None
    charge_status: str | None = None
    sent: float | None = None
    counts_as: str | None = None
    sender: str | None = None
    parts: int | None = None

    @property
    def counted(self) -> str:
        """The state by which it counts for completion, `counts` and `pending`."""
        return self.status if self.counts_as is None else self.counts_as


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A readable 200 answer: what the gateway says of one message. The SMS text is dropped while decoding.

    `unusable` names the fields that held something of no use, and in how many places. All times are the
    gateway's, whose clock is `ahead` seconds ahead of the daemon's.
    """

    recipients: tuple[Recipient, ...]
    userref: str | None = None
    sendtime: float | None = None
    validity: float | None = None
    unusable: tuple[tuple[str, int], ...] = ()
    ahead: float = 0.0
    priority: Priority | None = None

    @classmethod
    def again(cls, message: Message, ahead: float) -> Answer:
        """The answer that says of `message` what is stored."""
        sendtime = None if message.sendtime is None else message.sendtime + ahead
        return cls(
            message.recipients, message.userref, sendtime, message.validity, ahead=ahead, priority=message.priority
        )

    def stored(
        self, message: Message
    ) -> tuple[tuple[Recipient, ...], str | None, float | None, float | None, Priority | None]:
        """Recipients, userref, sendtime, validity and priority of `message` once it has this answer, if each recipient
        is taken as it is shown. What was handed over with the message stays.
        """
        return (
            self.recipients,
            self.userref if message.userref is None else message.userref,
            message.sendtime if self.sendtime is None else self.sendtime - self.ahead,
            message.validity if self.validity is None else self.validity,
            self.priority if message.priority is None else message.priority,
        )


class NotFound(msgspec.Struct, frozen=True):
    """The vendor's own 404 (or an empty list): the message does not exist, or has not reached its datastore yet."""

    detail: str = ""


class Rejected(msgspec.Struct, frozen=True):
    """An answer that may concern this message alone; counts against it.

    The vendor's own 400, 410 or 422, or a body that cannot be understood.
    """

    detail: str
    kind: str
    decoded: bool = True
    """False when a 200 could not be understood; many of those in a row are the gateway's trouble after all."""


class Trouble(msgspec.Struct, frozen=True):
    """A failure that concerns the account or the gateway, never the message that happened to meet it.

    `kind` names the cause precisely ("timeout", "dns", "captive_portal"); `retry_after` is in seconds, already
    bounded, None when the gateway gave none.
    """

    reason: HoldReason
    kind: str
    detail: str
    retry_after: float | None = None


Outcome = Answer | NotFound | Rejected | Trouble


class Message(msgspec.Struct, frozen=True, gc=False):
    """A tracked message as stored: one row, one value. The fields but the last one are the columns of its table.

    `base` is the origin of the age clock (`sending` unless an outage moved it). `frozen_at` is the
    account's total of held seconds when the message was taken in: what accrued since does not age it.
    `misses` counts 404s since it was last seen, `strikes` other answers held against it. `seen_at` is the last 200,
    `refused_since` the first refusal after it, with the account's held time taken off.
    """

    id: int
    account: str
    sent_at: float
    next_poll_at: float
    userref: str | None = None
    state: State = State.PENDING
    base: float = 0.0
    frozen_at: float = 0.0
    next_reason: str = ""
    polls: int = 0
    misses: int = 0
    strikes: int = 0
    first_poll_at: float | None = None
    last_poll_at: float | None = None
    last_answer: str = ""
    seen_at: float | None = None
    sendtime: float | None = None
    validity: float | None = None
    finished_at: float | None = None
    recipients: tuple[Recipient, ...] = ()
    trail: bytes = b""
    """Its last polls, as `pollerd.core.history` writes them."""
    origin: float | None = None
    """When the gateway says that it was sent: the latest `senttime` of those still pending, in the daemon's time."""
    taken_at: float | None = None
    """When the daemon took it in, which may be long before or after it was sent."""
    refused_since: float | None = None
    gave_up_for: str | None = None
    """Why polling ended without a final state (`GiveUpReason`)."""
    resumed_at: float | None = None
    """When it was taken up again because the gateway was found to refuse everything."""
    unknown: bool = False
    """Never seen, and past its grace: to be sent later, or none of this account's."""
    priority: Priority | None = None
    """As handed over, else as the gateway gives it. None counts as NORMAL."""
    overdue_after: float | None = None
    """Seconds after sending without a final state, as handed over. None: as its account has it; 0: never."""
    overdue_at: float | None = None
    """When it is overdue (`pollerd.core.overdue`); None: never."""
    overdue: bool = False
    """Whether it was reported as overdue: that happens once."""
    forced: bool = False
    """Asked for by a person (`poll`): ahead of schedule, in memory only."""

    @property
    def sending(self) -> float:
        """When it was, or is to be, sent: as the gateway says, else its `sendtime`, else as handed over."""
        if self.origin is not None:
            return self.origin
        return self.sent_at if self.sendtime is None or self.sendtime < self.sent_at else self.sendtime
