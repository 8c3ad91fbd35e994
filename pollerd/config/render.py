"""The configuration in force as TOML."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import tomli_w

from pollerd.config.key import Key, SameTable, SecretKeys, Variants, fields
from pollerd.config.problem import MASK
from pollerd.config.secret import EnvSecret, FileSecret, InlineSecret, SecretSource
from pollerd.config.tables import Config


def effective_toml(config: Config) -> str:
    """Every setting in force, as TOML that loads again. Secrets kept in files or the environment stay named
    by their place; one written in the configuration itself becomes ``***``, and so does the query of a webhook's URL.
    """
    return tomli_w.dumps(_table(config))


def _table(struct: msgspec.Struct) -> dict[str, object]:
    """The keys and tables of a struct. TOML has no null: what is not set is left away."""
    found: dict[str, object] = {}
    for field in fields(type(struct)):
        value = getattr(struct, field.name)
        match field.marker:
            case _ if value in (None, ()) and field.struct is not None:
                continue
            case Key() as key if value is not None:
                found[field.name] = key.kind.render(value)
            case SecretKeys() as keys:
                found |= _secret(keys, value)
            case Variants() as variants:
                found[field.name] = next(word for word, each in variants.structs.items() if isinstance(value, each))
                found |= _table(value)
            case SameTable():
                found |= _table(value)
            case _ if field.struct is not None and (tables := _tables(value)):
                found[field.name] = tables
    return found


def _tables(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _table(value)
    if isinstance(value, Mapping):
        return {name: _table(each) for name, each in value.items()}
    assert isinstance(value, tuple)
    return [_table(each) for each in value]


def _secret(keys: SecretKeys, source: SecretSource | None) -> dict[str, object]:
    inline, file, variable = keys.names
    if isinstance(source, FileSecret):
        return {file: str(source.path)}
    if isinstance(source, EnvSecret):
        return {variable: source.variable}
    return {inline: MASK} if isinstance(source, InlineSecret) else {}
