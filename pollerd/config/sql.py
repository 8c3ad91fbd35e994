"""SQL of the configuration: what can be said of a statement without the database it is for."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from pollerd import event
from pollerd.config.kinds import statement
from pollerd.config.reader import Wrong

_COMMENT: Final = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
_COMMENTS: Final = re.compile(_COMMENT, re.DOTALL)
_PARAMETER: Final = re.compile(
    rf"{_COMMENT}|'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|\w[\w$]*|(?P<number>\?)|[:@$](?P<name>\w+)", re.DOTALL
)
"""A parameter, or something whose inside is none: a comment, a text, a name. A doubled quote makes two texts of one."""
_READING: Final = ("SELECT", "WITH", "VALUES")


def query(value: object) -> str:
    """One statement that reads."""
    found = _single(value)
    first = re.match(r"\w*", _COMMENTS.sub(" ", found).lstrip())
    if first is None or first[0].upper() not in _READING:
        raise Wrong("must be a SELECT (or begin with WITH): the database is only read")
    return found


def event_statement(value: object) -> str:
    """One statement whose parameters are fields of events."""
    found = _single(value)
    fields = event.field_names()
    for match in _PARAMETER.finditer(found):
        if match["number"]:
            raise Wrong("must have named parameters only (:id, :status ...), not ?")
        if match["name"] and match["name"] not in fields:
            raise Wrong(f"names :{match['name']}, which no event has; fields are {', '.join(sorted(fields))}")
    return found


def _single(value: object) -> str:
    found = statement(value)
    ends = (
        place + 1 for place, sign in enumerate(found) if sign == ";" and sqlite3.complete_statement(found[: place + 1])
    )
    if (end := next(ends, None)) is not None and _COMMENTS.sub(" ", found[end:]).strip():
        raise Wrong("must be a single statement; something follows its semicolon")
    return found
