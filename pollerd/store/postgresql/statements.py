"""The statements as PostgreSQL takes them."""

from __future__ import annotations

import re
from itertools import count
from typing import Final

from pollerd.store.statements import Statements

_PARAMETER: Final = re.compile(r"'[^']*'|--[^\n]*|\?(\d*)")


def numbered(sql: str) -> str:
    """`?` and `?1` become `$1`."""
    numbers = count(1)

    def place(found: re.Match[str]) -> str:
        if not found[0].startswith("?"):
            return found[0]
        return f"${found[1] or next(numbers)}"

    return _PARAMETER.sub(place, sql)


POSTGRESQL: Final = Statements("postgresql", numbered)
