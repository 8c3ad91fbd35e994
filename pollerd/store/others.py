"""An id is polled for one account only: handed over for a second one it is refused, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from pollerd.store.statements import statements

FIND: Final = statements("track")["of_others"]
"""Takes what `asked` makes; gives rows for `OtherAccount`."""


class OtherAccount(NamedTuple):
    """An id that is followed for another account than it is handed over for."""

    id: int
    account: str

    @property
    def reason(self) -> str:
        """Why it is refused, to be said after the id."""
        return (
            f"is followed for the account {self.account!r}, and an id is polled for one account only; follow it for "
            "another one with a second daemon that has its own [store] path"
        )


def asked(handed_over: Iterable[tuple[int, str]]) -> str:
    """Ids, each with the account that it is handed over for, as `FIND` takes them."""
    return msgspec.json.encode(list(handed_over)).decode()
