"""Builds the parts of a daemon from its configuration. Used by `app` alone."""

from __future__ import annotations

import random

import msgspec

from pollerd.backoff import Policy
from pollerd.config import AccountConfig, Config
from pollerd.config.policy import make_settings
from pollerd.core.outcome import Judge
from pollerd.core.ports import AccountState
from pollerd.daemon.clock import SystemClock
from pollerd.daemon.gateway_time import Witness
from pollerd.gateway import GatewayClient
from pollerd.gateway.gatewayapi.interface import GatewayApi
from pollerd.gateway.limits import AccountLimiter
from pollerd.polling.committer import Committer
from pollerd.polling.control_check import answered_note
from pollerd.polling.poller import Poller
from pollerd.polling.ranking import PolicyRanker
from pollerd.polling.window import Window
from pollerd.status.metrics import Meter
from pollerd.status.statistics import Statistics
from pollerd.store.sqlite.lock import Ownership
from pollerd.store.sqlite.store import SqliteStore


class Lane(msgspec.Struct, frozen=True):
    """All that belongs to one account."""

    gateway: GatewayClient
    limiter: AccountLimiter
    poller: Poller


class Core(msgspec.Struct, frozen=True):
    """What all accounts share."""

    lock: Ownership
    clock: SystemClock
    witness: Witness
    store: SqliteStore
    committer: Committer
    policy: Policy
    meter: Meter
    statistics: Statistics


async def make_lane(account: AccountConfig, known: AccountState | None, config: Config, core: Core) -> Lane:
    """One account's client, limits and loop; `known` is what the store remembers of it."""
    answered = await core.store.note(answered_note(account.name))
    limiter = AccountLimiter(account.name, account.limits, core.clock, random.Random(), known)
    dates = core.witness.gateway(account.base_url)
    gateway = GatewayClient(
        account,
        GatewayApi(account),
        core.clock,
        random.Random(),
        limiter=limiter,
        time=dates,
        show_msisdn=config.log.show_msisdn,
    )
    poller = Poller(
        account.name,
        gateway=gateway,
        limiter=limiter,
        verdicts=Judge(core.policy, make_settings(config), random.Random(), core.clock, account.overdue_after),
        window=Window(account.name, PolicyRanker(core.policy)),
        store=core.store,
        committer=core.committer,
        clock=core.clock,
        connections=account.limits.max_connections,
        renewal=account.renewal,
        meter=core.meter.account(account.name),
        answered=answered,
    )
    return Lane(gateway, limiter, poller)
