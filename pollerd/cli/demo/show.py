"""Runs the demo: sends, hands over, watches the events, and compares them with the simulator's truth at the end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from pollerd.cli.demo.ledger import Ledger
from pollerd.cli.demo.stage import Stage, stage_for
from pollerd.cli.demo.summary import summarise
from pollerd.config import (
    AccountConfig,
    BackoffConfig,
    Config,
    ControlConfig,
    FileOutputConfig,
    InlineSecret,
    LimitsConfig,
    Origin,
    OutputsConfig,
    Secret,
    SecretKind,
    StoreConfig,
    TokenAuth,
)
from pollerd.core.ports import View
from pollerd.daemon.app import App, loop_factory
from pollerd.simulator import (
    DEMO_CREDENTIAL,
    Population,
    Simulator,
    SimulatorConfig,
    Traffic,
    TrafficConfig,
    through,
)
from pollerd.store.engine import engine_at, engine_of

SPEED: Final = 10.0
"""How many times faster than life messages fare."""
TAIL: Final = 0.03
"""Shortens the network's retries and switched-off phones, so that a minute shows all of it."""
REQUESTS_PER_SECOND: Final = 50.0  # Pace of the demo's account: low enough to watch.
_SENDING: Final = 0.5
"""Share of the time in which messages are sent."""
_VALIDITY: Final = 0.33
"""Validity of a message as a share of the time: what is not delivered by then expires, in time for the summary."""
_CHECK_EVERY: Final = 0.1  # Seconds between two checks for events.


class Script(msgspec.Struct, frozen=True):
    """How long the demo takes at most, how many messages are sent, and the seed of their fates."""

    seconds: int = 60
    messages: int = 300
    seed: int = 1


def perform(script: Script) -> int:
    """Run the demo to its summary. Returns the exit code: 1 when what was reported differs from the truth."""
    # Warnings of the daemon would tear the picture; what matters is in the summary.
    logging.getLogger("pollerd").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="pollerd-demo-") as folder:
        stage = stage_for(sys.stdout.isatty())
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_perform(script, Path(folder), stage))


async def _perform(script: Script, folder: Path, stage: Stage) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Simulator(_world(script)) as simulator:
        config = _config(simulator.url, folder)
        play = _Play(script, simulator, config.store.path, stage, stop)
        async with _running(config) as daemon:
            with stage.opened(script.seconds, SPEED):
                await play.run(daemon)
        # The daemon has stopped: what it reported while stopping belongs to the account as well.
        with engine_of(config.store).view() as view:
            play.ledger.take(view.events(play.ledger.seq, 1_000_000))
        summary = summarise(play.ledger, simulator, folder / "events.ndjson", REQUESTS_PER_SECOND)
    stage.close(summary)
    return 0 if summary.honest else 1


def _world(script: Script) -> SimulatorConfig:
    population = Population(validity=script.seconds * _VALIDITY * SPEED, tail=TAIL, visibility_median=1.0)
    return SimulatorConfig(seed=script.seed, speed=SPEED, population=population)


def _config(url: str, folder: Path) -> Config:
    secret = InlineSecret(Secret(DEMO_CREDENTIAL), SecretKind.TOKEN, Origin("demo", "accounts.default.token"))
    limits = LimitsConfig(requests_per_second=REQUESTS_PER_SECOND, max_connections=10, timeout=5.0)
    return Config(
        accounts={"default": AccountConfig(name="default", base_url=url, auth=TokenAuth(secret), limits=limits)},
        store=StoreConfig(folder / "pollerd.db"),
        outputs=OutputsConfig(file=FileOutputConfig(folder / "events.ndjson")),
        control=ControlConfig(None),
        source="demo",
        backoff=BackoffConfig(first_poll_after=0.4, min_interval=0.2, max_interval=5.0),
    )


@asynccontextmanager
async def _running(config: Config) -> AsyncIterator[asyncio.Task[None]]:
    """The daemon, up while the block runs."""
    app = App(config)
    task = asyncio.create_task(app.run())
    started = asyncio.create_task(app.started.wait())
    await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    try:
        yield task
    finally:
        app.stop()
        await task


class _Play:
    """Sends and watches until everything has come to its end, time is up, or somebody has seen enough."""

    def __init__(self, script: Script, simulator: Simulator, database: Path, stage: Stage, stop: asyncio.Event) -> None:
        self.ledger = Ledger(script.messages)
        self._script = script
        self._simulator = simulator
        self._database = database
        self._stage = stage
        self._stop = stop

    async def run(self, daemon: asyncio.Task[None]) -> None:
        """Play while `daemon` lives."""
        deadline = time.monotonic() + self._script.seconds
        async with self._sending():
            with engine_at(self._database).view() as view:
                while not (self._stop.is_set() or daemon.done() or self.ledger.complete):
                    if time.monotonic() >= deadline:
                        return
                    self._check(view)
                    await asyncio.sleep(_CHECK_EVERY)
                self._check(view)

    def _check(self, view: View) -> None:
        if view.changed():
            self._stage.reported(self.ledger.take(view.events(self.ledger.seq, 1000)))
        self.ledger.count_requests(time.monotonic(), self._simulator.stats.requests)
        self._stage.refresh(self.ledger)

    @asynccontextmanager
    async def _sending(self) -> AsyncIterator[None]:
        """Messages go out while the block runs, and their ids are handed over as an application would."""
        script = self._script
        rate = script.messages / (script.seconds * _SENDING)
        traffic = Traffic(through(self._simulator), TrafficConfig(rate=rate, total=script.messages, seed=script.seed))

        async def hand_over(ids: list[int]) -> None:
            self.ledger.sent(ids, time.time())
            await asyncio.to_thread(_track, self._database, ids)

        task = asyncio.create_task(traffic.run(hand_over, self._stop))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _track(database: Path, ids: list[int]) -> None:
    # In a thread of its own: waiting here for the daemon's transaction would keep the daemon from ending it.
    with engine_at(database).handover() as handover:
        handover.track(ids)
