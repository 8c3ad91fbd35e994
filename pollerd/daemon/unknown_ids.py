"""Says once when many ids are unknown to an account: they wait for weeks, which would go unnoticed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from pollerd.core.ports import Store
from pollerd.status import sentences

log = logging.getLogger(__name__)

_AGAIN: Final = sentences.MANY_UNKNOWN // 2
"""Below this number the next crossing is logged again."""


class UnknownWatch:
    """Checks each account's count when called."""

    def __init__(self, store: Store, accounts: Iterable[str]) -> None:
        self._store = store
        self._accounts = tuple(accounts)
        self._reported: set[str] = set()

    async def __call__(self) -> None:
        """Check once. Raises as `Store.unknown`."""
        for name in self._accounts:
            number = await self._store.unknown(name, sentences.CAP)
            if number >= sentences.MANY_UNKNOWN and name not in self._reported:
                self._reported.add(name)
                log.warning(
                    "account %s: %s; %s",
                    name,
                    sentences.unknown(number).text,
                    sentences.UNKNOWN_ADVICE,
                    extra={"event": "ids_unknown", "account": name, "count": number},
                )
            elif number < _AGAIN:
                self._reported.discard(name)
