"""The limiter of one account: its pace, and a circuit breaker that pauses it when asking is pointless."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

import msgspec

from pollerd.base.text import duration
from pollerd.config import LimitsConfig
from pollerd.core import event as events
from pollerd.core.incoming import IncomingPage
from pollerd.core.model import Answer, HoldReason, Outcome, Rejected, Trouble
from pollerd.core.ports import AccountState, Clock, Transition
from pollerd.gateway.limits.hold import LONGEST_REFUSING, SPACING, Hold
from pollerd.gateway.limits.keepalive import Keeping
from pollerd.gateway.limits.pace import Pace

log = logging.getLogger(__name__)

TROUBLES_BEFORE_HOLD: Final = 5
"""Failures in a row, no proper answer between, that are the gateway's and not chance."""
THROTTLES_BEFORE_HOLD: Final = 8
"""Refusals in a row, each of which halved the rate, after which slowing down has proved no help: 2**7 is more than
lies between the configured rate and its floor."""

_LOST_MARGIN: Final = 5.0
"""Seconds on top of two time-outs, as a request may go out twice, that a busy loop gets to report."""

_AT_ONCE: Final = frozenset({HoldReason.UNAUTHORIZED, HoldReason.FORBIDDEN})
_BY_COUNT: Final = frozenset({HoldReason.UNREACHABLE, HoldReason.SERVER_ERRORS})
_OUTAGE: Final = _BY_COUNT | {HoldReason.THROTTLED, HoldReason.REFUSING}
"""One outage shows itself in all these ways by turns; each turn for itself would begin the probes' spacing anew."""

_BY_WORD: Final = "ended by a command; what is refused from now on is believed"


