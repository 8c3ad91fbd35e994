"""Puts the daemon together: the one place where every part is made and given what it needs.

`build` goes from the database outward: what all share, the outputs, what takes ids in, the polling of each account,
what shows the daemon to others, what is done now and then. `app` runs what it returns.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pollerd.backoff import Current
from pollerd.base import descriptors
from pollerd.base.anchor import TIME_NOTE
from pollerd.base.descriptors import PAGE
from pollerd.base.logs import Cleaner, Secrets
from pollerd.config import AccountConfig, Config, ConfigError, EnvSecret
from pollerd.config.descriptors import Need
from pollerd.config.policy import MODEL, Learner, make_policy, make_settings
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import AccountState, Clock, Engine, Output, Ownership, Preparing, Store
from pollerd.daemon.account import RunningAccount
from pollerd.daemon.clock import SystemClock
from pollerd.daemon.clock_steps import ClockWatch
from pollerd.daemon.database_guard import Guard
from pollerd.daemon.gateway_time import Witness, gateway_ahead, resume_time
from pollerd.daemon.housekeeping import Housekeeping, Job, standard_jobs
from pollerd.daemon.reach import Acceptance, Offer
from pollerd.daemon.start import Start
from pollerd.daemon.systemd import Notifier
from pollerd.gateway.client import GatewayClient, proves
from pollerd.gateway.gatewayapi.interface import GatewayApi
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.intake.loop import Intake
from pollerd.intake.standby import StandbyIntake
from pollerd.outputs.acceptor import Acceptor
from pollerd.outputs.exec import ExecOutput, clean_environment
from pollerd.outputs.file import FileOutput
from pollerd.outputs.relay import Relay
from pollerd.outputs.shared import SharedOutput
from pollerd.outputs.socket import SocketOutput
from pollerd.polling import overdue_watch
from pollerd.polling.balance import BalanceWatch
from pollerd.polling.committer import Committer
from pollerd.polling.control_check import answered_note
from pollerd.polling.incoming import IncomingWatch, incoming_note
from pollerd.polling.overdue_watch import OverdueWatch
from pollerd.polling.poller import Poller
from pollerd.polling.ranking import PolicyRanker
from pollerd.polling.replan import Replanner
from pollerd.polling.window import Window
from pollerd.server.api.server import ControlServer
from pollerd.server.pages.server import page_server
from pollerd.status.metrics.meter import Meter
from pollerd.status.parts import Parts
from pollerd.status.snapshot import Observer
from pollerd.status.statistics import STATISTICS_NOTE, Statistics
from pollerd.status.stuck import StuckCheck
from pollerd.status.warnlog import WarnLog
from pollerd.store.views import ThreadedViews

if TYPE_CHECKING:
    from pollerd.intake.source import QuerySource

log = logging.getLogger(__name__)

_FIRST_BALANCE: Final = 5.0
"""Seconds after the start until balances are read first: what is due then goes ahead of them."""

Task = Callable[[], Coroutine[Any, Any, None]]
"""Something that runs until it is cancelled."""


class Daemon(msgspec.Struct, frozen=True):
    """A daemon that is built and does not run yet. `side` are its tasks beside polling, committing and the outputs."""

    parts: Parts
    witness: Witness
    accounts: Mapping[str, RunningAccount]
    outputs: list[Output]
    control: ControlServer
    side: Mapping[str, Task]
    policy: Current
    stuck: StuckCheck
    housekeeping: Housekeeping
    make_outputs: Callable[[Config], list[Output]]
    """The outputs of another configuration, for a reload."""

    async def watch_balances(self, config: Config) -> None:
        """Check the balances as `config` has it, from now on."""
        jobs = _balance_jobs(self.parts, config, self.accounts, await self.parts.store.accounts())
        self.housekeeping.replace([_balance(name) for name in self.accounts], jobs)

    def record_state(self) -> None:
        """Hand what is learned and counted to the committer, for the next start."""
        parts = self.parts
        parts.committer.record_note(MODEL, parts.policy.snapshot())
        parts.committer.record_note(TIME_NOTE, self.witness.anchor().written())
        parts.committer.record_note(STATISTICS_NOTE, parts.statistics.snapshot())


async def build(
    config: Config,
    stack: AsyncExitStack,
    start: Start,
    notifier: Notifier,
    secrets: Secrets,
    engine: Engine,
    ownership: Ownership,
) -> Daemon:
    """The daemon that `config` describes, on the store of `engine`, which it owns by `ownership`. What has to be closed
    is put on `stack`; what cannot be had yet `start` tries again. `secrets` are those masked in the log.

    Where another machine polls, it has no accounts, no sources and only the outputs of its own.

    Raises DurabilityError when the disk cannot be trusted, and other PollerdErrors for what cannot be opened.
    """
    active = ownership.active
    warnings = WarnLog(Cleaner(secrets, show_msisdn=config.log.show_msisdn))
    stack.enter_context(warnings.listening())

    # The database, and what all accounts share.
    store = await start.insist(lambda: engine.open(time.time))
    stack.push_async_callback(store.close)
    clock, witness = await start.insist(lambda: resume_time(store, active=active))
    policy = Current(make_policy(config, random.SystemRandom().getrandbits(32), await store.note(MODEL)))
    statistics = Statistics(clock.wall())
    if (counted := await store.note(STATISTICS_NOTE)) is not None:
        statistics.restore(counted)
    meter = Meter(statistics.count)
    committer = Committer(store, clock, meter.commits)

    # The outputs settle what they have to before the first event of this start is committed.
    acceptors = _make_acceptors(config)
    make_outputs = partial(
        _make_outputs, store=store, clock=clock, protect=secrets.protect, acceptors=acceptors, ownership=ownership
    )
    outputs = make_outputs(config)
    for output in outputs:
        if isinstance(output, Preparing):
            await start.insist(partial(output.prepare, store))

    pollers: dict[str, Poller] = {}
    intake = Intake(
        store,
        committer,
        pollers,
        clock,
        Learner(policy),
        undecided=lambda: witness.undecided,
        gateway_ahead=gateway_ahead(config, witness),
    )
    store.taken = clock.taken
    store.on_set_aside = intake.set_aside
    longest = max(account.limits.timeout for account in config.accounts.values())
    stuck = StuckCheck(pollers, committer, clock, longest_request=2 * longest)
    parts = Parts(
        config=config,
        clock=clock,
        store=store,
        views=ThreadedViews(engine),
        committer=committer,
        policy=policy,
        pollers=pollers,
        intake=intake if active else StandbyIntake(engine),
        sources=_sources(config, store, clock, intake.poke, secrets.protect) if active else (),
        relay=Relay(outputs),
        meter=meter,
        statistics=statistics,
        warnings=warnings,
        stuck=stuck.stuck,
        unfit=lambda: "" if active else ownership.unfit,
    )

    accounts = await _make_accounts(parts, clock, witness, start, stack, ownership) if active else {}
    pollers.update((name, account.poller) for name, account in accounts.items())
    parts.incoming = {name: account.incoming for name, account in accounts.items() if account.incoming is not None}
    parts.proves = (
        (lambda name, nonce, shown: accounts[name].gateway.proves(nonce, shown))
        if active
        else partial(_would_prove, config)
    )

    observer, web = Observer(parts), config.web
    pages = None if web is None else page_server(parts, observer, web.listen, acceptors[PAGE])
    control = ControlServer(parts, observer, acceptors, pages)
    stack.push_async_callback(control.close)
    balances = _balance_jobs(parts, config, accounts, await store.accounts())
    housekeeping = Housekeeping((*standard_jobs(parts, notifier), *balances))
    side: dict[str, Task] = {"guard": Guard(parts, ownership, notifier).run}
    if active and ownership.shared:
        side["reach"] = Offer(ownership, [account.limiter for account in accounts.values()]).run
    if ownership.shared:
        side["follow"] = store.follow
    side |= (
        {"reach": Acceptance(ownership, config.accounts, clock).run}
        if not active
        else {
            "intake": intake.run,
            "clock": ClockWatch(clock, witness, committer, accounts.values(), housekeeping.clock_stepped).run,
            "replan": Replanner(policy, store, committer, pollers, clock, random.Random()).run,
            "overdue": OverdueWatch(store, committer, pollers, clock).run,
            "housekeeping": housekeeping.run,
            **{f"incoming {name}": watch.run for name, watch in parts.incoming.items()},
            **{f"source {number}": source.run for number, source in enumerate(parts.sources)},
        }
    )
    return Daemon(parts, witness, accounts, outputs, control, side, policy, stuck, housekeeping, make_outputs)


def _would_prove(config: Config, account: str, nonce: bytes, shown: str) -> bool:
    """Whether a proof is that of a secret with which this process would ask if it polled: it is read then."""
    try:
        return proves(GatewayApi(config.accounts[account]), nonce, shown)
    except ConfigError:
        # What cannot be read is not the same.
        return False


async def _make_accounts(
    parts: Parts,
    clock: SystemClock,
    witness: Witness,
    start: Start,
    stack: AsyncExitStack,
    ownership: Ownership,
) -> dict[str, RunningAccount]:
    store, made = parts.store, {}
    known = await store.accounts()
    for name, account in parts.config.accounts.items():
        await start.insist(partial(overdue_watch.date, store, name, account.overdue_after, clock.now()))
        made[name] = await _make_account(account, known.get(name), parts, clock, witness, ownership)
        stack.push_async_callback(made[name].gateway.close)
    return made


async def _make_account(
    account: AccountConfig,
    known: AccountState | None,
    parts: Parts,
    clock: SystemClock,
    witness: Witness,
    ownership: Ownership,
) -> RunningAccount:
    """`known` is what the store remembers of it."""
    config = parts.config
    limiter = AccountLimiter(account.name, account.limits, clock, random.Random(), known)
    gateway = GatewayClient(
        account,
        GatewayApi(account),
        clock,
        random.Random(),
        limiter=limiter,
        time=witness.gateway(account.base_url),
        show_msisdn=config.log.show_msisdn,
    )
    settings = make_settings(config)
    rules = OutcomeRules(parts.policy, settings, random.Random(), clock, account.overdue_after)
    poller = Poller(
        account.name,
        gateway=gateway,
        limiter=limiter,
        rules=rules,
        window=Window(account.name, PolicyRanker(parts.policy)),
        store=parts.store,
        committer=parts.committer,
        clock=clock,
        connections=gateway.sources.connections,
        renewal=account.renewal,
        meter=parts.meter.account(account.name),
        answered=await parts.store.note(answered_note(account.name)),
        may_ask=ownership.holds,
    )
    gateway.sources.changed = poller.resize
    watch = None
    if account.incoming is not None:
        watch = IncomingWatch(
            account.name,
            account.incoming.every,
            account.incoming.since,
            gateway=gateway,
            limiter=limiter,
            report=poller.report,
            idle=lambda: poller.window.next_due() > clock.now(),
            book=parts.store.incoming(),
            committer=parts.committer,
            clock=clock,
            time=witness.gateway(account.base_url),
            progress=await parts.store.note(incoming_note(account.name)),
        )
    return RunningAccount(gateway, limiter, poller, rules, watch)


def _balance(account: str) -> str:
    """The name of the job that checks an account's balance."""
    return f"balance of {account}"


