"""SQL lives in `.sql` files beside the code, one named statement after another."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    """The same, with the columns of a message in place of `{columns}`."""
    columns = ", ".join(rows.COLUMNS)
    return MappingProxyType({key: sql.format(columns=columns) for key, sql in statements(name).items()})
