"""All tables and keys in order, as people read them: what the example, the manual page and the documentation print."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pollerd.config.key import Declaration, Heading, Key, SameTable, SecretKeys, Variants, fields
from pollerd.config.tables import Config


class KeyEntry(NamedTuple):
    """One key. ``value`` is TOML text: the default, or an example where there is no default to show."""

    name: str
    key: Key
    value: str
    is_default: bool
    required: bool

    @property
    def meaning(self) -> str:
        """What it is for, and what holds where it is not set."""
        return f"{self.key.sentence} Not set: {self.key.unset}." if self.key.unset else self.key.sentence


class KeyBlock(NamedTuple):
    """Keys that belong together; ``condition`` and ``text``: the setting that they go with, if any, and about it."""

    condition: str
    text: str
    entries: tuple[KeyEntry, ...]


class TableSection(NamedTuple):
    """One table. ``name`` is its path, ``many``: an array of tables, ``optional``: its being there has an effect.

    ``group`` is the heading that begins with it, if any.
    """

    name: str
    many: bool
    optional: bool
    group: str
    text: str
    blocks: tuple[KeyBlock, ...]

    @property
    def header(self) -> str:
        """As it stands in TOML."""
        return f"[[{self.name}]]" if self.many else f"[{self.name}]"


def sections() -> Iterator[TableSection]:
    """Every table, those inside a table after it."""
    for field in fields(Config):
        group = field.marker.title if isinstance(field.marker, Heading) else ""
        yield from _sections(field, field.name, group)


def _sections(field: Declaration, name: str, group: str = "") -> Iterator[TableSection]:
    assert field.struct is not None
    name = f"{name}.default" if field.named else name
    optional = "." in name.removesuffix(".default") or field.default is None
    blocks = tuple(block for block in _blocks(field.struct) if block.entries)
    yield TableSection(name, field.many, optional, group, _text(field.struct), blocks)
    for inner in fields(field.struct):
        if inner.struct is not None and not isinstance(inner.marker, SameTable):
            yield from _sections(inner, f"{name}.{inner.name}")


def _blocks(struct: type[msgspec.Struct]) -> Iterator[KeyBlock]:
    entries: list[KeyEntry] = []
    for field in fields(struct):
        if isinstance(field.marker, Variants):
            choice = field.marker
            yield KeyBlock("", "", (*entries, _entry(field.name, choice.key, choice.default)))
            for word, variant in choice.structs.items():
                yield KeyBlock(f'{field.name} = "{word}"', _text(variant), tuple(_entries(variant)))
            entries = []
        else:
            entries += _entries_of(field)
    yield KeyBlock("", "", tuple(entries))


def _entries(struct: type[msgspec.Struct]) -> Iterator[KeyEntry]:
    for field in fields(struct):
        yield from _entries_of(field)


def _entries_of(field: Declaration) -> Iterator[KeyEntry]:
    match field.marker:
        case Key() as key:
            yield _entry(field.name, key, field.default, required=field.required)
        case SecretKeys() as keys:
            for name, key in keys.keys().items():
                yield _entry(name, key, None)
        case SameTable() if field.struct is not None:
            yield from _entries(field.struct)


def _entry(name: str, key: Key, default: object, *, required: bool = False) -> KeyEntry:
    unknown = default in (None, msgspec.NODEFAULT)
    value = key.example if unknown else key.kind.render(default)
    assert value is not None, f"{name} has neither a default nor an example"
    # JSON of these values is TOML too.
    return KeyEntry(name, key, json.dumps(value, ensure_ascii=False), not unknown, required)


def _text(struct: type[msgspec.Struct]) -> str:
    return " ".join(inspect.cleandoc(struct.__doc__ or "").split())
