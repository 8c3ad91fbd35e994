"""A row of `messages` as a value and back. Rows written by users' own SQL are taken as they were meant."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pollerd.core import instants, particulars
from pollerd.core.ids import DEFAULT_ACCOUNT
from pollerd.core.model import Message, Priority, Recipient, State

COLUMNS: Final = tuple(name for name in Message.__struct_fields__ if name != "forced")
"""The columns of a row in the order that the functions here take and give them: that of the fields of a message."""
SCHEDULED: Final = (
    "next_poll_at",
    "next_reason",
    "polls",
    "misses",
    "strikes",
    "base",
    "first_poll_at",
    "last_poll_at",
    "last_answer",
    "seen_at",
    "refused_since",
    "unknown",
    "trail",
)
"""Those that any poll which changed nothing writes."""
REPEATED: Final = ("next_poll_at", "next_reason", "polls", "last_poll_at", "seen_at", "trail")
"""Those of them that the same answer as the last time writes."""
ANSWERED: Final = (*REPEATED, "userref", "sendtime", "validity", "recipients", "origin", "priority")
"""Those that an answer writes after which the message is still pending, and which follows another answer."""
HANDED_OVER: Final = ("id", "account", "userref", "sent_at", "sendtime", "priority", "overdue_after")
"""Those that whoever hands a message over fills."""
PLANNED: Final = (
    "account",
    "userref",
    "sent_at",
    "state",
    "next_reason",
    "base",
    "frozen_at",
    "sendtime",
    "taken_at",
    "priority",
    "overdue_after",
    "overdue_at",
    "next_poll_at",
)
"""Those that a first plan writes: what somebody handed over, as it is understood, and what follows from that. All but
the last one are mostly the same for all that is handed over together.
"""
(
    _ACCOUNT,
    _USERREF,
    _SENT_AT,
    _STATE,
    _NEXT_POLL_AT,
    _NEXT_REASON,
    _BASE,
    _LAST_POLL_AT,
    _LAST_ANSWER,
    _SEEN_AT,
    _SENDTIME,
    _RECIPIENTS,
    _TRAIL,
    _PRIORITY,
    _UNKNOWN,
    _OVERDUE_AFTER,
    _OVERDUE,
) = map(
    COLUMNS.index,
    (
        "account",
        "userref",
        "sent_at",
        "state",
        "next_poll_at",
        "next_reason",
        "base",
        "last_poll_at",
        "last_answer",
        "seen_at",
        "sendtime",
        "recipients",
        "trail",
        "priority",
        "unknown",
        "overdue_after",
        "overdue",
    ),
)

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_LONGEST_TEXT: Final = 1024
"""Characters of a userref that are kept."""
_LATEST: Final = 4_102_444_800.0
"""1 January 2100: nothing is sent later, and to wait for it would be to wait for ever."""

_recipients = msgspec.msgpack.Decoder(tuple[Recipient, ...])
_encoder = msgspec.msgpack.Encoder()
_SHARED: Final = ("status", "country", "mcc", "mnc", "sender")
_STATES: Final = {state.value: state for state in State}


class DamagedError(Exception):
    """A column of the daemon's own holds what it never writes there."""


def message_from_row(row: Sequence[Any], wall: float) -> Message:
    """The message in a row selected as `COLUMNS`.

    `wall` (the wall clock's time) stands in for a `sent_at` that cannot be understood. Without `next_poll_at` the
    message is due at `sent_at`. Raises DamagedError for recipients that cannot be read; what other columns hold is not
    checked, see `pollerd.store.damage`.
    """
    found = list(row)
    # What this program wrote itself, nearly every row, needs no reading between the lines.
    sent_at = found[_SENT_AT]
    if type(sent_at) is not float or not 0.0 < sent_at < _LATEST:
        sent_at = found[_SENT_AT] = instant(sent_at, wall)
    account, sendtime = found[_ACCOUNT], found[_SENDTIME]
    if type(account) is not str or not account:
        account = text(account) or DEFAULT_ACCOUNT
    # Of what many messages have in common there is one in memory: they are a third smaller by that.
    found[_ACCOUNT] = sys.intern(account)
    if sendtime is not None and (type(sendtime) is not float or not 0.0 < sendtime < _LATEST):
        found[_SENDTIME] = moment(sendtime)
    if found[_USERREF] is not None:
        found[_USERREF] = reference(found[_USERREF])
    if found[_NEXT_POLL_AT] is None:
        found[_NEXT_POLL_AT] = sent_at
    if found[_BASE] is None or found[_BASE] == sent_at:
        found[_BASE] = sent_at
    if found[_PRIORITY] is not None:
        found[_PRIORITY] = Priority.named(found[_PRIORITY])
    if found[_OVERDUE_AFTER] is not None:
        found[_OVERDUE_AFTER] = overdue_after(found[_OVERDUE_AFTER])
    found[_STATE] = _STATES.get(found[_STATE], State.NEW)
    found[_NEXT_REASON] = sys.intern(found[_NEXT_REASON] or "")
    found[_LAST_ANSWER] = sys.intern(found[_LAST_ANSWER] or "")
    if found[_SEEN_AT] == found[_LAST_POLL_AT]:
        found[_SEEN_AT] = found[_LAST_POLL_AT]
    found[_RECIPIENTS] = () if found[_RECIPIENTS] is None else recipients_from_blob(found[_RECIPIENTS])
    found[_TRAIL] = found[_TRAIL] or b""
    found[_UNKNOWN] = bool(found[_UNKNOWN])
    found[_OVERDUE] = found[_OVERDUE] is not None
    return Message(*found)


