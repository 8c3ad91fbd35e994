"""How file descriptors are shared between polling and those who connect."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pollerd.base.descriptors import LEAST_CONNECTIONS, share, spare, total_of

WANTED = {"control socket": 512, "status page": 128, "metrics": 32, "event socket": 1024}


def test_with_enough_of_them_all_get_what_they_want() -> None:
    assert share(100 + total_of(WANTED), 100, WANTED) == WANTED


def test_too_few_are_shared_evenly() -> None:
    found = share(256, 136, WANTED)
    assert found == {"control socket": 32, "status page": 8, "metrics": LEAST_CONNECTIONS, "event socket": 64}
    assert total_of(found) <= 256 - 136 + LEAST_CONNECTIONS


def test_the_operator_can_always_ask() -> None:
    assert set(share(64, 500, WANTED).values()) == {LEAST_CONNECTIONS}


@given(st.integers(0, 5000), st.integers(0, 1000), st.dictionaries(st.text(max_size=3), st.integers(4, 2000)))
def test_the_reserve_is_never_touched(limit: int, reserve: int, wanted: dict[str, int]) -> None:
    found = share(limit, reserve, wanted)
    assert set(found) == set(wanted)
    least = sum(LEAST_CONNECTIONS + spare(LEAST_CONNECTIONS) for _ in wanted)
    # What is left after rounding: a spare descriptor each.
    assert total_of(found) <= max(limit - reserve, 0) + least + len(wanted)
    assert all(LEAST_CONNECTIONS <= most <= wanted[name] for name, most in found.items())
