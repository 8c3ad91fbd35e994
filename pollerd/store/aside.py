"""Reads rows of `messages`, and sets aside those that are unusable: one bad row must not stop all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from pollerd.core.model import Message, State
from pollerd.core.ports.view import AGE_SLOT
from pollerd.store import damage, rows
from pollerd.store.session import Session

_NAMED: Final = 20
"""Rows named one by one in the log; the rest is counted."""
_STATE: Final = rows.COLUMNS.index("state")


class Damaged(NamedTuple):
    """A row selected as `rows.COLUMNS`, and what is wrong with it."""

    row: Sequence[Any]
    why: str


class Read(NamedTuple):
    """What could be read, in order, and the rows to set aside."""

    messages: list[Message]
    damaged: list[Damaged]


def read(found: Iterable[Sequence[Any]], wall: float, taken: Callable[[float], float]) -> Read:
    """Messages from rows. One that has ended, or is set aside already, is read as far as that is possible.

    `taken`: see `damage.untimely`.
    """
    messages: list[Message] = []
    damaged: list[Damaged] = []
    for row in found:
        if why := damage.untimely(row, taken):
            damaged.append(Damaged(row, why))
            continue
        if damage.whole(row):
            try:
                messages.append(rows.message_from_row(row, wall))
            except rows.DamagedError:
                pass
            else:
                continue
        why = damage.reason(row)
        if why and row[_STATE] not in (State.FINISHED, State.GAVE_UP, State.SET_ASIDE):
            damaged.append(Damaged(row, why))
        else:
            messages.append(rows.message_from_row(damage.mended(row), wall))
    return Read(messages, damaged)


def shown(found: Iterable[Sequence[Any]], wall: float) -> list[Message]:
    """The same for whoever only reads: a damaged row is shown as what it is about to be."""
    return [
        rows.message_from_row(row if damage.whole(row) and not damage.reason(row) else damage.mended(row), wall)
        for row in found
    ]


def set_aside(session: Session, damaged: Sequence[Damaged], wall: float) -> list[Damaged]:
    """Take rows out of the schedule, inside a transaction; `wall` stands in for a `sent_at` that makes no sense.

    Returns those that were: one may have been removed, or have ended, since it was read, and is counted already then.
    """
    sql = session.sql("store")
    # One row may be damaged in two ways.
    by_id = {each.row[0]: each for each in damaged}
    found = session.query(sql["counted_as"], (msgspec.json.encode(list(by_id)).decode(),))
    going = [row for row in found if row[1] not in (State.FINISHED, State.GAVE_UP, State.SET_ASIDE)]
    session.executemany(sql["set_aside"], [(by_id[row[0]].why, row[0]) for row in going])
    slots = Counter(
        int(rows.instant(sent_at, wall) // AGE_SLOT) for _, state, due, sent_at in going if _was_pending(state, due)
    )
    session.executemany(sql["count"], [("pending", -slots.total())] if slots else [])
    session.executemany(sql["count_age"], [(slot, -count) for slot, count in slots.items()])
    return [by_id[row[0]] for row in going]


def _was_pending(state: object, due: object) -> bool:
    """Whether a row was counted as pending; where its state is none, its due time shows it."""
    known = damage.state(state)
    return known is State.PENDING or (known is State.SET_ASIDE and due is not None)


def log_damaged(damaged: Sequence[Damaged]) -> None:
    """Name them in the log."""
    # Here only: whoever reads a message shall not pay for logging.
    import logging

    log = logging.getLogger(__name__)
    for row, why in damaged[:_NAMED]:
        log.error(
            "message %s is set aside and not polled: %s. %s",
            row[0],
            why,
            advice(row[0], why),
            extra={"event": "row_set_aside", "message_id": row[0]},
        )
    if len(damaged) > _NAMED:
        log.error(
            "%d more messages are set aside; list them with: pollerd list --state set_aside",
            len(damaged) - _NAMED,
            extra={"event": "row_set_aside"},
        )


def advice(message_id: object, why: str) -> str:
    """What to do about a row that is set aside for this reason."""
    for name in ("sent_at", "sendtime"):
        if why.startswith(f"its {name} "):
            return (
                f"Correct the row's {name} by SQL, and it goes on (pollerd retry {message_id} takes it as sent wall); "
                f"or let it go: pollerd untrack {message_id}"
            )
    return f"Take it up again with: pollerd retry {message_id}; or let it go: pollerd untrack {message_id}"
