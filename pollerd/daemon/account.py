"""All that belongs to one account of the running daemon."""

from __future__ import annotations

import msgspec

from pollerd.core.ports import Gateway, Limiter
from pollerd.polling.poller import Poller


class Account(msgspec.Struct, frozen=True):
    """One account: whom to ask, at whose pace, and the loop that does."""

    gateway: Gateway
    limiter: Limiter
    poller: Poller

    def reload_credentials(self) -> None:
        """Read the secret again; one that was replaced is tried at once."""
        if self.gateway.reload_credentials():
            self.limiter.credentials_changed()
