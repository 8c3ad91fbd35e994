"""One function for each row of the table: what is measured, and against which target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median

from pollerd.backoff import Adaptive
from pollerd.backoff.budget import octave_of
from pollerd.backoff.groups import allowance
from tests.benchmarks.backoff.limited import run_limited
from tests.benchmarks.backoff.mailings import (
    SHARED,
    Mailing,
    Sent,
    Yielded,
    drive,
    mailings,
    three_never,
    yielded,
)
from tests.benchmarks.backoff.open_loop import OpenLoop
from tests.benchmarks.backoff.optimum import bound
from tests.benchmarks.backoff.policies import Backoff, Decorrelated, Driven, Fixed, Relative
from tests.benchmarks.backoff.populations import DAY, HOUR, Population, single, ten, three_with_tail
from tests.benchmarks.backoff.simulate import IDLE, Clock, Freeze, Message, Outcome, addition, outcome, run, traffic

RATE = 0.015
"""Messages a second in the steady state: slow enough that the first have expired long before the last are sent."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is simulated."""

    messages: int
    seeds: tuple[int, ...]
    burst: int


QUICK = Scale(messages=8000, seeds=(1, 2, 3), burst=20_000)
FULL = Scale(messages=20_000, seeds=(1, 2, 3, 4, 5), burst=100_000)


@dataclass(frozen=True, slots=True)
class Result:
    """A measured value (median over the seeds), its worst, and the target: at most so much, infinite for none."""

    what: str
    value: float
    worst: float
    target: float


def exponential() -> Backoff:
    """The policy to beat: 5 s x 1.5, at most an hour."""
    return Backoff(5.0, 1.5, HOUR)


