"""An event as the parameters of a statement. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pollerd.config.sql import SOURCE_ID, parameter_names

NAMES: Final = parameter_names()
"""What a statement may name."""


def parameters(seq: int, body: bytes, source_id: str | float | None = None) -> dict[str, object]:
    """Every field of the event with the JSON `body` as a value that databases take; None for what it does not have.

    Truth is 1 or 0, what is no plain value is JSON. `source_id` is the id as its source gave it, None: as the number.
    """
    fields: dict[str, Any] = msgspec.json.decode(body)
    values: dict[str, object] = dict.fromkeys(NAMES)
    values |= {name: _plain(value) for name, value in fields.items() if name in NAMES}
    values["seq"] = seq
    values[SOURCE_ID] = fields.get("id") if source_id is None else source_id
    return values


def _plain(value: object) -> object:
    match value:
        case bool():
            return int(value)
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case _:
            return value
