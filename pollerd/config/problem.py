"""What is wrong with a configuration, reported all at once."""

from __future__ import annotations

import json
from typing import Final

import msgspec

MASK: Final = "***"
_SHOWN_CHARACTERS: Final = 60
"""Characters of a value that a message repeats: enough to find it, and the message stays on one line."""
_SHOWN_BITS: Final = 200
"""Bits of a number that a message repeats, 60 decimal digits: as many as of a text."""


class Problem(msgspec.Struct, frozen=True):
    """One mistake: where it stands, what stands there and what would be right.

    ``key`` is the full path (``accounts.default.limits.timeout``), empty when the whole file is meant.
    ``value`` is already fit to be shown: shortened, on one line, secrets masked.
    """

    file: str
    key: str
    value: str | None
    expected: str
    near: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{self.key} = {self.value}" if self.value is not None else self.key
        hint = f"; did you mean {self.near}?" if self.near else ""
        return ": ".join(part for part in (place, subject, self.expected) if part) + hint


class ConfigError(Exception):
    """The configuration cannot be used. Carries every problem found, never only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def mask_userinfo(url: str) -> str:
    """The URL with credentials replaced by ``***``, also when it is not quite a URL (no scheme, a stray ``/``)."""
    head, at, tail = url.rpartition("@")
    scheme, separator, _ = head.partition("://")
    if not at or ":" not in head:
        return url
    return f"{scheme}://{MASK}@{tail}" if separator else f"{MASK}@{tail}"


def mask_url(text: str) -> str:
    """The URL with credentials and the whole query replaced by ``***``; any other text as it is."""
    # Tokens are found in query strings too: the gateway itself takes ?token=.
    shown, mark, _ = mask_userinfo(text).partition("?")
    return f"{shown}?{MASK}" if mark and "://" in shown else mask_userinfo(text)


def show(value: object) -> str:
    """A TOML value as one short printable line; credentials and queries of URLs are masked."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(mask_url(value))
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, list):
        return "[...]"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return "a number of more than 60 digits"
    return str(value)


def _quoted(text: str) -> str:
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 3] + "..."
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted)
