"""The learning policy: optimal inspection over the delays seen so far, within the guards and a budget of polls."""

from __future__ import annotations

from random import Random

import msgspec
from msgspec.structs import replace

from pollerd.backoff import budget, dates, explain, groups, guards, rails, reasons
from pollerd.backoff.companions import Companions, Finding
from pollerd.backoff.learned import NEVER_YET, Learned, LearnedState, key_of
from pollerd.backoff.outage import OutageClocks
from pollerd.backoff.plan import Table
from pollerd.backoff.planner import Planner
from pollerd.backoff.protocol import EVERYWHERE, Decision, Group, Key, KeyInfo, Metrics, Part, Plan, Settings

BARE = Settings(min_interval=0.5, max_interval=86400.0, patience=6.0)
"""Bounds without settings: wide, since an hourly poll for what will never come costs a third of a usual budget."""

OUTAGE_AGE = 1800.0  # Seconds: older messages say little about an outage, most have ended by then.
OUTAGE_EVENTS = 200.0  # Final states (decayed) before a network's hazard can promise anything.
LEAST_PROMISE = 0.01  # A smaller chance of a change is not counted as one promised.
STALLED_SHARE = 0.5  # Of the age: the shortest wait while the network stalls.
PROBING = 15.0  # Seconds of age up to which messages probe a stalled network at their normal pace.
REJOIN_WITHIN = 1.0  # Seconds after a wake in which `next` counts as `replan`.
REJOIN_SPREAD = 30.0  # Seconds over which messages come back after an outage, so as not to come at once.
EXPIRED = "EXPIRED"
COUNT_FADE = 0.5 ** (1 / 5000)  # For each message: the weight of earlier ones halves over 5,000.
SNAPSHOT_VERSION = 1  # Of the stored form; another one is not read.


class _Snapshot(msgspec.Struct, array_like=True):
    version: int
    learned: LearnedState
    price: float
    first: float
    ended: list[tuple[msgspec.Raw, float, float]]
    arrivals: list[float] = []
    arrived_at: float | None = None


