"""What a database says of a statement, without the text of an SMS: that goes to the log and to people. Pure.

Databases quote values ("invalid input syntax for type integer: "STOP"", "Incorrect integer value: 'STOP'"), escaped and
cut short as each of them likes. So what is quoted stays only where it is clearly a name.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from pollerd.core import event as events

_NOT_SHOWN: Final = "(not shown: it may be of the text)"
_QUOTED: Final = re.compile(r"\"[^\"]*(?:\"|$)|'[^']*(?:'|$)")
_QUOTE: Final = re.compile("[\"']")
_NAME: Final = re.compile(r"[\w.$-]+")
_BEGINNING: Final = 20  # Characters of a line of the text by which it is found where it is not quoted, or cut short.


class _Text(msgspec.Struct):
    text: str | None = None


_decoder: Final = msgspec.json.Decoder(_Text)


def without_quoted_text(words: str, kind: str, body: bytes) -> str:
    """What a database said about an event of type `kind` with the JSON `body`, without what may be its text."""
    text = _decoder.decode(body).text if kind == events.MESSAGE_RECEIVED else None
    if not text:
        return words
    if _QUOTE.search(text):
        # Where its quotes end is not to be seen.
        words = _cut(words, found.start() if (found := _QUOTE.search(words)) else -1)
    words = _QUOTED.sub(lambda quoted: _quoted(quoted[0], text), words)
    for line in text.splitlines():
        if len(line := line.strip()) > 1:
            words = _cut(words, words.find(line[:_BEGINNING]))
    return words


def _quoted(quoted: str, text: str) -> str:
    inside = quoted[1:].rstrip(quoted[0])
    return quoted if _NAME.fullmatch(inside) and inside.lower() not in text.lower() else _NOT_SHOWN


def _cut(words: str, start: int) -> str:
    return words if start < 0 else words[:start] + _NOT_SHOWN
