"""Every field of an answer: what it may cost when it cannot be used, and how it is read.

The decoder and its tests are driven by the tables here. A reader gives None for a value of no use; it is not asked
about null. The first lines of the readers of recipients are for the values that nearly every answer has: they are
called a hundred thousand times for one mailing. Source of the fields: the vendor's REST documentation, and answers
seen in public.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from pollerd.core import lifecycle
from pollerd.core.model import MAX_MESSAGE_ID, Priority
from pollerd.gateway.text import clean

LONGEST_STATUS: Final = 64  # Characters; the vendor's longest has 13.
LONGEST_ERROR: Final = 512  # Characters; a sentence.
LONGEST_USERREF: Final = 1024  # Characters; the sender's own text.
LONGEST_CODE: Final = 32  # Characters; a number in hexadecimal.
LONGEST_CHARGE: Final = 32  # Characters; the vendor's longest has 11.
LONGEST_CURRENCY: Final = 16  # Characters; ISO 4217 has three.
LONGEST_NETWORK: Final = 8  # Characters; MCC and MNC have six digits at most.
LONGEST_SENDER: Final = 64  # Characters; GSM has 11 letters or 15 digits.
LONGEST_TEXT: Final = 39_015  # Characters of an incoming SMS: 255 parts of 153.
LONGEST_LABEL: Final = 256  # Characters; the name of a webhook, the customer's own text.
LONGEST_ENCODING: Final = 16  # Characters; `UTF8` and `UCS2` are the vendor's.
LONGEST_NUMBER: Final = 64
"""Characters. Of a text in place of a number no more is read."""

_LATEST: Final = 4_102_444_800.0
"""1 January 2100: later instants are milliseconds or nonsense."""
_LONGEST_VALIDITY: Final = 10 * 366 * 86400.0  # Seconds, ten years: no message is valid for longer, more is nonsense.
_MSISDN_END: Final = 10**18
"""A number has 15 digits at most; up to 18 are taken, which every integer type of 64 bits can hold."""
_LARGEST: Final = 10**20  # Numbers in place of a text are taken below this: all that 64 bits hold are.
_MOST_PARTS: Final = 255
"""Parts of one SMS: their number has one byte on the air."""
_HEX: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,8})")
_NO_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
"""Half a character, which is no UTF-8, and the zero that ends a text for databases and C programs."""
_SEPARATORS: Final = re.compile(r"[\s().\-/\u2010-\u2015]")
"""What people write between the digits of a telephone number."""


class Loss(StrEnum):
    """What is lost when a field cannot be used."""

    NOTHING = "nothing"
    """It is not read."""
    FIELD = "the field"
    """It is as if it were not there; what an earlier answer said of it is kept."""
    RECIPIENT = "the recipient"
    """Without `msisdn` the recipient counts by its state and is reported nowhere; without `dsnstatus` it is no news."""
    ENTRY = "the entry"
    """An incoming message without an id could not be told from those that were reported."""
    ANSWER = "the answer"
    """Without it, it is unknown whom the answer is about; it counts as one that cannot be understood."""


class Field(msgspec.Struct, frozen=True):
    """`read` makes the value of use out of what the gateway wrote; without it the field is not read."""

    cost: Loss = Loss.NOTHING
    read: Callable[[Any], Any] | None = None


Fields = dict[str, Field]


def integer(value: object) -> int | None:
    """A whole number, also when it comes as text or as a float."""
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        digits = value.strip().removeprefix("+")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None
    return None


def number(value: object) -> float | None:
    """A finite number, also when it comes as text."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > LONGEST_NUMBER:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def scalar(value: object, longest: int) -> str | None:
    """A text or a number as clean text, cut to `longest` characters."""
    if isinstance(value, str):
        return clean(value, longest) or None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:
        return str(value) if abs(value) < _LARGEST else None
    if isinstance(value, float) and math.isfinite(value) and abs(value) < _LARGEST:
        return str(value)
    return None


def _msisdn(value: object) -> int | None:
    if type(value) is int:
        return value if 0 < value < _MSISDN_END else None
    if isinstance(value, str):
        value = _SEPARATORS.sub("", value) if len(value) <= LONGEST_NUMBER else None
    found = integer(value)
    return found if found is not None and 0 < found < _MSISDN_END else None


def _status(value: object) -> str | None:
    """A known state in the table's spelling; an unknown one as it is, made printable."""
    if type(value) is not str:
        return None
    if value in lifecycle.KNOWN:
        return value
    # Of invisible characters none belongs into a state, not even those that texts may have.
    text = "".join(filter(str.isprintable, clean(value, LONGEST_STATUS))).strip()
    upper = text.upper()
    return upper if upper in lifecycle.KNOWN else text or None


def _instant(value: object) -> float | None:
    """UNIX seconds, from a number or from a date as text."""
    if (type(value) is float or type(value) is int) and 0.0 < value < _LATEST:
        return float(value)
    found = number(value)
    if found is None and isinstance(value, str) and len(value) <= LONGEST_NUMBER:
        found = _dated(value.strip())
    return found if found is not None and 0.0 < found < _LATEST else None


def _dated(text: str) -> float | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            # A time without a zone is the API's own, which is UTC.
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _validity(value: object) -> float | None:
    found = float(value) if type(value) is int and 0 < value < _LATEST else number(value)
    return found if found is not None and 0.0 < found <= _LONGEST_VALIDITY else None


