"""Reading a TOML document key by key, collecting what is wrong instead of stopping at it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import TypeVar, overload

import msgspec

from pollerd.config.lines import LineIndex
from pollerd.config.problem import MASK, Problem, show

T = TypeVar("T")
D = TypeVar("D")

Kind = Callable[[object], T]
"""Turns a TOML value into what the key means, or raises :class:`Wrong`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Wrong(Exception):  # noqa: N818 - said of a value, and never leaves the reader
    """A value is not what its key needs; the text says what would be right."""

    def __init__(self, expected: str, *, near: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.near = near


def join_key(*parts: str) -> str:
    """A key path as TOML writes it; parts that are not bare keys are quoted, empty ones left away."""
    return ".".join(part for part in parts if part)


def key_part(name: str) -> str:
    """One part of a key path: as it is when TOML allows that, otherwise quoted on one line."""
    return name if _BARE_KEY.fullmatch(name) else show(name)


class Diagnostics(msgspec.Struct):
    """Everything found while one document is read."""

    file: str
    lines: LineIndex = msgspec.field(default_factory=lambda: LineIndex(""))
    problems: list[Problem] = msgspec.field(default_factory=list)
    warnings: list[str] = msgspec.field(default_factory=list)
    known: dict[str, set[str]] = msgspec.field(default_factory=dict)
    _unknown: list[tuple[TomlTable, str]] = msgspec.field(default_factory=list)

    def add(self, key: str, value: str | None, expected: str, near: str | None = None) -> None:
        self.problems.append(Problem(self.file, key, value, expected, near, self.lines.of(key)))

    def extend(self, problems: tuple[Problem, ...]) -> None:
        for found in problems:
            self.add(found.key, found.value, found.expected, found.near)

    def leave_unknown(self, table: TomlTable, name: str) -> None:
        self._unknown.append((table, name))

    def finish(self) -> tuple[Problem, ...]:
        """All problems in the order of the file. Unknown keys are judged here, when all tables are known."""
        for table, name in self._unknown:
            # The value stays away: behind a misspelt key may stand a secret.
            self.add(join_key(table.key, key_part(name)), None, "is not a key here", self._near(table, name))
        self._unknown.clear()
        unique = dict.fromkeys(self.problems)
        return tuple(sorted(unique, key=lambda problem: problem.line or 1_000_000))

    def _near(self, table: TomlTable, name: str) -> str | None:
        close = difflib.get_close_matches(name.lower(), sorted(table.known), n=1, cutoff=0.7)
        if close:
            return close[0]
        elsewhere = [where for where, names in self.known.items() if name in names and where != table.key]
        inside = [where for where in elsewhere if where.startswith(f"{table.key}.")] or elsewhere
        if not inside:
            return None
        return f"[{inside[0]}] {name}" if inside[0] else f"{name} outside of any table"


class TomlTable:
    """One TOML table. Every key that is asked for is known; :meth:`close` refuses the others."""

    def __init__(self, diagnostics: Diagnostics, key: str, data: Mapping[str, object]) -> None:
        self.diagnostics = diagnostics
        self.key = key
        self.known: set[str] = diagnostics.known.setdefault(key, set())
        self._data = data
        self._failed: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self.known.add(name)
        return name in self._data

    def path(self, name: str) -> str:
        return join_key(self.key, key_part(name))

    @overload
    def take(self, name: str, kind: Kind[T], default: D, *, secret: bool = ...) -> T | D: ...
    @overload
    def take(self, name: str, kind: Kind[T], *, secret: bool = ...) -> T | None: ...
    def take(self, name: str, kind: Kind[T], default: D | None = None, *, secret: bool = False) -> T | D | None:
        """The key's value, or the default when it is absent or wrong (then with a problem)."""
        if name not in self:
            return default
        value = self._data[name]
        try:
            return kind(value)
        except Wrong as wrong:
            self.refuse(name, wrong.expected, near=wrong.near, secret=secret)
            return default

    def require(self, name: str, kind: Kind[T]) -> T | None:
        """As :meth:`take`, but an absent key is a problem."""
        if name not in self:
            self.refuse(name, "is missing; it must be given")
        return self.take(name, kind)

    def refuse(self, name: str, expected: str, *, near: str | None = None, secret: bool = False) -> None:
        """Note a problem with the key, with its value unless it is a secret."""
        self._failed.add(name)
        value = None
        if name in self._data:
            value = MASK if secret else show(self._data[name])
        self.diagnostics.add(self.path(name), value, expected, near)

    def sound(self, *names: str) -> bool:
        """Whether none of the keys was refused: only then is it worth comparing them."""
        return self._failed.isdisjoint(names)

    def subtable(self, name: str) -> TomlTable | None:
        """The table under this key; None when it is absent or not a table (then with a problem)."""
        if name not in self:
            return None
        value = self._data[name]
        if not isinstance(value, dict):
            # Not shown: a secret may have been written one level too high.
            self._failed.add(name)
            self.diagnostics.add(self.path(name), None, f"must be a table: [{self.path(name)}]")
            return None
        return TomlTable(self.diagnostics, self.path(name), value)

    def section(self, name: str) -> TomlTable:
        """The table under this key, empty when there is none: for sections made of defaults."""
        return self.subtable(name) or TomlTable(self.diagnostics, self.path(name), {})

    def subtables(self, name: str) -> tuple[TomlTable, ...]:
        """The tables of an array of tables; none when the key is absent or something else."""
        if name not in self:
            return ()
        value = self._data[name]
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self._failed.add(name)
            self.diagnostics.add(self.path(name), None, f"must be an array of tables: [[{self.path(name)}]]")
            return ()
        return tuple(TomlTable(self.diagnostics, f"{self.path(name)}[{i}]", each) for i, each in enumerate(value))

    def names(self) -> tuple[str, ...]:
        """The keys that are really there, for tables whose keys are names the user chose."""
        return tuple(self._data)

    def close(self) -> None:
        """Refuse every key that nobody asked for."""
        for name in self._data:
            if name not in self.known:
                self.diagnostics.leave_unknown(self, name)
