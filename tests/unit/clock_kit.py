"""A world with one machine in it: real time, the machine's clocks, and what may be done to them."""

from __future__ import annotations

import random

from pollerd.base.anchor import Anchor, Clocks, Machine
from pollerd.daemon.clock import ClockChange, SystemClock
from pollerd.daemon.gateway_time import SETTLE, Correction, Witness

START = 1_764_000_000.0
HOST = "https://gatewayapi.com"


class World(Machine):
    """`time` is what really passes since the start. The gateway's clock is right, or off by `gateway`."""

    def __init__(self) -> None:
        self.time = 0.0
        self.wrong = 0.0
        """By how much the wall clock is off."""
        self.unseen = 0.0
        """Seconds that the machine was stopped or switched off, or counts from before this boot."""
        self.slept = self.stopped = 0.0
        self.gateway = 0.0
        self.boots = 1

    def wall(self) -> float:
        return START + self.time + self.wrong

    def boottime(self) -> float:
        return self.time - self.unseen

    def monotonic(self) -> float:
        return self.boottime() - self.slept

    def clocks(self) -> Clocks:
        return Clocks(self.wall(), self.monotonic(), self.boottime(), f"boot {self.boots}")

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: all but the monotonic clock go on."""
        self.time += seconds
        self.slept += seconds

    def stop(self, seconds: float, wrong: float = 0.0) -> None:
        """The machine is stopped from outside; afterwards the wall clock is put right, or more `wrong` than before."""
        self.time += seconds
        self.unseen += seconds
        self.stopped += seconds
        self.wrong += wrong

    def reboot(self, seconds: float, wrong: float | None = None) -> None:
        """The machine is switched off and on again; the wall clock goes on, or is `wrong` from now on."""
        self.time += seconds
        self.unseen, self.slept = self.time, 0.0
        self.boots += 1
        if wrong is not None:
            self.wrong = wrong


class Daemon:
    """The clock and the witness as the daemon runs them, with a gateway that answers whenever it is asked."""

    def __init__(self, world: World, note: bytes | None = None) -> None:
        anchor = Anchor.read(note)
        self.world = world
        self.clock = SystemClock(anchor, world)
        self.witness = Witness(self.clock, anchor)
        self.gateway = self.witness.gateway(HOST)
        self.looks: list[ClockChange] = []
        self.corrections: list[Correction] = []
        self.dates = self.reachable = True
        self.may_ask = True
        """Whether pace and hold of the account let a question through."""
        self.ticks = 0
        self.save()

    def save(self) -> None:
        """The note as it is on disk from now on."""
        self.note = self.witness.anchor().written()

    def answer(self, **headers: str) -> None:
        """The gateway answers, where it can be reached."""
        if not self.reachable:
            return
        date = {"Date": _date(START + self.world.time + self.world.gateway)} if self.dates else {}
        self.gateway.heard({**date, **headers})

    def tick(self) -> None:
        """What happens once a second."""
        self.world.time += 1.0
        self.ticks += 1
        look = self.clock.noticed()
        if any(look):
            self.looks.append(look)
            self.witness.jumped()
        if (correction := self.witness.decide()) is not None:
            self.corrections.append(correction)
            self.clock.advance(correction.seconds, doubted=correction.doubted)
            self.witness.jumped()
        if any(look) or self.witness.changed or self.ticks % 60 == 0:
            self.save()
        if self.witness.wants_date and self.may_ask:
            self.witness.asked()
            self.answer()

    def run(self, seconds: float = SETTLE + 6.0, every: float = 1.0) -> None:
        """So many seconds pass, with an answer `every` so many (0: none but those that are asked for)."""
        for second in range(int(seconds)):
            self.tick()
            if every and second % every == 0:
                self.answer()

    @property
    def lost(self) -> float:
        """Seconds that really passed and that the daemon has not counted."""
        return self.world.time + START - self.clock.now()


def started(world: World | None = None) -> Daemon:
    """A daemon that has run for a minute."""
    daemon = Daemon(world or World())
    daemon.run(60.0)
    return daemon


def restarted(daemon: Daemon) -> Daemon:
    """The next run of it: a kill, nothing more."""
    after = Daemon(daemon.world, daemon.note)
    after.dates = daemon.dates
    return after


def anything(world: World, rng: random.Random) -> str:
    """Something happens to the machine; what."""
    seconds = rng.choice([3.0, 60.0, 3600.0, 5 * 86400.0])
    match rng.randrange(5):
        case 0:
            world.wrong += seconds
            return f"clock {seconds:+.0f} s"
        case 1:
            world.wrong -= seconds
            return f"clock {-seconds:+.0f} s"
        case 2:
            world.sleep(seconds)
            return f"asleep {seconds:.0f} s"
        case 3:
            world.stop(seconds)
            return f"stopped {seconds:.0f} s"
        case _:
            world.wrong = 0.0
            return "clock set right"


def _date(when: float) -> str:
    from email.utils import formatdate

    return formatdate(int(when), usegmt=True)
