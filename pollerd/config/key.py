"""How a configuration key is declared: once, on the field of the struct that holds its value.

The reader, `config show`, the example, the manual page and docs/configuration.md are made from these declarations. A
struct is a table of the file, and its docstring the text about that table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec

from pollerd.config.kinds import PATH, VARIABLE, Kind, Wrong
from pollerd.config.secret import Secret, SecretKind


class Key(msgspec.Struct, frozen=True):
    """One key. Its name and its default are those of the field.

    ``sentence`` says what it is for. ``example`` is shown where the field has no default to show, and ``unset`` says
    what holds then; with neither default nor ``unset`` the key must be given. ``secret`` values are never repeated.
    """

    kind: Kind[Any]
    sentence: str
    example: object = None
    unset: str = ""
    secret: bool = False


class SecretKeys(msgspec.Struct, frozen=True):
    """The three keys that say where a secret is: ``name_file``, ``name_env``, and ``name`` with the secret itself.

    ``file`` and ``variable`` are examples.
    """

    name: str
    kind: SecretKind
    sentence: str
    file: str
    variable: str

    @property
    def names(self) -> tuple[str, str, str]:
        """The keys, the secret itself first."""
        return self.name, f"{self.name}_file", f"{self.name}_env"

    def keys(self) -> dict[str, Key]:
        """All three, the best place first."""
        inline, file, variable = self.names
        itself = "Or the secret itself: other users must not be able to read this file then."
        return {
            file: Key(PATH, self.sentence, self.file),
            variable: Key(VARIABLE, "The environment variable that holds it instead.", self.variable, secret=True),
            inline: Key(Kind("text", self._inline), itself, "...", secret=True),
        }

    def _inline(self, value: object) -> Secret:
        if not isinstance(value, str):
            raise Wrong("must be a text in quotes")
        fault = self.kind.fault(value, literal=True)
        if fault is not None:
            raise Wrong(fault)
        return Secret(value)


class Variants(msgspec.Struct, frozen=True):
    """A key whose word chooses the struct, the keys of which stand in the same table."""

    key: Key
    default: str
    structs: Mapping[str, type[msgspec.Struct]]


class SameTable(msgspec.Struct, frozen=True):
    """The keys of the field's struct stand in the table of the struct around it."""


class Heading(msgspec.Struct, frozen=True):
    """A heading of the example and the documentation: the field's table is the first below it."""

    title: str


Marker = Key | SecretKeys | Variants | SameTable | Heading


class Declaration(NamedTuple):
    """A field of a table's struct: a key, several keys, or a table below it (``struct``).

    ``default`` is msgspec.NODEFAULT where there is none. ``many``: an array of tables; ``named``: a table for each name
    that the user chooses.
    """

    name: str
    marker: Marker | None
    default: object
    struct: type[msgspec.Struct] | None
    many: bool
    named: bool

    @property
    def required(self) -> bool:
        """Whether the key must be given."""
        return self.default is msgspec.NODEFAULT and isinstance(self.marker, Key) and not self.marker.unset


@cache
def fields(struct: type[msgspec.Struct]) -> tuple[Declaration, ...]:
    """The keys and tables that a struct declares, in their order; other fields of it are left out."""
    found = map(_field, msgspec.structs.fields(struct))
    return tuple(field for field in found if field.marker is not None or field.struct is not None)


def _field(info: msgspec.structs.FieldInfo) -> Declaration:
    hint, marker = info.type, None
    if get_origin(hint) is Annotated:
        hint, marker = get_args(hint)
    struct = None
    if marker is None or isinstance(marker, SameTable | Heading):
        structs = (each for each in (hint, *get_args(hint)) if isinstance(each, type))
        struct = next((each for each in structs if issubclass(each, msgspec.Struct)), None)
    origin = get_origin(hint)
    return Declaration(info.name, marker, info.default, struct, origin is tuple, origin is Mapping)


def values(struct: msgspec.Struct, path: str = "") -> Iterator[tuple[str, Key | SecretKeys, Any]]:
    """Every key of a table and of those below it: its path, its declaration, its value."""
    for field in fields(type(struct)):
        value, below = getattr(struct, field.name), f"{path}.{field.name}" if path else field.name
        if isinstance(field.marker, Key | SecretKeys):
            yield below, field.marker, value
        elif isinstance(field.marker, Variants | SameTable):
            yield from values(value, path)
        elif isinstance(value, Mapping):
            for name, each in value.items():
                yield from values(each, f"{below}.{name}")
        elif isinstance(value, tuple):
            for number, each in enumerate(value):
                yield from values(each, f"{below}[{number}]")
        elif value is not None:
            yield from values(value, below)


def key_names(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """The keys of a struct that has no tables below it."""
    names: list[str] = []
    for field in fields(struct):
        names += field.marker.names if isinstance(field.marker, SecretKeys) else [field.name]
    return tuple(names)
