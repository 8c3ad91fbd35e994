"""Ids from a stream, whatever its form and however it is cut into blocks."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.intake.stream import IdStream, Refusal


def reader(data: bytes, size: int) -> Callable[[], bytes]:
    position = 0

    def read() -> bytes:
        nonlocal position
        block = data[position : position + size]
        position += size
        return block

    return read


def feed(data: bytes, size: int = 1 << 20) -> tuple[list[int], list[Refusal]]:
    ids: list[int] = []
    refused: list[Refusal] = []
    for chunk in IdStream(reader(data, size)).chunks():
        ids += chunk.ids
        refused += chunk.refused
    return ids, refused


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (b"", []),
        (b"1", [1]),
        (b"1\n2\n", [1, 2]),
        (b"\xef\xbb\xbf1\r\n2\r\n", [1, 2]),
        (b"# from the shop\n\n 1 \n2 # order 17\n\n", [1, 2]),
        (b'{"ids":[1,2],"usage":{"countries":{"DK":2},"currency":"DKK"}}', [1, 2]),
        (b'{"ids":[1]}\n{"ids":[2]}\n', [1, 2]),
        (b'{"ids":[1]}{"ids":[2]}3\n4', [1, 2, 3, 4]),
        (b'\xef\xbb\xbf{\n  "ids": [\n    1,\n    2\n  ],\n  "note": "a ] } \\" [ {"\n}\n5\n', [1, 2, 5]),
        (b'[1, "2", {"ids": [3]}, {"id": 4}]', [1, 2, 3, 4]),
        (b'{"ids": [9223372036854775807]}', [2**63 - 1]),
    ],
)
def test_ids_are_found(data: bytes, ids: list[int], size: int) -> None:
    assert feed(data, size) == (ids, [])


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("data", "ids", "line", "why"),
    [
        (b"1\n0\n2\n", [1, 2], 2, "zero"),
        (b"1\n\n# x\nabc\n2", [1, 2], 4, "not a message id"),
        (b"1\n\xff\xfe\n2\n", [1, 2], 2, "UTF-8"),
        (b"1\n2\x00\n3", [1, 3], 2, "not a message id"),
        (b"1\n9223372036854775808\n2", [1, 2], 2, "larger than can be stored"),
        (b"1\n01JNN696A9E0WS89FPYGT15NBX\n2", [1, 2], 2, "webhooks"),
        (b'\n{"msg_id":"01JNN696A9E0WS89FPYGT15NBX"}', [], 2, "webhooks"),
        (b'{"ids":[1,true,2]}', [1, 2], 1, "whole number"),
        (b'{"ids":[1,1.5]}', [1], 1, "whole number"),
        (b'{"ids":[null,7]}', [7], 1, "whole number"),
        (b'{"ids":[-3,7]}', [7], 1, "negative"),
        (b'{"code":"0x0213","message":"Unauthorized IP"}\n8', [8], 1, "nothing was sent"),
        (b'{"usage":{}}', [], 1, 'no "ids"'),
        (b'{"ids": 5}', [], 1, 'no "ids"'),
        (b'5\n{"ids": [1,\n2\n', [5], 2, "does not end"),
        (b'{"ids": [1,]}\n6', [6], 1, "not valid JSON"),
        (b"[" * 100_000 + b"]" * 100_000 + b"\n6", [6], 1, "not valid JSON"),
        (b'{"ids":[' + b"9" * 5000 + b"]}", [], 1, "not valid JSON"),
    ],
)
def test_one_bad_thing_is_refused_by_its_line_and_the_rest_is_taken(
    data: bytes, ids: list[int], line: int, why: str, size: int
) -> None:
    found, refused = feed(data, size)
    assert found == ids
    assert [(item.line, why in item.reason) for item in refused] == [(line, True)], refused


def test_quotes_are_not_doubled() -> None:
    assert str(feed(b'"5007"\n')[1][0]).startswith('line 1: "5007" is not')


def test_what_is_refused_cannot_steer_the_terminal() -> None:
    _, refused = feed("\x1b[31mred\x9b2J\u202e\n".encode())
    assert str(refused[0]).isprintable()


@given(st.lists(st.integers(1, 2**63 - 1)), st.integers(1, 50), st.booleans())
def test_lines_and_json_carry_the_same_ids_across_any_block_border(ids: list[int], size: int, as_json: bool) -> None:
    data = json.dumps({"ids": ids}, indent=1) if as_json else "\n".join(map(str, ids))
    assert feed(data.encode(), size) == (ids, [])


@given(st.binary(), st.integers(1, 20))
def test_no_input_breaks_the_feed(data: bytes, size: int) -> None:
    ids, _ = feed(data, size)
    assert all(0 < number < 2**63 for number in ids)


def test_a_line_without_end_is_given_up_not_gathered() -> None:
    blocks = iter([b"1\n", *[b"x" * (1 << 20)] * 1000])
    chunks = list(IdStream(lambda: next(blocks, b"")).chunks())
    assert "longer than 32 MiB" in chunks[-1].refused[0].reason
    assert next(blocks), "reading ended early"
