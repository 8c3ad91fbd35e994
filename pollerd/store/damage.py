"""Rows in which a column of the daemon's own holds what it never writes there: found, named, and read around. Pure.

What others write into the columns that are theirs (account, userref, sent_at, sendtime, priority and overdue_after of a
new row) is no damage; a column that is only shown costs no more than itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from pollerd.core import history, instants
from pollerd.core.model import State
from pollerd.store import rows

BEYOND: Final = 5e9
"""Seconds: no instant of ours is later (the year 2128), no length of time longer."""
MOST_COUNTED: Final = 1 << 31
"""No number of polls is larger."""
_COUNTS: Final = ("polls", "misses", "strikes")
_SECONDS: Final = (
    "next_poll_at",
    "base",
    "first_poll_at",
    "last_poll_at",
    "seen_at",
    "validity",
    "finished_at",
    "origin",
    "taken_at",
    "refused_since",
    "resumed_at",
    "overdue_at",
)
"""Instants and lengths of time; where there is none yet they hold NULL."""
_TOLD: Final = ("next_reason", "last_answer", "gave_up_for")
_STATES: Final = frozenset(state.value for state in State)
_TEXTS: Final = frozenset({str, type(None)})
_OURS: Final = itemgetter(
    *(rows.COLUMNS.index(name) for name in (*_TOLD, "trail", "state", "frozen_at", *_COUNTS, "sendtime", *_SECONDS))
)
_LONGEST_QUOTE: Final = 40  # Characters of a bad value that are quoted.
_STATE: Final = rows.COLUMNS.index("state")
_WRITTEN: Final = tuple((name, rows.COLUMNS.index(name)) for name in ("sent_at", "sendtime"))
"""Times that others write into a new row."""


def whole(row: Sequence[Any]) -> bool:
    """Whether nothing is wrong with a row selected as `rows.COLUMNS` but perhaps its recipients: nearly always."""
    next_reason, last_answer, gave_up_for, known, state, frozen_at, polls, misses, strikes, *seconds = _OURS(row)
    if state == State.NEW.value:
        # Its sendtime is as its writer wrote it.
        del seconds[0]
    if not _TEXTS.issuperset((type(next_reason), type(last_answer), type(gave_up_for))) or not _is_trail(known):
        return False
    for count in (polls, misses, strikes):
        if type(count) is not int or not 0 <= count < MOST_COUNTED:
            return False
    for value in seconds:
        if value is not None and (type(value) is not float or not -BEYOND < value < BEYOND):
            return False
    return type(state) is int and state in _STATES and type(frozen_at) is float and -BEYOND < frozen_at < BEYOND


def state(value: object) -> State:
    """The state in a row; one that is none is about to be set aside."""
    return State(value) if type(value) is int and value in _STATES else State.SET_ASIDE


def reason(row: Sequence[Any]) -> str:
    """What is wrong with a row, in words; empty when nothing is."""
    named = dict(zip(rows.COLUMNS, row, strict=True))
    for column in _bad(named):
        return f"its column {column} holds {_shown(named[column])}"
    return ""


def untimely(row: Sequence[Any], taken: Callable[[float], float]) -> str:
    """Why a time in a new row cannot be one, in words; empty when nothing is wrong.

    `taken` gives the instant that a writer meant whose clock said so: one that begins in 1970 is no reason to refuse.
    """
    if row[_STATE] != State.NEW.value:
        return ""
    for name, place in _WRITTEN:
        if (value := row[place]) in (None, "", b""):
            continue
        try:
            if type(value) is not float or not taken(value) >= instants.EARLIEST or value >= instants.LATEST:
                instants.instant(value, utc=True)
        except ValueError as error:
            return f"its {name} {error}"
    return ""


def mended(row: Sequence[Any]) -> tuple[Any, ...]:
    """The row as far as it can be read: what is wrong is as if it had never been written.

    One that was followed is set aside then, and says why in `next_reason`.
    """
    named = dict(zip(rows.COLUMNS, row, strict=True))
    bad = tuple(_bad(named))
    state = named["state"]
    if bad and state not in (State.FINISHED.value, State.GAVE_UP.value):
        named["next_reason"] = named["next_reason"] if state == State.SET_ASIDE.value else reason(row)
        named["state"], named["next_poll_at"], named["finished_at"] = State.SET_ASIDE.value, None, None
    for column in bad:
        named[column] = 0 if column in _COUNTS else 0.0 if column == "frozen_at" else named[column]
        if column in _SECONDS or column in ("recipients", "sendtime"):
            named[column] = None
    for column in _TOLD:
        named[column] = rows.text(named[column])
    named["trail"] = named["trail"] if _is_trail(named["trail"]) else None
    return tuple(named.values())


def _bad(named: Mapping[str, Any]) -> list[str]:
    state = named["state"]
    bad = [] if type(state) is int and state in _STATES else ["state"]
    bad += [name for name in _COUNTS if type(named[name]) is not int or not 0 <= named[name] < MOST_COUNTED]
    ours = _SECONDS if state == State.NEW.value else (*_SECONDS, "sendtime")
    bad += [name for name in ours if named[name] is not None and not _is_time(named[name])]
    bad += [] if _is_time(named["frozen_at"]) else ["frozen_at"]
    bad += [] if rows.is_readable(named["recipients"]) else ["recipients"]
    if state == State.PENDING.value:
        # By these two the schedule finds it.
        bad += [] if isinstance(named["account"], str) and named["account"] else ["account"]
        bad += [] if named["next_poll_at"] is not None else ["next_poll_at"]
    return bad


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and -BEYOND < value < BEYOND


def _is_trail(value: object) -> bool:
    return value is None or (type(value) is bytes and len(value) % history.WIDTH == 0)


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bytes():
            return f"a blob of {len(value)} bytes"
        case str():
            return f"the text {value[:_LONGEST_QUOTE]!r}"
        case _:
            return f"the number {value!r}"
