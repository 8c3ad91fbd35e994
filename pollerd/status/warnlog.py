"""The last warnings and errors of the log, for the status document."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from pollerd.base.logs import Cleaner
from pollerd.core.event import instant
from pollerd.status.document import LogDocument

KEPT: Final = 20
"""Records kept: more than a terminal or a page shows."""
_LONGEST_MESSAGE: Final = 1000
"""Characters of a message that are kept."""


class WarnLog(logging.Handler):
    """Keeps the last records from warning level on, as cleaned text; counts all of them by level."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__(logging.WARNING)
        self.cleaner = cleaner
        self._kept: deque[LogDocument] = deque(maxlen=KEPT)
        self.counts: Counter[str] = Counter({"warning": 0, "error": 0})

    @property
    def last(self) -> tuple[LogDocument, ...]:
        """The newest last."""
        return tuple(self._kept)

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Hear the whole process's log inside the block."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield self
        finally:
            root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        level = "warning" if record.levelno < logging.ERROR else "error"
        self.counts[level] += 1
        event = record.__dict__.get("event")
        self._kept.append(
            LogDocument(
                at=instant(record.created),
                level=level,
                event=None if event is None else str(event),
                message=self.cleaner.message(record)[:_LONGEST_MESSAGE],
            )
        )
