"""SQL lives in `.sql` files beside the code, one named statement after another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pollerd.store import rows

_NAME: Final = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


@cache
def statements(name: str) -> Mapping[str, str]:
    """The statements of `name`.sql by the name in the line `-- name: NAME` above each."""
    text = (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return MappingProxyType({key: sql.strip() for key, sql in zip(parts[::2], parts[1::2], strict=True)})


@cache
def message_statements(name: str) -> Mapping[str, str]:
    """The same, with the columns of a message in place of `{columns}`. In place of `{whole}` all but the id are set, in
    place of `{scheduled}` those that a poll without a change writes.
    """
    columns, whole, scheduled = ", ".join(rows.COLUMNS), _set(rows.COLUMNS[1:]), _set(rows.SCHEDULED)
    made = {key: sql.format(columns=columns, whole=whole, scheduled=scheduled) for key, sql in statements(name).items()}
    return MappingProxyType(made)


def _set(columns: Iterable[str]) -> str:
    return ", ".join(f"{column} = ?" for column in columns)
