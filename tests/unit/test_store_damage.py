"""What others may write into a new row is no damage; the same in a row of ours is."""

from __future__ import annotations

import pytest

from pollerd.core.model import Message, State
from pollerd.store import damage, rows

NOW = 1_764_000_000.0
PLACE = rows.COLUMNS.index("sendtime")


def row(state: State, sendtime: object) -> tuple[object, ...]:
    made = list(rows.row_from_message(Message(7, "default", NOW, NOW, state=state)))
    made[PLACE] = sendtime
    return tuple(made)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("2025-11-24T16:00:00Z", NOW, id="ISO 8601"),
        pytest.param("", None, id="empty"),
        pytest.param(NOW, NOW, id="seconds"),
    ],
)
def test_the_sendtime_of_a_new_row_is_its_writers(written: object, read: float | None) -> None:
    found = row(State.NEW, written)
    assert damage.whole(found)
    assert damage.reason(found) == damage.untimely(found, float) == ""
    assert rows.message_from_row(found, NOW).sendtime == read


@pytest.mark.parametrize("written", ["2025-11-24T16:00:00Z", "", b"x", 1e12])
def test_in_a_row_of_ours_it_is_damage(written: object) -> None:
    found = row(State.PENDING, written)
    assert not damage.whole(found)
    assert "sendtime" in damage.reason(found)
    assert damage.mended(found)[PLACE] is None


@pytest.mark.parametrize(
    "written", [NOW * 1000.0, b"x", "tomorrow", 20261126.0, 2461371.0, 46352.0, 0.0, -5.0, 2611261830.0]
)
@pytest.mark.parametrize("column", ["sent_at", "sendtime"])
def test_what_cannot_be_a_time_is_refused_in_a_new_row_alone(written: object, column: str) -> None:
    found = list(row(State.NEW, None))
    found[rows.COLUMNS.index(column)] = written
    assert damage.untimely(found, lambda wall: wall).startswith(f"its {column} ")
    found[rows.COLUMNS.index("state")] = State.PENDING.value
    assert damage.untimely(found, lambda wall: wall) == ""


def test_a_row_written_while_the_clock_said_1970_is_none_of_these() -> None:
    found = list(row(State.NEW, None))
    found[rows.COLUMNS.index("sent_at")] = 5000.0
    assert damage.untimely(found, lambda wall: wall + NOW) == ""
