"""What a field of an answer may cost when it cannot be used: the table in the code, held against all kinds of junk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core import diff, lifecycle
from pollerd.core import event as events
from pollerd.core.model import Answer, Message, Recipient
from pollerd.gateway.body import DecodeError
from pollerd.gateway.gatewayapi import fields, parse
from pollerd.gateway.gatewayapi.decode import decode_answer, decode_balance
from pollerd.gateway.gatewayapi.fields import Loss
from tests.hypothesis_kit import examples

ID = 421332671
NUMBERS = (4587654321, 4587654322, 4587654323)
HIT = 1
"""The recipient that is damaged."""
JUNK = {
    "null": b"null",
    "not a number": b"NaN",
    "infinite": b"-Infinity",
    "out of range": b"1e999",
    "a long integer": b"9" * 5000,
    "negative": b"-4587654321",
    "zero": b"0",
    "true": b"true",
    "empty": b'""',
    "a text": b'"junk"',
    "a lone surrogate": rb'"\ud800"',
    "no UTF-8": b'"\xff\xfe"',
    "control characters": b'"\x00\x1b[2J\n"',
    "a long text": b'"%b"' % (b"x" * 100_000),
    "an object": b'{"msisdn": 1, "dsnstatus": "REJECTED"}',
    "a list": b'["DELIVERED", NaN]',
    "brackets": b"[" * 30_000 + b"]" * 30_000,
}


def recipient(number: int) -> dict[str, Any]:
    return {
        "msisdn": number, "country": "DK", "csms": 1, "dsnstatus": "DELIVERED", "dsntime": 1764000042.25,
        "dsnerror": "E", "dsnerrorcode": "0x1010", "mcc": 238, "mnc": 1, "charge_status": "CAPTURED",
        "senttime": 1764000040.5, "tagvalues": ["Ada"], "actual_sender": "Shop",
    }  # fmt: skip


MESSAGE: dict[str, Any] = {
    "id": ID, "class": "standard", "message": "hello", "payload": None, "label": "", "sender": "Shop",
    "sendtime": 1764000000.0, "tags": [], "userref": "order-17", "priority": "NORMAL", "validity_period": 3600,
    "encoding": "UTF8", "destaddr": "MOBILE", "udh": None, "callback_url": None, "actual_sender": "Shop",
    "anonymized": None, "recipients": [recipient(number) for number in NUMBERS],
}  # fmt: skip
CLEAN = decode_answer(json.dumps([MESSAGE]).encode(), ID)
HOLE = "\ue000"


def damaged(field: str, junk: bytes, *, within: str = "recipient") -> bytes:
    """The answer with the bytes `junk` as the value of one field."""
    if within == "message":
        shape = {**MESSAGE, field: HOLE}
    else:
        hit = {**recipient(NUMBERS[HIT]), field: HOLE}
        shape = {**MESSAGE, "recipients": [hit if place == HIT else recipient(n) for place, n in enumerate(NUMBERS)]}
    return json.dumps([shape]).encode().replace(json.dumps(HOLE).encode(), junk)


def only(found: object, clean: object, attribute: str) -> bool:
    """Whether two values are the same but for one attribute."""
    return bool(msgspec.structs.replace(found, **{attribute: getattr(clean, attribute)}) == clean)  # type: ignore[type-var]


ATTRIBUTES = dict(
    zip(
        parse.names(fields.RECIPIENT),
        (name for name in Recipient.__struct_fields__ if name != "counts_as"),
        strict=True,
    )
)


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("field", [*fields.RECIPIENT, "something new"])
def test_junk_in_a_recipient_costs_what_the_table_says(field: str, junk: bytes) -> None:
    found = decode_answer(damaged(field, junk), ID)
    others = [place for place in range(len(NUMBERS)) if place != HIT]
    assert [found.recipients[place] for place in others] == [CLEAN.recipients[place] for place in others]
    hit, clean = found.recipients[HIT], CLEAN.recipients[HIT]
    cost = fields.RECIPIENT.get(field, fields.Field()).cost
    assert cost is not Loss.ANSWER
    if cost is Loss.NOTHING:
        assert hit == clean
        assert found.unusable == ()
    else:
        assert only(hit, clean, ATTRIBUTES[field])
    if cost is Loss.RECIPIENT and getattr(hit, ATTRIBUTES[field]) in (0, lifecycle.NO_STATE):
        assert found.unusable == ((field, 1),)


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("field", [*fields.MESSAGE, "something new"])
def test_junk_in_a_message_costs_what_the_table_says(field: str, junk: bytes) -> None:
    raw = damaged(field, junk, within="message")
    match fields.MESSAGE.get(field, fields.Field()).cost:
        case Loss.ANSWER if field != "recipients" or not junk.startswith(b"["):
            with pytest.raises(DecodeError):
                decode_answer(raw, ID)
        case Loss.NOTHING:
            assert decode_answer(raw, ID) == CLEAN
        case Loss.FIELD:
            found = msgspec.structs.replace(decode_answer(raw, ID), unusable=())
            assert only(found, CLEAN, {"validity_period": "validity"}.get(field, field))


@pytest.mark.parametrize("junk", [b"null", b"7", b'"+45 87 65 43 22"', b"[]", b"[[[1]]]", b"NaN", b"{}"])
def test_an_entry_that_is_no_recipient_is_one_of_whom_nothing_is_known(junk: bytes) -> None:
    good = json.dumps(recipient(NUMBERS[0])).encode()
    found = decode_answer(b'{"id": %d, "recipients": [%b, %b, %b]}' % (ID, good, junk, good), ID)
    assert found.recipients == (CLEAN.recipients[0], Recipient(0, lifecycle.NO_STATE), CLEAN.recipients[0])
    assert found.unusable == (("msisdn", 1), ("dsnstatus", 1))


def test_what_is_lost_is_named_and_daily_life_is_not() -> None:
    odd = {**recipient(NUMBERS[0]), "dsntime": "soon", "mcc": [1], "charge_status": None, "dsnerrorcode": 0}
    raw = json.dumps({**MESSAGE, "sendtime": "tomorrow", "recipients": [odd, odd]}).encode()
    assert decode_answer(raw, ID).unusable == (("sendtime", 1), ("dsntime", 2), ("mcc", 2))


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_in_the_balance_costs_what_the_table_says(junk: bytes) -> None:
    for field in [*fields.BALANCE, "something new"]:
        shape = {"credit": 12.5, "currency": "DKK", "id": 1, field: HOLE}
        raw = json.dumps(shape).encode().replace(json.dumps(HOLE).encode(), junk)
        if fields.BALANCE.get(field, fields.Field()).cost is Loss.ANSWER and junk not in (b"0", b"-4587654321"):
            with pytest.raises(DecodeError):
                decode_balance(raw)
        else:
            assert decode_balance(raw).credit == (12.5 if field != "credit" else float(junk))


def test_the_documentation_has_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "answers.md").read_text()
    written = {
        name: cells[1].strip()
        for line in page.split("\n")
        if (cells := line.split("|")[1:-1]) and len(cells) == 3
        for name in re.findall(r"`([a-z_.]+)`", cells[0])
    }
    costs = {name: field.cost for name, field in fields.MESSAGE.items()}
    costs |= {f"recipients.{name}": field.cost for name, field in fields.RECIPIENT.items()}
    assert written == {name: str(cost) for name, cost in costs.items()}


# -- any junk at all

scalars = (
    st.none()
    | st.booleans()
    | st.integers(max_value=0)
    | st.floats(max_value=0.5)
    | st.text().filter(lambda text: not any(character.isdigit() for character in text))
    | st.sampled_from(sorted(lifecycle.KNOWN))
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
literals = trees.map(lambda tree: json.dumps(tree).encode()) | st.sampled_from([*JUNK.values()][:-1])
"""Junk that is no other recipient's number."""


