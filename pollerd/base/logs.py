"""The daemon's log on standard error: for people, journald or machines, with no secret and no forged line in it.

Secrets and telephone numbers are dealt with where the text is made, so that no caller can forget it: registered
secrets are masked in every text, tracebacks included, and an `Msisdn` among the arguments prints masked.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from pollerd.base.redact import Redactor

Format = Literal["auto", "text", "json", "journal"]
Level = Literal["debug", "info", "warning", "error"]

LONGEST_MESSAGE: Final = 16 * 1024
"""Characters of one message; journald cuts lines at 48 KiB and takes the rest for another record."""
SHORTEST_SECRET: Final = 6
"""Characters from which a secret is masked: less would tear ordinary words apart."""
_DEEPEST: Final = 4  # Levels of nested values that are masked; deeper ones are left out.
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""syslog's priority from each level on: sd-daemon(3)."""
_COLOURS: Final = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31", "DEBUG": "2"}
# oauthlib's debug lines hold whole signatures.
_QUIET: Final = dict.fromkeys(("asyncio", "aiohttp", "aiosqlite", "oauthlib"), logging.WARNING)
# SQLAlchemy raises what it logs, the latter with the driver's whole traceback.
_QUIETER: Final = {"apscheduler": logging.ERROR, "sqlalchemy": logging.CRITICAL}
_OWN: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
# C0 is escaped by JSON itself; these would still act on a terminal or break lines for lenient readers.
_ACTIVE: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Msisdn(int):
    """A telephone number as an argument or an extra of a log call: masked unless `show_msisdn` is set."""

    __slots__ = ()

    def __str__(self) -> str:
        return mask_msisdn(int(self))

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def reveal(self) -> int:
        """The number itself."""
        return int(self)


def mask_msisdn(msisdn: int | str) -> str:
    """A telephone number with its first two and last two digits: ``45******21``. Anything short is all stars."""
    digits = str(int(msisdn)) if isinstance(msisdn, int) else msisdn.lstrip("+")
    if len(digits) < 8 or not (digits.isascii() and digits.isdigit()):
        return "*" * len(digits)
    return f"{digits[:2]}{'*' * (len(digits) - 4)}{digits[-2:]}"


class Secrets:
    """Texts that must not appear in the log."""

    __slots__ = ("_known", "_redactor")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._redactor = Redactor((), show_msisdn=True)
        for text in texts:
            self.protect(text)

    def protect(self, text: str) -> None:
        """Mask `text` from now on, in every form it travels in; not what is shorter than `SHORTEST_SECRET`."""
        if len(text) >= SHORTEST_SECRET and text not in self._known:
            self._known.add(text)
            self._redactor = Redactor(self._known, show_msisdn=True)

    def mask(self, text: str) -> str:
        """The text with every secret as ``***``, and passwords in URLs too."""
        return self._redactor(text)


def setup(level: Level, form: Format, show_msisdn: bool, stream: TextIO | None = None) -> Secrets:
    """Send the whole process's log to `stream` (standard error) and return the secrets to be masked in it.

    A second call replaces the first; the secrets registered so far stay protected.
    """
    stream = sys.stderr if stream is None else stream
    root = logging.getLogger()
    secrets = Secrets()
    for handler in [handler for handler in root.handlers if isinstance(handler, LogHandler)]:
        secrets = handler.secrets
        root.removeHandler(handler)
        handler.close()
    if form == "json" and isinstance(stream, io.TextIOWrapper):
        # In another encoding a letter would become an escape that JSON does not know.
        stream.reconfigure(encoding="utf-8")
    handler = LogHandler(stream, secrets)
    handler.setFormatter(_formatter(form, stream, Cleaner(secrets, show_msisdn=show_msisdn)))
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in (_QUIET | _QUIETER).items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(capture=True)
    return secrets


def to_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `stream` ends in the journal: ``$JOURNAL_STREAM`` names its device and inode."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class LogHandler(logging.StreamHandler[TextIO]):
    """The handler that `setup` installs."""

    def __init__(self, stream: TextIO, secrets: Secrets) -> None:
        super().__init__(stream)
        self.secrets = secrets

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        """A log that cannot be written is no reason to fail, and its raw arguments may be secret."""


