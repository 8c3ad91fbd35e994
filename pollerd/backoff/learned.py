"""What is known about each operator and about all of them: histories, expiry windows and the plans made from them."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import msgspec

from pollerd.backoff import contradiction, expiry, hazard, plan, rails
from pollerd.backoff.companions import Finding
from pollerd.backoff.contradiction import Contradiction
from pollerd.backoff.expiry import Expiries
from pollerd.backoff.hazard import History
from pollerd.backoff.plan import Table
from pollerd.backoff.protocol import Key, Settings

NEVER_YET = -1e18  # Seconds: an instant before all others, and still a number to reckon with.

REBUILD_AFTER = 30.0  # Seconds between two plans of a network at least,
REBUILD_YOUNG = 5.0  # while it is young,
REBUILD_FIRST = 1.5  # and for its first ones.
YOUNG_EVENTS = 500.0
"""Until so many events the picture changes quickly and plans are made anew more often, the first ones most."""

FOLLOWED = 20.0
"""So many messages must have been followed through an age, so that what comes later does not go unnoticed."""

FIRST_EVENTS = 25.0  # Events that the share below is taken of at least: not each of the first ones makes a plan.
NEW_EVENTS = 0.02  # Share of new events, and
NEW_PRICE = 0.04  # change of the price, from which a plan is made anew.
STALE = 1800.0
"""After so many seconds a plan is made anew even without events: that nothing comes is information as well."""

DECISIONS = 200  # Of one network.
DECISIONS_WORLD = 600  # Of all networks together, which are decided for more often.
DECISIONS_YOUNG = 8
"""A plan serves at least so many decisions before the next one is made, which bounds the cost of each."""

FADE_EVERY = 3600.0  # Seconds between two fadings: a week's half-life needs no finer step.

MOST_KEYS = 500
"""Networks known at a time: more than anybody sends to, some 25 KB each. A gateway may invent any number; the least
known one is dropped."""


SINGLE = (0, 0)
"""The kind of a message with one recipient; see `Learned.group`."""


@dataclass(slots=True)
class GroupPlan:
    """The plan for a number of recipients, made from `base`; kept for a quota of decisions."""

    table: Table
    base: Table
    quota: int


class OperatorModel:
    """One operator: what was seen, and the plan made from it."""

    __slots__ = (
        "built_at",
        "built_events",
        "built_expiry",
        "contradiction",
        "edges",
        "expiries",
        "faded_at",
        "groups",
        "hazards",
        "history",
        "mistrusted_at",
        "quota",
        "rail",
        "rail_step",
        "seen",
        "table",
    )

    def __init__(self) -> None:
        self.history = History()
        self.expiries = Expiries()
        self.seen = 0.0
        self.hazards: list[float] = []
        self.edges: list[float] = []
        self.table: Table | None = None
        self.rail: rails.Growth | None = None
        self.rail_step = 0.0
        self.contradiction = Contradiction()
        self.mistrusted_at = NEVER_YET
        self.groups: dict[tuple[int, int], GroupPlan] = {}
        self.built_at = NEVER_YET
        self.built_events = 0.0
        self.built_expiry = -1
        self.quota = 0
        self.faded_at: float | None = None

    def young(self) -> bool:
        """Is too little known for the plan to stay?"""
        return self.seen < YOUNG_EVENTS

    def known(self) -> float:
        """The age up to which enough messages were followed for a plan to be trusted with long waits."""
        return 0.0 if self.young() else self.history.followed(FOLLOWED)

    def due(self, now: float, price: float) -> bool:
        """Is a new plan worth its time?"""
        table = self.table
        if table is None:
            return True
        passed = now - self.built_at
        if 0 <= passed < self._rest():
            return False
        return (
            passed > STALE
            or self.seen - self.built_events > NEW_EVENTS * max(self.history.total, FIRST_EVENTS)
            or abs(log(table.price / price)) > NEW_PRICE
            or self.built_expiry != self.expiries.version
        )

    def _rest(self) -> float:
        """Seconds for which a plan stays."""
        if self.young():
            return max(REBUILD_FIRST, REBUILD_YOUNG * self.seen / YOUNG_EVENTS)
        return REBUILD_AFTER

    def unplanned(self) -> bool:
        """Is enough known for a plan, and none was made because no message was pending at a poll?"""
        return self.table is None and self.history.total >= contradiction.SURE

    def sure(self) -> bool:
        """Is there a plan, made from so much that it can be contradicted?"""
        return self.table is not None and self.built_events >= contradiction.SURE

    def contradicted(self, now: float, found: Finding, share: float) -> bool:
        """A message, or a `share` of its recipients, ended: are too many like it?"""
        table = self.table
        # Of those sent before the last contradiction only the late ones still end.
        if table is None or found.submit < self.mistrusted_at <= now:
            return False
        soon, late = a0, a1 = found.a0, found.a1
        if found.event_age is not None:
            soon = max(found.event_age - contradiction.RESOLUTION, a0)
            late = max(min(found.event_age + contradiction.RESOLUTION, a1), soon)
        return self.contradiction.ended(table.alive(soon), table.alive(late), share)

    def mistrust(self, now: float) -> None:
        """What was learned is contradicted: let it count for little."""
        self.mistrusted_at = now
        self.history.scale(min(contradiction.LEFT / max(self.history.total, 1.0), 1.0))
        self.renewed()

    def renewed(self) -> None:
        """The history is another one now: the next decision makes a new plan."""
        self.seen = self.history.total
        self.contradiction.clear()
        self.groups.clear()
        self.drop_plan()

    def drop_plan(self) -> None:
        """The plan at hand no longer counts: the next decision makes a new one."""
        self.built_at = NEVER_YET
        self.quota = 0

    def fade(self, now: float) -> None:
        """Let the history lose weight with the time passed."""
        if self.faded_at is None:
            self.faded_at = now
        elif now - self.faded_at > FADE_EVERY:
            self.history.decay(now - self.faded_at)
            self.faded_at = now


PRIOR_EDGES = hazard.survival_at_edges(hazard.PRIOR)


class _OperatorState(msgspec.Struct, array_like=True):
    key: msgspec.Raw
    events: list[float]
    exposure: list[float]
    expiries: list[tuple[float, float]]
    faded_at: float | None


class LearnedState(msgspec.Struct, array_like=True):
    """The form of `Learned` in a snapshot."""

    world: _OperatorState
    operators: list[_OperatorState]


class Learned:
    """All operators by key, and the world: all of them together, which stands in for what a key does not know yet."""

    __slots__ = ("_settings", "operators", "world")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.world = OperatorModel()
        self.operators: dict[Key, OperatorModel] = {}

    def known(self, key: Key) -> OperatorModel:
        """The operator of `key`; the world while nothing was seen of it."""
        return self.operators.get(key) or self.world

    def _both(self, key: Key) -> tuple[OperatorModel, OperatorModel]:
        operator = self.operators.get(key)
        if operator is None:
            if len(self.operators) >= MOST_KEYS:
                del self.operators[min(self.operators, key=lambda each: self.operators[each].history.total)]
            operator = self.operators[key] = OperatorModel()
        return operator, self.world

    def pending(self, key: Key, a0: float, a1: float) -> None:
        """A poll at age `a1` found what the one at `a0` had found."""
        if a1 > a0:
            operator, world = self._both(key)
            hazard.expose_all((operator.history, world.history), a0, a1)

    def judge(self, now: float, found: Finding, share: float) -> bool:
        """Hold the end of a `share` of a message's recipients against their operator's plan.

        True when so little is left of what was learned over all operators that price and first poll start anew.
        """
        operator, world = self._both(found.key)
        if not (operator.sure() and operator.contradicted(now, found, share)):
            return False
        world.history.remove(operator.history)
        world.renewed()
        operator.mistrust(now)
        # Until there is a new plan, that of the world is the better guide.
        operator.table = None
        return world.young()

    def changed(self, key: Key, a0: float, a1: float, event_age: float | None) -> None:
        """A final state came between `a0` and `a1`, at `event_age` if the gateway gave it."""
        both = self._both(key)
        for operator in both:
            operator.seen += 1.0
        if event_age is None:
            edges = both[0].edges or self.world.edges or PRIOR_EDGES
            hazard.spread_all([operator.history for operator in both], a0, a1, edges)
            return
        if event_age > a0:
            hazard.expose_all([operator.history for operator in both], a0, event_age)
        for operator in both:
            operator.history.event(event_age)

    def expired(self, key: Key, exposed: tuple[float, float], expiry_age: tuple[float, float]) -> bool:
        """The message was pending over the ages `exposed`, and expired within the ages `expiry_age` from sending.

        True when this changes what is known about expiry at `key` so much that pending messages need a new plan.
        """
        both = self._both(key)
        for operator in both:
            operator.history.expose(*exposed)
            operator.expiries.add(*expiry_age)
        if not both[0].expiries.changed():
            return False
        both[0].drop_plan()
        return True

    def table(self, operator: OperatorModel) -> Table:
        """The plan at hand, that of the world where the operator has none yet; `build` must have run."""
        table = operator.table or self.world.table
        if table is None:
            raise RuntimeError("no plan was made yet; call build first")
        return table

    def build(self, operator: OperatorModel, now: float, price: float, first: float) -> Table:
        """Make a new plan for `operator` at this price."""
        operator.fade(now)
        world = self.world
        if operator is world or not world.hazards:
            world.hazards = hazard.world_hazards(world.history)
        if operator is not world:
            operator.hazards = hazard.key_hazards(operator.history, world.hazards)
        operator.edges = hazard.survival_at_edges(operator.hazards)
        windows = expiry.windows(operator.expiries, world.expiries)
        grid = plan.grid(self._settings, windows)
        operator.table = plan.solve(self._settings, grid, operator.hazards, price, (operator.known(), first))
        operator.built_at = now
        operator.built_events = operator.seen
        operator.built_expiry = operator.expiries.version
        operator.quota = self._quota(operator)
        return operator.table

    def _quota(self, operator: OperatorModel) -> int:
        if self.world.young():
            return DECISIONS_YOUNG + int(operator.seen / 4)
        return DECISIONS_WORLD if operator is self.world else DECISIONS

    def group(
        self, operator: OperatorModel, kind: tuple[int, int], settings: Settings, price: float, *, hold: bool
    ) -> tuple[Table, bool]:
        """The plan for messages of a `kind`, made from the one at hand, and whether it was made just now.

        `kind` holds the octaves of the recipients that are pending at first, and of those that an answer shows;
        `settings` and `price` are for such an answer. With `hold` a stale plan, or that of the world, is good enough.
        """
        base = self.table(operator)
        if kind == SINGLE:
            return base, False
        group = operator.groups.get(kind)
        if group is not None:
            group.quota -= 1
            if hold or group.quota > 0 or group.base is base:
                return group.table, False
        elif hold and operator is not self.world:
            return self.group(self.world, kind, settings, price, hold=True)
        table = plan.solve_group(settings, base, price, 2 ** kind[0])
        operator.groups[kind] = GroupPlan(table, base, self._quota(operator))
        return table, True

    def forget(self, key: Key) -> bool:
        """Know nothing of `key` any more, nor all operators together by it; False where nothing was known."""
        operator = self.operators.pop(key, None)
        if operator is None:
            return False
        self.world.history.remove(operator.history)
        self.world.renewed()
        return True

    def dump(self) -> LearnedState:
        """For a snapshot. Keys that have no plain form are left out; they are learned anew."""
        states = []
        for key, operator in self.operators.items():
            try:
                states.append(_dump(key, operator))
            except TypeError:
                continue
        return LearnedState(_dump(None, self.world), states)

    def load(self, state: LearnedState) -> None:
        """The reverse of `dump`. Raises ValueError or `msgspec.MsgspecError` when the state makes no sense."""
        world = _load(state.world)
        operators = {key_of(s.key): _load(s) for s in state.operators}
        self.world, self.operators = world, operators


def _dump(key: Key, operator: OperatorModel) -> _OperatorState:
    events, exposure = operator.history.dump()
    raw = msgspec.Raw(msgspec.msgpack.encode(key))
    return _OperatorState(raw, events, exposure, list(operator.expiries.samples), operator.faded_at)


def _load(state: _OperatorState) -> OperatorModel:
    operator = OperatorModel()
    operator.history = History.load(state.events, state.exposure)
    operator.expiries = Expiries(state.expiries)
    operator.seen = operator.history.total
    operator.faded_at = state.faded_at
    return operator


def key_of(raw: msgspec.Raw) -> Key:
    """A key as it was before the snapshot. Raises ValueError for what cannot be a key."""

    def hashable(value: object) -> Key:
        if isinstance(value, list):
            return tuple(hashable(v) for v in value)
        if isinstance(value, dict):
            raise ValueError("a key cannot be a map")  # noqa: TRY004 - damaged data, whatever its type
        return value

    return hashable(msgspec.msgpack.decode(raw))
