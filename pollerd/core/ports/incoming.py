"""Where incoming messages come from, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pollerd.core.incoming import Dates, IncomingDenied, IncomingPage
from pollerd.core.model import Trouble


class IncomingGateway(Protocol):
    """Asks the gateway for an account's incoming messages. Every failure is a value; only cancellation is raised."""

    async def incoming(self, dates: Dates, page: int) -> IncomingPage | IncomingDenied | Trouble:
        """Ask once for a page (from 1 on) of the messages that came in on these days; bounded in time and size."""
        ...


class IncomingBook(Protocol):
    """The incoming messages that were found, on disk. One that is reported is remembered in the transaction that stores
    its event, whoever commits that. Raises as `Store.commit`.
    """

    async def unknown(self, account: str, ids: Sequence[int]) -> set[int]:
        """Those of `ids` that are not remembered."""
        ...

    async def remember(self, account: str, ids: Sequence[int], now: float) -> None:
        """These were found as well, at `now`, and are not reported."""
        ...

    async def remove_texts(self, before: Mapping[str, float], others: float) -> int:
        """Remove from the database the texts that were found before an instant, by account; those of all other accounts
        before `others`. Returns how many: what is left of them on disk, `Store.scrub` removes.
        """
        ...

    async def forget(self, account: str, before: float) -> int:
        """Forget which messages were found before that instant, and whose texts are removed; returns how many."""
        ...