class Cleaner:
    """Turns what a record holds into text that may be shown."""

    def __init__(self, secrets: Secrets, *, show_msisdn: bool) -> None:
        self._secrets = secrets
        self._show_msisdn = show_msisdn

    def message(self, record: logging.LogRecord) -> str:
        """The record's message with its arguments, at most `LONGEST_MESSAGE` characters."""
        args = record.args
        if isinstance(args, tuple):
            args = tuple(self._shown(value) for value in args)
        elif args is not None:
            args = {key: self._shown(value) for key, value in args.items()}
        text = str(record.msg)
        if args:
            try:
                text = text % args
            except (TypeError, ValueError, KeyError):
                text = f"{text} {args!r}"
        text = self._secrets.mask(text)
        return (
            text
            if len(text) <= LONGEST_MESSAGE
            else f"{text[:LONGEST_MESSAGE]}... ({len(text) - LONGEST_MESSAGE} characters more)"
        )

    def trace(self, record: logging.LogRecord) -> list[str]:
        """The lines of the record's traceback, without local variables; none when it has none."""
        lines: list[str] = []
        if record.exc_info and record.exc_info[1] is not None:
            lines += "".join(traceback.format_exception(record.exc_info[1])).splitlines()
        elif record.exc_text:
            lines += record.exc_text.splitlines()
        if record.stack_info:
            lines += record.stack_info.splitlines()
        return [self._secrets.mask(line) for line in lines]

    def plain(self, value: object, depth: int = 0) -> object:
        """The value as JSON knows it: no NaN, no lone surrogate, nothing endless."""
        value = self._shown(value)
        match value:
            case None | bool():
                return value
            case int():
                return int(value) if -(2**63) <= value < 2**64 else str(value)
            case float():
                return value if math.isfinite(value) else None
            case str():
                return self._text(str(value))
            case bytes():
                return self._text(value.decode("utf-8", "replace"))
            case Mapping() if depth < _DEEPEST:
                return {self._text(str(key)): self.plain(held, depth + 1) for key, held in value.items()}
            case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
                return [self.plain(held, depth + 1) for held in value]
            case _:
                return self._text(str(value))

    def _text(self, text: str) -> str:
        return _SURROGATE.sub("\ufffd", self._secrets.mask(text))

    def _shown(self, value: object) -> object:
        if isinstance(value, Msisdn):
            # Not left to the format: "%d" would print the number.
            return value.reveal() if self._show_msisdn else str(value)
        return value


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, message, logger, all extras, and the traceback as `exception`."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__()
        self._cleaner = cleaner

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        plain = self._cleaner.plain
        extras = {plain(key): plain(value) for key, value in _extras(record).items()}
        entry: dict[object, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "event": extras.pop("event", None),
            "message": plain(self._cleaner.message(record)),
            "logger": record.name,
        }
        if lines := self._cleaner.trace(record):
            entry["exception"] = plain("\n".join(lines))
        # What the caller adds must not pose as what the log itself says.
        entry |= {f"{key}_" if key in entry else key: value for key, value in extras.items()}
        encoded = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded)


class TextFormatter(logging.Formatter):
    """Time, level, message and the event's name; tracebacks indented below."""

    def __init__(self, cleaner: Cleaner, *, colours: bool) -> None:
        super().__init__()
        self._cleaner = cleaner
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        level = f"{record.levelname:<8}"
        if self._colours and (colour := _COLOURS.get(record.levelname)):
            level = f"\x1b[{colour}m{level}\x1b[0m"
        head = f"{_time(record.created)} {level} {escape(self._cleaner.message(record))}{_suffix(record)}"
        return "\n".join((head, *(f"    {escape(line)}" for line in self._cleaner.trace(record))))


class JournalFormatter(logging.Formatter):
    """For journald, which has its own time: the priority before each line, then the message."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__()
        self._cleaner = cleaner

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        prefix = f"<{priority(record.levelno)}>"
        head = f"{prefix}{escape(self._cleaner.message(record))}{_suffix(record)}"
        return "\n".join((head, *(f"{prefix}    {escape(line)}" for line in self._cleaner.trace(record))))


def priority(level: int) -> int:
    """The priority of syslog and journald (2 critical to 7 debug) for a level of `logging`."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def escape(text: str) -> str:
    """The text on one line, with nothing in it that acts on a terminal or reverses what a person reads."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _formatter(wanted: Format, stream: TextIO, cleaner: Cleaner) -> logging.Formatter:
    if wanted == "json":
        return JsonFormatter(cleaner)
    if wanted == "journal" or (wanted == "auto" and to_journal(stream)):
        return JournalFormatter(cleaner)
    colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return TextFormatter(cleaner, colours=colours)


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _OWN}


def _suffix(record: logging.LogRecord) -> str:
    event = record.__dict__.get("event")
    return f" [{escape(str(event))}]" if event else ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
