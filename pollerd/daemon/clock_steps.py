"""Checks the machine's clocks once a second: wakes what slept, says what was set, makes up for what was missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from pollerd.base.anchor import TIME_NOTE
from pollerd.daemon.account import RunningAccount
from pollerd.daemon.clock import SystemClock
from pollerd.daemon.gateway_time import Witness
from pollerd.polling.committer import Committer

log = logging.getLogger(__name__)

TICK: Final = 1.0  # Seconds between two readings of the clocks.
NOTED_EVERY: Final = 60.0
"""Seconds between two notes of the time: after a restart of the machine it goes on from the last one."""


class ClockWatch:
    """Keeps the daemon's clock true. `moved` gets every jump: the seconds that the wall clock was stepped."""

    def __init__(
        self,
        clock: SystemClock,
        witness: Witness,
        committer: Committer,
        accounts: Iterable[RunningAccount],
        moved: Callable[[float], None],
    ) -> None:
        self._clock = clock
        self._witness = witness
        self._committer = committer
        self._accounts = tuple(accounts)
        self._moved = moved
        self._noted_at = clock.monotonic()
        self._asking: asyncio.Task[None] | None = None
        self._wrong = False

    async def run(self) -> None:
        """Check until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(TICK)
                self._read_clocks()
                self._decide()
                if (self._asking is None or self._asking.done()) and self._witness.wants_date:
                    self._asking = group.create_task(self._ask(), name="ask for the date")
                self._compare()
                if self._witness.changed or self._clock.monotonic() - self._noted_at >= NOTED_EVERY:
                    self._note()

    def _read_clocks(self) -> None:
        asleep, stepped = self._clock.noticed()
        if asleep:
            log.info(
                "the machine was asleep for %.0f s; what fell due meanwhile is polled now",
                asleep,
                extra={"event": "machine_slept", "seconds": round(asleep, 3)},
            )
        if stepped:
            log.warning(
                "the system's clock was stepped by %+.1f s; ages and due times go by the time that really passed",
                stepped,
                extra={"event": "clock_stepped", "seconds": round(stepped, 3)},
            )
        if asleep or stepped:
            self._witness.jumped()
            self._go_on(stepped)

    def _decide(self) -> None:
        correction = self._witness.decide()
        if correction is None:
            return
        self._clock.advance(correction.seconds, doubted=correction.doubted)
        self._witness.jumped()
        self._go_on(0.0)
        log.warning(
            "the machine was stopped for %.0f s, according to %s; what fell due meanwhile is polled now",
            correction.seconds,
            "one clock alone" if correction.doubted else "its own clock and the gateway's",
            extra={
                "event": "machine_stopped",
                "seconds": round(correction.seconds, 3),
                "doubted": correction.doubted,
            },
        )

    def _compare(self) -> None:
        """Log once that the wall clock is wrong: nothing is planned by it, but all times that are shown go by it."""
        wrong = self._witness.wrong
        if bool(wrong) is self._wrong or self._witness.undecided:
            return
        self._wrong = bool(wrong)
        if wrong:
            log.warning(
                "this machine's clock is %.0f s %s the gateway's: set it, best by NTP. Polling goes by the time that "
                "really passes, but all times in events and on screens are wrong",
                abs(wrong),
                "ahead of" if wrong > 0 else "behind",
                extra={"event": "clock_wrong", "seconds": round(wrong, 3)},
            )
        else:
            log.info("this machine's clock agrees with the gateway's again", extra={"event": "clock_right"})

    def _go_on(self, stepped: float) -> None:
        # In the same breath as the jump: what is polled after it is not on disk before this note.
        self._note()
        self._moved(stepped)
        for account in self._accounts:
            account.poller.nudge()

    def _note(self) -> None:
        self._committer.record_note(TIME_NOTE, self._witness.anchor().written())
        self._noted_at = self._clock.monotonic()

    async def _ask(self) -> None:
        """Any answer brings a date; the balance's costs nothing."""
        for account in self._accounts:
            if account.limiter.held is None and account.limiter.delay() <= 0.0:
                self._witness.asked()
                account.limiter.take()
                try:
                    await account.gateway.balance()
                finally:
                    account.limiter.abandon()
