"""What is an id, and what is said of what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core.ids import IdError, check_id, parse_id

ULID = "01JNN696A9E0WS89FPYGT15NBX"


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), (" 421332671\r", 421332671), ("0017", 17), (str(2**63 - 1), 2**63 - 1)],
)
def test_an_id_is_a_positive_whole_number(text: str, number: int) -> None:
    assert parse_id(text) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", "zero"),
        ("-5", "negative"),
        ("+5", "sign"),
        ("", "empty"),
        ("1.0", "not a message id"),
        ("1e3", "not a message id"),
        ("1_000", "not a message id"),
        ("0x10", "not a message id"),
        ("٣٤", "not a message id"),
        ("²", "not a message id"),
        ("12 13", "not a message id"),
        (str(2**63), "larger than can be stored"),
        (str(2**64 - 1), "larger than can be stored"),
        (str(2**64), "larger than 64 bits"),
        ("9" * 5000, "larger than 64 bits"),
        (ULID, "webhooks"),
        (ULID.lower(), "messaging.gatewayapi.com"),
    ],
)
def test_everything_else_is_refused_with_its_own_reason(text: str, why: str) -> None:
    with pytest.raises(IdError, match=why):
        parse_id(text)


@given(st.integers(1, 2**63 - 1))
def test_every_number_that_can_be_stored_is_taken(number: int) -> None:
    assert parse_id(str(number)) == check_id(number) == number


@given(st.text())
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        number = parse_id(text)
    except IdError:
        return
    assert 0 < number < 2**63
