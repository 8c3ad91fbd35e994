"""The body of `POST /messages`: ids, the send call's own answer, messages with what is known of them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from pollerd.core import instants, particulars
from pollerd.core.ids import IdError, check_id, parse_id
from pollerd.core.ports import TrackRequest

NAMED: Final = 100
"""What is refused is named up to this number, and counted beyond: the answer must not outgrow the request."""
_LONGEST_USERREF: Final = 1024  # Characters, as in the gateway's answers.
_SHOWN: Final = 64  # Characters of a refused value that are shown.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NO_ID: Final = 'has no id; give a number, {"id": ...} or {"ids": [...]}'


class BodyError(ValueError):
    """The body as a whole cannot be understood."""


class RefusedId(msgspec.Struct, frozen=True):
    """Something that is not followed, as it was given (shortened), and why."""

    id: int | str | None
    reason: str


class Handed(msgspec.Struct, frozen=True):
    """What a body hands over. `refused` names the first `NAMED` of `refused_count`."""

    rows: list[TrackRequest]
    refused: list[RefusedId]
    refused_count: int


class _FieldError(ValueError):
    """A field beside the id cannot be used: with it, its message is refused."""


class Reader:
    """Reads bodies. `accounts` are the configured ones, `wall`, the wall clock's time, is for a missing `sent_at`."""

    def __init__(self, accounts: tuple[str, ...], wall: float) -> None:
        self._accounts = accounts
        self._wall = wall
        self._rows: list[TrackRequest] = []
        self._refused: list[RefusedId] = []
        self._refused_count = 0

    def read(self, body: bytes) -> Handed:
        """What the body hands over. Raises BodyError when it is not JSON, or nothing like the documented forms."""
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            value = _with_lone_surrogates(body)
            if value is None:
                raise BodyError(f"the body is not JSON: {error}") from None
        if not isinstance(value, dict | list):
            raise BodyError("the body must be a JSON object or a list of them")
        for item in value if isinstance(value, list) else [value]:
            self._item(item)
        return Handed(self._rows, self._refused, self._refused_count)

    def _item(self, item: Any) -> None:
        if not isinstance(item, dict):
            self._ids([item], {})
            return
        ids = list(_ids(item))
        if not ids and not isinstance(item.get("ids"), list):
            self._refuse(item, _NO_ID)
        self._ids(ids, item)

    def _ids(self, ids: list[Any], fields: dict[str, Any]) -> None:
        try:
            account, userref = self._account(fields), _userref(fields)
            sent_at, sendtime = _time(fields, "sent_at"), _time(fields, "sendtime")
            priority, overdue_after = _priority(fields), _overdue_after(fields)
        except _FieldError as error:
            for number in ids:
                self._refuse(number, str(error))
            return
        for number in ids:
            try:
                sent = self._wall if sent_at is None else sent_at
                checked = _checked(number)
                self._rows.append(TrackRequest(checked, account, userref, sent, sendtime, priority, overdue_after))
            except IdError as error:
                self._refuse(number, str(error))

    def _refuse(self, value: Any, reason: str) -> None:
        self._refused_count += 1
        if len(self._refused) < NAMED:
            self._refused.append(RefusedId(_shown(value), reason))

    def _account(self, fields: dict[str, Any]) -> str:
        name = fields.get("account")
        if name in self._accounts:
            return str(name)
        known = ", ".join(self._accounts)
        if name is not None:
            raise _FieldError(f"account {_shown(name)!r} is not in the configuration; there is {known}")
        if len(self._accounts) == 1:
            return self._accounts[0]
        if "default" in self._accounts:
            return "default"
        raise _FieldError(f"account must be given; there is {known}")


def _with_lone_surrogates(body: bytes) -> Any:
    """The value of JSON that is right but for halves of surrogate pairs in its texts; None for anything else.

    A program that cuts a text in the middle of an emoji leaves one. Only a field that is used must not hold it.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(body.decode("utf-8", "surrogatepass"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def _half(text: str) -> str | None:
    """The first half of a surrogate pair in a text, as it is written in JSON."""
    found = _SURROGATE.search(text)
    return None if found is None else f"\\u{ord(found[0]):04x}"


def _half_escaped(text: str) -> str:
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _ids(item: dict[str, Any]) -> Iterator[Any]:
    """The ids in an object. `msg_id` is how the newer Mobile Message API calls its own, which cannot be followed."""
    if isinstance(item.get("ids"), list):
        yield from item["ids"]
    for name in ("id", "msg_id"):
        if name in item:
            yield item[name]


def _time(fields: dict[str, Any], name: str) -> float | None:
    try:
        return None if (value := fields.get(name)) is None else instants.instant(value)
    except ValueError as error:
        raise _FieldError(f"{name} {_half_escaped(str(error))}") from None


def _priority(fields: dict[str, Any]) -> str | None:
    try:
        return None if (value := fields.get("priority")) is None else particulars.priority(value).name
    except ValueError as error:
        raise _FieldError(str(error)) from None


def _overdue_after(fields: dict[str, Any]) -> float | None:
    try:
        return None if (value := fields.get("overdue_after")) is None else particulars.overdue_after(value)
    except ValueError as error:
        raise _FieldError(str(error)) from None


def _userref(fields: dict[str, Any]) -> str | None:
    value = fields.get("userref")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _FieldError("userref must be a text")
    if len(value) > _LONGEST_USERREF:
        raise _FieldError(f"userref is longer than {_LONGEST_USERREF} characters")
    if (half := _half(value)) is not None:
        raise _FieldError(
            f"userref holds a lone surrogate, {half}: half of a character, such as an emoji; cut it between characters"
        )
    return value


def _checked(value: Any) -> int:
    if isinstance(value, str):
        return parse_id(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return check_id(value)
    raise IdError("is not a message id: give the whole number that the send call answered")


def _shown(value: Any) -> int | str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = _half_escaped(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
