"""The body of `POST /messages`, form by form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core.model import MAX_MESSAGE_ID
from pollerd.intake.body import NAMED, BodyError, Handed, Reader

NOW = 1764000000.0
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def read(body: Any, accounts: tuple[str, ...] = ("default",)) -> Handed:
    return Reader(accounts, NOW).read(body if isinstance(body, bytes) else json.dumps(body).encode())


TAKEN = [
    ("the send call's own answer", {"ids": [1, 2], "usage": {"currency": "EUR"}}, [1, 2]),
    ("one message", {"id": 7}, [7]),
    ("messages", [{"id": 7}, {"id": 8}], [7, 8]),
    ("bare ids and answers mixed", [1, "2", {"ids": [3]}, {"id": " 4 "}], [1, 2, 3, 4]),
    ("the same id twice is no error", {"ids": [1, 1]}, [1, 1]),
    ("the largest id", {"ids": [MAX_MESSAGE_ID]}, [MAX_MESSAGE_ID]),
    ("nothing", {"ids": []}, []),
    ("an empty list", [], []),
]


@pytest.mark.parametrize(("why", "body", "ids"), TAKEN, ids=[case[0] for case in TAKEN])
def test_taken(why: str, body: Any, ids: list[int]) -> None:
    handed = read(body)
    assert [row.id for row in handed.rows] == ids, why
    assert handed.refused == []
    assert {(row.account, row.userref, row.sent_at) for row in handed.rows} <= {("default", None, NOW)}


REFUSED = [
    ("an id of the newer API", {"ids": [ULID]}, ULID, "newer Mobile Message API"),
    ("the newer API's own answer", {"msg_id": ULID, "recipient": 45}, ULID, "newer Mobile Message API"),
    ("zero", {"ids": [0]}, 0, "is zero"),
    ("negative", [-5], -5, "is negative"),
    ("a fraction", {"id": 1.5}, "1.5", "is not a message id"),
    ("true", {"id": True}, "true", "is not a message id"),
    ("null", [None], None, "is not a message id"),
    ("too large", {"ids": [2**63]}, "9223372036854775808", "larger than can be stored"),
    ("larger than any integer here", {"ids": ["1" * 50]}, "1" * 50, "larger than 64 bits"),
    ("an object without an id", {"account": "default"}, '{"account":"default"}', "has no id"),
    ("an unknown account", {"id": 1, "account": "shop"}, 1, "account 'shop' is not in the configuration"),
    ("a time in milliseconds", {"id": 1, "sent_at": 1764000000000}, 1, "looks like milliseconds"),
    ("a date in digits", {"id": 1, "sent_at": 20261126}, 1, "sent_at 20261126 cannot be a time"),
    ("a day of a spreadsheet as a text", {"id": 1, "sendtime": "46352"}, 1, "sendtime '46352' cannot be a time"),
    ("a time without a zone", {"id": 1, "sendtime": "2026-11-24T08:00"}, 1, "2026-11-24T08:00:00Z (UTC)"),
    ("no time", {"id": 1, "sent_at": "yesterday"}, 1, "is no time"),
    ("a time before 1970", {"id": 1, "sent_at": -1}, 1, "is no time"),
    ("a userref that is no text", {"id": 1, "userref": 5}, 1, "userref must be a text"),
    (
        "half an emoji in the userref",
        {"id": 1, "userref": "a\ud83d"},
        1,
        r"a lone surrogate, \ud83d: half of a character",
    ),
    ("the other half", {"id": 1, "userref": "x\ude00y"}, 1, r"a lone surrogate, \ude00"),
    ("half an emoji as an id", {"ids": ["\ud83d"]}, r"\ud83d", "is not a message id"),
    ("half an emoji as an account", {"id": 1, "account": "\ud83d"}, 1, "is not in the configuration"),
    ("an object without an id, with half an emoji", {"to": "\ud83d"}, r'{"to":"\ud83d"}', "has no id"),
    ("a priority that there is none", {"id": 1, "priority": "HIGH"}, 1, "give BULK, NORMAL, URGENT or VERY_URGENT"),
    ("a priority as a number", {"id": 1, "priority": 1}, 1, "priority 1 is unknown"),
    ("no duration", {"id": 1, "overdue_after": "soon"}, 1, 'give seconds or a duration such as "10m"'),
    ("a duration of another type", {"id": 1, "overdue_after": True}, 1, "overdue_after True is no such time"),
    ("a negative duration", {"id": 1, "overdue_after": -1}, 1, "overdue_after -1 is no such time"),
    ("a duration without end", {"id": 1, "overdue_after": "366d"}, 1, 'up to "365d"'),
    ("a userref without end", {"id": 1, "userref": "x" * 1025}, 1, "userref is longer"),
]


@pytest.mark.parametrize(("why", "body", "shown", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused_by_name_while_the_rest_is_taken(why: str, body: Any, shown: Any, reason: str) -> None:
    handed = read([*(body if isinstance(body, list) else [body]), 99])
    (refused,) = handed.refused
    assert (refused.id, reason in refused.reason) == (shown, True), (why, refused)
    assert [row.id for row in handed.rows] == [99]


@pytest.mark.parametrize(
    "text", [rb"\ud83d", rb"\ud83d and more", rb"\ude00\ud83d", b"\xed\xa0\xbd", rb"\ud83d\ud83d\ude00"]
)
def test_half_an_emoji_costs_nothing_but_where_it_stands(text: bytes) -> None:
    """In a field that nobody reads it costs nothing; in the userref, its message."""
    assert [row.id for row in read(b'{"ids": [1, 2], "message": "%s"}' % text).rows] == [1, 2]
    handed = read(b'[{"id": 1, "userref": "%s"}, {"id": 2, "userref": "whole \xf0\x9f\x98\x80"}]' % text)
    assert [row.userref for row in handed.rows] == ["whole \U0001f600"]
    assert "lone surrogate" in handed.refused[0].reason


@pytest.mark.parametrize("body", [b'{"ids": [1], "x": NaN, "y": "\\ud83d"}', b'{"ids": [1], "x": "\\ud83d",}'])
def test_half_an_emoji_excuses_nothing_else(body: bytes) -> None:
    with pytest.raises(BodyError):
        read(body)


REFUSED_BY_THE_THOUSAND = [
    ("ids that are none", {"ids": [-1] * 5000}),
    ("ids refused with their account", {"ids": list(range(1, 5001)), "account": "shop"}),
    ("objects without an id", [{"x": 1}] * 5000),
]


@pytest.mark.parametrize(("why", "body"), REFUSED_BY_THE_THOUSAND, ids=[case[0] for case in REFUSED_BY_THE_THOUSAND])
def test_many_are_named_up_to_a_hundred_and_counted(why: str, body: Any) -> None:
    handed = read(body)
    assert (len(handed.refused), handed.refused_count, handed.rows) == (NAMED, 5000, []), why


@pytest.mark.parametrize("body", [b"", b"{", b"5", b'"x"', b"null", b"\xff", b"[" * 100_000, b'{"ids": [1,]}'])
def test_what_is_no_such_body(body: bytes) -> None:
    with pytest.raises(BodyError):
        read(body)


def test_what_is_known_of_a_message_comes_along() -> None:
    body = [
        {"id": 1, "account": "shop", "userref": "o-1", "sent_at": 1763999999.5},
        {"ids": [2], "account": "shop", "sent_at": "2025-11-24T16:00:00Z"},
        {"id": 3, "account": "shop", "userref": "", "sent_at": "2025-11-24T17:00:00+01:00"},
        {"id": 4, "account": "shop", "sendtime": 1764003600},
        {"id": 5, "account": "shop", "sendtime": "2025-11-24T18:00+01:00"},
        {"id": 6, "account": "shop", "priority": "very_urgent", "overdue_after": 90},
        {"id": 7, "account": "shop", "priority": None, "overdue_after": "10m"},
        {"id": 8, "account": "shop", "overdue_after": 0},
    ]
    rows = read(body, ("default", "shop")).rows
    assert rows == [
        (1, "shop", "o-1", 1763999999.5, None, None, None),
        (2, "shop", None, NOW, None, None, None),
        (3, "shop", None, NOW, None, None, None),
        (4, "shop", None, NOW, NOW + 3600, None, None),
        (5, "shop", None, NOW, NOW + 3600, None, None),
        (6, "shop", None, NOW, None, "VERY_URGENT", 90),
        (7, "shop", None, NOW, None, None, 600),
        (8, "shop", None, NOW, None, None, 0),
    ]


ACCOUNTS = [
    ("one account needs no name", ("shop",), "shop"),
    ("of several, default is the default", ("shop", "default"), "default"),
    ("several without a default: it has to be named", ("shop", "bank"), None),
]


@pytest.mark.parametrize(("why", "accounts", "account"), ACCOUNTS, ids=[case[0] for case in ACCOUNTS])
def test_account_not_given(why: str, accounts: tuple[str, ...], account: str | None) -> None:
    handed = read({"ids": [1]}, accounts)
    assert [row.account for row in handed.rows] == ([] if account is None else [account]), why
    assert bool(handed.refused) == (account is None)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "ids", "msg_id", "account", "userref", "sent_at", "priority", "overdue_after", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_whatever_comes_is_taken_or_refused(value: Any) -> None:
    """No body raises anything but BodyError, and every row can be stored."""
    try:
        handed = read(value)
    except BodyError:
        return
    for row in handed.rows:
        assert 0 < row.id <= MAX_MESSAGE_ID
        assert row.account == "default"
        assert 0 < row.sent_at < 1e11
    assert all(refused.reason for refused in handed.refused)
