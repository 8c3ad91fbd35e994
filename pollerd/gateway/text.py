"""Text that came from outside, made harmless for files, logs and terminals."""

from __future__ import annotations

import unicodedata
from typing import Final

# Invisible characters that reverse or regroup what a person reads; other format characters (ZWJ) belong to scripts.
_BIDI: Final = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BLANKS: Final = frozenset("\t\n\r\v\f\u0085\u2028\u2029")


def clean(text: str, longest: int) -> str:
    """At most `longest` characters of `text`: line breaks become blanks, other control characters are dropped.

    Lone surrogates become U+FFFD, so the result can always be written as UTF-8.
    """
    if len(text) > longest:
        text = text[:longest]
    if text.isprintable():
        return text.strip()
    return "".join(map(_harmless, text)).strip()


def shorten(text: str, longest: int) -> str:
    """`text`, cut to `longest` characters with an ellipsis that says so."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    if character in _BLANKS:
        return " "
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    if category == "Cc" or character in _BIDI:
        return ""
    return character
