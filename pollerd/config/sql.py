"""SQL of the configuration: what can be known of a statement without its database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from pollerd.config.kinds import Wrong, statement
from pollerd.core import event

_COMMENT: Final = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
_COMMENTS: Final = re.compile(_COMMENT, re.DOTALL)
_TOKEN: Final = re.compile(
    rf"{_COMMENT}|'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]"
    r"|::|(?P<word>\w[\w$]*)|(?P<number>\?)|(?P<sign>[:@$])(?P<name>\w+)|(?P<paren>[()])",
    re.DOTALL,
)
"""A word or a parameter, or something that is none and has none inside: a comment, a text, a name, PostgreSQL's cast. A
doubled quote makes two texts of one."""
SOURCE_ID: Final = "source_id"
"""The parameter for the id as its source gave it: no field of the event, since outputs without a source have none."""
KEYS: Final = frozenset({"id", SOURCE_ID, "msisdn", "account", "userref"})
"""Parameters that say which row is meant; all others say what to write, or guard against going back."""
_VERBS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "VALUES", "MERGE"})
_AFTER_WHERE: Final = frozenset({"RETURNING", "ORDER", "LIMIT"})
_CHANGED: Final = re.compile(
    r"\b(UPDATE|INSERT|DELETE)\s+(?:ONLY\s+|IGNORE\s+|INTO\s+|FROM\s+)*((?:[\w.]|\"[^\"]+\"|`[^`]+`)+)", re.IGNORECASE
)
"""A statement's verb and the table that it changes."""
_MERGING: Final = frozenset({"CONFLICT", "DUPLICATE"})
_READING: Final = ("SELECT", "WITH", "VALUES")
AFTER: Final = "after"
"""The parameter of a query for the last key that was read: it gives the rows behind it."""
LIMIT: Final = "limit"
"""The parameter of a query for how many rows it gives at most."""


def query(value: object) -> str:
    """One statement that reads."""
    found = _single(value)
    if first_word(found) not in _READING:
        raise Wrong("must be a SELECT (or begin with WITH): the database is only read")
    tokens = list(_TOKEN.finditer(found))
    names = _parameters(tokens, {AFTER, LIMIT}, f"a query has :{AFTER} and :{LIMIT} alone")
    if names and names != {AFTER, LIMIT}:
        raise Wrong(f"must name both :{AFTER} and :{LIMIT}, or neither of them")
    if names and not any(depth == 0 and word == "ORDER" for _, depth, word in _words(tokens)):
        raise Wrong(f"must have ORDER BY with the column that is compared with :{AFTER}")
    return found


def event_statement(value: object) -> str:
    """One statement whose parameters are fields of events."""
    found = _single(value)
    fields = parameter_names()
    _parameters(list(_TOKEN.finditer(found)), fields, f"which no event has; fields are {', '.join(sorted(fields))}")
    return found


def colon_statement(value: object) -> str:
    """The same with the only form of a parameter that every database has here."""
    found = event_statement(value)
    for token in _TOKEN.finditer(found):
        if token["name"] and token["sign"] != ":":
            raise Wrong(f"must have its parameters as :name, not {token['sign']}{token['name']}")
    return found


def colon_query(value: object) -> str:
    """A query with the only form of a parameter that every database has here."""
    found = query(value)
    if any(token["name"] and token["sign"] != ":" for token in _TOKEN.finditer(found)):
        raise Wrong(f"must name its parameters :{AFTER} and :{LIMIT}")
    return found


def first_word(statement: str) -> str:
    """What it begins with, in capitals; empty when that is no word."""
    found = re.match(r"\w*", _COMMENTS.sub(" ", statement).lstrip())
    return "" if found is None else found[0].upper()


def rights_of(statement: str) -> tuple[str, tuple[str, ...]]:
    """The table that a statement changes, and the rights to it that this takes; empty where that is not known."""
    found = _CHANGED.search(_COMMENTS.sub(" ", statement))
    if found is None:
        return "", ()
    verb = found[1].upper()
    merges = any(token["word"] and token["word"].upper() in _MERGING for token in _TOKEN.finditer(statement))
    return found[2], {"INSERT": ("INSERT", "SELECT", "UPDATE") if merges else ("INSERT",)}.get(verb, ("SELECT", verb))


def paged(statement: str) -> bool:
    """Whether a query itself says which rows are read next, by `:after` and `:limit`."""
    return any(token["name"] == AFTER for token in _TOKEN.finditer(statement))


def bounded(statement: str) -> bool:
    """Whether a query gives only some of its rows, always the same ones: it has a bound and no page of its own."""
    tokens = list(_TOKEN.finditer(statement))
    words = {word for _, depth, word in _words(tokens) if depth == 0}
    return not paged(statement) and not words.isdisjoint({"LIMIT", "FETCH", "TOP"})


