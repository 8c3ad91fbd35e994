"""Runs a daemon from its start to its stop: every part that dies ends it, and the parts end in reverse order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pollerd.base import failpoints, logs
from pollerd.base.errors import root_cause
from pollerd.base.text import counted
from pollerd.config import BUILT_IN, Config, load
from pollerd.config.secret import RESTART
from pollerd.core.ports import Engine, Opening, Output
from pollerd.daemon.duty import Duty
from pollerd.daemon.reload import Reload
from pollerd.daemon.secrets import MaskedSecrets
from pollerd.daemon.start import Start, StoppedError
from pollerd.daemon.systemd import Notifier, feed, watchdog_interval
from pollerd.daemon.wiring import Daemon, build
from pollerd.status.parts import Parts
from pollerd.store.engine import engine_of

log = logging.getLogger(__name__)

SWITCH: Final = 0.02
"""Seconds after which another thread that waits is let on. At Python's 5 ms the writer's thread takes the interpreter
from a busy loop so often that a tenth fewer polls are made; while the loop waits for the network it goes on at once.
"""
LAST_ANSWERS: Final = 2.5
"""Seconds that polls under way get to be answered when the daemon stops."""
WRITING: Final = 2.5
"""Seconds that the last transactions get; what is not written is asked again after the next start."""
OPENING: Final = 1.0
"""Seconds that outputs get to open their sockets before the daemon calls itself started."""
CREDENTIALS: Final = 2.0
"""Seconds between two checks whether a secret was replaced."""


class App:
    """One daemon. Several may live in one process, each on its own database."""

    def __init__(
        self,
        config: Config,
        *,
        notifier: Notifier | None = None,
        secrets: logs.Secrets | None = None,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        """`secrets` are those masked in the log: a secret that is replaced while the daemon runs is added to them.
        `reread` gives the configuration as it is in its file by now, for a reload.
        """
        self.config = config
        self._reread = reread or (lambda: config)
        self._reload = asyncio.Event()
        self.started = asyncio.Event()
        self._masked = MaskedSecrets(config.secret_sources(), secrets or logs.Secrets())
        self._notifier = notifier or Notifier(None)
        self._stop = asyncio.Event()
        self.daemon: Daemon | None = None
        """Once it is built."""

    def stop(self) -> None:
        """End in order; `run` returns when everything is on disk."""
        self._stop.set()

    def reload(self) -> None:
        """SIGHUP: take up what has changed in the configuration, reopen outputs, read secrets again.

        During the start the configuration waits until that is over; all else is about to be read for the first time.
        """
        if self.daemon is not None and self.started.is_set():
            self._notifier.reloading()
            self.daemon.parts.relay.reopen()
            self.daemon.control.reopen()
            self._reload_credentials(self.daemon)
        self._reload.set()

    async def _reload_on_demand(self, daemon: Daemon) -> None:
        work = Reload(daemon, self._reread, self._masked.secrets)
        while True:
            await self._reload.wait()
            self._reload.clear()
            fixed = ", ".join(source.origin.key for source in self.config.secret_sources() if not source.watched)
            await work.run(f"; for another {fixed}: {RESTART}" if fixed else "")
            self._masked.watch(daemon.parts.config.secret_sources())
            self._notifier.status(daemon.parts.notice or "reloaded")
            self._notifier.ready()

    async def run(self) -> None:
        """Own the database, poll and report events until `stop`.

        Raises ConfigError for secrets that cannot be read, DatabaseBusyError when another daemon owns the database,
        DurabilityError when the disk cannot be trusted, and other PollerdErrors for what cannot be opened.
        """
        with suppress(StoppedError):
            await self._run()
        log.info("stopped", extra={"event": "stopped"})

    async def _run(self) -> None:
        self.config.resolve_secrets()
        self._masked.update()
        async with AsyncExitStack() as stack:
            start = Start(self._notifier, self._stop)
            engine = engine_of(self.config.store)
            owned = stack.enter_context(await start.insist(lambda: asyncio.to_thread(engine.own, daemon=True)))
            duty = Duty(owned)
            while not self._stop.is_set():
                await self._serve(engine, duty, start)

    async def _serve(self, engine: Engine, duty: Duty, start: Start) -> None:
        """Build the daemon and run it: until `stop`, or, where another machine polls, until this one takes over."""
        async with AsyncExitStack() as stack:
            daemon = await build(
                self.config, stack, start, self._notifier, self._masked.secrets, engine, duty.ownership
            )
            await daemon.control.start()
            failpoints.hit("app.before_serving")
            self.daemon = daemon
            try:
                if duty.polls:
                    await self._supervise(daemon, duty)
                else:
                    await self._stand_by(daemon, duty)
            except BaseExceptionGroup as group:
                raise root_cause(group) from group

    async def _stand_by(self, daemon: Daemon, duty: Duty) -> None:
        """Serve what does not need the duty to poll, until this machine gets it, or until `stop`."""
        parts = daemon.parts
        async with asyncio.TaskGroup() as group:
            work = {"relay": lambda: parts.relay.run(parts.store), "control": daemon.control.run, **daemon.side}
            tasks = [group.create_task(each(), name=name) for name, each in work.items()]
            if self._notifier.active and (interval := watchdog_interval()) is not None:
                tasks.append(group.create_task(feed(self._notifier, parts.stuck, interval), name="watchdog"))
            await _opened(daemon.outputs)
            self._notifier.status("standby: another machine polls")
            self._notifier.ready()
            self.started.set()
            log.info("stands by: another machine polls", extra={"event": "standing_by"})
            await duty.settled(self._stop)
            await _cancel(*tasks)

    async def _supervise(self, daemon: Daemon, duty: Duty) -> None:
        """Run every part until `stop`, then end them in order. A part that dies ends all."""
        parts = daemon.parts
        if duty.ownership.took_over:
            log.warning("%s", duty.ownership.took_over, extra={"event": "took_over"})
        async with asyncio.TaskGroup() as group:

            def start(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
                return group.create_task(work, name=name)

            committing = start("committer", parts.committer.run())
            serving = [start("relay", parts.relay.run(parts.store)), start("control", daemon.control.run())]
            side = [start(name, work()) for name, work in daemon.side.items()]
            side.append(start("credentials", self._watch_credentials(daemon)))
            polling = [start(f"poller {name}", poller.run()) for name, poller in parts.pollers.items()]
            if self._notifier.active and (interval := watchdog_interval()) is not None:
                side.append(start("watchdog", feed(self._notifier, parts.stuck, interval)))
            await _opened(daemon.outputs)
            # What is there now stays: no collection of garbage looks at it again.
            gc.collect()
            gc.freeze()
            self._notifier.ready()
            self.started.set()
            await self._announce(parts)
            side.append(start("reload", self._reload_on_demand(daemon)))
            await duty.settled(self._stop)
            await self._wind_down(daemon, polling, side, serving)
            committing.cancel()

    async def _announce(self, parts: Parts) -> None:
        pending = (await parts.store.counters()).get("pending", 0)
        release, database = version("pollerd"), self.config.store.where
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
                "accounts": sorted(parts.pollers),
                "last_seq": parts.store.last,
            },
        )

    async def _wind_down(
        self,
        daemon: Daemon,
        polling: Sequence[asyncio.Task[None]],
        side: Sequence[asyncio.Task[None]],
        serving: Sequence[asyncio.Task[None]],
    ) -> None:
        """First no new polls, then everything known to disk, then the outputs: in the order in which events travel."""
        log.info("stopping", extra={"event": "stopping"})
        self._notifier.stopping()
        for poller in daemon.parts.pollers.values():
            poller.stop()
        await asyncio.wait(polling, timeout=LAST_ANSWERS)
        await _cancel(*polling, *side)
        daemon.record_state()
        with suppress(TimeoutError):
            async with asyncio.timeout(WRITING):
                await daemon.parts.committer.flush()
        await _cancel(*serving)

    async def _watch_credentials(self, daemon: Daemon) -> None:
        while True:
            await asyncio.sleep(CREDENTIALS)
            self._reload_credentials(daemon)

    def _reload_credentials(self, daemon: Daemon) -> None:
        self._masked.update()
        for account in daemon.accounts.values():
            account.reload_credentials()


async def _opened(outputs: Iterable[Output]) -> None:
    """Wait until readers can connect; an output in trouble is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(OPENING):
            for output in outputs:
                if isinstance(output, Opening):
                    await output.opened.wait()


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
    file = None if config.source == BUILT_IN else Path(config.source)
    reread = partial(load, file, secrets=True)
    app = App(config, notifier=Notifier.from_environment(), secrets=secrets, reread=reread)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, app.stop)
    loop.add_signal_handler(signal.SIGINT, app.stop)
    loop.add_signal_handler(signal.SIGHUP, app.reload)
    await app.run()