def _balance_jobs(
    parts: Parts, config: Config, accounts: Mapping[str, RunningAccount], known: Mapping[str, AccountState]
) -> Iterator[Job]:
    """What checks every account's balance, when a threshold is set."""
    threshold, every = config.credit.warn_below, config.credit.check_every
    if threshold is None:
        return
    for name, account in accounts.items():
        watch = BalanceWatch(
            name,
            threshold,
            gateway=account.gateway,
            limiter=account.limiter,
            committer=parts.committer,
            clock=parts.clock,
            known=known.get(name),
        )
        yield Job(_balance(name), every, watch.check, first=min(every, _FIRST_BALANCE))


def _make_acceptors(config: Config) -> dict[str, Acceptor]:
    """What takes connections of others, by name. They share what is left of this process's file descriptors after those
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


def _make_outputs(
    config: Config,
    store: Store,
    clock: Clock,
    protect: Callable[[str], None],
    acceptors: Mapping[str, Acceptor],
    ownership: Ownership,
) -> list[Output]:
    """The outputs that the configuration names; `protect` gets every secret that they read later. All but file and
    socket are only the active machine's.
    """
    wanted = config.outputs
    outputs: list[Output] = []
    if wanted.file is not None:
        outputs.append(FileOutput(wanted.file.path, advance=store.advance_seq))
    if wanted.socket is not None:
        outputs.append(SocketOutput(wanted.socket.path, wanted.socket.mode, readers=acceptors[descriptors.EVENTS]))
    if not ownership.active:
        return outputs
    share = partial(SharedOutput, ownership=ownership) if ownership.shared else _alone
    if wanted.webhook is not None:
        # PyJWT loads the package cryptography where it is installed (0.1 s, 10 MB); only a webhook is worth that.
        from pollerd.outputs.webhook.output import WebhookOutput
        from pollerd.outputs.webhook.post import TIMEOUT

        book = store.deliveries()
        kept = config.store.events_kept
        webhook = WebhookOutput(
            wanted.webhook, book, clock, keep_parked=kept, protect=protect, may_post=ownership.holds
        )
        # A post is made a second time where its connection turns out to be dead.
        outputs.append(share(webhook, longest=2 * TIMEOUT))
    if wanted.exec is not None:
        outputs.append(share(ExecOutput(wanted.exec.command, _environment(config))))
    if wanted.sqlite or wanted.sql:
        # Few configurations have one, and the others need not wait for it.
        from pollerd.daemon.targets import make_targets

        outputs += map(share, make_targets(config, store, clock, protect))
    return outputs


def _sources(
    config: Config, store: Store, clock: Clock, poke: Callable[[], None], protect: Callable[[str], None]
) -> Sequence[QuerySource]:
    """What other databases give."""
    if not (config.sources.sqlite or config.sources.sql):
        return ()
    # As for outputs into one.
    from pollerd.daemon.sources import make_sources

    return make_sources(config, store, clock, poke, protect)


def _alone(output: Output, longest: float = 0.0) -> Output:
    """An output of the only machine."""
    return output


def _environment(config: Config) -> dict[str, str]:
    """The environment for programs that are not ours. Raises ConfigError for secrets that cannot be read."""
    sources = config.secret_sources()
    variables = [source.variable for source in sources if isinstance(source, EnvSecret)]
    return clean_environment(os.environ, variables, [source.read().reveal() for source in sources])
