"""From the bytes of a 200 answer to what it says, or a reason why it says nothing.

Tolerant of what we do not use and of how numbers are written, strict on what we rely on: the message's id, its
recipients, their MSISDNs. The SMS text (`message`, `payload`) is skipped over while parsing and never becomes an
object.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

import msgspec

from pollerd import lifecycle
from pollerd.gateway.text import clean
from pollerd.model import Answer, Recipient
from pollerd.ports import Balance

LONGEST_STATUS: Final = 64
LONGEST_ERROR: Final = 512
LONGEST_USERREF: Final = 1024
MAX_CONTAINERS: Final = 120_000
"""Objects and lists in one body. 10,000 recipients have one each and a list of tag values; empty objects, three bytes
each on the wire, would otherwise become a hundred times as much memory."""

_LATEST: Final = 4_102_444_800.0
"""1 January 2100: later instants are milliseconds or nonsense."""
_LONGEST_VALIDITY: Final = 10 * 366 * 86400.0
_MSISDN_DIGITS: Final = 18
_HEX: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,8})")


class DecodeError(Exception):
    """The body cannot be understood. `kind` is a stable word for it, `detail` says what is wrong, not what it says."""

    def __init__(self, detail: str, kind: str = "undecodable") -> None:
        super().__init__(detail)
        self.detail = detail
        self.kind = kind


class EmptyAnswerError(DecodeError):
    """A list without any message: the gateway knows none of that id."""


class _WireRecipient(msgspec.Struct, gc=False):
    msisdn: Any = None
    country: Any = None
    dsnstatus: Any = None
    dsntime: Any = None
    dsnerror: Any = None
    dsnerrorcode: Any = None
    mcc: Any = None
    mnc: Any = None
    charge_status: Any = None


class _WireMessage(msgspec.Struct):
    id: Any = None
    recipients: list[_WireRecipient] | None = None
    userref: Any = None
    sendtime: Any = None
    validity_period: Any = None


class _WireBalance(msgspec.Struct):
    credit: Any = None
    currency: Any = None


_Shape = list[_WireMessage] | _WireMessage
_decoder: Final = msgspec.json.Decoder(_Shape)
_balance_decoder: Final = msgspec.json.Decoder(_WireBalance)


def decode_answer(body: bytes, message_id: int) -> Answer:
    """What `body` says of `message_id`. Raises :class:`DecodeError` and nothing else."""
    wire = _ours(_parse(body), message_id)
    if wire.recipients is None:
        raise DecodeError("the answer has no list of recipients")
    return Answer(
        recipients=tuple(map(_recipient, wire.recipients)),
        userref=_scalar(wire.userref, LONGEST_USERREF),
        sendtime=_sendtime(wire.sendtime),
        validity=_validity(wire.validity_period),
    )


def decode_balance(body: bytes) -> Balance:
    """The answer of `GET /rest/me`. Raises :class:`DecodeError` and nothing else."""
    try:
        wire = _balance_decoder.decode(body)
    except (ValueError, RecursionError):
        raise DecodeError("the balance is not the JSON object that was expected") from None
    credit = _number(wire.credit)
    if credit is None:
        raise DecodeError("the balance has no credit")
    return Balance(credit=credit, currency=_scalar(wire.currency, 16) or "")


# -- the message


def _parse(body: bytes) -> _WireMessage | list[_WireMessage]:
    # A body shorter than that many brackets needs no counting.
    if len(body) > MAX_CONTAINERS and body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise DecodeError("the answer holds more objects than 10,000 recipients can have", "too_large")
    try:
        parsed: _WireMessage | list[_WireMessage] = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise DecodeError(f"the answer's JSON has another shape: {clean(str(error), 200)}") from None
    except RecursionError:
        raise DecodeError("the answer's JSON is nested too deeply") from None
    except ValueError:
        return _parse_leniently(body)
    return parsed


def _parse_leniently(body: bytes) -> _WireMessage | list[_WireMessage]:
    """A lone surrogate in a text nobody needs must not hide the states beside it; the strict parser refuses it."""
    try:
        loaded = json.loads(body, parse_constant=_no_constant)
        parsed: _WireMessage | list[_WireMessage] = msgspec.convert(loaded, _Shape)
    except (ValueError, RecursionError):
        raise DecodeError("the answer is not JSON, or its JSON ends too early") from None
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _ours(parsed: _WireMessage | list[_WireMessage], message_id: int) -> _WireMessage:
    messages = parsed if isinstance(parsed, list) else [parsed]
    if not messages:
        raise EmptyAnswerError("the answer is an empty list")
    for wire in messages:
        if _integer(wire.id) == message_id:
            return wire
    raise DecodeError("the answer is about another message", "wrong_message")


def _recipient(wire: _WireRecipient) -> Recipient:
    msisdn = _integer(wire.msisdn)
    if msisdn is None or not 0 < msisdn < 10**_MSISDN_DIGITS:
        raise DecodeError("a recipient has no usable msisdn")
    return Recipient(
        msisdn,
        _status(wire.dsnstatus),
        _instant(wire.dsntime),
        _scalar(wire.dsnerror, LONGEST_ERROR),
        _code(wire.dsnerrorcode),
        _country(wire.country),
        _scalar(wire.mcc, 8),
        _scalar(wire.mnc, 8),
        _scalar(wire.charge_status, 32),
    )


# -- single fields: a value that makes no sense is as good as none


def _status(value: object) -> str:
    """A known state in the table's spelling; an unknown one as it is, made printable."""
    if isinstance(value, str):
        if value in lifecycle.KNOWN:
            return value
        text = clean(value, LONGEST_STATUS)
        upper = text.upper()
        if upper in lifecycle.KNOWN:
            return upper
        if text:
            return text
    return "UNKNOWN"


def _integer(value: object) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        digits = value.strip().removeprefix("+")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None
    return None


def _number(value: object) -> float | None:
    """A finite number, also when it comes as text."""
    if value is None:
        return None
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > 40:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _instant(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0.0 < number < _LATEST else None


def _sendtime(value: object) -> float | None:
    if value is None:
        return None
    found = _instant(value)
    if found is not None or not isinstance(value, str) or len(value) > 64:
        return found
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(value.strip())
            # A time without a zone is the API's own, which is UTC.
            return _instant((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _validity(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0.0 < number <= _LONGEST_VALIDITY else None


def _scalar(value: object, longest: int) -> str | None:
    if value is None:
        return None
    if type(value) is int:
        return str(value) if abs(value) < 10**20 else None
    if isinstance(value, str):
        return clean(value, longest) or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value) if abs(value) < 10**20 else None


def _code(value: object) -> str | None:
    """An error code as `0x102A`. Source: the vendor writes hex text; numbers have been seen."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        number = _integer(value)
        return f"0x{number:04X}" if number is not None and 0 < number < 2**32 else None
    if not isinstance(value, str):
        return None
    text = clean(value, 32)
    match = _HEX.fullmatch(text)
    if match is None:
        return text or None
    number = int(match[1], 16)
    return f"0x{number:04X}" if number else None


def _country(value: object) -> str | None:
    if isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha():
        return value.upper()
    return None
