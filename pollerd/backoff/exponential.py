"""Exponential backoff without state: the gap follows from the age alone."""

from __future__ import annotations

from random import Random

from pollerd.backoff import guards, reasons
from pollerd.backoff.protocol import Decision, Group, Key, KeyInfo, Metrics, Plan, PlanRow, Settings

DEFAULT_FIRST = 2.0  # Seconds before the first poll.
PLAN_END = 345600.0  # Seconds of age (four days) and
PLAN_ROWS = 20_000  # polls at which a plan that is shown ends.


class Exponential:
    """Gaps that grow by `factor` from the first one up to `max_interval`, varied by +-10 %.

    Polls at ages a(n) = f (c^(n+1) - 1) / (c - 1) have gaps a(n) (c - 1) + f, so the age is all the state there is, and
    a restart or a delayed poll changes nothing.
    """

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        self._settings = settings
        self._rng = Random(seed)
        fixed = settings.first_poll_after
        self._first = DEFAULT_FIRST if fixed is None else fixed
        self._least = max(self._first, settings.min_interval)

    def _gap(self, age: float) -> float:
        # On the path of every poll: no calls of min() and max().
        gap = self._least if age <= 0.0 else self._least + age * (self._settings.factor - 1.0)
        most = self._settings.max_interval
        return gap if gap < most else most

    def first(self, now: float, *, k: int = 1) -> Decision:
        """The configured first wait exactly, else 2 s varied by +-10 %."""
        fixed = guards.first_fixed(self._settings)
        return fixed or Decision(guards.jittered(self._first, self._rng), reasons.FIRST)

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
        """See `Policy.next`; key, recipients and validity make no difference here."""
        age = now - base if now > base else 0.0
        return Decision(guards.varied(self._settings, self._gap(age), self._rng), reasons.exponential(age))

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
        """See `Policy.replan`; this policy never asks for it."""
        return self.next(now, key, submit, base, k=k, validity=validity, group=group)

    def not_visible(self, now: float, submit: float, tries: int) -> Decision:
        return guards.not_visible(self._settings, now - submit, tries, self._rng)

    def scheduled(self, now: float, sendtime: float) -> Decision:
        return guards.scheduled(self._settings, now, sendtime, self._rng)

    def together(self, of: int) -> None:
        """Nothing is learned."""

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
        """Nothing is learned."""

    def index(self, key: Key, a0: float, a1: float) -> float:
        """Seconds overdue, so that the highest first is the earliest due first."""
        gap = self._gap(a0) if a0 > 0 else self._first
        return a1 - a0 - gap

    def base_for(self, key: Key, submit: float, base: float) -> float:
        """The age clock is never moved."""
        return base

    def take_wake(self) -> list[Key]:
        """Nothing is ever to be re-planned."""
        return []

    def maintain(self, now: float) -> bool:
        """There is no work to do."""
        return False

    def snapshot(self) -> bytes:
        """There is nothing to keep."""
        return b""

    def restore(self, data: bytes) -> None:
        """There is nothing to take up."""

    def forget(self, key: Key | None) -> bool:
        """There is nothing to forget."""
        return False

    def explain(self, key: Key = None, *, k: int = 1) -> Plan:
        """The polls without jitter, up to the age at which polling is given up."""
        end = min(self._settings.give_up_after, PLAN_END)
        age = self._first
        rows = [PlanRow(age, age, None, None, None, None, None)]
        while len(rows) < PLAN_ROWS and (gap := self._gap(age)) + age <= end:
            age += gap
            rows.append(PlanRow(age, gap, None, None, None, None, None))
        return Plan(key, "exponential", tuple(rows), None, None, None, 0.0, None, ())

    def keys(self) -> list[KeyInfo]:
        """No keys are known."""
        return []

    def metrics(self) -> Metrics:
        """Nothing is predicted or measured."""
        return Metrics(None, None, None, 0.0, ())
