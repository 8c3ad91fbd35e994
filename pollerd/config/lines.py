"""On which line of a TOML text a key stands: a cheap scan, good enough to point a reader there."""

from __future__ import annotations

import re
from typing import Final

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"))*)\s*=""")
_LAST_PART = re.compile(r"\[\d+\]$|(?:^|\.)[^.\[\]]*$")
_LONGEST_LINE: Final = 2000
"""Characters. No header or key is that long, and the patterns need not try."""
_QUOTES = re.compile(r"""\s*\.\s*|["']""")


class LineIndex:
    """The keys and table headers of one text, with the lines they stand on."""

    def __init__(self, text: str) -> None:
        self._places = _places(text)

    def of(self, key: str) -> int | None:
        """The line, from 1, of the key, else of the nearest table around it; None when neither is found."""
        path = _plain(key)
        while path:
            if path in self._places:
                return self._places[path]
            shorter = _LAST_PART.sub("", path)
            # A quoted key may hold brackets of its own, which no pattern distinguishes from an index.
            if shorter == path:
                return None
            path = shorter
        return None


def _places(text: str) -> dict[str, int]:
    places: dict[str, int] = {}
    counted: dict[str, int] = {}
    table = ""
    inside_text = False
    for number, line in enumerate(text.split("\n"), 1):
        opens = (line.count('"""') + line.count("'''")) % 2 == 1
        if inside_text:
            inside_text = not opens
            continue
        inside_text = opens
        if len(line) > _LONGEST_LINE:
            continue
        header = _HEADER.fullmatch(line)
        if header is not None:
            table = _plain(header[2])
            if header[1] == "[[":
                counted[table] = counted.get(table, -1) + 1
                table = f"{table}[{counted[table]}]"
            places.setdefault(table, number)
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment is not None:
            name = _plain(assignment[1])
            places.setdefault(f"{table}.{name}" if table else name, number)
    return places


def _plain(key: str) -> str:
    return _QUOTES.sub(lambda found: "." if "." in found[0] else "", key).strip()
