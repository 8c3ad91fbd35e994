"""All that belongs to one account of the running daemon."""

from __future__ import annotations

import msgspec

from pollerd.backoff import Settings
from pollerd.config import AccountConfig
from pollerd.core.outcome import OutcomeRules
from pollerd.gateway.client import GatewayClient
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.polling.incoming import IncomingWatch
from pollerd.polling.poller import Poller


class RunningAccount(msgspec.Struct, frozen=True):
    """One account: whom to ask, at whose pace, the loop that does, and what an answer means."""

    gateway: GatewayClient
    limiter: AccountLimiter
    poller: Poller
    rules: OutcomeRules
    incoming: IncomingWatch | None = None

    def reload_credentials(self) -> None:
        """Read the secret again; one that was replaced is tried at once."""
        if self.gateway.reload_credentials():
            self.limiter.credentials_changed()
            if self.incoming is not None:
                self.incoming.retry()

    def reconfigure(self, account: AccountConfig, settings: Settings, *, show_msisdn: bool) -> None:
        """Other limits, bounds and source addresses, from now on."""
        self.rules.reconfigure(settings, account.overdue_after)
        self.limiter.reconfigure(account.limits)
        self.gateway.reconfigure(account, show_msisdn=show_msisdn)