def handed_over(row: Sequence[Any]) -> Message | None:
    """The message in a new row selected as `HANDED_OVER` that holds nothing else; None where a look at the whole row
    may find more to say: its values are not as this program writes them.
    """
    message_id, account, userref, sent_at, sendtime, priority, after = row
    if type(account) is not str or not account or type(sent_at) is not float or sendtime is not None:
        return None
    if not instants.EARLIEST <= sent_at < instants.LATEST:
        return None
    return Message(
        message_id,
        account,
        sent_at,
        sent_at,
        None if userref is None else reference(userref),
        State.NEW,
        sent_at,
        priority=None if priority is None else Priority.named(priority),
        overdue_after=None if after is None else overdue_after(after),
    )


def row_from_message(message: Message) -> tuple[Any, ...]:
    """The values of `COLUMNS`. A message that is no longer polled has no `next_poll_at`."""
    *values, _ = msgspec.structs.astuple(message)
    values[_STATE] = int(message.state)
    values[_NEXT_POLL_AT] = message.next_poll_at if message.state <= State.PENDING else None
    values[_RECIPIENTS] = blob_from_recipients(message.recipients)
    values[_TRAIL] = message.trail or None
    values[_PRIORITY] = None if message.priority is None else message.priority.name
    values[_OVERDUE] = 1 if message.overdue else None
    return tuple(values)


def recipients_from_blob(blob: Any) -> tuple[Recipient, ...]:
    """The recipients as stored; none before the first answer. Raises DamagedError."""
    if blob is None:
        return ()
    try:
        found = _recipients.decode(blob)
    except (msgspec.DecodeError, TypeError) as error:
        raise DamagedError(str(error)) from error
    for recipient in found:
        # Thousands of recipients have one sender, one state and one operator: one text in memory for all of them.
        for name in _SHARED:
            if (value := getattr(recipient, name)) is not None:
                msgspec.structs.force_setattr(recipient, name, sys.intern(value))
    return found


def is_readable(blob: object) -> bool:
    """Whether `recipients_from_blob` can make something of it."""
    try:
        recipients_from_blob(blob)
    except DamagedError:
        return False
    return True


def blob_from_recipients(recipients: tuple[Recipient, ...]) -> bytes | None:
    """MessagePack for the column `recipients`."""
    return _encoder.encode(recipients) if recipients else None


def text(value: object) -> str | None:
    """A text column as users fill it: numbers and blobs are texts, empty is nothing."""
    match value:
        case None | "" | b"":
            return None
        case str():
            return value
        case bytes():
            return value.decode("utf-8", "replace")
        case _:
            return str(value)


def real(value: object) -> float | None:
    """A number of ours; None for nothing, and for what is no number."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def whole(value: object) -> int:
    """A whole number of ours; 0 for what is none."""
    return value if isinstance(value, int) else 0


def blob(value: object) -> bytes:
    """Bytes of ours, also where somebody has made a text of them."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def reference(value: object) -> str | None:
    """A userref fit for every output: of bounded length, without control characters."""
    found = text(value)
    return found if found is None else _CONTROL.sub("", found[:_LONGEST_TEXT]) or None


def instant(value: object, default: float) -> float:
    """UNIX seconds from what users write into `sent_at`; texts without a zone are UTC, as SQLite's `datetime('now')`.

    `default` when nothing sensible can be read.
    """
    try:
        seconds = instants.read(value, utc=True)
    except ValueError:
        return default
    return seconds if 0.0 < seconds < _LATEST else default


def moment(value: object) -> float | None:
    """UNIX seconds from what users write into `sendtime`, as `instant`; None when there is nothing sensible."""
    found = instant(value, math.nan)
    return None if math.isnan(found) else found


def priority(value: object) -> str | None:
    """A priority's name from what users write into `priority`; None when it is none."""
    found = Priority.named(value)
    return None if found is None else found.name


def overdue_after(value: object) -> float | None:
    """Seconds from what users write into `overdue_after`; None when there is nothing sensible."""
    try:
        return None if value is None else particulars.overdue_after(value)
    except ValueError:
        return None
