"""The gateway's 40 connections, which everybody at this address shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pollerd.config import Config
from pollerd.config.accounts import GATEWAY_CONNECTIONS, connections_by_address
from pollerd.deployment.doctor.check import Check, ok, warning

NAME: Final = "connections"


def checks(config: Config) -> Iterator[Check]:
    """One finding for each gateway host and source address: what all accounts together may open there."""
    for (host, source), accounts in connections_by_address(config.accounts.values()).items():
        total = sum(accounts.values())
        parts = ", ".join(f"account {name}: {most}" for name, most in accounts.items())
        here = source or "this address"
        facts = f"up to {total} of the {GATEWAY_CONNECTIONS} connections that {host} allows {here} ({parts})"
        if total > GATEWAY_CONNECTIONS:
            yield warning(NAME, facts, "lower max_connections in [limits] or in [accounts.NAME.limits]")
        elif total == GATEWAY_CONNECTIONS:
            yield warning(NAME, facts, "leave some to whatever else sends from here: lower max_connections in [limits]")
        else:
            yield ok(NAME, facts)
