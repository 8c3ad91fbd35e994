"""The gateway's 40 connections, which everybody at this address shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from pollerd.config import Config
from pollerd.config.accounts import GATEWAY_CONNECTIONS
from pollerd.deployment.doctor.check import Check, ok, warning

NAME: Final = "connections"


def checks(config: Config) -> Iterator[Check]:
    """One finding for each gateway host: what all accounts together may open there."""
    by_host: dict[str, dict[str, int]] = {}
    for account in config.accounts.values():
        host = urlsplit(account.base_url).hostname or ""
        by_host.setdefault(host, {})[account.name] = account.limits.max_connections
    for host, accounts in by_host.items():
        total = sum(accounts.values())
        parts = ", ".join(f"account {name}: {most}" for name, most in accounts.items())
        facts = f"up to {total} of the {GATEWAY_CONNECTIONS} connections that {host} allows this address ({parts})"
        if total > GATEWAY_CONNECTIONS:
            yield warning(NAME, facts, "lower max_connections in [limits] or in [accounts.NAME.limits]")
        elif total == GATEWAY_CONNECTIONS:
            yield warning(NAME, facts, "leave some to whatever else sends from here: lower max_connections in [limits]")
        else:
            yield ok(NAME, facts)
