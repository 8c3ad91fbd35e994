"""Keeps the plans up to date: makes what is due anew, seeks the price that meets the budget, and the first polls."""

from __future__ import annotations

from math import inf

from pollerd.backoff import budget, plan, rails
from pollerd.backoff.groups import Sizes
from pollerd.backoff.learned import NEVER_YET, Learned, OperatorModel
from pollerd.backoff.protocol import Settings

STEER_AFTER = 30.0  # Seconds between two moves of the price, and while young.
STEER_YOUNG = 2.0  # Seconds.
STEER_QUOTA = 300  # Decisions between two moves of the price, and while young.
STEER_QUOTA_YOUNG = 10  # Decisions.
ASTRAY = 0.1
"""Off the budget by more than this share, or young: the price is moved more often."""

MIXTURE = 16  # Networks in the mixture, the largest: more do not change the first poll.
DUE_AGAIN = 10  # Decisions until a plan put off is due again.
START_STEPS = 8  # Moves of the price at a start at most.
START_CLOSE = 0.05  # Change of the price at which it has settled.
START_STRIDE = 8.0
"""At the start the price may move by so much at once: nothing depends on it yet."""

BREATH = 0.025
"""Decisions this close together (seconds) make one plan at most, so that a crowd of them does not stop the daemon."""

EVENTS_TO_DOUBLE = 8.0
"""With each so many events the price may rise by its first value: too few have come to believe in a long tail."""


