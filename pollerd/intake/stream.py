"""Ids from a stream: one a line, or the send call's JSON answers, in constant memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from pollerd.base.text import quoted, shortened
from pollerd.core.ids import IdError, check_id, parse_id
from pollerd.core.model import MAX_MESSAGE_ID

BLOCK: Final = 1 << 20  # Bytes read at a time.
_LONGEST_OBJECT: Final = 32 << 20
"""Bytes of one JSON answer, or of one line: far above what the gateway sends."""
_BOM: Final = b"\xef\xbb\xbf"
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]')
_BROKEN_JSON: Final = "is not valid JSON; give the send call's answer as it came, or ids one a line"


class Refusal(NamedTuple):
    """Something that is not an id: the line it stands on (None: an argument), what stands there, and why not."""

    line: int | None
    text: str
    reason: str

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.text} {self.reason}"


class Chunk(NamedTuple):
    """Ids to take, and what was refused on the way."""

    ids: list[int]
    refused: list[Refusal]


class IdStream:
    """Turns blocks of bytes into ids. `read` gives the next bytes, none at the end."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._line = 0
        self._json: list[str] = []
        self._json_line = 0
        self._json_size = 0
        self._depth = 0

    def chunks(self) -> Iterator[Chunk]:
        """The stream's ids in order, a chunk for each block read."""
        rest = b""
        first = True
        while block := self._read():
            if first:
                rest = block = rest + block
                if len(block) < len(_BOM) and _BOM.startswith(block):
                    continue
                block, rest, first = block.removeprefix(_BOM), b"", False
            lines, newline, tail = block.rpartition(b"\n")
            if newline:
                yield self._take(rest + lines)
                rest = tail
            else:
                rest += tail
            if len(rest) > _LONGEST_OBJECT:
                yield Chunk([], [Refusal(self._line + 1, "the line", "is longer than 32 MiB; reading ends here")])
                return
        yield self._take(rest, last=True)

    def _take(self, data: bytes, *, last: bool = False) -> Chunk:
        if not self._json and not data.translate(None, b"0123456789\r\n"):
            ids = self._bulk(data)
            if ids is not None:
                self._line += data.count(b"\n") + 1
                return Chunk(ids, [])
        chunk = Chunk([], [])
        for line in data.split(b"\n"):
            self._line += 1
            self._take_line(line, chunk)
        if last and self._json:
            chunk.refused.append(Refusal(self._json_line, "the JSON that starts here", "does not end"))
        return chunk

    @staticmethod
    def _bulk(data: bytes) -> list[int] | None:
        try:
            ids = list(map(int, data.split()))
        except ValueError:
            return None
        return ids if not ids or (min(ids) > 0 and max(ids) <= MAX_MESSAGE_ID) else None

    def _take_line(self, raw: bytes, chunk: Chunk) -> None:
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            shown = shortened(repr(raw[:40])[1:])
            chunk.refused.append(Refusal(self._line, shown, "is not UTF-8 text; save the input as UTF-8"))
            return
        if self._json or line.startswith(("{", "[")):
            self._take_json_line(line, chunk)
        elif line and not line.startswith("#"):
            self._take_text(line.partition(" #")[0], self._line, chunk)

    def _take_text(self, text: str, line: int, chunk: Chunk) -> None:
        try:
            chunk.ids.append(parse_id(text))
        except IdError as error:
            chunk.refused.append(Refusal(line, quoted(shortened(text.strip(), 40)), str(error)))

    # -- JSON

    def _take_json_line(self, line: str, chunk: Chunk) -> None:
        if not self._json:
            self._json_line, self._depth, self._json_size = self._line, 0, 0
        self._json.append(line)
        self._json_size += len(line)
        for found in _BRACKETS.finditer(line):
            if found[0] in "[{":
                self._depth += 1
            elif found[0] in "]}":
                self._depth -= 1
        if self._depth > 0 and self._json_size <= _LONGEST_OBJECT:
            return
        text = "\n".join(self._json)
        self._json = []
        if self._depth > 0:
            chunk.refused.append(Refusal(self._json_line, "the JSON that starts here", "is longer than 32 MiB"))
            return
        self._take_json(text, chunk)

    def _take_json(self, text: str, chunk: Chunk) -> None:
        decoder, at = json.JSONDecoder(), 0
        while at < len(text):
            try:
                value, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                chunk.refused.append(Refusal(self._json_line, quoted(shortened(text[at:], 40)), _BROKEN_JSON))
                return
            self._take_value(value, chunk)
            while at < len(text) and text[at] in " \t\r\n,":
                at += 1

    def _take_value(self, value: object, chunk: Chunk) -> None:
        """An answer `{"ids": [...]}`, a list of ids, a list of answers, an object with an `id`, or a bare id."""
        match value:
            case {"ids": list(values)}:
                for item in values:
                    self._take_item(item, chunk)
            case list():
                for item in value:
                    if isinstance(item, dict):
                        self._take_value(item, chunk)
                    else:
                        self._take_item(item, chunk)
            case {"id": item} | {"msg_id": item}:
                self._take_item(item, chunk)
            case {"message": str(message)}:
                shown = f'"{shortened(message)}"'
                chunk.refused.append(Refusal(self._json_line, shown, "is an error of the gateway: nothing was sent"))
            case dict():
                reason = 'has no "ids"; give the send call\'s answer as it came'
                chunk.refused.append(Refusal(self._json_line, "the JSON object", reason))
            case _:
                self._take_item(value, chunk)

    def _take_item(self, item: object, chunk: Chunk) -> None:
        if isinstance(item, str):
            self._take_text(item, self._json_line, chunk)
            return
        shown = shortened(json.dumps(item), 40)
        if isinstance(item, bool) or not isinstance(item, int):
            chunk.refused.append(Refusal(self._json_line, shown, "is not a message id: ids are whole numbers"))
            return
        try:
            chunk.ids.append(check_id(item))
        except IdError as error:
            chunk.refused.append(Refusal(self._json_line, shown, str(error)))
