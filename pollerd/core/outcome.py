"""What one outcome means for one message: its new row, its events, its next poll and why. Pure.

Cadence is not retry: a pending answer asks the policy when the next poll is worth it; a request that failed is tried
again soon, jittered, and ages nothing.
"""

from __future__ import annotations

import random
from typing import Final, Protocol

import msgspec

from pollerd.backoff import Decision, Policy, Settings
from pollerd.core import diff, history, lifecycle, overdue, phrases, refusals, successor
from pollerd.core.diff import Result
from pollerd.core.event import Body
from pollerd.core.learning import SOON, dated_by, following, learn, operator
from pollerd.core.model import (
    Answer,
    GiveUpReason,
    HoldReason,
    Message,
    NotFound,
    Outcome,
    Recipient,
    Rejected,
    State,
    Trouble,
)
from pollerd.core.refusals import MAX_STRIKES, NO_EVIDENCE, Evidence

LEAST_MISSES: Final = 3
"""404s in a row at least before a message counts as not found: one alone may be anybody's."""
FAILURES_BEFORE_DEADLINE: Final = 10
"""Failures in a row, the account not held, after which a message that cannot be asked about has a deadline again."""
RETRY_FIRST: Final = 2.0  # Seconds after a request that failed, doubled for each further one:
RETRY_MOST: Final = 60.0  # seconds at most, since a failure says nothing about the message.
STRIKE_FIRST: Final = 5.0  # Seconds after a first refusal.
STRIKE_GROWTH: Final = 3.0  # Factor for each further one: five refusals take minutes, and one bad minute ends nothing.
SPREAD: Final = 0.25  # Share by which such waits vary either way, so that what failed together does not stay together.
LEAST_ANSWERS: Final = 3
"""Answers at least, spread over the grace, before a message ends by its age."""


class Reckoning(Protocol):
    """How far instants can be trusted, and what they are by the wall clock. See `pollerd.daemon.clock.SystemClock`."""

    sure_since: float
    doubted: float

    def to_wall(self, instant: float) -> float: ...


class _Certain:
    """Instants are the wall clock's, and none is in doubt."""

    sure_since = doubted = 0.0

    def to_wall(self, instant: float) -> float:
        return instant