class Planner:
    """The plans for what `learned` knows.

    `price` is that of a poll, `first` the age of the first poll of a message with one recipient, `predicted` the polls
    a message that are expected, `arrivals` how many messages come.
    """

    def __init__(self, settings: Settings, learned: Learned) -> None:
        self._settings = settings
        self._learned = learned
        self._planned_at = NEVER_YET
        self._steered_at = NEVER_YET
        self._astray = True
        self._quota = 0
        self._least = min(budget.FIRST_LEAST, settings.min_interval)
        self.arrivals = budget.Arrivals(settings)
        self.predicted = 0.0
        self._wanted = settings.polls_per_message
        self.sizes = Sizes(settings)
        self.begin()

    def begin(self) -> None:
        """Seek the price and the first poll from the start."""
        self.price = 1.0
        self._start_price = 0.0
        self._start_steps = START_STEPS
        fixed = self._settings.first_poll_after
        self.first = budget.FIRST_START if fixed is None else fixed

    def go_on(self, price: float, first: float) -> None:
        """Go on from an earlier run's price and first poll."""
        self.price = min(max(price, budget.PRICE_LOW), budget.PRICE_HIGH)
        if self._settings.first_poll_after is None:
            self.first = min(max(first, self._least), budget.FIRST_MOST)
        # The plans are made as they are needed; until then there is nothing to steer by.
        self._quota = STEER_QUOTA

    def first_for(self, k: int) -> float:
        """The age of the first poll of a message with `k` recipients, of whatever networks."""
        size = budget.octave_of(k)
        return self.first if size == 0 else self.sizes.first(size, self.first)

    def settle(self, operator: OperatorModel, k: int = 1) -> None:
        """Have a plan for `operator`, and the price of a message with `k` recipients, whatever it takes."""
        while self._start_steps:
            self._start(0.0)
        if operator.table is None:
            self.build(operator, 0.0)
        self.first_for(k)
        while self.sizes.unsettled():
            self._settle_size()

    def upkeep(self, now: float, operator: OperatorModel) -> None:
        """Make what is due anew, once its quota of decisions is used up: that bounds the cost of a decision."""
        self._quota -= 1
        operator.quota -= 1
        if operator.quota < 0:
            operator.quota = DUE_AGAIN
            if 0 <= now - self._planned_at < BREATH:
                operator.quota = 0
            elif self._start_steps:
                self._start(now)
            elif operator.due(now, self.price):
                self.build(operator, now)
        if self.sizes.unsettled() and not self._start_steps and not 0 <= now - self._planned_at < BREATH:
            self._settle_size()
            self._planned_at = now
        if self._quota < 0:
            self._quota = DUE_AGAIN
            if not self._start_steps and self._steering_due(now):
                self._steer(now)

    def build(self, operator: OperatorModel, now: float) -> None:
        """Make the plan of `operator` anew."""
        world = self._learned.world
        if world.table is None and operator is not world:
            # After a restart or a reload: it stands in for all plans that are not made yet.
            self._learned.build(world, now, self.price, self.first)
        self._learned.build(operator, now, self.price, self.first)
        self._planned_at = now
        if not self._start_steps:
            self._rail(operator)

    def _rail(self, operator: OperatorModel) -> None:
        """Compare the new plan with exponential backoff; the world's also decides about the first poll."""
        settings, table = self._settings, self._learned.table(operator)
        shared = operator is not self._learned.world or settings.first_poll_after is not None

        def better() -> rails.Growth | None:
            found, operator.rail_step = rails.better(settings, table, self.first, operator.rail_step, shared=shared)
            return found

        operator.rail = better()
        if operator.rail is None or shared:
            return
        # Often it is only the first poll that has not followed yet.
        self.first = budget.best_first(settings, [(1.0, table)], self.first, inf)
        operator.rail = better()
        if operator.rail is not None:
            self.first = min(operator.rail.first, budget.FIRST_MOST)

    def group(self, operator: OperatorModel, octave: int, size: int, now: float) -> plan.Table:
        """The plan for some 2 ** `octave` recipients pending at first, in answers of some 2 ** `size`.

        A stale one, or the world's, while another was just made.
        """
        busy = 0 <= now - self._planned_at < BREATH
        bounds, price = self.sizes.bounds(size), self.price * self.sizes.factor(size)
        table, made = self._learned.group(operator, (octave, size), bounds, price, hold=busy)
        if made:
            self._planned_at = now
        return table

    def _start(self, now: float) -> None:
        """One step towards the first plan at the price at which it meets the budget; a restart brings its price."""
        self.build(self._learned.world, now)
        self._start_steps -= 1
        if not self._learned.world.young():
            self._start_steps = 0
            return
        before = self.price
        self._steer(now, START_STRIDE)
        # The next decision of anybody takes the next step.
        self._learned.world.quota = 0
        if abs(self.price / before - 1.0) < START_CLOSE or not self._start_steps:
            self._start_steps = 0
            self._start_price = self.price

    def _settle_size(self) -> None:
        # By the network that is known best: over all of them together, not even the dates of expiry are sharp.
        planned = [each for each in self._learned.operators.values() if each.table is not None]
        typical = max(planned, key=lambda each: each.history.total, default=self._learned.world)
        self.sizes.settle(self._learned.table(typical), self.price, self._wanted, self.first)

    def _steering_due(self, now: float) -> bool:
        return not 0 <= now - self._steered_at < (STEER_YOUNG if self._astray else STEER_AFTER)

    def _mixture(self) -> budget.Mixture:
        """Shares and plans of the largest operators; the world stands in for the rest, and for plans not made yet."""
        learned = self._learned
        known = [(o.history.total, o.table) for o in learned.operators.values() if o.table and o.history.total > 0]
        known = sorted(known, key=lambda each: -each[0])[:MIXTURE]
        whole = max(learned.world.history.total, sum(total for total, _ in known)) + 1.0
        shares = [(total / whole, table) for total, table in known]
        return [*shares, (1.0 - sum(share for share, _ in shares), learned.table(learned.world))]

    def _steer(self, now: float, stride: float = budget.STEP) -> None:
        """Choose the first polls anew, predict the polls a message, and move the price towards the budget."""
        young = self._learned.world.young()
        reach = budget.FIRST_REACH if young else budget.FIRST_REACH_LATER
        mixture = self._mixture()
        first = budget.best_first(self._settings, mixture, self.first, reach)
        if self._learned.world.rail is None:
            self.first = first
        self.predicted = budget.expected_polls(mixture, first, self.price)
        forced = budget.forced_polls(self._settings, mixture[-1][1], first)
        # What `max_interval` forces no price can save: to make up for it would take all polls from the young.
        self._wanted = wanted = budget.wanted_polls(self._settings, self.arrivals.rate(now))
        target = max(wanted, forced + min(budget.LEAST_LEFT, wanted))
        self.price = budget.steered(self.price, self.predicted, target, stride)
        self._astray = young or abs(self.predicted / target - 1.0) > ASTRAY
        if young and self._start_price:
            most = self._start_price * (1.0 + self._learned.world.seen / EVENTS_TO_DOUBLE)
            self.price = min(self.price, max(most, budget.PRICE_LOW))
        self._steered_at = now
        self._quota = STEER_QUOTA_YOUNG if self._astray else STEER_QUOTA

    def maintain(self, now: float) -> bool:
        """Do one step of what is due, at most one plan; True while more remains."""
        learned = self._learned
        if self._start_steps:
            self._start(now)
            return True
        due = [o for o in (learned.world, *learned.operators.values()) if o.due(now, self.price)]
        if due:
            self.build(min(due, key=lambda o: o.built_at), now)
            return len(due) > 1 or self.sizes.unsettled()
        if self.sizes.unsettled():
            self._settle_size()
            return self.sizes.unsettled()
        if self._steering_due(now):
            self._steer(now)
        return False