class AccountLimiter:
    """Implements :class:`pollerd.core.ports.Limiter`. Not thread-safe: it belongs to one event loop.

    Every `take()` is answered by one `report()` or one `abandon()`. `restored` is the account as last committed: a
    hold goes on without being reported again, and its first probe may go out at once, except where the gateway has
    asked to wait: no restart makes that shorter.

    In an :class:`AccountState` given out, `held_total` is the sum of the holds that are over; the one in force began
    at `held_since`.
    """

    def __init__(
        self, name: str, limits: LimitsConfig, clock: Clock, rng: random.Random, restored: AccountState | None = None
    ) -> None:
        now = clock.now()
        self._clock = clock
        self._rng = rng
        self._pace = Pace(limits.requests_per_second, clock.monotonic())
        self._keeping = Keeping(clock.monotonic())
        self._lost_after = _lost_after(limits)
        self._state = restored if restored is not None else AccountState(name)
        self._hold: Hold | None = None
        self._hold_began = now
        self._in_flight = 0
        self._troubles = 0
        self._throttles = 0
        self._changed = asyncio.Event()
        self._warned_forgetful = False
        if restored is not None and restored.held_reason is not None:
            self._hold = Hold(restored.held_reason, restored.held_detail, rng, now)
            if (left := _wait_left(restored, now)) > 0.0:
                self._hold.at_least(now, left)
                self._state = msgspec.structs.replace(restored, held_until=self._hold.probe_at)
            if restored.held_since is not None:
                self._hold_began = min(now, restored.held_since)

    def reconfigure(self, limits: LimitsConfig) -> None:
        """Other limits, from now on. A hold stays."""
        self._pace.reconfigure(limits.requests_per_second, self._clock.monotonic())
        self._lost_after = _lost_after(limits)
        self._notify()

    # -- asking

    def delay(self) -> float:
        """Seconds until a request may go out, 0 for now.

        While a probe is under way: the seconds until it counts as lost. `changed()` returns as soon as it is answered.
        """
        hold = self._hold
        if hold is None:
            return self._pace.delay(self._clock.monotonic())
        now = self._clock.now()
        if hold.probe_sent is not None:
            return max(0.0, hold.probe_sent + self._lost_after - now)
        if self._in_flight and hold.reason not in _BY_COUNT:
            # Answers still to come were asked for before the hold: a good one would prove nothing.
            drained = self._hold_began + self._lost_after
            if now < drained:
                return max(drained, hold.probe_at) - now
        return max(0.0, hold.probe_at - now)

    def take(self) -> None:
        """A request goes out now."""
        now = self._clock.now()
        self._in_flight += 1
        self._pace.take(self._clock.monotonic())
        self._keeping.asked()
        hold = self._hold
        if hold is not None:
            if hold.probe_sent is not None:
                self._in_flight -= 1
            hold.probe_sent = now

    async def again(self, *, forgotten: bool = True) -> bool:
        """A request that met a `forgotten` connection, or failed from one of several addresses, is to go out once more:
        wait for its turn, ahead of every request that has not gone out yet, and take it. It stays one request: one
        `report()` or `abandon()` answers both.

        False when polling is held, now or when its turn comes: then only probes go out, and this is none.
        """
        if self._hold is not None:
            return False
        if forgotten:
            self._note_repeat(self._clock.monotonic())
        return await self._in_turn()

    async def turn(self) -> bool:
        """A request that is no poll is to go out: wait for its turn, ahead of every request that has not gone out yet,
        and take it. False when polling is held, now or then: nothing went out.
        """
        if self._hold is not None or not await self._in_turn():
            return False
        self._in_flight += 1
        self._keeping.asked()
        return True

    async def _in_turn(self) -> bool:
        now, began = self._clock.monotonic(), self._hold_began
        wait = self._pace.delay(now)
        # Taken in advance, so that whoever asks from now on waits behind.
        self._pace.take(now)
        if wait > 0.0:
            await asyncio.sleep(wait)
        return self._hold is None and self._hold_began == began

    def abandon(self) -> None:
        """A request that went out will never report (it was cancelled)."""
        self._settle()
        self._notify()

    # -- hearing

    def report(self, outcome: Outcome | IncomingPage) -> Transition | None:
        """What a request met. Returns what is to be committed: a hold that begins, goes on or ends.

        `bodies` is empty when only the time or the detail of a hold moved.
        """
        trouble = _trouble_in(outcome)
        probe = self._settle()
        answered = type(outcome) is Answer
        if self._hold is not None:
            return self._report_held(self._hold, trouble, probe, answered)
        if trouble is None:
            if self._troubles or self._throttles:
                self._troubles = self._throttles = 0
            if answered and self._state.trusting:
                self._state = msgspec.structs.replace(self._state, trusting=False)
                return Transition(self._state, ())
            return None
        if trouble.reason in _AT_ONCE:
            return self._begin(trouble)
        if trouble.reason is HoldReason.THROTTLED:
            return self._throttled(trouble)
        self._troubles += 1
        return self._begin(trouble) if self._troubles >= TROUBLES_BEFORE_HOLD else None

    def refuse(self, refusal: str, detail: str) -> Transition | None:
        """The gateway refuses what it has answered before: the hold that begins, None where one is in force.

        `refusal` is as in `Message.last_answer`.
        """
        if self._hold is not None:
            return None
        self._state = msgspec.structs.replace(self._state, refusal=refusal)
        return self._begin(Trouble(HoldReason.REFUSING, "refusing", detail))

    def resume(self, why: str = _BY_WORD) -> Transition | None:
        """End a hold for `refusing`: what is refused from now on is believed, until something is answered again."""
        hold = self._hold
        if hold is None or hold.reason is not HoldReason.REFUSING:
            return None
        self._state = msgspec.structs.replace(self._state, trusting=True)
        return self._end(hold, self._clock.now(), why)

    def expire_hold(self) -> Transition | None:
        """The end of a hold for `refusing` that has lasted for a week; None in all other cases."""
        if self._hold is None or self._clock.now() - self._hold_began < LONGEST_REFUSING:
            return None
        return self.resume("the longest; what is refused from now on is believed")

    def credentials_changed(self) -> None:
        """The account's secret was replaced: a hold for want of rights is probed at once."""
        hold = self._hold
        if hold is not None and hold.reason in _AT_ONCE:
            hold.at_once(self._clock.now())
            self._notify()

    # -- what is in force

    @property
    def held(self) -> AccountState | None:
        """The hold in force, None when polling goes on."""
        return self._state if self._hold is not None else None

    @property
    def refusing(self) -> bool:
        """Whether the account is held because the gateway refuses what it has answered before."""
        return self._hold is not None and self._hold.reason is HoldReason.REFUSING

    @property
    def trusting(self) -> bool:
        """Whether refusals are believed as they come: see `resume`."""
        return self._state.trusting

    @property
    def held_total(self) -> float:
        """Seconds the account has been held so far, the hold in force included."""
        if self._hold is None:
            return self._state.held_total
        return self._state.held_total + (self._clock.now() - self._hold_began)

    @property
    def rate(self) -> float:
        """Requests a second in force."""
        return self._pace.rate(self._clock.monotonic())

    @property
    def keeps_connections(self) -> bool:
        """Whether connections are kept between requests: not where the other side keeps forgetting them."""
        return self._keeping.on(self._clock.monotonic())

    @property
    def repeats(self) -> int:
        """Requests made a second time so far, because the other side had forgotten the connection of the first."""
        return self._keeping.total

    async def changed(self) -> None:
        """Return when something other than time changed `delay()`: a hold, a probe answered, new credentials."""
        await self._changed.wait()

    def _note_repeat(self, now: float) -> None:
        pause = self._keeping.repeated(now)
        if pause is None:
            return
        first, self._warned_forgetful = not self._warned_forgetful, True
        log.log(
            logging.WARNING if first else logging.INFO,
            "account %s: the other side forgets connections that are kept: more than a tenth of the last requests had "
            "to be made again. Each request opens a connection of its own for %s; then keeping is tried again. Nothing "
            "is lost. Check the idle time-out of the proxies, firewalls and balancers in between",
            self._state.name,
            duration(pause),
            extra={"event": "connections_not_kept", "account": self._state.name, "seconds": pause},
        )

    # -- the breaker

    def _settle(self) -> bool:
        """One request less under way. Whether it was the probe: those sent before the hold are counted off first."""
        hold = self._hold
        probing = hold is not None and hold.probe_sent is not None
        earlier = self._in_flight - probing
        self._in_flight = max(0, self._in_flight - 1)
        if hold is None or not probing or earlier > 0:
            if hold is not None and self._in_flight == 0:
                self._notify()
            return False
        hold.probe_sent = None
        return True

    def _report_held(self, hold: Hold, trouble: Trouble | None, probe: bool, answered: bool) -> Transition | None:
        now = self._clock.now()
        if hold.reason is HoldReason.REFUSING:
            # One refusal more says nothing new, whoever meets it.
            if answered:
                return self._end(hold, now)
            if trouble is None:
                if probe:
                    hold.prolong(now, hold.detail, None)
                    return self._held_transition(hold, report=False)
                return None
        elif trouble is None:
            # Any answer proves that the gateway can be reached. Only a probe's answer proves that it accepts the
            # credentials and the rate.
            return self._end(hold, now) if probe or hold.reason in _BY_COUNT else None
        wait = trouble.retry_after
        if not probe:
            if hold.reason is HoldReason.THROTTLED and wait and hold.at_least(now, wait):
                return self._held_transition(hold, report=False)
            return None
        if trouble.reason is hold.reason or {trouble.reason, hold.reason} <= _OUTAGE:
            hold.prolong(now, hold.detail if hold.reason is HoldReason.REFUSING else trouble.detail, wait)
            return self._held_transition(hold, report=False)
        hold.turn(trouble.reason, trouble.detail, now, wait)
        return self._held_transition(hold, report=True)

    def _throttled(self, trouble: Trouble) -> Transition | None:
        self._troubles = 0
        if self._pace.cut(self._clock.monotonic()):
            self._throttles += 1
        if trouble.retry_after:
            return self._begin(trouble)
        return self._begin(trouble) if self._throttles >= THROTTLES_BEFORE_HOLD else None

    def _begin(self, trouble: Trouble) -> Transition:
        now = self._clock.now()
        hold = Hold(trouble.reason, trouble.detail, self._rng, now)
        hold.begin(now, trouble.retry_after)
        self._hold = hold
        self._hold_began = now
        self._troubles = self._throttles = 0
        self._state = msgspec.structs.replace(self._state, held_since=self._clock.now())
        return self._held_transition(hold, report=True)

    def _held_transition(self, hold: Hold, *, report: bool) -> Transition:
        now = self._clock.now()
        until = max(now, hold.probe_at)
        self._state = msgspec.structs.replace(
            self._state, held_reason=hold.reason, held_detail=hold.detail, held_until=until
        )
        self._notify()
        if not report:
            return Transition(self._state, ())
        body = events.Held(
            account=self._state.name,
            reason=hold.reason.value,
            detail=hold.detail,
            until=events.instant(self._clock.to_wall(until)),
            observed_at=events.instant(self._clock.to_wall(now)),
        )
        return Transition(self._state, (body,))

    def _end(self, hold: Hold, now: float, why: str = "") -> Transition:
        held = max(0.0, now - self._hold_began)
        self._hold = None
        self._pace.restart(self._clock.monotonic(), throttled=hold.reason is HoldReason.THROTTLED)
        self._state = msgspec.structs.replace(
            self._state,
            held_reason=None,
            held_detail="",
            refusal="",
            held_since=None,
            held_until=None,
            held_total=self._state.held_total + held,
        )
        self._notify()
        body = events.Recovered(
            account=self._state.name,
            reason=hold.reason.value,
            detail=f"held for {held:.0f} s{', ' if why else ''}{why}",
            until=None,
            observed_at=events.instant(self._clock.to_wall(now)),
        )
        return Transition(self._state, (body,))

    def _notify(self) -> None:
        # A new event for the next wait: whoever waits now wakes up, whoever comes later waits for the next change.
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()


def _lost_after(limits: LimitsConfig) -> float:
    """Seconds after which a request that has not reported never will."""
    return 2 * limits.timeout + _LOST_MARGIN


def _wait_left(restored: AccountState, now: float) -> float:
    """Seconds that the gateway still asks for by a hold of an earlier run; 0 where only our own spacing made it."""
    reason, until = restored.held_reason, restored.held_until
    if reason not in _OUTAGE or until is None:
        return 0.0
    left = until - now
    return left if reason is HoldReason.THROTTLED or left > SPACING[reason].most else 0.0


def _trouble_in(outcome: Outcome | IncomingPage) -> Trouble | None:
    """The gateway's trouble in an outcome, None for a proper answer."""
    if type(outcome) is Trouble:
        return outcome
    if type(outcome) is Rejected and not outcome.decoded:
        # One is the message's affair; several in a row cannot be.
        return Trouble(HoldReason.SERVER_ERRORS, outcome.kind, f"answers cannot be understood: {outcome.detail}")
    return None
