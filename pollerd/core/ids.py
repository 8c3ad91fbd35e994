"""What is a message id, and why something else is not one. Pure."""

from __future__ import annotations

import re
from typing import Final

from pollerd.core.model import MAX_MESSAGE_ID

_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII | re.IGNORECASE)
_LARGEST_64_BITS: Final = 2**64 - 1  # Up to here it may be an id of some program, but none that the database can hold.
_MOST_DIGITS: Final = 40  # Digits that are read: more than any id of any interface has, and int() stays fast.
DEFAULT_ACCOUNT: Final = "default"
"""Whose a message is that was handed over without an account."""


class IdError(ValueError):
    """Not an id that can be followed; the text says why and what would be right."""


def parse_id(text: str) -> int:
    """The id in a text, white space around it allowed. Raises IdError."""
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS:
        return check_id(int(digits))
    raise IdError(_why_not(digits))


def check_id(number: int) -> int:
    """The number itself when it can be followed. Raises IdError."""
    if 0 < number <= MAX_MESSAGE_ID:
        return number
    if number == 0:
        raise IdError("is zero; message ids start at 1")
    if number < 0:
        raise IdError("is negative; message ids start at 1")
    if number <= _LARGEST_64_BITS:
        raise IdError(f"is larger than can be stored ({MAX_MESSAGE_ID})")
    raise IdError("is larger than 64 bits; no message has such an id")


def _why_not(text: str) -> str:
    if not text:
        return "is empty; give the id that the send call answered"
    if _ULID.fullmatch(text):
        return (
            "is an id of the newer Mobile Message API (messaging.gatewayapi.com), which cannot be polled: "
            "it has no way to read a status, only webhooks"
        )
    sign, digits = text[0], text[1:]
    if digits.isascii() and digits.isdigit() and sign in "+-":
        return "is negative; message ids start at 1" if sign == "-" else "has a sign; give the digits alone"
    if text.isascii() and text.isdigit():
        return "is larger than 64 bits; no message has such an id"
    return "is not a message id: give the whole number that the send call answered"
