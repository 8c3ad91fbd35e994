"""Reading a TOML document by its declared keys, collecting what is wrong instead of stopping at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from pollerd.config.environment import LoadContext
from pollerd.config.key import Key, SameTable, SecretKeys, fields
from pollerd.config.kinds import Wrong
from pollerd.config.lines import LineIndex
from pollerd.config.problem import MASK, Problem, show
from pollerd.config.secret import (
    AbsentSecret,
    EnvSecret,
    FileSecret,
    InlineSecret,
    Origin,
    Secret,
    SecretKind,
    SecretSource,
)

S = TypeVar("S", bound=msgspec.Struct)

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ALIKE: Final = 0.7
"""How much a near name has in common with a misspelt one, from 0 to 1, as difflib measures it: two letters in five may
differ, and "limit" still finds "limits" while "zzzz" finds nothing."""
_LAST: Final = 1 << 31
"""A line behind every line of a file, for problems that stand on none."""


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
    tables: list[TomlTable] = msgspec.field(default_factory=list)

    def add(self, key: str, value: str | None, expected: str, near: str | None = None) -> None:
        self.problems.append(Problem(self.file, key, value, expected, near, self.lines.of(key)))

    def extend(self, problems: tuple[Problem, ...]) -> None:
        for found in problems:
            self.add(found.key, found.value, found.expected, found.near)

    def finish(self) -> tuple[Problem, ...]:
        """All problems in the order of the file. Unknown keys are judged here, when all tables are known."""
        for table in self.tables:
            for name in table.unknown():
                # The value stays away: behind a misspelt key may stand a secret.
                self.add(table.path(name), None, "is not a key here", self._near(table, name))
        self.tables.clear()
        unique = dict.fromkeys(self.problems)
        return tuple(sorted(unique, key=lambda problem: problem.line or _LAST))

    def _near(self, table: TomlTable, name: str) -> str | None:
        import difflib

        close = difflib.get_close_matches(name.lower(), sorted(table.known), n=1, cutoff=_ALIKE)
        if close:
            return close[0]
        elsewhere = [where for where, names in self.known.items() if name in names and where != table.key]
        inside = [where for where in elsewhere if where.startswith(f"{table.key}.")] or elsewhere
        if not inside:
            return None
        return f"[{inside[0]}] {name}" if inside[0] else f"{name} outside of any table"


class TomlTable:
    """One TOML table. Every key that is asked for is known; the others are refused when the document is finished."""

    def __init__(self, diagnostics: Diagnostics, key: str, data: Mapping[str, object], context: LoadContext) -> None:
        self.diagnostics = diagnostics
        self.key = key
        self.known: set[str] = diagnostics.known.setdefault(key, set())
        self.context = context
        self._data = data
        self._failed: set[str] = set()
        diagnostics.tables.append(self)

    def __contains__(self, name: str) -> bool:
        self.known.add(name)
        return name in self._data

    def path(self, name: str) -> str:
        return join_key(self.key, key_part(name))

    def read(self, struct: type[S], **given: object) -> S:
        """The struct of a table that has no key which must be given. See :meth:`read_whole`."""
        found = self.read_whole(struct, **given)
        assert found is not None
        return found

    def read_whole(self, struct: type[S], **given: object) -> S | None:
        """The struct that this table holds; None when a key that must be given is missing or wrong.

        ``given``: the fields that are not read from this table, and other defaults for keys that are.
        """
        values = dict(given)
        for field in fields(struct):
            match field.marker:
                case Key() as key:
                    if field.required and field.name not in self:
                        self.refuse(field.name, "is missing; it must be given")
                    values[field.name] = self.take(field.name, key, given.get(field.name, field.default))
                case SecretKeys() as keys if field.name not in given:
                    values[field.name] = self.secret(keys)
                case SameTable() if field.name not in given and field.struct is not None:
                    values[field.name] = self.read_whole(field.struct)
        return None if msgspec.NODEFAULT in values.values() else struct(**values)

    def take(self, name: str, key: Key, default: object = None) -> Any:
        """The key's value, or the default when it is absent or wrong (then with a problem)."""
        if name not in self:
            return default
        try:
            return key.kind.read(self._data[name], self.context)
        except Wrong as wrong:
            self.refuse(name, wrong.expected, near=wrong.near, secret=key.secret)
            return default

    def refuse(self, name: str, expected: str, *, near: str | None = None, secret: bool = False) -> None:
        """Note a problem with the key, with its value unless it is a secret."""
        self._failed.add(name)
        value = None
        if name in self._data:
            value = MASK if secret else show(self._data[name])
        self.diagnostics.add(self.path(name), value, expected, near)

    def holds(self, name: str) -> bool:
        """Whether the key is given, and right."""
        return name in self and self.sound(name)

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
        return TomlTable(self.diagnostics, self.path(name), value, self.context)

    def section(self, name: str) -> TomlTable:
        """The table under this key, empty when there is none: for sections made of defaults."""
        return self.subtable(name) or TomlTable(self.diagnostics, self.path(name), {}, self.context)

    def subtables(self, name: str) -> tuple[TomlTable, ...]:
        """The tables of an array of tables; none when the key is absent or something else."""
        if name not in self:
            return ()
        value = self._data[name]
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self._failed.add(name)
            self.diagnostics.add(self.path(name), None, f"must be an array of tables: [[{self.path(name)}]]")
            return ()
        return tuple(
            TomlTable(self.diagnostics, f"{self.path(name)}[{i}]", each, self.context) for i, each in enumerate(value)
        )

    def names(self) -> tuple[str, ...]:
        """The keys that are really there, for tables whose keys are names the user chose."""
        return tuple(self._data)

    def unknown(self) -> tuple[str, ...]:
        """The keys that were not asked for."""
        return tuple(name for name in self._data if name not in self.known)

    def secret(self, keys: SecretKeys) -> SecretSource | None:
        """Where the secret is, by the one of its keys that is given; None when none is."""
        given = [name for name in keys.names if name in self]
        for name in given[1:]:
            self.refuse(name, f"must be left out, {given[0]} is given already; keep one of them", secret=True)
        found = {name: self.take(name, key) for name, key in keys.keys().items()}
        for name in given:
            if found[name] is not None:
                return self._source(found[name], keys.kind, Origin(self.context.file, self.path(name)))
        return self.refused_secret(given[0], keys.kind) if given else None

    def _source(self, found: Secret | Path | str, kind: SecretKind, origin: Origin) -> SecretSource:
        if isinstance(found, Secret):
            return InlineSecret(found, kind, origin)
        if isinstance(found, Path):
            credential = self.context.credential_at(found)
            return FileSecret(found, kind, origin, credential=credential, reader=self.context.reader)
        value = self.context.env.get(found)
        return EnvSecret(found, None if value is None else Secret(value), kind, origin)

    def refused_secret(self, name: str, kind: SecretKind) -> SecretSource:
        """Stands in for a secret whose key ``name`` has its problem already, so that it is not called missing too."""
        return AbsentSecret(kind, Origin(self.context.file, self.path(name)), "cannot be used as it stands")
