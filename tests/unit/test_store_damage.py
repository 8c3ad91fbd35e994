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
        pytest.param(NOW * 1000.0, NOW, id="milliseconds"),
        pytest.param("", None, id="empty"),
        pytest.param(b"x", None, id="a blob"),
        pytest.param(NOW, NOW, id="seconds"),
    ],
)
def test_the_sendtime_of_a_new_row_is_its_writers(written: object, read: float | None) -> None:
    found = row(State.NEW, written)
    assert damage.whole(found)
    assert damage.reason(found) == ""
    assert rows.message_from_row(found, NOW).sendtime == read


@pytest.mark.parametrize("written", ["2025-11-24T16:00:00Z", "", b"x", 1e12])
def test_in_a_row_of_ours_it_is_damage(written: object) -> None:
    found = row(State.PENDING, written)
    assert not damage.whole(found)
    assert "sendtime" in damage.reason(found)
    assert damage.mended(found)[PLACE] is None