def _code(value: object) -> str | None:
    """An error code as `0x102A`. Source: the vendor writes hex text; numbers have been seen."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        found = integer(value)
        return f"0x{found:04X}" if found is not None and 0 < found < 2**32 else None
    if not isinstance(value, str):
        return None
    text = clean(value, LONGEST_CODE)
    match = _HEX.fullmatch(text)
    if match is None:
        return text or None
    found = int(match[1], 16)
    return f"0x{found:04X}" if found else None


def _country(value: object) -> str | None:
    if isinstance(value, str) and len(value) == 2 and value.isascii() and value.isalpha():
        return value.upper()
    return None


def _network(value: object) -> str | None:
    """A network's code. A longer text cut short would be the code of another network."""
    if type(value) is str and value.isalnum() and len(value) <= LONGEST_NETWORK:
        return value
    if type(value) is int and 0 <= value < 1000:
        return str(value)
    text = scalar(value, LONGEST_NETWORK + 1)
    return text if text and len(text) <= LONGEST_NETWORK and not text.startswith("-") else None


def _sender(value: object) -> str | None:
    """A sender as the phone shows it, one object for all recipients. A longer text cut short would be another one."""
    if type(value) is str and value.isalnum() and len(value) <= LONGEST_SENDER:
        return sys.intern(value)
    text = scalar(value, LONGEST_SENDER + 1)
    return sys.intern(text) if text and len(text) <= LONGEST_SENDER else None


def _parts(value: object) -> int | None:
    found = integer(value)
    return found if found is not None and 0 < found <= _MOST_PARTS else None


def _incoming_id(value: object) -> int | None:
    found = integer(value)
    return found if found is not None and 0 < found <= MAX_MESSAGE_ID else None


def _receiver(value: object) -> int | str | None:
    """The number that a message was sent to; a name as it is."""
    return _msisdn(value) or scalar(value, LONGEST_SENDER)


def _sms_text(value: object) -> str | None:
    """A text as it was sent, line breaks and all; what no text can hold becomes U+FFFD."""
    if not isinstance(value, str):
        return scalar(value, LONGEST_TEXT)
    return _NO_TEXT.sub("\ufffd", value[:LONGEST_TEXT])


def _count(value: object) -> int | None:
    found = integer(value)
    return found if found is not None and 0 <= found <= MAX_MESSAGE_ID else None


def _list(value: object) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _text(longest: int) -> Callable[[object], str | None]:
    def read(value: object) -> str | None:
        if type(value) is str and value.isalnum() and len(value) <= longest:
            return value
        return scalar(value, longest)

    return read


MESSAGE: Final[Fields] = {
    "id": Field(Loss.ANSWER, integer),
    "recipients": Field(Loss.ANSWER, _list),
    "userref": Field(Loss.FIELD, _text(LONGEST_USERREF)),
    "sendtime": Field(Loss.FIELD, _instant),
    "validity_period": Field(Loss.FIELD, _validity),
    "priority": Field(Loss.FIELD, Priority.named),
    **dict.fromkeys(("class", "message", "payload", "label", "sender", "tags", "encoding"), Field()),
    **dict.fromkeys(("destaddr", "udh", "callback_url", "actual_sender", "anonymized"), Field()),
}
"""The fields of a message; any other one costs nothing."""

RECIPIENT: Final[Fields] = {
    "msisdn": Field(Loss.RECIPIENT, _msisdn),
    "dsnstatus": Field(Loss.RECIPIENT, _status),
    "dsntime": Field(Loss.FIELD, _instant),
    "dsnerror": Field(Loss.FIELD, _text(LONGEST_ERROR)),
    "dsnerrorcode": Field(Loss.FIELD, _code),
    "country": Field(Loss.FIELD, _country),
    "mcc": Field(Loss.FIELD, _network),
    "mnc": Field(Loss.FIELD, _network),
    "charge_status": Field(Loss.FIELD, _text(LONGEST_CHARGE)),
    "senttime": Field(Loss.FIELD, _instant),
    "actual_sender": Field(Loss.FIELD, _sender),
    "csms": Field(Loss.FIELD, _parts),
    "tagvalues": Field(),
}
"""The fields of a recipient; any other one costs nothing. Those that are read are in the order of `model.Recipient`,
whose `counts_as` is no field of an answer.
"""

BALANCE: Final[Fields] = {
    "credit": Field(Loss.ANSWER, number),
    "currency": Field(Loss.FIELD, _text(LONGEST_CURRENCY)),
    "id": Field(),
}
"""The fields of `GET /rest/me`."""

INCOMING: Final[Fields] = {
    "mosms_id": Field(Loss.ENTRY, _incoming_id),
    "msisdn": Field(Loss.FIELD, _msisdn),
    "receiver": Field(Loss.FIELD, _receiver),
    "message": Field(Loss.FIELD, _sms_text),
    "senttime": Field(Loss.FIELD, _instant),
    "sender": Field(Loss.FIELD, _text(LONGEST_SENDER)),
    "encoding": Field(Loss.FIELD, _text(LONGEST_ENCODING)),
    "webhook": Field(Loss.FIELD, _text(LONGEST_LABEL)),
    "anonymized": Field(),
}
"""The fields of an incoming message; any other one costs nothing. Those that are read are in the order of
`core.incoming.IncomingMessage`.
"""

INCOMING_PAGE: Final[Fields] = {
    "messages": Field(Loss.ANSWER, _list),
    "results": Field(Loss.FIELD, _count),
    "pages": Field(Loss.FIELD, _count),
    **dict.fromkeys(("page", "per_page"), Field()),
}
"""The fields of `GET /rest/mosms`."""