class OutcomeRules:
    """Decides for one account. Holds the policy and the random source, no message."""

    def __init__(
        self,
        policy: Policy,
        settings: Settings,
        rng: random.Random,
        reckoning: Reckoning | None = None,
        overdue_after: float | None = None,
    ) -> None:
        """`overdue_after`: seconds from sending until the account's messages are overdue; None: they never are."""
        self._policy = policy
        self._settings = settings
        self._rng = rng
        self._reckoning = reckoning or _Certain()
        self._overdue_after = overdue_after

    def reconfigure(self, settings: Settings, overdue_after: float | None) -> None:
        """Other bounds, from the next outcome on."""
        self._settings = settings
        self._overdue_after = overdue_after

    def first(self, message: Message, now: float, held_total: float) -> Message:
        """Plan a row that is not planned yet. A message sent in the past is due by its age."""
        sending = message.sending
        later = sending > now + SOON
        decision = self._scheduled(now, sending) if later else self._policy.first(now)
        due = (now if later else sending) + decision.delay
        return msgspec.structs.replace(
            message,
            state=State.PENDING,
            base=sending,
            frozen_at=held_total + self._reckoning.doubted,
            taken_at=now,
            next_poll_at=due if due > now else now,
            next_reason=decision.reason,
            overdue_at=overdue.armed_at(message, self._overdue_after, now),
            forced=False,
        )

    @property
    def suspect_for(self) -> float:
        """Seconds for which a gateway that has taken back a refusal is not believed."""
        return refusals.suspect_for(self._settings.not_found_grace)

    def active(self, now: float, held_total: float) -> float:
        """The instant `now` on a clock that stands still while the account is held, and for time that is in doubt."""
        return now - held_total - self._reckoning.doubted

    def settle(
        self,
        message: Message,
        outcome: Outcome,
        now: float,
        held_total: float,
        failures: int = 0,
        evidence: Evidence = NO_EVIDENCE,
    ) -> Result:
        """What `outcome`, met at `now`, leaves behind.

        `held_total` is the account's sum of held seconds, `failures` how many requests for this message failed in a
        row before this one while the account was not held. `evidence` is for refusals.
        """
        result = self._settled(message, outcome, now, held_total, failures, evidence)
        return overdue.settled(result, outcome, self._overdue_after, now, self._reckoning.to_wall)

    def _settled(
        self, message: Message, outcome: Outcome, now: float, held_total: float, failures: int, evidence: Evidence
    ) -> Result:
        idle = held_total + self._reckoning.doubted - message.frozen_at
        if idle < 0.0:
            idle = 0.0
        match outcome:
            case Answer():
                return self._answered(message, outcome, now, idle)
            case NotFound():
                known = history.met(message.trail, now, history.NOT_FOUND)
                missing = successor.polled(message, now, "404", trail=known, misses=message.misses + 1)
                if message.seen_at is None:
                    return self._never_seen(missing, now, idle)
                return self._missing(missing, now, held_total, evidence)
            case Rejected():
                known = history.met(message.trail, now, history.REFUSED)
                struck = successor.polled(message, now, outcome.kind, trail=known, strikes=message.strikes + 1)
                return self._rejected(struck, now, held_total, evidence)
            case Trouble():
                return self._failed(message, outcome, now, idle, failures)

    def again(self, message: Message, now: float, held_total: float) -> Message:
        """Take up a message that was given up: its clocks start anew, what was reported stays reported."""
        elapsed = max(0.0, now - message.sent_at)
        fresh = msgspec.structs.replace(
            message,
            state=State.PENDING,
            base=now,
            frozen_at=held_total + self._reckoning.doubted - elapsed,
            misses=0,
            strikes=0,
            refused_since=None,
            unknown=False,
            finished_at=None,
            gave_up_for=None,
            overdue_at=overdue.armed_at(message, self._overdue_after, now),
        )
        return successor.planned(fresh, now, Decision(0.0, "taken up again"))

    def resumed(self, message: Message, now: float) -> Result:
        """Go on with a message that was given up by a refusal which turned out to be everybody's."""
        fresh = msgspec.structs.replace(
            message,
            state=State.PENDING,
            misses=0,
            strikes=0,
            refused_since=None,
            finished_at=None,
            gave_up_for=None,
            resumed_at=now,
        )
        body = diff.resumed(message, HoldReason.REFUSING, self._reckoning.to_wall(now))
        return Result(successor.planned(fresh, now, Decision(0.0, "taken up again")), (body,), was=State.GAVE_UP)

    # -- outcomes

    def _answered(self, message: Message, answer: Answer, now: float, idle: float) -> Result:
        found = diff.diff(message.recipients, answer.recipients, now + answer.ahead)
        waiting = diff.waiting(found.recipients)
        dated = dated_by(message, waiting or found.recipients, answer, now)
        learn(self._policy, dated, found, waiting, now, answer.ahead)
        where = operator(waiting[0]) if waiting else None
        base = self._policy.base_for(where, dated.sending, dated.base)
        validity = message.validity if answer.validity is None else answer.validity
        if base != dated.base or validity != dated.validity or found.recipients is not dated.recipients:
            dated = msgspec.structs.replace(dated, base=base, validity=validity, recipients=found.recipients)
        deadline = self._deadline(dated, idle)
        over = found.recipients and not waiting
        if over or now >= deadline:
            known = successor.shown(dated, answer, waiting, now, dated.next_poll_at, dated.next_reason)
        else:
            decision = self._cadence(dated, waiting, answer.ahead, now)
            at = successor.due(now, decision, deadline)
            known = successor.shown(dated, answer, waiting, now, at, decision.reason)
        bodies = tuple(diff.bodies(known, found, self._reckoning.to_wall(now))) if found.changes or not waiting else ()
        if over:
            return Result(successor.ended(known, State.FINISHED, now), bodies, polls=1)
        if now >= deadline:
            ends = self._ends(known, deadline, now)
            if now >= ends:
                return self._given_up(known, GiveUpReason.DEADLINE, now, bodies)
            known = successor.planned(known, now, self._cadence(known, waiting, answer.ahead, now), ends)
        unchanged = found.recipients is message.recipients and successor.same_frame(message, known)
        return Result(known, bodies, polls=1, full=not unchanged, steady=successor.goes_on(message, base))

    def _never_seen(self, message: Message, now: float, idle: float) -> Result:
        """It may be sent later, or be none of this account's: nothing but its age shows it."""
        sendtime = message.sendtime
        if sendtime is not None and sendtime > now:
            return Result(successor.planned(message, now, self._scheduled(now, sendtime)), polls=1, full=False)
        if sendtime is None:
            ends = message.sent_at + self._settings.scheduled_horizon + idle
        else:
            ends = sendtime + self._settings.give_up_after + idle
        ends = self._ends(message, ends, now)
        if now >= ends and message.misses >= LEAST_MISSES:
            return self._given_up(message, GiveUpReason.NOT_FOUND, now)
        origin = max(message.sent_at + idle, sendtime or 0.0)
        if now >= origin + self._settings.not_found_grace:
            message = msgspec.structs.replace(message, unknown=True)
        decision = self._policy.not_visible(now, origin, message.misses)
        return Result(successor.planned(message, now, decision, ends if ends > now else None), polls=1, full=False)

    def _missing(self, message: Message, now: float, held_total: float, evidence: Evidence) -> Result:
        """It was there: the grace begins with the first poll that misses it."""
        if (sendtime := _still_to_be_sent(message, now)) is not None:
            message = msgspec.structs.replace(message, misses=0, refused_since=None)
            return Result(successor.planned(message, now, self._scheduled(now, sendtime)), polls=1, full=False)
        active = self.active(now, held_total)
        message, lasted = refusals.run(message, active, evidence)
        deadline = self._ends(message, self._deadline(message, max(0.0, now - active - message.frozen_at)), now)
        if message.misses >= LEAST_MISSES and (lasted >= self._settings.not_found_grace or now >= deadline):
            return self._refused(message, GiveUpReason.NOT_FOUND, now, lasted, evidence)
        left = self._settings.not_found_grace - lasted
        if left <= 0:
            # Only too few 404s so far.
            again = Decision(self._settings.min_interval, "the gateway does not show it any more")
            return Result(successor.planned(message, now, again), polls=1, full=False)
        decision = self._policy.not_visible(now, now - lasted, message.misses)
        return Result(successor.planned(message, now, decision, now + left), polls=1, full=False)

    def _rejected(self, message: Message, now: float, held_total: float, evidence: Evidence) -> Result:
        message, lasted = refusals.run(message, self.active(now, held_total), evidence)
        if message.strikes >= MAX_STRIKES:
            return self._refused(message, GiveUpReason.REJECTED_REQUEST, now, lasted, evidence)
        wait = self._spread(min(self._settings.max_interval, STRIKE_FIRST * STRIKE_GROWTH ** (message.strikes - 1)))
        decision = Decision(wait, f"the gateway refused it ({phrases.answer(message.last_answer)})")
        return Result(successor.planned(message, now, decision), polls=1, full=False)

    def _refused(self, message: Message, reason: GiveUpReason, now: float, lasted: float, evidence: Evidence) -> Result:
        """The end by a refusal, if it is believed."""
        if evidence.believed or (evidence.alone and lasted >= refusals.LEAST_ALONE):
            return self._given_up(message, reason, now)
        wait = self._spread(refusals.look_again(lasted))
        why = (
            f"the gateway refused it ({phrases.answer(message.last_answer)}); "
            "it is given up only while other messages are answered"
        )
        return Result(successor.planned(message, now, Decision(wait, why)), polls=1, full=False, doubted=True)

    def _failed(self, message: Message, trouble: Trouble, now: float, idle: float, failures: int) -> Result:
        # Others are answered, this one never is: then its deadline holds after all.
        sure = self._reckoning.sure_since + self._spread_over
        if failures >= FAILURES_BEFORE_DEADLINE and now >= max(self._deadline(message, idle), sure):
            return self._given_up(message, GiveUpReason.DEADLINE, now)
        message = msgspec.structs.replace(message, trail=history.met(message.trail, now, trouble.reason.value))
        wait = self._spread(min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(failures, 10)))
        return Result(successor.planned(message, now, Decision(wait, _failure(trouble))), full=False)

    # -- parts

    def _scheduled(self, now: float, at: float) -> Decision:
        """The wait for what is sent at `at`; a reason names that time as the wall clock shows it."""
        to_wall = self._reckoning.to_wall
        return self._policy.scheduled(to_wall(now), to_wall(at))

    def _cadence(self, message: Message, waiting: list[Recipient], ahead: float, now: float) -> Decision:
        if (sendtime := _still_to_be_sent(message, now)) is not None:
            return self._scheduled(now, sendtime)
        return following(self._policy, message, now, waiting, ahead=ahead)

    def _deadline(self, message: Message, idle: float) -> float:
        """After sending, or after sendtime + validity_period when that is later; held time does not count."""
        lasts = self._settings.give_up_after
        if message.validity is not None and message.validity > lasts:
            lasts = message.validity
        return message.sending + lasts + idle

    @property
    def _spread_over(self) -> float:
        """Seconds over which the answers are spread that a message gets before it ends by its age."""
        return min(self._settings.not_found_grace, self._settings.give_up_after / 2)

    def _ends(self, message: Message, deadline: float, now: float) -> float:
        """When a message past its `deadline` ends, and must be asked about at the latest.

        Its age may be wrong: by a clock, or by whoever handed it over. So it gets its answers first, counted since the
        daemon's time is beyond doubt.
        """
        if now < deadline:
            return deadline
        since, spread, answers = self._reckoning.sure_since, self._spread_over, message.polls
        if (message.first_poll_at or 0.0) < since:
            # Its entries are whole tenths of a second.
            answers = sum(1 for poll in history.polls(message.trail) if not poll.failed and poll.at >= since - 0.1)
        if answers < LEAST_ANSWERS:
            return max(deadline, now + spread / 2)
        return max(deadline, max(since, message.taken_at or 0.0) + spread)

    def _given_up(self, message: Message, reason: GiveUpReason, now: float, bodies: tuple[Body, ...] = ()) -> Result:
        body = diff.gave_up(message, reason, self._reckoning.to_wall(now))
        return Result(successor.ended(message, State.GAVE_UP, now, reason), (*bodies, body), polls=1)

    def _spread(self, seconds: float) -> float:
        return max(self._settings.min_interval, seconds * self._rng.uniform(1.0 - SPREAD, 1.0 + SPREAD))


def _failure(trouble: Trouble) -> str:
    return f"the last request failed: {phrases.hold_cause(trouble.reason)} ({phrases.answer(trouble.kind)})"


def untracked(message: Message, now: float, wall: float) -> Result:
    """Stop following a message on request, at the instant `now`, which is `wall` by the wall clock."""
    body = diff.gave_up(message, GiveUpReason.UNTRACKED, wall)
    return Result(successor.ended(message, State.GAVE_UP, now, GiveUpReason.UNTRACKED), (body,), was=message.state)


def _still_to_be_sent(message: Message, now: float) -> float | None:
    """When a message is sent that is not sent yet; None: it is, or that is not known.

    Where this machine's clock is behind, each new message seems to be scheduled. Its state shows it.
    """
    sendtime = message.sendtime
    if sendtime is None or sendtime <= now or any(r.status not in lifecycle.UNSENT for r in message.recipients):
        return None
    return sendtime
