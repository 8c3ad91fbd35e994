"""The verdict on a status document."""

from __future__ import annotations

from pollerd.status.health import Limits, Number


def test_performance_data_keeps_to_the_convention() -> None:
    odd = Number("behind_sqlite /srv/it's=odd.db", 1234567.0, "s", Limits(1_036_800.0, None))
    assert str(odd) == "'behind_sqlite_srv_it_s_odd.db'=1234567s;1036800;;0"
