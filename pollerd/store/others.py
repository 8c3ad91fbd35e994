"""An id is polled for one account only: handed over for a second one it is refused, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from pollerd.store.statements import statements

FIND: Final = statements("track")["of_others"]
"""Takes what `asked` makes; gives rows for `ports.OtherAccount`."""


def asked(handed_over: Iterable[tuple[int, str]]) -> str:
    """Ids, each with the account that it is handed over for, as `FIND` takes them."""
    return msgspec.json.encode(list(handed_over)).decode()
