"""What a source's query gives, as rows to follow: which column is which, and what can be an id or a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from pollerd.core import instants
from pollerd.core.ids import IdError, check_id, parse_id
from pollerd.core.ports import SourceRow

_LONGEST_QUOTE: Final = 60  # Characters of a value that are shown.
_COLUMNS: Final = ("id", "account", "userref", "sent_at", "sendtime", "priority", "overdue_after")

Places = Sequence[int | None]
"""Where the columns of `SourceRow` stand in a query's rows; None for those that are not there."""


def places_of(names: Sequence[str]) -> Places:
    """The places by the names of the query's columns. Raises ValueError when none of them can be the id."""
    lower = [name.lower() for name in names]
    if "id" not in lower and len(lower) == 1:
        return [0, *[None] * (len(_COLUMNS) - 1)]
    if "id" not in lower:
        raise ValueError("the query gives no column named id; write SELECT ... AS id")
    return [lower.index(name) if name in lower else None for name in _COLUMNS]


def shown(value: object) -> str:
    """A value that is refused, as the message that says so repeats it."""
    return repr(_plain(value))[:_LONGEST_QUOTE]


def row_of(fields: Sequence[object], places: Places) -> SourceRow:
    """A row to follow. Raises ValueError, to be said after the value of its id, when it cannot be followed."""
    given, *more = (None if place is None else _plain(fields[place]) for place in places)
    account, userref, sent_at, sendtime, priority, overdue_after = more
    row = SourceRow(_id(given), account, userref, sent_at, sendtime, priority, overdue_after)
    _check_times(row)
    return row._replace(written=given) if isinstance(given, str | float) else row


def _plain(value: object) -> object:
    """Values that no column of ours can have stay readable for the message that refuses them."""
    match value:
        case None | int() | float() | str():
            return value
        case Decimal():
            return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
        case date():
            # With the time, where it is a datetime; one without a zone is UTC.
            return value.isoformat()
        case _:
            return repr(value)[:_LONGEST_QUOTE]


def _id(value: object) -> int:
    if isinstance(value, str):
        return parse_id(value)
    if isinstance(value, float) and value.is_integer():
        return check_id(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return check_id(value)
    raise IdError("is not a message id: give the whole number that the send call answered")


def _check_times(row: SourceRow) -> None:
    """Raises ValueError when a time cannot be one: the id is taken once its database says another."""
    for name, value in (("sent_at", row.sent_at), ("sendtime", row.sendtime)):
        try:
            if value not in (None, ""):
                instants.instant(value, utc=True)
        except ValueError as error:
            raise ValueError(f"is not followed: its {name} {error}") from None
