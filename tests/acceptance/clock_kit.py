"""One daemon and a world in which time leaps: its machine sleeps, is stopped, restarted, and has its clock set."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from pollerd.base.anchor import TOLERANCE, Anchor, Clocks
from pollerd.daemon.gateway_time import WAITING
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import PATIENCE, until
from tests.sqlite_kit import transaction

INTERVAL: Final = 600.0
"""Seconds between two polls of a message, jittered by a quarter."""
LIFE: Final = 20 * 3600.0
"""Seconds after which a message is given up."""
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
BACKOFF: Final = f"""policy = "exponential"
first_poll_after = "0s"
min_interval = "{INTERVAL}s"
max_interval = "{INTERVAL}s"
give_up_after = "{LIFE}s"
"""
STOP_SLACK: Final = 10.0
"""Seconds by which a stop may be misjudged: the witnesses' tolerance, and what passes until they are heard."""
AFTERMATH: Final = 60.0
"""Seconds after a sleep in which a request from before it may be answered, however busy the machine is: that is as old
as the request. As many after a stop, of which the daemon may not know yet."""


class Moment(NamedTuple):
    """Something that happened, by real time and by the world's."""

    what: str
    awake: float
    world: float


class Life:
    """A deployment, its gateway, and the machine that it runs on."""

    def __init__(self, folder: Path, library: Path, messages: int = 12) -> None:
        folder.mkdir()
        self.simulator = Simulator(SimulatorConfig(population=AT_ONCE, poll_log=1000))
        self.shim = Shim(library, folder)
        self._folder, self._messages = folder, messages
        self._skipped = 0.0
        self.ids: list[int] = []
        self.told: list[Moment] = []
        self._lost: dict[int, list[float]] = {}

    async def __aenter__(self) -> Self:
        await self.simulator.__aenter__()
        self.deployment = Deployment(self._folder, self.simulator, backoff=BACKOFF)
        self.deployment.machine = self.shim
        await self.start()
        for _ in range(self._messages):
            self.hand_over()
        await self.polled()
        # The gateway's dates are known from here on, and noted.
        await until(lambda: self.note_of_time().count(b"http"), "the gateway is known")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.deployment.__aexit__(kind, error, trace)
        await self.simulator.__aexit__(kind, error, trace)
        self.shim.close()

    def note_of_time(self) -> bytes:
        return bytes(self.deployment.query("SELECT CAST(value AS BLOB) FROM meta WHERE name = 'time'")[0][0])

    # -- the machine

    def tell(self, what: str) -> None:
        self.told.append(Moment(what, time.monotonic(), self.simulator.now()))

    def sleep(self, seconds: float) -> None:
        self.shim.sleep(seconds)
        self.simulator.skip(seconds)
        self.tell(f"asleep {seconds:.0f} s")

    def stop_machine(self, seconds: float) -> None:
        """As a paused virtual machine: the wall clock is put right at once, nothing else has counted."""
        self.shim.step(self.shim.off + seconds)
        self.simulator.skip(seconds)
        self._skipped += seconds
        self.tell(f"stopped {seconds:.0f} s")

    def set_clock(self, seconds: float) -> None:
        self.shim.step(self.shim.off + seconds)
        self.tell(f"clock {seconds:+.0f} s")

    def daemons_time(self) -> tuple[float, float]:
        """Seconds that passed and that the daemon does not know of; seconds of steps that it has not judged yet."""
        anchor = Anchor.read(self.note_of_time())
        assert anchor is not None
        boottime = time.clock_gettime(time.CLOCK_BOOTTIME) + self.shim.slept
        now = anchor.at(Clocks(self.shim.wall(), time.monotonic(), boottime, anchor.clocks.boot))
        return self.simulator.now() - now, self.shim.wall() - now - anchor.ahead

    async def stops_counted(self) -> None:
        """Until the daemon knows how long the machine was stopped. It learns that from the wall clock and the gateway:
        of a clock that is set before, nothing in the machine tells how far it was stopped."""
        slack = STOP_SLACK * sum(moment.what.startswith("stopped") for moment in self.told)
        await until(lambda: abs(self.daemons_time()[0]) <= slack + 1.0, f"it knows, {self.told}", patience=PATIENCE * 2)

    async def steps_judged(self) -> None:
        """Until the daemon knows that the wall clock was set: only then can that show a stop."""
        await until(
            lambda: abs(self.daemons_time()[1]) <= TOLERANCE + 1.0, f"it knows, {self.told}", patience=PATIENCE * 2
        )

    @property
    def wrong(self) -> float:
        """Seconds by which the wall clock is wrong."""
        return self.shim.off - self._skipped

    # -- the daemon

    async def start(self) -> None:
        await self.deployment.start()

    async def kill(self) -> None:
        """At any moment: what was not on disk by then is polled again, and nothing else."""
        await self.deployment.kill()
        self.tell("kill")
        # What it had asked is read by the gateway even now.
        await until(lambda: self.simulator.statistics().connections == 0, "the gateway has seen the end")
        for one, unsaved in self._unsaved().items():
            self._lost.setdefault(one, []).extend(unsaved)

    async def saved(self) -> None:
        """Until every poll is on disk: a kill then costs none."""
        await until(lambda: not self._unsaved(), "the polls are on disk")

    def _unsaved(self) -> dict[int, list[float]]:
        """Polls that the gateway answered and the database does not have, beside those that an earlier kill cost."""
        stored: dict[int, int] = dict(self.deployment.query("SELECT id, polls FROM messages"))
        kept = {one: [at for at in self.polls(one) if at not in self._lost.get(one, [])] for one in self.ids}
        return {one: polls[stored[one] :] for one, polls in kept.items() if len(polls) > stored[one]}

    async def restart(self) -> None:
        assert await self.deployment.stop() == 0
        self.tell("stop")
        await self.start()

    def hand_over(self, sent_before: float = 0.0) -> int:
        """A message that is sent now, or was, by plain SQL of a program on the same machine."""
        sent_at = self.simulator.now() - sent_before
        fresh = self.simulator.truth.add(steps=[Step(0.0, "ENROUTE")], sent_at=sent_at)
        with transaction(self.deployment.database) as connection:
            connection.execute(
                "INSERT INTO messages (id, sent_at) VALUES (?, ?)", (fresh, self.shim.wall() - sent_before)
            )
        self.ids.append(fresh)
        return fresh

    # -- what the gateway saw

    def polls(self, message_id: int) -> list[float]:
        """When a message was asked for, by the world's time."""
        return [at for at, _ in self.simulator.record(message_id).poll_log]

    def late(self) -> list[int]:
        """Messages that should have been polled by now."""
        now = self.simulator.now()
        return [one for one in self.ids if not (polls := self.polls(one)) or now - polls[-1] > 1.25 * INTERVAL + 5.0]

    async def polled(self) -> None:
        """Until all that is due was polled, and a message handed over now as well."""
        fresh = self.hand_over()
        # While clocks disagree new messages wait for another word, at most so long.
        patience = WAITING + PATIENCE
        await until(lambda: self.polls(fresh), f"what is new is polled, {self.told}", patience=patience)
        await until(lambda: not self.late(), f"what is due is polled, {self.told}")

    def early(self) -> list[tuple[int, float]]:
        """Polls that came before their time, and are not explained by a kill, a sleep between question and answer, or a
        stop that was not noticed yet; a sleep or a stop explains one of each message."""
        jumps = [moment.world for moment in self.told if moment.what.startswith(("asleep", "stopped"))]
        found = []
        for one in self.ids:
            lost = self._lost.get(one, [])
            soon = [
                (before, after - before)
                for before, after in pairwise(self.polls(one))
                if after - before < 0.75 * INTERVAL - 1.0 and before not in lost
            ]
            for jump in jumps:
                explained = [pair for pair in soon if jump <= pair[0] <= jump + AFTERMATH]
                soon = [pair for pair in soon if pair not in explained[:1]]
            found += [(one, gap) for _, gap in soon]
        return found

    def given_up(self) -> int:
        return int(self.deployment.query("SELECT count(*) FROM messages WHERE state = 3")[0][0])

    def check(self) -> None:
        """Nobody is given up, nobody was polled before his time."""
        assert self.given_up() == 0, self.told
        assert self.early() == [], self.told


