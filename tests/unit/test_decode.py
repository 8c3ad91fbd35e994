"""The bytes of an answer to what they say, or a DecodeError, never anything else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core import event as events
from pollerd.core.lifecycle import NO_STATE
from pollerd.core.model import UNIDENTIFIED, Answer, Priority, Recipient
from pollerd.gateway.body import DecodeError
from pollerd.gateway.gatewayapi.decode import EmptyAnswerError, decode_answer, decode_balance
from pollerd.gateway.gatewayapi.parse import MAX_CONTAINERS, MAX_VALUES
from tests.hypothesis_kit import examples

ID = 421332671

RECIPIENT: dict[str, Any] = {
    "msisdn": 4587654321,
    "country": "DK",
    "csms": 1,
    "dsnstatus": "ENROUTE",
    "dsntime": 1764000042.25,
    "dsnerror": None,
    "dsnerrorcode": None,
    "mcc": 238,
    "mnc": 1,
    "senttime": 1764000040.5,
    "tagvalues": ["Ada"],
}
MESSAGE: dict[str, Any] = {
    "id": ID,
    "class": "standard",
    "message": "the text nobody may keep",
    "payload": None,
    "label": "",
    "sender": "Shop",
    "sendtime": None,
    "tags": ["NAME"],
    "userref": "order-17",
    "priority": "NORMAL",
    "validity_period": None,
    "encoding": "UTF8",
    "destaddr": "MOBILE",
    "udh": None,
    "callback_url": None,
    "actual_sender": "Shop",
    "recipients": [RECIPIENT],
}


def named(*rows: tuple[Any, ...]) -> list[Any]:
    """Cases whose first value, a sentence, is their name."""
    return [pytest.param(*row, id=row[0]) for row in rows]


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def decoded(recipient: dict[str, Any]) -> Answer:
    return decode_answer(body({**MESSAGE, "recipients": [{**RECIPIENT, **recipient}]}), ID)


def test_a_full_answer_of_the_vendor() -> None:
    assert decode_answer(body([MESSAGE]), ID) == Answer(
        recipients=(
            Recipient(4587654321, "ENROUTE", 1764000042.25, None, None, "DK", "238", "1", sent=1764000040.5, parts=1),
        ),
        userref="order-17",
        sendtime=None,
        validity=None,
        priority=Priority.NORMAL,
    )


@pytest.mark.parametrize(
    ("why", "shape"),
    named(
        ("a list with one object, as documented", [MESSAGE]),
        ("a bare object, as several clients read it", MESSAGE),
        ("ours among others", [{**MESSAGE, "id": 1, "recipients": []}, MESSAGE, {**MESSAGE, "id": 2}]),
        ("an id written as text", {**MESSAGE, "id": str(ID)}),
        ("an id written as a float", {**MESSAGE, "id": float(ID)}),
    ),
)
def test_shapes_of_an_answer(why: str, shape: object) -> None:
    assert decode_answer(body(shape), ID).recipients[0].status == "ENROUTE", why


@pytest.mark.parametrize(
    ("why", "raw", "kind"),
    named(
        ("nothing", b"", "undecodable"),
        ("not JSON", b"hello", "undecodable"),
        ("ends in the middle", body([MESSAGE])[:-30], "undecodable"),
        ("null", b"null", "undecodable"),
        ("a text", b'"ok"', "undecodable"),
        ("no recipients", body({"id": ID}), "undecodable"),
        ("recipients is an object", body({"id": ID, "recipients": {}}), "undecodable"),
        ("recipients is null", body({"id": ID, "recipients": None}), "undecodable"),
        ("recipients is a text", body({"id": ID, "recipients": "none"}), "undecodable"),
        ("a list of nulls", b"[null, null]", "undecodable"),
        ("two answers in one body", body([MESSAGE]) * 2, "undecodable"),
        ("another message", body([{**MESSAGE, "id": 5}]), "wrong_message"),
        ("no id", body({"recipients": []}), "wrong_message"),
        ("an id that is no number", body({"id": None, "recipients": []}), "wrong_message"),
        ("nothing but brackets", b"[" * 50_000 + b"]" * 50_000, "undecodable"),
        ("brackets that never end", b'{"x":' + b"[" * 50_000, "undecodable"),
        ("very many values beside a broken one", b'{"x":NaN,"y":[' + b"1," * MAX_VALUES + b"1]}", "too_large"),
        ("very many entries", b'{"recipients":[' + b"1," * MAX_CONTAINERS + b"1]}", "too_large"),
        ("a text that never ends", b"[" * 2000 + b'"' + b'\\"' * 1_000_000, "undecodable"),
        ("very many objects", b'{"recipients":[' + b"{}," * MAX_CONTAINERS + b"{}]}", "too_large"),
    ),
)
def test_what_cannot_be_understood(why: str, raw: bytes, kind: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_answer(raw, ID)
    assert caught.value.kind == kind, why
    assert "the text nobody" not in str(caught.value)


def test_an_empty_list_is_its_own_error() -> None:
    with pytest.raises(EmptyAnswerError):
        decode_answer(b"[]", ID)


def test_no_recipients_yet_is_an_answer() -> None:
    assert decode_answer(body([{"id": ID, "recipients": []}]), ID).recipients == ()


def test_ten_thousand_recipients() -> None:
    many = [{**RECIPIENT, "msisdn": 4500000000 + i} for i in range(10_000)]
    found = decode_answer(body([{**MESSAGE, "recipients": many}]), ID)
    assert [r.msisdn for r in found.recipients] == [r["msisdn"] for r in many]


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("msisdn", "4587654321", "msisdn", 4587654321),
        ("msisdn", "+4587654321", "msisdn", 4587654321),
        ("msisdn", 4587654321.0, "msisdn", 4587654321),
        ("msisdn", "+45 87 65 43 21", "msisdn", 4587654321),
        ("msisdn", "(+45) 87-65\u00a043.21", "msisdn", 4587654321),
        ("msisdn", "004587654321", "msisdn", 4587654321),
        ("msisdn", None, "msisdn", UNIDENTIFIED),
        ("msisdn", 0, "msisdn", UNIDENTIFIED),
        ("msisdn", -4587654321, "msisdn", UNIDENTIFIED),
        ("msisdn", 4587654321.5, "msisdn", UNIDENTIFIED),
        ("msisdn", 10**18, "msisdn", UNIDENTIFIED),
        ("msisdn", 10**4000, "msisdn", UNIDENTIFIED),
        ("msisdn", True, "msisdn", UNIDENTIFIED),
        ("msisdn", "call me", "msisdn", UNIDENTIFIED),
        ("msisdn", "", "msisdn", UNIDENTIFIED),
        ("msisdn", "\u0664\u0665", "msisdn", UNIDENTIFIED),
        ("msisdn", ["4587654321"], "msisdn", UNIDENTIFIED),
        ("dsnstatus", "DELIVERED", "status", "DELIVERED"),
        ("dsnstatus", " delivered ", "status", "DELIVERED"),
        ("dsnstatus", "READ", "status", "READ"),
        ("dsnstatus", "Read_Later", "status", "Read_Later"),
        ("dsnstatus", "De\u200blivered\ufeff", "status", "DELIVERED"),
        ("dsnstatus", "UNKNOWN", "status", "UNKNOWN"),
        ("dsnstatus", None, "status", NO_STATE),
        ("dsnstatus", "", "status", NO_STATE),
        ("dsnstatus", " \x00\u200b ", "status", NO_STATE),
        ("dsnstatus", 7, "status", NO_STATE),
        ("dsnstatus", ["DELIVERED"], "status", NO_STATE),
        ("dsnstatus", "X" * 500, "status", "X" * 64),
        ("dsnstatus", "\x1b[2JODD", "status", "[2JODD"),
        ("dsntime", 1764000042, "time", 1764000042.0),
        ("dsntime", "1764000042.5", "time", 1764000042.5),
        ("dsntime", None, "time", None),
        ("dsntime", 0, "time", None),
        ("dsntime", -5, "time", None),
        ("dsntime", True, "time", None),
        ("dsntime", "2025-11-24T16:00:42Z", "time", 1764000042.0),
        ("dsntime", 1764000042000, "time", None),
        ("dsntime", math.nan, "time", None),
        ("dsntime", -math.inf, "time", None),
        ("dsntime", 10**300, "time", None),
        ("dsntime", "soon", "time", None),
        ("dsntime", "nan", "time", None),
        ("dsntime", {"a": 1}, "time", None),
        ("dsnerror", "Absent subscriber", "error", "Absent subscriber"),
        ("dsnerror", "", "error", None),
        ("dsnerror", ["x"], "error", None),
        ("dsnerror", "a\x1b]0;title\x07b\u202ec\nd\x9b31m", "error", "a]0;titlebc d31m"),
        ("dsnerror", "x" * 2000, "error", "x" * 512),
        ("dsnerror", "\ud800 broken", "error", "\ufffd broken"),
        ("dsnerrorcode", "0x1010", "code", "0x1010"),
        ("dsnerrorcode", "0x102a", "code", "0x102A"),
        ("dsnerrorcode", "0X102A", "code", "0x102A"),
        ("dsnerrorcode", "102a", "code", "0x102A"),
        ("dsnerrorcode", 0x102A, "code", "0x102A"),
        ("dsnerrorcode", 4112.0, "code", "0x1010"),
        ("dsnerrorcode", 0, "code", None),
        ("dsnerrorcode", None, "code", None),
        ("dsnerrorcode", -1, "code", None),
        ("dsnerrorcode", 2**40, "code", None),
        ("dsnerrorcode", "E-17", "code", "E-17"),
        ("mcc", 238, "mcc", "238"),
        ("mcc", "238", "mcc", "238"),
        ("mcc", 238.0, "mcc", "238"),
        ("mcc", -1, "mcc", None),
        ("mcc", math.nan, "mcc", None),
        ("mcc", {"code": 238}, "mcc", None),
        ("mcc", "2380123456789", "mcc", None),
        ("mnc", "01", "mnc", "01"),
        ("mnc", None, "mnc", None),
        ("mnc", False, "mnc", None),
        ("country", "dk", "country", "DK"),
        ("country", "Denmark", "country", None),
        ("country", 45, "country", None),
        ("charge_status", "CAPTURED", "charge_status", "CAPTURED"),
        ("actual_sender", "Shop", "sender", "Shop"),
        ("actual_sender", 451204, "sender", "451204"),
        ("actual_sender", "a\x1b[31m", "sender", "a[31m"),
        ("actual_sender", "x" * 65, "sender", None),
        ("actual_sender", True, "sender", None),
        ("csms", 3, "parts", 3),
        ("csms", "3", "parts", 3),
        ("csms", 0, "parts", None),
        ("csms", 256, "parts", None),
        ("csms", 1.5, "parts", None),
        ("csms", True, "parts", None),
    ],
)
def test_fields_of_a_recipient(field: str, value: object, attribute: str, expected: object) -> None:
    found = decoded({field: value}).recipients[0]
    assert getattr(found, attribute) == expected


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("userref", "order-17", "userref", "order-17"),
        ("userref", 17, "userref", "17"),
        ("userref", 17.0, "userref", "17"),
        ("userref", math.nan, "userref", None),
        ("userref", None, "userref", None),
        ("userref", "", "userref", None),
        ("userref", {"a": 1}, "userref", None),
        ("userref", "a\x1b[31mb\r\nc", "userref", "a[31mb  c"),
        ("sendtime", 1764000000, "sendtime", 1764000000.0),
        ("sendtime", 0, "sendtime", None),
        ("sendtime", "1764000000", "sendtime", 1764000000.0),
        ("sendtime", "2025-11-24T16:00:00Z", "sendtime", 1764000000.0),
        ("sendtime", "2025-11-24 16:00:00", "sendtime", 1764000000.0),
        ("sendtime", "Mon, 24 Nov 2025 16:00:00 GMT", "sendtime", 1764000000.0),
        ("sendtime", "tomorrow", "sendtime", None),
        ("sendtime", "9999-99-99", "sendtime", None),
        ("validity_period", 3600, "validity", 3600.0),
        ("validity_period", "3600", "validity", 3600.0),
        ("validity_period", 0, "validity", None),
        ("validity_period", math.inf, "validity", None),
        ("validity_period", -1, "validity", None),
        ("validity_period", 10**15, "validity", None),
    ],
)
def test_fields_of_a_message(field: str, value: object, attribute: str, expected: object) -> None:
    assert getattr(decode_answer(body({**MESSAGE, field: value}), ID), attribute) == expected


@pytest.mark.parametrize(
    ("why", "raw"),
    named(
        ("a lone surrogate in the text", rb'[{"id":421332671,"message":"\ud800","recipients":[{"msisdn":45}]}]'),
        ("bytes that are not UTF-8 in the text", b'[{"id":421332671,"message":"\xff","recipients":[{"msisdn":45}]}]'),
        ("blanks and a byte order mark before it", b'\xef\xbb\xbf \n[{"id":421332671,"recipients":[{"msisdn":45}]}]'),
        ("a line break in the text", b'[{"id":421332671,"message":"a\n\tb","recipients":[{"msisdn":45}]}]'),
        ("not a number", b'[{"id":421332671,"priority":NaN,"recipients":[{"msisdn":45,"csms":-Infinity}]}]'),
        ("a number out of range", b'[{"id":421332671,"x":1e999,"recipients":[{"msisdn":45,"senttime":-1e999}]}]'),
        ("a number that never ends", b'[{"id":421332671,"x":%b,"recipients":[{"msisdn":45}]}]' % (b"9" * 100_000)),
        (
            "nested deeply",
            b'[{"id":421332671,"x":%b"]"%b,"recipients":[{"msisdn":45}]}]' % (b"[" * 50_000, b"]" * 50_000),
        ),
        (
            "nested deeply in a recipient",
            b'{"id":421332671,"recipients":[{"msisdn":45,"tagvalues":%b%b}]}' % (b'{"a":[' * 20_000, b"]}" * 20_000),
        ),
        ("the same key twice", b'[{"id":7,"id":421332671,"recipients":[],"recipients":[{"msisdn":44,"msisdn":45}]}]'),
        ("others in the list", b'[null,"x",{"id":[]},{"id":421332671,"recipients":[{"msisdn":45}]},7]'),
        ("another encoding", '[{"id":421332671,"recipients":[{"msisdn":45}]}]'.encode("utf-16")),
    ),
)
def test_damage_in_what_nobody_needs_hides_nothing(why: str, raw: bytes) -> None:
    assert decode_answer(raw, ID).recipients[0].msisdn == 45, why


def test_the_sms_text_is_in_no_decoded_value() -> None:
    found = decode_answer(body([{**MESSAGE, "payload": "cGF5bG9hZA==", "class": "secret"}]), ID)
    assert "nobody" not in repr(found)
    assert "cGF5" not in repr(found)


def test_balance() -> None:
    found = decode_balance(b'{"credit": 1234.56, "currency": "DKK", "id": 1}')
    assert (found.credit, found.currency) == (1234.56, "DKK")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"credit": "much"}', b'{"credit": null}', b"[" * 9999])
def test_a_balance_that_is_none(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_balance(raw)


# -- fuzz: 1,700 examples in all

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([ID, str(ID), "0x1010", "1764000000", "DELIVERED", "DK", 10**30, -1, 1e308, "nan", "1e999"])
)
names = st.sampled_from([*MESSAGE, *RECIPIENT, "unknown"]) | st.text(max_size=8)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6), max_leaves=25
)


def check(raw: bytes) -> None:
    """Decodes or refuses; what it gives can be stored and reported."""
    try:
        found = decode_answer(raw, ID)
    except DecodeError:
        return
    for text in (found.userref, *(t for r in found.recipients for t in (r.status, r.error, r.code, r.mcc, r.mnc))):
        if text is not None:
            text.encode()
            assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in text)
            assert len(text) <= 1024
    for number in (found.sendtime, found.validity, *(r.time for r in found.recipients)):
        assert number is None or (math.isfinite(number) and number > 0)
    for recipient in found.recipients:
        assert 0 <= recipient.msisdn < 2**63
        if recipient.time is not None:
            events.instant(recipient.time)


@examples(600)
@given(st.binary(max_size=300))
def test_fuzz_arbitrary_bytes(raw: bytes) -> None:
    check(raw)


@examples(250)
@given(trees)
def test_fuzz_arbitrary_json(tree: object) -> None:
    check(json.dumps(tree).encode())


@examples(250)
@given(
    st.dictionaries(st.sampled_from([*MESSAGE]), trees, max_size=4),
    st.lists(st.dictionaries(st.sampled_from([*RECIPIENT]), trees, max_size=4), max_size=3),
    st.booleans(),
)
def test_fuzz_valid_answers_with_other_values(
    message: dict[str, Any], recipients: list[dict[str, Any]], bare: bool
) -> None:
    answer = {**MESSAGE, "recipients": [{**RECIPIENT, **one} for one in recipients], **message}
    check(json.dumps(answer if bare else [answer]).encode())


@examples(600)
@given(st.data())
def test_fuzz_valid_answers_with_damaged_bytes(data: st.DataObject) -> None:
    raw = bytearray(body([MESSAGE]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    check(bytes(raw))
