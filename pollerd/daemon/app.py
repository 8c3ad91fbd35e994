"""The daemon: parts wired together, run as one, taken down in order. Every death of a part is the daemon's."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.metadata import version
from typing import Any, Final

from pollerd.base import failpoints, logs
from pollerd.base.anchor import NOTE as NOTE_OF_TIME
from pollerd.base.errors import root_cause
from pollerd.base.text import counted
from pollerd.config import Config
from pollerd.config.policy import MODEL, Learner, make_policy
from pollerd.config.secret import RESTART
from pollerd.core.ports import Opening, Output, Preparing
from pollerd.daemon.clock_steps import Account, ClockWatch
from pollerd.daemon.control_wiring import make_control, make_progress, make_warnings
from pollerd.daemon.database_guard import Guard
from pollerd.daemon.fittings import make_balance_jobs, make_outputs, make_places, make_sources
from pollerd.daemon.gateway_time import gateway_ahead, resume_time
from pollerd.daemon.housekeeping import House, Housekeeping, Job, Snapshot, standard_jobs
from pollerd.daemon.secrets import Vault
from pollerd.daemon.start import Start, StoppedError
from pollerd.daemon.systemd import Notifier, feed, watchdog_interval
from pollerd.daemon.wiring import Core, Lane, make_lane
from pollerd.intake.loop import Intake
from pollerd.outputs.acceptor import Acceptor
from pollerd.outputs.relay import Relay
from pollerd.polling import overdue_watch
from pollerd.polling.committer import Committer
from pollerd.polling.overdue_watch import OverdueWatch
from pollerd.polling.poller import Poller
from pollerd.polling.replan import Wake
from pollerd.server.api.server import ControlServer
from pollerd.status.metrics import Meter
from pollerd.status.statistics import NOTE, Statistics
from pollerd.status.warnlog import WarnLog
from pollerd.store.sqlite.lock import Ownership
from pollerd.store.sqlite.store import SqliteStore

log = logging.getLogger(__name__)

SWITCH: Final = 0.02
"""Seconds after which another thread that waits is let on. At Python's 5 ms the writer's thread takes the interpreter
from a busy loop so often that a tenth fewer polls are made; while the loop waits for the network it goes on at once.
"""
ANSWERS: Final = 2.5
"""Seconds that polls under way get to be answered when the daemon stops."""
WRITING: Final = 2.5
"""Seconds that the last transactions get; what is not written is asked again after the next start."""
OPENING: Final = 1.0
"""Seconds that outputs get to open their sockets before the daemon calls itself started."""
CREDENTIALS: Final = 2.0
"""Seconds between two looks whether a secret was replaced."""


class App:
    """One daemon. Several may live in one process, each on its own database."""

    def __init__(
        self, config: Config, *, notifier: Notifier | None = None, secrets: logs.Secrets | None = None
    ) -> None:
        """`secrets` are those masked in the log: a secret that is replaced while the daemon runs is added to them."""
        self.config = config
        self._vault = Vault(config.secret_sources(), secrets or logs.Secrets())
        self.started = asyncio.Event()
        self.lanes: dict[str, Lane] = {}
        self._notifier = notifier or Notifier(None)
        self._stop = asyncio.Event()
        self._relay: Relay | None = None
        self._control: ControlServer | None = None

    def stop(self) -> None:
        """End in order; `run` returns when everything is on disk."""
        self._stop.set()

    def reload(self) -> None:
        """SIGHUP: reopen outputs, read secrets again."""
        if not self.started.is_set():
            # Everything is about to be read for the first time.
            return
        self._notifier.reloading()
        self._vault.look()
        if self._relay is not None:
            self._relay.reopen()
        if self._control is not None:
            self._control.reopen()
        for lane in self.lanes.values():
            _refresh(lane)
        fixed = ", ".join(source.origin.key for source in self.config.secret_sources() if not source.watched)
        also = f"; for another {fixed}: {RESTART}" if fixed else ""
        log.info("reloaded: outputs reopened, secrets in files read again%s", also, extra={"event": "reloaded"})
        self._notifier.ready()

    async def run(self) -> None:
        """Own the database, poll and tell until `stop`.

        Raises ConfigError for secrets that cannot be read, DatabaseBusyError when another daemon owns the database,
        DurabilityError when the disk cannot be trusted, and other PollerdErrors for what cannot be opened.
        """
        with suppress(StoppedError):
            await self._run()
        log.info("stopped", extra={"event": "stopped"})

    async def _run(self) -> None:
        self.config.resolve_secrets()
        self._vault.look()
        async with AsyncExitStack() as stack:
            warnings = stack.enter_context(make_warnings(self.config, self._vault.secrets).listening())
            start = Start(self._notifier, self._stop)
            core = await self._open(stack, start)
            places = make_places(self.config)
            outputs = make_outputs(self.config, core.store, core.clock, self._vault.secrets.protect, places)
            for output in outputs:
                if isinstance(output, Preparing):
                    await start.insist(partial(output.prepare, core.store))
            known = await core.store.accounts()
            for name, account in self.config.accounts.items():
                now = core.clock.now()
                await start.insist(partial(overdue_watch.date, core.store, name, account.overdue_after, now))
                lane = await make_lane(account, known.get(name), self.config, core)
                stack.push_async_callback(lane.gateway.close)
                self.lanes[name] = lane
            self._relay = Relay(outputs)
            try:
                await self._serve(core, self._relay, outputs, warnings, places, stack)
            except BaseExceptionGroup as group:
                raise root_cause(group) from group

    async def _open(self, stack: AsyncExitStack, start: Start) -> Core:
        path = self.config.store.path
        # In a thread: who asks who owns the database is waited for.
        lock = await start.insist(lambda: asyncio.to_thread(Ownership.acquire, path, daemon=True))
        stack.enter_context(lock)
        store = await start.insist(lambda: SqliteStore.open(path, time.time))
        stack.push_async_callback(store.close)
        clock, witness = await start.insist(lambda: resume_time(store))
        policy = make_policy(self.config, random.SystemRandom().getrandbits(32), await store.note(MODEL))
        statistics = Statistics(clock.wall())
        if (counted := await store.note(NOTE)) is not None:
            statistics.restore(counted)
        meter = Meter(statistics.told)
        return Core(lock, clock, witness, store, Committer(store, clock, meter.commits), policy, meter, statistics)

    async def _serve(
        self,
        core: Core,
        relay: Relay,
        outputs: Sequence[Output],
        warnings: WarnLog,
        places: Mapping[str, Acceptor],
        stack: AsyncExitStack,
    ) -> None:
        pollers = {name: lane.poller for name, lane in self.lanes.items()}
        intake = Intake(
            core.store,
            core.committer,
            pollers,
            core.clock,
            Learner(core.policy),
            undecided=lambda: core.witness.undecided,
            gateway_ahead=gateway_ahead(self.config, core.witness),
        )
        core.store.on_set_aside = intake.set_aside
        sources = make_sources(self.config, core.store, core.clock, intake.poke)
        control = self._control = make_control(
            self.config,
            core,
            pollers,
            intake,
            health=lambda: relay.health,
            sources=sources,
            warnings=warnings,
            places=places,
        )
        # Whatever happens before it runs: a socket that was bound is not left behind.
        stack.push_async_callback(control.close)
        await control.start()
        failpoints.hit("app.before_serving")
        balances = make_balance_jobs(self.config, self.lanes, await core.store.accounts(), core)
        counted = Job("statistics", 10.0, Snapshot(core.statistics, core.committer, NOTE))
        housekeeping = Housekeeping((*standard_jobs(self._house(core, relay, pollers)), *balances, counted))
        asked = [Account(lane.gateway, lane.limiter, lane.poller.nudge) for lane in self.lanes.values()]
        watch = ClockWatch(core.clock, core.witness, core.committer, asked, housekeeping.clock_stepped)
        async with asyncio.TaskGroup() as group:

            def start(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                return group.create_task(work, name=name)

            committing = start("committer", core.committer.run())
            telling = start("relay", relay.run(core.store))
            serving = start("control", control.run())
            side = [
                start("intake", intake.run()),
                start("clock", watch.run()),
                start("credentials", self._watch_credentials()),
                start("guard", Guard(core.store, core.lock, core.committer, pollers.values(), self._notifier).run()),
                start(
                    "wake", Wake(core.policy, core.store, core.committer, pollers, core.clock, random.Random()).run()
                ),
                start("overdue", OverdueWatch(core.store, core.committer, pollers, core.clock).run()),
                start("housekeeping", housekeeping.run()),
                *(start(f"source {number}", source.run()) for number, source in enumerate(sources)),
            ]
            polling = [start(f"poller {name}", poller.run()) for name, poller in pollers.items()]
            if self._notifier.active and (interval := watchdog_interval()) is not None:
                progress = make_progress(self.config, core, pollers)
                side.append(start("watchdog", feed(self._notifier, progress.stuck, interval)))
            await _opened(outputs)
            self._notifier.ready()
            self.started.set()
            await self._announce(core)
            await self._stop.wait()
            await self._wind_down(core, polling, side, [telling, serving])
            committing.cancel()

    async def _announce(self, core: Core) -> None:
        pending = (await core.store.counters()).get("pending", 0)
        release, database = version("pollerd"), str(self.config.store.path)
        log.info(
            "started: pollerd %s, database %s, %s pending",
            release,
            database,
            counted(pending, "message"),
            extra={
                "event": "started",
                "version": release,
                "database": database,
                "pending": pending,
                "accounts": sorted(self.lanes),
                "last_seq": core.store.last,
            },
        )

    def _house(self, core: Core, relay: Relay, pollers: Mapping[str, Poller]) -> House:
        return House(
            store=core.store,
            committer=core.committer,
            clock=core.clock,
            policy=core.policy,
            model=MODEL,
            pollers=pollers,
            outputs=frozenset(health.name for health in relay.health if health.readers is None),
            health=lambda: relay.health,
            keep_finished=self.config.store.keep_finished,
            notifier=self._notifier,
        )

    async def _wind_down(
        self,
        core: Core,
        polling: list[asyncio.Task[None]],
        side: list[asyncio.Task[None]],
        telling: list[asyncio.Task[None]],
    ) -> None:
        """First no new polls, then everything known to disk, then the outputs: in the order in which news travels."""
        log.info("stopping", extra={"event": "stopping"})
        self._notifier.stopping()
        for lane in self.lanes.values():
            lane.poller.stop()
        await asyncio.wait(polling, timeout=ANSWERS)
        await _cancel(*polling, *side)
        core.committer.record_note(MODEL, core.policy.snapshot())
        core.committer.record_note(NOTE_OF_TIME, core.witness.anchor().written())
        core.committer.record_note(NOTE, core.statistics.snapshot())
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITING):
                await core.committer.flush()
        await _cancel(*telling)

    async def _watch_credentials(self) -> None:
        while True:
            await asyncio.sleep(CREDENTIALS)
            self._vault.look()
            for lane in self.lanes.values():
                _refresh(lane)


async def _opened(outputs: Iterable[Output]) -> None:
    """Wait until readers can connect; an output in trouble is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(OPENING):
            for output in outputs:
                if isinstance(output, Opening):
                    await output.opened.wait()


def _refresh(lane: Lane) -> None:
    if lane.gateway.reload_credentials():
        lane.limiter.credentials_changed()


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def run(config: Config) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT; returns the exit code."""
    sys.setswitchinterval(SWITCH)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_run(config))
    return 0


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _run(config: Config) -> None:
    secrets = logs.setup(config.log.level, config.log.format, config.log.show_msisdn)
    app = App(config, notifier=Notifier.from_environment(), secrets=secrets)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, app.stop)
    loop.add_signal_handler(signal.SIGINT, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    await app.run()