def steady(
    policy: Driven, population: Population, scale: Scale, seed: int, k: int = 1, *, timestamps: bool = True
) -> tuple[Outcome, Clock]:
    """The second half of a run, so that what is learned is learned."""
    messages = traffic(population, scale.messages, RATE, seed, k)
    clock = run(policy, messages, timestamps=timestamps)
    return outcome(messages[scale.messages // 2 :]), clock


def _result(what: str, target: float, values: Sequence[float]) -> Result:
    return Result(what, median(values), max(values), target)


def steady_rows(scale: Scale) -> list[Result]:
    """Against the lower bound, against exponential, against the budget, with and without timestamps; cost."""
    out = []
    for population in (single(), single(2, 0.8), single(20, 1.2), single(60, 0.6), three_with_tail(), ten()):
        lower, delay, weighted, budget, blind, cost, scaled = [], [], [], [], [], [], []
        for seed in scale.seeds:
            reference, _ = steady(exponential(), population, scale, seed)
            before = addition()
            learner, clock = steady(Adaptive(reference.polls, seed), population, scale, seed)
            slow = (before + addition()) / 2 / IDLE
            unstamped, _ = steady(Adaptive(reference.polls, seed), population, scale, seed, timestamps=False)
            best = bound(population, learner.polls)
            lower.append(learner.weighted / best.weighted)
            delay.append(learner.delay / reference.delay)
            weighted.append(learner.weighted / reference.weighted)
            budget.append(abs(learner.polls / reference.polls - 1.0))
            blind.append(unstamped.weighted / bound(population, unstamped.polls).weighted - lower[-1])
            cost.append(clock.seconds / clock.decisions * 1e6)
            scaled.append(cost[-1] / slow)
        name = population.name
        out.append(_result(f"weighted delay / lower bound: {name}", 1.15, lower))
        if len(population.operators) == 1:
            out.append(_result(f"mean delay / exponential: {name}", 0.10, delay))
        else:
            out.append(_result(f"weighted delay / exponential: {name}", 0.70, weighted))
        out.append(_result(f"polls off the budget: {name}", 0.10, budget))
        out.append(_result(f"without timestamps, worse by: {name}", 0.10, blind))
        out.append(_shown(f"us a decision as measured: {name}", median(cost)))
        out.append(_result("  the same where an addition takes 0.04 us", 20.0, scaled))
    return out


def cold_rows(scale: Scale) -> list[Result]:
    """A fresh installation: the first 100 messages, and those after 3,000, against the oracle."""
    out = []
    for population in (single(), single(20, 1.2), three_with_tail()):
        for rate in (0.1, 1.0):
            # A hundred messages are a noisy sample: more seeds, and no further than it takes.
            early = [_cold(population, rate, seed, 1500, slice(100)) for seed in range(8 * len(scale.seeds))]
            late = [_cold(population, rate, seed, 4500, slice(3000, None)) for seed in range(3 * len(scale.seeds))]
            out.append(_result(f"first 100 / oracle: {population.name}, {rate:g}/s", 1.6, early))
            out.append(_result(f"after 3,000 / oracle: {population.name}, {rate:g}/s", 1.15, late))
    return out


def _cold(population: Population, rate: float, seed: int, n: int, part: slice) -> float:
    """The weighted delay of a part of the first `n` messages, by that of the optimum at as many polls."""
    messages = traffic(population, n, rate, 100 + seed)
    run(Adaptive(5, seed), messages)
    got = outcome(messages[part])
    return got.weighted / bound(population, got.polls).weighted


def _frozen(population: Population, scale: Scale, keys: frozenset[str] | None) -> list[tuple[float, float, float]]:
    """Per seed: mean delay against exponential; see the end for whose."""
    out = []
    n = scale.messages
    for seed in scale.seeds:
        start = 1_000_000.0 + 0.6 * n
        freeze = Freeze(start, start + 1800.0, keys)
        plain = traffic(population, n, 1.0, seed)
        reference = traffic(population, n, 1.0, seed, freeze=freeze)
        run(exponential(), reference)
        learned = traffic(population, n, 1.0, seed, freeze=freeze)
        budget = outcome(reference).polls
        run(Adaptive(budget, seed), learned)
        mine = [i for i, m in enumerate(plain) if i >= n // 2 and (keys is None or m.key in keys)]
        hit = [i for i in mine if freeze.concerns(plain[i], plain[i].changes[0][0])]

        def ratio(which: Sequence[int], a: Sequence[Message], b: Sequence[Message]) -> float:
            return outcome([a[i] for i in which]).delay / outcome([b[i] for i in which]).delay

        # The others are phones that are off for hours: not an outage's affair, and cheap by the age's weight.
        soon = [i for i in mine if plain[i].changes[0][0] < 1800.0]
        out.append((ratio(mine, learned, reference), ratio(soon, learned, reference), ratio(hit, learned, reference)))
    return out


def outage_rows(scale: Scale) -> list[Result]:
    """Half an hour in which nothing changes: everywhere, and at one of three operators."""
    one = _frozen(single(), scale, None)
    third = _frozen(three_with_tail(), scale, frozenset({"262/02"}))
    return [
        _result("30-minute outage: mean delay / exponential", 0.10, [a for a, _, _ in one]),
        _result("  of the messages concerned only", 0.10, [c for _, _, c in one]),
        _result("one of three frozen: mean delay of all its messages / exponential", 0.20, [a for a, _, _ in third]),
        _result("  of those that change within half an hour of being sent", 0.20, [b for _, b, _ in third]),
        _result("  of the messages concerned only", 0.20, [c for _, _, c in third]),
    ]


def _warm(population: Population, budget: float, seed: int) -> Adaptive:
    policy = Adaptive(budget, seed)
    run(policy, traffic(population, 4000, 0.05, 50 + seed))
    return policy


def burst_rows(scale: Scale) -> list[Result]:
    """Many messages at once, a thousand seconds' worth of polls."""
    polls, later = [], []
    population = single()
    for seed in scale.seeds[:3]:
        budget = 3.65
        outcomes = []
        for policy, ranked in ((exponential(), False), (_warm(population, budget, seed), True)):
            messages = traffic(population, scale.burst, 0.0, seed)
            for m in messages:
                m.submit = m.base = 3e6
            run_limited(policy, messages, scale.burst / 1000.0, ranked=ranked)
            outcomes.append(outcome(messages))
        polls.append(outcomes[1].polls / outcomes[0].polls)
        later.append(outcomes[1].weighted / outcomes[0].weighted)
    return [
        _result("burst: polls / exponential", 0.90, polls),
        _result("burst: weighted delay / exponential", 1.0, later),
    ]


def overload_rows(scale: Scale) -> list[Result]:
    """For hours more is due than the limit allows."""
    ratios = []
    population = three_with_tail()
    for seed in scale.seeds[:3]:
        outcomes = []
        for policy, ranked in ((exponential(), False), (_warm(population, 6.2, seed), True)):
            messages = traffic(population, scale.messages, 1.0, seed)
            for m in messages:
                m.submit, m.base = m.submit + 2e6, m.base + 2e6
            run_limited(policy, messages, 2.0, ranked=ranked)
            outcomes.append(outcome(messages))
        ratios.append(outcomes[1].weighted / outcomes[0].weighted)
    return [_result("overload: weighted delay / exponential, due first", 0.50, ratios)]


def expiry_rows(scale: Scale) -> list[Result]:
    """From EXPIRED to told, at 24, 48 and 72 h, the same or different by operator."""
    out = []
    cases = [single().expiring([age * HOUR]) for age in (24, 48, 72)]
    cases += [single().expiring([30 * HOUR]), three_with_tail().expiring([DAY, 2 * DAY, 3 * DAY])]
    cases += [three_with_tail().expiring([DAY, 2 * DAY, 3 * DAY], blur=600.0)]
    for population in cases:
        for timestamps in (True, False):
            waits, polls = [], []
            for seed in scale.seeds[:3]:
                messages = traffic(population, scale.messages, 0.03, seed)
                run(Adaptive(5, seed), messages, timestamps=timestamps)
                got = outcome(messages)
                waits.append(got.expiry_delay)
                polls.append(got.polls / 5 - 1)
            blur = population.operators[0].blur
            how = f"{population.name}{' +- 5 min' if blur else ''}, {'with' if timestamps else 'no'} timestamps"
            out.append(_result(f"EXPIRED to told, s: {how}", 300.0, waits))
            out.append(_result("  polls above the budget", 0.10, polls))
    return out


def group_rows(scale: Scale) -> list[Result]:
    """Messages of 5 and 20 recipients, against the open-loop optimum for the group."""
    out = []
    for population in (single(), single(20, 1.2)):
        for k, budget in ((5, 8.0), (20, 8.0), (100, 16.0)):
            ratios = []
            n = Scale(max(scale.messages // 4, 2000), scale.seeds, 0)
            for seed in scale.seeds[:3]:
                got, _ = steady(Adaptive(budget, seed), population, n, seed, k)
                ratios.append(got.weighted / bound(population, got.polls, k).weighted)
            target = 1.35 if k <= 20 else inf
            out.append(_result(f"{k} recipients / open-loop optimum: {population.name}", target, ratios))
    return out


MAILINGS = 1 / 600
"""Mailings a second: their phones that are off have expired long before the last ones are sent."""

PER_SIZE = {5: 1500, 20: 1000, 100: 600, 1000: 400}
"""Mailings that are followed, by their size; the second half is measured."""

TARGETS = {5: 1.10, 20: 1.10, 100: 1.15, 1000: 1.25}
MIXED_TARGET = 1.25


def mailing_rows(scale: Scale) -> list[Result]:
    """Mailings against the best schedule fixed in advance, at equal polls; what they cost; single ones beside them."""
    kinds = [(Mailing("one network", single(), k), TARGETS[k]) for k in PER_SIZE]
    mixed = three_never()
    kinds += [(Mailing(mixed.name, mixed, k, mixed=True), MIXED_TARGET) for k in PER_SIZE]
    kinds += [(Mailing("one network, shared fate", single(), k, fates=SHARED), inf) for k in (20, 1000)]
    kinds += [(Mailing("one network, sent over 2 min", single(), k, over=120.0), inf) for k in (20, 1000)]
    kinds += [(Mailing("one network, bare", single(), k), TARGETS[k]) for k in PER_SIZE]
    out = []
    for kind, target in kinds:
        best, ratios, polls, cost = OpenLoop(kind), [], [], []
        for seed in scale.seeds[:3]:
            got, clock = _mailed(kind, seed, bare=kind.name.endswith("bare"))
            ratios.append(got.weighted / best.bound(got.polls).weighted)
            polls.append(got.polls)
            cost.append(clock.seconds / clock.decisions * 1e6)
        out.append(_result(f"{kind.k} recipients / best fixed schedule: {kind.name}", target, ratios))
        out.append(_shown("  polls a mailing, at the default budget", median(polls)))
        out.append(_shown("  us a decision as measured, without learning", median(cost)))
        if kind.k == max(PER_SIZE) and target < inf:
            alone = yielded(_followed(Mailing("", kind.population, 1), 4000, RATE, 1))
            out.append(_result("  polls of 1,000 recipients / of one", 4.0, [each / alone.polls for each in polls]))
    return [*out, *_beside_rows(scale)]


def _mailed(kind: Mailing, seed: int, *, bare: bool) -> tuple[Yielded, Clock]:
    n = PER_SIZE[kind.k]
    sent = mailings(kind, n, MAILINGS, seed)
    clock = drive(Adaptive(5, seed), sent, bare=bare)
    return yielded(sent[n // 2 :]), clock


def _followed(
    kind: Mailing, n: int, rate: float, seed: int, budget: float = 5.0, others: Sequence[Sent] = ()
) -> list[Sent]:
    """The second half of `n` messages, followed beside `others`."""
    own = mailings(kind, n, rate, seed)
    drive(Adaptive(budget, seed), sorted([*own, *others], key=lambda m: m.submit))
    return own[n // 2 :]


def _beside_rows(scale: Scale) -> list[Result]:
    """What mailings change for single messages, and what a budget shared with them would."""
    population = three_never()
    one, many = Mailing("", population, 1), Mailing("", population, 1000, mixed=True)
    beside, shared, polls = [], [], []
    for seed in scale.seeds[:3]:
        alone = yielded(_followed(one, 4000, RATE, seed))
        with_mailings = yielded(_followed(one, 4000, RATE, seed, others=mailings(many, 300, RATE * 300 / 4000, seed)))
        beside.append(with_mailings.weighted / alone.weighted)
        polls.append(with_mailings.polls / alone.polls)
        half = 2 * 5.0 / (1.0 + allowance(octave_of(1000)))
        shared.append(yielded(_followed(one, 4000, RATE, seed, budget=half)).weighted / alone.weighted)
    return [
        _result("single ones beside mailings of 1,000: weighted delay / without", 1.05, beside),
        _result("  polls / without", 1.05, polls),
        _result("  weighted delay, were one budget shared with as many mailings / now", inf, shared),
    ]


def policy_rows(scale: Scale) -> list[Result]:
    """All policies on the same messages: polls a message, and weighted delay against the optimum at those polls."""
    out = []
    for population in (single(), three_with_tail()):
        reference, _ = steady(exponential(), population, scale, 1)
        contenders: dict[str, Driven] = {
            "fixed 10 s": Fixed(10.0),
            "exponential 5 s x 1.5, cap 1 h": exponential(),
            "exponential 5 s x 2, cap 15 min": Backoff(5.0, 2.0, 900.0),
            "decorrelated jitter": Decorrelated(1),
            "relative age, half": Relative(0.5),
            "the learner": Adaptive(reference.polls, 1),
        }
        small = Scale(scale.messages // 4, scale.seeds, 0)
        for name, policy in contenders.items():
            got, _ = steady(policy, population, small if name.startswith("fixed") else scale, 1)
            best = bound(population, got.polls).weighted
            out.append(_shown(f"{name}: polls a message, {population.name}", got.polls))
            out.append(_shown("  weighted delay, s", got.weighted))
            out.append(_shown("  weighted delay / lower bound at as many polls", got.weighted / best))
    return out


def _shown(what: str, value: float) -> Result:
    return Result(what, value, value, inf)


SECTIONS: dict[str, Callable[[Scale], list[Result]]] = {
    "steady": steady_rows,
    "cold": cold_rows,
    "outage": outage_rows,
    "burst": burst_rows,
    "overload": overload_rows,
    "expiry": expiry_rows,
    "groups": group_rows,
    "mailings": mailing_rows,
    "policies": policy_rows,
}
