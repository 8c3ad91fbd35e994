"""An id is polled for one account only: handed over for a second one it is refused, by name."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


def asked(handed_over: Iterable[tuple[int, str]]) -> str:
    """Ids, each with the account that it is handed over for, as the statement `of_others` takes them."""
    return msgspec.json.encode(list(handed_over)).decode()
