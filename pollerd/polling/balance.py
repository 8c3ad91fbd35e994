"""Watches an account's balance: crossing the threshold either way is an event, once."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from pollerd.base.errors import UnavailableError
from pollerd.core import event as events
from pollerd.core.event import Body
from pollerd.core.ports import AccountState, Balance, Clock, CreditState, Gateway, Limiter
from pollerd.polling.committer import Committer

log = logging.getLogger(__name__)

MARGIN: Final = 0.05
"""Share of the threshold: the warning ends when the balance is so far above it, so that it does not toggle."""
LONGEST_WAIT: Final = 30.0
"""Seconds to wait for the account's pace to let a request through; after that it is left for the next time."""


def is_low(credit: float, warn_below: float, *, was_low: bool) -> bool:
    """Whether a balance counts as low. Once low, it must be `MARGIN` above the threshold to be well again."""
    if was_low:
        return credit < warn_below + MARGIN * abs(warn_below)
    return credit < warn_below


class BalanceWatch:
    """One account's balance against `warn_below`; `known` is what the store remembers of the account."""

    def __init__(
        self,
        account: str,
        warn_below: float,
        *,
        gateway: Gateway,
        limiter: Limiter,
        committer: Committer,
        clock: Clock,
        known: AccountState | None,
    ) -> None:
        self._account = account
        self._warn_below = warn_below
        self._gateway = gateway
        self._limiter = limiter
        self._committer = committer
        self._clock = clock
        self._low = known is not None and known.credit_low

    async def check(self) -> None:
        """Read the balance once, at the account's pace; not while polling of the account is paused.

        Raises UnavailableError when the gateway does not give it.
        """
        if not await self._wait_turn():
            return
        # It takes part in the pace, but what it meets holds no account: the polls decide that.
        self._limiter.take()
        try:
            balance = await self._gateway.balance()
        finally:
            self._limiter.abandon()
        if not isinstance(balance, Balance):
            raise UnavailableError(f"the balance of account {self._account} cannot be read: {balance.detail}")
        self._record(balance)

    async def _wait_turn(self) -> bool:
        """Wait for the account's pace; False when it is held, or lets no request through for too long."""
        until = self._clock.monotonic() + LONGEST_WAIT
        while self._limiter.held is None and self._clock.monotonic() < until:
            wait = self._limiter.delay()
            if wait <= 0:
                return True
            await asyncio.sleep(min(wait, 1.0))
        return False

    def _record(self, balance: Balance) -> None:
        now = self._clock.now()
        low = is_low(balance.credit, self._warn_below, was_low=self._low)
        bodies = [] if low is self._low else [self._body(balance, events.instant(self._clock.to_wall(now)), low=low)]
        self._low = low
        state = CreditState(self._account, balance.credit, balance.currency, low, now)
        self._committer.record_credit(state, bodies)
        if bodies:
            log.log(
                logging.WARNING if low else logging.INFO,
                "account %s: the balance is %.2f %s, %s",
                self._account,
                balance.credit,
                balance.currency,
                f"below {self._warn_below:g}" if low else "high enough again",
                extra={"event": "credit_low" if low else "credit_ok", "account": self._account},
            )

    def _body(self, balance: Balance, observed_at: str, *, low: bool) -> Body:
        kind = events.CreditLow if low else events.CreditOk
        return kind(account=self._account, credit=balance.credit, currency=balance.currency, observed_at=observed_at)
