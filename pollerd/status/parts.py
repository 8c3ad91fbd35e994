"""The running parts of a daemon in one value, for whoever needs several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pollerd.backoff import Policy
    from pollerd.config import Config
    from pollerd.core.ports import Clock, Store, Views
    from pollerd.intake.loop import Intake
    from pollerd.intake.source import QuerySource
    from pollerd.intake.standby import StandbyIntake
    from pollerd.outputs.relay import Relay
    from pollerd.polling.committer import Committer
    from pollerd.polling.incoming import IncomingWatch
    from pollerd.polling.poller import Poller
    from pollerd.status.metrics.meter import Meter
    from pollerd.status.statistics import Statistics
    from pollerd.status.warnlog import WarnLog


class Parts(msgspec.Struct, kw_only=True):
    """Each part once, made by `daemon.wiring`. `pollers` are by account; `stuck` says what does not move though it
    could, None when all is well, and is called every few seconds. A reload puts the configuration that is in force then
    into `config`, and into `notice` what of the file is not.
    """

    config: Config
    clock: Clock
    store: Store
    views: Views
    committer: Committer
    policy: Policy
    pollers: Mapping[str, Poller]
    intake: Intake | StandbyIntake
    sources: Sequence[QuerySource]
    relay: Relay
    meter: Meter
    statistics: Statistics
    warnings: WarnLog
    stuck: Callable[[], str | None]
    notice: str = ""
    unfit: Callable[[], str] = lambda: ""
    """Why this machine may not be the one that polls, in words; empty where nothing speaks against it."""
    incoming: Mapping[str, IncomingWatch] = {}
    """What reads incoming messages, by account."""
    proves: Callable[[str, bytes, str], bool] | None = None
    """Whether an account (by name) uses the secret that a nonce and its proof stand for."""