class Adaptive:
    """Learns when messages change and polls when it is worth it; see `Policy` for the methods.

    `polls_per_message` is the budget. It wins over the one in `settings`; without settings, the bounds are `BARE`.
    """

    def __init__(self, polls_per_message: float = 5, seed: int = 0, *, settings: Settings | None = None) -> None:
        self._settings = replace(settings or BARE, polls_per_message=float(polls_per_message))
        self._rng = Random(seed)
        self._fresh()

    def _fresh(self) -> None:
        self._learned = Learned(self._settings)
        self._planner = Planner(self._settings, self._learned)
        self._outages = OutageClocks()
        self._woken_at = NEVER_YET
        self._dated_keys: set[Key] = set()
        self._companions = Companions()
        self._messages = 0.0
        self._polls = 0.0

    # ------------------------------------------------------------------ decisions

    def first(self, now: float, *, k: int = 1) -> Decision:
        """See `Policy.first`. The learned age of the first poll."""
        if self._companions.shown:
            self._settle()
        self._messages = self._messages * COUNT_FADE + 1.0
        self._polls = self._polls * COUNT_FADE + 1.0
        self._planner.arrivals.add(now)
        self._planner.upkeep(now, self._learned.world)
        fixed = guards.first_fixed(self._settings)
        if fixed is not None:
            return fixed
        delay = self._planner.first_for(k)
        return Decision(guards.jittered(delay, self._rng), reasons.FIRST_LEARNED)

    def next(
        self,
        now: float,
        key: Key,
        submit: float,
        base: float,
        *,
        k: int = 1,
        validity: float | None = None,
        group: Group | None = None,
    ) -> Decision:
        """See `Policy.next`. Within a second of a wake it counts as `replan`."""
        if self._companions.shown:
            self._settle()
        self._polls += 1.0
        if now - self._woken_at < REJOIN_WITHIN and (woken := self._rejoined(now, key, submit, base)):
            return woken
        of = self._companions.size(submit, k) if group is None else max(group.of, k)
        if of > 1:
            return self._next_of_group(
                now, Part(key, k, base), submit, validity, Group(of, group.parts if group else ())
            )
        operator = self._learned.known(key)
        self._planner.upkeep(now, operator)
        settings, rail, table = self._settings, operator.rail, self._learned.table(operator)
        age = now - base if now > base else 0.0
        moved = base > submit + 1.0
        due = table.next_age(age) if rail is None else age + rails.gap_at(settings, rail, age)
        if moved or validity is not None or due >= table.grid.begins:
            dated = dates.deciding(settings, table, now - submit, None if moved else due, validity, rng=self._rng)
            if dated is not None:
                return dated
        delay = due - age
        if rail is None:
            delay = guards.bounded(settings, delay, age, self._planner.first, table.reach(age))
        cut_short = moved or validity is not None or due > age + delay or rail is not None
        reason = reasons.learned(key, table.usual, now - submit)
        return self._decided(settings, table, now - submit, age, delay, key, validity, reason, cut_short=cut_short)

    def _next_of_group(self, now: float, whole: Part, submit: float, validity: float | None, group: Group) -> Decision:
        """The wait for several recipients: that of the part to be polled first, and less where others are due too."""
        size, planner = budget.octave_of(group.of), self._planner
        planner.upkeep(now, self._learned.known(whole.key))
        settings = planner.sizes.bounds(size)
        dues = []
        for part in group.parts or (whole,):
            operator, age = self._learned.known(part.key), max(now - part.base, 0.0)
            octave = groups.at_first(part.k, self._learned.table(operator), age)
            dues.append(groups.due(settings, part, planner.group(operator, octave, size, now), age, planner.first))
        part, table, age, gap = min(dues, key=lambda each: each.gap)
        moved = whole.base > submit + 1.0
        sent = now - submit if moved else age
        due = table.next_age(age)
        if moved or validity is not None or due >= table.grid.begins:
            dated = dates.deciding(settings, table, sent, None if moved else due, validity, rng=self._rng)
            if dated is not None:
                return dated
        delay = groups.together(dues, settings.max_interval)
        if groups.held_up(whole.k, group.of, table.alive(age)):
            delay = min(delay, max(age * groups.HELD_UP_SHARE, settings.min_interval))
        reason = reasons.group(part.key, whole.k, group.of, table.usual, now - submit)
        cut_short = moved or validity is not None or due > age + gap
        return self._decided(settings, table, sent, age, delay, part.key, validity, reason, cut_short=cut_short)

    def _decided(
        self,
        settings: Settings,
        table: Table,
        sent: float,
        age: float,
        delay: float,
        key: Key,
        validity: float | None,
        reason: str,
        *,
        cut_short: bool,
    ) -> Decision:
        """`delay` varied, longer while the network stalls, and not past an expiry; `sent` is the age from sending."""
        if age > PROBING and self._outages.down(key):
            # The young ones probe, and recovery wakes the old: until then they can wait.
            delay = min(max(2 * delay, age * STALLED_SHARE), guards.longest(settings, age, self._planner.first))
            reason = reasons.stalled(key)
        delay = guards.varied(settings, delay, self._rng)
        if cut_short and (date := dates.passed_over(settings, table, sent, delay, validity)):
            return Decision(date - sent + self._rng.random() * dates.SHARP_JITTER, reasons.EXPIRES)
        return Decision(delay, reason)

    def replan(
        self,
        now: float,
        key: Key,
        submit: float,
        base: float,
        *,
        k: int = 1,
        validity: float | None = None,
        group: Group | None = None,
    ) -> Decision:
        """See `Policy.replan`: soon where an outage has ended or an expiry has become known, else as planned."""
        return self._rejoined(now, key, submit, base) or self.next(
            now, key, submit, base, k=k, validity=validity, group=group
        )

    def _rejoined(self, now: float, key: Key, submit: float, base: float) -> Decision | None:
        if base > submit + 1.0 and now - base < REJOIN_SPREAD:
            return Decision(self._rng.random() * REJOIN_SPREAD, reasons.OUTAGE_OVER)
        if key in self._dated_keys and now - submit > self._learned.known(key).expiries.end():
            return Decision(self._rng.random() * REJOIN_SPREAD, reasons.EXPIRY_KNOWN)
        return None

    def not_visible(self, now: float, submit: float, tries: int) -> Decision:
        return guards.not_visible(self._settings, now - submit, tries, self._rng)

    def scheduled(self, now: float, sendtime: float) -> Decision:
        return guards.scheduled(self._settings, now, sendtime, self._rng)

    # ------------------------------------------------------------------ learning

    def together(self, of: int) -> None:
        """See `Policy.together`."""
        self._settle()
        self._companions.begin(of)

    def observe(
        self,
        now: float,
        key: Key,
        a0: float,
        a1: float,
        terminal: bool,
        event_age: float | None,
        status: str,
        submit: float,
        base: float,
    ) -> None:
        """See `Policy.observe`. Ages may count from `submit` or from `base`: `now` shows which."""
        if not self._companions.same(now, submit):
            self._settle()
        moved = base - submit
        if moved > 1.0 and abs(a1 - (now - submit)) < abs(a1 - (now - base)):
            a0, a1 = a0 - moved, a1 - moved
            event_age = None if event_age is None else event_age - moved
        if a0 < 0.0:
            a0 = 0.0
        if a1 < a0:
            a1 = a0
        expired = terminal and str(status).upper().endswith(EXPIRED)
        age = None if event_age is None else min(max(event_age, a0), a1)
        telling = moved <= 1.0 and not expired
        self._companions.add(now, submit, Finding(key, a0, a1, terminal, age, submit) if telling else None)
        if moved > 1.0 and not expired:
            # The clock was moved: neither age, from sending or from the outage's end, says anything about the operator.
            return
        if expired:
            at = (a0 + moved, a1 + moved) if event_age is None else (event_age + moved, event_age + moved)
            until = (a0 + a1) / 2 if event_age is None else event_age
            exposed = (a0, min(max(until, a0), a1)) if moved <= 1.0 else (0.0, 0.0)
            if self._learned.expired(key, exposed, at):
                self._outages.wake(key)
                self._dated_keys = {key} if now > self._woken_at else {*self._dated_keys, key}
                self._woken_at = now
        elif self._outages.down(key):
            return
        elif terminal:
            self._learned.changed(key, a0, a1, age)
        else:
            self._learned.pending(key, a0, a1)

    def _settle(self) -> None:
        """Hold what the last poll showed against the plans, all its recipients together."""
        shown = self._companions.take()
        if shown is None:
            return
        for key, a0, a1, ended, share in shown.polls():
            if a1 < OUTAGE_AGE:
                self._note(shown.now, key, (a0, a1), ended, share)
        for found, share in shown.endings() if shown.ended else ():
            if self._outages.down(found.key):
                continue
            if (operator := self._learned.known(found.key)).unplanned():
                self._planner.build(operator, shown.now)
            if self._learned.judge(shown.now, found, share):
                self._planner.begin()

    def _note(self, now: float, key: Key, ages: tuple[float, float], ended: float, share: float) -> None:
        operator = self._learned.operators.get(key)
        if operator is None or operator.table is None or operator.history.total < OUTAGE_EVENTS:
            return
        alive = operator.table.alive(ages[0])
        promised = 1.0 - operator.table.alive(ages[1]) / alive if alive > 1e-12 else 0.0
        if (ended or promised > LEAST_PROMISE) and self._outages.note(now, key, promised * share, ended):
            self._woken_at = now

    def index(self, key: Key, a0: float, a1: float) -> float:
        """See `Policy.index`: the weighted staleness expected to have gathered since age `a0`."""
        self._settle()
        operator = self._learned.known(key)
        learned = self._learned
        table = (
            operator.table
            or learned.world.table
            or learned.build(learned.world, 0.0, self._planner.price, self._planner.first)
        )
        alive, w0, m0 = table.at(max(a0, 0.0))
        _, w1, m1 = table.at(max(a1, a0, 0.0))
        return (a1 * (w1 - w0) - (m1 - m0)) / max(alive, 1e-9)

    def base_for(self, key: Key, submit: float, base: float) -> float:
        self._settle()
        return self._outages.base_for(key, submit, base)

    def take_wake(self) -> list[Key]:
        self._settle()
        return self._outages.take_wake()

    def maintain(self, now: float) -> bool:
        self._settle()
        return self._planner.maintain(now)

    # ------------------------------------------------------------------ state and explanation

    def snapshot(self) -> bytes:
        self._settle()
        encode = msgspec.msgpack.encode
        ended = [(msgspec.Raw(encode(key)), began, origin) for key, began, origin in self._outages.dump()]
        arrivals = self._planner.arrivals
        known = (self._learned.dump(), self._planner.price, self._planner.first, ended, arrivals.counts, arrivals.stamp)
        return encode(_Snapshot(SNAPSHOT_VERSION, *known))

    def restore(self, data: bytes) -> None:
        self._fresh()
        try:
            state = msgspec.msgpack.decode(data, type=_Snapshot)
            if state.version != SNAPSHOT_VERSION:
                return
            self._learned.load(state.learned)
            self._outages.load([(key_of(raw), began, origin) for raw, began, origin in state.ended])
            self._planner.arrivals.load(state.arrivals, state.arrived_at)
        except (msgspec.MsgspecError, ValueError, TypeError):
            self._fresh()
            return
        self._planner.go_on(state.price, state.first)

    def explain(self, key: Key = None, *, k: int = 1) -> Plan:
        self._settle()
        operator = self._learned.known(key)
        self._planner.settle(operator, k)
        size = budget.octave_of(k)
        table = self._planner.group(operator, size, size, NEVER_YET) if size else self._learned.table(operator)
        # How many recipients a message has is known from its first answer on.
        settings, first = self._planner.sizes.bounds(size), self._planner.first
        wanted = budget.wanted_polls(self._settings, self._planner.arrivals.latest()) * groups.allowance(size)
        return explain.explained(settings, key, operator, table, first, wanted)

    def forget(self, key: Key | None) -> bool:
        """See `Policy.forget`. With all networks the budget's price and the first poll start anew too."""
        self._settle()
        if key is None:
            known = self._learned.world.history.total > 0.0
            arrivals = self._planner.arrivals
            self._fresh()
            self._planner.arrivals = arrivals
        else:
            known = self._learned.forget(key)
        if known:
            self._outages.wake(EVERYWHERE if key is None else key)
        return known

    def keys(self) -> list[KeyInfo]:
        self._settle()
        down = set(self._outages.down_keys())
        known = [KeyInfo(k, o.history.total, k in down) for k, o in self._learned.operators.items()]
        return sorted(known, key=lambda info: -info.events)

    def metrics(self) -> Metrics:
        self._settle()
        measured = self._polls / self._messages if self._messages else None
        events = self._learned.world.history.total
        return Metrics(
            self._planner.predicted or None, measured, self._planner.price, events, self._outages.down_keys()
        )
