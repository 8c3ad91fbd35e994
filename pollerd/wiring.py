"""Builds the parts of a daemon from its configuration. Used by `app` alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from pollerd.backoff import Adaptive, Exponential, Policy, Settings
from pollerd.census import Bounds, Census, Parts
from pollerd.clock import SystemClock
from pollerd.committer import Committer
from pollerd.config import Account, Config
from pollerd.control import (
    MODE,
    About,
    ControlRoom,
    ControlServer,
    MessageRoom,
    PortDoor,
    SocketDoor,
    WarnLog,
)
from pollerd.gateway import GatewayClient
from pollerd.intake import Intake
from pollerd.judge import Judge
from pollerd.limits import AccountLimiter
from pollerd.metrics import Meter
from pollerd.outputs.file import FileOutput
from pollerd.outputs.socket import SocketOutput
from pollerd.poller import PolicyRanker, Poller
from pollerd.ports import AccountState, Output, OutputHealth
from pollerd.progress import Progress
from pollerd.store.reading import Reading
from pollerd.store.store import Store
from pollerd.window import Window

MODEL = "model"
"""The name under which the store keeps what the backoff learned."""


@dataclass(frozen=True, slots=True)
class Lane:
    """All that belongs to one account."""

    gateway: GatewayClient
    limiter: AccountLimiter
    poller: Poller


@dataclass(frozen=True, slots=True)
class Core:
    """What all accounts share."""

    clock: SystemClock
    store: Store
    committer: Committer
    policy: Policy
    meter: Meter


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


def make_lane(account: Account, known: AccountState | None, config: Config, core: Core) -> Lane:
    """One account's client, limits and loop; `known` is what the store remembers of it."""
    gateway = GatewayClient(account, core.clock, random.Random(), show_msisdn=config.log.show_msisdn)
    limiter = AccountLimiter(account.name, account.limits, core.clock, random.Random(), known)
    poller = Poller(
        account.name,
        gateway=gateway,
        limiter=limiter,
        verdicts=Judge(core.policy, make_settings(config), random.Random()),
        window=Window(account.name, PolicyRanker(core.policy)),
        schedule=core.store,
        committer=core.committer,
        clock=core.clock,
        connections=account.limits.max_connections,
        meter=core.meter.account(account.name),
    )
    return Lane(gateway, limiter, poller)


def make_outputs(config: Config, store: Store) -> list[Output]:
    """The outputs that the configuration names."""
    outputs: list[Output] = []
    if config.outputs.file is not None:
        outputs.append(FileOutput(config.outputs.file.path, advance=store.advance_seq))
    if config.outputs.socket is not None:
        outputs.append(SocketOutput(config.outputs.socket.path, config.outputs.socket.mode))
    return outputs


def make_progress(config: Config, core: Core, pollers: Mapping[str, Poller]) -> Progress:
    """What tells whether the daemon moves."""
    longest = 2 * max(account.limits.timeout for account in config.accounts.values())
    return Progress(pollers, core.committer, core.clock, longest_request=longest)


def make_control(
    config: Config,
    core: Core,
    pollers: Mapping[str, Poller],
    intake: Intake,
    *,
    health: Callable[[], Sequence[OutputHealth]],
    warnings: WarnLog,
) -> ControlServer:
    """The control socket and, where configured, the metrics' own port. To be made in the running loop."""
    reading = Reading(core.store.path)
    limits = {name: config.accounts[name].limits for name in pollers}
    parts = Parts(
        clock=core.clock,
        log=core.store,
        committer=core.committer,
        policy=core.policy,
        pollers=pollers,
        bounds={name: Bounds(found.requests_per_second, found.max_connections) for name, found in limits.items()},
        outputs=health,
        stuck=make_progress(config, core, pollers).stuck,
    )
    room = ControlRoom(
        messages=MessageRoom(tuple(config.accounts), core.clock, core.store, core.committer, intake, reading),
        log=core.store,
        census=Census(parts, reading),
        meter=core.meter,
        warnings=warnings,
        about=About(version("pollerd"), config.source, str(core.store.path), config.backoff.policy),
    )
    socket, listen = config.control.socket, config.metrics
    return ControlServer(
        room,
        None if socket is None else SocketDoor(socket, MODE),
        None if listen is None else PortDoor(listen),
    )
