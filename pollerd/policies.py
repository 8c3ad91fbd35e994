"""The backoff that a configuration asks for. Apart from `wiring`, so that commands that only explain it start fast."""

from __future__ import annotations

from typing import Final

from pollerd.backoff import Adaptive, Exponential, Policy, Settings
from pollerd.config import Config

MODEL: Final = "model"
"""The name under which the store keeps what the backoff learned."""


def make_settings(config: Config) -> Settings:
    """The bounds of the backoff."""
    wanted = config.backoff
    return Settings(
        min_interval=wanted.min_interval,
        max_interval=wanted.max_interval,
        first_poll_after=wanted.first_poll_after,
        factor=wanted.factor,
        polls_per_message=wanted.polls_per_message,
        not_found_grace=wanted.not_found_grace,
        give_up_after=wanted.give_up_after,
    )


def make_policy(config: Config, seed: int) -> Policy:
    """The backoff that the configuration asks for."""
    settings = make_settings(config)
    if config.backoff.policy == "exponential":
        return Exponential(settings, seed)
    return Adaptive(settings.polls_per_message, seed, settings=settings)