def told(history: list[Answer]) -> list[tuple[int, str, str | None]]:
    """What is reported of the recipients that are not damaged, answer for answer."""
    kept: tuple[Recipient, ...] = ()
    found: list[tuple[int, str, str | None]] = []
    for answer in history:
        change = diff.diff(kept, answer.recipients, 1764000100.0)
        kept = change.recipients
        bodies = diff.bodies(Message(ID, "default", 0.0, 0.0), change, 1764000100.0)
        found += [(b.msisdn, b.status, b.previous) for b in bodies if isinstance(b, events.Status)]
    return [event for event in found if event[0] != NUMBERS[HIT]]


@examples(200)
@given(
    st.lists(st.tuples(st.sampled_from([*fields.RECIPIENT, "new"]), literals, st.booleans()), min_size=1, max_size=3),
    st.lists(st.sampled_from(sorted(lifecycle.KNOWN | {"PAUSED"})), min_size=6, max_size=6),
)
def test_junk_in_one_recipient_changes_nothing_that_is_reported_of_the_others(
    junk: list[tuple[str, bytes, bool]], states: list[str]
) -> None:
    clean: list[Answer] = []
    hurt: list[Answer] = []
    for turn, (field, value, harmed) in enumerate(junk):
        rows = [{**recipient(n), "dsnstatus": states[turn + place]} for place, n in enumerate(NUMBERS)]
        clean.append(decode_answer(json.dumps({"id": ID, "recipients": rows}).encode(), ID))
        rows[HIT][field] = HOLE
        raw = json.dumps({"id": ID, "recipients": rows}).encode().replace(json.dumps(HOLE).encode(), value)
        hurt.append(decode_answer(raw, ID) if harmed else clean[-1])
    assert told(hurt) == told(clean)
