"""From the bytes of a 200 answer to the values that are read of it, or a reason why there are none.

The strict parser knows the shape and skips over what is not read, the SMS text above all, which is nearly always
enough and ten times as fast. What it refuses is read again leniently: a NaN, a byte that is no UTF-8 or a hundred
brackets in one place must not hide what stands beside it. Only what is no JSON at all is refused then.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from pollerd.gateway.body import DecodeError
from pollerd.gateway.gatewayapi import fields

MAX_CONTAINERS: Final = 120_000
"""Objects and lists in one body. 10,000 recipients have one each and a list of tag values; empty objects, three bytes
each on the wire, would otherwise become a hundred times as much memory."""
MAX_VALUES: Final = 1_000_000
"""Commas in a body that is read leniently, which makes an object of everything: some 100 bytes each for two on the
wire. 10,000 recipients have a quarter of that.
"""
_DEEPEST: Final = 4
"""Brackets around what is read: the list, the message, its recipients, one of them. What lies deeper is not read."""
_LONGEST_INTEGER: Final = 40
"""Digits; a longer integer fits no field, and to read one of a million digits takes minutes."""
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.?)*+"?|[\[{}\]]', re.DOTALL)
"""Texts and brackets. A text that never ends goes to the end, so that nothing is read twice."""


Row = tuple[Any, ...]
"""The values of the fields that are read of one object, in the order of its table; None where there is none."""


def names(table: fields.Fields) -> tuple[str, ...]:
    """The fields of `table` that are read."""
    return tuple(name for name, field in table.items() if field.read is not None)


_RECIPIENT: Final = names(fields.RECIPIENT)
_MESSAGE: Final = names(fields.MESSAGE)
_Recipient: Final = msgspec.defstruct("_Recipient", [(name, Any, None) for name in _RECIPIENT], gc=False)
_Message: Final = msgspec.defstruct(
    "_Message",
    [(name, list[_Recipient] | None if name == "recipients" else Any, None) for name in _MESSAGE],  # type: ignore[valid-type]
)
_decoder: Final = msgspec.json.Decoder(list[_Message] | _Message)  # type: ignore[valid-type]
_INCOMING: Final = names(fields.INCOMING)
_Incoming: Final = msgspec.defstruct("_Incoming", [(name, Any, None) for name in _INCOMING], gc=False)
_Page: Final = msgspec.defstruct(
    "_Page",
    [(name, list[_Incoming] | None if name == "messages" else Any, None) for name in names(fields.INCOMING_PAGE)],  # type: ignore[valid-type]
)
_incoming_decoder: Final = msgspec.json.Decoder(_Page)
_lenient: Final = json.JSONDecoder(
    strict=False, parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_INTEGER else math.inf
)


def messages(body: bytes) -> list[Row]:
    """The messages in an answer to `GET /rest/mtsms/<id>`; `recipients` takes out theirs. Raises DecodeError."""
    # A body shorter than that many brackets needs no counting.
    if len(body) > MAX_CONTAINERS and body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise _too_large()
    try:
        parsed = _decoder.decode(body)
    except (ValueError, RecursionError):
        return _messages_leniently(body)
    return list(map(msgspec.structs.astuple, parsed if isinstance(parsed, list) else [parsed]))


def recipients(listed: list[Any]) -> Iterable[Row]:
    """The recipients in the list that a message has."""
    return map(msgspec.structs.astuple, listed)


def balance(body: bytes) -> Row:
    """The values of an answer to `GET /rest/me`. Raises DecodeError."""
    loaded = _load(body)
    if not isinstance(loaded, dict):
        raise DecodeError("the balance is not the JSON object that was expected")
    return _row(loaded, names(fields.BALANCE))


def incoming(body: bytes) -> tuple[Row, list[Row]]:
    """An answer to `GET /rest/mosms`: its own values, and those of the messages in it. Raises DecodeError."""
    if len(body) > MAX_CONTAINERS and body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise _too_large()
    try:
        page = _incoming_decoder.decode(body)
    except (ValueError, RecursionError):
        return _incoming_leniently(body)
    listed, *counts = msgspec.structs.astuple(page)
    found = list(map(msgspec.structs.astuple, listed or ()))
    return (None if listed is None else found, *counts), found


def _incoming_leniently(body: bytes) -> tuple[Row, list[Row]]:
    loaded = _load(body)
    # A bare list, as another call of the same interface answers; an empty one says of nothing that it is not there.
    bare = {"messages": loaded or None} if isinstance(loaded, list) else loaded
    page = _row(bare, names(fields.INCOMING_PAGE))
    listed = page[0] if isinstance(page[0], list) else []
    if len(listed) > MAX_CONTAINERS:
        raise _too_large()
    return page, [_row(each, _INCOMING) for each in listed]


def _messages_leniently(body: bytes) -> list[Row]:
    loaded = _load(body)
    found = loaded if isinstance(loaded, list) else [loaded]
    objects = [each for each in found if isinstance(each, dict)]
    if found and not objects:
        raise DecodeError("the answer's JSON has another shape: it holds no message")
    for each in objects:
        if isinstance(listed := each.get("recipients"), list):
            if len(listed) > MAX_CONTAINERS:
                raise _too_large()
            each["recipients"] = [_Recipient(*_row(one, _RECIPIENT)) for one in listed]
    return [_row(each, _MESSAGE) for each in objects]


def _row(loaded: object, wanted: tuple[str, ...]) -> Row:
    return tuple(loaded.get(name) if isinstance(loaded, dict) else None for name in wanted)


def _load(body: bytes) -> Any:
    """What Python's own writer and careless others call JSON."""
    if body.count(b",") > MAX_VALUES:
        raise _too_large()
    text = body.decode(json.detect_encoding(body), "replace")
    try:
        try:
            return _lenient.decode(text)
        except RecursionError:
            return _lenient.decode(_shallow(text))
    except (ValueError, RecursionError):
        raise DecodeError("the answer is not JSON, or its JSON ends too early") from None


def _too_large() -> DecodeError:
    return DecodeError("the answer holds more than 10,000 recipients can have", "too_large")


def _shallow(text: str) -> str:
    """`text` with null in place of every object and list below `_DEEPEST`."""
    kept: list[str] = []
    depth = start = 0
    for token in _TOKENS.finditer(text):
        bracket = token[0]
        if bracket in "[{":
            depth += 1
            if depth == _DEEPEST + 1:
                kept += [text[start : token.start()], "null"]
        elif bracket in "]}":
            if depth == _DEEPEST + 1:
                start = token.end()
            depth -= 1
    return "".join([*kept, text[start:]] if depth <= _DEEPEST else kept)