def without_end(statement: str) -> str:
    """The statement without its semicolon, to be put into another one: a comment may end it, so a line ends there."""
    end = max((place for place, sign in _code(statement) if not sign.isspace()), default=-1)
    return f"{statement[:end]}{statement[end + 1 :]}\n" if statement[end : end + 1] == ";" else f"{statement}\n"


def for_sqlalchemy(statement: str) -> str:
    """The statement as SQLAlchemy's `text` wants it, which takes every :name for a parameter, in quotes too, but none
    before a cast (`:id::bigint`).
    """
    return _TOKEN.sub(
        lambda token: token[0].replace(":", "\\:") if token[0][0] in "'\"`-/" or token[0] == "::" else token[0],
        statement,
    )


def _code(statement: str) -> Iterator[tuple[int, str]]:
    """Every character outside of comments, with its place."""
    comments = {place for found in _TOKEN.finditer(statement) if found[0][0] in "-/" for place in range(*found.span())}
    return ((place, sign) for place, sign in enumerate(statement) if place not in comments)


def _parameters(tokens: Sequence[re.Match[str]], known: Collection[str], otherwise: str) -> set[str]:
    """The parameters of a statement. Raises Wrong for one that is not known."""
    if any(token["number"] for token in tokens):
        raise Wrong("must have named parameters only (:id, :status ...), not ?")
    names = {token["name"] for token in tokens if token["name"]}
    for name in sorted(names - set(known)):
        raise Wrong(f"names :{name}, {otherwise}")
    return names


def parameter_names() -> frozenset[str]:
    """What a statement may name: every field that an event of any type may have, and `source_id`."""
    return event.field_names() | {SOURCE_ID}


class Statement(NamedTuple):
    """What is known of a statement without its database.

    `names` are its parameters, `keys` those of them that say which row is meant. `plain`: an UPDATE of the rows with
    these keys, whatever is in them, which changes no row only when there is none.
    """

    names: frozenset[str]
    keys: frozenset[str]
    plain: bool


def analysed(statement: str) -> Statement:
    """Analyse a statement that `event_statement` took.

    An UPDATE is plain when every comparison of its WHERE, between one AND or OR and the next, names a parameter of
    `KEYS` and no other one.
    """
    tokens = [token for token in _TOKEN.finditer(statement) if token.lastgroup]
    names = frozenset(token["name"] for token in tokens if token["name"])
    verb = next((place for place, depth, word in _words(tokens) if depth == 0 and word in _VERBS), len(tokens))
    # The statement's own, else that of a SELECT in it.
    wheres = [(depth, place) for place, depth, word in _words(tokens) if place > verb and word == "WHERE"]
    where = min(wheres, default=(0, len(tokens)))[1]
    keys = KEYS & {token["name"] for token in tokens[where:] if token["name"]}
    update = [word for _, _, word in _words(tokens[verb : verb + 3])]
    # SQLite's OR IGNORE, MySQL's IGNORE; but a table may have that name.
    lenient = "IGNORE" in update[1:3] and update[2:3] != ["SET"]
    plain = update[:1] == ["UPDATE"] and not lenient
    return Statement(names, keys, plain and all(map(_of_key, _comparisons(tokens[where + 1 :]))))


def _words(tokens: Sequence[re.Match[str]]) -> Iterator[tuple[int, int, str]]:
    """Every word in capitals, with its place and how many parentheses it is in."""
    depth = 0
    for place, token in enumerate(tokens):
        if token["paren"]:
            depth += 1 if token["paren"] == "(" else -1
        elif token["word"]:
            yield place, depth, token["word"].upper()


def _comparisons(tokens: Sequence[re.Match[str]]) -> Iterator[set[str]]:
    """The parameters of each comparison of a WHERE."""
    words = {place: (depth, word) for place, depth, word in _words(tokens)}
    found: set[str] = set()
    for place, token in enumerate(tokens):
        depth, word = words.get(place, (0, ""))
        if depth == 0 and word in _AFTER_WHERE:
            break
        if word in ("AND", "OR"):
            yield found
            found = set()
        elif token["name"]:
            found.add(token["name"])
    if tokens:
        yield found


def _of_key(parameters: set[str]) -> bool:
    return bool(parameters) and parameters <= KEYS


def _single(value: object) -> str:
    found = statement(value)
    ends = (
        place + 1 for place, sign in enumerate(found) if sign == ";" and sqlite3.complete_statement(found[: place + 1])
    )
    if (end := next(ends, None)) is not None and _COMMENTS.sub(" ", found[end:]).strip():
        raise Wrong("must be a single statement; something follows its semicolon")
    return found
