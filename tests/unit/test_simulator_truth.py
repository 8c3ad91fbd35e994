"""The truth about messages: times, scheduling, cancelling, outages."""

import time

import pytest

from pollerd.simulator import AnswerStyle, Mix, Population, Step
from pollerd.simulator.clock import SimClock
from pollerd.simulator.outages import Outage, Outages
from pollerd.simulator.truth import StatusChange, Truth, state_at

DELIVERED = [Step(0.0, "BUFFERED"), Step(1.0, "ENROUTE"), Step(10.0, "DELIVERED")]
T = 1_800_000_000.0
DANE = 4520000001


def build(
    *, speed: float = 1.0, population: Population | None = None, scheduled_shown: bool = False
) -> tuple[Truth, Outages]:
    outages = Outages(speed)
    style = AnswerStyle(scheduled="shown" if scheduled_shown else "hidden")
    return Truth(SimClock(speed), outages, 1, population or Population(), style), outages


def test_delays_are_divided_by_the_speed_and_reported_in_real_time() -> None:
    truth, _ = build(speed=5.0)
    truth.add(7, recipients=[DANE], sent_at=T, steps=DELIVERED)
    message = truth.get(7)
    assert truth.changes(message, DANE) == (
        StatusChange(T, "BUFFERED", None),
        StatusChange(T + 0.2, "ENROUTE", None),
        StatusChange(T + 2.0, "DELIVERED", None),
    )
    assert truth.final(7) == {DANE: StatusChange(T + 2.0, "DELIVERED", None)}


@pytest.mark.parametrize(
    ("age", "status"), [(-1, "UNKNOWN"), (0, "BUFFERED"), (1, "ENROUTE"), (9.9, "ENROUTE"), (10, "DELIVERED")]
)
def test_the_state_at_an_age(age: float, status: str) -> None:
    truth, _ = build()
    truth.add(7, recipients=[DANE], sent_at=T, steps=DELIVERED)
    assert state_at(truth.changes(truth.get(7), DANE), T + age).status == status


def test_the_same_seed_gives_the_same_truth() -> None:
    one, two = build()[0], build()[0]
    for truth in (one, two):
        for message_id in range(1, 300):
            truth.add(message_id, recipients=3, sent_at=T)
    assert all(one.final(n) == two.final(n) for n in range(1, 300))
    assert len({change for n in range(1, 300) for change in one.final(n).values()}) > 800


def test_ids_follow_each_other_and_pass_over_taken_ones() -> None:
    truth, _ = build(population=Population(first_id=100))
    truth.add(101)
    assert [truth.add(), truth.add(), truth.add()] == [100, 102, 103]


@pytest.mark.parametrize("message_id", [0, -1, 2**64, 7])
def test_an_impossible_or_taken_id_is_refused(message_id: int) -> None:
    truth, _ = build()
    truth.add(7)
    with pytest.raises(ValueError, match="choose another"):
        truth.add(message_id)


def test_messages_nobody_sent_exist_only_where_configured() -> None:
    truth, _ = build(population=Population(id_ranges=((10, 20),), implied_sent_at=T, recipients=(2, 4)))
    found = truth.find(20)
    assert found is not None
    assert found.sent_at == T
    assert 2 <= len(found.recipients) <= 4
    assert truth.find(21) is None
    assert len(truth) == 1


def test_a_message_becomes_visible_after_it_was_sent() -> None:
    truth, _ = build(speed=10.0)
    delays = []
    for message_id in range(1, 400):
        truth.add(message_id, sent_at=T)
        delays.append(truth.visible_at(truth.get(message_id)) - T)
    assert min(delays) > 0
    assert 0.08 < sorted(delays)[200] < 0.12
    at_once, _ = build(population=Population(visibility_median=0.0))
    at_once.add(1, sent_at=T)
    assert at_once.visible_at(at_once.get(1)) == T


def test_a_scheduled_message_is_sent_at_its_time() -> None:
    truth, _ = build(population=Population(visibility_median=0.0))
    truth.add(7, recipients=[DANE], sent_at=T, sendtime=T + 60, steps=DELIVERED)
    message = truth.get(7)
    assert truth.visible_at(message) == T + 60
    assert truth.final(7)[DANE] == StatusChange(T + 70, "DELIVERED", None)


def test_a_scheduled_message_can_be_shown_as_scheduled() -> None:
    truth, _ = build(population=Population(visibility_median=0.0), scheduled_shown=True)
    truth.add(7, recipients=[DANE], sent_at=T, sendtime=T + 60, steps=DELIVERED)
    message = truth.get(7)
    assert truth.visible_at(message) == T
    assert [c.status for c in truth.changes(message, DANE)] == ["SCHEDULED", "BUFFERED", "ENROUTE", "DELIVERED"]


def test_cancelling_works_once_and_only_before_sending() -> None:
    truth, _ = build()
    now = time.time()
    truth.add(7, recipients=[DANE], sendtime=now + 3600)
    truth.add(8, recipients=[DANE])
    message = truth.get(7)
    assert truth.cancel(message)
    assert not truth.cancel(message)
    assert not truth.cancel(truth.get(8))
    final = truth.final(7)[DANE]
    assert final is not None
    assert final.status == "DELETED"
    assert now - 1 < final.at < now + 60
    assert truth.visible_at(message) == message.cancelled_at


def outage_case(outages: Outages, starts: float, ends: float, mcc: int, mnc: int) -> None:
    outages.replace_running(T - 1000, [Outage(mcc, mnc, starts, ends)])


def test_an_outage_holds_back_deliveries_of_its_network_alone() -> None:
    truth, outages = build(population=Population(mix=Mix(never=0)))
    numbers = [DANE + n for n in range(200)]
    truth.add(7, recipients=numbers, sent_at=T, steps=DELIVERED)
    outage_case(outages, T + 5, T + 1000, 238, 1)
    ends = [final.at for final in truth.final(7).values() if final]
    held = [at for at in ends if at >= T + 1000]
    assert len(ends) == 200
    assert set(ends) - set(held) == {T + 10}
    assert 50 < len(held) < 150
    assert max(held) <= T + 1010


def test_an_outage_longer_than_the_validity_makes_messages_expire() -> None:
    mix = Mix(delivered=1, never=0, undeliverable=0, accepted=0, rejected=0, skipped=0, deleted=0)
    truth, outages = build(population=Population(validity=3600.0, mix=mix, tail=0.01))
    numbers = [DANE + n for n in range(200)]
    truth.add(7, recipients=numbers, sent_at=T)
    before = truth.final(7)
    outage_case(outages, T, T + 7200, 238, 1)
    after = truth.final(7)
    changed = [number for number in numbers if after[number] != before[number]]
    assert len(changed) > 50
    assert {after[number] for number in changed} == {StatusChange(T + 3600, "EXPIRED", 0x1013)}


def test_the_past_does_not_change_when_an_outage_begins() -> None:
    truth, outages = build()
    truth.add(7, recipients=[DANE], sent_at=T, steps=DELIVERED)
    before = truth.final(7)
    # Asked for from the beginning, but set only after the delivery.
    outages.replace_running(T + 11, [Outage(238, n, T, T + 1000) for n in (1, 2, 20)])
    assert truth.final(7) == before


def test_an_ended_outage_stays_true() -> None:
    outages = Outages(1.0)
    outages.replace_running(T, [Outage(238, 1, T, T + 100)])
    outages.replace_running(T + 50, [])
    assert outages.delayed(T + 10, 238, 1, 0.0) == T + 50
    assert outages.delayed(T + 60, 238, 1, 0.0) == T + 60
