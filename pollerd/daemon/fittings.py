"""Builds what is fitted to the daemon on either side: outputs, sources of ids, the look at balances. Used by `app`."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from zlib import crc32

from pollerd.base import descriptors
from pollerd.config import Config, EnvSecret
from pollerd.config.descriptors import Need
from pollerd.core.ports import AccountState, Clock, Output
from pollerd.daemon.housekeeping import Job
from pollerd.daemon.wiring import Core, Lane
from pollerd.intake.sqlite import SqliteSource
from pollerd.outputs.acceptor import Acceptor
from pollerd.outputs.exec import ExecOutput, clean_environment
from pollerd.outputs.file import FileOutput
from pollerd.outputs.socket import SocketOutput
from pollerd.polling.balance import CreditWatch
from pollerd.store.deliveries import Deliveries
from pollerd.store.source_rows import Given, Inlet
from pollerd.store.sqlite.store import SqliteStore
from pollerd.store.unwritten import UnwrittenEvents

log = logging.getLogger(__name__)

_FIRST_BALANCE: Final = 5.0
"""Seconds after the start until balances are read first."""


def make_places(config: Config) -> dict[str, Acceptor]:
    """The places where others connect, by name. They share what is left of this process's file descriptors after those
    of polling, the database, outputs and sources. Raises the process's own limit where that is allowed.
    """
    need = Need.of(config)
    limit = descriptors.provide(need.total)
    found = descriptors.share(limit, need.reserve, need.places)
    if limit < need.total:
        log.log(
            logging.WARNING if limit < need.reserve else logging.INFO,
            "this process may have %d files open, of %d that it could use: connections are bounded at %s; raise "
            "LimitNOFILE (or ulimit -n) to %d for more",
            limit,
            need.total,
            ", ".join(f"{most} ({name})" for name, most in found.items()),
            need.total,
            extra={"event": "few_descriptors", "limit": limit, "needed": need.total, "reserve": need.reserve},
        )
    return {name: Acceptor(name, most) for name, most in found.items()}


def make_outputs(
    config: Config, store: SqliteStore, clock: Clock, protect: Callable[[str], None], places: Mapping[str, Acceptor]
) -> list[Output]:
    """The outputs that the configuration names; `protect` is told every secret that they read later."""
    wanted = config.outputs
    outputs: list[Output] = []
    if wanted.file is not None:
        outputs.append(FileOutput(wanted.file.path, advance=store.advance_seq))
    if wanted.socket is not None:
        outputs.append(SocketOutput(wanted.socket.path, wanted.socket.mode, readers=places[descriptors.EVENTS]))
    if wanted.webhook is not None:
        # PyJWT loads the package cryptography where it is installed (0.1 s, 10 MB); only a webhook is worth that.
        from pollerd.outputs.webhook.output import WebhookOutput

        book = Deliveries(store)
        kept = config.store.keep_finished
        outputs.append(WebhookOutput(wanted.webhook, book, clock, keep_parked=kept, protect=protect))
    if wanted.exec is not None:
        outputs.append(ExecOutput(wanted.exec.command, _environment(config)))
    outputs += _targets(config, store, clock)
    return outputs


def _targets(config: Config, store: SqliteStore, clock: Clock) -> Iterator[Output]:
    """The outputs into databases."""
    if not config.outputs.sqlite:
        return
    # Few configurations have one, and the others need not wait for it.
    from pollerd.outputs.sqlite import SqliteTarget
    from pollerd.outputs.target.output import TargetOutput

    names: Counter[str] = Counter()
    read = {os.path.realpath(source.path) for source in config.sources.sqlite}
    for output in config.outputs.sqlite:
        name = _numbered(names, f"sqlite {output.path}")
        database = os.path.realpath(output.path)
        book = UnwrittenEvents(store, name, database if database in read else None)
        target = SqliteTarget(output.path, output.statement)
        yield TargetOutput(name, target, output.statement, output.rules, book, clock)


def _numbered(names: Counter[str], name: str) -> str:
    """By path, so that a place stays with its database when others are added or removed before it."""
    names[name] += 1
    return name if names[name] == 1 else f"{name} {names[name]}"


def _environment(config: Config) -> dict[str, str]:
    """The environment for programs that are not ours. Raises ConfigError for secrets that cannot be read."""
    sources = config.secret_sources()
    variables = [source.variable for source in sources if isinstance(source, EnvSecret)]
    return clean_environment(os.environ, variables, [source.read().reveal() for source in sources])


def make_sources(config: Config, store: SqliteStore, clock: Clock, poke: Callable[[], None]) -> list[SqliteSource]:
    """The sources of ids that the configuration names; `poke` makes the intake look."""
    sources = []
    names: Counter[str] = Counter()
    # The same whatever stands before it in the file.
    keys = [f"{source.path} {crc32(source.query.encode()):08x}" for source in config.sources.sqlite]
    given = Given(keys)
    for source, key in zip(config.sources.sqlite, keys, strict=True):
        name = _numbered(names, f"sqlite {source.path}")
        inlet = Inlet(key, given, store, clock.wall, poke, database=os.path.realpath(source.path))
        sources.append(SqliteSource(name, source.path, source.query, source.every, inlet))
    return sources


def make_balance_jobs(
    config: Config, lanes: Mapping[str, Lane], known: Mapping[str, AccountState], core: Core
) -> list[Job]:
    """Looks at every account's balance, when a threshold is set."""
    if config.credit.warn_below is None:
        return []
    jobs = []
    for name, lane in lanes.items():
        watch = CreditWatch(
            name,
            config.credit.warn_below,
            gateway=lane.gateway,
            limiter=lane.limiter,
            committer=core.committer,
            clock=core.clock,
            known=known.get(name),
        )
        every = config.credit.check_every
        jobs.append(Job(f"balance of {name}", every, watch.check, first=min(every, _FIRST_BALANCE)))
    return jobs
