"""One account's polling: takes what is due at the account's pace, asks, hands one result a poll to the committer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pollerd.base.errors import StoreUnavailableError
from pollerd.core.event import Recovered
from pollerd.core.incoming import IncomingPage
from pollerd.core.model import Answer, HoldReason, Message, Outcome, Rejected, State, Trouble
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import Clock, Gateway, Limiter, PollMeter, Store, Transition, Unmetered
from pollerd.core.refusals import NO_EVIDENCE, Evidence
from pollerd.polling.committer import Committer
from pollerd.polling.control_check import (
    ROUNDS,
    ControlCheck,
    ControlCheckResult,
    alike,
    answered_note,
    refusal,
    said,
    speaks_against,
    takes_back,
)
from pollerd.polling.failures import Failures
from pollerd.polling.poll_log import Announcer
from pollerd.polling.probes import Probes
from pollerd.polling.unreadable import Unreadable, unreadable
from pollerd.polling.window import Window

log = logging.getLogger(__name__)

TICK: Final = 0.25
"""Seconds between two checks of what the scan of the store should do."""
LONGEST_SLEEP: Final = 60.0  # Seconds that the poller sleeps at most.
RESUMED_BEFORE_HOLD: Final = 3600.0
"""Seconds before a hold for `refusing` whose endings by the same refusal are taken back."""
CHUNK: Final = 500  # Messages taken back in one transaction.


class Poller:
    """The loop of one account: `connections` polls at a time at most, none before the limiter says so.

    `renewal`: what a person does when the gateway refuses the account's secret.
    """

    def __init__(
        self,
        account: str,
        *,
        gateway: Gateway,
        limiter: Limiter,
        rules: OutcomeRules,
        window: Window,
        store: Store,
        committer: Committer,
        clock: Clock,
        connections: int,
        renewal: str = "put the right credentials in place",
        meter: PollMeter | None = None,
        answered: bytes | None = None,
        may_ask: Callable[[], bool] = lambda: True,
    ) -> None:
        """`answered` is the note `answered_note(account)` of an earlier run. No request begins while `may_ask` says no:
        another machine may be about to poll.
        """
        self._may_ask = may_ask
        self.account = account
        self.window = window
        self.limiter = limiter
        self.gateway = gateway
        self.polls = 0
        self.planned = 0
        """Messages taken in so far."""
        self.asking: dict[int, float] = {}
        """Messages being asked about, and since when (monotonic)."""
        self._rules = rules
        self._store = store
        self._committer = committer
        self._clock = clock
        self._connections = connections
        self._meter = meter or Unmetered()
        self._announcer = Announcer(account, renewal)
        self._workers = 0
        self._group: asyncio.TaskGroup | None = None
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = Failures()
        self._unreadable = Unreadable()
        active = lambda: rules.active(clock.now(), limiter.held_total)  # noqa: E731
        self._check = ControlCheck(clock.monotonic, active, lambda: rules.suspect_for)
        self._check.load(answered)
        self._probes = Probes()
        self._resumed: float | None = None
        """The beginning of the last hold for which messages were taken up again."""

    async def run(self) -> None:
        """Poll until `stop`, then end when the polls under way are answered."""
        async with asyncio.TaskGroup() as side:
            fill = side.create_task(self._keep_filled(), name=f"fill {self.account}")
            watch = side.create_task(self._watch_limiter(), name=f"limits {self.account}")
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._hire(group)
            fill.cancel()
            watch.cancel()

    def resize(self, connections: int) -> None:
        """Another number of polls at a time, from now on. Those under way are answered."""
        self._connections = connections
        if self._group is not None and not self._stopping:
            self._hire(self._group)

    def _hire(self, group: asyncio.TaskGroup) -> None:
        while self._workers < self._connections:
            self._workers += 1
            group.create_task(self._poll_on(), name=f"poll {self.account}")

    def stop(self) -> None:
        """Begin no further poll."""
        self._stopping = True
        self._wake.set()

    def schedule(self, message: Message) -> None:
        """A message that was planned, or asked for."""
        if self.window.add(message):
            self._wake.set()

    def nudge(self) -> None:
        """Check again what is due."""
        self._wake.set()

    def drop(self, message_id: int) -> None:
        """No longer of interest; the answer of a poll under way is thrown away."""
        self.window.drop(message_id)

    def busy_with(self, message_id: int) -> bool:
        """Whether a poll of the message is being made."""
        return self.window.under_way(message_id) is not None

    def plan(self, messages: Sequence[Message]) -> list[Message]:
        """Plan rows that are not planned yet."""
        self.planned += len(messages)
        now, held_total = self._clock.now(), self.limiter.held_total
        return [self._rules.first(message, now, held_total) for message in messages]

    def again(self, message: Message) -> Message:
        """Plan a message that was given up."""
        return self._rules.again(message, self._clock.now(), self.limiter.held_total)

    def resume(self) -> None:
        """End a hold for `refusing` by somebody's word."""
        self._record_transition(self.limiter.resume())

    # -- one poll

    async def _poll_on(self) -> None:
        # Under full load something is due whenever a poll ends; only who has to wait needs a turn.
        while (
            self._workers <= self._connections
            and (target := self._due(self._clock.now()) or await self._take()) is not None
        ):
            if isinstance(target, Message):
                await self._poll(target)
            else:
                await self._read(target, 0.0)
        self._workers -= 1

    def _due(self, now: float) -> Message | int | None:
        """What to ask about now, None when that has to wait; others that wait for their turn go first."""
        if self._stopping or self._turn.locked() or self.limiter.delay() > 0.0 or not self._may_ask():
            return None
        return self._next(now)

    async def _take(self) -> Message | int | None:
        async with self._turn:
            while not self._stopping:
                now = self._clock.now()
                wait = max(self.window.next_due() - now, self.limiter.delay())
                if wait <= 0.0 and not self._may_ask():
                    wait = TICK
                if wait <= 0.0:
                    if (target := self._next(now)) is not None:
                        return target
                    continue
                await self._pause(wait)
        return None

    def _next(self, now: float) -> Message | int | None:
        """The due message that is worth most; None: there is none. For a gateway that refuses everything, or that
        cannot be understood, a probe.

        A probe is a message, or the id of one that is not pending here any more.
        """
        target: Message | int | None
        if not self.limiter.refusing and (self.limiter.held is None or not self._unreadable.lately):
            target = self.window.pop(now)
        else:
            waits = self.window.next_due() <= now
            target = (self._probes.next(self.window, self._check.known()) if waits else None) or self.window.pop(now)
        if target is not None:
            self.limiter.take()
        return target

    async def _pause(self, seconds: float) -> None:
        """Wait, or until something changed. Bounded, so that no lost wake-up can stall an account for good."""
        timer = asyncio.get_running_loop().call_later(min(seconds, LONGEST_SLEEP), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
            self._wake.clear()

    async def _poll(self, message: Message) -> None:
        began, asked = self._clock.now(), self._clock.monotonic()
        outcome = await self._read(message.id, began - message.next_poll_at, message)
        evidence = NO_EVIDENCE
        if (current := self.window.under_way(message.id)) is not None and speaks_against(current, outcome):
            outcome, evidence = await self._weigh(current, outcome)
            if self.limiter.refusing and speaks_against(current, outcome):
                outcome = alike(outcome)
        # Where the machine slept meanwhile, the answer may be from before that: it counts as old, and is soon due.
        self._settle(message.id, outcome, evidence, began + self._clock.monotonic() - asked)
        if self._committer.full:
            await self._committer.room()

    async def _read(
        self, message_id: int, lag: float, known: Message | None = None, *, control: bool = False
    ) -> Outcome:
        """Ask, as the limiter has allowed, and do what the answer means for the account.

        `known`: the message, where it is at hand. `control`: only to judge what another message was answered.
        """
        # The same message may be asked about for two reasons at once.
        key = message_id if message_id not in self.asking else -message_id
        asked = self.asking[key] = self._clock.monotonic()
        try:
            outcome = await self.gateway.read(message_id, known)
        except asyncio.CancelledError:
            self.limiter.abandon()
            raise
        finally:
            self.asking.pop(key, None)
        self._meter.polled(outcome, lag, self._clock.monotonic() - asked)
        self.polls += 1
        self._unreadable.note(message_id, outcome)
        if type(outcome) is Answer:
            self._check.answered(message_id, asked)
        if type(outcome) is Rejected and unreadable(outcome):
            return await self._blamed(message_id, outcome, control=control)
        self.report(outcome)
        return outcome

    async def _blamed(self, message_id: int, outcome: Rejected, *, control: bool) -> Outcome:
        """An unreadable answer is the message's own fault, unless those that were answered before get such ones too."""
        if control:
            # One more or one less says nothing: the verdict on all of them counts.
            self.limiter.abandon()
            return outcome
        guilty = self._unreadable.at_fault
        if self._unreadable.widespread and not guilty and self.limiter.held is None:
            verdict = await self._check.ask(message_id, self._control)
            guilty = verdict is not ControlCheckResult.ANSWERED
            self._unreadable.at_fault = verdict in (ControlCheckResult.REFUSED, ControlCheckResult.ALONE)
        if guilty or self.limiter.held is not None:
            trouble = Trouble(HoldReason.SERVER_ERRORS, outcome.kind, outcome.detail)
            self.report(trouble)
            return trouble
        # No failure of the gateway.
        self.report(msgspec.structs.replace(outcome, decoded=True))
        return outcome

    def report(self, outcome: Outcome | IncomingPage) -> None:
        """What a request met, for the account."""
        held = self.limiter.held is not None
        self._record_transition(self.limiter.report(outcome))
        if held:
            self._wake.set()

    def _record_transition(self, transition: Transition | None) -> None:
        """A hold begins, goes on or ends."""
        if transition is not None:
            self._committer.record_account(transition.state, transition.bodies)
            self._announcer.transition(transition.bodies, self.window.backlog)
            if any(type(body) is Recovered and body.reason == HoldReason.REFUSING for body in transition.bodies):
                self._check.taken_back()
            self._wake.set()

    def _settle(self, message_id: int, outcome: Outcome, evidence: Evidence, now: float) -> None:
        current = self.window.end_poll(message_id)
        if current is None:
            self._wake.set()
            return
        if type(outcome) is Answer and takes_back(current):
            self._check.taken_back()
        failures = self._failures.count(message_id, outcome, held=self.limiter.held is not None)
        result = self._rules.settle(current, outcome, now, self.limiter.held_total, failures, evidence)
        self._committer.record(result)
        if result.bodies:
            self._announcer.reported(result.bodies)
            self._meter.reported(result, self._clock.wall(), outcome.ahead if type(outcome) is Answer else 0.0)
        self.schedule(result.message)

    # -- whether a refusal is believed

    async def _weigh(self, message: Message, outcome: Outcome) -> tuple[Outcome, Evidence]:
        """What a refusal is worth: others are asked before it ends a message, and when nothing else is heard."""
        if self.limiter.trusting:
            return outcome, self._evidence(believed=True)
        result = self._rules.settle(
            message, outcome, self._clock.now(), self.limiter.held_total, evidence=self._evidence()
        )
        many, ends = self._check.refused(), result.doubted and not self._check.suspect
        if not (many or ends):
            return outcome, self._evidence()
        verdict = await self._check.ask(message.id, self._control)
        if verdict is ControlCheckResult.REFUSED and self._unreadable.widespread:
            # No refusals: whatever answers, it is not the gateway as it should be.
            self._unreadable.at_fault = True
        elif verdict is ControlCheckResult.REFUSED:
            detail = f"{said(outcome)}, to messages that it answered before as well"
            self._record_transition(self.limiter.refuse(refusal(outcome), detail))
        if verdict is ControlCheckResult.ANSWERED and ends:
            return await self._confirm(message, outcome)
        alone = verdict is ControlCheckResult.ALONE and ends and not self.limiter.refusing
        if alone:
            self._announcer.alone(message, said(outcome))
        return outcome, self._evidence(alone=alone)

    async def _confirm(self, message: Message, outcome: Outcome) -> tuple[Outcome, Evidence]:
        """Ask about the message and about others by turns: the gateway may answer again in between."""
        for turn in range(ROUNDS):
            if turn and await self._check.ask(message.id, self._control) is not ControlCheckResult.ANSWERED:
                return outcome, self._evidence()
            if (again := await self._ahead(message.id)) is None:
                return outcome, self._evidence()
            outcome = again
            if not speaks_against(message, outcome):
                return outcome, self._evidence()
        return outcome, self._evidence(believed=True)

    async def _control(self, message_id: int) -> Outcome | None:
        return await self._ahead(message_id, control=True)

    async def _ahead(self, message_id: int, *, control: bool = False) -> Outcome | None:
        """Ask about a message ahead of all that is due, within the limits; None when that is not possible."""
        while not self._stopping and self.limiter.held is None:
            if (wait := self.limiter.delay()) <= 0.0 and not self._may_ask():
                wait = TICK
            if wait <= 0.0:
                self.limiter.take()
                return await self._read(message_id, 0.0, control=control)
            await asyncio.sleep(min(wait, TICK))
        return None

    def _evidence(self, *, believed: bool = False, alone: bool = False) -> Evidence:
        return Evidence(believed, alone, self._check.taken_back_at)

    # -- what stays full

    async def _keep_filled(self) -> None:
        while True:
            try:
                await self._fill_on()
            except StoreUnavailableError as error:
                log.debug("the schedule cannot be read now: %s", error)
                await asyncio.sleep(TICK)

    async def _fill_on(self) -> None:
        latest_at = 0.0
        while True:
            now = self._clock.now()
            if self.window.wants(now):
                more = await self.window.fill(self._store, now, self._committer.unsaved)
                for message in list(self._committer.unsaved_messages()):
                    if message.account == self.account and message.state is State.PENDING:
                        self.window.admit(message)
                self._wake.set()
                if more and self.window.wants(now):
                    await asyncio.sleep(0)
                    continue
            elif self.window.behind(now):
                await self.window.fill_urgent(self._store, now, self._committer.unsaved)
                if self._clock.monotonic() - latest_at >= 1.0:
                    latest_at = self._clock.monotonic()
                    await self.window.fill_latest(self._store, now, self._committer.unsaved)
                self._wake.set()
            self._record_transition(self.limiter.expire_hold())
            await self._resume_refused()
            if (answered := self._check.dump()) is not None:
                self._committer.record_note(answered_note(self.account), answered)
            await asyncio.sleep(TICK)

    async def _resume_refused(self) -> None:
        """Once a hold for `refusing`: take up what was given up by the same refusal shortly before it."""
        held = self.limiter.held
        if not self.limiter.refusing or held is None or held.held_since == self._resumed:
            return
        # The hold is reported first, and what it is about is on disk.
        await self._committer.flush()
        place, count = ((held.held_since or 0.0) - RESUMED_BEFORE_HOLD, 0), 0
        while ended := await self._store.refused(self.account, held.refusal, place, CHUNK):
            for message in ended:
                if self._committer.unsaved(message.id) is None:
                    result = self._rules.resumed(message, self._clock.now())
                    self._committer.record(result)
                    self.schedule(result.message)
                    count += 1
            await self._committer.flush()
            place = (ended[-1].finished_at or 0.0, ended[-1].id)
        self._resumed = held.held_since
        self._announcer.resumed(count)

    async def _watch_limiter(self) -> None:
        while True:
            await self.limiter.changed()
            self._wake.set()
