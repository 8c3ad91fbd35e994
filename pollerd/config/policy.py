"""The backoff that a configuration asks for. Apart from `wiring`, so that commands that only explain it start fast."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from pollerd.backoff import Adaptive, Exponential, Policy, Settings
from pollerd.config import Config
from pollerd.config.tables import BackoffConfig

log = logging.getLogger(__name__)

MODEL: Final = "model"
"""The name under which the store keeps what the backoff learned."""
IDLE_SHARE: Final = 0.01
"""Share of the configured requests a second that messages may use where few come: one in a hundred leaves the gateway
all but idle."""

MAILING_PATIENCE: Final = 6.0
"""What is left of a message with many recipients may wait so many times the default of `max_interval`: of a thousand
phones a few are off for days, and one poll an hour costs more than all others do. Another value holds for all."""


def make_settings(config: Config) -> Settings:
    """The bounds of the backoff, which serves all accounts."""
    wanted = msgspec.structs.asdict(config.backoff)
    # It chooses who is given the settings, and is none of them.
    del wanted["policy"]
    rate = sum(account.limits.requests_per_second for account in config.accounts.values())
    patience = MAILING_PATIENCE if config.backoff.max_interval == BackoffConfig().max_interval else 1.0
    return Settings(**wanted, idle_polls_per_second=IDLE_SHARE * rate, patience=patience)


class Learner:
    """What a policy has learned, as the store keeps it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def forget(self, network: str | None) -> None:
        """Forget one network, or all (None)."""
        if self._policy.forget(network):
            log.info(
                "the backoff has forgotten what it learned about %s",
                network or "all networks",
                extra={"event": "learning_forgotten"},
            )

    def note(self) -> tuple[str, bytes]:
        """What is known now, and the name under which the store keeps it."""
        return MODEL, self._policy.snapshot()


def make_policy(config: Config, seed: int, learned: bytes | None = None) -> Policy:
    """The backoff that the configuration asks for; `learned` is the note MODEL of an earlier run."""
    settings = make_settings(config)
    policy: Policy
    if config.backoff.policy == "exponential":
        policy = Exponential(settings, seed)
    else:
        policy = Adaptive(settings.polls_per_message, seed, settings=settings)
    if learned is not None:
        policy.restore(learned)
    return policy
