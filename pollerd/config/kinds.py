"""What the value of a key may be: read from TOML, within its bounds, and written as TOML again."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from pollerd.base.duration import FORM, parse_duration, render_duration

if TYPE_CHECKING:
    from pollerd.config.environment import LoadContext

T = TypeVar("T")

LONGEST_SOCKET_PATH: Final = 107
"""Bytes that the kernel leaves for a Unix socket's path (``sun_path`` without its closing zero)."""

MINUTE: Final = 60.0  # Seconds.
HOUR: Final = 3600.0  # Seconds.
DAY: Final = 86400.0  # Seconds.
YEAR: Final = 365 * DAY
"""In seconds."""

FIRST_DAY: Final = date(2000, 1, 1)
"""Earlier ones are mistakes: the gateway is younger."""

_MODE: Final = re.compile(r"0?[0-7]{3}", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Wrong(Exception):  # noqa: N818 - about a value, and never leaves the reader
    """A value is not what its key needs; the text says what would be right."""

    def __init__(self, expected: str, *, near: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.near = near


def _as_it_is(value: object) -> object:
    return value


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """A type of values: ``check`` turns a TOML value into its meaning or raises :class:`Wrong`, ``render`` back.

    ``name`` and ``bounds`` are for people.
    """

    name: str
    check: Callable[[object], T]
    bounds: str = ""
    render: Callable[[Any], object] = _as_it_is

    def read(self, value: object, context: LoadContext) -> T:
        """What the value means. Raises :class:`Wrong`."""
        return self.check(value)


class PathKind(Kind[Path], frozen=True):
    """A path, absolute when it is read. ``own``: for this purpose alone; ``socket``: short enough for a Unix socket."""

    own: bool = False
    socket: bool = False

    def read(self, value: object, context: LoadContext) -> Path:
        found = context.absolute(self.check(value))
        if not self.socket or socket_fits(found):
            return found
        raise Wrong(f"must be at most {LONGEST_SOCKET_PATH} bytes long as an absolute path, as Unix sockets need")


def text(value: object) -> str:
    """A text that is not empty and stands on one line."""
    if not isinstance(value, str):
        raise Wrong("must be a text in quotes")
    if not value.strip():
        raise Wrong("must not be empty")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise Wrong("must not hold control characters")
    return value


def statement(value: object) -> str:
    """SQL: may run over several lines, so that only emptiness and the zero byte are refused."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise Wrong("must be an SQL statement in quotes")
    return value


def whole(low: int, high: int) -> Kind[int]:
    """A whole number from ``low`` to ``high``."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Wrong(f"must be a whole number from {low} to {high}")

    return Kind("whole number", check, f"{low} to {high}")


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Kind[float]:
    """A finite number within the bounds; with ``above`` the lower one itself is refused."""
    endless = math.isinf(high)
    span = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
    right = "must be a finite number" if endless else f"must be a number {span}"

    def check(value: object) -> float:
        found = _finite(value)
        if found is None or not low <= found <= high or (above and found == low):
            raise Wrong(right)
        return found

    return Kind("number", check, "" if endless else span.removeprefix("from "))


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def duration(low: float, high: float) -> Kind[float]:
    """Seconds within the bounds, from a text with a unit or from a number of seconds."""
    least, most = render_duration(low), render_duration(high)

    def check(value: object) -> float:
        try:
            found = parse_duration(value) if isinstance(value, str) else _finite(value)
        except ValueError:
            found = None
        if found is None or not low <= found <= high:
            raise Wrong(f"must be {FORM}, or a number of seconds, from {least} to {most}")
        return found

    return Kind("duration", check, f'"{least}" to "{most}"', _render_duration)


def _render_duration(seconds: float) -> str | float:
    found = render_duration(seconds)
    return found if parse_duration(found) == seconds else seconds


def durations(low: float, high: float, most: int) -> Kind[tuple[float, ...]]:
    """Up to ``most`` durations, in seconds."""
    each = duration(low, high)

    def check(value: object) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise Wrong(f'must be an array of up to {most} durations, such as ["60s", "2h"]')
        return tuple(map(each.check, value))

    return Kind(
        "durations", check, f"up to {most}, each {each.bounds}", lambda found: list(map(_render_duration, found))
    )


def choice(*words: str) -> Kind[str]:
    """One of a few words."""

    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        right = "must be " + " or ".join(f'"{word}"' for word in words)
        import difflib

        close = difflib.get_close_matches(str(value).lower(), words, n=1) if isinstance(value, str) else []
        raise Wrong(right, near=f'"{close[0]}"' if close else None)

    return Kind("word", check, " | ".join(words))


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Wrong("must be true or false, without quotes")


def _since(value: object) -> date | None:
    if value == "now":
        return None
    # TOML has dates of its own; a time of day would promise more than days can hold.
    found = value if isinstance(value, date) and not isinstance(value, datetime) else None
    if isinstance(value, str):
        with suppress(ValueError):
            found = date.fromisoformat(value)
    if found is None or found < FIRST_DAY:
        raise Wrong(f'must be "now" or a day from {FIRST_DAY} on, such as "2026-11-01"')
    return found


def _path(value: object) -> Path:
    return Path(text(value))


def _command(value: object) -> tuple[str, ...]:
    right = 'must be an array of texts, the program first: ["/usr/local/bin/handle-events", "--batch"]'
    if not isinstance(value, list) or not value or not isinstance(value[0], str) or not value[0].strip():
        raise Wrong(right)
    parts = [part for part in value if isinstance(part, str) and "\0" not in part]
    if len(parts) != len(value):
        raise Wrong(right)
    return tuple(parts)


def _mode(value: object) -> int:
    # Always a text: TOML would read a bare number as decimal.
    if isinstance(value, str) and _MODE.fullmatch(value):
        return int(value, 8)
    raise Wrong('must be the rights as octal text, such as "0660"')


def _variable(value: object) -> str:
    if isinstance(value, str) and _VARIABLE.fullmatch(value):
        return value
    raise Wrong("must be the name of an environment variable, not the secret itself")


def _username(value: object) -> str:
    found = text(value)
    if ":" in found:
        raise Wrong("must not hold a colon, which HTTP Basic cannot carry in a user name")
    return found


# Few configurations have SQL, and every command's start would wait for SQLite.
def _query(value: object) -> str:
    from pollerd.config.sql import query

    return query(value)


def _event_statement(value: object) -> str:
    from pollerd.config.sql import event_statement

    return event_statement(value)


def _colon_query(value: object) -> str:
    from pollerd.config.sql import colon_query

    return colon_query(value)


def _colon_statement(value: object) -> str:
    from pollerd.config.sql import colon_statement

    return colon_statement(value)


FLAG: Final = Kind("true or false", _flag)
TEXT: Final = Kind("text", text)
USERNAME: Final = Kind("text", _username)
VARIABLE: Final = Kind("environment variable", _variable)
PATH: Final = PathKind("path", _path, render=str)
OWN_PATH: Final = PathKind("path", _path, render=str, own=True)
SOCKET_PATH: Final = PathKind("path", _path, f"up to {LONGEST_SOCKET_PATH} bytes", str, own=True, socket=True)
SINCE: Final = Kind("day", _since, "now | YYYY-MM-DD", lambda day: "now" if day is None else day.isoformat())
MODE: Final = Kind("octal rights", _mode, render=lambda mode: f"{mode:04o}")
COMMAND: Final = Kind("program and arguments", _command, render=list)
QUERY: Final = Kind("SQL", _query)
EVENT_STATEMENT: Final = Kind("SQL", _event_statement)
COLON_QUERY: Final = Kind("SQL", _colon_query)
COLON_STATEMENT: Final = Kind("SQL", _colon_statement)


def socket_fits(path: Path) -> bool:
    """Whether a Unix socket can have this path."""
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
