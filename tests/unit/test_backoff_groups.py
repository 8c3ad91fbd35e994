"""One message, many recipients: their plan, their budget, and what they teach."""

from __future__ import annotations

from random import Random

import pytest

from pollerd.backoff import Adaptive, Group, Part, Settings
from pollerd.backoff.groups import Due, allowance, at_first, together
from pollerd.backoff.plan import Table
from tests.benchmarks.backoff.mailings import SHARED, Mailing, Sent, drive, mailings, three_never, yielded
from tests.benchmarks.backoff.open_loop import OpenLoop
from tests.benchmarks.backoff.populations import single
from tests.unit.policy_kit import KEY, NOW, follow, taught

HOUR = 3600.0


def delay(policy: Adaptive, age: float, k: int, of: int, *parts: Part) -> float:
    """The mean wait of `k` pending recipients of `of`, sent `age` seconds ago, over the jitter."""
    sent = NOW - age
    group = Group(of, parts or (Part(KEY, k, sent),))
    return sum(policy.next(NOW, KEY, sent, sent, k=k, group=group).delay for _ in range(40)) / 40


def followed(kind: Mailing, n: int, policy: Adaptive) -> list[Sent]:
    sent = mailings(kind, n, 1 / 600, 1)
    drive(policy, sent)
    return sent[n // 2 :]


@pytest.mark.parametrize(
    ("kind", "n", "most"),
    [
        (Mailing("one network", single(), 20), 1000, 1.15),
        (Mailing("three networks", three_never(), 20, mixed=True), 500, 1.25),
        (Mailing("shared fate", single(), 20, fates=SHARED), 700, 1.25),
        (Mailing("one after another", single(), 20, over=120.0), 400, 1.25),
    ],
    ids=lambda value: value.name if isinstance(value, Mailing) else None,
)
def test_a_mailing_is_known_nearly_as_soon_as_by_the_best_fixed_schedule(kind: Mailing, n: int, most: float) -> None:
    found = yielded(followed(kind, n, Adaptive(5, 1)))
    assert found.weighted <= most * OpenLoop(kind).bound(found.polls).weighted


def test_who_says_nothing_of_the_group_gets_the_same_plan() -> None:
    """The policy knows how many recipients a message showed at its first poll."""
    told, untold = taught(5, 1500), taught(5, 1500)
    sent = NOW + 2000.0
    for policy in (told, untold):
        for i in range(40):
            policy.observe(sent + 5.0, KEY, 0.0, 5.0, i < 30, 4.0 if i < 30 else None, "DELIVERED", sent, sent)
    group = Group(40, (Part(KEY, 10, sent),))
    for age, k in ((5.0, 10), (60.0, 1)):
        answers = [
            told.next(sent + age, KEY, sent, sent, k=k, group=Group(40, (Part(KEY, k, sent),))),
            untold.next(sent + age, KEY, sent, sent, k=k),
        ]
        assert answers[0] == answers[1]
    assert told.next(sent + 5.0, KEY, sent, sent, k=10, group=group).reason.startswith("10 of 40 recipients")


def test_a_message_keeps_to_the_budget_of_its_size() -> None:
    policy = taught(5, 3000)
    polls = [policy.explain(KEY, k=k).polls or 0.0 for k in (1, 8, 64, 1000, 10_000)]
    assert polls[:4] == sorted(polls[:4])
    # From 1,000 on it grows no more.
    assert polls[4] == pytest.approx(polls[3], rel=0.05)
    for size, made in zip((3, 6, 10), polls[1:4], strict=True):
        assert made == pytest.approx(5.0 * allowance(size), rel=0.15)
    assert polls[-1] <= 4 * polls[0]


def test_the_last_ones_are_not_polled_as_the_bulk_was() -> None:
    policy = taught(5, 3000)
    policy.explain(KEY, k=1000)
    assert delay(policy, 10.0, 500, 1000) < delay(policy, 10.0, 20, 1000) < delay(policy, 10.0, 1, 1000)
    # One of a thousand costs an answer with a thousand: it is polled less than a message of its own.
    assert delay(policy, 60.0, 1, 1000) > 1.2 * delay(policy, 60.0, 1, 1)


def test_single_messages_are_planned_as_ever_beside_mailings() -> None:
    alone, beside = taught(5, 1500), taught(5, 1500)
    for i in range(200):
        at = NOW + 2000.0 + i
        group = Group(1000, (Part(KEY, 400, at - 10.0),))
        beside.next(at, KEY, at - 10.0, at - 10.0, k=400, group=group)
        alone.next(at, KEY, at - 10.0, at - 10.0)
    assert beside.metrics().price == alone.metrics().price
    assert beside.explain(KEY).rows == alone.explain(KEY).rows


def test_networks_are_planned_apart_and_polled_together() -> None:
    policy = Adaptive(5, 1)
    follow(policy, 1500, key="fast", median=3.0)
    now = follow(policy, 1500, key="slow", start=NOW + 5000, median=120.0)
    policy.explain("fast", k=64)
    sent = now - 30.0
    fast, slow = Part("fast", 4, sent), Part("slow", 60, sent)

    def wait(*parts: Part) -> float:
        k = sum(part.k for part in parts)
        group = Group(64, parts)
        return sum(policy.next(now, parts[0].key, sent, sent, k=k, group=group).delay for _ in range(40)) / 40

    alone = wait(slow)
    assert wait(slow, fast) <= 1.02 * min(alone, wait(fast))
    assert wait(slow, fast) == pytest.approx(wait(fast, slow), rel=0.05)
    assert wait(Part("fast", 64, sent)) != pytest.approx(alone, rel=0.2)


def test_parts_that_are_due_at_one_time_bring_the_poll_forward_and_far_ones_do_not(policy: Adaptive) -> None:
    table = policy._learned.table(policy._learned.world)

    def due(gap: float) -> Due:
        return Due(Part(KEY, 5, NOW), table, 10.0, gap)

    assert together([due(10.0)], 3600.0) == 10.0
    assert together([due(10.0), due(10.0)], 3600.0) == pytest.approx(7.07, abs=0.01)
    assert together([due(10.0), due(1000.0)], 3600.0) == 10.0
    assert together([due(3600.0), due(3600.0)], 3600.0) == 3600.0


def test_a_group_is_as_large_as_it_must_have_been_at_first(policy: Adaptive) -> None:
    table: Table = policy._learned.table(policy._learned.world)
    assert at_first(1, table, 10.0) == 0
    late = next(age for age in table.grid.ages if table.alive(age) < 0.1)
    assert at_first(64, table, 0.0) == 6
    assert 9 <= at_first(64, table, late) <= 11


@pytest.fixture
def policy() -> Adaptive:
    return taught(5, 1500)


def test_the_tail_of_a_mailing_contradicts_no_plan_that_it_fits() -> None:
    """Each of the last ones is found by a poll of its own, the bulk by a few polls together."""
    learned = Adaptive(5, 1)
    followed(Mailing("", three_never(), 20, mixed=True), 150, learned)
    assert learned.metrics().events > 0.85 * 150 * 20


def test_one_mailing_that_is_held_up_is_no_outage_of_its_network_and_several_are(policy: Adaptive) -> None:
    def unseen(mailing: int, at: float) -> None:
        policy.together(100)
        for _ in range(100):
            policy.observe(at, KEY, 2.0, 60.0, False, None, "ENROUTE", at - 60.0, at - 60.0)

    unseen(0, NOW + 2000.0)
    assert policy.metrics().down == ()
    for mailing in range(1, 6):
        unseen(mailing, NOW + 2000.0 + mailing)
    assert KEY in policy.metrics().down


def test_without_patience_the_last_ones_wait_no_longer_than_max_interval() -> None:
    strict, patient = (Adaptive(5, 1, settings=Settings(patience=times)) for times in (1.0, 4.0))
    for each in (strict, patient):
        follow(each, 1500)
    assert delay(strict, 30 * HOUR, 5, 1000) <= HOUR
    assert delay(patient, 30 * HOUR, 5, 1000) > 2 * HOUR
    assert delay(patient, 30 * HOUR, 1, 1) <= HOUR


def test_why_names_those_that_are_left() -> None:
    decision = taught(5, 1500).next(
        NOW, KEY, NOW - 60.0, NOW - 60.0, k=3, group=Group(500, (Part(KEY, 3, NOW - 60.0),))
    )
    assert decision.reason.startswith("3 of 500 recipients are pending; messages to 238/01 usually arrive within ")


def test_a_size_finds_its_price_one_plan_a_decision() -> None:
    """A crowd of large messages right after a start holds nobody up."""
    policy, rng = taught(5, 1500), Random(1)
    sizes = policy._planner.sizes
    made = []
    for i in range(40):
        at = NOW + 2000.0 + i * 0.03
        policy.next(at, KEY, at - 9.0, at - 9.0, k=rng.choice([200, 300]), group=Group(1000))
        made.append(sizes.factor(10))
    assert len(set(made)) > 2
    assert not sizes.unsettled()