async def happens(life: Life, rng: random.Random) -> None:
    """One thing, and sometimes the next one before the daemon has checked."""
    seconds = rng.choice([10.0, 5 * MINUTE, HOUR])
    match rng.randrange(9):
        case 0 | 1:
            await life.stops_counted()
            life.set_clock(rng.choice([seconds, 5 * DAY]))
        case 2 | 3:
            await life.stops_counted()
            life.set_clock(-rng.choice([seconds, 5 * DAY]))
        case 4:
            life.sleep(seconds)
        case 5:
            if abs(life.wrong) < 1.0:
                await life.steps_judged()
                life.stop_machine(seconds)
        case 6:
            life.hand_over()
            await life.stops_counted()
            life.set_clock(rng.choice([5 * DAY, -5 * DAY]))
        case 7:
            handed_over, step = rng.random() < 0.5, rng.random() < 0.5 and rng.choice([5 * DAY, -5 * DAY, HOUR])
            if step:
                await life.stops_counted()
            if sum(moment.what == "kill" for moment in life.told) % 2:
                await life.saved()
            await life.kill()
            if handed_over:
                life.hand_over()
            if step:
                life.set_clock(step)
            await life.start()
        case _:
            await life.restart()
    if rng.random() < 0.5:
        await life.polled()
    else:
        # Somewhere between two checks of the daemon.
        await asyncio.sleep(rng.uniform(0.0, 2.0))


async def random_life(life: Life, rng: random.Random, steps: int) -> None:
    """A sequence of such things, and what must be true after it."""
    for _ in range(steps):
        await happens(life, rng)
        life.check()
    await life.polled()
    await life.stops_counted()
    life.check()


async def to_the_end(life: Life) -> None:
    """Every message is given up when it really is as old as it must be, neither sooner nor later."""
    began = min(life.polls(one)[0] for one in life.ids)
    life.sleep(began + LIFE - life.simulator.now() - 5 * MINUTE)
    await life.polled()
    life.check()
    first = life.ids[:3]
    ended = f"SELECT count(*) FROM messages WHERE state = 3 AND id IN ({', '.join(map(str, first))})"
    for _ in range(6):
        life.sleep(1.3 * INTERVAL)
        fresh = life.hand_over()
        patience = WAITING + PATIENCE
        await until(lambda fresh=fresh: life.polls(fresh), "polling goes on", patience=patience)  # type: ignore[misc]
    await until(lambda: life.deployment.query(ended)[0][0] == len(first), "all are given up")


def wall_time(text: str) -> float:
    """An instant as programs read it."""
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def shown(document: dict[str, Any]) -> dict[str, float]:
    """The instants of a message's document."""
    names = ("sent_at", "first_poll_at", "last_poll_at", "next_poll_at")
    return {name: wall_time(document[name]) for name in names}
