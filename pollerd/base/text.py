"""Words for people: what is safe to print, and how long ago something was. Pure, and imports nothing dear."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections import Counter

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_UNSAFE_UTF8: Final = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xa9]|\xef\xbb\xbf|\xef\xbf[\xb9-\xbb]",
)
_STEPS: Final = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def printable(text: str) -> str:
    """The text with every character that steers a terminal, or turns the direction of reading, written as an escape."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shortened(text: str, most: int = 60) -> str:
    """At most `most` characters, safe to print."""
    return printable(text if len(text) <= most else text[: most - 1] + "…")


def harmless(json: bytes) -> bytes:
    """JSON whose texts hold no character that steers a terminal; the meaning is the same.

    JSON itself escapes only C0. The other characters occur inside its strings alone, where \\uXXXX stands for them.
    """
    if json.isascii() and b"\x7f" not in json:
        return json
    return _UNSAFE_UTF8.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), json)


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `350 ms`, `12 s`, `4 min 5 s`, `3 d 2 h`."""
    if seconds < 0.9995:
        return f"{round(max(0.0, seconds) * 1000)} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in _STEPS:
        count, rest = divmod(rest, round(size))
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def brief(seconds: float) -> str:
    """A length of time in its largest unit alone."""
    return " ".join(duration(seconds).split()[:2])


def ago(when: float, now: float) -> str:
    """How far an instant lies from now: `12 s ago`, `in 3 min`."""
    return f"{duration(now - when)} ago" if when <= now else f"in {duration(when - now)}"


def clock(when: float) -> str:
    """An instant by the wall clock of this machine, with its offset: every option for a time takes it back."""
    return datetime.fromtimestamp(when).astimezone().isoformat(" ", "seconds")


def zone(when: float) -> str:
    """The offset of this machine's clock at an instant, for the head of a column of times: `+01:00`."""
    return clock(when)[len("2026-11-26 18:30:05") :]


def size(count: int) -> str:
    """Bytes in words."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 event`, `2 events`, `1,234 events`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def quoted(text: str) -> str:
    """The text in double quotes; one that brings quotes of its own keeps those alone."""
    return text if text.startswith('"') else f'"{text}"'


def numbered(names: Counter[str], name: str) -> str:
    """The name, from its second time in `names` on with a number; it is counted there.

    What has the name of its file or server keeps its place when others are added or removed before it.
    """
    names[name] += 1
    return name if names[name] == 1 else f"{name} {names[name]}"
